"""The potential loss of Eq. 4 and 5: the closed form against integrals, the histogram against another histogram."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from neurodeploy.snn.potential import Target, gaussian_divergence, histogram_divergence, potential_loss

TARGETS = [Target(), Target(0.3, 0.5), Target(-1.0, 2.0)]


def integrated(mean: float, deviation: float, target: Target = TARGETS[0]) -> float:
    """Eq. 4 in both directions, the sum over x taken as an integral."""
    layer, wanted = stats.norm(mean, deviation), stats.norm(target.mean, target.deviation)

    def one_way(p: Any, q: Any) -> float:
        low, high = p.ppf(1e-14), p.ppf(1 - 1e-14)
        value, _ = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high, limit=200)
        return float(value)

    return one_way(layer, wanted) + one_way(wanted, layer)


def moments(*pairs: tuple[float, float]) -> torch.Tensor:
    """(T, 2) of mean and deviation per step."""
    return torch.tensor([(m, s * s + m * m) for m, s in pairs], dtype=torch.float64)


def binned(values: Any, target: Target) -> float:
    """Both divergences over 64 bins on [-4, 4], each value shared between the two nearest centres, value by value."""
    width, counts = 8 / 64, np.zeros(64)
    centres = -4 + width * (np.arange(64) + 0.5)
    for value in (np.ravel(values) - target.mean) / target.deviation:
        value = min(max(value, centres[0]), centres[-1])
        counts += np.maximum(0, 1 - np.abs(value - centres) / width)  # a tent over each centre
    edges = np.linspace(-4, 4, 65)
    edges[[0, -1]] = -np.inf, np.inf
    wanted = np.diff(stats.norm.cdf(edges)) + 1e-6
    found = counts / np.size(values) + 1e-6
    found, wanted = found / found.sum(), wanted / wanted.sum()
    return float(stats.entropy(found, wanted) + stats.entropy(wanted, found))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("mean", [0.0, 0.5, -2.0])
@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5])
def test_the_closed_form_is_both_divergences_integrated(mean: float, deviation: float, target: Target) -> None:
    got = float(gaussian_divergence(moments((mean, deviation)), target))
    np.testing.assert_allclose(got, integrated(mean, deviation, target), rtol=1e-6, atol=1e-9)


def test_each_step_has_its_own_divergence() -> None:
    np.testing.assert_allclose(gaussian_divergence(moments((0, 1), (1, 1), (0, 2))), [0, 1, 1.125], atol=1e-12)
    values = torch.randn(2, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = [float(histogram_divergence(values[t : t + 1])) for t in range(2)]
    np.testing.assert_allclose(histogram_divergence(values), alone)


def test_the_loss_is_eq_5() -> None:
    """1 / (2 T N) times the sum over T = 2 steps and N = 3 layers."""
    layers = [[(0.5, 1.5), (1.0, 0.5)], [(0.0, 1.0), (-1.0, 1.0)], [(2.0, 3.0), (0.1, 0.7)]]
    total = sum(integrated(*one) for steps in layers for one in steps)
    got = potential_loss(gaussian_divergence(moments(*steps)) for steps in layers)
    np.testing.assert_allclose(float(got), total / (2 * 2 * 3), rtol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spread", [0.2, 1.0, 6.0])
def test_the_histogram_is_a_histogram(spread: float, target: Target) -> None:
    """A spread of 6 has values far outside of the bins."""
    values = np.random.default_rng(1).normal(0.2, spread, size=(2, 7, 30))
    got = histogram_divergence(torch.from_numpy(values), target)
    np.testing.assert_allclose(got, [binned(step, target) for step in values], rtol=1e-9)


def test_values_at_centres_edges_and_ends_of_the_bins() -> None:
    values = np.array([-4.0, -3.9375, -3.875, 0.0, 0.0625, 3.9375, 4.0, 4.0625, 1e6, -1e6])
    got = float(histogram_divergence(torch.from_numpy(values[None])))
    np.testing.assert_allclose(got, binned(values, Target()), rtol=1e-9)


@pytest.mark.parametrize(("mean", "deviation"), [(0.5, 1.0), (0.0, 0.6), (-0.3, 1.2)])
def test_the_histogram_of_many_values_is_near_the_integral(mean: float, deviation: float) -> None:
    """Near, not equal: bins of an eighth blur the values, and the tails beyond +-4 are in the last bins."""
    probabilities = (np.arange(400_000) + 0.5) / 400_000
    values = torch.from_numpy(stats.norm(mean, deviation).ppf(probabilities))[None]
    np.testing.assert_allclose(float(histogram_divergence(values)), integrated(mean, deviation), rtol=0.06, atol=2e-3)


@pytest.mark.parametrize("form", ["gaussian", "histogram"])
def test_standard_normal_potentials_cost_next_to_nothing(form: str) -> None:
    values = torch.randn(4, 200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def divergence(u: torch.Tensor) -> float:
        if form == "histogram":
            return float(histogram_divergence(u).max())
        return float(gaussian_divergence(torch.stack([u.mean(1), u.square().mean(1)], 1)).max())

    assert 0 <= divergence(values) < 2e-3
    assert divergence(values + 0.2) > 10 * divergence(values)


@pytest.mark.parametrize("value", [0.0, 0.46, -3.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_potentials_give_a_finite_loss_and_gradient(value: float, dtype: torch.dtype) -> None:
    potentials = torch.full((2, 3, 4), value, dtype=dtype, requires_grad=True)
    flat = potentials.flatten(1)
    parts = gaussian_divergence(torch.stack([flat.mean(1), flat.square().mean(1)], 1)), histogram_divergence(potentials)
    for divergence in parts:
        (gradient,) = torch.autograd.grad(potential_loss([divergence]), potentials, retain_graph=True)
        assert bool(divergence.isfinite().all())
        assert bool(gradient.isfinite().all())


def test_gradients_are_finite_differences() -> None:
    """Of the histogram away from the bin centres, where it has a corner."""
    given = moments((0.4, 1.3), (-0.2, 0.6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: potential_loss([gaussian_divergence(m, TARGETS[1])]), given)
    generator = torch.Generator().manual_seed(2)
    places = torch.randint(1, 62, (2, 40), generator=generator) + 0.2 + 0.6 * torch.rand(2, 40, generator=generator)
    values = (-4 + (places.double() + 0.5) / 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: potential_loss([histogram_divergence(u)]), values)


def test_float32_agrees_with_float64() -> None:
    given = moments((0.5, 1.2), (-1.0, 0.4))
    np.testing.assert_allclose(gaussian_divergence(given.float()), gaussian_divergence(given), rtol=1e-4)
    values = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose(histogram_divergence(values.float()), histogram_divergence(values), rtol=1e-3)
