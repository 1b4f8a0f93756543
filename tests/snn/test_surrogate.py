"""Surrogate gradients against the paper's formulas written out again, and BPTT against autograd step by step."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.snn.surrogate import integrate_and_fire, surrogate_slope

STEPS, DECAY = 6, 0.7
CASES = list(itertools.product(["arctangent", "softplus"], ["zero", "subtract"], [False, True], [False, True]))


def eq_11(u: Any, threshold: float, gamma: float) -> Any:
    return 1 / (1 + (gamma * (u - threshold)) ** 2)


def eq_16(u: Any, threshold: float, gamma: float) -> Any:
    return 1 / (1 + np.exp(-gamma * (u - threshold)))


class OneStep(torch.autograd.Function):
    """The step function of one time step; backward is Eq. 11 and 12, or 16 and 17, and nothing else."""

    @staticmethod
    def forward(ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, kind: str) -> Any:
        ctx.save_for_backward(potential, threshold, gamma)
        ctx.kind = kind
        return (potential > threshold).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        potential, threshold, gamma = ctx.saved_tensors
        formula = eq_11 if ctx.kind == "arctangent" else eq_16
        slope = grad * torch.from_numpy(formula(potential.numpy(), float(threshold), float(gamma)))
        return slope, -slope.sum(), slope.sum(), None


def step_by_step(
    current: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, kind: str, reset: str, detach: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eq. 2 and 3, one step after the other, differentiated by autograd."""
    potential = spike = torch.zeros_like(current[0])
    spikes, potentials = [], []
    for t in range(STEPS):
        resetting = spike.detach() if detach else spike
        kept = potential * (1 - resetting) if reset == "zero" else potential - threshold * resetting
        potential = DECAY * kept + current[t if len(current) > 1 else 0]
        spike = OneStep.apply(potential, threshold, gamma, kind)
        spikes.append(spike)
        potentials.append(potential)
    return torch.stack(spikes), torch.stack(potentials)


