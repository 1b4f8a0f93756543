"""Samples per second of the engine, of Lava's fixed-point simulator, and of the bare matrix products, in one run.

    python benchmarks/engine_vs_lava.py --json docs/results/engine-vs-lava.json

`dense`: 784-128-10, T = 100, spikes at 13 % (the mean brightness of MNIST). `conv`: 2x28x28, convolutions 3x3 to 16 and
32 channels with stride 2, 10 classes, T = 20; `conv_stride_1`: the same without strides, 16 times the work. Before
anything is timed, every output spike of Lava, of the engine and of the reference must be equal, and every layer must
fire in 5 to 95 % of its neuron-steps.

Lava is timed in one uninterrupted run of many samples, without its start and its compiling, and with nothing recorded
but the last layer's spikes. The engine is timed whole, tables included. The bare products are torch's in float32, on
the same integers as floats, of all steps and samples at once, without neurons: what any simulator that multiplies
matrices must do. The two have the same number of threads; Lava has a process for every layer and every connection,
spread over all processors by itself. They run in turns, so that whatever else the machine does falls on all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import ROOT, provenance, write_json
from numpy.typing import NDArray

from neurodeploy.export import lava, lava_job, lava_process
from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate import engine, reference

DENSITY = 0.13
BARS = {"dense": {"ratio": 400.0, "over_matmul": 2.5}, "conv": {"ratio": 100.0, "over_matmul": 2.5}}
RIVAL = "engine_vs_lava_rival.py"


class Sizes(NamedTuple):
    """Samples of the engine and the products at once, and of a run of Lava."""

    ours: int
    lava: int


def dense_network() -> Program:
    """784-128-10, T = 100."""
    rng = np.random.default_rng(0)
    layers = (
        layer("hidden", (128,), dense(rng, "input", 128, 784, mean=1, spread=20), threshold=700, decay=410),
        layer("out", (10,), dense(rng, "hidden", 10, 128, mean=2, spread=30), threshold=250, decay=410),
    )
    return Program("loihi2", 100, Input((784,)), layers, "spike_count")


def conv_network(stride: int) -> Program:
    """2x28x28 to 16 and 32 channels, 10 classes, T = 20; stride 2 (16x14x14, 32x7x7) or 1."""
    rng = np.random.default_rng(0)
    shapes = [(16, 14, 14), (32, 7, 7)] if stride == 2 else [(16, 28, 28), (32, 28, 28)]
    size = int(np.prod(shapes[1]))
    layers = (
        layer("a", shapes[0], conv(rng, "input", 16, 2, stride), threshold=90, decay=1024),
        layer("b", shapes[1], conv(rng, "a", 32, 16, stride), threshold=250, decay=1024),
        layer("out", (10,), dense(rng, "b", 10, size, mean=1, spread=30), threshold=int(1.2 * size), decay=410),
    )
    return Program("loihi2", 20, Input((2, 28, 28)), layers, "spike_count")


def layer(name: str, shape: Shape, synapses: Synapses, threshold: int, decay: int) -> Layer:
    neurons = FixedPointNeurons(frozen_ints(decay), frozen_ints(threshold), frozen_ints(np.zeros(shape, np.int64)), 6)
    return Layer(name, shape, (synapses,), neurons, 1.0)


def dense(rng: np.random.Generator, source: str, out: int, features: int, mean: float, spread: float) -> DenseSynapses:
    weight = np.rint(rng.normal(mean, spread, (out, features))).clip(-127, 127).astype(np.int64)
    return DenseSynapses(f"{source}-{out}", source, frozen_ints(weight))


def conv(rng: np.random.Generator, source: str, out: int, channels: int, stride: int) -> ConvSynapses:
    weight = np.rint(rng.normal(8, 40, (out, channels, 3, 3))).clip(-127, 127).astype(np.int64)
    return ConvSynapses(f"{source}-{out}", source, frozen_ints(weight), (stride, stride), (1, 1))


NETWORKS: dict[str, tuple[Callable[[], Program], Sizes]] = {
    "dense": (dense_network, Sizes(1000, 41)),
    "conv": (lambda: conv_network(2), Sizes(200, 21)),
    "conv_stride_1": (lambda: conv_network(1), Sizes(40, 6)),
}


def events(program: Program, samples: int) -> NDArray[np.uint8]:
    """(T, B, *shape) spikes at DENSITY."""
    rng = np.random.default_rng(1)
    return (rng.random((program.steps, samples, *program.input.shape)) < DENSITY).astype(np.uint8)


class Lava:
    """One run of Lava: seconds of a sample, and the output spikes, (T, B, classes)."""

    def __init__(self, program: Program, inputs: NDArray[Any]) -> None:
        found = lava.violations(program)
        assert not found, found
        with tempfile.TemporaryDirectory(prefix="engine-vs-lava-") as temporary:
            place = Path(temporary)
            folder = place / "job"
            folder.mkdir()
            lava_job.save(folder, *lava_job.describe(program))
            np.save(folder / "inputs.npy", inputs.astype(np.int32))
            for name in lava.WORKER_FILES:
                (place / name).write_bytes((ROOT / "export" / name).read_bytes())
            (place / RIVAL).write_bytes(Path(__file__).with_name(RIVAL).read_bytes())
            command = [*lava_process.interpreter(), str(place / RIVAL), str(folder)]
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=900)
            if done.returncode or not (folder / "time.json").exists():
                raise RuntimeError(f"Lava failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
            timing = json.loads((folder / "time.json").read_text(encoding="utf-8"))
            self.spikes = np.load(folder / "spikes.npy", allow_pickle=False)
        self.seconds_per_sample = timing["seconds"] / timing["samples"]


def bare_products(program: Program, inputs: NDArray[Any], spikes: dict[str, NDArray[Any]]) -> Callable[[], None]:
    """Every layer's product for all steps and samples, in float32."""
    sources = {"input": inputs} | spikes
    jobs: list[tuple[Synapses, torch.Tensor, torch.Tensor]] = []
    for one in (synapses for each in program.layers for synapses in each.synapses):
        values = torch.from_numpy(sources[one.source].astype(np.float32)).flatten(0, 1)
        weight = torch.from_numpy(one.weight.astype(np.float32))
        jobs.append((one, values if isinstance(one, ConvSynapses) else values.flatten(1), weight))

    def work() -> None:
        for one, values, weight in jobs:
            if isinstance(one, ConvSynapses):
                torch.nn.functional.conv2d(values, weight, None, one.stride, one.padding)
            else:
                torch.mm(values, weight.T)

    return work


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def check(program: Program, rival: Lava, inputs: NDArray[Any]) -> dict[str, float]:
    """Firing rates of all layers; every output spike of all three simulators is the same."""
    expected, own = reference.run(program, inputs), engine.run(program, inputs)
    last = program.layers[-1].name
    for each in expected.spikes:
        assert np.array_equal(own.spikes[each], expected.spikes[each]), each
        assert np.array_equal(own.potentials[each], expected.potentials[each]), each
    assert np.array_equal(rival.spikes, expected.spikes[last]), "Lava's output spikes differ"
    rates = expected.firing_rates()
    assert all(0.05 < rate < 0.95 for rate in rates.values()), rates
    return rates


