"""A .npz of one's own: the two orders, what may be left out, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from writers import write_npz

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import FileFormatError, UsageError


def load(path: Path, steps: int = 4, **options: Any) -> DataSet:
    return load_data_set(DataConfig(name=str(path), **options), steps, 0)


@pytest.mark.parametrize(
    ("shape", "flag", "wanted", "temporal"),
    [
        ((5,), None, (5,), False),
        ((4, 6), None, (6,), True),
        ((4, 6), False, (1, 4, 6), False),
        ((3, 6, 7), None, (3, 6, 7), False),
        ((4, 6, 7), True, (1, 6, 7), True),
        ((4, 2, 6, 7), None, (2, 6, 7), True),
    ],
)
def test_the_order_follows_from_the_dimensions_or_from_the_flag(
    shape: tuple[int, ...], flag: bool | None, wanted: tuple[int, ...], temporal: bool, tmp_path: Path
) -> None:
    images, labels = write_npz(tmp_path / "mine.npz", shape, temporal=flag)["test"]
    data = load(tmp_path / "mine.npz")
    assert (data.name, data.input.shape, data.train.temporal, data.classes) == ("mine.npz", wanted, temporal, 3)
    assert (data.input.bits, data.input.scale) == (8, 1.0 if temporal else 1 / 255)
    np.testing.assert_array_equal(data.test.samples, images.reshape(10, *(shape[:1] if temporal else ()), *wanted))
    np.testing.assert_array_equal(data.test.labels, labels)
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(data.train.labels, order[2:] % 3)
    assert data.test.inputs.shape == ((4, 10, *wanted) if temporal else (10, *wanted))


IN_ORDER = np.arange(12) % 3
BY_CLASS = np.repeat([2, 0, 1], 4)


@pytest.mark.parametrize(
    ("labels", "mixed"),
    [
        (BY_CLASS, True),
        (np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]), False),  # 3 changes, 6 of 12 in an order of chance
        (np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1]), False),
        (np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1]), False),
        (np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]), True),  # 2 changes of 5.3
        (IN_ORDER, False),
        (np.zeros(12, int), False),
    ],
)
def test_splits_that_lie_class_by_class_are_mixed_and_others_are_not(
    labels: NDArray[Any], mixed: bool, tmp_path: Path
) -> None:
    """So that the first samples, which sweeps and calibration take, are not of one class."""
    samples = np.arange(12 * 6, dtype=np.uint8).reshape(12, 1, 2, 3)
    order = np.random.default_rng(0).permutation(12) if mixed else np.arange(12)
    whole = {f"{part}_samples": samples for part in ("test", "validation", "train")}
    whole |= {"test_labels": labels, "validation_labels": labels, "train_labels": labels}
    write_npz(tmp_path / "a.npz", (1, 2, 3), **whole, classes=3)
    data = load(tmp_path / "a.npz", bits=8)
    for split in (data.train, data.validation, data.test):
        np.testing.assert_array_equal(split.samples, samples[order])
        np.testing.assert_array_equal(split.labels, labels[order])


def test_a_part_that_is_held_out_leaves_the_training_samples_in_the_order_of_the_seed(tmp_path: Path) -> None:
    samples = np.arange(12 * 6, dtype=np.uint8).reshape(12, 1, 2, 3)
    write_npz(tmp_path / "a.npz", (1, 2, 3), train_samples=samples, train_labels=BY_CLASS, classes=3)
    data, order = load(tmp_path / "a.npz", bits=8, validation=0.25), np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(data.train.samples, samples[order[3:]])
    np.testing.assert_array_equal(data.validation.labels, BY_CLASS[order[:3]])


@pytest.mark.parametrize("temporal", [False, True])
def test_samples_of_0_and_1_are_binary(temporal: bool, tmp_path: Path) -> None:
    samples = np.arange(20 * 4 * 6).reshape(20, 4, 6) % 3 == 0
    write_npz(tmp_path / "a.npz", (4, 6), temporal=temporal, train_samples=samples, test_samples=samples[:10])
    data = load(tmp_path / "a.npz")
    assert (data.input.bits, data.input.scale) == (1, 1.0)
    np.testing.assert_array_equal(data.test.samples.reshape(10, 4, 6), samples[:10])


@pytest.mark.parametrize(("bits", "wanted_bits"), [(None, 3), (2, 2), (1, 1)])
def test_counts_take_the_bits_they_need_or_are_clipped(bits: int | None, wanted_bits: int, tmp_path: Path) -> None:
    samples = np.arange(20 * 4 * 6).reshape(20, 4, 6) % 6
    write_npz(tmp_path / "a.npz", (4, 6), train_samples=samples, test_samples=samples[:10])
    data = load(tmp_path / "a.npz", bits=bits)
    assert (data.input.bits, data.input.scale) == (wanted_bits, 1.0)
    np.testing.assert_array_equal(data.test.samples, np.minimum(samples[:10], 2**wanted_bits - 1))


def test_grey_levels_are_rounded_to_the_bits_asked_for(tmp_path: Path) -> None:
    images, _ = write_npz(tmp_path / "a.npz")["test"]
    data = load(tmp_path / "a.npz", bits=4)
    assert (data.input.bits, data.input.scale) == (4, 1 / 15)
    np.testing.assert_array_equal(data.test.samples, np.rint(images / 255 * 15))


def test_a_validation_split_of_its_own_and_a_number_of_classes(tmp_path: Path) -> None:
    held, labels = np.full((4, 1, 8, 8), 200, np.uint8), np.array([0, 3, 1, 2])
    write_npz(tmp_path / "a.npz", validation_samples=held, validation_labels=labels, classes=4)
    data = load(tmp_path / "a.npz", validation=0.5)
    assert (len(data.train), data.classes) == (20, 4)
    np.testing.assert_array_equal(data.validation.samples, held)
    np.testing.assert_array_equal(data.validation.labels, labels)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_first_classes_alone(classes: int, tmp_path: Path) -> None:
    held, own = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8), np.array([0, 3, 1, 2])
    images, labels = write_npz(tmp_path / "a.npz", validation_samples=held, validation_labels=own, classes=4)["test"]
    data = load(tmp_path / "a.npz", classes=classes)
    assert (data.name, data.classes) == (f"a.npz, classes 0 to {classes - 1}", classes)
    np.testing.assert_array_equal(data.test.samples, images[labels < classes])
    np.testing.assert_array_equal(data.test.labels, labels[labels < classes])
    np.testing.assert_array_equal(data.train.labels, np.arange(20)[np.arange(20) % 3 < classes] % 3)
    np.testing.assert_array_equal(data.validation.samples, held[own < classes])
    np.testing.assert_array_equal(data.validation.labels, own[own < classes])


def test_all_classes_are_the_data_set_itself_and_one_more_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    assert (load(tmp_path / "a.npz", classes=3).name, load(tmp_path / "a.npz").classes) == ("a.npz", 3)
    with pytest.raises(UsageError, match=r"data\.classes=4: a\.npz has 3; fewer are allowed"):
        load(tmp_path / "a.npz", classes=4)
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        load(tmp_path / "a.npz", classes=1)
    labels = np.array([0, 1] * 5 + [2] * 10)
    write_npz(tmp_path / "b.npz", train_labels=labels, test_labels=np.full(10, 2))
    with pytest.raises(UsageError, match=r"b\.npz, classes 0 to 1: test: no samples"):
        load(tmp_path / "b.npz", classes=2)


def test_a_relative_path_is_looked_for_in_the_root_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "data" / "a.npz")
    assert load(Path("a.npz"), root=str(tmp_path / "data")).name == "a.npz"
    assert load(Path("data/a.npz")).name == "a.npz"
    with pytest.raises(UsageError, match=r"data\.name=b\.npz: there is no such file, nor in .*/data"):
        load(Path("b.npz"), root=str(tmp_path / "data"))


def test_a_file_with_other_arrays_is_told_what_is_needed(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros((2, 3), np.uint8))
    with pytest.raises(UsageError, match=r"no train_samples.*no test_labels; it holds no array of these names"):
        load(tmp_path / "other.npz")


ONES = np.ones((20, 1, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"train_labels": None, "test_samples": None}, "no train_labels, no test_samples; it holds"),
        ({"validation_samples": ONES}, "no one of validation_samples and validation_labels"),
        ({"train_samples": ONES / 2}, r"train_samples of type float64; integers.*numpy\.rint\(255"),
        ({"train_labels": np.array(["a"] * 20)}, "train_labels of type <U1; integers"),
        ({"train_samples": ONES.astype(int) * 256}, "train_samples from 256 to 256; 0 to 255 is allowed"),
        ({"test_samples": ONES[:10].astype(int) * -1}, "test_samples from -1 to -1"),
        ({"train_samples": ONES[:, 0, 0, 0]}, r"train_samples of shape \(20,\); \(N, features\), \(N, height"),
        ({"train_samples": ONES[:, :, None, None]}, r"train_samples of shape \(20, 1, 1, 1, 8, 8\); "),
        ({"train_samples": ONES[..., :0]}, r"train_samples of shape \(20, 1, 8, 0\): no dimension may be 0"),
        (
            {"test_samples": np.ones((10, 8, 8, 1), np.uint8)},
            r"test: samples of shape \(8, 8, 1\) where \(1, 8, 8\) is expected; the order is \(N, channels, heig",
        ),
        ({"train_samples": ONES[:, 0]}, r"samples of 8 steps.*of images without channels write temporal=False"),
        ({"train_samples": ONES[:19]}, r"samples of shape .* but labels of shape"),
        ({"test_labels": np.array([0] * 9 + [3])}, r"test: label 3 of sample 9 \(1 such\); allowed are 0 to 2 of 3"),
        ({"test_labels": np.array([0] * 9 + [-1])}, r"test: label -1 of sample 9"),
        ({"train_labels": np.arange(20) % 11, "classes": 10}, r"label 10 of sample"),
        ({"test_samples": ONES[:0], "test_labels": np.arange(0)}, r"test: no samples \(shape \(0, 1, 8, 8\)\)"),
        ({"train_samples": ONES[:0], "train_labels": np.arange(0)}, r"train: no samples"),
        ({"train_samples": np.ones((20, 5, 8)), "temporal": np.ones(2)}, r"temporal of shape \(2,\)"),
        (
            {"train_samples": np.ones((20, 5, 8), np.uint8)},
            r"batches of \(5, B, 8\), where network\.steps=4 expects \(4, B, 8\); the order is \(T, B",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(arrays: dict[str, Any], match: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "mine.npz", **arrays)
    with pytest.raises(UsageError, match=rf"mine\.npz: .*{match}"):
        load(tmp_path / "mine.npz")


def test_a_test_split_of_other_steps_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", (4, 6), test_samples=np.ones((10, 3, 6), np.uint8))
    with pytest.raises(UsageError, match="splits of 3 and 4 steps"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("damage", ["one byte short", "a bit flipped", "empty", "no archive", "pickled", "one array"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path)
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    if damage == "pickled":
        write_npz(path, train_samples=np.array([{}] * 20, dtype=object))
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        broken = {
            "one byte short": path.read_bytes()[:-1],
            "a bit flipped": content,
            "empty": b"",
            "no archive": b"abc",
        }
        path.write_bytes(broken[damage])
    with pytest.raises(FileFormatError, match=r"a\.npz: .*write it with numpy\.savez"):
        load(path)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"classes": np.array([10, 10])}, r"classes of shape \(2,\); one integer from 2 on"),
        ({"classes": np.array("ten")}, "classes is 'ten'; one integer"),
        ({"classes": np.array(np.nan)}, "classes is nan; one integer"),
        ({"classes": np.array(3.9)}, r"classes is 3\.9; one integer"),
        ({"classes": np.array(0)}, "classes is 0; one integer from 2 on"),
        ({"classes": np.array(1)}, "classes is 1; one integer from 2 on"),
        ({"classes": np.array(-3)}, "classes is -3; one integer"),
        ({"temporal": np.array("false")}, "temporal is 'false'; one true or false"),
        ({"temporal": np.array(2)}, "temporal is 2; one true or false"),
        ({"temporal": np.array(1.0)}, r"temporal is 1\.0; one true or false"),
        ({"temporal": np.array([True, False])}, r"temporal of shape \(2,\); one true or false"),
        ({"train_labels": np.array(3)}, r"train: samples of shape .* but labels of shape \(\); one label per sample"),
        ({"test_labels": np.array(1)}, r"test: samples of shape .* but labels of shape \(\)"),
    ],
)
def test_arrays_that_say_no_number_or_flag_are_refused(arrays: dict[str, Any], match: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    write_npz(path, (5,))
    with np.load(path) as file:
        np.savez(path, **({name: file[name] for name in file.files} | arrays))
    with pytest.raises(UsageError, match=rf"mine\.npz: .*{match}"):
        load(path)


@pytest.mark.parametrize(("classes", "temporal"), [(np.array(3), np.array(0)), (np.array([7]), np.array([False]))])
def test_numbers_and_flags_may_be_of_any_integer_type(classes: Any, temporal: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    write_npz(path, (4, 6))
    with np.load(path) as file:
        np.savez(path, **{name: file[name] for name in file.files}, classes=classes, temporal=temporal)
    data = load(path)
    assert (data.classes, data.train.temporal) == (int(classes.item()), False)


def test_a_hint_for_values_is_given_for_samples_alone(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", train_labels=np.zeros(20))
    with pytest.raises(UsageError, match=r"train_labels of type float64; integers are expected$"):
        load(tmp_path / "a.npz")
    write_npz(tmp_path / "a.npz", train_samples=np.zeros((20, 1, 8, 8)))
    with pytest.raises(UsageError, match=r"write numpy\.rint\(255 \* values\)$"):
        load(tmp_path / "a.npz")
