"""Layers of neurons, step by step and fused, against a loop that autograd differentiates."""

from __future__ import annotations

import itertools
from typing import Any

import neuron_loop
import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from neurodeploy.snn.integrate import Dynamics, Fired, integrate_and_fire
from neurodeploy.snn.surrogate import RULES, SHAPES, Surrogate

PAIRS = [(s, r) for s in SHAPES for r in RULES if s in ("arctangent", "softplus") or r == "frozen"]
SHAPE = (3, 4, 6, 12)  # samples, channels, height, width
TOLERANCE = {torch.float64: (1e-10, 1e-11), torch.float32: (2e-3, 2e-4)}


def leaves(
    steps: int, dtype: torch.dtype, last: bool = False, each: bool = False, shape: tuple[int, ...] = SHAPE
) -> list[torch.Tensor]:
    """Current, threshold, decay, gamma."""
    generator = torch.Generator().manual_seed(3)
    current = (0.3 + 0.7 * torch.randn(steps, *shape, generator=generator, dtype=torch.float64)).to(dtype)
    if last:
        folded = current.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        current = folded.unflatten(0, current.shape[:2])
    spread = 0.2 * torch.rand(2, *(shape[1:] if each else ()), generator=generator, dtype=torch.float64)
    parts = [current, 0.4 + spread[0], 0.6 + spread[1], torch.tensor(1.7)]
    return [part.to(dtype).requires_grad_() for part in parts]


def weighted(fired: Fired) -> torch.Tensor:
    """A loss that reads every spike and moment with a weight of its own."""
    generator = torch.Generator().manual_seed(4)
    weights = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype) for p in fired[:2]]
    return (fired.spikes * weights[0]).sum() + 50 * (fired.moments * weights[1]).sum()


def reference(given: list[torch.Tensor], dynamics: Dynamics, pool: int = 1) -> Fired:
    names = dynamics.surrogate.shape, dynamics.surrogate.rule
    spikes, u = neuron_loop.loop(*given, dynamics.steps, *names, dynamics.reset, dynamics.detach_reset)  # type: ignore[arg-type]
    moments = torch.stack([u.flatten(1).mean(1), u.square().flatten(1).mean(1)], dim=1)
    rates = spikes.detach().flatten(1).mean(1)
    if pool > 1:
        spikes = avg_pool2d(spikes.flatten(0, 1), pool).unflatten(0, spikes.shape[:2])
    return Fired(spikes, moments, rates, u)


def compare(
    dynamics: Dynamics, dtype: torch.dtype, record: bool, pool: int = 1, static: bool = False, **options: Any
) -> None:
    """The layer against the loop: spikes bit for bit, all else by value."""
    mine = leaves(1 if static else dynamics.steps, dtype, **options)
    theirs = [part.detach().clone().requires_grad_() for part in mine]
    got, wanted = integrate_and_fire(*mine, dynamics, pool, record), reference(theirs, dynamics, pool)  # type: ignore[arg-type]
    assert (got.potentials is not None) == record
    assert 0.05 < float(wanted.rates.mean()) < 0.95
    assert torch.equal(got.spikes, wanted.spikes)
    relative, absolute = TOLERANCE[dtype]
    np.testing.assert_allclose(got.moments.detach(), wanted.moments.detach(), rtol=relative, atol=absolute)
    np.testing.assert_allclose(got.rates, wanted.rates, rtol=1e-6)
    weighted(got).backward()
    weighted(wanted).backward()
    learns = dynamics.surrogate.learns_gamma
    for name, own, other in zip(("current", "threshold", "decay", "gamma"), mine, theirs, strict=True):
        assert own.grad is not None, name
        if other.grad is None:  # one step does not read the decay
            other.grad = torch.zeros_like(other)
        if name == "gamma" and not learns:
            assert float(own.grad) == 0
        elif dynamics.steps > 1 or name != "decay":
            assert float(other.grad.abs().max()) > 1e-3, name
        scale = float(other.grad.abs().max())
        np.testing.assert_allclose(own.grad, other.grad, rtol=relative, atol=absolute * (1 + scale), err_msg=name)


