"""Work in as many threads as PyTorch uses, where possible in PyTorch's own.

The workers of an OpenMP spin for a while after their work, in case more of it comes. Threads beside them have to share
the cores with that spinning: a layer of neurons between two convolutions then takes about twice its time. Where PyTorch
brings GNU's OpenMP with it, as on Linux, work is therefore handed to the very workers that convolutions use; numba's
own threads would be a second OpenMP. Elsewhere, and in a forked process, which OpenMP does not survive, threads are
Python's.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

_Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_started = os.getpid()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}  # by process, since threads do not survive a fork, and size


def share(work: Callable[[int, int], None], blocks: int, threads: int) -> None:
    """Calls work(start, stop) for parts of range(blocks), each once, in several threads; `work` holds no lock.

    Raises:
        whatever `work` raises, once all threads have ended.
    """
    if threads < 2:
        work(0, blocks)
        return
    part = -(-blocks // (4 * threads))  # some parts per thread, for cores that others use too
    starts = iter(range(0, blocks, part))
    raised: list[BaseException] = []

    def take() -> None:
        try:
            for start in _until(starts, raised):
                work(start, min(start + part, blocks))
        except BaseException as error:  # noqa: BLE001 — OpenMP has nobody to raise it to; it is raised below
            raised.append(error)

    parallel = _openmp() if os.getpid() == _started else None
    if parallel is None:
        _in_python(take, threads)
    else:
        task = _Task(lambda _: take())
        parallel(task, None, threads, 0)
    if raised:
        raise raised[0]


def _until(starts: Iterator[int], raised: list[BaseException]) -> Iterator[int]:
    """What is left to do, as long as nothing went wrong; next() of one iterator is safe in several threads."""
    for start in starts:
        if raised:
            return
        yield start


def _in_python(take: Callable[[], None], threads: int) -> None:
    key = (os.getpid(), threads - 1)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads - 1, thread_name_prefix="neurons")
    helpers = [_pools[key].submit(take) for _ in range(threads - 1)]
    take()
    for helper in helpers:
        helper.result()


@cache
def _openmp() -> Any:
    """GOMP_parallel(task, data, threads, flags) of the OpenMP that lies in PyTorch's own folder; None without."""
    folder = Path(torch.__file__).parent
    found = [path for place in (folder / "lib", folder.parent / "torch.libs") for path in place.glob("libgomp*.so*")]
    if len(found) != 1 or not torch.backends.openmp.is_available():
        return None
    try:
        parallel = ctypes.CDLL(str(found[0])).GOMP_parallel  # releases the interpreter's lock for the time it runs
    except (OSError, AttributeError):
        return None
    parallel.argtypes = [_Task, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel
