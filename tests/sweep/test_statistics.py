"""Statistics against formulas written out again, and the interval against what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from neurodeploy.errors import UsageError
from neurodeploy.sweep.statistics import summarise, yield_at


@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_every_number_by_its_formula(count: int) -> None:
    values = np.random.default_rng(count).uniform(0.4, 0.6, count)
    got = summarise(values)
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    low, high = stats.t.interval(0.95, count - 1, loc=mean, scale=deviation / math.sqrt(count))
    ordered, rank = np.sort(values), 0.05 * (count - 1)
    below = math.floor(rank)
    percentile = ordered[below] + (rank - below) * (ordered[min(below + 1, count - 1)] - ordered[below])
    assert got.n_chips == count
    assert got.accuracy_mean == pytest.approx(mean, rel=1e-12)
    assert got.accuracy_sd == pytest.approx(deviation, rel=1e-12)
    assert got.accuracy_p05 == pytest.approx(percentile, rel=1e-12)
    assert got.accuracy_min == ordered[0]
    assert (got.ci_low, got.ci_high) == pytest.approx((max(low, 0), min(high, 1)), rel=1e-9)


def test_a_case_by_hand() -> None:
    """Four chips: mean 0.5, sd 0.2, t(3, 97.5 %) = 3.1824."""
    got = summarise(np.array([0.3, 0.5, 0.5, 0.7]))
    assert got.accuracy_sd == pytest.approx(math.sqrt(0.08 / 3))
    assert got.ci_high - got.accuracy_mean == pytest.approx(3.18244630528 * math.sqrt(0.08 / 3) / 2)
    assert got.accuracy_p05 == pytest.approx(0.3 + 0.15 * 0.2)


def test_one_chip_says_nothing_about_others() -> None:
    got = summarise(np.array([0.8]))
    assert (got.accuracy_mean, got.accuracy_p05, got.accuracy_min, got.accuracy_sd) == (0.8, 0.8, 0.8, 0.0)
    assert (got.ci_low, got.ci_high) == (0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_identical_chips_have_an_interval_of_no_width(value: float) -> None:
    got = summarise(np.full(20, value))
    assert (got.accuracy_mean, got.accuracy_sd, got.accuracy_p05) == (value, 0.0, value)
    assert (got.ci_low, got.ci_high) == (value, value)


def test_identical_chips_have_a_spread_of_exactly_zero() -> None:
    """0.984 is the mean of twenty of itself only up to rounding."""
    same = np.full(20, 0.984)
    assert np.std(same, ddof=1) != 0
    found = summarise(same)
    assert found.accuracy_sd == 0
    assert found.ci_low == found.accuracy_mean == found.ci_high


def test_an_interval_stays_within_0_and_1() -> None:
    got = summarise(np.array([0.0, 1.0]))
    assert (got.ci_low, got.ci_high) == (0.0, 1.0)
    assert summarise(np.array([0.99, 1.0, 1.0])).ci_high == 1.0
    assert summarise(np.array([0.01, 0.0, 0.0])).ci_low == 0.0


def test_no_chips_are_refused() -> None:
    with pytest.raises(ValueError, match="no chips"):
        summarise(np.array([]))


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_interval_covers_the_mean_19_times_in_20(count: int) -> None:
    """On normal accuracies far from 0 and 1: 4000 repetitions, the share within 93 to 97 %."""
    mean = 0.5
    hits = 0
    for values in np.random.default_rng(count).normal(mean, 0.01, (4000, count)):
        got = summarise(values)
        hits += got.ci_low <= mean <= got.ci_high
    assert 0.93 < hits / 4000 < 0.97


@pytest.mark.parametrize("floor", [95.0, 1.0001, 0.0, -0.1, float("nan")])
def test_a_floor_that_is_no_fraction_is_refused(floor: float) -> None:
    with pytest.raises(UsageError, match=r"--floor .*a fraction above 0 and at most 1"):
        yield_at(np.array([0.9, 1.0]), floor)
    assert yield_at(np.array([0.9, 1.0]), 1.0).good == 1
