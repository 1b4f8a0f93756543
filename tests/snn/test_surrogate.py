"""Surrogate gradients against the formulas written out again, and against autograd where there is a true function."""

from __future__ import annotations

import itertools
import math
from typing import Any

import neuron_loop
import numpy as np
import pytest
import torch

from neurodeploy.errors import UsageError
from neurodeploy.snn.surrogate import RULES, SHAPES, Surrogate

PAIRS = list(itertools.product(SHAPES, RULES))


def points(gamma: float) -> Any:
    edges = [0.5, -0.5, 1 / (2 * gamma), 1 / gamma]
    near = [edge + nudge for edge in edges for nudge in (-1e-9, 1e-9)]
    return np.concatenate([np.linspace(-4, 4, 82), near, [0.0, -1e3, 1e3, 1e-300]])


@pytest.mark.parametrize("gamma", [0.05, 1.0, 5.0])
@pytest.mark.parametrize(("shape", "rule"), PAIRS)
def test_slopes_are_the_formulas(shape: Any, rule: Any, gamma: float) -> None:
    x, width, surrogate = points(gamma), torch.tensor(gamma, dtype=torch.float64), Surrogate(shape, rule)
    distance = torch.from_numpy(x)
    got = surrogate.slope(distance, width)
    np.testing.assert_allclose(got.numpy(), neuron_loop.slope(shape, rule, x, gamma), rtol=1e-12, atol=1e-15)
    by_gamma = surrogate.gamma_slope(distance, width, got)
    wanted = neuron_loop.gamma_slope(shape, rule, x, gamma)
    if by_gamma is None:
        assert not wanted.any()
        assert not surrogate.learns_gamma
    else:
        assert surrogate.learns_gamma
        np.testing.assert_allclose(by_gamma.numpy(), wanted, rtol=1e-11, atol=1e-12 * max(1, gamma**-2))
    np.testing.assert_array_equal(distance.numpy(), x)  # left as it was


def test_the_paper_s_slopes_at_the_threshold_and_far_from_it() -> None:
    x, one = torch.tensor([0.0, 1.0, -1.0, 1e20, -1e20]), torch.tensor(1.0)
    assert Surrogate("arctangent").slope(x, one).tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]
    assert Surrogate("softplus").slope(x, one)[[0, 3, 4]].tolist() == [0.5, 1.0, 0.0]
    assert Surrogate() == Surrogate("arctangent", "literal")


@pytest.mark.parametrize("shape", ["arctangent", "softplus"])
def test_the_principled_rule_is_the_derivative_of_one_function(shape: Any) -> None:
    x = torch.linspace(-3, 3, 41, dtype=torch.float64).requires_grad_()
    gamma = torch.tensor(1.7, dtype=torch.float64)
    width = gamma.expand(41).clone().requires_grad_()  # one each, so that autograd gives df/dgamma at every x
    function = (
        torch.atan(width * x) / math.pi + 0.5 if shape == "arctangent" else torch.log1p(torch.exp(width * x)) / width
    )
    by_x, by_gamma = torch.autograd.grad(function.sum(), (x, width))
    surrogate = Surrogate(shape, "principled")
    slope = surrogate.slope(x.detach(), gamma)
    got = surrogate.gamma_slope(x.detach(), gamma, slope)
    assert got is not None
    np.testing.assert_allclose(slope.numpy(), by_x.numpy(), rtol=1e-12)
    np.testing.assert_allclose(got.numpy(), by_gamma.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("shape", ["rectangle", "triangle", "sigmoid", "dspike"])
def test_shapes_that_relax_the_step_have_unit_area(shape: Any) -> None:
    x = torch.linspace(-60, 60, 1_200_001, dtype=torch.float64)
    area = torch.trapezoid(Surrogate(shape).slope(x, torch.tensor(2.0, dtype=torch.float64)), x)
    np.testing.assert_allclose(float(area), 1.0, atol=3e-4)  # the rectangle's and Dspike's edges fall between points


def test_the_odd_rule_peaks_at_one_and_keeps_the_sign() -> None:
    x, gamma = torch.linspace(-5, 5, 1001, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    surrogate = Surrogate("arctangent", "odd")
    got = surrogate.gamma_slope(x, gamma, surrogate.slope(x, gamma))
    assert got is not None
    np.testing.assert_allclose([float(got.max()), float(got.min())], [1, -1], rtol=1e-12)
    np.testing.assert_array_equal(torch.sign(got).numpy(), torch.sign(x).numpy())


@pytest.mark.parametrize("names", [("arctan", "literal"), ("arctangent", "paper")])
def test_unknown_names_are_refused(names: Any) -> None:
    with pytest.raises(UsageError, match=names[0] if names[0] == "arctan" else names[1]):
        Surrogate(*names)
