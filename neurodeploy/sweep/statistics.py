"""Statistics of a population of chips: accuracy with its intervals, yield, differences on the same chips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.sweep.bootstrap import CONFIDENCE, two_level

Interval = Literal["two-level", "chips"]
INTERVALS: tuple[Interval, ...] = ("two-level", "chips")


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of a population of chips, fractions.

    Attributes:
        accuracy_p05: 5th percentile over chips (linear interpolation).
        ci_low, ci_high: 95 % interval of the mean, within [0, 1]; for a single chip [0, 1]. Over chips alone it is
            Student's t, and says what other chips would do on the same test samples; on two levels (`bootstrap`) it
            says what other chips would do on other test samples.
    """

    n_chips: int
    accuracy_mean: float
    accuracy_sd: float
    accuracy_p05: float
    accuracy_min: float
    ci_low: float
    ci_high: float

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Yield:
    """The share of chips whose accuracy is at least `floor`, with a 95 % interval by Clopper and Pearson or Wilson."""

    floor: float
    chips: int
    good: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """good / chips."""
        return self.good / self.chips


@dataclass(frozen=True)
class Difference:
    """Mean of one population less that of another, on the same chips and samples, with its 95 % interval."""

    n_chips: int
    mean: float
    low: float
    high: float


def known_interval(name: str) -> Interval:
    """The interval of that name; raises UsageError for another."""
    for known in INTERVALS:
        if name == known:
            return known
    raise unknown_name("interval", name, INTERVALS)


def summarise(accuracies: NDArray[np.float64]) -> Accuracy:
    """The statistics of one accuracy per chip, with the interval over chips; raises ValueError where there is none."""
    count = len(accuracies)
    if count == 0:
        raise ValueError("no chips")
    mean = float(np.mean(accuracies))
    low, high, deviation = student_interval(accuracies)
    percentile, worst = float(np.percentile(accuracies, 5)), float(np.min(accuracies))
    return Accuracy(count, mean, deviation, percentile, worst, max(0.0, low), min(1.0, high))


def summarise_samples(correct: NDArray[np.bool_], interval: Interval = "two-level") -> Accuracy:
    """The statistics of (chips, samples): which samples each chip got right."""
    found = summarise(correct.mean(axis=1, dtype=np.float64))
    if interval == "chips":
        return found
    low, high = two_level(correct)
    # The mean of equal chips differs in its last bit from that of all their decisions.
    return Accuracy(
        **asdict(found) | {"ci_low": min(low, found.accuracy_mean), "ci_high": max(high, found.accuracy_mean)}
    )


def yield_at(accuracies: FloatArray, floor: float, method: Literal["exact", "wilson"] = "exact") -> Yield:
    """The yield at an accuracy floor; "exact" is Clopper and Pearson's interval, which never covers less than 95 %.

    Raises:
        UsageError: for a floor that is no fraction; ValueError where there are no chips.
    """
    check_fraction("--floor", floor)
    if len(accuracies) == 0:
        raise ValueError("no chips")
    good = int(np.sum(reaches(accuracies, floor)))
    low, high = proportion(good, len(accuracies), method)
    return Yield(floor, len(accuracies), good, low, high)


def check_fraction(name: str, value: float) -> None:
    """Raises UsageError for what is no fraction above 0."""
    if not 0 < value <= 1:
        raise UsageError(f"{name} {value:g}: a fraction above 0 and at most 1 is expected, as in {name} 0.95")


def reaches(accuracies: FloatArray, floor: float) -> NDArray[np.bool_]:
    """Which chips keep the floor; 9 of 10 keep 0.9 whatever the division rounds."""
    return np.asarray(accuracies >= floor - 1e-12)


def proportion(good: int, count: int, method: Literal["exact", "wilson"] = "exact") -> tuple[float, float]:
    """95 % interval of a proportion."""
    found = stats.binomtest(good, count).proportion_ci(CONFIDENCE, method=method)
    return float(found.low), float(found.high)


def paired_difference(
    first: NDArray[Any],
    second: NDArray[Any],
    interval: Interval = "two-level",
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Difference:
    """first - second of two (chips, samples) of the same chips and samples.

    What a chip's draw and a sample's difficulty do to both alike drops out of the interval.
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape}: a paired difference needs the same chips and samples")
    difference = first.astype(np.float64) - second.astype(np.float64)
    mean = float(difference.mean())
    if interval == "chips":
        low, high, _ = student_interval(difference.mean(axis=1), bounds[1] - bounds[0])
        low, high = max(bounds[0], low), min(bounds[1], high)
    else:
        low, high = two_level(difference, bounds)
    return Difference(len(first), mean, min(low, mean), max(high, mean))


def student_interval(values: FloatArray, unknown: float = 1.0) -> tuple[float, float, float]:
    """(low, high, standard deviation): Student's 95 % interval of a mean; a single value is `unknown` wide each way."""
    count, mean = len(values), float(np.mean(values))
    alike = count == 1 or np.ptp(values) == 0  # else rounding of the mean would show as a spread of 1e-16
    deviation = 0.0 if alike else float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / np.sqrt(count) if count > 1 else unknown
    return mean - half, mean + half, deviation
