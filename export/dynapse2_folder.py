"""The artifact folder of a Dynapse2Network.

    manifest.json            format, SHA-256 of every other file, structure, facts
    network.safetensors      codes, cores, base currents, biases
    golden.safetensors       inputs, labels, and what the engine makes of them: output spikes and readout
    dynapse2_memories.json   CAM, SRAM and bias currents of every core

Written under another name and renamed when it is complete; everything read is checked before use: sizes, hashes, types,
shapes, and the ranges of codes and currents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays

from neurodeploy.errors import FileFormatError, NeurodeployError
from neurodeploy.export import dynapse2
from neurodeploy.export.sealed_folder import number, read_arrays, read_manifest, seal, whole
from neurodeploy.folders import new_folder, recover
from neurodeploy.hw_models.dynapse2 import dynapse2_chip
from neurodeploy.hw_models.dynapse2_network import SHARED, Block, Dynapse2Network
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.nodes import Input
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate.dynapse2 import check_inputs

FORMAT, VERSION = "neurodeploy-dynapse2", 1
_NETWORK, _GOLDEN = "network.safetensors", "golden.safetensors"
_ARRAYS = ("codes_in", "codes_rec", "core", "base")
_KINDS = {"facts": dict, "network": dict, "chip": str}


@dataclass(frozen=True, eq=False)
class Dynapse2Golden:
    """Inputs and what the engine makes of them.

    Attributes:
        inputs: (B, channels), or (steps, B, channels), events.
        labels: (B,).
        readout: (B, outputs).
        output_spikes: (chip steps, B, outputs).
    """

    inputs: NDArray[Any]
    labels: IntArray
    readout: IntArray
    output_spikes: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Dynapse2Artifact:
    """What `save_dynapse2` writes and `load_dynapse2` reads; `facts` are plain values for people and reports."""

    network: Dynapse2Network
    golden: Dynapse2Golden
    facts: Mapping[str, Any]


def golden_of(network: Dynapse2Network, inputs: NDArray[Any], labels: IntArray) -> Dynapse2Golden:
    """Runs the engine."""
    recording = dynapse2_engine.run(network, inputs, record=False)
    return Dynapse2Golden(inputs, labels, recording.readout, recording.spikes)


def save_dynapse2(artifact: Dynapse2Artifact, folder: Path) -> list[str]:
    """Writes the folder; returns what was left out, with the reasons.

    Raises:
        UsageError: where `folder` exists and is not an artifact of this kind.
        NeurodeployError: where the disk fails; what was there is whole.
    """
    network, golden = artifact.network, artifact.golden
    arrays = {name: getattr(network, name) for name in _ARRAYS}
    arrays |= {"codes_in": network.codes_in.astype(np.int8), "codes_rec": network.codes_rec.astype(np.int8)}
    arrays |= {f"bias.{name}": values for name, values in network.biases.items()}
    contents = {
        _NETWORK: save_arrays({name: np.ascontiguousarray(values) for name, values in arrays.items()}),
        _GOLDEN: save_arrays({one.name: np.ascontiguousarray(getattr(golden, one.name)) for one in fields(golden)}),
    }
    with new_folder(folder, is_dynapse2, "a DYNAP-SE2 artifact") as place:
        omitted = dynapse2.write(network, place)
        for name, content in contents.items():
            (place / name).write_bytes(content)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "target": dynapse2.NAME,
            "chip": network.chip,
            "omitted": omitted,
            "facts": dict(artifact.facts),
            "network": {
                "steps": network.steps,
                "substeps": network.substeps,
                "dt": network.dt,
                "input": {"shape": network.input.shape, "scale": network.input.scale, "bits": network.input.bits},
                "blocks": [[block.name, block.start, block.stop, block.latency] for block in network.blocks],
            },
        }
        seal(place, manifest)
    return omitted


def load_dynapse2(folder: Path) -> Dynapse2Artifact:
    """Reads and checks a folder.

    Raises:
        FileFormatError: naming the file that is missing, changed, damaged or not ours.
    """
    recover(folder)
    manifest = read_manifest(folder, FORMAT, VERSION, _KINDS)
    arrays = {name: read_arrays(folder, name, manifest) for name in (_NETWORK, _GOLDEN)}
    try:
        dynapse2_chip(manifest["chip"])
        network = _decode_network(manifest, arrays[_NETWORK])
        golden = _decode_golden(network, arrays[_GOLDEN])
    except (NeurodeployError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise FileFormatError(f"{folder}: not a valid DYNAP-SE2 artifact: {error}") from error
    return Dynapse2Artifact(network, golden, manifest["facts"])


def is_dynapse2(path: Path) -> bool:
    """True where a folder has the manifest of a DYNAP-SE2 artifact."""
    try:
        read_manifest(path, FORMAT, VERSION, _KINDS)
    except FileFormatError:
        return False
    return True


def _decode_network(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Dynapse2Network:
    described = manifest["network"]
    expected = {*_ARRAYS, *(f"bias.{name}" for name in SHARED)}
    if set(arrays) != expected:
        raise ValueError(f"arrays {sorted(arrays)} where {sorted(expected)} are expected")
    source = described["input"]
    shape = tuple(whole("input.shape", edge) for edge in source["shape"])
    blocks = []
    for name, *numbers in described["blocks"]:
        if not isinstance(name, str) or len(numbers) != 3:
            raise TypeError("a block is a name and three integers")
        blocks.append(Block(name, *(whole(f"block {name}", one) for one in numbers)))
    return Dynapse2Network(
        chip=manifest["chip"],
        steps=whole("steps", described["steps"]),
        substeps=whole("substeps", described["substeps"]),
        dt=number("dt", described["dt"]),
        input=Input(shape, number("input.scale", source["scale"]), whole("input.bits", source["bits"])),
        biases={name: arrays[f"bias.{name}"] for name in SHARED},
        blocks=tuple(blocks),
        **{name: arrays[name] for name in _ARRAYS},
    )


def _decode_golden(network: Dynapse2Network, arrays: Mapping[str, NDArray[Any]]) -> Dynapse2Golden:
    wanted = {one.name for one in fields(Dynapse2Golden)}
    if set(arrays) != wanted:
        raise ValueError(f"golden arrays {sorted(arrays)} where {sorted(wanted)} are expected")
    golden = Dynapse2Golden(**arrays)
    batch = golden.labels.size
    expected = {
        "labels": (batch,),
        "readout": (batch, network.outputs),
        "output_spikes": (network.chip_steps, batch, network.outputs),
    }
    for name, shape in expected.items():
        array = getattr(golden, name)
        if array.shape != shape or array.dtype.kind not in "iu":
            raise ValueError(f"golden {name} of shape {array.shape}, {array.dtype}: integers {shape} are expected")
    if golden.inputs.shape[-2:-1] != (batch,):
        raise ValueError(f"golden inputs of shape {golden.inputs.shape} for {batch} labels")
    check_inputs(network, golden.inputs)
    return golden
