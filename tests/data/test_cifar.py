"""CIFAR's binary files: by value, and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from writers import cifar_bytes, write_cifar

from neurodeploy.config import DataConfig
from neurodeploy.data.images import read_cifar
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import FileFormatError, UsageError


@pytest.mark.parametrize(("classes", "folder"), [(10, "cifar-10-batches-bin"), (100, "cifar-100-binary")])
@pytest.mark.parametrize("nested", [False, True])
def test_images_are_read_by_value(classes: int, folder: str, nested: bool, tmp_path: Path) -> None:
    written = write_cifar(tmp_path, classes)
    if nested:  # as the official archive unpacks
        (tmp_path / f"cifar-{classes}").rename(tmp_path / folder)
    data = load_data_set(DataConfig(name=f"cifar-{classes}", root=str(tmp_path)), 4, 0)
    assert (data.name, data.classes) == (f"cifar-{classes}-20/10", classes)
    assert (data.input.shape, data.input.scale, data.input.bits) == ((3, 32, 32), 1 / 255, 8)
    images, labels = written["test"]
    np.testing.assert_array_equal(data.test.samples, images)
    np.testing.assert_array_equal(data.test.labels, labels)
    order = np.random.default_rng(0).permutation(20)
    images, labels = written["train"]
    np.testing.assert_array_equal(data.validation.samples, images[order[:2]])
    np.testing.assert_array_equal(data.train.samples, images[order[2:]])
    np.testing.assert_array_equal(data.train.labels, labels[order[2:]])


@pytest.mark.parametrize("bits", [1, 4])
def test_values_are_rounded_to_the_bits_asked_for(bits: int, tmp_path: Path) -> None:
    images, _ = write_cifar(tmp_path)["test"]
    data = load_data_set(DataConfig(name="cifar-10", root=str(tmp_path), bits=bits), 4, 0)
    assert (data.input.bits, data.input.scale) == (bits, 1 / (2**bits - 1))
    np.testing.assert_array_equal(data.test.samples, np.rint(images / 255 * (2**bits - 1)))


def test_red_comes_first_then_green_each_row_by_row(tmp_path: Path) -> None:
    record = bytes((6,)) + bytes([1] * 32) + bytes([2] * 992) + bytes([3] * 1024) + bytes([4] * 1024)
    (tmp_path / "one.bin").write_bytes(record)
    images, labels = read_cifar(tmp_path / "one.bin", 1, 10)
    assert labels.tolist() == [6]
    assert (images[0, 0, 0].tolist(), images[0, 0, 1:].min(), images[0, 0, 1:].max()) == ([1] * 32, 2, 2)
    assert (images[0, 1].min(), images[0, 1].max(), images[0, 2].min(), images[0, 2].max()) == (3, 3, 4, 4)


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("classes", [10, 100])
def test_a_byte_too_few_or_too_many_is_refused(change: int, classes: int, tmp_path: Path) -> None:
    write_cifar(tmp_path, classes)
    path = tmp_path / f"cifar-{classes}" / ("data_batch_3.bin" if classes == 10 else "train.bin")
    content = path.read_bytes()
    path.write_bytes(content[:-1] if change < 0 else content + b"\0")
    match = rf"{path.name}: damaged or truncated: {len(content) + change} bytes are not whole records"
    with pytest.raises(FileFormatError, match=match):
        load_data_set(DataConfig(name=f"cifar-{classes}", root=str(tmp_path)), 4, 0)


@pytest.mark.parametrize(("classes", "label_bytes"), [(10, 1), (100, 2)])
def test_a_label_past_the_last_class_is_refused(classes: int, label_bytes: int, tmp_path: Path) -> None:
    labels = np.array([classes - 1, classes], dtype=np.uint8)
    (tmp_path / "x.bin").write_bytes(cifar_bytes(np.zeros((2, 3, 32, 32), np.uint8), labels, classes))
    with pytest.raises(FileFormatError, match=rf"label {classes} in record 1; allowed are 0 to {classes - 1}"):
        read_cifar(tmp_path / "x.bin", label_bytes, classes)
    (tmp_path / "x.bin").write_bytes(cifar_bytes(np.zeros((1, 3, 32, 32), np.uint8), labels[:1], classes))
    assert read_cifar(tmp_path / "x.bin", label_bytes, classes)[1].tolist() == [classes - 1]


def test_an_empty_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "cifar-10" / "data_batch_2.bin").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"data_batch_2\.bin: damaged or truncated: 0 bytes"):
        load_data_set(DataConfig(name="cifar-10", root=str(tmp_path)), 4, 0)
    (tmp_path / "cifar-10" / "data_batch_2.bin").unlink()
    (tmp_path / "cifar-10" / "test_batch.bin").unlink()
    with pytest.raises(UsageError, match=r"/cifar-10: data_batch_2\.bin, test_batch\.bin are missing"):
        load_data_set(DataConfig(name="cifar-10", root=str(tmp_path)), 4, 0)
