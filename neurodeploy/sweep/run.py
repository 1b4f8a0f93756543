"""Running a sweep: every cell's chips, uncalibrated and calibrated, into a store; what is there is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.sweep.bootstrap import components, unseen
from neurodeploy.sweep.executor import Executor, Serial
from neurodeploy.sweep.plan import NoiseAxis, Point
from neurodeploy.sweep.statistics import Interval, summarise_samples
from neurodeploy.sweep.store import Cell, Store
from neurodeploy.sweep.work import Samples, Study, Task, cell_of, check_calibratable

__all__ = ["Progress", "Samples", "Study", "calibrate", "claim", "measure", "sweep", "sweep_until"]

# Chips that are computed and stored together: what a kill can lose. What they share is computed once for all of them;
# trimming a chip takes many runs, so that fewer are at stake.
CHIPS_AT_ONCE, TRIMMED_AT_ONCE = 40, 10

Progress = Callable[[str, int, int], None]
Plan: TypeAlias = Sequence[NoiseAxis] | Sequence[Point]


@dataclass(frozen=True)
class Reached:
    """Where adding chips to a cell ended.

    Attributes:
        half: half the width of the interval, a fraction.
        floor: what the test samples alone leave of it, however many chips join up to the most that are allowed.
    """

    point: Point
    chips: int
    half: float
    floor: float
    narrow: bool

    def in_words(self, half: float) -> str:
        """Why the interval is wider than ± `half`; "" where it is not."""
        if self.narrow:
            return ""
        reached = f"{self.point.title}: ±{100 * self.half:.2f} points after {self.chips} chips"
        if self.floor < half:
            return f"{reached}; more need a larger --most-chips"
        return (
            f"{reached}; the test samples alone leave ±{100 * self.floor:.2f}, which more chips do not narrow: "
            "take more --samples, or --interval chips"
        )


def sweep(
    study: Study, plan: Plan, store: Store, calibrated: bool, progress: Progress, executor: Executor | None = None
) -> None:
    """Measures every point of a plan on all chips, without or with calibration.

    Calibrated cells use the settings that `calibrate` stored, and make them where they are missing.
    """
    measure(study, dict.fromkeys(_points(plan), study.chips), store, calibrated, progress, executor)


def calibrate(study: Study, plan: Plan, store: Store, progress: Progress, executor: Executor | None = None) -> None:
    """Calibrates every chip of every point and stores the settings."""
    points = dict.fromkeys(_points(plan), study.chips)
    measure(study, points, store, True, progress, executor, trims_alone=True)


def measure(
    study: Study,
    points: dict[Point, int],
    store: Store,
    calibrated: bool,
    progress: Progress,
    executor: Executor | None = None,
    trims_alone: bool = False,
) -> dict[Point, Cell]:
    """Measures a number of chips of its own at every point; returns each point's cell.

    Raises:
        UsageError: for a layer that the network has not, chips that cannot be trimmed, or a store of another study.
        NeurodeployError: where the store cannot be written; says how far the sweep came.
    """
    for point in points:
        point.noise.check_layers(study.program)
    if calibrated:
        check_calibratable(study)
    claim(study, store)
    cells = {point: cell_of(study, point, calibrated) for point in points}
    store.place(cells.values())
    wanted: dict[str, Point] = {}  # one cell may stand on several curves, and is computed once
    for point, cell in cells.items():
        if cell.key not in wanted or points[wanted[cell.key]] < points[point]:
            wanted[cell.key] = point
    finished = dict.fromkeys(points, 0)

    def advance(key: str, chips: int) -> None:
        for point, cell in cells.items():
            if cell.key == key and finished[point] < points[point]:
                finished[point] = min(finished[point] + chips, points[point])
                progress(f"{study.names} {point.title}", finished[point], points[point])

    def tasks() -> Iterator[Task]:
        for point in wanted.values():
            cell = cells[point]
            trims = store.calibrations(cell) if calibrated else {}
            done = set(trims) if trims_alone else store.finished_chips(cell)
            for block in _blocks(points[point], TRIMMED_AT_ONCE if calibrated else CHIPS_AT_ONCE):
                missing = tuple(chip for chip in block if chip not in done)
                if len(missing) < len(block):
                    advance(cell.key, len(block) - len(missing))
                if missing:
                    codes = tuple(trims[chip] for chip in missing) if set(missing) <= set(trims) else None
                    yield Task(cell, point.noise, missing, codes, not trims_alone)

    total = sum(points[point] for point in wanted.values())
    for task, outcome in (executor or Serial()).run(study, tasks()):
        try:
            store.add_results(task.cell, task.block, outcome.correct, outcome.calibrations)
        except NeurodeployError as error:
            there = sum(finished[point] for point in wanted.values())
            raise NeurodeployError(f"{error}; {there} of the {total} chips of this sweep are in the study") from error
        advance(task.cell.key, len(task.block))
    return cells


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
    wanted = {point: min(most, max(study.chips, TRIMMED_AT_ONCE)) for point in _points(plan)}
    reached: dict[Point, Reached] = {}
    while wanted:
        cells = measure(study, wanted, store, calibrated, progress, executor)
        following = {}
        for point, chips in wanted.items():
            correct = np.stack([row for chip, row in store.correct(cells[point].key).items() if chip < chips])
            found = _reached(point, correct, half, most, interval)
            reached[point] = found
            if not found.narrow and found.floor < half and chips < most:
                following[point] = min(most, _more(chips, found, half))
        wanted = following
    return list(reached.values())


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


def claim(study: Study, store: Store) -> None:
    """Ties a store to a study's network, samples, seed, trim and version; raises UsageError where it is another's."""
    there = _networks(store.about())
    if there and study.network not in there and not there & set(study.beside):
        raise UsageError(
            f"{store.path}: holds the network {', '.join(sorted(there))}, not {study.network}: name both to compare "
            "them on the same chips and samples, or name another file with -o"
        )
    store.claim(study.fingerprints)


def _networks(about: Iterable[str]) -> set[str]:
    return {name.removeprefix("network ").rpartition(" on ")[0] for name in about if name.startswith("network ")}


def _points(plan: Plan) -> list[Point]:
    return [point for one in plan for point in (one.points() if isinstance(one, NoiseAxis) else [one])]


def _blocks(chips: int, size: int) -> list[range]:
    return [range(first, min(first + size, chips)) for first in range(0, chips, size)]


def _reached(point: Point, correct: NDArray[np.bool_], half: float, most: int, interval: Interval) -> Reached:
    found = summarise_samples(correct, interval)
    width = (found.ci_high - found.ci_low) / 2
    floor = 0.0
    if interval == "two-level" and min(correct.shape) > 1:
        parts = components(correct)
        share = parts.samples / parts.total if parts.total > 0 else 1.0
        floor = max(width * float(np.sqrt(share)), unseen(correct, most) / 2)
    return Reached(point, len(correct), width, floor, width <= half)


def _more(chips: int, found: Reached, half: float) -> int:
    """Chips for which width² = floor² + rest² / chips would be half²; rounded up to whole blocks."""
    rest = (found.half**2 - found.floor**2) * chips
    needed = rest / (half**2 - found.floor**2)
    grown = min(max(needed, chips + 1), 2 * chips)
    return int(np.ceil(grown / TRIMMED_AT_ONCE) * TRIMMED_AT_ONCE)
