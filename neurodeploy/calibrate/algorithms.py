"""Algorithms that set codes by measuring: what is measured is not their concern.

Each takes a response: codes (chips, *shape) -> how much too often each fires, 0 where it is right. A higher code fires
less. All codes of all chips are searched at once, in a number of measurements that does not depend on what they find:
if they ended when the last chip is settled, the noise that a chip meets later would depend on the chips beside it.
Of all codes measured, each knob keeps the one with the smallest error; of equals, the smallest code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.random import frozen_uniforms
from neurodeploy.ir.arrays import FloatArray, IntArray

Response = Callable[[IntArray], NDArray[Any]]
Loss = Callable[[IntArray], FloatArray]


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found, per knob.

    Attributes:
        codes: the best of those measured.
        excess: the response there.
        answered: True where some change of the code changed the response.
        beyond: True where an end of the range was measured and asked for more, of those not brought to 0.
        runs: measurements.
    """

    codes: IntArray
    excess: NDArray[Any]
    answered: NDArray[np.bool_]
    beyond: NDArray[np.bool_]
    runs: int


Algorithm = Callable[[Response, IntArray, int, int], Search]


def bisect(response: Response, start: IntArray, highest: int, runs: int) -> Search:
    """Halves what is left of the range at every measurement; the start comes first.

    From 0, as many runs as the knob has bits find the best of all codes of a falling response.
    """
    low, high = np.full(start.shape, -highest), np.full(start.shape, highest)
    trial, best = start, Best(start, highest)
    for _ in range(runs):
        excess = response(trial)
        best.take(trial, excess)
        low = np.where(excess > 0, trial + 1, low)
        high = np.where(excess < 0, trial - 1, high)
        settled = (excess == 0) | (low > high)
        low, high = np.where(settled, trial, low), np.where(settled, trial, high)
        trial = (low + high) // 2
    return best.search(runs)


def secant(response: Response, start: IntArray, highest: int, runs: int) -> Search:
    """Newton's method with the slope of the last two measurements that differ: code' = code - excess / slope.

    A slope that is not negative is replaced by the one of a straight line over the whole range. Steps go half the range
    at most, so that a flat piece throws no code to the end.
    """
    codes, best = start, Best(start, highest)
    excess = response(codes)
    best.take(codes, excess)
    widest = max(highest, 1)
    slope = -np.maximum(np.abs(excess), 1) / widest
    for _ in range(runs - 1):
        step = np.clip(np.rint(-excess / slope), -widest, widest).astype(np.int64)
        step = np.where((step == 0) & (excess != 0), np.sign(excess).astype(np.int64), step)
        following = np.clip(codes + step, -highest, highest)
        found = response(following)
        best.take(following, found)
        moved = following != codes
        fresh = (found - excess) / np.where(moved, following - codes, 1)
        slope = np.where(moved & (fresh < 0), fresh, slope)
        codes, excess = following, found
    return best.search(runs)


