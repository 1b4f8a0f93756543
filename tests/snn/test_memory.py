"""Memory that is kept between batches: pages are fetched once, and go back at the end."""

import gc
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neurodeploy.snn import memory

_LARGE = 40 * 2**20  # bytes: above the largest threshold of GNU's malloc
_ROUNDS = 8

only_gnu = pytest.mark.skipif(memory._gnu() is None, reason="the C library is not GNU's")


def _faults(work: Callable[[], None]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _fill() -> None:
    for _ in range(_ROUNDS):
        torch.empty(_LARGE, dtype=torch.uint8).fill_(1)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@only_gnu
def test_pages_of_large_blocks_are_fetched_once() -> None:
    pages = _LARGE // resource.getpagesize()
    outside = _faults(_fill)
    with memory.kept():
        _fill()
        inside = _faults(_fill)
    assert outside > 0.9 * _ROUNDS * pages
    assert inside < 0.1 * pages


@only_gnu
def test_memory_goes_back_at_the_end() -> None:
    gc.collect()
    with memory.kept():
        _fill()
        held = _resident()
    assert _resident() < held - 0.9 * _LARGE


def test_without_gnu_s_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_gnu", lambda: None)
    with memory.kept():
        assert int(torch.ones(3).sum()) == 3
