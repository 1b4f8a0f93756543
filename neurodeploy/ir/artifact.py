"""The exported artifact: a folder that a chip's user can trust.

    manifest.json         format, SHA-256 of every other file, versions, target, chip, structure of network and program
    network.safetensors   arrays of the float Network
    program.safetensors   arrays of the integer Program
    golden.safetensors    inputs, labels, and what the reference puts out for them: spikes and readout
    ...                   the target's own files

A folder is written under another name and renamed when it is complete, so that a kill or a full disk leaves the one
before it whole. Everything read is checked before use: hashes, types, shapes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from neurodeploy.errors import FileFormatError
from neurodeploy.files import read_file
from neurodeploy.folders import LARGEST_DESCRIPTION, FolderKind, new_folder, recover
from neurodeploy.ir.network import Network
from neurodeploy.ir.program import Program
from neurodeploy.ir.serialize import decode, encode

FORMAT = "neurodeploy-artifact"
VERSION = 1
MANIFEST = "manifest.json"
KIND = FolderKind("an artifact", MANIFEST, FORMAT)
_LARGEST_FILE = 2**32  # bytes


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs and what the reference makes of them.

    Attributes:
        inputs: (B, *shape) integers.
        labels: (B,).
        readout: (B, classes).
        spikes: layer -> (T, B, *shape), 0 or 1.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    readout: NDArray[Any]
    spikes: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Artifact:
    """What `save_artifact` writes and `load_artifact` reads.

    Attributes:
        facts: plain values for people and reports (versions, seeds, accuracies, notes).
    """

    target: str
    network: Network
    program: Program
    golden: Golden
    facts: Mapping[str, Any]


def save_artifact(artifact: Artifact, folder: Path, write_target_files: Callable[[Path], list[str]]) -> list[str]:
    """Writes the folder and returns what the target left out, with the reasons.

    Raises:
        UsageError: where `folder` exists and is not an artifact, or holds other files as well.
        NeurodeployError: where the disk fails; the previous folder is whole.
    """
    with new_folder(folder, KIND) as place:
        return _write_files(artifact, place, write_target_files)


def load_artifact(folder: Path) -> Artifact:
    """Reads and checks a folder.

    Raises:
        FileFormatError: naming the file that is missing, changed, damaged or not ours.
    """
    recover(folder)
    manifest = _read_manifest(folder)
    files = {name: _checked(folder, name, digest) for name, digest in manifest["files"].items()}
    network = decode(manifest["network"], _arrays(files, folder, "network"), Network, f"{folder / MANIFEST}")
    program = decode(manifest["program"], _arrays(files, folder, "program"), Program, f"{folder / MANIFEST}")
    golden = _decode_golden(_arrays(files, folder, "golden"), program, folder)
    return Artifact(str(manifest["target"]), network, program, golden, manifest["facts"])


def is_artifact(path: Path) -> bool:
    """True where a folder has a manifest."""
    try:
        return (path / MANIFEST).is_file()
    except (OSError, ValueError):  # a name too long, or in a folder that may not be read
        return False


def _write_files(artifact: Artifact, folder: Path, write_target_files: Callable[[Path], list[str]]) -> list[str]:
    network_arrays: dict[str, NDArray[Any]] = {}
    program_arrays: dict[str, NDArray[Any]] = {}
    network = encode(artifact.network, network_arrays, "network")
    program = encode(artifact.program, program_arrays, "program")
    omitted = write_target_files(folder)
    for name, arrays in (
        ("network", network_arrays),
        ("program", program_arrays),
        ("golden", _encode_golden(artifact.golden)),
    ):
        (folder / f"{name}.safetensors").write_bytes(save_arrays(arrays))
    digests = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "target": artifact.target,
        "chip": artifact.program.chip,
        "files": digests,
        "omitted": omitted,
        "facts": dict(artifact.facts),
        "network": network,
        "program": program,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")
    return omitted


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not is_artifact(folder):
        raise FileFormatError(f"{folder}: not an artifact, there is no {MANIFEST} (made by `neurodeploy export`)")
    try:
        manifest = json.loads(read_file(path, LARGEST_DESCRIPTION).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error}); export again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not a manifest of ours")
    if manifest.get("version") != VERSION:
        raise FileFormatError(f"{path}: version {manifest.get('version')}, this program reads {VERSION}; export again")
    wanted = {"files": dict, "facts": dict, "network": dict, "program": dict, "target": str}
    for name, kind in wanted.items():
        if not isinstance(manifest.get(name), kind):
            raise FileFormatError(f"{path}: {name} is missing or not a {kind.__name__}")
    return manifest


def _checked(folder: Path, name: str, digest: Any) -> bytes:
    where = f"{folder / MANIFEST}: file {name!r}"
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
        content = read_file(folder / name, _LARGEST_FILE) if inside else b""
    except (OSError, ValueError, RuntimeError, FileFormatError) as error:  # missing; a null character; a loop of links
        raise FileFormatError(f"{where}: {getattr(error, 'strerror', None) or error}; export again") from error
    if not inside:
        raise FileFormatError(f"{where} lies outside the folder")
    if hashlib.sha256(content).hexdigest() != digest:
        raise FileFormatError(f"{folder / name}: changed since it was exported (SHA-256 differs); export again")
    return content


def _arrays(files: Mapping[str, bytes], folder: Path, name: str) -> dict[str, NDArray[Any]]:
    file = f"{name}.safetensors"
    if file not in files:
        raise FileFormatError(f"{folder / MANIFEST}: {file} is not listed")
    try:
        return load_arrays(files[file])
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise FileFormatError(f"{folder / file}: damaged ({error}); export again") from error


def _encode_golden(golden: Golden) -> dict[str, NDArray[Any]]:
    packed = {f"spikes.{name}": np.packbits(values.ravel()) for name, values in golden.spikes.items()}
    return {"inputs": golden.inputs, "labels": golden.labels, "readout": golden.readout, **packed}


def _decode_golden(arrays: Mapping[str, NDArray[Any]], program: Program, folder: Path) -> Golden:
    where = folder / "golden.safetensors"
    firing = [layer for layer in program.layers if layer.fires]
    wanted = {"inputs", "labels", "readout", *(f"spikes.{layer.name}" for layer in firing)}
    if set(arrays) != wanted:
        raise FileFormatError(f"{where}: holds {sorted(arrays)} where {sorted(wanted)} are expected")
    inputs, labels, readout = arrays["inputs"], arrays["labels"], arrays["readout"]
    samples = labels.size
    allowed = {(samples, *program.input.shape), (program.steps, samples, *program.input.shape)}
    if (
        samples == 0
        or inputs.shape not in allowed
        or labels.shape != (samples,)
        or readout.shape != (samples, *program.layers[-1].shape)
        or inputs.dtype.kind not in "iub"
        or labels.dtype.kind not in "iu"
    ):
        raise FileFormatError(
            f"{where}: inputs {inputs.shape} {inputs.dtype}, labels {labels.shape} {labels.dtype}, readout "
            f"{readout.shape} do not fit"
        )
    spikes = {}
    for layer in firing:
        shape = (program.steps, samples, *layer.shape)
        packed = arrays[f"spikes.{layer.name}"]
        if packed.dtype != np.uint8 or packed.shape != (-(-math.prod(shape) // 8),):
            raise FileFormatError(f"{where}: spikes of layer {layer.name} do not fit")
        spikes[layer.name] = np.unpackbits(packed, count=math.prod(shape)).reshape(shape)
    return Golden(inputs, labels, readout, spikes)
