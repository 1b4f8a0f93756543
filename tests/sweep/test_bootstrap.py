"""Two-level intervals: their parts by formula, their limits by hand, and that they cover what they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from neurodeploy.sweep import bootstrap
from neurodeploy.sweep.bootstrap import components, resampled_means, two_level
from neurodeploy.sweep.statistics import paired_difference, proportion, reaches, summarise_samples, yield_at


def population(
    rng: np.random.Generator, n: int, m: int, mean: float, chips: float, samples: float
) -> NDArray[np.bool_]:
    """Chip and sample effects on a probit scale."""
    effects = mean + rng.normal(0, chips, (n, 1)) + rng.normal(0, samples, (1, m))
    return np.asarray(effects + rng.normal(size=(n, m)) > 0)


def test_the_parts_of_the_variance_by_loops() -> None:
    x = population(np.random.default_rng(0), 4, 6, 0.5, 1, 1).astype(float)
    n, m = x.shape
    grand = sum(x.flat) / (n * m)
    row = [sum(x[i]) / m for i in range(n)]
    column = [sum(x[:, j]) / n for j in range(m)]
    ms_a = m * sum((r - grand) ** 2 for r in row) / (n - 1)
    ms_b = n * sum((c - grand) ** 2 for c in column) / (m - 1)
    pairs = itertools.product(range(n), range(m))
    ms_e = sum((x[i, j] - row[i] - column[j] + grand) ** 2 for i, j in pairs) / ((n - 1) * (m - 1))
    found = components(x)
    assert found.rest == pytest.approx(ms_e / (n * m))
    assert found.chips == pytest.approx(max(0, ms_a - ms_e) / m / n)
    assert found.samples == pytest.approx(max(0, ms_b - ms_e) / n / m)
    total = max(0, ms_a - ms_e) + max(0, ms_b - ms_e) + ms_e
    freedom = total**2 / (ms_a**2 / (n - 1) + ms_b**2 / (m - 1) + ms_e**2 / ((n - 1) * (m - 1)))
    assert found.freedom == pytest.approx(max(freedom, n - 1))


def test_resamples_are_of_chips_and_of_samples() -> None:
    """Every resampled mean is that of drawn rows and drawn columns: redone here from the same draws."""
    x = population(np.random.default_rng(1), 3, 5, 0.0, 1, 1)
    chips, samples = (np.random.default_rng([bootstrap.SEED, what, count]) for what, count in ((0, 3), (1, 5)))
    wanted = [x[np.ix_(chips.integers(0, 3, 3), samples.integers(0, 5, 5))].mean() for _ in range(50)]
    np.testing.assert_allclose(resampled_means(x, 50), wanted, rtol=1e-12)
    np.testing.assert_array_equal(resampled_means(x, 50), resampled_means(x.astype(float), 50))


def test_an_interval_depends_on_its_data_alone() -> None:
    x = population(np.random.default_rng(2), 10, 30, 1, 0.3, 1)
    first = two_level(x)
    np.random.default_rng().random(5)
    bootstrap._weights.cache_clear()
    assert two_level(x) == first


@pytest.mark.parametrize(
    ("chips", "samples", "mean", "between_chips", "between_samples", "most"),
    [
        (10, 60, 1.0, 0.3, 1.0, 0.97),  # samples differ more than chips
        (6, 60, 1.0, 0.8, 0.5, 0.97),  # few chips
        (40, 50, 0.0, 1.0, 0.5, 0.97),  # chips differ more than samples
        (20, 100, 1.5, 0.3, 1.0, 0.97),
        (20, 80, 1.0, 0.0, 1.0, 0.97),  # chips that do not differ
        (20, 360, 3.3, 0.3, 1.0, 1.0),  # four samples of the test set are missed on average,
        (20, 100, 3.3, 0.3, 1.0, 1.0),  # and a single one: kinds of samples that were not drawn weigh as much
    ],
)
def test_the_interval_covers_the_mean_19_times_in_20(
    chips: int, samples: int, mean: float, between_chips: float, between_samples: float, most: float
) -> None:
    """800 populations and test sets: the share within 93 to 97 %."""
    rng = np.random.default_rng(7)
    true = stats.norm.cdf(mean / np.sqrt(1 + between_chips**2 + between_samples**2))
    hits = 0
    for _ in range(800):
        low, high = two_level(population(rng, chips, samples, mean, between_chips, between_samples), resamples=300)
        hits += low <= true <= high
    assert 0.93 <= hits / 800 <= most


@pytest.mark.parametrize(
    ("chips", "samples", "hard", "single"),
    [
        (20, 50, 0.01, 0.0005),
        (20, 360, 0.003, 0.0002),
        (20, 360, 0.006, 0.0005),
        (50, 360, 0.006, 0.0005),
        (200, 360, 0.003, 0.02),  # nearly every sample is missed by some chip; the uncertainty is that of the hard ones
        (50, 360, 0.01, 0.02),
    ],
)
def test_the_interval_covers_where_a_few_samples_are_hard(chips: int, samples: int, hard: float, single: float) -> None:
    """A share `hard` of all samples is missed by 90 % of the chips, others by `single`: accuracies, and differences."""
    rng, hits, paired = np.random.default_rng(5), 0, 0
    for _ in range(400):
        missed = rng.random((chips, samples)) < np.where(rng.random(samples) < hard, 0.9, single)
        low, high = two_level(~missed, resamples=300)
        hits += low <= 1 - (0.9 * hard + single * (1 - hard)) <= high
        gained = rng.random((chips, samples)) < single
        low, high = two_level(gained.astype(float) - missed, (-1.0, 1.0), resamples=300)
        paired += low <= single - (0.9 * hard + single * (1 - hard)) <= high
    assert min(hits, paired) / 400 >= 0.93


@pytest.mark.parametrize(("chips", "samples"), [(20, 360), (20, 50), (50, 360)])
def test_a_wrong_decision_does_not_narrow_the_interval(chips: int, samples: int) -> None:
    """By value, and against the interval without it: Clopper and Pearson's of the samples."""
    right = np.ones((chips, samples), dtype=bool)
    one = right.copy()
    one[3, 7] = False
    share = 1 - 0.025 ** (1 / samples)
    low, high = two_level(one)
    assert low == pytest.approx(one.mean() * (1 - share * (1 - 1 / samples**2)), abs=1e-12)
    assert low < two_level(right)[0] == pytest.approx(1 - share)
    assert one.mean() < high < 1
    equal, differing = paired_difference(right, right), paired_difference(one, right)
    assert (equal.low, equal.high) == (pytest.approx(-share), pytest.approx(share))
    assert differing.low < equal.low
    assert differing.high == pytest.approx(share, abs=2 / (chips * samples))


