"""Runs this bundle where a DYNAP-SE2 board is: `python run.py --backend board`; or `--backend dynapsim`, the simulator.

Self-contained: Python 3.10 or later, NumPy, and Rockpool, with the real samna for the board or jax for DynapSim.
neurodeploy is not needed. What comes out is a folder with `result.json` and `result.npz` for `neurodeploy import-run`.

The configuration of the board is written here, core by core, because Rockpool 3.1.0's own cannot be used for more than
one core; Rockpool gives the codes of the bias generator and talks to the FPGA. The chip is analogue: its spikes differ
from the expected ones, and how much they do is the result.

Exit codes: 0 as expected, 1 the simulator differs or the run failed, 2 wrong usage or a changed bundle, 4 something is
not installed or not connected.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.dont_write_bytecode = True  # the bundle stays what it was
BUNDLE = Path(__file__).resolve().parent
if not __package__:  # run as a file
    sys.path.insert(0, str(BUNDLE))  # an isolated Python (-I) leaves it out
PREFIX = f"{__package__}." if __package__ else ""
shared: Any = importlib.import_module(f"{PREFIX}samna_runner")
Arrays = dict[str, Any]
OUTSIDE = -7  # hops to a place where no chip is: the FPGA takes what is sent there, as Rockpool's monitor does
SCALE = 1e-8  # ampere: the unit of weight currents
TOLERATED = 1e-3  # share of spikes that may differ in DynapSim, which computes in float32 in another order
_BASE = 4  # base currents of a core, which a synapse's mask chooses from
_SYNAPSES = ("ampa", "gaba", "nmda", "shunt")  # which share Igain_syn and Itau_syn
_MOST = 255


def configuration(described: Mapping[str, Any], samna: Any, tools: Any) -> Any:
    """samna's Dynapse2Configuration of what `dynapse2_memories.json` holds.

    Args:
        samna: the module; tools: `rockpool.devices.dynapse`.
    """
    made = samna.dynapse2.Dynapse2Configuration()
    allocator = importlib.import_module("rockpool.devices.dynapse.hardware.config.allocator").WeightAllocator
    for one in described["cores"]:
        core = made.chips[one["chip"]].cores[one["core"]]
        for name, (coarse, fine) in tools.DynapSimCore(**_currents(one["biases"])).export_Dynapse2Parameters().items():
            core.parameters[name].coarse_value, core.parameters[name].fine_value = coarse, fine
        for place, neuron in enumerate(one["neurons"]):
            synapses = [
                allocator.cam_entry(allocator.get_dendrite(sign), _mask(bits), tag, True)
                for tag, sign, bits in neuron["synapses"]
            ]
            synapses += [allocator.cam_entry(use_samna=True) for _ in range(described["synapses"] - len(synapses))]
            sent = [
                allocator.sram_entry(cores, hops, OUTSIDE if hops == OUTSIDE else 0, tag, True)
                for hops, cores, tag in neuron["destinations"]
            ]
            sent += [allocator.sram_entry(use_samna=True) for _ in range(described["destinations"] - len(sent))]
            core.neurons[place].synapses, core.neurons[place].destinations = synapses, sent
    return made


def input_map(described: Mapping[str, Any]) -> dict[int, list[Any]]:
    """Channel -> destinations, as DynapseSamna takes them; the FPGA lies one hop before the first chip."""
    alias = importlib.import_module("rockpool.devices.dynapse.samna_alias")
    return {
        channel: [alias.Dynapse2Destination(cores, there + 1, 0, tag) for there, cores, tag in places]
        for channel, places in enumerate(described["inputs"])
    }


def spread(described: Mapping[str, Any], events: Any) -> Any:
    """(chip steps, B, channels): events (steps, B, channels) in the first of each step's steps of the chip."""
    raster = np.zeros((described["chip_steps"], *events.shape[1:]))
    raster[: described["steps"] * described["substeps"] : described["substeps"]] = events
    return raster


def outputs(described: Mapping[str, Any], raster: Any, channel_map: Mapping[int, Any]) -> tuple[Any, Any]:
    """(chip steps, outputs) and (outputs,): spikes by step, and in all, late ones included.

    Outputs that stayed silent have no channel in what comes back.
    """
    steps, count = described["chip_steps"], described["outputs"]
    spikes, readout = np.zeros((steps, count)), np.zeros(count)
    for channel, destination in channel_map.items():
        if destination.tag >= count:
            raise shared.BundleError(f"the board sent tag {destination.tag}, outputs have 0 to {count - 1}", 1)
        shown = raster[:steps, channel]
        spikes[: len(shown), destination.tag], readout[destination.tag] = shown, raster[:, channel].sum()
    return spikes, readout


