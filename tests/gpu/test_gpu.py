"""The layer on a GPU against the layer on the CPU; skipped where there is no GPU.

Single precision: spikes are equal bit for bit, since the kernel rounds as a CPU does; gradients and moments are sums in
another order and are close. Half precision: the spikes are those of the same current in single precision.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neurodeploy.snn.integrate import Dynamics, integrate_and_fire
from neurodeploy.snn.surrogate import SHAPES, Surrogate

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def run(device: str, dtype: torch.dtype, dynamics: Dynamics, each: bool, pool: int, last: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    current = (0.3 + 0.7 * torch.randn(dynamics.steps, 5, 8, 12, 14, generator=generator)).to(dtype)
    if last:
        current = current.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    spread = torch.rand(2, *((8, 12, 14) if each else ()), generator=generator)
    parts = [current, 0.4 + 0.2 * spread[0], 0.5 + 0.4 * spread[1], torch.tensor(1.7)]
    given = [part.to(device).requires_grad_() for part in parts]
    fired = integrate_and_fire(*given, dynamics, pool)  # type: ignore[arg-type]
    weights = torch.randn(fired.spikes.shape, generator=generator).to(device)
    ((fired.spikes.float() * weights).sum() + fired.moments.sum()).backward()
    outputs = [fired.spikes.detach(), fired.moments.detach(), fired.rates]
    return [part.cpu() for part in (*outputs, *(p.grad for p in given if p.grad is not None))]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_gpu_gives_what_the_cpu_gives(shape: Any, reset: Any, pool: int, each: bool, last: bool) -> None:
    dynamics = Dynamics(5, Surrogate(shape, "principled"), reset)
    got, wanted = (run(device, torch.float32, dynamics, each, pool, last) for device in ("cuda", "cpu"))
    assert 0.05 < float(wanted[2].mean()) < 0.95
    assert torch.equal(got[0], wanted[0])
    for mine, theirs in zip(got[1:], wanted[1:], strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4 * (1 + float(theirs.abs().max())))
    again = run("cuda", torch.float32, dynamics, each, pool, last)
    assert all(torch.equal(one, other) for one, other in zip(got, again, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    dynamics = Dynamics(5, Surrogate("arctangent", "literal"))
    got, wanted = (run(device, dtype, dynamics, False, 1, False) for device in ("cuda", "cpu"))
    assert got[0].dtype == wanted[0].dtype == dtype
    assert torch.equal(got[0], wanted[0])
    for mine, theirs in zip(got[1:], wanted[1:], strict=True):
        assert torch.allclose(mine.float(), theirs.float(), rtol=2e-2, atol=2e-2 * (1 + float(theirs.abs().max())))


def test_it_was_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    from neurodeploy.snn import fused_gpu

    called = []
    forward = fused_gpu.forward
    monkeypatch.setattr(fused_gpu, "forward", lambda *given: called.append(1) or forward(*given))  # type: ignore[func-returns-value]
    run("cuda", torch.float32, Dynamics(2), False, 1, False)
    assert called
