"""DYNAP-SE2 on a board, through samna and Rockpool. Not run on hardware yet by its authors.

The configuration is written here, core by core, from `neurodeploy.export.dynapse2_memory`, because Rockpool's own
cannot be used for more than one core (see there). Rockpool gives the codes of the bias generator and talks to the FPGA.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, MissingBackendError, UsageError
from neurodeploy.export import dynapse2, samna_boards
from neurodeploy.export.dynapse2_folder import Dynapse2Artifact
from neurodeploy.export.dynapse2_memory import OUTSIDE, input_destinations, memories
from neurodeploy.hw_models.dynapse2 import BASE_CURRENTS, dynapse2_chip
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.hw_models.dynapse2_rules import violations
from neurodeploy.simulate import dynapse2_engine

BOARD = "a DYNAP-SE2 board"
_SYNAPSES = ("ampa", "gaba", "nmda", "shunt")  # which share Rockpool's Igain_syn and Itau_syn


def run_on_board(artifact: Dynapse2Artifact, simulator: str, samples: int | None = None) -> dict[str, Any]:
    """Runs golden samples on the first board that is found, one after the other.

    Args:
        simulator: the command that runs the artifact without a board, for messages.
        samples: how many; all where None.

    Returns:
        Plain values: evidence, samples, accuracy, engine_accuracy, agreement, readout.

    Raises:
        MissingBackendError: where samna, Rockpool or the board is not here.
        DesignRuleError: naming every limit of the chip that the network violates.
    """
    samna_boards.require(BOARD, simulator)
    found = dynapse2.backend()
    if found.version is None:
        raise MissingBackendError(f"{found.detail}\nWithout it, no board; the engine needs none of it")
    network, golden = artifact.network, artifact.golden
    broken = violations(network, dynapse2_chip(network.chip))
    if broken:
        raise DesignRuleError(network.chip, broken)
    samna, tools = importlib.import_module("samna"), importlib.import_module("rockpool.devices.dynapse")
    try:
        boards = tools.find_dynapse_boards()
    except ConnectionError as error:
        boards, why = [], str(error)
    else:
        why = "samna finds none"
    if not boards:
        raise MissingBackendError(f"{BOARD} is not connected ({why})\nWithout it, the simulator: {simulator}")
    device = tools.DynapseSamna(
        boards[0], configuration(network, samna, tools), input_map(network, tools), dt=network.dt
    )
    count = min(samples or len(golden.labels), len(golden.labels))
    readout = np.stack([_readout(network, device, _events(network, golden.inputs, one)) for one in range(count)])
    decided, labels = readout.argmax(axis=1), golden.labels[:count]
    chosen = golden.inputs[..., :count, :]
    engine = dynapse2_engine.run(network, chosen, record=False).decisions
    return {
        "evidence": "measured-silicon",
        "samples": count,
        "accuracy": float((decided == labels).mean()),
        "engine_accuracy": float((engine == labels).mean()),
        "agreement": float((decided == engine).mean()),
        "readout": readout.tolist(),
    }


def configuration(network: Dynapse2Network, samna: Any, tools: Any) -> Any:
    """samna's Dynapse2Configuration of a network.

    Args:
        samna: the module; tools: `rockpool.devices.dynapse`.
    """
    made = samna.dynapse2.Dynapse2Configuration()
    allocator = importlib.import_module("rockpool.devices.dynapse.hardware.config.allocator").WeightAllocator
    chip = dynapse2_chip(network.chip)
    for one in memories(network):
        core = made.chips[one["chip"]].cores[one["core"]]
        for name, (coarse, fine) in tools.DynapSimCore(**_currents(one["biases"])).export_Dynapse2Parameters().items():
            core.parameters[name].coarse_value, core.parameters[name].fine_value = coarse, fine
        for place, neuron in enumerate(one["neurons"]):
            synapses = [
                allocator.cam_entry(allocator.get_dendrite(sign), _mask(bits), tag, True)
                for tag, sign, bits in neuron["synapses"]
            ]
            synapses += [allocator.cam_entry(use_samna=True) for _ in range(chip.synapses - len(synapses))]
            sent = [
                allocator.sram_entry(cores, hops, OUTSIDE if hops == OUTSIDE else 0, tag, True)
                for hops, cores, tag in neuron["destinations"]
            ]
            sent += [allocator.sram_entry(use_samna=True) for _ in range(chip.destinations - len(sent))]
            core.neurons[place].synapses, core.neurons[place].destinations = synapses, sent
    return made


def input_map(network: Dynapse2Network, tools: Any) -> dict[int, list[Any]]:
    """Channel -> destinations, as DynapseSamna takes them; the FPGA lies one hop before the first chip."""
    alias = importlib.import_module("rockpool.devices.dynapse.samna_alias")
    return {
        channel: [alias.Dynapse2Destination(cores, there + 1, 0, tag) for there, cores, tag in places]
        for channel, places in input_destinations(network).items()
    }


def _readout(network: Dynapse2Network, device: Any, events: NDArray[Any]) -> NDArray[np.int64]:
    """(outputs,) spikes; outputs that stayed silent have no channel in what comes back."""
    raster, _, record = device(events, record=True)
    counts = np.zeros(network.outputs, dtype=np.int64)
    spikes = np.asarray(raster).reshape(-1, len(record["channel_map"])).sum(axis=0)
    for channel, destination in record["channel_map"].items():
        if destination.tag >= network.outputs:
            raise UsageError(f"the board sent tag {destination.tag}, outputs have 0 to {network.outputs - 1}")
        counts[destination.tag] = int(spikes[channel])
    return counts


def _events(network: Dynapse2Network, inputs: NDArray[Any], sample: int) -> NDArray[Any]:
    """(chip steps, channels) of one sample."""
    shown = inputs[:, sample] if inputs.ndim == 3 else np.broadcast_to(inputs[sample], (network.steps, inputs.shape[1]))
    raster = np.zeros((network.chip_steps, shown.shape[1]))
    raster[: network.steps * network.substeps : network.substeps] = shown
    return raster


def _currents(biases: dict[str, float]) -> dict[str, float]:
    """Of DynapSimCore: the four kinds of synapses by name."""
    kept = {name: value for name, value in biases.items() if name not in ("Igain_syn", "Itau_syn")}
    for kind in _SYNAPSES:
        kept |= {f"Igain_{kind}": biases["Igain_syn"], f"Itau_{kind}": biases["Itau_syn"]}
    return kept


def _mask(bits: int) -> list[bool]:
    return [bool(bits >> bit & 1) for bit in range(len(BASE_CURRENTS))]
