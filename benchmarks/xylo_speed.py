"""Speed of the Xylo simulators: neurodeploy's engine against SynSense's xylosim, in one run.

    python benchmarks/xylo_speed.py -o docs/results/xylo-speed.json

Before anything is timed, outputs must be equal, and between 2 and 95 % of hidden neuron-steps must have a spike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import provenance, write_json

from neurodeploy.export import xylo
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.simulate import xylo_engine

# first hidden layer, second hidden layer, outputs, steps, samples for the engine, samples for xylosim
SIZES = {
    "16-64-8": (64, 0, 8, 100, 2000, 20),
    "16-64-64-8": (64, 64, 8, 100, 2000, 20),
    "16-936-64-8": (936, 64, 8, 100, 200, 3),
}


def main() -> None:
    """Times each size several times in turn; milliseconds are the median of CPU time per sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for name, (first, second, outputs, steps, many, few) in SIZES.items():
        rng = np.random.default_rng(0)
        network = _network(rng, first, second, outputs, steps)
        events = (rng.random((steps, many, 16)) < 0.3).astype(np.uint8)
        engine, vendor = xylo_engine.run(network, events[:, :few]), xylo.run(network, events[:, :few], limits=False)
        assert np.array_equal(engine.output_potentials, vendor.output_potentials)
        rate = float((engine.spikes > 0).mean())
        assert 0.02 < rate < 0.95, rate
        taken: dict[str, list[float]] = {"engine": [], "engine_recording": [], "xylosim": []}
        for _ in range(options.rounds):
            taken["engine"].append(_seconds(partial(xylo_engine.run, network, events, record=False)) / many)
            part = events[:, : many // 10]
            taken["engine_recording"].append(_seconds(partial(xylo_engine.run, network, part)) / (many // 10))
            once, twice = (
                _seconds(partial(xylo.run, network, events[:, :count], limits=False)) for count in (few, 2 * few)
            )
            taken["xylosim"].append((twice - once) / few)  # without what it takes to build the layer
        medians = {f"{kind}_ms": round(1e3 * float(np.median(values)), 4) for kind, values in taken.items()}
        ratio = round(medians["xylosim_ms"] / medians["engine_ms"], 1)
        rows.append({"network": name, "steps": steps, "hidden_rate": rate, **medians, "xylosim_over_engine": ratio})
        print(rows[-1], flush=True)
    if options.output is not None:
        write_json(options.output, {"provenance": provenance(), "rows": rows})


def _network(rng: np.random.Generator, first: int, second: int, outputs: int, steps: int) -> XyloNetwork:
    hidden = first + second
    into, among = np.zeros((16, hidden, 1), dtype=int), np.zeros((hidden, hidden, 1), dtype=int)
    out = np.zeros((hidden, outputs), dtype=int)
    into[:, :first, 0] = _weights(rng, 16, first)
    among[:first, first:, 0] = _weights(rng, first, second)
    out[first if second else 0 :] = _weights(rng, second or first, outputs)
    return XyloNetwork(
        chip="xylo-a2",
        steps=steps,
        input=Input((16,), 1.0, 1),
        weights_in=into,
        weights_rec=among,
        weights_out=out,
        dash_mem=np.full(hidden, 4),
        dash_syn=np.full((hidden, 1), 2),
        threshold=np.full(hidden, 600),
        bias=np.zeros(hidden, dtype=int),
        dash_mem_out=np.full(outputs, 4),
        dash_syn_out=np.full(outputs, 2),
        threshold_out=np.full(outputs, 600),
        bias_out=np.zeros(outputs, dtype=int),
        aliases=np.full(hidden, -1),
    )


def _weights(rng: np.random.Generator, sources: int, targets: int) -> Any:
    return rng.normal(0, 40, (sources, targets)).clip(-127, 127).astype(int)


def _seconds(run: Callable[[], Any]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main()
