"""Work shared among threads: each block once, errors raised, in PyTorch's own threads where it has any."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from neurodeploy.snn import threads


@pytest.fixture(params=["OpenMP", "Python"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "Python":
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    elif threads._openmp() is None:
        pytest.skip("PyTorch brings no GNU OpenMP here")
    return str(request.param)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("blocks", [1, 2, 7, 8, 9, 1000])
def test_every_block_is_done_once(kind: str, blocks: int, count: int) -> None:
    done: list[int] = []
    threads.share(lambda start, stop: done.extend(range(start, stop)), blocks, count)
    assert sorted(done) == list(range(blocks))


def test_no_more_threads_work_than_are_asked_for(kind: str) -> None:
    """Each part waits until another is under way too: one thread alone would never end."""
    together, seen = threading.Barrier(2), set()

    def work(start: int, stop: int) -> None:
        seen.add(threading.get_ident())
        together.wait(timeout=20)

    threads.share(work, 8, 2)
    assert len(seen) == 2
    assert threading.get_ident() in seen


def test_what_a_block_raises_is_raised_and_ends_the_rest(kind: str) -> None:
    done = []

    def work(start: int, stop: int) -> None:
        done.append(start)
        raise ValueError(f"block {start}")

    with pytest.raises(ValueError, match="block"):
        threads.share(work, 1000, 2)
    assert len(done) <= 2
    threads.share(lambda start, stop: done.append(start), 10, 2)  # the threads are still there
    assert len(done) > 2


def test_threads_of_several_callers_do_not_mix(kind: str) -> None:
    found: list[list[int]] = [[] for _ in range(3)]

    def call(own: list[int]) -> None:
        threads.share(lambda start, stop: own.extend(range(start, stop)), 100, 2)

    callers = [threading.Thread(target=call, args=(own,)) for own in found]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(sorted(own) == list(range(100)) for own in found)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where PyTorch brings GNU's OpenMP")
def test_the_threads_are_those_of_pytorch() -> None:
    """The process has no more threads after `share` than after a sum of PyTorch's that is large enough for two."""
    if threads._openmp() is None or "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        pytest.skip("PyTorch brings no GNU OpenMP here")
    code = (
        "import os, torch\n"
        "from neurodeploy.snn.threads import share\n"
        "torch.set_num_threads(2)\n"
        "torch.ones(4000000).add(1)\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "share(lambda start, stop: None, 100, 2)\n"
        "print(before, len(os.listdir('/proc/self/task')))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    before, after = map(int, ended.stdout.split())
    assert before == after > 1
