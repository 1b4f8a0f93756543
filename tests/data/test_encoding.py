"""Rate and latency encoding: by value, and the same whatever is taken with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import write_idx_set, write_n_mnist

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.encoding import EncodedSplit, latency_spikes, rate_spikes
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError


def digits(encoding: str, steps: int = 5, seed: int = 0, **options: Any) -> DataSet:
    return load_data_set(DataConfig(encoding=encoding, **options), steps, seed)


def test_a_value_spikes_where_the_uniform_number_is_below_it() -> None:
    values = np.array([0.0, 0.25, 0.5, 1.0])
    uniform = np.array([[0.0] * 4, [0.25] * 4, [0.49] * 4, [1 - 1e-7] * 4])
    assert rate_spikes(values, uniform).tolist() == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("steps", "value", "wanted"),
    [(4, 1.0, 0), (4, 0.84, 0), (4, 0.83, 1), (4, 0.5, 2), (4, 1e-9, 3), (4, 0.0, None), (1, 0.01, 0), (1, 0.0, None)],
)
def test_one_spike_at_a_step_that_falls_with_the_value(steps: int, value: float, wanted: int | None) -> None:
    spikes = latency_spikes(np.array([value]), steps)[:, 0]
    assert spikes.tolist() == [int(step == wanted) for step in range(steps)]


def test_latency_of_a_data_set_is_that_of_every_pixel() -> None:
    raw, data = digits("direct"), digits("latency")
    assert (data.input.bits, data.input.scale, data.input.shape) == (1, 1.0, (1, 8, 8))
    for name in ("train", "validation", "test"):
        split, grey = getattr(data, name), getattr(raw, name).samples
        assert split.temporal
        assert split.samples.shape == (len(grey), 5, 1, 8, 8)
        step = np.floor((16 - grey.astype(int)) * 4 / 16 + 0.5)
        for t in range(5):
            np.testing.assert_array_equal(split.samples[:, t], (step == t) & (grey > 0))
        assert split.samples.sum() == (grey > 0).sum()


def test_rate_is_the_value() -> None:
    """Over 1,797 digits and 40 steps: 0 never spikes, 16 always does, the others k / 16 within four deviations."""
    raw, data = digits("direct").train, digits("rate", steps=40).train
    assert (data.samples.shape, data.samples.dtype) == ((len(raw), 40, 1, 8, 8), np.uint8)
    for level in range(17):
        spikes = np.moveaxis(data.samples, 1, 0)[:, raw.samples == level]
        p, bound = level / 16, 4 * np.sqrt(level / 16 * (1 - level / 16) / spikes.size)
        assert abs(spikes.mean() - p) <= bound
    steps = data.samples[:64].astype(int)
    assert len({steps[:, t].tobytes() for t in range(40)}) == 40  # every step is drawn


def test_spikes_depend_on_seed_split_and_sample_alone() -> None:
    data = digits("rate")
    assert isinstance(data.test, EncodedSplit)
    whole = data.test.samples
    np.testing.assert_array_equal(digits("rate").test.samples, whole)
    chosen = np.array([7, 3, 200])
    np.testing.assert_array_equal(data.test.take(chosen).samples, whole[chosen])
    np.testing.assert_array_equal(data.test.take(slice(5, 50)).take(np.array([2])).inputs[:, 0], whole[7])
    np.testing.assert_array_equal(data.test.take(slice(4)).inputs, np.moveaxis(whole[:4], 1, 0))
    assert not np.array_equal(digits("rate", seed=1).test.samples, whole)
    same = EncodedSplit(data.test.values, data.test.labels, "rate", 5, 1 / 16, (0, "validation"))
    assert not np.array_equal(same.samples, whole)
    assert len(data.test) == 360
    assert [getattr(data, name).key for name in ("train", "validation", "test")] == [  # type: ignore[union-attr]
        (0, "train"),
        (0, "validation"),
        (0, "test"),
    ]


def test_two_samples_alike_spike_differently() -> None:
    split = EncodedSplit(np.full((2, 50), 8, np.uint8), np.zeros(2, np.int64), "rate", 4, 1 / 16, (0, "test"))
    assert not np.array_equal(split.samples[0], split.samples[1])


def test_the_grid_before_encoding_follows_the_bits(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    data = load_data_set(DataConfig(name="mnist", root=str(tmp_path), encoding="rate", bits=1), 3, 0)
    plain = load_data_set(DataConfig(name="mnist", root=str(tmp_path), bits=1), 3, 0)
    np.testing.assert_array_equal(data.test.samples, np.repeat(plain.test.samples[:, None], 3, axis=1))


@pytest.mark.parametrize("encoding", ["rate", "latency"])
def test_recordings_are_not_encoded_again(encoding: str, tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    with pytest.raises(UsageError, match=rf"data\.encoding={encoding}: n-mnist-20/10 changes over time already"):
        load_data_set(DataConfig(name="n-mnist", root=str(tmp_path), encoding=encoding), 3, 0)
