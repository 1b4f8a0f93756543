"""Recurrent neurons against the equations step by step under autograd, with the paper's slopes written out again."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from neurodeploy.snn.neurons import Decay, LIFNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.surrogate import Surrogate

STEPS = 6
CASES = list(itertools.product(["arctangent", "softplus"], ["zero", "subtract"], [False, True], [False, True]))


class OneStep(torch.autograd.Function):
    """1[u > Vth]; backward, Eq. 11 and 12, or 16 and 17."""

    @staticmethod
    def forward(ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, shape: str) -> Any:
        ctx.save_for_backward(potential, threshold, gamma)
        ctx.shape = shape
        return (potential > threshold).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> Any:
        potential, threshold, gamma = ctx.saved_tensors
        x = gamma * (potential - threshold)
        slope = given * (1 / (1 + x**2) if ctx.shape == "arctangent" else 1 / (1 + torch.exp(-x)))
        return slope, -slope.sum(), slope.sum(), None


def by_hand(neurons: RecurrentLIFNeurons, current: torch.Tensor, shape: str) -> tuple[torch.Tensor, torch.Tensor]:
    """u[t] = decay * reset(u[t-1], o[t-1]) + current[t] + W o[t-1]."""
    threshold, decay = torch.tanh(neurons.threshold_parameter), neurons.decay
    potential = spike = torch.zeros_like(current[0])
    spikes, potentials = [], []
    for t in range(STEPS):
        resetting = spike.detach() if neurons.dynamics.detach_reset else spike
        subtract = neurons.dynamics.reset == "subtract"
        kept = potential - threshold * resetting if subtract else potential * (1 - resetting)
        back = spike @ neurons.recurrent.weight.T if spike.ndim == 2 else neurons.recurrent(spike)
        potential = decay * kept + current[t if len(current) > 1 else 0] + back
        spike = OneStep.apply(potential, threshold, neurons.gamma, shape)
        spikes.append(spike)
        potentials.append(potential)
    return torch.stack(spikes), torch.stack(potentials)


def dense(shape: Any, reset: Any = "zero", detach: bool = False, **settings: Any) -> RecurrentLIFNeurons:
    torch.manual_seed(4)
    layer = nn.Linear(7, 7, bias=False)
    settings = {"learn_threshold": True, **settings}
    return RecurrentLIFNeurons(layer, STEPS, Surrogate(shape), Decay(0.7), 0.4, 1.7, reset, detach, **settings).double()


def lateral(**settings: Any) -> RecurrentLIFNeurons:
    torch.manual_seed(5)
    layer = nn.Conv2d(3, 3, 5, padding=2, groups=3, bias=False)
    return RecurrentLIFNeurons(layer, STEPS, Surrogate(), 0.6, 0.4, **settings).double()


def drive(*shape: int) -> torch.Tensor:
    return 0.3 + 0.6 * torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("shape", "reset", "detach", "static"), CASES)
def test_spikes_and_all_gradients_are_those_of_the_equations(
    shape: str, reset: str, detach: bool, static: bool
) -> None:
    neurons = dense(shape, reset, detach)
    parameters = dict(neurons.named_parameters())
    assert set(parameters) == {"threshold_parameter", "gamma", "learned_decay.parameter", "recurrent.weight"}
    current = drive(1 if static else STEPS, 4, 7).requires_grad_()
    weights = torch.randn(STEPS, 4, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def gradients(spikes: torch.Tensor, mean: torch.Tensor, power: torch.Tensor) -> list[torch.Tensor]:
        loss = (spikes * weights).sum() + (mean * weights[:, 0, 0]).sum() + (power * weights[:, 1, 0]).sum()
        return list(torch.autograd.grad(loss, [current, *parameters.values()]))

    fired = neurons(current)
    spikes, potentials = by_hand(neurons, current, shape)
    assert 0.2 < float(spikes.detach().mean()) < 0.8
    assert torch.equal(fired.spikes, spikes)
    torch.testing.assert_close(fired.rates, spikes.detach().mean(dim=(1, 2)))
    mean, power = potentials.mean(dim=(1, 2)), (potentials**2).mean(dim=(1, 2))
    torch.testing.assert_close(fired.moments, torch.stack([mean, power], dim=1))
    got = gradients(fired.spikes, fired.moments[:, 0], fired.moments[:, 1])
    for name, one, other in zip(["current", *parameters], got, gradients(spikes, mean, power), strict=True):
        assert float(other.abs().max()) > 1e-3, name
        torch.testing.assert_close(one, other, msg=name)


@pytest.mark.parametrize("record", [False, True])
def test_lateral_convolutions_pool_and_record_as_other_neurons_do(record: bool) -> None:
    neurons, current = lateral(), drive(STEPS, 2, 3, 6, 4)
    fired = neurons(current, pool=2, record=record)
    spikes, potentials = by_hand(neurons, current, "arctangent")
    assert 0.2 < float(spikes.detach().mean()) < 0.8
    torch.testing.assert_close(fired.spikes, avg_pool2d(spikes.flatten(0, 1), 2).unflatten(0, (STEPS, 2)))
    if record:
        torch.testing.assert_close(fired.potentials, potentials)
    else:
        assert fired.potentials is None


def test_a_lateral_convolution_reaches_two_places_within_its_channel_one_step_later() -> None:
    neurons = lateral()
    with torch.no_grad():
        neurons.recurrent.weight.fill_(0.1)
    current = torch.zeros(STEPS, 1, 3, 7, 7, dtype=torch.float64)
    current[0, 0, 1, 3, 3] = 1.0
    potentials = neurons(current, record=True).potentials
    touched = potentials[1].detach()[0] != 0
    assert not bool(touched[[0, 2]].any())
    assert bool(touched[1, 1:6, 1:6].all())
    assert int(touched.sum()) == 25


def test_without_recurrent_weights_they_are_plain_neurons() -> None:
    neurons, current = dense("arctangent"), drive(STEPS, 4, 7)
    nn.init.zeros_(neurons.recurrent.weight)
    plain = LIFNeurons(STEPS, Surrogate(), Decay(0.7), 0.4, 1.7).double()
    assert torch.equal(neurons(current).spikes, plain(current).spikes)


def test_thresholds_decays_and_weights_that_are_given_take_the_place_of_the_own_ones() -> None:
    neurons, current = dense("arctangent"), drive(STEPS, 4, 7)
    generator = torch.Generator().manual_seed(3)
    threshold, decay = (torch.rand(7, generator=generator, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    got = neurons(current, 1, False, threshold, decay, weight).spikes
    potential = spike = torch.zeros(4, 7, dtype=torch.float64)
    for t in range(STEPS):
        potential = decay * potential * (1 - spike) + current[t] + spike @ weight.T
        spike = (potential > threshold).double()
        assert torch.equal(got[t], spike)
    assert not torch.equal(got, neurons(current).spikes)
    given = threshold.requires_grad_()
    neurons(current, 1, False, given).spikes.sum().backward()
    assert given.grad is not None
    assert given.grad.shape == (7,)
    assert bool((given.grad != 0).all())


def test_half_precision_currents_are_integrated_in_single_precision() -> None:
    neurons = dense("arctangent").float()
    assert neurons(drive(STEPS, 4, 7).bfloat16()).spikes.dtype == torch.float32
