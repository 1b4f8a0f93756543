"""Artifact folders of chips whose networks are not Programs: a network, golden vectors, and what a vendor's tools take.

    manifest.json         format, SHA-256 of every other file, structure, facts
    network.safetensors   arrays of the network
    golden.safetensors    inputs, labels, and what our simulator makes of them: output spikes and readout

Written under another name and renamed when complete; everything read is checked before use: sizes, hashes, types,
shapes, and, by the network itself, the ranges of its numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from neurodeploy.errors import FileFormatError, NeurodeployError
from neurodeploy.files import read_file
from neurodeploy.folders import FolderKind, new_folder, recover
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.nodes import Input

MANIFEST = "manifest.json"
_NETWORK, _GOLDEN = "network.safetensors", "golden.safetensors"
_LARGEST_MANIFEST, _LARGEST_FILE = 4 * 2**20, 2**30
_KINDS = {"facts": dict, "network": dict, "chip": str}
Arrays = Mapping[str, NDArray[Any]]


class ChipNetwork(Protocol):
    """What a folder has to know of a network."""

    @property
    def chip(self) -> str:
        """The name of the chip that it was made for."""

    @property
    def steps(self) -> int:
        """Of the input."""

    @property
    def chip_steps(self) -> int:
        """Of the chip, until the outputs have seen everything."""

    @property
    def outputs(self) -> int:
        """Neurons that are read out."""

    @property
    def input(self) -> Input:
        """Of shape (channels,)."""


N = TypeVar("N", bound=ChipNetwork)


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs and what our simulator makes of them.

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

    def first(self, count: int | None) -> NDArray[Any]:
        """The inputs of the first samples, all where None."""
        return self.inputs[..., :count, :]


@dataclass(frozen=True, eq=False)
class ChipArtifact(Generic[N]):
    """What `Folder.save` writes and `Folder.load` reads; `facts` are plain values for people and reports."""

    network: N
    golden: Golden
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Folder(Generic[N]):
    """How one chip family's networks lie in a folder.

    Attributes:
        form, version: `format` and `version` of the manifest.
        what: what a folder is, for messages, as in "Xylo artifact".
        target: the name of the target.
        encode: network -> its arrays, and the rest as plain values.
        decode: (chip, plain values, arrays) -> network; may raise anything that a wrong value leads to.
        check_inputs: raises UsageError where inputs do not suit a network.
        write: writes the vendor's own files; returns what was left out, with the reasons.
    """

    form: str
    version: int
    what: str
    target: str
    encode: Callable[[N], tuple[dict[str, NDArray[Any]], dict[str, Any]]]
    decode: Callable[[str, Mapping[str, Any], Arrays], N]
    check_inputs: Callable[[N, NDArray[Any]], object]
    write: Callable[[N, Path], list[str]]

    @property
    def kind(self) -> FolderKind:
        """How such a folder is told from others."""
        return FolderKind(f"a {self.what}", MANIFEST, self.form)

    def save(self, artifact: ChipArtifact[N], folder: Path) -> list[str]:
        """Writes the folder; returns what was left out, with the reasons.

        Raises:
            UsageError: where `folder` exists and is not an artifact of this kind, or holds other files as well.
            NeurodeployError: where the disk fails; what was there is whole.
        """
        network, golden = artifact.network, artifact.golden
        arrays, structure = self.encode(network)
        source = {"shape": network.input.shape, "scale": network.input.scale, "bits": network.input.bits}
        contents = {
            _NETWORK: save_arrays({name: np.ascontiguousarray(values) for name, values in arrays.items()}),
            _GOLDEN: save_arrays({one.name: np.ascontiguousarray(getattr(golden, one.name)) for one in fields(golden)}),
        }
        with new_folder(folder, self.kind) as place:
            omitted = self.write(network, place)
            for name, content in contents.items():
                (place / name).write_bytes(content)
            manifest = {
                "format": self.form,
                "version": self.version,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "target": self.target,
                "chip": network.chip,
                "omitted": omitted,
                "facts": dict(artifact.facts),
                "network": structure | {"input": source},
            }
            seal(place, MANIFEST, manifest)
        return omitted

    def load(self, folder: Path) -> ChipArtifact[N]:
        """Reads and checks a folder.

        Raises:
            FileFormatError: naming the file that is missing, changed, damaged or not ours.
        """
        recover(folder)
        manifest = read_manifest(folder, self.form, self.version, _KINDS)
        arrays = {name: read_arrays(folder, name, manifest) for name in (_NETWORK, _GOLDEN)}
        try:
            network = self.decode(manifest["chip"], manifest["network"], arrays[_NETWORK])
            golden = _golden(network, arrays[_GOLDEN])
            self.check_inputs(network, golden.inputs)
        except (NeurodeployError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise FileFormatError(f"{folder}: not a valid {self.what}: {error}") from error
        return ChipArtifact(network, golden, manifest["facts"])

    def holds(self, path: Path) -> bool:
        """True where a folder has the manifest of such an artifact."""
        try:
            read_manifest(path, self.form, self.version, _KINDS)
        except FileFormatError:
            return False
        return True


def seal(place: Path, name: str, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest, with the hashes of all other files under `files`."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.iterdir())}
    text = json.dumps({**manifest, "files": digests}, indent=1, allow_nan=False)
    (place / name).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, form: str, version: int, kinds: Mapping[str, type]) -> dict[str, Any]:
    """The manifest of a folder.

    Args:
        form, version: what `format` and `version` must be.
        kinds: further entries that must be there, and their types; `files` is one of all.

    Raises:
        FileFormatError: naming what is missing, damaged or not ours.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(read_file(path, _LARGEST_MANIFEST).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error}); export again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != form:
        raise FileFormatError(f"{path}: not a {form} manifest")
    if manifest.get("version") != version:
        raise FileFormatError(
            f"{path}: version {manifest.get('version')!r}, this program reads {version}; export again"
        )
    for name, kind in {"files": dict, **kinds}.items():
        if not isinstance(manifest.get(name), kind):
            raise FileFormatError(f"{path}: {name} is missing or not a {kind.__name__}")
    return manifest


