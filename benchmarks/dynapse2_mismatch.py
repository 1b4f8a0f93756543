"""Accuracy of DYNAP-SE2 against mismatch, and the speed of simulating it: our engine and Rockpool's DynapSim.

    python benchmarks/dynapse2_mismatch.py -o docs/results/dynapse2-mismatch.json

A network of the preset `dynapse2_digits` is trained for each seed and quantised. For every level of a mismatch the same
virtual chips run in our engine and in DynapSim, jitted and batched, on the same test samples. `presets` has the levels
of silicon, of Rockpool and of Büchel et al., `thermal` noise of ours in both simulators.

Speed is measured in the same run on one core, least of several: a chip is its parameters and all its samples, in

    engine      ours, parameters drawn and packed for each chip
    jitted      one compiled DynapSim that puts out spikes alone, chips as arguments, all samples at once; without
                compilation
    jitted_with_traces  the same with membranes and currents, which a DynapSim module always returns
    natural     Rockpool as its tutorials have it: mismatch_generator(module), then module(data); one or two chips
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import mean_interval, provenance, write_json
from numpy.typing import NDArray

from neurodeploy.config import load_config
from neurodeploy.data.sources import load_data_set
from neurodeploy.deployment_dynapse2 import accuracies
from neurodeploy.experiment import train_model
from neurodeploy.hw_models.dynapse2 import DYNAPSE2
from neurodeploy.hw_models.dynapse2_mismatch import PRESETS, Mismatch, nominal, preset, realise
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.ir.channels import flat
from neurodeploy.quantize_dynapse2 import quantize_dynapse2
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.snn.trace import trace

BACKENDS = ("engine", "dynapse2")
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3)
THERMAL = (0.05, 0.1, 0.2)
_REPEATS = 7


def main() -> None:
    """Trains, sweeps and measures times; writes one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--samples", type=int, default=200, help="test samples")
    parser.add_argument("--natural", type=int, default=1, help="chips in Rockpool's natural use, about 10 s each")
    parser.add_argument("--quick", action="store_true", help="a small network, 3 epochs")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before jax counts the cores: both simulators get one
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    runs: list[dict[str, Any]] = []
    speed: dict[str, Any] = {}
    for seed in range(options.seeds):
        network, inputs, labels = _network(seed, options)
        if not speed:
            speed = _speed(network, inputs, options.natural)
            print(speed, flush=True)
        for name, mismatch, thermal in _conditions():
            found = {
                backend: accuracies(network, mismatch, inputs, labels, options.chips, thermal=thermal, backend=backend)
                for backend in BACKENDS
            }
            runs.append(
                {"seed": seed, "condition": name, "thermal": thermal, "levels": dict(mismatch.levels)}
                | {backend: values.tolist() for backend, values in found.items()}
            )
            print(
                seed, name, {backend: round(float(values.mean()), 4) for backend, values in found.items()}, flush=True
            )
            content = {"provenance": provenance(), "chips": options.chips, "samples": len(labels), "speed": speed}
            write_json(options.output, content | {"summary": _summary(runs), "runs": runs})
    for row in _summary(runs):
        print(row)


def _network(seed: int, options: Any) -> tuple[Dynapse2Network, NDArray[Any], NDArray[Any]]:
    settings = {"train.epochs": 3, "network.hidden": [32]} if options.quick else {}
    config = load_config(None, [], {"seed": seed} | settings, preset="dynapse2_digits")
    with tempfile.TemporaryDirectory() as folder:
        model = train_model(config, Path(folder) / "model.pt", progress=False)
    made = quantize_dynapse2(trace(model.network), DYNAPSE2, model.calibration.inputs)
    test = load_data_set(config.data, config.network.steps, config.seed).test
    inputs = flat(made.input.shape[0], test.inputs)[:, : options.samples]
    return made, np.ascontiguousarray(inputs), test.labels[: options.samples]


def _conditions() -> list[tuple[str, Mismatch, float]]:
    currents = preset("currents").mismatch  # at 10 %
    found = [(f"currents {level}", currents.scaled(level / 0.1), 0.0) for level in LEVELS]
    found += [(name, one.mismatch, 0.0) for name, one in PRESETS.items() if name != "currents"]
    return found + [(f"thermal {level}", currents.scaled(0), level) for level in THERMAL]


def _speed(network: Dynapse2Network, inputs: NDArray[Any], natural: int) -> dict[str, Any]:
    """Seconds a chip, wall and CPU, least of several repetitions."""
    from neurodeploy.export import dynapse2_simulator as simulator

    with simulator.without_samna():
        import jax
        from rockpool.devices.dynapse import frozen_mismatch_prototype
        from rockpool.transform.mismatch import mismatch_generator
    mismatch = preset("rockpool").mismatch
    plain = nominal(network)
    spread, into = simulator.inputs(plain, inputs)
    run, traced = (simulator.compiled(network.neurons, network.dt, traces=traces) for traces in (False, True))

    def engine() -> None:
        dynapse2_engine.run(realise(network, mismatch, 0), inputs, record=False)

    def kernel() -> None:
        dynapse2_engine.run(plain, inputs, record=False)

    def jitted() -> None:
        own = simulator.parameters(realise(network, mismatch, 0))
        jax.block_until_ready(run(own, into, spread, np.float32(0)))

    def traced_too() -> None:
        own = simulator.parameters(realise(network, mismatch, 0))
        jax.block_until_ready(traced(own, into, spread, np.float32(0)))

    ready = simulator.parameters(plain)

    def jitted_alone() -> None:
        jax.block_until_ready(run(ready, into, spread, np.float32(0)))

    started = time.perf_counter()
    jitted_alone()
    found: dict[str, Any] = {"samples": inputs.shape[1], "jit_compile_seconds": time.perf_counter() - started}
    works = {"engine": engine, "jitted": jitted, "jitted_with_traces": traced_too}
    for name, work in (works | {"engine_alone": kernel, "jitted_alone": jitted_alone}).items():
        found[name] = _least(work, _REPEATS)
    if natural:
        module = simulator.module(plain)
        prototype = frozen_mismatch_prototype(module)
        weighted = spread @ into

        def naturally() -> None:
            regenerate = mismatch_generator(prototype, percent_deviation=0.3)
            chip = module.set_attributes(regenerate(module, jax.random.PRNGKey(1)))
            jax.block_until_ready(chip(weighted)[0])

        found["natural"] = _least(naturally, natural, warm=False)
    for rival in ("jitted", "jitted_with_traces", "natural"):
        if rival in found:
            found[f"engine_against_{rival}"] = found[rival]["wall"] / found["engine"]["wall"]
            found[f"engine_against_{rival}_cpu"] = found[rival]["cpu"] / found["engine"]["cpu"]
    found["alone_against_jitted_cpu"] = found["jitted_alone"]["cpu"] / found["engine_alone"]["cpu"]
    return found


def _least(work: Callable[[], None], repeats: int, warm: bool = True) -> dict[str, float]:
    if warm:
        work()
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {"wall": min(wall for wall, _ in times), "cpu": min(cpu for _, cpu in times)}


def _summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys(run["condition"] for run in runs):
        mine = [run for run in runs if run["condition"] == name]
        row: dict[str, Any] = {"condition": name, "networks": len(mine)}
        for backend in BACKENDS:
            chips = np.concatenate([run[backend] for run in mine])
            row[backend] = mean_interval(chips.tolist())
            row[f"{backend}_p05"] = float(np.percentile(chips, 5))
        both = np.concatenate([np.subtract(run["engine"], run["dynapse2"]) for run in mine])
        row["largest_difference_of_a_chip"] = float(np.abs(both).max())
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