def leaves(seed: int, static: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (1 if static else STEPS, 4, 3, 5)
    current = 0.3 + 0.6 * torch.randn(shape, generator=generator, dtype=torch.float64)
    leaf = [current, torch.tensor(0.46, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64)]
    return tuple(part.requires_grad_() for part in leaf)  # type: ignore[return-value]


@pytest.mark.parametrize("gamma", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("threshold", [0.46, 1.0])
def test_slopes_are_eq_11_and_eq_16(gamma: float, threshold: float) -> None:
    u = np.concatenate([np.linspace(-4, 4, 81), [threshold, -1e3, 1e3, 1e-300]])
    distance, width = torch.from_numpy(u - threshold), torch.tensor(gamma, dtype=torch.float64)
    with np.errstate(over="ignore"):
        expected = {"arctangent": eq_11(u, threshold, gamma), "softplus": eq_16(u, threshold, gamma)}
    for kind in ("arctangent", "softplus"):
        got = surrogate_slope(kind, distance, width).numpy()  # type: ignore[arg-type]
        np.testing.assert_allclose(got, expected[kind], rtol=1e-12, atol=1e-300)


def test_slopes_at_the_threshold_and_far_from_it() -> None:
    x, one = torch.tensor([0.0, 1.0, -1.0, 1e20, -1e20]), torch.tensor(1.0)
    assert surrogate_slope("arctangent", x, one).tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]
    assert surrogate_slope("softplus", x, one)[[0, 3, 4]].tolist() == [0.5, 1.0, 0.0]
    assert x.tolist()[:3] == [0.0, 1.0, -1.0]  # left as it was


@pytest.mark.parametrize(("kind", "reset", "detach", "static"), CASES)
def test_spikes_potentials_and_all_gradients_are_those_of_the_loop(
    kind: Any, reset: Any, detach: bool, static: bool
) -> None:
    """The loss reads spikes and potentials with a weight of its own per neuron and step."""
    mine, theirs = leaves(3, static), leaves(3, static)
    spikes, potentials = integrate_and_fire(*mine, DECAY, STEPS, kind, reset, detach)
    wanted_spikes, wanted_potentials = step_by_step(*theirs, kind, reset, detach)
    assert 0.05 < float(spikes.detach().mean()) < 0.95
    np.testing.assert_array_equal(spikes.detach().numpy(), wanted_spikes.detach().numpy())
    np.testing.assert_allclose(potentials.detach().numpy(), wanted_potentials.detach().numpy(), rtol=0, atol=1e-14)
    generator = torch.Generator().manual_seed(4)
    to_spikes, to_potentials = (torch.randn(spikes.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    (spikes * to_spikes + potentials * to_potentials).sum().backward()
    (wanted_spikes * to_spikes + wanted_potentials * to_potentials).sum().backward()
    for got, wanted in zip(mine, theirs, strict=True):
        assert got.grad is not None
        assert wanted.grad is not None
        assert float(wanted.grad.abs().max()) > 0.1
        np.testing.assert_allclose(got.grad.numpy(), wanted.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("part", ["spikes", "potentials"])
def test_gradients_flow_into_spikes_and_potentials_alone(part: str) -> None:
    mine, theirs = leaves(5, False), leaves(5, False)
    index = ("spikes", "potentials").index(part)
    integrate_and_fire(*mine, DECAY, STEPS, "arctangent")[index].sum().backward()
    step_by_step(*theirs, "arctangent", "zero", False)[index].sum().backward()
    for got, wanted in zip(mine, theirs, strict=True):
        assert got.grad is not None
        assert wanted.grad is not None
        np.testing.assert_allclose(got.grad.numpy(), wanted.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("kind", "formula"), [("arctangent", eq_11), ("softplus", eq_16)])
def test_the_gradient_of_gamma_is_eq_20(kind: Any, formula: Any) -> None:
    """One step, where dL/do has no path through time: the sum over neurons of dL/do times the slope."""
    current, threshold, gamma = leaves(6, True)
    spikes, potentials = integrate_and_fire(current, threshold, gamma, DECAY, 1, kind)
    upstream = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    (spikes * upstream).sum().backward()
    slope = formula(potentials.detach().numpy(), 0.46, 1.7)
    assert gamma.grad is not None
    assert threshold.grad is not None
    assert current.grad is not None
    np.testing.assert_allclose(float(gamma.grad), (upstream.numpy() * slope).sum(), rtol=1e-12)
    np.testing.assert_allclose(float(threshold.grad), -(upstream.numpy() * slope).sum(), rtol=1e-12)
    np.testing.assert_allclose(current.grad.numpy(), upstream.numpy() * slope, rtol=1e-12)


def test_the_gradient_of_gamma_sums_over_steps() -> None:
    """Eq. 18: without a path through time (no memory left after a detached reset of decay 0+), steps just add up."""
    current, threshold, gamma = leaves(8, False)
    spikes, potentials = integrate_and_fire(current, threshold, gamma, 1e-300, STEPS, "arctangent", "zero", True)
    spikes.sum().backward()
    per_step = eq_11(potentials.detach().numpy(), 0.46, 1.7).sum(axis=(1, 2, 3))
    assert gamma.grad is not None
    assert len(per_step) == STEPS
    np.testing.assert_allclose(float(gamma.grad), per_step.sum(), rtol=1e-12)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_potential_at_the_threshold_does_not_fire(reset: Any) -> None:
    threshold = 0.5
    above = np.nextafter(threshold, 1)
    current = torch.tensor([[threshold, above, np.nextafter(threshold, 0)]], dtype=torch.float64)
    spikes, _ = integrate_and_fire(current[None], *torch.tensor([threshold, 1.0]).double(), 0.5, 1, "arctangent", reset)
    assert spikes.tolist() == [[[0.0, 1.0, 0.0]]]


def test_what_remains_after_a_spike_by_hand() -> None:
    current = torch.tensor([1.0, 0.25, 0.25], dtype=torch.float64).reshape(3, 1)
    threshold, gamma = torch.tensor([0.5, 1.0]).double()
    spikes, zero = integrate_and_fire(current, threshold, gamma, 0.5, 3, "arctangent", "zero")
    assert spikes.ravel().tolist() == [1, 0, 0]
    assert zero.ravel().tolist() == [1.0, 0.25, 0.375]
    spikes, subtract = integrate_and_fire(current, threshold, gamma, 0.5, 3, "arctangent", "subtract")
    assert subtract.ravel().tolist() == [1.0, 0.5, 0.5]
    assert spikes.ravel().tolist() == [1, 0, 0]


def test_one_step_of_static_current_and_a_decay_of_one() -> None:
    current, threshold, gamma = leaves(9, True)
    spikes, potentials = integrate_and_fire(current, threshold, gamma, 1.0, 1, "softplus")
    assert spikes.shape == potentials.shape == (1, 4, 3, 5)
    np.testing.assert_array_equal(potentials.detach().numpy(), current.detach().numpy())
    quiet = torch.full((1, 1), 0.25, dtype=torch.float64)
    _, summed = integrate_and_fire(quiet, torch.tensor(9.0).double(), gamma, 1.0, 4, "softplus")
    assert summed.ravel().tolist() == [0.25, 0.5, 0.75, 1.0]