def on_board(bundle: Any, events: Any, options: argparse.Namespace) -> tuple[Arrays, Any]:
    """One configuration, then sample after sample; DynapseSamna discharges the capacitors in between."""
    described = _memories()
    shared.require_board("DYNAP-SE2", importlib.import_module(f"{PREFIX}samna_probe").version())
    if options.record == "all":
        raise shared.BundleError("--record all: only outputs are watched on a board; leave it out", 2)
    samna, tools = importlib.import_module("samna"), importlib.import_module("rockpool.devices.dynapse")
    try:
        boards = tools.find_dynapse_boards()
    except ConnectionError as error:
        boards, why = [], str(error)
    else:
        why = "samna finds none"
    if not boards:
        raise shared.BundleError(f"no DYNAP-SE2 board is connected to this machine ({why})", 4)
    sys.stderr.write(shared.UNPROVEN + "\n")
    device = tools.DynapseSamna(
        boards[0], configuration(described, samna, tools), input_map(described), dt=described["dt"]
    )
    raster, started = spread(described, events), time.perf_counter()
    found = []
    for sample in range(events.shape[1]):
        out, _, record = device(raster[:, sample], record=True)
        found.append(outputs(described, out, record["channel_map"]))
    spikes, readout = np.stack([one[0] for one in found], axis=1), np.stack([one[1] for one in found])
    facts = {"caution": shared.UNPROVEN, "seconds": time.perf_counter() - started}
    return {"output_spikes": shared.integers(spikes), "readout": shared.integers(readout)}, facts


def in_simulator(bundle: Any, events: Any, options: argparse.Namespace) -> tuple[Arrays, Any]:
    """Rockpool's DynapSim, jitted, all samples at once."""
    described = _memories()
    lacking = [name for name in ("rockpool", "jax") if importlib.util.find_spec(name) is None]
    if lacking:
        raise shared.BundleError(f"{', '.join(lacking)}: not installed; pip install 'rockpool>=3.1,<3.2' jax jaxlib", 4)
    sys.modules.setdefault("samna", None)  # type: ignore[arg-type]  # PyPI's stub installs packages when imported
    logging.disable(logging.WARNING)  # Rockpool's, of the samna that is kept out
    jax, jnp = importlib.import_module("jax"), importlib.import_module("jax.numpy")
    simulator = importlib.import_module("rockpool.devices.dynapse.simulation.dynapsim").DynapSim
    with np.load(BUNDLE / "dynapsim.npz", allow_pickle=False) as stored:
        own = {name: stored[name] for name in stored.files}
    into = own.pop("w_in")
    neurons = len(own["imem"])
    module = simulator(
        shape=(neurons, neurons),
        has_rec=True,
        w_rec=np.zeros((neurons, neurons), dtype=np.float32),
        dt=described["dt"],
        Iscale=SCALE,
        rng_key=jax.random.PRNGKey(0),
    )
    raster = spread(described, events).transpose(1, 0, 2).astype(np.float32)
    spikes = jax.jit(lambda shown: module.set_attributes(own).evolve(jnp.matmul(shown, into))[0])(raster)
    spikes = shared.integers(np.minimum(np.asarray(spikes), _MOST).transpose(1, 0, 2))
    output = spikes[..., neurons - described["outputs"] :]
    found = {"output_spikes": output, "readout": output.sum(axis=0, dtype=np.int32)}
    return found | ({"spikes": spikes} if options.record == "all" else {}), {}


def _memories() -> dict[str, Any]:
    described: dict[str, Any] = json.loads((BUNDLE / "dynapse2_memories.json").read_text(encoding="utf-8"))
    return described


def _currents(biases: Mapping[str, float]) -> dict[str, float]:
    """Of DynapSimCore: the four kinds of synapses by name."""
    kept = {name: value for name, value in biases.items() if name not in ("Igain_syn", "Itau_syn")}
    for kind in _SYNAPSES:
        kept |= {f"Igain_{kind}": biases["Igain_syn"], f"Itau_{kind}": biases["Itau_syn"]}
    return kept


def _mask(bits: int) -> list[bool]:
    return [bool(bits >> bit & 1) for bit in range(_BASE)]


if __name__ == "__main__":
    runner = shared.Runner(
        BUNDLE,
        "Runs this network on a DYNAP-SE2 board or in Rockpool's DynapSim.",
        "neurodeploy-dynapse2-result",
        {shared.BOARD: on_board, "dynapsim": in_simulator},
        {shared.BOARD: 1.0, "dynapsim": TOLERATED},
        ("numpy", "rockpool", "samna", "jax", "jaxlib"),
    )
    sys.exit(runner.main())
