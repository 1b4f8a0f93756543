"""The artifact folder of a XyloNetwork (`sealed_folder`); the vendor's file is `xylo_specification.json`, arguments of
Rockpool's config_from_specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurodeploy.export import xylo
from neurodeploy.export.sealed_folder import (
    Arrays,
    ChipArtifact,
    Folder,
    Golden,
    decode_blocks,
    decode_input,
    expect,
    whole,
)
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.xylo import Block, XyloNetwork
from neurodeploy.simulate import xylo as reference

_ARRAYS = tuple(one.name for one in fields(XyloNetwork) if one.type == "IntArray")
_NUMBERS = ("steps", "weight_shift_in", "weight_shift_rec", "weight_shift_out", "latency")

XyloArtifact: TypeAlias = ChipArtifact[XyloNetwork]


def golden_of(network: XyloNetwork, inputs: NDArray[Any], labels: IntArray) -> Golden:
    """Runs the reference."""
    recording = reference.run(network, inputs)
    return Golden(inputs, labels, recording.readout, recording.output_spikes)


def save_xylo(artifact: XyloArtifact, folder: Path) -> list[str]:
    """`Folder.save`."""
    return FOLDER.save(artifact, folder)


def load_xylo(folder: Path) -> XyloArtifact:
    """`Folder.load`."""
    return FOLDER.load(folder)


def is_xylo(path: Path) -> bool:
    """True where a folder has the manifest of a Xylo artifact."""
    return FOLDER.holds(path)


def _encode(network: XyloNetwork) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    numbers = {name: getattr(network, name) for name in _NUMBERS}
    blocks = [[block.name, block.start, block.stop, block.latency] for block in network.blocks]
    arrays = {name: _narrow(getattr(network, name)) for name in _ARRAYS}
    return arrays, numbers | {"readout": network.readout, "blocks": blocks}


def _decode(chip: str, described: Mapping[str, Any], arrays: Arrays) -> XyloNetwork:
    expect(arrays, set(_ARRAYS))
    if not isinstance(described["readout"], str):
        raise TypeError("readout must be a text")
    values: dict[str, Any] = {**arrays, **{name: whole(name, described[name]) for name in _NUMBERS}}
    values["readout"] = described["readout"]
    blocks = tuple(Block(*one) for one in decode_blocks(described))
    return XyloNetwork(chip=chip, input=decode_input(described), blocks=blocks, **values)


def _narrow(values: IntArray) -> NDArray[Any]:
    """In 8 or 16 bits: no register has more."""
    low, high = int(values.min()), int(values.max())
    return values.astype(np.int8 if low >= -128 and high <= 127 else np.int16)


FOLDER: Folder[XyloNetwork] = Folder(
    "neurodeploy-xylo", 1, "Xylo artifact", xylo.NAME, _encode, _decode, reference.check_inputs, xylo.write
)
