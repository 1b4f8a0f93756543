"""What is the fused layer's alone: threads, torch.compile, its exponential, the GPU kernel in an interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch

from neurodeploy.snn import fused, fused_layer, fused_slopes
from neurodeploy.snn.integrate import Dynamics, integrate_and_fire
from neurodeploy.snn.surrogate import Surrogate


def run(threads: int, last: bool, each: bool) -> list[torch.Tensor]:
    """Outputs and gradients of a layer that is large enough to be shared among threads."""
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(4, 16, 16, 20, 20, generator=generator)
    if last:
        current = current.permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)
    shape = (16, 20, 20) if each else ()
    parts = [torch.full(shape, 0.46), torch.full(shape, 0.25), torch.tensor(1.0)]
    given = [part.requires_grad_() for part in (current, *parts)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        fired = integrate_and_fire(*given, Dynamics(4), 2)  # type: ignore[arg-type]
        (fired.spikes.square().sum() + fired.moments.sum()).backward()
    finally:
        torch.set_num_threads(before)
    return [fired.spikes.detach(), fired.moments.detach(), fired.rates, *(p.grad for p in given if p.grad is not None)]


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_the_number_of_threads_does_not_change_a_bit(last: bool, each: bool) -> None:
    assert 2 * fused_layer._SHARED <= 4 * 16 * 16 * 20 * 20  # or no thread is started
    alone = run(1, last, each)
    assert len(alone) == 7
    for threads in (2, 3):
        assert all(torch.equal(a, b) for a, b in zip(alone, run(threads, last, each), strict=True))


def test_layers_may_run_in_several_threads_at_once() -> None:
    wanted, found = run(2, False, False), []
    workers = [threading.Thread(target=lambda: found.append(run(2, False, False))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    assert all(torch.equal(a, b) for result in found for a, b in zip(wanted, result, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """As workers of a data loader are; in a process of its own, since this one may hold locks when it forks."""
    code = (
        "import os, sys, torch\n"
        "from neurodeploy.snn.fused_layer import _SHARED, _share\n"
        "def total():\n"
        "    done = []\n"
        "    _share(lambda start, stop: done.extend(range(start, stop)), 100, 2 * _SHARED)\n"
        "    return sorted(done) == list(range(100))\n"
        "torch.set_num_threads(2)\n"
        "assert total()\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if total() else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_kernels_on_disk_are_of_this_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba by itself would go on using a kernel after a change of a file that it is made of, but not written in."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    current, spikes = np.full((2, 1, 8), 0.4, np.float32), np.empty((2, 1, 8), np.float32)
    decay, threshold = np.float32([0.5]), np.float32([0.5])

    def hits(fingerprint: str) -> tuple[int, int]:
        forward, _ = fused._kernels(fingerprint)
        forward(current, 2, decay, threshold, False, 1, 1, 1, 8, spikes, np.zeros((1, 2, 3)), 0, 1)
        assert spikes[:, 0, 0].tolist() == [0, 1]  # 0.4, then 0.2 + 0.4
        return len(forward.stats.cache_hits), len(forward.stats.cache_misses)

    assert [hits(name) for name in ("one", "one", "two")] == [(0, 1), (1, 0), (0, 1)]
    assert fused._fingerprint() in [cell.cell_contents for cell in fused.forward.py_func.__closure__]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponential_is_exact_to_a_rounding_error(dtype: Any) -> None:
    table = fused_slopes.exponentials(np.dtype(dtype))
    low, high = table[3]
    x = np.concatenate([np.linspace(low, high, 20_001), np.linspace(-2, 2, 20_001), [0.0, -0.0]]).astype(dtype)
    out, rest = np.empty_like(x), np.empty_like(x)
    bits = np.empty(len(x), np.int32 if dtype == np.float32 else np.int64)
    fused_slopes._exponential(x, len(x), table, out, rest, bits)
    wanted = np.exp(x.astype(np.longdouble))
    assert float(np.max(np.abs(out - wanted) / wanted)) < np.finfo(dtype).eps
    special = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], dtype)
    fused_slopes._exponential(special, 5, table, out, rest, bits)
    assert np.isnan(out[0])
    np.testing.assert_allclose(out[1:5], np.exp([high, low, high, low]), rtol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_torch_compile_gives_the_same_values() -> None:
    """In one graph; a small function, since compiling takes its time."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 8, 8, generator=generator)
    convolution = torch.nn.Conv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last)
    numbers = torch.tensor([0.3, 0.5, 1.0], requires_grad=True)

    def layer(image: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fired = integrate_and_fire(convolution(image)[None], *numbers, Dynamics(3, Surrogate("arctangent")), 2)
        return fired.spikes, fired.moments

    results = []
    for function in (layer, torch.compile(layer, fullgraph=True)):
        numbers.grad = None
        convolution.zero_grad()
        spikes, moments = function(image, numbers)
        (spikes.square().sum() + moments.sum()).backward()
        assert numbers.grad is not None
        assert convolution.weight.grad is not None
        results.append([spikes.detach(), moments.detach(), numbers.grad.clone(), convolution.weight.grad.clone()])
    assert 0 < float(results[0][0].mean()) < 1
    for eager, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_gpu_kernel_in_triton_s_interpreter_is_the_cpu_s() -> None:
    """In a process of its own: the interpreter is chosen when Triton is imported."""
    script = Path(__file__).parents[1] / "gpu" / "interpreted.py"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["compared", "88"]