def test_samples_that_differ_show_their_kinds() -> None:
    """Where all samples are missed alike, V alone counts; where a quarter is, 15/16 of what may be unseen do."""
    x = np.ones((4, 8), dtype=bool)
    x[np.arange(8) % 4, np.arange(8)] = False
    share = 1 - 0.025 ** (1 / 8)
    assert (bootstrap.shown(x), bootstrap.unseen(8, 8.0)) == (8, 0)
    x[:, 2:] = True
    assert bootstrap.shown(x) == bootstrap.shown(~x) == 2
    assert bootstrap.unseen(8, 2.0) == pytest.approx(share * 15 / 16)
    assert bootstrap.unseen(8, 0.0) == pytest.approx(share)
    # Two samples are shown by one chip each: a chip more shows half a sample more at most, 12 chips all of the eight.
    for chips, shown in ((4, 2), (5, 2.5), (8, 4), (16, 8), (17, 8), (400, 8)):
        assert bootstrap.shown_by(x, chips) == bootstrap.shown_by(~x, chips) == pytest.approx(shown)
    x[:2, :2] = False
    assert bootstrap.shown_by(x, 400) == bootstrap.shown(x) == 2  # two chips show each: they are what is hard, and all


def test_samples_that_are_missed_unequally_count_as_fewer() -> None:
    """Distances of 3/4 on one sample and of 1/4 on three: (9 + 3)² / (81 + 3) = 1.714 of the four samples that show."""
    x = np.ones((4, 8), dtype=bool)
    x[:3, 0] = False
    x[0, 1:4] = False
    assert bootstrap.shown(x) == pytest.approx(144 / 84)
    assert bootstrap.shown_by(x, 4) == 4  # more chips: as if they were alike
    signed = np.where(x, 0.0, -1.0)
    signed[0, 1] = 1.0  # a difference counts by its size
    assert bootstrap.shown(signed) == pytest.approx(144 / 84)
    assert bootstrap.shown(np.zeros((3, 5))) == 0


