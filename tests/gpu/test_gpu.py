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


def test_more_values_than_32_bits_count() -> None:
    """Three steps of 2^30 neurons: the last step lies behind 2^31 values, where an index of 32 bits is negative."""
    from neurodeploy.snn import fused_gpu

    size = 2**30
    if torch.cuda.mem_get_info()[0] < 12 * size:  # the current, and the spikes of three steps, in half precision
        pytest.skip("needs 12 GiB of free memory on the GPU")
    current = torch.zeros(1, 1, size, dtype=torch.bfloat16, device="cuda")
    current[0, 0, -3:] = torch.tensor([0.25, 0.75, 1.5])
    spikes = torch.empty(3, 1, size, dtype=torch.bfloat16, device="cuda")
    threshold, decay = torch.tensor([1.0], device="cuda"), torch.tensor([0.5], device="cuda")
    fused_gpu.forward(current, threshold, decay, 3, False, spikes)
    # u = 0.25, 0.375, 0.4375; 0.75, 1.125, 0.75 after the reset; 1.5 at every step.
    assert spikes[:, 0, -3:].tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 1]]
    assert all(int(torch.count_nonzero(step)) == count for step, count in zip(spikes, (1, 2, 1), strict=True))
