"""Splits, and what is checked of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from neurodeploy.data.dataset import Split, check_splits
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input

RECORDED = Split(np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5) % 4, np.array([0, 9]), True)


def test_inputs_of_recordings_are_time_first() -> None:
    assert RECORDED.inputs.shape == (3, 2, 5)
    np.testing.assert_array_equal(RECORDED.inputs[2, 1], RECORDED.samples[1, 2])
    one = RECORDED.take(slice(1, 2))
    assert (one.temporal, one.inputs.shape, one.labels.tolist(), len(one)) == (True, (3, 1, 5), [9], 1)
    static = Split(RECORDED.samples, RECORDED.labels)
    assert static.inputs is static.samples


def problems(split: Split, bits: int = 2, classes: int = 10, shape: tuple[int, ...] = (5,)) -> str:
    with pytest.raises(UsageError) as caught:
        check_splits("x", Input(shape, 1.0, bits), classes, {"test": split})
    return str(caught.value)


def test_what_is_right_passes() -> None:
    check_splits("x", Input((5,), 1.0, 2), 10, {"train": RECORDED, "test": RECORDED})


@pytest.mark.parametrize(
    ("split", "options", "wanted"),
    [
        (RECORDED, {"bits": 1}, "data set x: test: a sample holds 3; 1 bits hold 0 to 1"),
        (RECORDED, {"classes": 9}, "label 9 of sample 1 (1 such); allowed are 0 to 8 of 9 classes"),
        (RECORDED, {"shape": (6,)}, "samples of shape (5,) where (6,) is expected; the order is (N, T, features)"),
        (Split(RECORDED.samples, RECORDED.labels), {}, "samples of shape (3, 5) where (5,) is expected"),
        (Split(RECORDED.samples.astype(int), RECORDED.labels, True), {}, "samples of type int64; uint8 is expected"),
        (Split(RECORDED.samples, RECORDED.labels[:1], True), {}, "(2, 3, 5) but labels of shape (1,); one label per"),
        (Split(RECORDED.samples, RECORDED.labels[:, None], True), {}, "labels of shape (2, 1)"),
        (Split(RECORDED.samples, np.array(3), True), {}, "labels of shape (); one label per sample"),
        (Split(RECORDED.samples[:0], RECORDED.labels[:0], True), {}, "no samples (shape (0, 3, 5))"),
    ],
)
def test_what_is_wrong_is_named(split: Split, options: dict[str, Any], wanted: str) -> None:
    assert wanted in problems(split, **options)


def test_all_that_is_wrong_is_named_at_once() -> None:
    text = problems(RECORDED, bits=1, classes=9)
    assert "holds 3" in text
    assert "label 9" in text


def test_loading_an_image_set_imports_no_heavy_package() -> None:
    script = "import sys; from neurodeploy.data import load_data_set; from neurodeploy.config import DataConfig; "
    script += "load_data_set(DataConfig(augment=('crop',)), 4, 0); "
    script += "print(sorted({'torch', 'tonic', 'kornia', 'aedat', 'h5py', 'librosa'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
