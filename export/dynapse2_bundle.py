"""A bundle for DYNAP-SE2 (`samna_bundle`), with `dynapse2_memories.json` for the board, and for Rockpool's
DynapSim `dynapsim.npz`: its parameters and the weights of the input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError
from neurodeploy.export import dynapse2
from neurodeploy.export.dynapse2_folder import Dynapse2Artifact
from neurodeploy.export.dynapse2_parameters import input_weights, parameters
from neurodeploy.export.samna_bundle import BundleKind
from neurodeploy.hw_models.dynapse2 import dynapse2_chip
from neurodeploy.hw_models.dynapse2_mismatch import nominal
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.hw_models.dynapse2_rules import violations
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate.dynapse2 import check_inputs

KIND = BundleKind(
    "neurodeploy-dynapse2-bundle", "a bundle for DYNAP-SE2", "dynapse2_bundle_run.py", "dynapse2_bundle_readme.txt"
)


def write_bundle(artifact: Dynapse2Artifact, folder: Path, name: str = "network") -> None:
    """`BundleKind.write`, with what the engine puts out.

    Raises:
        DesignRuleError: naming every limit of the chip that the network violates, before anything is written.
    """
    network = artifact.network
    broken = violations(network, dynapse2_chip(network.chip))
    if broken:
        raise DesignRuleError(network.chip, broken)
    events = check_inputs(network, artifact.golden.inputs)
    recording = dynapse2_engine.run(network, events)
    output = recording.spikes[..., network.output.start : network.output.stop]
    expected: dict[str, NDArray[Any]] = {
        "events": events,
        "output_spikes": output,
        "spikes": recording.spikes,
        "readout": recording.readout,
    }
    KIND.write(artifact, folder, name, expected, lambda place: _fill(network, place))


def _fill(network: Dynapse2Network, place: Path) -> None:
    dynapse2.write(network, place)
    chip = nominal(network)
    arrays = {**parameters(chip), "w_in": input_weights(chip)}
    np.savez_compressed(place / "dynapsim.npz", **arrays)  # type: ignore[arg-type,unused-ignore]
