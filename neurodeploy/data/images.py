"""Image data sets: scikit-learn's digits (ships inside a package), idx files (MNIST), CIFAR's binary files."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import Samples, Split
from neurodeploy.data.places import Loaded, locate
from neurodeploy.errors import FileFormatError
from neurodeploy.ir.nodes import Input

# Of idx images: finer grey adds nothing to the accuracy, but takes range from the bias register of a chip.
_IDX_BITS = 5
_COLOUR_BITS = 8
_TEST_SEED = 20230426  # digits come without a split: this one is the same for every training seed
_DIGITS_TEST = 360
_DIGITS_LEVELS = 16
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR = {  # files of train, files of test, label bytes per record; the last of them is the class
    10: ([f"data_batch_{batch}.bin" for batch in range(1, 6)], ["test_batch.bin"], 1),
    100: (["train.bin"], ["test.bin"], 2),
}


def round_to_bits(values: Samples, maximum: int, bits: int) -> Samples:
    """k -> the nearest integer to k / maximum * (2**bits - 1), halves up."""
    levels = 2**bits - 1
    table = ((2 * np.arange(maximum + 1) * levels + maximum) // (2 * maximum)).astype(np.uint8)
    return values if levels == maximum else table[values]


def load_digits(config: DataConfig, steps: int) -> Loaded:
    """scikit-learn's 1,797 digits, (1, 8, 8), 17 grey levels; 360 of them, always the same, are the test."""
    from sklearn.datasets import load_digits as read

    bunch = read()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    source = Input((1, 8, 8), scale=1 / _DIGITS_LEVELS, bits=5)
    if config.bits is not None:
        images = round_to_bits(images, _DIGITS_LEVELS, config.bits)
        source = Input((1, 8, 8), scale=1 / (2**config.bits - 1), bits=config.bits)
    order = np.random.default_rng(_TEST_SEED).permutation(len(images))
    test, train = order[:_DIGITS_TEST], order[_DIGITS_TEST:]
    return Loaded("digits", source, 10, Split(images[train], labels[train]), Split(images[test], labels[test]))


def load_idx_set(name: str, config: DataConfig) -> Loaded:
    """MNIST or Fashion-MNIST from its four idx files, each plain or .gz; grey levels rounded to `config.bits`."""
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    wanted = [f"{part}-{kind}" for part in ("train", "t10k") for kind in kinds]
    place = locate(name, config, [(f"{file}(.gz)", (f"{file}.gz", file)) for file in wanted])
    bits = config.bits or _IDX_BITS
    splits, sizes = [], []
    for part in ("train", "t10k"):
        files = [next(p for p in (place / f"{part}-{k}.gz", place / f"{part}-{k}") if p.is_file()) for k in kinds]
        grey, labels = read_idx(files[0], 3), read_idx(files[1], 1)
        if len(grey) != len(labels):
            raise FileFormatError(f"{place}: {len(grey)} {part} images but {len(labels)} labels")
        splits.append(Split(round_to_bits(grey, 255, bits)[:, None], labels.astype(np.int64)))
        sizes.append(grey.shape[1:])
    if sizes[0] != sizes[1]:
        raise FileFormatError(f"{place}: train images of {sizes[0]} but t10k images of {sizes[1]}; (height, width)")
    source = Input((1, *sizes[0]), scale=1 / (2**bits - 1), bits=bits)
    return Loaded(name, source, 10, splits[0], splits[1], official=(60000, 10000))


def load_cifar(classes: int, config: DataConfig) -> Loaded:
    """CIFAR-10 or CIFAR-100 from the official binary files; of CIFAR-100 the fine labels."""
    name = f"cifar-{classes}"
    train, test, label_bytes = _CIFAR[classes]
    folders = ("cifar-10-batches-bin",) if classes == 10 else ("cifar-100-binary",)
    place = locate(name, config, [(file, (file,)) for file in (*train, *test)], folders)
    bits = config.bits or _COLOUR_BITS
    splits = []
    for files in (train, test):
        parts = [read_cifar(place / file, label_bytes, classes) for file in files]
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        splits.append(Split(round_to_bits(images, 255, bits), labels))
    source = Input(_CIFAR_SHAPE, scale=1 / (2**bits - 1), bits=bits)
    return Loaded(name, source, classes, splits[0], splits[1], official=(50000, 10000))


def read_cifar(path: Path, label_bytes: int, classes: int) -> tuple[Samples, NDArray[np.int64]]:
    """Images (N, 3, 32, 32) and labels (N,) of one of CIFAR's binary files.

    The format (cs.toronto.edu/~kriz/cifar.html): records of `label_bytes` labels, the class last, then 3072 values:
    32 x 32 of red, of green, of blue, each row by row.

    Raises:
        FileFormatError: where the file is not whole records, is empty, or a label is not one of the classes.
    """
    size = label_bytes + int(np.prod(_CIFAR_SHAPE))
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
    if content.size == 0 or content.size % size:
        raise FileFormatError(
            f"{path}: damaged or truncated: {content.size} bytes are not whole records of {size}; fetch the file again"
        )
    records = content.reshape(-1, size)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        wrong = int(np.argmax(labels >= classes))
        raise FileFormatError(
            f"{path}: label {labels[wrong]} in record {wrong}; allowed are 0 to {classes - 1}; fetch the file again"
        )
    return np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, *_CIFAR_SHAPE), labels


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
