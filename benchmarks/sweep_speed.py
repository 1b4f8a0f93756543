"""Time of a virtual chip: neurodeploy against Rockpool and against plain PyTorch, both one chip after the other.

    python benchmarks/sweep_speed.py --json docs/results/sweep-speed.json

The network: 784-256-10, T = 20, 1,000 samples of spikes at 13 % (the mean brightness of MNIST), hidden neurons with
decay 0.9. A rival draws a chip and runs all samples, the way its users write it; ours is timed whole as well, drawing
included. All run on the same number of threads, in turns, so that whatever else the machine does falls on all of
them. Memory is that of whole sweeps, in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import provenance, write_json
from numpy.typing import NDArray
from sweep_speed_rivals import DECAY, THRESHOLD, rockpool_loop, torch_loop

from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip, realise_all
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate.engine import run_chips

STEPS, SAMPLES, DENSITY, SCALE = 20, 1000, 0.13, 2.0**-7
LEVELS = {
    "mismatch": {"mismatch": 0.2, "weights": 0.0, "thermal": 0.0},
    "weights": {"mismatch": 0.0, "weights": 0.2, "thermal": 0.0},
    "thermal": {"mismatch": 0.0, "weights": 0.0, "thermal": 0.1},
}
MODELS = {
    "mismatch": NoiseModel(mismatch=0.2),
    "weights": NoiseModel(weight_mismatch=0.2),
    "thermal": NoiseModel(thermal=0.1),
}
BARS = {
    "rockpool_loop_over_ours": 50.0,
    "torch_loop_over_ours": 20.0,
    "torch_loop_over_ours_weights": 3.0,
    "rockpool_loop_over_ours_thermal": 10.0,
}


def neurons(size: int, decay: float, threshold: float = THRESHOLD) -> FloatNeurons:
    return FloatNeurons(frozen_floats(decay), frozen_floats(threshold), frozen_floats(np.zeros(size)))


def dense_network() -> tuple[Program, NDArray[np.uint8]]:
    """The program and its spikes, (T, B, 784)."""
    rng = np.random.default_rng(0)
    hidden = frozen_ints(np.rint(rng.normal(0.2, 5, (256, 784))).clip(-127, 127).astype(np.int64))
    last = frozen_ints(np.rint(rng.normal(0, 30, (10, 256))).clip(-127, 127).astype(np.int64))
    layers = (
        Layer("hidden", (256,), (DenseSynapses("fc1", "input", hidden),), neurons(256, DECAY), SCALE),
        Layer("readout", (10,), (DenseSynapses("fc2", "hidden", last),), neurons(10, 1.0), SCALE, fires=False),
    )
    program = Program("mixed-signal", STEPS, Input((784,)), layers, "membrane")
    return program, (rng.random((STEPS, SAMPLES, 784)) < DENSITY).astype(np.uint8)


def conv_network() -> tuple[Program, NDArray[np.uint8]]:
    """1x28x28, convolutions to 16 and 32 with pooling between, 10 classes, T = 4; images of 8 bits, (B, 1, 28, 28)."""
    rng = np.random.default_rng(0)
    first = frozen_ints(rng.integers(-60, 90, (16, 1, 3, 3)))
    second = frozen_ints(rng.integers(-60, 75, (32, 16, 3, 3)))
    last = frozen_ints(rng.integers(-60, 60, (10, 32 * 7 * 7)))
    shapes = (16, 28, 28), (32, 14, 14)

    def fires(shape: tuple[int, ...], threshold: float) -> FloatNeurons:
        return FloatNeurons(frozen_floats(0.25), frozen_floats(threshold), frozen_floats(np.zeros(shape)))

    layers = (
        Layer("a", shapes[0], (ConvSynapses("c1", "input", first, padding=(1, 1)),), fires(shapes[0], 20000.0), 1.0),
        Layer("b", shapes[1], (ConvSynapses("c2", "a", second, padding=(1, 1), pool=2),), fires(shapes[1], 900.0), 1.0),
        Layer("c", (10,), (DenseSynapses("fc", "b", last, pool=2),), neurons(10, 1.0), 1.0, fires=False),
    )
    images = (rng.random((SAMPLES, 1, 28, 28)) < 0.25) * rng.integers(0, 256, (SAMPLES, 1, 28, 28))
    return Program("mixed-signal", 4, Input((1, 28, 28), bits=8), layers, "membrane"), images.astype(np.uint8)


def ours(program: Program, inputs: NDArray[Any], noise: NoiseModel, chips: range) -> float:
    """Draws chips and runs them; the mean firing rate of the first layer."""
    virtual = [VirtualChip(find_chip(program.chip), noise, chip_id) for chip_id in chips]
    programs = realise_all(virtual, program)
    counts = run_chips(programs, inputs, [one.dynamic_noise(program) for one in virtual])
    name = program.layers[0].name
    fired = counts.spike_counts[name].sum()
    return float(fired / (len(chips) * SAMPLES * program.steps * np.prod(program.layers[0].shape)))


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compared(rounds: int, chips: int) -> dict[str, Any]:
    """Seconds per chip of all three, by kind of noise, and firing rates."""
    program, inputs = dense_network()
    weights = [torch.from_numpy(layer.synapses[0].weight * SCALE).float() for layer in program.layers]
    frames = torch.from_numpy(inputs).float()
    found: dict[str, Any] = {}
    for kind, levels in LEVELS.items():
        rivals = {
            "torch_loop": torch_loop(weights, frames, levels),
            "rockpool_loop": rockpool_loop(weights, frames, levels),
        }
        rates = {name: run(0) for name, run in rivals.items()}
        rates["ours"] = ours(program, inputs, MODELS[kind], range(chips))
        seconds: dict[str, list[float]] = {name: [] for name in ("ours", *rivals)}
        for number in range(rounds):
            for name, run in rivals.items():
                seconds[name].append(timed(lambda run=run, number=number: run(number + 1)))
            whole = timed(lambda kind=kind: ours(program, inputs, MODELS[kind], range(chips)))
            seconds["ours"].append(whole / chips)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        found[kind] = {"seconds_per_chip": medians, "firing_rates": rates}
    return found


def kernel(rounds: int, chips: int) -> dict[str, float]:
    """Neuron updates per second without noise: of whole chips, and of neurons alone, whose input never changes."""
    program, inputs = dense_network()
    mismatch = MODELS["mismatch"]
    alone = Program(
        program.chip,
        STEPS,
        Input((784,), bits=1),
        (Layer("hidden", (256,), program.layers[0].synapses, program.layers[0].neurons, SCALE),),
        "spike_count",
    )
    still = inputs[0]
    whole = statistics.median(timed(lambda: ours(program, inputs, mismatch, range(chips))) for _ in range(rounds))
    neurons_alone = statistics.median(timed(lambda: ours(alone, still, mismatch, range(chips))) for _ in range(rounds))
    return {
        "whole_chips": chips * SAMPLES * STEPS * 266 / whole,
        "neurons_alone": chips * SAMPLES * STEPS * 256 / neurons_alone,
    }


def convolutional(rounds: int, chips: int) -> dict[str, Any]:
    """Seconds per chip of the convolutional network."""
    program, images = conv_network()
    found: dict[str, Any] = {"firing_rate_of_the_first_layer": ours(program, images, MODELS["mismatch"], range(1))}
    for kind, noise in MODELS.items():
        seconds = [timed(lambda noise=noise: ours(program, images, noise, range(chips))) / chips for _ in range(rounds)]
        found[f"seconds_per_chip_{kind}"] = statistics.median(seconds)
    return found


def peak_memory(chips: int) -> float:
    """MB of a process that sweeps so many chips."""
    command = [sys.executable, __file__, "--sweep-chips", str(chips)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def sweep_alone(chips: int) -> None:
    """A sweep into a file of its own; prints the peak of memory."""
    from neurodeploy.sweep.plan import parse_axis
    from neurodeploy.sweep.run import Samples, Study, sweep
    from neurodeploy.sweep.store import Store

    program, inputs = dense_network()
    test = Samples(inputs[:, :200], np.arange(200) % 10)
    study = Study(program, find_chip(program.chip), test, None, None, chips, 0)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.sqlite") as store:
        sweep(study, [parse_axis("mismatch=0.2")], store, False, lambda *_: None)
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent held before
    print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024)


def main() -> None:
    """Measures, prints and writes; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chips", type=int, default=100, help="chips of ours at once")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--sweep-chips", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.sweep_chips:
        sweep_alone(options.sweep_chips)
        return
    found = compared(options.rounds, options.chips)
    each = {kind: one["seconds_per_chip"] for kind, one in found.items()}
    ratios = {
        "rockpool_loop_over_ours": each["mismatch"]["rockpool_loop"] / each["mismatch"]["ours"],
        "torch_loop_over_ours": each["mismatch"]["torch_loop"] / each["mismatch"]["ours"],
        "torch_loop_over_ours_weights": each["weights"]["torch_loop"] / each["weights"]["ours"],
        "rockpool_loop_over_ours_thermal": each["thermal"]["rockpool_loop"] / each["thermal"]["ours"],
    }
    rate = kernel(options.rounds, options.chips)
    content = {
        "ratios": ratios,
        "bars": BARS,
        "neuron_updates_per_second": rate["neurons_alone"],
        "neuron_updates_per_second_whole_chips": rate["whole_chips"],
        "peak_memory_mb": {str(chips): peak_memory(chips) for chips in (10, 100, 1000)},
        "dense_784_256_10": found,
        "conv_28x28": convolutional(max(3, options.rounds // 2), 20),
        "threads": options.threads,
        "provenance": provenance(),
    }
    for name, value in ratios.items():
        print(f"{name}: {value:.1f} (bar {BARS[name]:g})")
    print({name: content[name] for name in ("neuron_updates_per_second", "peak_memory_mb", "conv_28x28")})
    if options.json is not None:
        write_json(options.json, content)
    if any(ratios[name] < bar for name, bar in BARS.items()):
        sys.exit(1)


if __name__ == "__main__":
    main()
