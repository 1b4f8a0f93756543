"""Noise in training: its statistics, its clips, what is frozen, what is fresh, and what a level of 0 leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.config import NetworkConfig, NoiseConfig
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.chip_noise import ChipNoise, make_perturbation
from neurodeploy.snn.networks import build
from neurodeploy.snn.perturb import Unperturbed, combine
from neurodeploy.snn.spiking_network import SpikingNetwork

SHAPE = torch.Size((40, 30, 30))
FEW = torch.Size((5, 3))
DOUBLE = torch.float64


def network(**options: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(channels=(3,), hidden=(8,), steps=3, threshold=0.3, decay=0.7, **options)
    return build(config, Input((2, 4, 4), 1 / 15, 4), 4)


def images() -> torch.Tensor:
    return torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=DOUBLE)


@pytest.mark.parametrize("level", [0.1, 0.25])
@pytest.mark.parametrize("what", ["threshold", "decay", "weight"])
def test_factors_have_the_level_as_their_spread(what: str, level: float) -> None:
    noise = ChipNoise(mismatch=level, weight_mismatch=level)
    if what == "weight":
        factors = noise.weight("conv", torch.full(SHAPE, 2.0, dtype=DOUBLE)) / 2
    else:
        # Small enough for no factor to reach a clip of the decay.
        factors = getattr(noise, what)("lif", scalar(0.2), SHAPE) / 0.2
    assert factors.shape == SHAPE
    # 36,000 draws: the mean is off by 0.005 of the level (its standard error), the deviation by 0.004 of it.
    assert abs(float(factors.mean()) - 1) < 4 * 0.0053 * level
    assert float(factors.std()) == pytest.approx(level, rel=4 * 0.0037)
    standard = (factors.flatten() - 1) / level
    inside = [float((standard.abs() < bound).double().mean()) for bound in (1, 2)]
    assert inside == pytest.approx([0.6827, 0.9545], abs=0.01)


def test_thermal_noise_is_a_share_of_the_nominal_threshold_fresh_at_every_step() -> None:
    current = torch.full((1, 20, 30, 30), 0.5, dtype=DOUBLE)
    noise = ChipNoise(thermal=0.2).current("lif", current, scalar(0.4), 3) - 0.5
    assert noise.shape == (3, 20, 30, 30)
    assert float(noise.std()) == pytest.approx(0.08, rel=0.015)
    assert abs(float(noise.mean())) < 4 * 0.08 / np.sqrt(54000)
    flat = noise.flatten(1)
    assert float(torch.corrcoef(flat).fill_diagonal_(0).abs().max()) < 0.03  # steps
    assert float(torch.corrcoef(noise[0].flatten(1)).fill_diagonal_(0).abs().max()) < 0.15  # samples
    changing = torch.arange(3.0, dtype=DOUBLE)[:, None, None, None].expand(3, 20, 30, 30)
    again = ChipNoise(thermal=0.2).current("lif", changing, scalar(0.4), 3)
    torch.testing.assert_close(again - changing, noise)


@pytest.mark.parametrize("level", [1e-3, 0.3, 50.0])
def test_thresholds_stay_at_or_above_zero_and_decays_within_zero_and_one(level: float) -> None:
    noise, none = ChipNoise(mismatch=level), ChipNoise(mismatch=1.0)
    for value in (0.0, 1e-9, 0.5, 1.0):
        normals = none.threshold("lif", scalar(1.0), SHAPE)
        threshold, decay = noise.threshold("lif", scalar(value), SHAPE), noise.decay("lif", scalar(value), SHAPE)
        assert float(threshold.min()) >= 0
        assert float(decay.min()) >= 0
        assert float(decay.max()) <= 1
        above = normals > 0  # N > -1, where nothing was clipped there
        expected = (value * (1 + level * (normals[above] - 1))).clamp(min=0)
        torch.testing.assert_close(threshold[above], expected, rtol=1e-10, atol=1e-12)


def test_clips_are_reached_and_stop_the_gradient() -> None:
    value = scalar(0.9).requires_grad_()
    noise = ChipNoise(mismatch=0.5)
    threshold, decay = noise.threshold("a", value, SHAPE), noise.decay("a", value, SHAPE)
    low, high = float((threshold == 0).double().mean()), float((decay == 1).double().mean())
    assert low == pytest.approx(0.0228, abs=0.004)  # P(1 + N / 2 < 0)
    assert high == pytest.approx(0.412, abs=0.01)  # P(0.9 (1 + N / 2) > 1)
    (gradient,) = torch.autograd.grad(threshold.sum(), value)
    torch.testing.assert_close(gradient, threshold.detach().sum() / 0.9)
    (gradient,) = torch.autograd.grad(decay.sum(), value)
    torch.testing.assert_close(gradient, decay.detach()[decay < 1].sum() / 0.9)


def test_weights_and_currents_pass_their_gradients() -> None:
    weight = torch.randn(3, 4, dtype=DOUBLE, requires_grad=True)
    noisy = ChipNoise(weight_mismatch=0.3).weight("fc", weight)
    (gradient,) = torch.autograd.grad(noisy.sum(), weight)
    torch.testing.assert_close(gradient * weight.detach(), noisy.detach())
    assert float(gradient.std()) > 0.1
    current = torch.randn(1, 2, 5, dtype=DOUBLE, requires_grad=True)
    threshold = scalar(0.5).requires_grad_()
    noisy = ChipNoise(thermal=0.3).current("lif", current, threshold, 4)
    to_current, to_threshold = torch.autograd.grad(noisy.sum(), [current, threshold])
    torch.testing.assert_close(to_current, torch.full_like(current, 4.0))
    torch.testing.assert_close(to_threshold, (noisy.detach() - current.detach()).sum() / 0.5)


def drawn(noise: ChipNoise) -> list[torch.Tensor]:
    return [
        noise.weight("conv", torch.ones(FEW)),
        noise.weight("fc", torch.ones(FEW)),
        noise.threshold("lif1", scalar(0.3), FEW),
        noise.threshold("lif2", scalar(0.3), FEW),
        noise.decay("lif1", scalar(0.3), FEW),
        noise.current("lif1", torch.zeros(1, *FEW), scalar(1.0), 1)[0],
        noise.current("lif2", torch.zeros(1, *FEW), scalar(1.0), 1)[0],
    ]


def test_the_same_name_is_the_same_chip_in_any_order_and_another_name_another() -> None:
    levels = {"mismatch": 0.1, "weight_mismatch": 0.1, "thermal": 0.1}
    first = drawn(ChipNoise(**levels, name=(1, 22, 3)))
    again = ChipNoise(**levels, name=(1, 22, 3))
    assert torch.equal(again.threshold("lif2", scalar(0.3), FEW), first[3])  # draws before do not matter
    torch.rand(5)
    assert all(torch.equal(a, b) for a, b in zip(first, drawn(again), strict=True))
    for name in ((0, 22, 3), (1, 0, 3), (1, 22, 4), (12, 2, 3), (1, 2, 23)):
        other = drawn(ChipNoise(**levels, name=name))
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True)), name
    standard = [(part / part.new_tensor(0.3 if i in (2, 3, 4) else 1) - int(i < 5)) for i, part in enumerate(first)]
    for i, one in enumerate(standard):
        for other in standard[:i]:
            assert not torch.allclose(one.double(), other.double(), atol=1e-6)  # layers and parameters differ


def test_a_level_is_how_far_the_same_chip_is_from_nominal() -> None:
    near, far = (ChipNoise(mismatch=level, weight_mismatch=level, thermal=level) for level in (0.01, 0.02))
    ones = torch.ones(FEW, dtype=DOUBLE)
    torch.testing.assert_close(far.weight("a", ones) - 1, 2 * (near.weight("a", ones) - 1))
    for what in ("threshold", "decay"):
        near_one, far_one = (getattr(noise, what)("a", scalar(0.5), FEW) - 0.5 for noise in (near, far))
        torch.testing.assert_close(far_one, 2 * near_one)
    zeros = torch.zeros(1, *FEW, dtype=DOUBLE)
    near_one, far_one = (noise.current("a", zeros, scalar(0.5), 2) for noise in (near, far))
    torch.testing.assert_close(far_one, 2 * near_one)


def test_level_zero_hands_back_the_same_tensors() -> None:
    noise, threshold, decay = ChipNoise(), scalar(0.3), scalar(0.5)
    weight, current = torch.randn(3, 4), torch.randn(1, 3, 5)
    assert noise.weight("a", weight) is weight
    assert noise.threshold("a", threshold, FEW) is threshold
    assert noise.decay("a", decay, FEW) is decay
    assert noise.current("a", current, threshold, 4) is current
    assert noise.readout("a", current, 4) is current


@pytest.mark.parametrize("quantity", ["mismatch", "weight_mismatch", "thermal"])
def test_each_part_stands_alone(quantity: str) -> None:
    noise = ChipNoise(**{quantity: 0.1})
    scalars, tensor = scalar(0.3), torch.ones(1, 2, 3)
    touched = {
        "weight_mismatch": noise.weight("a", tensor) is not tensor,
        "mismatch": noise.threshold("a", scalars, FEW) is not scalars,
        "thermal": noise.current("a", tensor, scalars, 2) is not tensor,
    }
    assert touched == {name: name == quantity for name in touched}
    assert (noise.decay("a", scalars, FEW) is not scalars) == (quantity == "mismatch")
    assert noise.readout("a", tensor, 2) is tensor  # a readout is digital


def test_a_batch_is_one_chip_for_all_its_samples_and_steps() -> None:
    """The network under noise is the network with those thresholds, decays and weights, sample by sample."""
    net, noise = network(norm="none").double().eval(), ChipNoise(mismatch=0.3, weight_mismatch=0.2, name=(0, 0, 1))
    with torch.no_grad():
        whole = net(images().double(), record=True, perturbation=noise)
        halves = [net(part.double(), record=True, perturbation=noise) for part in images().split(3)]
        for name, spikes in whole.spikes.items():
            assert 0.05 < float(spikes.mean()) < 0.95
            joined = torch.cat([half.spikes[name] for half in halves], dim=1)
            torch.testing.assert_close(spikes, joined, rtol=0, atol=0)
        # The first layer again, by the equations.
        conv, lif = net.layers["conv1"], net.layers["lif1"]
        weight = noise.weight("conv1", conv.weight)  # type: ignore[arg-type]
        current = torch.nn.functional.conv2d(images().double(), weight, conv.bias, padding=1)  # type: ignore[arg-type]
        threshold = noise.threshold("lif1", lif.threshold, current.shape[1:])  # type: ignore[arg-type]
        decay = noise.decay("lif1", lif.decay, current.shape[1:])  # type: ignore[arg-type]
        u, fired = torch.zeros_like(current), torch.zeros_like(current)
        for step in range(3):
            u = decay * u * (1 - fired) + current
            fired = (u > threshold).double()
            torch.testing.assert_close(fired, whole.spikes["lif1"][step], rtol=0, atol=0)


def test_no_noise_is_none_and_trains_to_the_bit_alike() -> None:
    assert make_perturbation(NoiseConfig(), network(), 0, 0, 0) is None
    assert make_perturbation(NoiseConfig(adversarial=0.1), network(), 0, 0, 0) is None
    gradients = []
    for perturbation in (None, ChipNoise(), Unperturbed()):
        net = network().train()
        net(images(), perturbation=perturbation).logits.square().sum().backward()
        gradients.append([part.grad for part in net.parameters() if part.grad is not None])
    assert len(gradients[0]) > 5
    for other in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], other, strict=True))


def test_made_for_a_batch_from_the_configuration() -> None:
    config = NoiseConfig(mismatch=0.1, weight_mismatch=0.2, thermal=0.3)
    noise = make_perturbation(config, network(), 7, 8, 9)
    assert isinstance(noise, ChipNoise)
    assert (noise.mismatch, noise.weight_mismatch, noise.thermal, noise.name) == (0.1, 0.2, 0.3, (7, 8, 9))
    for name in ("mismatch", "weight_mismatch", "thermal"):
        assert isinstance(make_perturbation(NoiseConfig(**{name: 0.1}), network(), 0, 0, 0), ChipNoise)


def test_training_under_noise_has_finite_gradients_for_every_parameter() -> None:
    net = network(decay_rule="layer").train()
    noise = ChipNoise(mismatch=0.3, weight_mismatch=0.2, thermal=0.2)
    output = net(images(), perturbation=noise)
    (output.logits.square().sum() + sum(part.square().sum() for part in output.moments.values())).backward()
    learned = {name: part for name, part in net.named_parameters() if part.requires_grad}
    for name, part in learned.items():
        assert part.grad is not None, name
        assert torch.isfinite(part.grad).all(), name
    assert sum(float(part.grad.abs().sum()) > 0 for part in learned.values() if part.grad is not None) == len(learned)


class Times(Unperturbed):
    """Multiplies everything by a factor, or adds it."""

    def __init__(self, factor: float, add: float) -> None:
        self.factor, self.add = factor, add

    def _change(self, value: torch.Tensor) -> torch.Tensor:
        return value * self.factor + self.add

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        return self._change(weight)

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return self._change(threshold)

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return self._change(decay)

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        return self._change(current)

    def readout(self, name: str, current: torch.Tensor, steps: int) -> torch.Tensor:
        return self._change(current)

    def arriving(self, source: str, name: str, value: torch.Tensor) -> torch.Tensor:
        return self._change(value)


def test_combined_perturbations_come_one_after_the_other() -> None:
    both, value = combine(Times(2, 1), None, Times(10, 3)), torch.tensor([5.0])
    assert both is not None
    results = [
        both.weight("a", value),
        both.threshold("a", value, FEW),
        both.decay("a", value, FEW),
        both.current("a", value, value, 1),
        both.readout("a", value, 1),
        both.arriving("a", "b", value),
    ]
    assert [float(result) for result in results] == [113.0] * 6  # (5 * 2 + 1) * 10 + 3


def test_combining_nothing_is_nothing_and_one_is_itself() -> None:
    one = Times(2, 0)
    assert combine() is None
    assert combine(None, None) is None
    assert combine(None, one) is one
