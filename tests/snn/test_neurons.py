"""Layers of neurons: their settings reach the loop, thresholds and gammas stay positive, readouts by value."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy.snn.integrate import Dynamics, integrate_and_fire
from neurodeploy.snn.neurons import (
    SMALLEST_DECAY,
    SMALLEST_GAMMA,
    SMALLEST_THRESHOLD,
    Decay,
    LIFNeurons,
    MembraneReadoutNeurons,
    SpikeCountReadoutNeurons,
)
from neurodeploy.snn.surrogate import Surrogate

SOFTPLUS = Surrogate("softplus")


def drive(steps: int, seed: int) -> torch.Tensor:
    return torch.randn(steps, 3, 7, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("threshold", [SMALLEST_THRESHOLD, 0.46, 0.99])
def test_the_threshold_is_the_one_asked_for(threshold: float) -> None:
    neurons = LIFNeurons(4, threshold=threshold, gamma=2.5)
    assert float(neurons.threshold.detach()) == pytest.approx(threshold, rel=1e-6)
    assert float(neurons.gamma.detach()) == 2.5


def test_the_default_threshold_is_tanh_of_a_half() -> None:
    assert float(LIFNeurons(4).threshold_parameter.detach()) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("detach", [False, True])
def test_a_layer_is_integrate_and_fire_with_its_settings(detach: bool) -> None:
    current = drive(5, 0)
    neurons = LIFNeurons(5, SOFTPLUS, 0.8, 0.3, 1.5, "subtract", detach)
    fired = neurons(current, record=True)
    parts = (torch.tensor(0.3), torch.tensor(0.8), torch.tensor(1.5))
    wanted = integrate_and_fire(current, *parts, Dynamics(5, SOFTPLUS, "subtract", detach), record=True)
    assert 0.05 < float(fired.spikes.detach().mean()) < 0.95
    assert neurons.steps == 5
    for one, other in zip(fired, wanted, strict=True):
        torch.testing.assert_close(one, other)
    fired.spikes[-1].sum().backward()
    assert neurons.gamma.grad is not None
    free = LIFNeurons(5, SOFTPLUS, 0.8, 0.3, 1.5, "subtract", not detach)
    free(current).spikes[-1].sum().backward()
    assert free.gamma.grad is not None
    assert float(free.gamma.grad) != float(neurons.gamma.grad)


def test_thresholds_and_decays_that_are_given_take_the_place_of_the_own_ones() -> None:
    current, generator = drive(5, 0), torch.Generator().manual_seed(1)
    threshold, decay = torch.rand(7, generator=generator), torch.rand(7, generator=generator)
    neurons = LIFNeurons(5, SOFTPLUS)
    wanted = integrate_and_fire(current, threshold, decay, torch.tensor(1.0), Dynamics(5, SOFTPLUS))
    assert torch.equal(neurons(current, 1, False, threshold, decay).spikes, wanted.spikes)
    assert not torch.equal(neurons(current).spikes, wanted.spikes)


@pytest.mark.parametrize("shape", ["arctangent", "softplus", "rectangle"])
@pytest.mark.parametrize("learn", [None, True, False])
def test_thresholds_learn_where_asked_and_by_default_only_in_convolutional_layers(
    shape: Any, learn: bool | None
) -> None:
    neurons = LIFNeurons(4, Surrogate(shape), learn_threshold=learn)
    neurons(drive(4, 1).requires_grad_()).spikes.sum().backward()
    expected = shape != "softplus" if learn is None else learn
    assert (neurons.threshold_parameter.grad is not None) == expected


@pytest.mark.parametrize("shape", ["arctangent", "softplus", "rectangle"])
@pytest.mark.parametrize("rule", ["literal", "frozen"])
def test_gamma_learns_in_the_shapes_of_the_paper_unless_frozen(shape: Any, rule: Any) -> None:
    neurons = LIFNeurons(4, Surrogate(shape, rule), learn_threshold=True)
    neurons(drive(4, 1)).spikes.sum().backward()
    assert (neurons.gamma.grad is not None) == (rule == "literal" and shape != "rectangle")


def test_a_gradient_step_reaches_the_threshold_through_tanh() -> None:
    neurons = LIFNeurons(4)
    neurons(drive(4, 2)).spikes.sum().backward()
    threshold = torch.tensor(math.tanh(0.5), requires_grad=True)
    parts = (threshold, torch.tensor(0.25), torch.tensor(1.0))
    integrate_and_fire(drive(4, 2), *parts, Dynamics(4)).spikes.sum().backward()
    assert threshold.grad is not None
    assert neurons.threshold_parameter.grad is not None
    expected = float(threshold.grad) * (1 - math.tanh(0.5) ** 2)
    assert float(neurons.threshold_parameter.grad) == pytest.approx(expected, rel=1e-5)


def test_a_fixed_decay_is_exact_and_no_parameter() -> None:
    neurons = LIFNeurons(4, decay=0.1)
    assert neurons.decay.item() == 0.1  # in double precision
    assert neurons.decay_parameter is None
    assert [name for name, _ in neurons.named_parameters()] == ["threshold_parameter", "gamma"]


@pytest.mark.parametrize("start", [0.25, 0.9, 1.0, 1e-6])
def test_a_learned_decay_starts_where_asked_within_its_limits(start: float) -> None:
    neurons = LIFNeurons(4, decay=Decay(start))
    expected = min(max(start, SMALLEST_DECAY), 1 - SMALLEST_DECAY)
    assert neurons.decay.item() == pytest.approx(expected, rel=1e-5)


def test_a_gradient_step_reaches_a_learned_decay_through_the_sigmoid() -> None:
    neurons = LIFNeurons(4, decay=Decay(0.7))
    neurons(drive(4, 2)).spikes.sum().backward()
    decay = torch.tensor(0.7, requires_grad=True)
    parts = (torch.tensor(math.tanh(0.5)), decay, torch.tensor(1.0))
    integrate_and_fire(drive(4, 2), *parts, Dynamics(4)).spikes.sum().backward()
    assert decay.grad is not None
    assert neurons.decay_parameter is not None
    assert neurons.decay_parameter.grad is not None
    assert float(neurons.decay_parameter.grad) == pytest.approx(float(decay.grad) * 0.7 * 0.3, rel=1e-4)


def test_layers_that_are_given_the_same_decay_share_it() -> None:
    shared = Decay(0.7)
    layers = nn.ModuleList([LIFNeurons(4, decay=shared), LIFNeurons(4, decay=shared)])
    assert layers[0].decay_parameter is layers[1].decay_parameter
    layers = copy.deepcopy(layers).double()
    assert layers[0].decay_parameter is layers[1].decay_parameter
    assert len([name for name, _ in layers.named_parameters() if "decay" in name]) == 1
    sum(layer(drive(4, 3).double()).spikes.sum() for layer in layers).backward()
    both = float(layers[0].decay_parameter.grad)
    alone = LIFNeurons(4, decay=Decay(0.7)).double()
    alone(drive(4, 3).double()).spikes.sum().backward()
    assert alone.decay_parameter is not None
    assert alone.decay_parameter.grad is not None
    assert both == pytest.approx(2 * float(alone.decay_parameter.grad), rel=1e-6)


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.01])
def test_gamma_and_threshold_are_brought_back_above_zero(value: float) -> None:
    neurons = LIFNeurons(4)
    with torch.no_grad():
        neurons.gamma.fill_(value)
        neurons.threshold_parameter.fill_(value)
    neurons.keep_positive()
    assert float(neurons.gamma.detach()) == pytest.approx(SMALLEST_GAMMA)
    assert float(neurons.threshold.detach()) == pytest.approx(SMALLEST_THRESHOLD, rel=1e-5)


def test_values_that_do_not_learn_are_left_alone() -> None:
    surrogate = Surrogate("arctangent", "frozen")
    neurons = LIFNeurons(4, surrogate, threshold=0.02, gamma=0.01, learn_threshold=False)
    neurons.keep_positive()
    assert float(neurons.gamma) == pytest.approx(0.01)
    assert float(neurons.threshold) == pytest.approx(0.02)
    half = LIFNeurons(4, surrogate, threshold=0.02, gamma=0.01, learn_threshold=True)
    half.keep_positive()
    assert float(half.gamma) == pytest.approx(0.01)
    assert float(half.threshold.detach()) == pytest.approx(SMALLEST_THRESHOLD, rel=1e-5)


def test_positive_values_are_left_alone() -> None:
    neurons = LIFNeurons(4, threshold=0.051, gamma=0.051)
    before = [part.detach().clone() for part in neurons.parameters()]
    neurons.keep_positive()
    assert all(torch.equal(old, new) for old, new in zip(before, neurons.parameters(), strict=True))


def test_a_membrane_readout_is_the_potential_at_every_step() -> None:
    current = torch.tensor([[[1.0, -2.0]], [[3.0, 4.0]], [[0.5, 0.0]]])
    expected = torch.tensor([[[1.0, -2.0]], [[3.5, 3.0]], [[2.25, 1.5]]])
    torch.testing.assert_close(MembraneReadoutNeurons(3, decay=0.5)(current), expected)


def test_a_membrane_readout_repeats_a_static_current() -> None:
    current = torch.tensor([[[1.0, -2.0]]])
    expected = current * torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    torch.testing.assert_close(MembraneReadoutNeurons(4)(current), expected)


def test_a_count_readout_is_the_spikes_at_every_step() -> None:
    spikes = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (6, 3, 5)).astype(np.float32))
    assert torch.equal(SpikeCountReadoutNeurons()(spikes), spikes)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_readouts_add_up_in_single_precision(kind: torch.dtype) -> None:
    """300 spikes are 300, and 300 steps of 1 are 300; bfloat16 has no number between 256 and 258."""
    ones = torch.ones(300, 1, 2, dtype=kind)
    assert MembraneReadoutNeurons(300)(ones)[-1].tolist() == [[300.0, 300.0]]
    counted = SpikeCountReadoutNeurons()(torch.cat([ones, ones[:1]]))
    assert counted.sum(dim=0).tolist() == [[301.0, 301.0]]
    assert SpikeCountReadoutNeurons()(ones.double()).dtype == torch.float64
