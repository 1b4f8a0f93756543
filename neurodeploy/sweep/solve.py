"""The reverse question: the largest noise at which enough chips are still good enough.

Yield falls with the level, since a chip at level 0.2 is the chip at 0.1, twice as far from nominal. The level at which
the yield crosses what is wanted is bisected; its interval are the levels at which the ends of the yield's own 95 %
interval (Clopper and Pearson) cross it. Every level tried is a cell of the study: nothing is measured twice, neither
within the search nor by a sweep before or after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.sweep.executor import Executor
from neurodeploy.sweep.plan import NoiseAxis
from neurodeploy.sweep.run import Progress, measure
from neurodeploy.sweep.statistics import Yield, check_fraction, yield_at
from neurodeploy.sweep.store import Store
from neurodeploy.sweep.work import Study

FIRST_LEVEL = 0.5
_DOUBLINGS = 6  # of the first level, while every chip is still good enough
DEPTH = 7  # halvings: a level is known to 1/128 of the range

Judge = Callable[[Yield], float]


@dataclass(frozen=True)
class Solution:
    """The largest noise that keeps the yield.

    Attributes:
        level: the largest level found at which the share of good chips is at least what is wanted; None where the noise
            goes no further than levels that keep it.
        level_low: the largest level found at which even the lower end of the yield's interval is what is wanted; None
            where there are too few chips to prove the yield at any level.
        level_high: the smallest level found at which even the upper end is not; None where there is none.
        found: the yield at `level`, or at the largest level tried.
        resolution: distance from `level` to the next level that failed.
        steady: whether no level that was tried below `level` failed.
        levels: how many levels were tried.
    """

    noise: str
    level: float | None
    level_low: float | None
    level_high: float | None
    found: Yield
    wanted: float
    resolution: float
    steady: bool
    levels: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, one level deep."""
        flat = {name: value for name, value in asdict(self).items() if name != "found"}
        share = self.found
        return (
            flat
            | {"floor": share.floor, "yield": share.share, "n_chips": share.chips}
            | {
                "yield_low": share.low,
                "yield_high": share.high,
            }
        )


def solve(
    study: Study,
    axis: NoiseAxis,
    share: float,
    floor: float,
    store: Store,
    calibrated: bool,
    progress: Progress,
    executor: Executor | None = None,
) -> Solution:
    """The largest level of `axis` at which `share` of the chips have an accuracy of at least `floor`.

    Args:
        axis: its largest level is where the search starts, and is doubled while the yield is kept, up to the limit
            of a noise that has one.

    Raises:
        UsageError: for a share or a floor that is no fraction, or where the network does not reach the floor without
            this noise.
    """
    for name, value in (("--yield", share), ("--floor", floor)):
        check_fraction(name, value)
    known: dict[float, Yield] = {}

    def measured(level: float) -> Yield:
        if level not in known:
            point = NoiseAxis(axis.noise, (level,), axis.base).points()[0]
            cell = measure(study, {point: study.chips}, store, calibrated, progress, executor)[point]
            rows = [row.mean(dtype=np.float64) for chip, row in store.correct(cell.key).items() if chip < study.chips]
            known[level] = yield_at(np.array(rows), floor)
        return known[level]

    def keeps(level: float, judge: Judge) -> bool:
        return judge(measured(level)) >= share - 1e-12

    at_nothing = measured(0.0)
    if at_nothing.share < share:
        raise UsageError(
            f"--floor {floor:g}: without {axis.noise}, {at_nothing.good} of {at_nothing.chips} chips keep it already"
            f" ({study.names}); choose a lower floor"
        )
    top = _top(axis, keeps)
    low, _ = _bisect(top, lambda at: keeps(at, lambda y: y.low))
    level, failing = _bisect(top, lambda at: keeps(at, lambda y: y.share))
    _, high = _bisect(top, lambda at: keeps(at, lambda y: y.high))
    if failing is None:
        level = None
    best = level if level is not None else top
    return Solution(
        axis.noise,
        level,
        low,
        high,
        known[best],
        share,
        failing - best if failing is not None else 0.0,
        all(found.share >= share - 1e-12 for at, found in known.items() if at < best),
        len(known),
    )


def _top(axis: NoiseAxis, keeps: Callable[[float, Judge], bool]) -> float:
    """A level at which even the upper end of the yield's interval is too low, or as far as the noise goes."""
    top, limit = max(axis.levels) or FIRST_LEVEL, axis.base.limit(axis.noise)
    following = [min(2**count * top, limit) for count in range(1, _DOUBLINGS + 1)]
    following += [limit] if np.isfinite(limit) else []  # a noise with a limit, as a probability, is tried there
    for further in following:
        if further <= top or not keeps(top, lambda y: y.high):
            break
        top = further
    return top


def _bisect(top: float, keeps: Callable[[float], bool]) -> tuple[float | None, float | None]:
    """(the largest that keeps, the smallest that fails) of the multiples of top / 2^DEPTH, next to each other.

    None for what there is not: where 0 fails already, or where top keeps.
    """
    if not keeps(0.0):
        return None, 0.0
    if keeps(top):
        return top, None
    low, high = 0, 2**DEPTH
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(top * middle / 2**DEPTH) else (low, middle)
    return top * low / 2**DEPTH, top * high / 2**DEPTH
