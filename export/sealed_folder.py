"""Folders that name the SHA-256 of their files: reading them, with everything checked before it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays

from neurodeploy.errors import FileFormatError

MANIFEST = "manifest.json"
_LARGEST_MANIFEST, _LARGEST_FILE = 4 * 2**20, 2**30


def seal(place: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest, with the hashes of all other files under `files`."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.iterdir())}
    text = json.dumps({**manifest, "files": digests}, indent=1, allow_nan=False)
    (place / MANIFEST).write_text(text, encoding="utf-8")


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


def read_file(path: Path, largest: int) -> bytes:
    """The bytes of a file of at most so many; raises FileFormatError."""
    try:
        if not path.is_file():
            raise FileFormatError(f"{path}: missing, or not a file (made by `neurodeploy export`)")
        if path.stat().st_size > largest:
            raise FileFormatError(f"{path}: {path.stat().st_size} bytes, allowed are {largest}")
        with path.open("rb") as file:
            return file.read(largest)
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror or error}") from error


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
