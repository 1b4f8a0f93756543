"""Layers of neurons: thresholds and gammas stay positive, readouts by value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from neurodeploy.snn.neurons import (
    SMALLEST_GAMMA,
    SMALLEST_THRESHOLD,
    LIFNeurons,
    MembraneReadoutNeurons,
    SpikeCountReadoutNeurons,
)
from neurodeploy.snn.surrogate import integrate_and_fire


@pytest.mark.parametrize("threshold", [SMALLEST_THRESHOLD, 0.46, 0.99])
def test_the_threshold_is_the_one_asked_for(threshold: float) -> None:
    neurons = LIFNeurons("arctangent", 4, threshold=threshold, gamma=2.5)
    assert float(neurons.threshold.detach()) == pytest.approx(threshold, rel=1e-6)
    assert float(neurons.gamma.detach()) == 2.5


def test_the_default_threshold_is_tanh_of_a_half() -> None:
    assert float(LIFNeurons("arctangent", 4).threshold_parameter.detach()) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("detach", [False, True])
def test_a_layer_is_integrate_and_fire_with_its_settings(detach: bool) -> None:
    current = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))
    neurons = LIFNeurons("softplus", 5, 0.8, 0.3, 1.5, "subtract", detach)
    spikes, potentials = neurons(current)
    wanted = integrate_and_fire(current, torch.tensor(0.3), torch.tensor(1.5), 0.8, 5, "softplus", "subtract", detach)
    assert 0.05 < float(spikes.detach().mean()) < 0.95
    torch.testing.assert_close(spikes, wanted[0])
    torch.testing.assert_close(potentials, wanted[1])
    spikes[-1].sum().backward()
    assert neurons.gamma.grad is not None
    free = LIFNeurons("softplus", 5, 0.8, 0.3, 1.5, "subtract", not detach)
    free(current)[0][-1].sum().backward()
    assert free.gamma.grad is not None
    assert float(free.gamma.grad) != float(neurons.gamma.grad)


def test_only_thresholds_of_convolutional_layers_are_trained() -> None:
    current = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1))
    for kind, trained in (("arctangent", True), ("softplus", False)):
        neurons = LIFNeurons(kind, 4)  # type: ignore[arg-type]
        neurons(current)[0].sum().backward()
        assert (neurons.threshold_parameter.grad is not None) == trained
        assert neurons.gamma.grad is not None


def test_a_gradient_step_reaches_the_threshold_through_tanh() -> None:
    current = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(2))
    neurons = LIFNeurons("arctangent", 4)
    neurons(current)[0].sum().backward()
    threshold = torch.tensor(math.tanh(0.5), requires_grad=True)
    integrate_and_fire(current, threshold, torch.tensor(1.0), 0.25, 4, "arctangent")[0].sum().backward()
    assert threshold.grad is not None
    assert neurons.threshold_parameter.grad is not None
    expected = float(threshold.grad) * (1 - math.tanh(0.5) ** 2)
    assert float(neurons.threshold_parameter.grad) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.01])
def test_gamma_and_threshold_are_brought_back_above_zero(value: float) -> None:
    neurons = LIFNeurons("arctangent", 4)
    with torch.no_grad():
        neurons.gamma.fill_(value)
        neurons.threshold_parameter.fill_(value)
    neurons.keep_positive()
    assert float(neurons.gamma.detach()) == pytest.approx(SMALLEST_GAMMA)
    assert float(neurons.threshold.detach()) == pytest.approx(SMALLEST_THRESHOLD, rel=1e-5)


def test_positive_values_are_left_alone() -> None:
    neurons = LIFNeurons("arctangent", 4, threshold=0.051, gamma=0.051)
    before = [part.detach().clone() for part in neurons.parameters()]
    neurons.keep_positive()
    assert all(torch.equal(old, new) for old, new in zip(before, neurons.parameters(), strict=True))


def test_a_membrane_readout_is_the_mean_potential_over_time() -> None:
    current = torch.tensor([[[1.0, -2.0]], [[3.0, 4.0]], [[0.5, 0.0]]])  # potentials 1, 3.5, 2.25 and -2, 3, 1.5
    expected = torch.tensor([[(1 + 3.5 + 2.25) / 3, (-2 + 3 + 1.5) / 3]])
    torch.testing.assert_close(MembraneReadoutNeurons(3, decay=0.5)(current), expected)


def test_a_membrane_readout_repeats_a_static_current() -> None:
    current = torch.tensor([[[1.0, -2.0]]])
    torch.testing.assert_close(MembraneReadoutNeurons(4)(current), 2.5 * current[0])  # (1 + 2 + 3 + 4) / 4


def test_a_count_readout_is_the_mean_of_spikes_over_time() -> None:
    spikes = np.random.default_rng(0).integers(0, 2, (6, 3, 5)).astype(np.float32)
    got = SpikeCountReadoutNeurons()(torch.from_numpy(spikes))
    np.testing.assert_allclose(got.numpy(), spikes.mean(axis=0), rtol=1e-6)