def test_what_all_chips_would_show_is_told_from_eighty_on() -> None:
    """80 chips, 40 of which miss one sample, 4 each of twenty others: moments of pairs and fours written out."""
    x = np.ones((80, 100), dtype=bool)
    x[:40, 0] = False
    for sample in range(1, 21):
        x[4 * (sample - 1) : 4 * sample, sample] = False
    squares = (40 * 39 + 20 * 4 * 3) / (80 * 79)
    fourths = (40 * 39 * 38 * 37 + 20 * 4 * 3 * 2 * 1) / (80 * 79 * 78 * 77)
    assert bootstrap.shown_by(x, 1000) == pytest.approx(squares**2 / fourths)
    assert bootstrap.shown_by(x[:79], 1000) == 21  # one past the limit: each of 21 samples could be missed as often
    assert bootstrap.shown_by(np.ones((80, 100), dtype=bool), 1000) == 0


def test_estimates_of_what_all_chips_would_show_lie_about_it() -> None:
    """160 chips: one sample of 360 missed by 30 %, the others by 2 %: k = (0.3² + 359 * 0.02²)² / (0.3⁴ + …)."""
    rng, p = np.random.default_rng(3), np.r_[0.3, np.full(359, 0.02)]
    true = np.sum(p**2) ** 2 / np.sum(p**4)
    found = [bootstrap.shown_by(rng.random((160, 360)) >= p, 1000) for _ in range(200)]
    assert true == pytest.approx((0.09 + 359 * 0.0004) ** 2 / (0.0081 + 359 * 1.6e-7))
    assert np.median(found) == pytest.approx(true, rel=0.15)  # a ratio of two estimates


@pytest.mark.parametrize(("samples", "most"), [(80, 0.985), (300, 0.97)])  # 80 samples may lack kinds of them
def test_a_paired_difference_covers_and_is_narrower(samples: int, most: float) -> None:
    """Two networks on the same chips and samples, which share both effects."""
    rng, hits, paired, apart = np.random.default_rng(8), 0, 0.0, 0.0
    true = stats.norm.cdf(1.0 / np.sqrt(2.34)) - stats.norm.cdf(0.7 / np.sqrt(2.34))
    for _ in range(500):
        effects = rng.normal(0, 0.3, (15, 1)) + rng.normal(0, 1.118, (1, samples))
        one, other = (mean + effects + 0.0 * mean + rng.normal(size=(15, samples)) > 0 for mean in (1.0, 0.7))
        found = paired_difference(one, other)
        hits += found.low <= true <= found.high
        paired += found.high - found.low
        ends = [two_level(one), two_level(other)]
        apart += np.hypot(*(high - low for low, high in ends))
    assert 0.93 <= hits / 500 <= most
    assert paired < 0.8 * apart


def test_limits_by_hand() -> None:
    ones = np.ones((5, 20), dtype=bool)
    low, high = two_level(ones)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)  # Clopper and Pearson, 20 of 20
    assert low == pytest.approx(stats.binomtest(20, 20).proportion_ci(0.95, method="exact").low)
    assert two_level(~ones) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert two_level(ones[:1]) == (0.0, 1.0)
    assert two_level(ones[:, :1]) == (0.0, 1.0)
    same = paired_difference(ones, ones)
    assert (same.mean, same.low, same.high) == (0.0, pytest.approx(-0.16843347), pytest.approx(0.16843347))
    with pytest.raises(ValueError, match="same chips and samples"):
        paired_difference(ones, ones[:4])


