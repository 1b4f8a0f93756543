"""SynSense DYNAP-SE2: a Dynapse2Network in Rockpool's DynapSim, and as what the chip's memories hold.

DynapSim is driven jitted and batched (`neurodeploy.export.dynapse2_simulator`), with every neuron's own parameters; one
compilation serves all virtual chips of a network.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, MissingBackendError
from neurodeploy.export.dynapse2_memory import input_destinations, memories
from neurodeploy.export.target import Backend
from neurodeploy.hw_models.dynapse2 import dynapse2_chip
from neurodeploy.hw_models.dynapse2_mismatch import Realised, nominal
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.hw_models.dynapse2_rules import violations
from neurodeploy.simulate.dynapse2 import (
    Dynapse2Recording,
    Thermal,
    check_inputs,
    recording_of,
    thermal_currents,
)

NAME = "dynapse2"
TITLE = "SynSense DYNAP-SE2 (DynapSim of Rockpool 3.1)"
CHIP = "dynapse2"
MEMORIES = "dynapse2_memories.json"
_KNOWN = "3.1."
_INSTALL = "pip install -c constraints.txt -e '.[dynapse2]' (in the clone; Rockpool 3.1 and jax)"


def backend() -> Backend:
    """Whether Rockpool and jax are installed; reads package metadata only, and imports nothing."""
    found = {}
    for package in ("rockpool", "jax", "jaxlib"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return Backend(None, f"{package} is not installed; {_INSTALL}")
    if not found["rockpool"].startswith(_KNOWN):
        return Backend(None, f"rockpool {found['rockpool']} is installed, 3.1 is known; {_INSTALL}")
    return Backend(found["rockpool"], f"with jax {found['jax']}")


def run(
    network: Dynapse2Network | Realised,
    inputs: NDArray[Any],
    *,
    thermal: Thermal | None = None,
    limits: bool = True,
) -> Dynapse2Recording:
    """Runs a network, or a virtual chip's version of it, in DynapSim, all samples at once.

    Args:
        inputs: events, (B, channels) shown at every step of the network, or (steps, B, channels).
        thermal: noise on what arrives at synapses, ours: it is added to the weighted input, DynapSim has none.
        limits: refuse what the chip cannot hold; the simulator itself would run it.

    Raises:
        MissingBackendError: where Rockpool or jax is not installed.
        DesignRuleError: naming every limit of the chip that the network violates.
        NeurodeployError: where the simulator puts out numbers that are not finite.
        UsageError: where the input does not suit the network.
    """
    found = backend()
    if found.version is None:
        raise MissingBackendError(found.detail)
    chip = nominal(network) if isinstance(network, Dynapse2Network) else network
    network = chip.network
    broken = violations(network, dynapse2_chip(network.chip)) if limits else []
    if broken:
        raise DesignRuleError(network.chip, broken)
    events = check_inputs(network, inputs)
    noise = None if thermal is None else thermal_currents(network, thermal, 0, events.shape[1])
    from neurodeploy.export import dynapse2_simulator

    return recording_of(network, *dynapse2_simulator.simulate(chip, events, noise), keep=True)


def write(network: Dynapse2Network, folder: Path) -> list[str]:
    """Writes `dynapse2_memories.json`: parameters, CAM and SRAM of every core and the way of input events, as `deploy`
    writes them to a board.

    Returns:
        What was left out, with the reasons.
    """
    chip = dynapse2_chip(network.chip)
    content = {
        "chip": network.chip,
        "dt": network.dt,
        "steps": network.steps,
        "substeps": network.substeps,
        "chip_steps": network.chip_steps,
        "outputs": network.outputs,
        "synapses": chip.synapses,
        "destinations": chip.destinations,
        "cores": memories(network),
        "inputs": list(input_destinations(network).values()),
    }
    text = json.dumps(content, indent=1, allow_nan=False, default=_plain)
    (folder / MEMORIES).write_text(text + "\n", encoding="utf-8")
    return []


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
