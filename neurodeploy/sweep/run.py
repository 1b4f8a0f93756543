"""Running a sweep: every cell's chips, uncalibrated and calibrated, into a store; what is there is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.sweep.executor import Executor, Serial
from neurodeploy.sweep.plan import NoiseAxis, Point
from neurodeploy.sweep.store import Cell, Store
from neurodeploy.sweep.work import Samples, Study, Task, cell_of, check_calibratable

__all__ = ["Progress", "Samples", "Study", "calibrate", "claim", "measure", "points_of", "sweep"]

# Chips that are computed and stored together: what a kill can lose. What they share is computed once for all of them;
# trimming a chip takes many runs, so that fewer are at stake.
CHIPS_AT_ONCE, TRIMMED_AT_ONCE = 40, 10

Progress = Callable[[str, int, int], None]
Plan: TypeAlias = Sequence[NoiseAxis] | Sequence[Point]


def sweep(
    study: Study, plan: Plan, store: Store, calibrated: bool, progress: Progress, executor: Executor | None = None
) -> None:
    """Measures every point of a plan on all chips, without or with calibration.

    Calibrated cells use the settings that `calibrate` stored, and make them where they are missing.
    """
    measure(study, dict.fromkeys(points_of(plan), study.chips), store, calibrated, progress, executor)


def calibrate(study: Study, plan: Plan, store: Store, progress: Progress, executor: Executor | None = None) -> None:
    """Calibrates every chip of every point and stores the settings."""
    points = dict.fromkeys(points_of(plan), study.chips)
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


def points_of(plan: Plan) -> list[Point]:
    return [point for one in plan for point in (one.points() if isinstance(one, NoiseAxis) else [one])]


def _blocks(chips: int, size: int) -> list[range]:
    return [range(first, min(first + size, chips)) for first in range(0, chips, size)]
