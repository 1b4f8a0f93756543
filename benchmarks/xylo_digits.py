"""Networks on a Xylo: accuracy in floating point, quantised, in SynSense's simulator; against Rockpool's quantisers.

    python benchmarks/xylo_digits.py -o docs/results/xylo-digits-a3.json
    python benchmarks/xylo_digits.py -o docs/results/xylo-n-mnist.json --only xylo_n-mnist --data-root DATA/n-mnist

The presets `xylo_*` are trained as `neurodeploy train` does, with the chip's decays, currents and several spikes a
step: the chip-constrained network in floating point. With `--free`, a network of the same size that knows nothing of
the chip (batch norm, one spike, no currents, reset to zero) is trained beside it, for what the constraints cost.

The others are digits on 16 channels, "trained" and "current-*".
Networks: "trained" by neurodeploy from `xylo_digits.yaml` (no synaptic currents), and networks with currents of a time
constant of 1.2, 2 and 4 steps, one of them recurrent, by `xylo_training.py`. Each is quantised by neurodeploy, and by
Rockpool's `global_quantize` and `channel_quantize` where Rockpool is installed. A quantised network is silent where a
layer fires in less than 0.1 % of its neuron-steps on the calibration data, or on account of its biases alone; and
saturated where more than 1 % of a layer's neuron-steps are at a limit of the chip.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import mean_interval, provenance, write_json
from xylo_training import scanned_digits, train_currents, write_npz

from neurodeploy.config import load_config
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import NeurodeployError
from neurodeploy.experiment import train_model
from neurodeploy.export import xylo
from neurodeploy.export.xylo_rockpool import quantised, to_specification
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.to_populations import to_populations
from neurodeploy.ir.xylo_layout import layout
from neurodeploy.quantize_xylo import quantize_xylo, troubles
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate import xylo_engine
from neurodeploy.snn.trace import trace

CURRENTS = {"current-1.2": (1.2, False), "current-2": (2.0, False), "current-4": (4.0, False)}
CURRENTS |= {"current-2-recurrent": (2.0, True)}
PRESETS = ("xylo_digits", "xylo_digits_recurrent", "xylo_n-mnist", "xylo_n-mnist_recurrent")
FREE = {"current_decay": 0.0, "most_spikes": 1, "norm": "batch", "reset": "zero", "surrogate_linear": "arctangent"}
REPEATS = {"trained": 3} | dict.fromkeys(CURRENTS, 2)
_CALIBRATION = 128
_CACHE = str(Path(tempfile.gettempdir()) / "neurodeploy-benchmark-frames")
Quantiser = Callable[[PopulationNetwork, np.ndarray, str], Any]


def main() -> None:
    """Trains, quantises and measures; writes one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--chip", default="xylo-a3", help="with fewer outputs than 10, as many classes are used")
    parser.add_argument("--only", nargs="*", choices=(*REPEATS, *PRESETS), help="networks")
    parser.add_argument("--data-root", help="folder with the files of a preset's data set")
    parser.add_argument("--free", action="store_true", help="of presets: train the unconstrained network, too")
    parser.add_argument("--simulated", type=int, default=360, help="test samples for SynSense's simulator")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classes = min(10, xylo_chip(options.chip).outputs)
    runs, quantisers = [], {"neurodeploy": _ours} | _rockpool()
    for name in options.only or REPEATS:
        data = scanned_digits(REPEATS[name], classes) if name in REPEATS else {}
        for seed in range(options.seeds):
            started, free = time.process_time(), {}
            if name in PRESETS:
                network, data = _preset(name, seed, options.data_root, classes, {})
                if options.free:
                    free = {"free_accuracy": _accuracy(*_preset(name, seed, options.data_root, classes, FREE))}
            elif name == "trained":
                network = _trained(data, seed)
            else:
                network = train_currents(data, CURRENTS[name][0], seed, recurrent=CURRENTS[name][1])
            seconds = time.process_time() - started
            for quantiser, quantise in quantisers.items():
                row = _measured(network, data, quantise, options)
                runs.append(
                    {"network": name, "seed": seed, "quantiser": quantiser, "training_cpu_seconds": seconds}
                    | row
                    | free
                )
                print(runs[-1], flush=True)
    write_json(
        options.output,
        {"provenance": provenance(), "chip": options.chip, "classes": classes, "summary": _summary(runs), "runs": runs},
    )
    for row in _summary(runs):
        print(row)


def _trained(data: dict[str, Any], seed: int) -> PopulationNetwork:
    with tempfile.TemporaryDirectory() as folder:
        write_npz(Path(folder) / "digits.npz", data)
        overrides = {"data.name": str(Path(folder) / "digits.npz"), "seed": seed}
        config = load_config(Path(__file__).with_name("xylo_digits.yaml"), [], overrides)
        model = train_model(config, Path(folder) / "model.pt", progress=False)
        return to_populations(trace(model.network))