def robust_regression(response: Response, start: IntArray, highest: int, runs: int) -> Search:
    """A transfer curve over the whole range, a second one around where the first crosses 0, and the crossing of both.

    The curve is made monotone before its crossing is taken by straight lines: each point becomes the mean of the lowest
    response at a code not above its own and of the highest at one not below, so that a noisy point turns nothing
    around. The last run measures the crossing. At least 5 runs.
    """
    coarse = max((runs - 1) // 2, 2)
    fine = max(runs - 1 - coarse, 2)
    best, codes, found = Best(start, highest), list[IntArray](), list[NDArray[Any]]()

    def measure(trial: IntArray) -> None:
        trial = np.clip(trial, -highest, highest)
        codes.append(trial)
        found.append(np.asarray(response(trial)))
        best.take(trial, found[-1])

    for offset in np.rint(np.linspace(-highest, highest, coarse)).astype(np.int64):
        measure(np.zeros_like(start) + offset)
    middle = _crossing(codes, found, start)
    reach = max(highest // (2 * coarse), 1)
    for offset in np.rint(np.linspace(-reach, reach, fine)).astype(np.int64):
        measure(middle + offset)
    measure(_crossing(codes, found, start))
    return best.search(coarse + fine + 1)


def _crossing(codes: list[IntArray], found: list[NDArray[Any]], start: IntArray) -> IntArray:
    """Where the monotone curve through all points crosses 0, its end where it does not; `start` where it is flat."""
    order = np.argsort(np.stack(codes), axis=0, kind="stable")
    x = np.take_along_axis(np.stack(codes).astype(np.float64), order, axis=0)
    y = np.take_along_axis(np.stack(found).astype(np.float64), order, axis=0)
    flat = (y == y[:1]).all(axis=0)
    y = (np.minimum.accumulate(y, axis=0) + np.maximum.accumulate(y[::-1], axis=0)[::-1]) / 2
    after = np.clip((y > 0).sum(axis=0), 1, len(y) - 1)[None]
    left, right = (np.take_along_axis(x, at, axis=0)[0] for at in (after - 1, after))
    above, below = (np.take_along_axis(y, at, axis=0)[0] for at in (after - 1, after))
    part = np.clip(above / np.where(above > below, above - below, 1.0), 0.0, 1.0)
    part = np.where(above > below, part, np.where(above > 0, 1.0, 0.0))
    return np.where(flat, start, np.rint(left + part * (right - left)).astype(np.int64))


ALGORITHMS: dict[str, Algorithm] = {"bisection": bisect, "secant": secant, "regression": robust_regression}
SPSA = "spsa"  # the one that takes a loss per chip


def spsa(loss: Loss, start: IntArray, highest: int, runs: int, seed: int) -> Search:
    """Simultaneous perturbation: all codes of a chip move at once by ±c, and the loss says which way was down.

        g = (loss(x + c d) - loss(x - c d)) / (2 c) * d, d = ±1 at random,    x' = x - a g    (Spall 1992)

    c = highest / 4 falling to 1, a such that the first step is of size c. Of use where what is measured is one number
    per chip, as its loss of accuracy, and knobs are few.

    Args:
        loss: codes (chips, *shape) -> (chips,).
        runs: two of them make a step; one measures the start.
    """
    axes = tuple(range(1, start.ndim))
    column = (slice(None), *[None] * len(axes))
    steps = max((runs - 1) // 2, 1)
    best, lowest = start, loss(start)
    x, gain = start.astype(np.float64), None
    changed = np.zeros(len(start), dtype=bool)
    for step in range(steps):
        size = max(highest / 4 * (1 - step / steps), 1.0)
        # The same signs for every chip: a chip is calibrated alike in any company.
        signs = np.where(frozen_uniforms(start.shape[1:], seed, "spsa", step) < 0.5, -1.0, 1.0)
        pair = [np.clip(np.rint(x + way * size * signs), -highest, highest).astype(np.int64) for way in (1, -1)]
        losses = [loss(codes) for codes in pair]
        for codes, found in zip(pair, losses, strict=True):
            lower = found < lowest
            best, lowest = np.where(lower[column], codes, best), np.where(lower, found, lowest)
        difference = losses[0] - losses[1]
        changed |= difference != 0
        if gain is None:
            gain = np.where(difference != 0, size / np.maximum(np.abs(difference), 1e-12), 0.0)
        x = np.clip(x - (gain * difference)[column] * signs, -highest, highest)
    shape = np.broadcast_to(lowest[column], start.shape)
    answered = np.broadcast_to(changed[column], start.shape)
    return Search(best, shape, answered, np.zeros(start.shape, dtype=bool), 1 + 2 * steps)


class Best:
    """The best code of each knob among those measured so far."""

    def __init__(self, start: IntArray, highest: int) -> None:
        self.codes, self._highest = np.array(start, dtype=np.int64), highest
        self._excess: NDArray[Any] = np.full(start.shape, np.inf)
        self._first: NDArray[Any] | None = None
        self._answered = np.zeros(start.shape, dtype=bool)
        self._more = np.zeros(start.shape, dtype=np.int64)  # 1, -1: fires too much, too little at that end still

    def take(self, codes: IntArray, excess: NDArray[Any]) -> None:
        """What a measurement brought."""
        if self._first is None:
            self._first = excess
        self._answered |= excess != self._first
        ends = np.where(codes >= self._highest, 1, np.where(codes <= -self._highest, -1, 0))
        self._more = np.where((ends != 0) & (np.sign(excess) == ends), ends, self._more)
        error, before = np.abs(excess), np.abs(self._excess)
        better = (error < before) | ((error == before) & (np.abs(codes) < np.abs(self.codes)))
        self.codes, self._excess = np.where(better, codes, self.codes), np.where(better, excess, self._excess)

    def search(self, runs: int) -> Search:
        """The best of all of them."""
        beyond = (self._more != 0) & (np.sign(self._excess) == self._more)
        return Search(self.codes, self._excess, self._answered, beyond, runs)
