"""Designs: which combinations of noise levels a sweep measures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import qmc

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.sweep.plan import NoiseAxis, Point

DESIGNS = ("one-at-a-time", "grid", "all-combinations", "random", "latin-hypercube", "sobol")
_SPACE_FILLING = DESIGNS[3:]
_MOST_POINTS = 10_000


def make_points(axes: Sequence[NoiseAxis], design: str, count: int | None = None, seed: int = 0) -> list[Point]:
    """The points of a design.

    one-at-a-time: every level of every axis, the other axes at their base. grid: every level of each axis with every
    level of the others; the first axis makes the curves. all-combinations: a grid in which each noise may also be
    absent. random, latin-hypercube, sobol: `count` points within the lowest and highest level of each axis.

    Args:
        axes: their bases are equal.
        count: points of a space-filling design; a power of 2 for sobol, which is balanced at no other size.
        seed: of a space-filling design.

    Raises:
        UsageError: for an unknown design, a count where none is meant or none where one is, or too many points.
    """
    if design not in DESIGNS:
        raise unknown_name("design", design, DESIGNS)
    if len({axis.noise for axis in axes}) < len(axes) and design != DESIGNS[0]:
        raise UsageError(f"--design {design}: each noise is given once")
    if (count is not None) != (design in _SPACE_FILLING):
        fault = (
            "needs --points, as in --points 64" if count is None else "takes no --points: its levels make its points"
        )
        raise UsageError(f"--design {design}: {fault}")
    if count is not None:
        return _space_filling(axes, design, count, seed)
    if design == "one-at-a-time":
        return [point for axis in axes for point in axis.points()]
    levels = [axis.levels if design == "grid" else tuple(sorted({0.0, *axis.levels})) for axis in axes]
    size = int(np.prod([float(len(one)) for one in levels]))
    if size > _MOST_POINTS:
        raise UsageError(f"--design {design}: {size} points, at most {_MOST_POINTS} are allowed")
    return [_at(axes, combination, axes[0].noise) for combination in itertools.product(*levels)]


def _space_filling(axes: Sequence[NoiseAxis], design: str, count: int, seed: int) -> list[Point]:
    if not 1 <= count <= _MOST_POINTS:
        raise UsageError(f"--points {count}: 1 to {_MOST_POINTS} are allowed")
    low, high = np.array([[min(axis.levels), max(axis.levels)] for axis in axes]).T
    for axis, flat in zip(axes, low == high, strict=True):
        if flat:
            raise UsageError(f"--design {design}: {axis.noise} needs a range, as in {axis.noise}=0,0.5")
    unit = _unit_cube(design, count, len(axes), np.random.default_rng(seed))
    return [_at(axes, [round(float(v), 12) for v in row], None) for row in low + unit * (high - low)]


def _unit_cube(design: str, count: int, dimensions: int, generator: np.random.Generator) -> FloatArray:
    if design == "random":
        return generator.random((count, dimensions))
    if design == "latin-hypercube":
        return np.asarray(qmc.LatinHypercube(dimensions, seed=generator).random(count))
    if count & (count - 1):
        near = 2 ** (count.bit_length() - 1)
        raise UsageError(f"--points {count}: a Sobol design has a power of 2, as {near} or {2 * near}")
    return np.asarray(qmc.Sobol(dimensions, seed=generator).random(count))


def _at(axes: Sequence[NoiseAxis], levels: Sequence[float], axis: str | None) -> Point:
    chosen = {one.noise: level for one, level in zip(axes, levels, strict=True)}
    noise = replace(axes[0].base, **chosen)  # type: ignore[arg-type]
    return Point(noise, axis, None if axis is None else levels[0])