@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
@pytest.mark.parametrize(("shape", "rule"), PAIRS)
def test_every_surrogate_is_the_loop(shape: Any, rule: Any, record: bool) -> None:
    for reset, detach in itertools.product(("zero", "subtract"), (False, True)):
        for dtype in (torch.float64, torch.float32):
            compare(Dynamics(4, Surrogate(shape, rule), reset, detach), dtype, record)  # type: ignore[arg-type]


@pytest.mark.parametrize("each", [False, True], ids=["together", "each"])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
def test_every_layout_is_the_loop(record: bool, pool: int, last: bool, each: bool) -> None:
    """Static and changing currents, thresholds and decays of all neurons together and of each neuron."""
    for static, steps, reset in itertools.product((False, True), (1, 2, 5), ("zero", "subtract")):
        dynamics = Dynamics(steps, Surrogate("arctangent", "odd"), reset)  # type: ignore[arg-type]
        compare(dynamics, torch.float64, record, pool, static, last=last, each=each)


@pytest.mark.parametrize("neurons", [1, 255, 256, 257, 2047, 2048, 2049, 5000])
def test_blocks_that_are_full_and_not(neurons: int) -> None:
    compare(Dynamics(4), torch.float64, record=False, shape=(1, neurons + 8))
    compare(Dynamics(4), torch.float64, record=False, shape=(2, neurons + 8), each=True)


@pytest.mark.parametrize("static", [False, True])
def test_a_hundred_steps(static: bool) -> None:
    compare(Dynamics(100, Surrogate("softplus")), torch.float64, False, 2, static, shape=(2, 3, 4, 6))


