"""Equality with Rockpool's LIFTorch and LIFNeuronTorch on random networks, spike for spike.

    python benchmarks/rockpool_equality.py --json docs/results/rockpool-equality.json

Programs (both resets, strict and equal comparison, recurrence, residual sums, convolutions unrolled, delays, currents
with memory, every neuron with parameters of its own) are compared in every spike, potential and readout, to the bit.
Networks of populations (one or two synapses per neuron, recurrence, several spikes a step) run as plain LIFTorch
modules, and are compared in every spike. Every layer of every network fires in 5 to 95 % of its neuron-steps. Of the
Programs that reset to zero, the plain form (Rockpool's own subtractive reset) is measured beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, provenance, write_json

from neurodeploy.compare import compare
from neurodeploy.export import rockpool

sys.path.insert(0, str(ROOT / "tests"))
from rockpool_networks import random_populations, random_program


def main() -> None:
    """Runs all of them; exits with 1 where a value differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, dest="output")
    parser.add_argument("--programs", type=int, default=240)
    parser.add_argument("--populations", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if rockpool.backend().version is None:
        raise SystemExit(rockpool.backend().detail)
    started = time.process_time()
    programs, populations = _programs(options), _populations(options)
    result = {
        "provenance": provenance(),
        "rockpool": rockpool.backend().version,
        "programs": programs,
        "populations": populations,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    print(result)
    if options.output is not None:
        write_json(options.output, result)
    if any(result[name]["differing"] for name in ("programs", "populations")):
        raise SystemExit(1)


def _programs(options: Any) -> dict[str, Any]:
    rng, kinds = np.random.default_rng(options.seed), Counter[str]()
    total = dict.fromkeys(("spikes", "potentials", "differing", "plain_spikes", "plain_differing"), 0)
    rates: list[float] = []
    for number in range(options.programs):
        program, inputs, expected, kind = random_program(rng, number)
        found = compare(expected, rockpool.run(program, inputs))
        kinds[kind] += 1
        rates += expected.firing_rates().values()
        total["spikes"] += found.spikes_compared
        total["potentials"] += sum(values.size for values in expected.potentials.values())
        total["differing"] += found.mismatched_spikes + found.mismatched_voltages + found.decisions_differing
        if "zero" in kind:
            plain = compare(expected, rockpool.run_subtractive(program, inputs))
            total["plain_spikes"] += plain.spikes_compared
            total["plain_differing"] += plain.mismatched_spikes
    return {"networks": options.programs} | total | {"firing": [min(rates), max(rates)], "kinds": dict(kinds)}


def _populations(options: Any) -> dict[str, Any]:
    from neurodeploy.export import rockpool_native

    rng, kinds = np.random.default_rng(options.seed + 1), Counter[str]()
    spikes, differing, several, rates = 0, 0, 0, []
    for number in range(options.populations):
        network, inputs, expected, kind = random_populations(rng, number)
        got = rockpool_native.run(network, inputs)
        kinds[kind] += 1
        for name, wanted in expected.spikes.items():
            spikes, several = spikes + wanted.size, several + int((wanted > 1).sum())
            differing += int((got[name] != wanted).sum())
            rates.append(float((wanted > 0).mean()))
        with tempfile.TemporaryDirectory() as folder:
            rockpool_native.save(network, Path(folder) / "modules.json")
    firing = [min(rates), max(rates)]
    return {
        "networks": options.populations,
        "spikes": spikes,
        "with_several_spikes": several,
        "differing": differing,
        "firing": firing,
        "kinds": dict(kinds),
    }


if __name__ == "__main__":
    main()
