"""Frames that enter row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy.config import DataConfig
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError


def own(folder: Path, samples: np.ndarray, temporal: bool) -> str:
    labels = np.arange(len(samples)) % 2
    parts = {"train_samples": samples, "train_labels": labels, "test_samples": samples, "test_labels": labels}
    np.savez(folder / "own.npz", temporal=np.array(temporal), **parts)
    return str(folder / "own.npz")


def test_digits_row_by_row_by_hand() -> None:
    plain = load_data_set(DataConfig(name="digits", bits=4), 4, 0)
    rows = load_data_set(DataConfig(name="digits", bits=4, scan="rows"), 16, 0)
    both = load_data_set(DataConfig(name="digits", bits=4, scan="rows_and_columns"), 24, 0)
    assert (rows.input.shape, both.input.shape, rows.input.bits) == ((8,), (16,), 4)
    assert rows.input.scale == plain.input.scale == 1 / 15
    for part in ("train", "validation", "test"):
        images = getattr(plain, part).samples[:, 0]
        scanned = getattr(rows, part)
        assert (scanned.samples.shape, scanned.temporal) == ((len(images), 16, 8), True)
        np.testing.assert_array_equal(scanned.labels, getattr(plain, part).labels)
        for step in range(16):  # each row stays for two steps
            np.testing.assert_array_equal(scanned.samples[:, step], images[:, step // 2])
        for step in range(24):
            np.testing.assert_array_equal(getattr(both, part).samples[:, step, :8], images[:, step // 3])
            np.testing.assert_array_equal(getattr(both, part).samples[:, step, 8:], images[:, :, step // 3])


def test_images_are_made_smaller_by_means(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 2, 5, 6), dtype=np.uint8)
    name = own(tmp_path, grey, temporal=False)
    images = load_data_set(DataConfig(name=name, bits=4), 3, 0).test.samples
    assert images.max() == 15
    data = load_data_set(DataConfig(name=name, bits=4, scan="rows", downsample=2), 3, 0)
    assert data.input.shape == (2 * 3,)
    padded = np.zeros((20, 2, 6, 6))
    padded[:, :, :5] = images
    for sample, image in zip(data.test.samples, padded, strict=True):
        for step in range(3):
            for channel in range(2):
                for x in range(3):
                    mean = image[channel, 2 * step : 2 * step + 2, 2 * x : 2 * x + 2].sum() / 4
                    assert sample[step, channel * 3 + x] == np.floor(mean + 0.5)


def test_frames_of_a_recording_one_after_the_other(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 4, (12, 2, 1, 3, 4), dtype=np.uint8)
    name = own(tmp_path, frames, temporal=True)
    data = load_data_set(DataConfig(name=name, bits=2, scan="rows", scan_frames=2), 12, 0)
    assert (data.input.shape, data.test.samples.shape) == ((4,), (12, 12, 4))
    assert data.input.scale == 1 / 3
    for step in range(12):
        np.testing.assert_array_equal(data.test.samples[:, step], frames[:, step // 6, 0, step % 6 // 2])


@pytest.mark.parametrize(
    ("options", "steps", "message"),
    [
        ({"scan": "rows"}, 12, r"network.steps=12: 1 frame of 8 rows are scanned in a multiple of 8 steps"),
        ({"scan": "rows", "scan_frames": 2}, 16, "scan_frames=2: only for recordings"),
        ({"scan": "rows", "encoding": "rate", "bits": None}, 8, "only direct is allowed"),
    ],
)
def test_what_cannot_be_scanned(options: dict[str, Any], steps: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_data_set(DataConfig(**({"name": "digits", "bits": 4} | options)), steps, 0)


def test_frames_must_be_square_for_columns_and_be_frames_at_all(tmp_path: Path) -> None:
    name = own(tmp_path, np.zeros((20, 1, 3, 4), dtype=np.uint8), temporal=False)
    with pytest.raises(UsageError, match="frames of 3 x 4; they must be square, or scan=rows"):
        load_data_set(DataConfig(name=name, bits=4, scan="rows_and_columns"), 3, 0)
    name = own(tmp_path, np.zeros((20, 7), dtype=np.uint8), temporal=False)
    with pytest.raises(UsageError, match=r"needs frames \(C, H, W\); samples of own.npz are \(7,\)"):
        load_data_set(DataConfig(name=name, bits=4, scan="rows"), 3, 0)
