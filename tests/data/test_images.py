"""Image sets: digits as they ship, idx files that the tests write, and damaged ones."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from writers import idx_bytes as idx

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DATA_ROOT_VARIABLE, DataSet, Split
from neurodeploy.data.images import read_idx
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import FileFormatError, UsageError

NAMES = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
WriteSet = Callable[..., Path]


def write(path: Path, content: bytes, compressed: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if compressed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


@pytest.fixture
def arrays() -> list[NDArray[np.uint8]]:
    """20 training and 6 test images of 4 x 6 with three classes."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (count, 4, 6), dtype=np.uint8) for count in (20, 6)]
    labels = [(np.arange(count) % 3).astype(np.uint8) for count in (20, 6)]
    return [images[0], labels[0], images[1], labels[1]]


@pytest.fixture
def folder(tmp_path: Path, arrays: list[NDArray[np.uint8]]) -> Path:
    """A data root whose folder mnist holds the four files, plain."""
    for name, values in zip(NAMES, arrays, strict=True):
        write(tmp_path / "mnist" / name, idx(values))
    return tmp_path


def rows(*splits: Split) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for s in splits for image, label in zip(s.samples, s.labels, strict=True)]


def load(name: str, root: Path | str | None = None, seed: int = 0, **options: Any) -> DataSet:
    return load_data_set(DataConfig(name=name, root=None if root is None else str(root), **options), 4, seed)


def digits(validation: float = 0.1, seed: int = 0) -> DataSet:
    return load("digits", None, seed, validation=validation)


def test_digits_are_those_of_scikit_learn_each_exactly_once() -> None:
    data = digits()
    bunch = load_digits()
    whole = Split(bunch.images.astype(np.uint8)[:, None], bunch.target)
    assert sorted(rows(data.train, data.validation, data.test)) == sorted(rows(whole))
    assert (len(data.train.labels), len(data.validation.labels), len(data.test.labels)) == (1293, 144, 360)


def test_digits_are_integers_that_the_input_can_hold() -> None:
    data = digits()
    assert (data.input.shape, data.input.scale, data.input.bits, data.classes) == ((1, 8, 8), 1 / 16, 5, 10)
    for split in (data.train, data.validation, data.test):
        assert split.samples.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert split.samples.shape == (len(split.labels), 1, 8, 8)
        assert (int(split.samples.min()), int(split.samples.max())) == (0, 16)
        assert set(split.labels.tolist()) == set(range(10))


def test_one_seed_one_split_and_the_test_split_is_the_same_for_all() -> None:
    first, again, other = digits(), digits(), digits(seed=1)
    for name in ("train", "validation", "test"):
        assert rows(getattr(first, name)) == rows(getattr(again, name))
    assert rows(first.validation) != rows(other.validation)
    assert sorted(rows(first.train, first.validation)) == sorted(rows(other.train, other.validation))
    assert rows(first.test) == rows(other.test) == rows(digits(0.5).test)


@pytest.mark.parametrize(("share", "kept"), [(1e-9, 1), (0.5 / 1437, 1), (2 / 1437, 2), (0.25, 359), (0.9995, 1436)])
def test_the_validation_share_is_rounded_but_never_empty(share: float, kept: int) -> None:
    data = digits(share)
    assert len(data.validation.labels) == kept
    assert len(data.train.labels) == 1437 - kept


def test_a_validation_share_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UsageError, match=r"data\.validation=0\.9999: leaves none of 1437 samples of digits"):
        digits(0.9999)


def test_an_unknown_data_set_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"unknown data set 'mnst': did you mean mnist.* known: cifar-10, cifar-100, digits"
    ):
        load("mnst")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("name", "place"), [("mnist", "mnist"), ("fashion-mnist", "fashion-mnist"), ("mnist", ".")])
