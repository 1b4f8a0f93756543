"""The artifact folder of a Dynapse2Network (`sealed_folder`); the vendor's file is `dynapse2_memories.json`: CAM, SRAM
and bias currents of every core, and where input events go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurodeploy.export import dynapse2
from neurodeploy.export.sealed_folder import (
    Arrays,
    ChipArtifact,
    Folder,
    Golden,
    decode_blocks,
    decode_input,
    expect,
    number,
    whole,
)
from neurodeploy.hw_models.dynapse2 import dynapse2_chip
from neurodeploy.hw_models.dynapse2_network import SHARED, Block, Dynapse2Network
from neurodeploy.ir.arrays import IntArray
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate.dynapse2 import check_inputs

_ARRAYS = ("codes_in", "codes_rec", "core", "base")

Dynapse2Artifact: TypeAlias = ChipArtifact[Dynapse2Network]


def golden_of(network: Dynapse2Network, inputs: NDArray[Any], labels: IntArray) -> Golden:
    """Runs the engine."""
    recording = dynapse2_engine.run(network, inputs, record=False)
    return Golden(inputs, labels, recording.readout, recording.spikes)


def save_dynapse2(artifact: Dynapse2Artifact, folder: Path) -> list[str]:
    """`Folder.save`."""
    return FOLDER.save(artifact, folder)


def load_dynapse2(folder: Path) -> Dynapse2Artifact:
    """`Folder.load`."""
    return FOLDER.load(folder)


def is_dynapse2(path: Path) -> bool:
    """True where a folder has the manifest of a DYNAP-SE2 artifact."""
    return FOLDER.holds(path)


def _encode(network: Dynapse2Network) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    arrays = {name: getattr(network, name) for name in _ARRAYS}
    arrays |= {"codes_in": network.codes_in.astype(np.int8), "codes_rec": network.codes_rec.astype(np.int8)}
    arrays |= {f"bias.{name}": values for name, values in network.biases.items()}
    blocks = [[block.name, block.start, block.stop, block.latency] for block in network.blocks]
    return arrays, {"steps": network.steps, "substeps": network.substeps, "dt": network.dt, "blocks": blocks}


def _decode(chip: str, described: Mapping[str, Any], arrays: Arrays) -> Dynapse2Network:
    dynapse2_chip(chip)
    expect(arrays, {*_ARRAYS, *(f"bias.{name}" for name in SHARED)})
    return Dynapse2Network(
        chip=chip,
        steps=whole("steps", described["steps"]),
        substeps=whole("substeps", described["substeps"]),
        dt=number("dt", described["dt"]),
        input=decode_input(described),
        biases={name: arrays[f"bias.{name}"] for name in SHARED},
        blocks=tuple(Block(*one) for one in decode_blocks(described)),
        **{name: arrays[name] for name in _ARRAYS},
    )


FOLDER: Folder[Dynapse2Network] = Folder(
    "neurodeploy-dynapse2",
    1,
    "DYNAP-SE2 artifact",
    dynapse2.NAME,
    _encode,
    _decode,
    check_inputs,
    dynapse2.write,
)