def measured(name: str, rounds: int) -> dict[str, Any]:
    """What the JSON file holds of one network."""
    build, sizes = NETWORKS[name]
    program = build()
    few, many = events(program, sizes.lava), events(program, sizes.ours)
    rates = check(program, Lava(program, few), few)
    products = bare_products(program, many, engine.run(program, many).spikes)
    products()
    seconds: dict[str, list[float]] = {"ours": [], "lava": [], "matmul": []}
    for _ in range(rounds):
        seconds["lava"].append(Lava(program, few).seconds_per_sample)
        for _ in range(3):
            seconds["ours"].append(timed(lambda: engine.run_chips([program], many)) / sizes.ours)
            seconds["matmul"].append(timed(products) / sizes.ours)
    median = {who: statistics.median(values) for who, values in seconds.items()}
    return {
        "ours_samples_per_s": 1 / median["ours"],
        "lava_samples_per_s": 1 / median["lava"],
        "matmul_samples_per_s": 1 / median["matmul"],
        "ratio": median["lava"] / median["ours"],
        "over_matmul": median["ours"] / median["matmul"],
        "steps": program.steps,
        "samples": sizes._asdict(),
        "firing_rates": rates,
        "seconds_per_sample": {who: sorted(values) for who, values in seconds.items()},
    }


def main() -> None:
    """Measures, prints and writes; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--rounds", type=int, default=3)
    threads = min(2, os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=threads, help="of the engine and of the bare products")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    content: dict[str, Any] = {}
    for name in options.networks:
        content[name] = measured(name, options.rounds)
        shown = {key: round(content[name][key], 3) for key in list(content[name])[:5]}
        print(name, shown, {layer: round(rate, 3) for layer, rate in content[name]["firing_rates"].items()}, flush=True)
    missed = [
        f"{name}: {key} {content[name][key]:.2f}, the bar is {bar:g}"
        for name, bars in BARS.items()
        if name in content
        for key, bar in bars.items()
        if (content[name][key] > bar if key == "over_matmul" else content[name][key] < bar)
    ]
    if options.json is not None:
        extra = {"bars": BARS, "threads": options.threads, "rounds": options.rounds, "provenance": provenance()}
        write_json(options.json, content | extra)
    if missed:
        sys.exit("\n".join(missed))


if __name__ == "__main__":
    main()
