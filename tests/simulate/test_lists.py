"""Spikes that are known before a run, listed: against NumPy's own search, in every way that arrays lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.ir.arrays import Shape
from neurodeploy.simulate.spiking_lists import lists

STEPS = 5


def expected(values: NDArray[Any], shape: Shape) -> list[list[int]]:
    """For each sample and step the neurons that spike, sorted, channels innermost."""
    static = values.ndim == len(shape) + 1
    rows = []
    for sample in values:
        for step in range(STEPS):
            frame = sample if static else sample[step]
            ordered = np.moveaxis(frame, 0, -1) if len(shape) == 3 else frame
            rows.append(np.repeat(np.arange(ordered.size), ordered.reshape(-1)).tolist())
    return rows


def check(values: NDArray[Any], shape: Shape, graded: bool = False) -> None:
    listed, starts = lists([(values, shape, graded)], STEPS)
    assert (starts.shape, int(starts[0, -1])) == ((1, len(values) * STEPS + 1), len(listed))
    got = [sorted(listed[a:b].tolist()) for a, b in zip(starts[0, :-1], starts[0, 1:], strict=True)]
    assert got == expected(values, shape)


def spikes(*shape: int, rate: float = 0.3, most: int = 1) -> NDArray[np.uint8]:
    rng = np.random.default_rng(shape[-1])
    return ((rng.random(shape) < rate) * rng.integers(1, most + 1, shape)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(16,), (13,), (1,), (1, 4, 4), (2, 4, 4), (3, 3, 5)])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9, 1.0])
def test_every_layout_in_memory(shape: Shape, rate: float) -> None:
    sample_first, time_first = spikes(4, STEPS, *shape, rate=rate), spikes(STEPS, 4, *shape, rate=rate)
    check(sample_first, shape)
    check(time_first.swapaxes(0, 1), shape)  # how inputs lie
    check(time_first[:, 1:3].swapaxes(0, 1), shape)  # some of the samples
    check(time_first[::-1].swapaxes(0, 1), shape)
    check(spikes(4, *shape, rate=rate), shape)  # the same at every step
    check(sample_first.astype(np.int64), shape)
    check(sample_first.astype(bool), shape)
    columns = np.asfortranarray(sample_first)
    check(columns, shape)


@pytest.mark.parametrize("shape", [(16,), (2, 4, 4)])
def test_graded_spikes_are_listed_as_often_as_they_count(shape: Shape) -> None:
    check(spikes(3, STEPS, *shape, rate=0.8, most=255), shape, graded=True)
    check(np.full((2, *shape), 255, dtype=np.uint8), shape, graded=True)


def test_sources_follow_each_other() -> None:
    first, second = spikes(3, STEPS, 16), spikes(3, 6)
    listed, starts = lists([(first, (16,), False), (second, (6,), False)], STEPS)
    assert starts[1, 0] == starts[0, -1] == first.sum()
    assert starts[1, -1] == len(listed) == first.sum() + STEPS * second.sum()
    assert listed[starts[1, 0] : starts[1, 1]].tolist() == np.flatnonzero(second[0]).tolist()
    listed, starts = lists([], STEPS)
    assert (listed.size, starts.shape) == (0, (0, 1))
