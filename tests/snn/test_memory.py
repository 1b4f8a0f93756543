"""Memory that is kept between batches: it stays with the process, and goes back at the end."""

import gc
import resource
from pathlib import Path

import pytest
import torch

from neurodeploy.snn import memory

_LARGE = 40 * 2**20  # bytes: above the largest threshold of GNU's malloc
_ROUNDS = 8

only_gnu = pytest.mark.skipif(memory._gnu() is None, reason="the C library is not GNU's")


def _fill() -> None:
    for _ in range(_ROUNDS):
        torch.empty(_LARGE, dtype=torch.uint8).fill_(1)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@only_gnu
def test_a_freed_block_stays_within_and_leaves_outside() -> None:
    """By resident memory: kernels of some sandboxes do not count page faults."""
    gc.collect()
    _fill()  # the first call also loads and starts what it needs
    before = _resident()
    _fill()
    outside = _resident() - before
    with memory.kept():
        _fill()
        inside = _resident() - before
    assert outside < 0.1 * _LARGE
    # Eight rounds use the same memory again; some blocks more, as an aligned block may not fit where one was freed.
    assert 0.9 * _LARGE < inside < 0.5 * _ROUNDS * _LARGE


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
