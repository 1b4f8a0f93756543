"""Where tasks are computed: in this process, in several, or on a Ray cluster; results are the same to the bit.

Only the process that sweeps writes to the study; the others compute. An executor is told its studies once, when it is
made, and sends no network or data with a task.
"""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.process
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Protocol

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.sweep.work import Outcome, Study, Task, compute

_LOST_IN_A_ROW = (
    3  # workers that died without a task finished in between: a task that kills its worker is not retried forever
)


class Executor(Protocol):
    """Computes tasks; a context manager that ends what it started."""

    def run(self, study: Study, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, in the order in which they are finished."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_executor(
    studies: Sequence[Study], jobs: int = 1, ray: str | None = None, cpus: float = 1, gpus: float = 0
) -> Executor:
    """The executor that the options of `sweep` mean.

    Args:
        jobs: processes on this machine.
        ray: address of a Ray cluster, as `auto` or `ray://head:10001`.
        cpus, gpus: that a task on the cluster takes.
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least one process is needed")
    on_gpu = next((study.device for study in studies if study.device != "cpu"), None)
    if on_gpu is not None and jobs > 1:
        raise UsageError(f"--jobs {jobs} with --device {on_gpu}: one process keeps a GPU busy; leave --jobs out")
    if on_gpu is not None and ray is not None and gpus == 0:
        raise UsageError(
            f"--ray with --device {on_gpu}: tasks see no GPU; say how many each takes, as --gpus-per-task 1"
        )
    if ray is not None:
        if jobs > 1:
            raise UsageError("--jobs is for this machine and --ray for a cluster: give one of the two")
        from neurodeploy.sweep.on_ray import OnRay

        return OnRay(studies, ray, cpus, gpus)
    return Processes(studies, jobs) if jobs > 1 else Serial()


class Serial:
    """In this process, one after the other."""

    def run(self, study: Study, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, in order."""
        for task in tasks:
            yield task, compute(study, task)

    def __enter__(self) -> Serial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Processes:
    """In processes of their own on this machine; a process that dies is replaced and its task done again."""

    def __init__(self, studies: Sequence[Study], jobs: int) -> None:
        self._studies, self._jobs = list(studies), jobs
        self._pool: ProcessPoolExecutor | None = None

    def run(self, study: Study, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, as they are finished.

        Raises:
            NeurodeployError: where processes die again and again.
        """
        index = next(number for number, one in enumerate(self._studies) if one is study)
        source = iter(tasks)
        pending: dict[Future[Outcome], Task] = {}
        again: list[Task] = []
        lost = 0
        while True:
            room = 2 * self._jobs - len(pending)
            given = list(itertools.islice(itertools.chain(again, source), room))
            again = again[len(given) :]
            for position, task in enumerate(given):
                try:
                    pending[self._started().submit(_compute, index, task)] = task
                except BrokenProcessPool:  # it died idle
                    again += given[position:]
                    break
            if not pending and not again:
                return
            broken = bool(again)
            for future in wait(pending, return_when=FIRST_COMPLETED).done if pending else ():
                task = pending.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    again.append(task)
                    broken = True
                    continue
                lost = 0
                yield task, outcome
            if broken:
                again += pending.values()
                pending.clear()
                lost += 1
                self._stop()
                if lost >= _LOST_IN_A_ROW:
                    raise NeurodeployError(
                        f"worker processes died {lost} times in a row (out of memory?): what was finished is stored; "
                        f"run again with fewer --jobs"
                    )

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._jobs,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._studies, max(1, (os.cpu_count() or 1) // self._jobs)),
            )
        return self._pool

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


_known: list[Study] = []


def _begin(studies: list[Study], threads: int) -> None:
    """In a worker: keeps the studies, shares the cores, and ends when the sweep is killed."""
    import torch

    _known[:] = studies
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _compute(index: int, task: Task) -> Outcome:
    return compute(_known[index], task)
