"""Lateral taps as a matrix, moderate dropout and its loss by the formulas written out again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch.nn.functional import cross_entropy

from neurodeploy.snn.layers import FeatureLateral, ModerateDropout, moderate_dropout_loss


@pytest.mark.parametrize("features", [1, 2, 4, 5, 9])
def test_lateral_taps_are_one_plus_a_banded_matrix(features: int) -> None:
    torch.manual_seed(features)
    lateral = FeatureLateral().double()
    taps = lateral.taps.weight.detach().numpy().ravel()
    mixing = np.zeros((features, features))
    for i in range(features):
        for j in range(features):
            if abs(j - i) <= 2:
                mixing[i, j] = taps[j - i + 2]
    current = np.random.default_rng(0).normal(size=(6, features))
    got = lateral(torch.from_numpy(current)).detach().numpy()
    np.testing.assert_allclose(got, current + current @ mixing.T, rtol=1e-12, atol=1e-14)


def activities(seed: int = 0) -> torch.Tensor:
    """(T, B, features), means over time from 0.2 to 1.2, so that nothing is clamped at a small dropout rate."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.rand(1, 8, 40, generator=generator)
    return (torch.rand(5, 8, 40, generator=generator) < rates).double() + 0.2


def keep(values: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The formula, with minimum, maximum and mean over samples and neurons."""
    d = values.mean(axis=0)
    n = (d - d.min()) / (d.max() - d.min())
    return np.clip(1 - (1 - n) * rate / (1 - n.mean()), 0, 1)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.9])
def test_neurons_are_kept_with_the_probability_of_the_formula(rate: float) -> None:
    values = activities()
    got = ModerateDropout(rate).keep(values)
    np.testing.assert_allclose(got.numpy(), keep(values.numpy(), rate), rtol=1e-12, atol=1e-15)
    if rate <= 0.2:
        assert float(got.mean()) == pytest.approx(1 - rate, rel=1e-12)
    else:
        assert float(got.min()) == 0.0  # clamped
    most, least = values.mean(dim=0) == values.mean(dim=0).max(), values.mean(dim=0) == values.mean(dim=0).min()
    assert bool((got[most] == 1).all())
    assert float(got[least].max()) < float(got[~least & ~most].mean())


def test_draws_follow_the_probabilities_and_keep_the_mean() -> None:
    torch.manual_seed(1)
    dropout, values = ModerateDropout(0.4), activities(2)
    wanted = dropout.keep(values)
    draws = torch.stack([dropout.factors(values) for _ in range(4000)])
    kept = (draws > 0).double()
    # Standard error of a share: at most sqrt(1/4 / 4000) = 0.008; 320 of them.
    assert float((kept.mean(dim=0) - wanted).abs().max()) < 5 * 0.008
    torch.testing.assert_close((draws * wanted)[draws > 0], torch.ones(int(kept.sum()), dtype=torch.float64))


def test_one_mask_holds_for_all_steps_and_carries_no_gradient() -> None:
    torch.manual_seed(0)
    values = activities().requires_grad_()
    dropped = ModerateDropout(0.5).train()(values)
    dropped.sum().backward()
    assert values.grad is not None
    assert bool((values.grad == values.grad[0]).all())  # the factors of the mask, the same at every step
    assert 0 < int((values.grad[0] == 0).sum()) < values.grad[0].numel()
    torch.testing.assert_close(dropped.detach(), values.detach() * values.grad)


def test_neither_evaluation_nor_a_rate_of_zero_changes_anything() -> None:
    values = activities()
    assert ModerateDropout(0.9).eval()(values) is values
    torch.testing.assert_close(ModerateDropout(0.0).train()(values), values)


def test_half_precision_is_dropped_by_probabilities_in_single_precision() -> None:
    values = activities().bfloat16()
    dropout = ModerateDropout(0.2).train()
    assert dropout(values).dtype == torch.bfloat16
    torch.testing.assert_close(dropout.keep(values), dropout.keep(values.float()))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equally_active_neurons_are_dropped_at_the_rate(value: float) -> None:
    assert bool((ModerateDropout(0.3).keep(torch.full((3, 4, 5), value)) == 0.7).all())


def test_nothing_is_divided_by_a_probability_of_zero() -> None:
    values = torch.zeros(2, 1, 10)
    values[:, :, :8] = 1  # mean n 0.8: silent neurons are dropped with probability 1
    factors = ModerateDropout(0.3).factors(values)
    assert bool(factors.isfinite().all())
    assert factors[0, 8:].tolist() == [0.0, 0.0]


def test_the_loss_of_two_passes_by_hand() -> None:
    rng = np.random.default_rng(0)
    one, two, labels = rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    p, q = log_softmax(one, axis=1), log_softmax(two, axis=1)
    classified = -(p[np.arange(6), labels].mean() + q[np.arange(6), labels].mean()) / 2
    forward, backward = (np.exp(p) * (p - q)).sum(), (np.exp(q) * (q - p)).sum()
    expected = classified + 0.5 * (forward + backward) / 2 / (6 * 4)
    arguments = (torch.from_numpy(one), torch.from_numpy(two), torch.from_numpy(labels))
    assert float(moderate_dropout_loss(*arguments, cross_entropy)) == pytest.approx(expected, rel=1e-12)
    same = moderate_dropout_loss(arguments[0], arguments[0], arguments[2], cross_entropy)
    assert float(same) == pytest.approx(-p[np.arange(6), labels].mean(), rel=1e-12)


def test_the_loss_of_readouts_per_step_compares_their_means_over_time() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 3, 0])

    def every_step(per_step: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.stack([cross_entropy(step, labels) for step in per_step]).mean()

    def nothing(_: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        return torch.zeros((), dtype=torch.float64)

    got = moderate_dropout_loss(one, two, labels, every_step)
    divergence = moderate_dropout_loss(one.mean(0), two.mean(0), labels, nothing)
    assert float(divergence) > 0.001
    torch.testing.assert_close(got, (every_step(one, labels) + every_step(two, labels)) / 2 + divergence)
    assert torch.autograd.gradcheck(
        lambda a, b: moderate_dropout_loss(a, b, labels, every_step), (one.requires_grad_(), two.requires_grad_())
    )
