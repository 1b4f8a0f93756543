"""Equality of the Xylo simulators on random networks: reference, engine, SynSense's xylosim, Rockpool's XyloSim.

    python benchmarks/xylo_equality.py -o docs/results/xylo-equality.json

Compared are every current, potential and spike of every step, and the readout. A third of the networks are wild: they
saturate their registers and fire many times in a step. Rockpool's XyloSim, a wrapper of xylosim, runs the first
`--rockpool` networks where Rockpool is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, provenance, write_json

from neurodeploy.export import xylo
from neurodeploy.simulate import xylo as reference
from neurodeploy.simulate import xylo_engine

sys.path.insert(0, str(ROOT / "tests"))
from xylo_networks import FIELDS, random_events, random_network


def main() -> None:
    """Runs all of them; exits with 1 where a value differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--networks", type=int, default=600)
    parser.add_argument("--samples", type=int, default=2, help="recordings for each network")
    parser.add_argument("--rockpool", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started, rng = time.process_time(), np.random.default_rng(options.seed)
    wrapped = _rockpool() if options.rockpool else None
    total = {"values": 0, "engine": 0, "xylosim": 0, "rockpool": 0, "rockpool_networks": 0}
    firing, several, full = [], [], []
    for number in range(options.networks):
        network = random_network(rng, wild=number % 3 == 0)
        events = random_events(rng, network, options.samples)
        wanted = reference.run(network, events)
        total["values"] += sum(getattr(wanted, name).size for name in FIELDS)
        total["engine"] += _differing(wanted, xylo_engine.run(network, events))
        total["xylosim"] += _differing(wanted, xylo.run(network, events, limits=False))
        if wrapped is not None and number < options.rockpool:
            total["rockpool"] += _differing_in_rockpool(wrapped, network, events, wanted)
            total["rockpool_networks"] += 1
        assert wanted.saturated is not None
        steps = wanted.spikes.shape[0] * options.samples
        firing.append(float((wanted.spikes > 0).mean()))
        several.append(float((wanted.spikes > 1).mean()))
        full.append(float(wanted.saturated.mean()) / steps)
    result = {
        "provenance": provenance(),
        "networks": options.networks,
        "recordings": options.networks * options.samples,
        "values_compared": total["values"],
        "differing": {name: total[name] for name in ("engine", "xylosim", "rockpool")},
        "rockpool_networks": total["rockpool_networks"],
        "mean_share_of_neuron_steps": {
            "with_spikes": float(np.mean(firing)),
            "with_several_spikes": float(np.mean(several)),
            "with_a_register_at_its_limit": float(np.mean(full)),
        },
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    print(result)
    if options.output is not None:
        write_json(options.output, result)
    if total["engine"] or total["xylosim"] or total["rockpool"]:
        raise SystemExit(1)


def _differing(wanted: Any, got: Any) -> int:
    return sum(int((getattr(wanted, name) != getattr(got, name)).sum()) for name in FIELDS)


def _rockpool() -> Any:
    """Rockpool's XyloSim for Xylo Audio 2, or None; `samna`, which its package would import, is kept out."""
    sys.modules.setdefault("samna", None)  # type: ignore[arg-type]
    try:
        importlib.import_module("rockpool")
    except ImportError:
        print("Rockpool is not installed: its XyloSim is left out")
        return None
    with contextlib.suppress(ImportError):  # of samna; the packages that were imported before it stay
        importlib.import_module("rockpool.devices.xylo")
    return importlib.import_module("rockpool.devices.xylo.syns61201").XyloSim


def _differing_in_rockpool(wrapped: Any, network: Any, events: Any, wanted: Any) -> int:
    arguments = xylo.specification(network)
    arguments["bias"] = arguments.pop("bias_hidden")
    simulator = wrapped.from_specification(**arguments)
    padded, found = reference.check_inputs(network, events), 0
    for sample in range(padded.shape[1]):
        simulator.reset_state()
        spikes, _, record = simulator(padded[:, sample], record=True)
        pairs = [(spikes, wanted.output_spikes), (record["Spikes"], wanted.spikes), (record["Vmem"], wanted.potentials)]
        pairs += [(record["Isyn"], wanted.currents[..., 0]), (record["Vmem_out"], wanted.output_potentials)]
        pairs.append((record["Isyn_out"], wanted.output_currents))
        if network.synapses == 2:
            pairs.append((record["Isyn2"], wanted.currents[..., 1]))
        found += sum(int((np.asarray(got) != whole[:, sample]).sum()) for got, whole in pairs)
    return found


if __name__ == "__main__":
    main()
