"""A whole accuracy-noise curve in a few numbers: its area, and the levels at which accuracy has fallen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import FloatArray
from neurodeploy.sweep.bootstrap import CONFIDENCE, resampled_means, two_level

FALLS = (0.01, 0.05, 0.1)
"""Falls of accuracy that a summary looks for: 1, 5 and 10 points."""


@dataclass(frozen=True)
class Fall:
    """Where accuracy has fallen by `points` (a fraction); None: not within the levels measured."""

    points: float
    level: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Curve:
    """A curve in a few numbers.

    Attributes:
        area: the integral of the mean accuracy over the level, by trapezoids, divided by the range of levels: the mean
            accuracy over all noise up to the last level. With its two-level 95 % interval.
        falls: by how much accuracy fell, against its value at the lowest level.
    """

    n_chips: int
    lowest: float
    highest: float
    area: float
    area_low: float
    area_high: float
    falls: tuple[Fall, ...]


def summarise_curve(cells: Mapping[float, NDArray[np.bool_]]) -> Curve:
    """level -> (chips, samples) of the same chips and samples at every level; raises ValueError for one level."""
    levels = np.array(sorted(cells))
    if len(levels) < 2:
        raise ValueError("a curve has two levels or more")
    tables = [cells[float(level)] for level in levels]
    weights = _trapezoids(levels)
    area = np.zeros(tables[0].shape)
    for weight, table in zip(weights, tables, strict=True):
        area += weight * table
    mean = float(area.mean())
    low, high = two_level(area)
    means = np.array([table.mean(dtype=np.float64) for table in tables])
    drawn = np.stack([resampled_means(table) for table in tables], axis=1)
    falls = tuple(_fall(levels, means, drawn, points, len(tables[0])) for points in FALLS)
    return Curve(len(tables[0]), float(levels[0]), float(levels[-1]), mean, min(low, mean), max(high, mean), falls)


def fallen(levels: FloatArray, means: FloatArray, points: float) -> float:
    """The first level at which accuracy is `points` below that of the lowest level, between levels by a straight line.

    Infinity where it does not fall so far.
    """
    wanted = means[0] - points
    below = np.flatnonzero(means <= wanted + 1e-12)
    if len(below) == 0:
        return float("inf")
    after = int(below[0])
    if after == 0:
        return float(levels[0])
    above, under = means[after - 1], means[after]
    share = min(1.0, (above - wanted) / (above - under))
    return float(levels[after - 1] + share * (levels[after] - levels[after - 1]))


def _fall(levels: FloatArray, means: FloatArray, drawn: FloatArray, points: float, chips: int) -> Fall:
    """The percentile interval over resamples; a resample that does not fall so far counts as infinity."""
    level = fallen(levels, means, points)
    found = np.array([fallen(levels, row, points) for row in drawn])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail], method="inverted_cdf")
    if chips < 2:
        low, high = levels[0], float("inf")
    return Fall(points, _finite(level), _finite(min(low, level)), _finite(max(high, level)))


def _trapezoids(levels: FloatArray) -> FloatArray:
    """Weights of the trapezoidal rule, which add up to 1."""
    widths = np.diff(levels) / (levels[-1] - levels[0])
    return np.asarray(np.concatenate([widths / 2, [0.0]]) + np.concatenate([[0.0], widths / 2]), dtype=np.float64)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
