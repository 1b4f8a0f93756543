"""A data set of one's own: one .npz file with plain arrays."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DATA_ROOT_VARIABLE, Samples, Split
from neurodeploy.data.images import round_to_bits
from neurodeploy.data.places import Loaded
from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.ir.nodes import Input

_NEEDED = ("train_samples", "train_labels", "test_samples", "test_labels")
_OPTIONAL = ("validation_samples", "validation_labels", "temporal", "classes")
_STATIC = "(N, features), (N, height, width) or (N, channels, height, width)"
_TEMPORAL = "(N, T, features), (N, T, height, width) or (N, T, channels, height, width)"


def load_npz(config: DataConfig, steps: int) -> Loaded:
    """Arrays `train_samples`, `train_labels`, `test_samples`, `test_labels`, and what may be added to them.

    `validation_samples` and `validation_labels` take the place of a part of the training samples (data.validation is
    then not used); `classes` is the number of classes, without it one more than the largest training label.

    Samples are integers of 0 to 255 (uint8 or bool, or other integers within), in one of two orders:

    * static: (N, features), (N, height, width) or (N, channels, height, width). Where no sample is above 1 the input
      is binary; else 255 is the value 1, and samples are rounded to `config.bits` (8 by default).
    * temporal: (N, T, features), (N, T, height, width) or (N, T, channels, height, width), T as `network.steps`.
      Samples are spikes or counts of them: the value is the integer, clipped to `config.bits` (by default as many as
      the largest sample needs).

    Images without channels get one. The array `temporal` (true or false) says which it is; without it arrays of 3 and
    5 dimensions are temporal, of 2 and 4 static.

    Raises:
        FileFormatError: for a damaged file, or one that needs pickle; UsageError: for missing arrays, other types and
            shapes, or another number of steps.
    """
    path = find_npz(config.name, config.root)
    if path is None:
        root = config.root or os.environ.get(DATA_ROOT_VARIABLE)
        raise UsageError(f"data.name={config.name}: there is no such file{f', nor in {root}' if root else ''}")
    arrays = _read(path)
    missing = [name for name in _NEEDED if name not in arrays]
    if ("validation_samples" in arrays) != ("validation_labels" in arrays):
        missing.append("one of validation_samples and validation_labels")
    if missing:
        raise UsageError(
            f"{path}: no {', no '.join(missing)}; it holds {', '.join(arrays) or 'no array of these names'}"
        )
    temporal = _is_temporal(path, arrays)
    parts = [part for part in ("train", "test", "validation") if f"{part}_samples" in arrays]
    samples = {part: _samples(path, f"{part}_samples", arrays[f"{part}_samples"], temporal) for part in parts}
    labels = {part: _integers(path, f"{part}_labels", arrays[f"{part}_labels"]).astype(np.int64) for part in parts}
    if temporal and samples["train"].shape[1] != steps:
        found, each = samples["train"].shape[1], ", ".join(map(str, samples["train"].shape[2:]))
        hint = "" if "temporal" in arrays else "; of images without channels write temporal=False into the file"
        raise UsageError(
            f"{path}: samples of {found} steps, batches of ({found}, B, {each}), where network.steps={steps} expects "
            f"({steps}, B, {each}); the order is (T, B, ...){hint}"
        )
    largest = max((int(values.max()) for values in samples.values() if values.size), default=0)
    bits, scale = config.bits or max(1, largest.bit_length()), 1.0
    if temporal:
        samples = {part: np.minimum(values, 2**bits - 1).astype(np.uint8) for part, values in samples.items()}
    elif largest > 1:
        bits = config.bits or 8
        scale = 1 / (2**bits - 1)
        samples = {part: round_to_bits(values, 255, bits) for part, values in samples.items()}
    else:
        bits = 1
    shape = samples["train"].shape[2 if temporal else 1 :]
    if 0 in shape:
        raise UsageError(f"{path}: train_samples of shape {arrays['train_samples'].shape}: no dimension may be 0")
    classes = _classes(path, arrays["classes"]) if "classes" in arrays else int(labels["train"].max(initial=0)) + 1
    splits = {part: Split(samples[part], labels[part], temporal) for part in parts}
    source = Input(shape, scale, bits)
    return Loaded(path.name, source, classes, splits["train"], splits["test"], splits.get("validation"))


def find_npz(name: str, root: str | None) -> Path | None:
    """The file of that name, here or in the folder of data sets; None where there is none."""
    path = Path(name).expanduser()
    folder = root or os.environ.get(DATA_ROOT_VARIABLE)
    if not path.is_file() and folder:
        path = Path(folder).expanduser() / path
    return path if path.is_file() else None


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as handle:
            file = np.load(handle, allow_pickle=False)
            if isinstance(file, np.lib.npyio.NpzFile):
                return {name: file[name] for name in file.files if name in (*_NEEDED, *_OPTIONAL)}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise FileFormatError(f"{path}: damaged, or not plain arrays ({error}); write it with numpy.savez") from error
    raise FileFormatError(f"{path}: one array, not a .npz of several; write it with numpy.savez")


def _is_temporal(path: Path, arrays: dict[str, NDArray[Any]]) -> bool:
    shape = arrays["train_samples"].shape
    flag = arrays.get("temporal")
    if flag is not None and (flag.size != 1 or flag.dtype.kind not in "iub" or int(flag.item()) not in (0, 1)):
        raise UsageError(f"{path}: temporal {_told(flag)}; one true or false is expected")
    temporal = bool(flag.item()) if flag is not None else len(shape) in (3, 5)
    dimensions = len(shape) - temporal
    if not 2 <= dimensions <= 4:
        orders = _TEMPORAL if temporal else _STATIC
        raise UsageError(f"{path}: train_samples of shape {shape}; {orders} is expected (temporal={temporal})")
    return temporal


def _classes(path: Path, array: NDArray[Any]) -> int:
    if array.size != 1 or array.dtype.kind not in "iu" or array.item() < 2:
        raise UsageError(f"{path}: classes {_told(array)}; one integer from 2 on is expected")
    return int(array.item())


def _told(array: NDArray[Any]) -> str:
    return f"is {array.item()!r}" if array.size == 1 else f"of shape {array.shape}"


def _samples(path: Path, name: str, array: NDArray[Any], temporal: bool) -> Samples:
    values = _integers(path, name, array)
    if values.size and (values.min() < 0 or values.max() > 255):
        raise UsageError(f"{path}: {name} from {values.min()} to {values.max()}; 0 to 255 is allowed")
    values = values.astype(np.uint8)
    return np.expand_dims(values, -3) if values.ndim - temporal == 3 else values


def _integers(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "iub":
        values = array.dtype.kind == "f" and name.endswith("_samples")
        hint = "; for values of 0 to 1 write numpy.rint(255 * values)" if values else ""
        raise UsageError(f"{path}: {name} of type {array.dtype}; integers are expected{hint}")
    return array