def read_arrays(folder: Path, name: str, manifest: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file whose hash the manifest names; raises FileFormatError."""
    content = read_file(folder / name, _LARGEST_FILE)
    if hashlib.sha256(content).hexdigest() != manifest["files"].get(name):
        raise FileFormatError(f"{folder / name}: changed since it was exported (SHA-256 differs); export again")
    try:
        return load_arrays(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise FileFormatError(f"{folder / name}: damaged ({error}); export again") from error


def whole(name: str, value: Any) -> int:
    """An integer of a manifest; raises TypeError for anything else, truth values included."""
    if type(value) is not int:
        raise TypeError(f"{name}: an integer is expected, this is a {type(value).__name__}")
    return value


def number(name: str, value: Any) -> float:
    """A number of a manifest; raises TypeError for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: a number is expected, this is a {type(value).__name__}")
    return float(value)


def decode_input(described: Mapping[str, Any]) -> Input:
    """The input of a manifest's network; raises TypeError or KeyError for anything else."""
    source = described["input"]
    shape = tuple(whole("input.shape", edge) for edge in source["shape"])
    return Input(shape, number("input.scale", source["scale"]), whole("input.bits", source["bits"]))


def decode_blocks(described: Mapping[str, Any]) -> list[tuple[str, int, int, int]]:
    """(name, start, stop, latency) of each block; raises TypeError or KeyError for anything else."""
    blocks = []
    for name, *numbers in described["blocks"]:
        if not isinstance(name, str) or len(numbers) != 3:
            raise TypeError("a block is a name and three integers")
        start, stop, latency = (whole(f"block {name}", one) for one in numbers)
        blocks.append((name, start, stop, latency))
    return blocks


def expect(arrays: Arrays, names: set[str]) -> None:
    """Raises ValueError where other arrays are there."""
    if set(arrays) != names:
        raise ValueError(f"arrays {sorted(arrays)} where {sorted(names)} are expected")


def _golden(network: ChipNetwork, arrays: Arrays) -> Golden:
    expect(arrays, {one.name for one in fields(Golden)})
    golden = Golden(**arrays)
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
    return golden