def test_a_single_decision_that_is_wrong() -> None:
    """By hand: neither chips nor samples differ more than single decisions do."""
    x = np.ones((4, 5), dtype=bool)
    x[2, 1] = False
    parts = components(x)
    assert (parts.chips, parts.samples) == (0.0, 0.0)
    assert parts.rest == pytest.approx(1 / 20 / 20)  # MS_E = (1 - 1/4 - 1/5 + 1/20) / 12 = 1/20
    count = 0.05 * 0.95 * 400 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, parts.freedom)) ** 2
    low, high = two_level(x)
    assert low <= stats.beta.ppf(0.025, 0.95 * count, 0.05 * count + 1)
    assert high >= stats.beta.ppf(0.975, 0.95 * count + 1, 0.05 * count)


def test_a_single_hard_sample_leaves_what_twenty_samples_can_tell() -> None:
    """A mean nearer to 1 than half a sample: 17 % of the chips miss one sample of twenty."""
    x = np.ones((1000, 20), dtype=bool)
    x[:170, 3] = False
    low, high = two_level(x)
    assert low == pytest.approx(x.mean() * (1 - (1 - 0.025 ** (1 / 20)) * (1 - 1 / 400)))  # 20 of 20: 0.8316
    assert x.mean() < high < 1
    mirrored = two_level(~x)
    assert mirrored == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_equal_chips_leave_the_uncertainty_of_the_samples() -> None:
    row = np.arange(50) < 40
    found = summarise_samples(np.tile(row, (12, 1)))
    half = stats.t.ppf(0.975, 49) * np.sqrt(0.8 * 0.2 / 49)
    assert (found.ci_high - found.ci_low) / 2 == pytest.approx(half, rel=0.08)
    # No narrower than Clopper and Pearson's of 49 decisions, at Student's t of 49 degrees of freedom.
    count = 49 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 49)) ** 2
    low, high = stats.beta.ppf(0.025, 0.8 * count, 0.2 * count + 1), stats.beta.ppf(0.975, 0.8 * count + 1, 0.2 * count)
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=0.005), pytest.approx(high, abs=0.005))
    assert found.ci_low <= low < high <= found.ci_high
    assert (found.accuracy_sd, summarise_samples(np.tile(row, (12, 1)), "chips").ci_low) == (0.0, pytest.approx(0.8))


def test_yield_counts_chips_at_the_floor() -> None:
    accuracies = np.array([27 / 30, 0.89, 0.95, 1.0])
    assert list(reaches(accuracies, 0.9)) == [True, False, True, True]
    found = yield_at(accuracies, 0.9)
    # Clopper and Pearson by the beta distribution
    assert (found.share, found.low, found.high) == (
        0.75, pytest.approx(stats.beta.ppf(0.025, 3, 2)), pytest.approx(stats.beta.ppf(0.975, 4, 1))
    )  # fmt: skip
    z, p, n = stats.norm.ppf(0.975), 0.75, 4
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert proportion(3, 4, "wilson") == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n))
    )
    with pytest.raises(ValueError, match="no chips"):
        yield_at(np.array([]), 0.9)


@pytest.mark.parametrize(("method", "least"), [("exact", 0.95), ("wilson", 0.93)])
def test_the_yields_interval_covers(method: str, least: float) -> None:
    """Exactly, by summing the binomial distribution; Wilson's on average over yields."""
    covered = []
    for share in np.linspace(0.5, 0.98, 9):
        inside = [low <= share <= high for low, high in (proportion(k, 60, method) for k in range(61))]  # type: ignore[arg-type]
        covered.append(float(stats.binom.pmf(np.arange(61), 60, share) @ inside))
    assert (min(covered) if method == "exact" else float(np.mean(covered))) >= least
