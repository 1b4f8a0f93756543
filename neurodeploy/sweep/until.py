"""Chips until the mean of every point is known well enough (`--until`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from neurodeploy.errors import UsageError
from neurodeploy.sweep.bootstrap import CONFIDENCE, components, drawn, shown_by, unseen
from neurodeploy.sweep.executor import Executor
from neurodeploy.sweep.plan import Point
from neurodeploy.sweep.run import TRIMMED_AT_ONCE, Plan, Progress, measure, points_of
from neurodeploy.sweep.statistics import Interval, summarise_samples
from neurodeploy.sweep.store import Store
from neurodeploy.sweep.work import Study


@dataclass(frozen=True)
class Reached:
    """Where adding chips to a point stands.

    Attributes:
        half: half the width of the interval, a fraction; narrow: whether that is enough.
        drawn: the same for samples of the kinds that were drawn, without what others may do (`bootstrap.unseen`).
        fixed: the part of `drawn` that is of the samples; the rest falls with the chips.
        floor: what the test samples alone surely leave of `half`, however many chips join up to the `most` allowed.
    """

    point: Point
    chips: int
    most: int
    half: float
    drawn: float
    fixed: float
    floor: float
    narrow: bool

    def in_words(self, half: float) -> str:
        """Why the interval is wider than ± `half`; "" where it is not."""
        if self.narrow:
            return ""
        reached = f"{self.point.title}: ±{100 * self.half:.2f} points after {self.chips} chips"
        if self.floor >= half:
            return (
                f"{reached}; the test samples alone leave ±{100 * self.floor:.2f} even with {self.most} chips: take "
                "more --samples, or --interval chips"
            )
        if self.fixed >= half:
            return (
                f"{reached}, most of it of the test samples: take more --samples, or a larger --most-chips to be sure"
            )
        if self.drawn <= half:
            return (
                f"{reached}, ±{100 * self.drawn:.2f} without the kinds of samples that so few may lack: take more "
                "--samples, or a larger --most-chips"
            )
        return f"{reached}; more need a larger --most-chips"


def sweep_until(
    study: Study,
    plan: Plan,
    store: Store,
    calibrated: bool,
    progress: Progress,
    executor: Executor | None = None,
    *,
    half: float,
    most: int,
    interval: Interval = "two-level",
) -> list[Reached]:
    """Adds chips to every point until the 95 % interval of its mean is ± `half` (a fraction) or narrower.

    Starts with the study's chips, and at least `TRIMMED_AT_ONCE`, so that the spread is known before it is judged; then
    as many as the interval's own variance asks for, at most twice as many as before and at most `most`. A point is
    given up where the test samples alone leave a wider interval: more chips cannot mend that.
    """
    wanted = {point: min(most, max(study.chips, TRIMMED_AT_ONCE)) for point in points_of(plan)}
    reached: dict[Point, Reached] = {}
    while wanted:
        cells = measure(study, wanted, store, calibrated, progress, executor)
        following = {}
        for point, chips in wanted.items():
            correct = np.stack([row for chip, row in store.correct(cells[point].key).items() if chip < chips])
            found = reached[point] = judge(point, correct, half, most, interval)
            if not found.narrow and found.floor < half and chips < most:
                following[point] = min(most, more(found, half))
        wanted = following
    return list(reached.values())


def judge(point: Point, correct: NDArray[np.bool_], half: float, most: int, interval: Interval) -> Reached:
    """What (chips, samples) decisions of a point leave open, and what `most` chips would."""
    found = summarise_samples(correct, interval)
    width = own = (found.ci_high - found.ci_low) / 2
    fixed = floor = 0.0
    if interval == "two-level" and min(correct.shape) > 1:
        (n, m), parts, (low, high) = correct.shape, components(correct), drawn(correct)
        own = (high - low) / 2
        # Few chips tell little of the samples' part: of it no more than MS_B / F, at F's 97.5 % point, is sure.
        limit = stats.f.ppf((1 + CONFIDENCE) / 2, m - 1, (n - 1) * (m - 1))
        least = max(0.0, (parts.samples + parts.rest) / limit - parts.rest)
        if parts.total > 0:
            fixed, sure = (own * float(np.sqrt(part / parts.total)) for part in (parts.samples, least))
            floor = sure
        # Both ends reach at least the unseen share of their distance to 0 and to 1.
        floor = max(floor, unseen(m, shown_by(correct, most)) / 2)
    return Reached(point, len(correct), most, width, own, fixed, floor, width <= half)


def more(found: Reached, half: float) -> int:
    """Chips for which drawn² = fixed² + rest² / chips would be half²; rounded up to whole blocks.

    Twice as many as before at most, and where that has no answer: V is narrow enough already, and how many samples it
    is known from shows itself slowly; or the samples' part looks too wide, which few chips cannot tell.
    """
    needed = 2.0 * found.chips
    if found.drawn > half > found.fixed:
        needed = (found.drawn**2 - found.fixed**2) * found.chips / (half**2 - found.fixed**2)
    grown = min(max(needed, found.chips + 1), 2 * found.chips)
    return int(np.ceil(grown / TRIMMED_AT_ONCE) * TRIMMED_AT_ONCE)


def check_until(text: str, chips: int, most: int) -> float:
    """Half the width of an interval as typed, in points (`±0.5`, `0.5`), as a fraction.

    Raises:
        UsageError: for anything else, or fewer chips at most than at first.
    """
    try:
        points = float(text.removeprefix("±").removeprefix("+-"))
    except ValueError:
        points = -1.0
    if not 0 < points < 100:
        raise UsageError(f"--until {text}: points of accuracy between 0 and 100 are expected, as in --until ±0.5")
    if most < chips:
        raise UsageError(f"--most-chips {most}: fewer than the {chips} of --chips")
    return points / 100