@pytest.mark.parametrize("part", ["shared by channel", "of every sample", "threshold alone", "decay alone"])
def test_parameters_broadcast(part: str) -> None:
    """Thresholds and decays of any shape that broadcasts to (B, ...)."""
    current, *_ = leaves(3, torch.float64, last=True)
    generator = torch.Generator().manual_seed(5)

    def values(*shape: int) -> torch.Tensor:
        return 0.3 + 0.4 * torch.rand(shape, generator=generator, dtype=torch.float64)

    gamma = torch.tensor(1.2, dtype=torch.float64)
    parts = {
        "shared by channel": [values(4, 1, 1), values(1)],
        "of every sample": [values(*SHAPE), values(1, 4, 6, 12)],
        "threshold alone": [values(4, 6, 12), values()],
        "decay alone": [values(), values(1, 4, 6, 12)],
    }[part]
    given = [[p.clone().requires_grad_() for p in (current.detach(), *parts, gamma)] for _ in range(2)]
    got, wanted = integrate_and_fire(*given[0], Dynamics(3), 2), reference(given[1], Dynamics(3), 2)  # type: ignore[arg-type]
    assert torch.equal(got.spikes, wanted.spikes)
    weighted(got).backward()
    weighted(wanted).backward()
    for own, other in zip(*given, strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert own.grad.shape == other.grad.shape
        np.testing.assert_allclose(own.grad, other.grad, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
def test_what_remains_after_a_spike_by_hand(record: bool) -> None:
    """Vth 0.5, decay 0.5: u = 1, then 0.25, then 0.25 / 2 + 0.25; or (1 - 0.5) / 2 + 0.25, then 0.5 / 2 + 0.25."""
    current = torch.tensor([1.0, 0.25, 0.25], dtype=torch.float64).reshape(3, 1, 1)
    half, one = torch.tensor(0.5, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for reset, wanted in (("zero", [1.0, 0.25, 0.375]), ("subtract", [1.0, 0.5, 0.5])):
        fired = integrate_and_fire(current, half, half, one, Dynamics(3, reset=reset), record=record)  # type: ignore[arg-type]
        assert fired.spikes.ravel().tolist() == [1, 0, 0]  # 0.5 is at the threshold, and does not fire
        assert fired.moments[:, 0].tolist() == wanted
        assert fired.rates.tolist() == [1, 0, 0]


@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
@pytest.mark.parametrize("each", [False, True])
def test_a_potential_at_the_threshold_is_not_reset(record: bool, each: bool) -> None:
    """Vth 0.5, decay 0.5: 0.5, then 0.5 / 2 + 0.25; the gradient reaches the first current through the decay alone."""
    current = torch.tensor([0.5, 0.25], dtype=torch.float64).reshape(2, 1, 1).expand(2, 1, 2).clone().requires_grad_()
    half = torch.full((2,) if each else (), 0.5, dtype=torch.float64).requires_grad_()
    decay = half.detach().clone().requires_grad_()
    for reset in ("zero", "subtract"):
        dynamics = Dynamics(2, Surrogate("rectangle"), reset, detach_reset=True)  # type: ignore[arg-type]
        fired = integrate_and_fire(current, half, decay, torch.tensor(1.0).double(), dynamics, record=record)
        assert fired.moments[:, 0].tolist() == [0.5, 0.5]
        assert not fired.spikes.any()
        for part in (current, half, decay):
            part.grad = None
        fired.moments[1, 0].backward()
        assert current.grad is not None
        assert decay.grad is not None
        assert current.grad.ravel().tolist() == [0.25, 0.25, 0.5, 0.5]
        assert float(decay.grad.sum()) == 0.5


@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_potential_at_the_threshold_does_not_fire(dtype: torch.dtype, record: bool) -> None:
    threshold = torch.tensor(0.3, dtype=dtype)
    infinity = torch.tensor(float("inf"), dtype=dtype)
    values = [torch.nextafter(threshold, -infinity), threshold, torch.nextafter(threshold, infinity)]
    one = torch.tensor(1.0, dtype=dtype)
    fired = integrate_and_fire(torch.stack(values)[None, None], threshold, one, one, Dynamics(1), record=record)
    assert fired.spikes.tolist() == [[[0, 0, 1]]]


@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_broken_currents_are_seen_in_the_moments(bad: float, record: bool) -> None:
    current, *rest = (part.detach() for part in leaves(3, torch.float32))
    current[1, 0, 0, 0, 0] = bad
    fired = integrate_and_fire(current, *rest, Dynamics(3), record=record)  # type: ignore[arg-type]
    assert fired.moments[0].isfinite().all()
    assert not fired.moments[1].isfinite().any()
    assert fired.spikes.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
def test_half_precision_currents_have_potentials_in_single(dtype: torch.dtype, record: bool) -> None:
    current, *rest = (part.detach() for part in leaves(5, torch.float32))
    half = current.to(dtype)
    got = integrate_and_fire(half, *rest, Dynamics(5), record=record)  # type: ignore[arg-type]
    wanted = integrate_and_fire(half.float(), *rest, Dynamics(5), record=record)  # type: ignore[arg-type]
    assert got.spikes.dtype == dtype
    assert got.moments.dtype == torch.float32
    assert torch.equal(got.spikes.float(), wanted.spikes)
    assert torch.equal(got.moments, wanted.moments)


@pytest.mark.parametrize("record", [True, False], ids=["steps", "fused"])
def test_thresholds_of_zero_and_below(record: bool) -> None:
    """What noise can make of one; the state before the first step is not a spike."""
    for threshold in (0.0, -0.3):
        given = leaves(4, torch.float64)
        given[1] = torch.tensor(threshold, dtype=torch.float64)
        for reset in ("zero", "subtract"):
            dynamics = Dynamics(4, reset=reset)  # type: ignore[arg-type]
            got = integrate_and_fire(*given, dynamics, record=record)  # type: ignore[arg-type]
            assert torch.equal(got.spikes, reference(given, dynamics).spikes)


def test_empty_batches_pass() -> None:
    fired = integrate_and_fire(torch.zeros(2, 0, 3), *torch.tensor([0.5, 0.5, 1.0]), Dynamics(2))
    assert fired.spikes.shape == (2, 0, 3)
