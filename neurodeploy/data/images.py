"""Image data sets: scikit-learn's digits (ships inside a package), MNIST and Fashion-MNIST from idx files."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.dataset import DATA_ROOT_VARIABLE, DataSet, Split
from neurodeploy.errors import FileFormatError, UsageError, unknown_name
from neurodeploy.ir.nodes import Input

_PIXEL_BITS = (
    5  # of idx images: finer grey adds nothing to the accuracy, but takes range from the bias register of a chip
)
_TEST_SEED = 20230426  # digits come without a split: this one is the same for every training seed
_DIGITS_TEST = 360


def load_data_set(name: str, root: str | None, validation: float, seed: int) -> DataSet:
    """A data set by name.

    Args:
        root: folder that holds the files of data sets that do not ship inside a package; without it the environment
            variable NEURODEPLOY_DATA.
        validation: share of the training images kept for validation.
        seed: of the split into training and validation.

    Raises:
        UsageError: for an unknown name or a missing root; FileFormatError for a damaged file.
    """
    if name not in SOURCES:
        raise unknown_name("data set", name, SOURCES)
    source, train, test = SOURCES[name](root)
    count = max(1, round(validation * len(train.samples)))
    if count >= len(train.samples):
        raise UsageError(f"data.validation={validation}: leaves none of {len(train.samples)} images for training")
    order = np.random.default_rng(seed).permutation(len(train.samples))
    kept, held = order[count:], order[:count]
    return DataSet(
        name,
        source,
        int(train.labels.max()) + 1,
        Split(train.samples[kept], train.labels[kept]),
        Split(train.samples[held], train.labels[held]),
        test,
    )


def _digits(root: str | None) -> tuple[Input, Split, Split]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(_TEST_SEED).permutation(len(images))
    test, train = order[:_DIGITS_TEST], order[_DIGITS_TEST:]
    return (
        Input((1, 8, 8), scale=1 / 16, bits=5),
        Split(images[train], labels[train]),
        Split(images[test], labels[test]),
    )


def _idx_set(folder: str) -> Callable[[str | None], tuple[Input, Split, Split]]:
    def load(root: str | None) -> tuple[Input, Split, Split]:
        place = _find_folder(folder, root)
        levels = 2**_PIXEL_BITS - 1
        splits = []
        for part in ("train", "t10k"):
            grey = read_idx(_find_file(place, f"{part}-images-idx3-ubyte"), 3)
            labels = read_idx(_find_file(place, f"{part}-labels-idx1-ubyte"), 1)
            if len(grey) != len(labels):
                raise FileFormatError(f"{place}: {len(grey)} {part} images but {len(labels)} labels")
            images = ((grey.astype(np.uint16) * levels + 127) // 255).astype(np.uint8)[:, None]
            splits.append(Split(images, labels.astype(np.int64)))
        shape = splits[0].samples.shape[1:]
        if splits[1].samples.shape[1:] != shape:
            raise FileFormatError(
                f"{place}: train images of {shape[1:]} but t10k images of {splits[1].samples.shape[2:]}"
            )
        return Input(shape, scale=1 / levels, bits=_PIXEL_BITS), splits[0], splits[1]

    return load


SOURCES: Mapping[str, Callable[[str | None], tuple[Input, Split, Split]]] = {
    "digits": _digits,
    "mnist": _idx_set("mnist"),
    "fashion-mnist": _idx_set("fashion-mnist"),
}


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes of an idx file (.gz or plain), in its own shape.

    The format: two zero bytes, type 8 (unsigned byte), the number of dimensions, each size as a big-endian 32-bit
    integer, then the values (yann.lecun.com/exdb/mnist).

    Raises:
        FileFormatError: where the file is damaged or truncated, or not of that many dimensions.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{path}: damaged or truncated ({error}); fetch the file again") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise FileFormatError(f"{path}: not an idx file of {dimensions} dimensions of bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected or expected == 0:
        raise FileFormatError(f"{path}: {len(content) - header} bytes of values where {shape} needs {expected}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _find_folder(folder: str, root: str | None) -> Path:
    given = root or os.environ.get(DATA_ROOT_VARIABLE)
    if not given:
        raise UsageError(
            f"data set {folder} needs --data-root FOLDER (or {DATA_ROOT_VARIABLE}) with its four idx files"
        )
    for place in (Path(given) / folder, Path(given)):
        if any(place.glob("train-images-idx3-ubyte*")):
            return place
    raise UsageError(f"--data-root {given}: no {folder}/train-images-idx3-ubyte(.gz) there")


def _find_file(place: Path, name: str) -> Path:
    for candidate in (place / f"{name}.gz", place / name):
        if candidate.is_file():
            return candidate
    raise UsageError(f"{place}: {name}(.gz) is missing")
