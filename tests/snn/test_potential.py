"""The potential loss of Eq. 4 and 5 against numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from neurodeploy.snn.potential import potential_loss, symmetric_divergence


def integrated(mean: float, deviation: float) -> float:
    """Eq. 4 in both directions, the sum over x taken as an integral."""
    layer, target = stats.norm(mean, deviation), stats.norm(0, 1)

    def one_way(p: stats.rv_continuous, q: stats.rv_continuous) -> float:
        low, high = p.ppf(1e-14), p.ppf(1 - 1e-14)
        value, _ = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high, limit=200)
        return float(value)

    return one_way(layer, target) + one_way(target, layer)


def with_moments(mean: float, deviation: float, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Values that have exactly this mean and (population) deviation at every step."""
    values = np.random.default_rng(seed).normal(size=(shape[0], int(np.prod(shape[1:]))))
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    return torch.from_numpy((mean + deviation * values).reshape(shape))


@pytest.mark.parametrize("mean", [0.0, 0.5, -2.0])
@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5])
def test_the_closed_form_is_both_divergences_integrated(mean: float, deviation: float) -> None:
    got = symmetric_divergence(with_moments(mean, deviation, (3, 4, 5, 6)))
    np.testing.assert_allclose(got.numpy(), np.full(3, integrated(mean, deviation)), rtol=1e-6, atol=1e-9)


def test_each_step_has_its_own_divergence() -> None:
    steps = [with_moments(mean, deviation, (1, 40)) for mean, deviation in [(0, 1), (1, 1), (0, 2)]]
    np.testing.assert_allclose(symmetric_divergence(torch.cat(steps)).numpy(), [0, 1, 1.125], atol=1e-12)


def test_the_loss_is_eq_5() -> None:
    """1 / (2 T N) times the sum over T = 2 steps and N = 3 layers of unequal sizes."""
    moments = [[(0.5, 1.5), (1.0, 0.5)], [(0.0, 1.0), (-1.0, 1.0)], [(2.0, 3.0), (0.1, 0.7)]]
    sizes = [(1, 4, 5), (1, 50), (1, 3, 2, 4)]
    layers = [
        torch.cat([with_moments(*one, size, seed) for seed, one in enumerate(steps)])
        for steps, size in zip(moments, sizes, strict=True)
    ]
    total = sum(integrated(*one) for steps in moments for one in steps)
    np.testing.assert_allclose(float(potential_loss(layers)), total / (2 * 2 * 3), rtol=1e-6)
    np.testing.assert_allclose(float(potential_loss(iter(layers))), total / 12, rtol=1e-6)


def test_the_loss_of_standard_normal_potentials_is_zero_up_to_sampling_error() -> None:
    """Of n values the expected symmetric divergence is about 2 / n (variance 2/n, mean 1/n, both squared, halved)."""
    values = torch.randn(8, 100, 1000, generator=torch.Generator().manual_seed(0))
    loss = float(potential_loss([values]))
    assert 0 <= loss < 1e-4
    assert float(potential_loss([values + 0.1])) > 10 * loss


def test_the_divergence_is_never_negative_and_grows_with_distance() -> None:
    at = [float(symmetric_divergence(with_moments(m, 1.0, (1, 30)))[0]) for m in (0.0, 0.5, 1.0, 2.0)]
    assert at == sorted(at)
    assert at[0] > -1e-12
    narrow, wide = (float(symmetric_divergence(with_moments(0, s, (1, 30)))[0]) for s in (0.5, 2.0))
    np.testing.assert_allclose(narrow, wide)  # v and 1 / v are equally far


@pytest.mark.parametrize("value", [0.0, 0.46, -3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_potentials_give_a_finite_loss_and_gradient(value: float, dtype: torch.dtype) -> None:
    potentials = torch.full((2, 3, 4), value, dtype=dtype, requires_grad=True)
    loss = potential_loss([potentials])
    loss.backward()
    assert 0 < float(loss.detach()) < 1e6
    assert potentials.grad is not None
    assert bool(potentials.grad.isfinite().all())


def test_gradients_are_finite_differences() -> None:
    layers = [with_moments(0.4, 1.3, (2, 3, 4)).requires_grad_(), with_moments(-0.2, 0.6, (2, 5)).requires_grad_()]
    assert torch.autograd.gradcheck(lambda *parts: potential_loss(parts), layers)


def test_float32_agrees_with_float64() -> None:
    values = with_moments(0.5, 1.2, (4, 64, 100))
    np.testing.assert_allclose(float(potential_loss([values.float()])), float(potential_loss([values])), rtol=1e-4)
