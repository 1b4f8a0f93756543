"""The artifact folder of a XyloNetwork.

    manifest.json              format, SHA-256 of every other file, structure, facts
    network.safetensors        arrays of the XyloNetwork
    golden.safetensors         inputs, labels, and what the reference puts out for them: output spikes and readout
    xylo_specification.json    arguments of Rockpool's config_from_specification

Written under another name and renamed when it is complete; everything read is checked before use: sizes, hashes, types,
shapes, and the limits of registers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from neurodeploy.errors import FileFormatError, NeurodeployError
from neurodeploy.export import xylo
from neurodeploy.folders import new_folder, recover
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.xylo import Block, XyloNetwork
from neurodeploy.simulate import xylo as reference

FORMAT, VERSION, MANIFEST = "neurodeploy-xylo", 1, "manifest.json"
_NETWORK, _GOLDEN = "network.safetensors", "golden.safetensors"
_LARGEST_MANIFEST, _LARGEST_FILE = 4 * 2**20, 2**30
_ARRAYS = tuple(one.name for one in fields(XyloNetwork) if one.type == "IntArray")
_NUMBERS = ("steps", "weight_shift_in", "weight_shift_rec", "weight_shift_out", "latency")


@dataclass(frozen=True, eq=False)
class XyloGolden:
    """Inputs and what the reference makes of them.

    Attributes:
        inputs: (B, channels), or (steps, B, channels), integers.
        labels: (B,).
        readout: (B, outputs).
        output_spikes: (chip steps, B, outputs).
    """

    inputs: NDArray[Any]
    labels: IntArray
    readout: IntArray
    output_spikes: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class XyloArtifact:
    """What `save_xylo` writes and `load_xylo` reads; `facts` are plain values for people and reports."""

    network: XyloNetwork
    golden: XyloGolden
    facts: Mapping[str, Any]


def golden_of(network: XyloNetwork, inputs: NDArray[Any], labels: IntArray) -> XyloGolden:
    """Runs the reference."""
    recording = reference.run(network, inputs)
    return XyloGolden(inputs, labels, recording.readout, recording.output_spikes)


def save_xylo(artifact: XyloArtifact, folder: Path) -> list[str]:
    """Writes the folder; returns what was left out, with the reasons.

    Raises:
        UsageError: where `folder` exists and is not an artifact of this kind.
        NeurodeployError: where the disk fails; what was there is whole.
    """
    network, golden = artifact.network, artifact.golden
    contents = {
        _NETWORK: save_arrays({name: _narrow(getattr(network, name)) for name in _ARRAYS}),
        _GOLDEN: save_arrays({one.name: np.ascontiguousarray(getattr(golden, one.name)) for one in fields(golden)}),
    }
    with new_folder(folder, is_xylo, "a Xylo artifact") as place:
        omitted = xylo.write(network, place)
        for name, content in contents.items():
            (place / name).write_bytes(content)
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.iterdir())}
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "target": xylo.NAME,
            "chip": network.chip,
            "files": digests,
            "omitted": omitted,
            "facts": dict(artifact.facts),
            "network": {name: getattr(network, name) for name in _NUMBERS}
            | {
                "readout": network.readout,
                "input": {"shape": network.input.shape, "scale": network.input.scale, "bits": network.input.bits},
                "blocks": [[block.name, block.start, block.stop, block.latency] for block in network.blocks],
            },
        }
        (place / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")
    return omitted


def load_xylo(folder: Path) -> XyloArtifact:
    """Reads and checks a folder.

    Raises:
        FileFormatError: naming the file that is missing, changed, damaged or not ours.
    """
    recover(folder)
    manifest = _read_manifest(folder)
    arrays = {name: _read_arrays(folder, name, manifest["files"]) for name in (_NETWORK, _GOLDEN)}
    try:
        network = _decode_network(manifest, arrays[_NETWORK])
        golden = _decode_golden(network, arrays[_GOLDEN])
    except (NeurodeployError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise FileFormatError(f"{folder}: not a valid Xylo artifact: {error}") from error
    return XyloArtifact(network, golden, manifest["facts"])


def is_xylo(path: Path) -> bool:
    """True where a folder has the manifest of a Xylo artifact."""
    try:
        _read_manifest(path)
    except FileFormatError:
        return False
    return True


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(_read(path, _LARGEST_MANIFEST).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error}); export again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not the manifest of a Xylo artifact")
    if manifest.get("version") != VERSION:
        raise FileFormatError(
            f"{path}: version {manifest.get('version')!r}, this program reads {VERSION}; export again"
        )
    for name, kind in {"files": dict, "facts": dict, "network": dict, "chip": str}.items():
        if not isinstance(manifest.get(name), kind):
            raise FileFormatError(f"{path}: {name} is missing or not a {kind.__name__}")
    return manifest


def _read_arrays(folder: Path, name: str, digests: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    content = _read(folder / name, _LARGEST_FILE)
    if hashlib.sha256(content).hexdigest() != digests.get(name):
        raise FileFormatError(f"{folder / name}: changed since it was exported (SHA-256 differs); export again")
    try:
        return load_arrays(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise FileFormatError(f"{folder / name}: damaged ({error}); export again") from error


def _read(path: Path, largest: int) -> bytes:
    try:
        if not path.is_file():
            raise FileFormatError(f"{path}: missing, or not a file (made by `neurodeploy export`)")
        if path.stat().st_size > largest:
            raise FileFormatError(f"{path}: {path.stat().st_size} bytes, allowed are {largest}")
        with path.open("rb") as file:
            return file.read(largest)
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror or error}") from error


def _decode_network(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> XyloNetwork:
    described = manifest["network"]
    if set(arrays) != set(_ARRAYS):
        raise ValueError(f"arrays {sorted(arrays)} where {sorted(_ARRAYS)} are expected")
    numbers = {name: _whole(name, described[name]) for name in _NUMBERS}
    source = described["input"]
    scale = source["scale"]
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not isinstance(described["readout"], str):
        raise TypeError("input.scale must be a number and readout a text")
    shape = tuple(_whole("input.shape", edge) for edge in source["shape"])
    blocks = tuple(_block(one) for one in described["blocks"])
    values: dict[str, Any] = {**arrays, **numbers, "readout": described["readout"]}
    source_node = Input(shape, float(scale), _whole("input.bits", source["bits"]))
    return XyloNetwork(chip=manifest["chip"], input=source_node, blocks=blocks, **values)


def _block(values: Any) -> Block:
    name, *numbers = values
    if not isinstance(name, str) or len(numbers) != 3:
        raise TypeError("a block is a name and three integers")
    return Block(name, *(_whole(f"block {name}", number) for number in numbers))


def _whole(name: str, value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{name}: an integer is expected, this is a {type(value).__name__}")
    return value


def _decode_golden(network: XyloNetwork, arrays: Mapping[str, NDArray[Any]]) -> XyloGolden:
    wanted = {one.name for one in fields(XyloGolden)}
    if set(arrays) != wanted:
        raise ValueError(f"golden arrays {sorted(arrays)} where {sorted(wanted)} are expected")
    golden = XyloGolden(**arrays)
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
    reference.check_inputs(network, golden.inputs)  # as many steps as the output spikes that there are
    return golden


def _narrow(values: IntArray) -> NDArray[Any]:
    """In 8 or 16 bits: no register has more."""
    low, high = int(values.min()), int(values.max())
    return np.ascontiguousarray(values.astype(np.int8 if low >= -128 and high <= 127 else np.int16))
