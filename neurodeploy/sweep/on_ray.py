"""Tasks on a Ray cluster. Networks and data go into the object store once; a task of a lost worker is done again."""

from __future__ import annotations

import itertools
import logging
import socket
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from neurodeploy.errors import MissingBackendError, NeurodeployError
from neurodeploy.sweep.work import Outcome, Study, Task, compute

_RETRIES = 5  # of a task whose worker or machine is lost
_PATIENCE = 10.0  # seconds, for a cluster to answer
_TASKS_PER_CPU = 2  # handed out at once, so that no worker waits for the next


class OnRay:
    """An `executor.Executor` on the cluster at `address`.

    Raises:
        MissingBackendError: where ray is not installed.
        NeurodeployError: where there is no cluster at that address.
    """

    def __init__(self, studies: Sequence[Study], address: str, cpus: float = 1, gpus: float = 0) -> None:
        self._ray = _import_ray()
        try:
            _check_reachable(address)
            self._ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise NeurodeployError(
                f"--ray {address}: no cluster there ({error}); `ray start --head` makes one"
            ) from error
        self._studies = list(studies)
        self._references = [self._ray.put(study) for study in studies]
        self._compute = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(_compute)
        self._threads = max(1, int(cpus))
        available = self._ray.cluster_resources().get("CPU", 1.0)
        self._at_once = max(2, int(_TASKS_PER_CPU * available / max(cpus, 0.1)))

    def run(self, study: Study, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, as they are finished."""
        reference = self._references[next(i for i, one in enumerate(self._studies) if one is study)]
        source = iter(tasks)
        pending: dict[Any, Task] = {}
        while True:
            for task in itertools.islice(source, self._at_once - len(pending)):
                pending[self._compute.remote(reference, task, self._threads)] = task
            if not pending:
                return
            done, _ = self._ray.wait(list(pending), num_returns=1)
            for future in done:
                task = pending.pop(future)
                try:
                    outcome = self._ray.get(future)
                except self._ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, NeurodeployError) else error from error
                except self._ray.exceptions.RayError as error:
                    raise NeurodeployError(
                        f"the cluster lost a task {_RETRIES + 1} times ({type(error).__name__}); "
                        "what was finished is stored, run again to resume"
                    ) from error
                yield task, outcome

    def __enter__(self) -> OnRay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()


def _compute(study: Study, task: Task, threads: int) -> Outcome:
    import torch

    torch.set_num_threads(threads)
    return compute(study, task)


def _check_reachable(address: str) -> None:
    """Raises OSError where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _import_ray() -> Any:
    message = "--ray needs Ray: run `pip install 'ray>=2.9'`"
    try:
        import ray  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingBackendError(message) from error
    if not hasattr(ray, "init"):  # a folder that happens to be called ray
        raise MissingBackendError(message)
    return ray