def test_idx_files_are_read_by_value(
    compressed: bool, name: str, place: str, tmp_path: Path, arrays: list[NDArray[np.uint8]]
) -> None:
    for file, values in zip(NAMES, arrays, strict=True):
        write(tmp_path / place / file, idx(values), compressed)
    data = load(name, tmp_path, 3, validation=0.25)
    assert (data.name, data.classes, data.input.shape, data.input.bits) == (f"{name}-20/6", 10, (1, 4, 6), 5)
    assert data.input.scale == 1 / 31

    def five_bits(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.rint(images / 255 * 31).astype(np.uint8)[:, None]

    assert (len(data.train.labels), len(data.validation.labels)) == (15, 5)
    whole = Split(five_bits(arrays[0]), arrays[1].astype(np.int64))
    assert sorted(rows(data.train, data.validation)) == sorted(rows(whole))
    assert rows(data.test) == rows(Split(five_bits(arrays[2]), arrays[3].astype(np.int64)))


def test_grey_levels_are_rounded_to_the_nearest_of_32(folder: Path) -> None:
    """0 -> 0, 127 * 31 / 255 = 15.44 -> 15, 128 * 31 / 255 = 15.56 -> 16, 255 -> 31; all 256 as rounding says."""
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for part in ("train", "t10k"):
        write(folder / "mnist" / f"{part}-images-idx3-ubyte", idx(np.repeat(grey, 2, axis=0)))
        write(folder / "mnist" / f"{part}-labels-idx1-ubyte", idx(np.array([0, 1], dtype=np.uint8)))
    got = load("mnist", folder, validation=0.5).test.samples[0].ravel()
    assert [got[level] for level in (0, 127, 128, 255)] == [0, 15, 16, 31]
    assert got.tolist() == [round(level * 31 / 255) for level in range(256)]


def test_the_root_comes_from_the_argument_else_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(folder))
    assert len(load("mnist").test.labels) == 6
    with pytest.raises(UsageError, match=r"--data-root .*/elsewhere: no mnist/train-images"):
        load("mnist", folder / "elsewhere")
    monkeypatch.delenv(DATA_ROOT_VARIABLE)
    with pytest.raises(UsageError, match=rf"mnist needs --data-root FOLDER \(or {DATA_ROOT_VARIABLE}\)"):
        load("mnist")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / "mnist" / name).unlink()
    with pytest.raises(UsageError, match=rf"/mnist: {name}\(\.gz\) is missing; data\.download=true fetches it"):
        load("mnist", folder)


@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_labels_than_images_is_refused(change: int, folder: Path) -> None:
    write(folder / "mnist" / "t10k-labels-idx1-ubyte", idx(np.zeros(6 + change, dtype=np.uint8)))
    with pytest.raises(FileFormatError, match=f"mnist: 6 t10k images but {6 + change} labels"):
        load("mnist", folder)


def test_test_images_of_another_size_are_refused(folder: Path) -> None:
    write(folder / "mnist" / "t10k-images-idx3-ubyte", idx(np.zeros((6, 4, 5), dtype=np.uint8)))
    with pytest.raises(FileFormatError, match=r"mnist: train images of \(4, 6\) but t10k images of \(4, 5\)"):
        load("mnist", folder)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not an idx file of 3 dimensions"),
        (GOOD[:15], "not an idx file of 3 dimensions"),
        (GOOD[:16], "0 bytes of values where"),
        (GOOD[:-1], r"23 bytes of values where \(2, 3, 4\) needs 24"),
        (GOOD + b"\0", "25 bytes of values where"),
        (b"\1" + GOOD[1:], "not an idx file"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "not an idx file"),  # floats
        (idx(np.zeros(24, dtype=np.uint8)), "not an idx file of 3 dimensions"),
        (GOOD[:4] + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1) + GOOD[16:], "24 bytes of values where"),
        (idx(np.zeros((0, 3, 4), dtype=np.uint8)), "0 bytes of values where"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(content: bytes, match: str, compressed: bool, tmp_path: Path) -> None:
    write(tmp_path / "bad", content, compressed)
    path = tmp_path / ("bad.gz" if compressed else "bad")
    with pytest.raises(FileFormatError, match=f"{path.name}: {match}"):
        read_idx(path, 3)


@pytest.mark.parametrize("damage", ["truncated", "no gzip", "a bit flipped", "missing"])
def test_damaged_compression_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gz"
    packed = gzip.compress(GOOD)
    if damage != "missing":
        flipped = packed[:15] + bytes((packed[15] ^ 255,)) + packed[16:]
        path.write_bytes({"truncated": packed[:-10], "no gzip": GOOD, "a bit flipped": flipped}[damage])
    with pytest.raises(FileFormatError, match=r"bad\.gz: damaged or truncated .*fetch the file again"):
        read_idx(path, 3)


def test_an_idx_file_is_read_in_its_own_shape(tmp_path: Path) -> None:
    write(tmp_path / "good", GOOD)
    np.testing.assert_array_equal(read_idx(tmp_path / "good", 3), np.arange(24).reshape(2, 3, 4))
