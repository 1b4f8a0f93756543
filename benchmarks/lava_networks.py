"""Whole trained networks in Lava: every spike and every voltage of every layer against the reference.

    python benchmarks/lava_networks.py --data-root DATA --json docs/results/lava-networks.json

Small networks are trained (minutes on one core), quantised for Loihi 2 as `neurodeploy export` does it, and run on test
samples in lava-nc's fixed-point simulator:

convnet     MNIST images, graded input, two convolutions with average pooling, membrane readout
residual    a narrow ResNet-19 on Fashion-MNIST, shortcuts with and without a convolution
events      N-MNIST recordings as frames of spike counts
recurrent   MNIST as spikes at a rate, a recurrent layer, spike count readout
net         the convnet once more, through its `.net` file and lava-dl's netx

DATA holds `mnist`, `fashion-mnist` and `n-mnist`. Models stay in the folder `--work`, so that a run that was killed
goes on. Exit 1 where a value differs, or where a layer does not fire in 5 to 95 % of its neuron-steps:
silence would agree with everything.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import ROOT, provenance, write_json

from neurodeploy.compare import compare
from neurodeploy.config import load_config
from neurodeploy.data.dataset import Split
from neurodeploy.experiment import load_data, train_model
from neurodeploy.export import lava
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.snn.trace import trace

ALIVE = (0.05, 0.95)


class Plan(NamedTuple):
    """One network: the model that it is of, how that is trained, how many samples run."""

    model: str
    data: str
    settings: tuple[str, ...]
    samples: int
    netx: bool = False


_SHORT = ("data.validation=0.9", "train.threads=1")  # a tenth of the training images is enough here
_CONVNET = Plan("convnet", "mnist", (*_SHORT, "network.channels=[8,16]", "network.steps=4", "train.epochs=2"), 100)
_RESIDUAL = (
    "network.kind=resnet19",
    "network.width=0.0625",
    "network.hidden=[32]",
    "network.steps=4",
    "train.epochs=1",
    "data.augment=[]",
)
_EVENTS = (
    "network.channels=[8,16]",
    "network.padding=0",
    "network.hidden=[64]",
    "network.steps=10",
    "train.epochs=5",
    "train.threads=1",
)
_RECURRENT = (
    "data.encoding=rate",
    "network.kind=mlp",
    "network.hidden=[64]",
    "network.recurrent=true",
    "network.steps=16",
    "network.readout=spike_count",
    "train.epochs=4",
)
PLANS = {
    "convnet": _CONVNET,
    "residual": Plan("residual", "fashion-mnist", (*_SHORT, *_RESIDUAL), 20),
    "events": Plan("events", "n-mnist", _EVENTS, 20),
    "recurrent": Plan("recurrent", "mnist", (*_SHORT, *_RECURRENT), 20),
    "net": _CONVNET._replace(samples=20, netx=True),
}


def trained(plan: Plan, root: str | None, work: Path) -> Model:
    """The model, from its file where it is trained already."""
    path = work / f"{plan.model}.pt"
    if not path.is_file():
        given = {"data.name": plan.data} | ({"data.root": root} if root else {})
        train_model(load_config(None, list(plan.settings), given), path, progress=False)
    return load_model(path)


def measured(plan: Plan, root: str | None, work: Path) -> dict[str, Any]:
    """Layers with their firing rates and what differs in Lava."""
    model = trained(plan, root, work)
    program = quantize(trace(model.network), find_chip(lava.TARGET.chip), model.calibration.inputs)
    test = load_data(model.config, root).test.take(slice(plan.samples))
    expected = reference.run(program, test.inputs)
    started = time.perf_counter()
    got = (lava.run_netx if plan.netx else lava.run)(program, test.inputs)
    seconds = time.perf_counter() - started
    found = compare(expected, got)
    return {
        "data": model.metrics["data_set"],
        "through": "netx" if plan.netx else "processes",
        "samples": len(test),
        "steps": program.steps,
        "neurons": sum(int(np.prod(layer.shape)) for layer in program.layers),
        "mismatched_spikes": found.mismatched_spikes,
        "mismatched_voltages": found.mismatched_voltages,
        "readouts_differing": int((got.readout != expected.readout).any(axis=1).sum()),
        "accuracy_float": model.metrics["test_accuracy"],
        "right_of_the_samples": _right(got.decisions, test),
        "lava_seconds": round(seconds, 1),
        "layers": _layers(program, expected, got),
        "settings": list(plan.settings),
        "seed": model.config.seed,
    }


def _right(decisions: Any, test: Split) -> int:
    return int((decisions == test.labels).sum())


def _layers(program: Program, expected: Any, got: Any) -> list[dict[str, Any]]:
    rates = expected.firing_rates()
    return [
        {
            "layer": layer.name,
            "shape": list(layer.shape),
            "firing_rate": rates.get(layer.name),
            "values": int(expected.potentials[layer.name].size),
            "mismatched_voltages": int((got.potentials[layer.name] != expected.potentials[layer.name]).sum()),
            "mismatched_spikes": int((got.spikes[layer.name] != expected.spikes[layer.name]).sum())
            if layer.fires
            else None,
        }
        for layer in program.layers
    ]


def wrong(name: str, found: dict[str, Any]) -> list[str]:
    """What makes the run worthless or false."""
    low, high = ALIVE
    problems = [
        f"{name}, layer {row['layer']}: fires in {row['firing_rate']:.1%} of its neuron-steps"
        for row in found["layers"]
        if row["firing_rate"] is not None and not low < row["firing_rate"] < high
    ]
    differing = {what: found[what] for what in ("mismatched_spikes", "mismatched_voltages", "readouts_differing")}
    return problems + [f"{name}: {count} {what.replace('_', ' ')}" for what, count in differing.items() if count]


def main() -> None:
    """Runs them all, prints a row per layer, writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--data-root", help="folder with the data sets' files (or NEURODEPLOY_DATA)")
    parser.add_argument("--networks", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--samples", type=int, help="instead of 100 for the convnet and 20 for each other")
    parser.add_argument("--work", type=Path, help="where models go; default runs/lava-networks")
    options = parser.parse_args()
    work = options.work or ROOT / "runs" / "lava-networks"
    work.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {}
    problems: list[str] = []
    for name in options.networks:
        plan = PLANS[name] if options.samples is None else PLANS[name]._replace(samples=options.samples)
        content[name] = found = measured(plan, options.data_root, work)
        print(
            f"{name}: {found['data']}, {found['samples']} samples of {found['steps']} steps through "
            f"{found['through']}: {found['mismatched_spikes']} spikes and {found['mismatched_voltages']} voltages "
            f"differ, {found['right_of_the_samples']} samples are right, {found['lava_seconds']} s"
        )
        for row in found["layers"]:
            rate = "reads out" if row["firing_rate"] is None else f"{row['firing_rate']:.1%}"
            print(f"  {row['layer']:<20} {rate:>9}  {row['values']} voltages", flush=True)
        problems += wrong(name, found)
        write_json(options.json, content | {"provenance": provenance()})
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
