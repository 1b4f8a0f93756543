"""Parts of the fast simulator of DYNAP-SE2 on numbers whose results are known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from neurodeploy.simulate.dynapse2_engine import _weights
from neurodeploy.simulate.dynapse2_kernels import LANES, MOST, PARAMETERS, ROW, STATES, active, deliver, fire

ZERO = np.uint64(0)


@pytest.mark.parametrize("targets", [1, LANES, LANES + 1, 4 * LANES, 4 * LANES + 1, 9 * LANES - 6, 300])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
def test_what_events_bring_is_a_product(targets: int, rate: float) -> None:
    """Whole numbers below 2^24, which float32 adds up exactly; some sources reach nothing, some a few targets."""
    rng = np.random.default_rng(targets)
    sources = 45
    weights = rng.integers(-30, 31, (sources, targets)).astype(np.float64)
    weights[rng.random(sources) < 0.2] = 0.0
    for row in weights[::3]:
        low = rng.integers(0, targets)
        row[:low] = 0.0
        row[low + 20 :] = 0.0
    rows, first, last = _weights(weights * 1e-8)
    lanes = np.uint64(-(-targets // LANES) * LANES)
    events = np.where(rng.random((3, sources)) < rate, rng.integers(1, 256, (3, sources)), 0).astype(np.uint8)
    got, found = np.full(int(lanes), 2.0, dtype=np.float32), np.zeros(sources + 1, dtype=np.uint64)
    frame = np.uint64(sources)  # the second of three
    number = np.uint64(active(events.reshape(-1), frame, np.uint64(sources), found))
    assert found[:number].tolist() == np.flatnonzero(events[1]).tolist()
    deliver(got, events.reshape(-1), frame, found, number, rows, lanes, first, last)
    expected = 2 + events[1].astype(np.float64) @ weights
    assert rate < 0.5 or (expected != 2).mean() > 0.5
    np.testing.assert_array_equal(got[:targets], expected)
    assert (got[targets:] == 2).all()


def test_lanes_of_a_source() -> None:
    """Whole groups; of one without weights, none, so that it widens no pass over the targets."""
    currents = np.zeros((4, 3 * LANES))
    currents[0, 0] = currents[1, LANES - 1 : LANES + 1] = currents[2, -1] = 1e-8
    _, first, last = _weights(currents)
    assert first.tolist() == [0, 0, 2 * LANES, 3 * LANES]
    assert last.tolist() == [LANES, 2 * LANES, 3 * LANES, 0]


def fired(ratios: np.ndarray[tuple[int], np.dtype[np.float32]]) -> tuple[list[int], list[int], list[float]]:
    """Spikes, who fired, and membranes after, of neurons at multiples of their threshold; BLOCK of them at most."""
    size, lanes = len(ratios), -(-len(ratios) // LANES) * LANES
    parameters = np.zeros((len(PARAMETERS), ROW), dtype=np.float32)
    parameters[PARAMETERS.index("io")] = 0.5
    parameters[PARAMETERS.index("refractory")] = 3.0
    parameters[PARAMETERS.index("threshold")] = 2.0**-20
    parameters[PARAMETERS.index("threshold"), size:] = np.inf
    states = np.zeros((len(STATES), ROW), dtype=np.float32)
    states[0, :size] = ratios * np.float32(2.0**-20)
    states[0, size:] = ratios[-1]  # what fills up the lanes never fires
    counts, found = np.zeros(1 + lanes, dtype=np.uint8), np.zeros(1 + lanes, dtype=np.uint64)
    before, flat = states.copy(), states.reshape(-1)
    number = fire(parameters.reshape(-1), ZERO, flat, ZERO, np.uint64(1), np.uint64(lanes), counts, found, np.uint64(1))
    spikes = states[STATES.index("spikes"), :size]
    np.testing.assert_array_equal(counts[1 : 1 + size], spikes)
    np.testing.assert_array_equal(states[STATES.index("timer"), :size], np.where(spikes > 0, 3.0, 0.0))
    np.testing.assert_array_equal(states[0], np.where(np.arange(ROW) >= size, before[0], states[0]))
    assert counts[0] == found[0] == 0
    return spikes.astype(int).tolist(), (found[1:number].astype(int) - 1).tolist(), states[0, :size].tolist()


def test_spikes_are_the_logarithm_rounded_up_to_the_last_bit() -> None:
    """At every power of e within float32 and seventy numbers on either side."""
    for k in range(75):
        ratios = [np.float32(np.exp(k))]
        for _ in range(70):
            ratios = [np.nextafter(ratios[0], np.float32(0)), *ratios, np.nextafter(ratios[-1], np.float32(np.inf))]
        many = np.array(ratios, dtype=np.float32)
        logarithms = np.log(many.astype(np.float64)).astype(np.float32)
        expected = np.maximum(np.ceil(logarithms), 0).astype(int).tolist()
        assert set(expected) == {k, k + 1}
        got, who, after = fired(many)
        assert got == expected
        assert who == [i for i, spikes in enumerate(expected) if spikes]
        assert all(now == 0.5 for now, spikes in zip(after, expected, strict=True) if spikes)


def test_neurons_that_overflow_fire_as_often_as_can_be_counted() -> None:
    assert fired(np.array([0.5, np.inf, 2.0], dtype=np.float32))[0] == [0, MOST, 1]


@pytest.mark.parametrize("size", [1, LANES - 1, LANES, LANES + 1, 256])
def test_who_fires(size: int) -> None:
    ratios = np.random.default_rng(size).uniform(0.2, 1.8, size).astype(np.float32)
    ratios[-1] = 1.5
    assert fired(ratios)[1] == np.flatnonzero(ratios > 1).tolist()