def _preset(
    name: str, seed: int, root: str | None, classes: int, network: dict[str, Any]
) -> tuple[PopulationNetwork, dict[str, Any]]:
    """A preset trained with changes to its network, and its data as (N, T, channels)."""
    overrides = {"seed": seed, "train.threads": 1, "data.root": root, "data.cache": _CACHE, "data.classes": classes}
    overrides |= {f"network.{option}": value for option, value in network.items()}
    config = load_config(None, [], overrides, preset=name)
    with tempfile.TemporaryDirectory() as folder:
        model = train_model(config, Path(folder) / "model.pt", progress=False)
    data = load_data_set(config.data, config.network.steps, config.seed)
    parts = {"train": data.train, "test": data.test}
    found = {f"{part}_labels": split.labels for part, split in parts.items()}
    found |= {f"{part}_samples": split.samples.reshape(*split.samples.shape[:2], -1) for part, split in parts.items()}
    return to_populations(trace(model.network)), found


def _accuracy(network: PopulationNetwork, data: dict[str, Any]) -> float:
    decided = float_simulator.run(network, data["test_samples"].transpose(1, 0, 2)).decisions
    return float((decided == data["test_labels"]).mean())


def _measured(network: PopulationNetwork, data: dict[str, Any], quantise: Quantiser, options: Any) -> dict[str, Any]:
    calibration = data["train_samples"][:_CALIBRATION].transpose(1, 0, 2)
    test, labels = data["test_samples"].transpose(1, 0, 2), data["test_labels"]
    wanted = float_simulator.run(network, test)
    row: dict[str, Any] = {"float_accuracy": float((wanted.decisions == labels).mean())}
    started = time.process_time()
    try:
        made = quantise(network, calibration, options.chip)
    except NeurodeployError as error:
        return row | {"refused": str(error), "silent": False, "saturated": False}
    seconds = time.process_time() - started
    got = xylo_engine.run(made, test)
    found = troubles(made, xylo_engine.run(made, calibration), float_simulator.run(network, calibration).spikes)
    row |= {
        "accuracy": float((got.decisions == labels).mean()),
        "agreement": float((got.decisions == wanted.decisions).mean()),
        "silent": any("silent" in text or "deaf" in text for text in found),
        "saturated": any("saturated" in text for text in found),
        "troubles": found,
        "quantise_cpu_seconds": round(seconds, 2),
        "hidden_rate": float((got.spikes > 0).mean()),
        "hidden_spiking_twice": float((got.spikes > 1).mean()),
    }
    if xylo.backend().version is None:
        return row
    simulated = xylo.run(made, test[:, : options.simulated], limits=False)
    names = ("spikes", "currents", "potentials", "output_spikes", "output_currents", "output_potentials")
    differing = sum(int((getattr(simulated, one) != getattr(got, one)[:, : options.simulated]).sum()) for one in names)
    right = simulated.decisions == labels[: options.simulated]
    return row | {
        "xylosim_accuracy": float(right.mean()),
        "xylosim_samples": len(right),
        "xylosim_differing": differing,
    }


def _ours(network: PopulationNetwork, calibration: np.ndarray, chip: str) -> Any:
    return quantize_xylo(network, xylo_chip(chip), calibration, allow_dead=True)


def _rockpool() -> dict[str, Quantiser]:
    """Rockpool's quantisers, where it is installed; `samna`, which they do not need, is kept from being imported."""
    sys.modules.setdefault("samna", None)  # type: ignore[arg-type]
    try:
        from rockpool.transform.quantize_methods import channel_quantize, global_quantize
    except ImportError:
        print("Rockpool is not installed: only neurodeploy's quantisation is measured")
        return {}

    def wrapped(quantise: Any) -> Quantiser:
        def made(network: PopulationNetwork, calibration: np.ndarray, chip: str) -> Any:
            placed = layout(network)
            return quantised(
                quantise(**to_specification(placed)),
                network.steps,
                chip,
                network.input.bits,
                network.readout,
                placed.latency,
            )

        return made

    return {"rockpool-global": wrapped(global_quantize), "rockpool-channel": wrapped(channel_quantize)}


def _summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for network, quantiser in dict.fromkeys((run["network"], run["quantiser"]) for run in runs):
        mine = [run for run in runs if (run["network"], run["quantiser"]) == (network, quantiser)]
        row: dict[str, Any] = {"network": network, "quantiser": quantiser, "seeds": len(mine)}
        row |= {
            name: sum(name in run and bool(run[name]) for run in mine) for name in ("silent", "saturated", "refused")
        }
        for name in ("free_accuracy", "float_accuracy", "accuracy", "agreement", "xylosim_accuracy"):
            values = [run[name] for run in mine if run.get(name) is not None]
            row[name] = mean_interval(values) if values else None
        row["xylosim_differing"] = sum(run.get("xylosim_differing", 0) for run in mine)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
