"""Adversarial weights: how large they are, that they do raise the loss, and that nothing else moves."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from neurodeploy.config import NetworkConfig
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.adversarial import ShiftedWeights, adversarial_weights
from neurodeploy.snn.chip_noise import ChipNoise
from neurodeploy.snn.networks import build
from neurodeploy.snn.perturb import combine
from neurodeploy.snn.spiking_network import Perturbation, SpikingNetwork

GENERATOR = torch.Generator().manual_seed(3)
VALUES = torch.rand(32, 2, 4, 4, generator=GENERATOR)
LABELS = torch.randint(0, 4, (32,), generator=GENERATOR)


def network() -> SpikingNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(channels=(4,), hidden=(8,), steps=3, threshold=0.3, decay=0.7)
    return build(config, Input((2, 4, 4), 1 / 15, 4), 4).train()


def loss_of(net: SpikingNetwork, perturbation: Perturbation | None) -> torch.Tensor:
    return cross_entropy(net(VALUES, perturbation=perturbation).logits, LABELS)


@pytest.mark.parametrize("level", [0.01, 0.1, 1.0])
def test_one_step_is_exactly_as_large_as_the_level_and_along_the_gradient(level: float) -> None:
    net = network()
    made = adversarial_weights(net, lambda extra: loss_of(net, extra), level)
    assert isinstance(made, ShiftedWeights)
    assert set(made.shifts) == {"conv1", "linear2", "linear3"}
    loss_of(net, None).backward()
    for name, shift in made.shifts.items():
        weight = net.layers[name].weight
        assert isinstance(weight, torch.Tensor)
        assert float(shift.norm() / weight.detach().norm()) == pytest.approx(level, rel=1e-5)
        assert weight.grad is not None
        direction = weight.grad / weight.grad.norm()
        torch.testing.assert_close(shift / shift.norm(), direction, rtol=1e-3, atol=1e-5)
        assert not shift.requires_grad
        torch.testing.assert_close(made.weight(name, weight), weight + shift, rtol=0, atol=0)


@pytest.mark.parametrize("steps", [2, 5])
def test_several_steps_stay_on_the_sphere_and_turn(steps: int) -> None:
    net = network()
    one = adversarial_weights(net, lambda extra: loss_of(net, extra), 0.2)
    several = adversarial_weights(net, lambda extra: loss_of(net, extra), 0.2, steps)
    assert isinstance(one, ShiftedWeights)
    assert isinstance(several, ShiftedWeights)
    for name, shift in several.shifts.items():
        size = float(shift.norm() / net.state_dict()[f"layers.{name}.weight"].norm())
        assert size <= 0.2 * (1 + 1e-5)
        assert size > 0.19
        assert float((shift * one.shifts[name]).sum() / shift.norm() / one.shifts[name].norm()) < 0.9999


def test_a_step_back_ends_within_the_ball() -> None:
    net, signs = network(), iter((1.0, -1.0))

    def turning(extra: Perturbation) -> torch.Tensor:
        weights = [extra.weight(name, net.layers[name].weight) for name in ("conv1", "linear2")]  # type: ignore[arg-type]
        return next(signs) * torch.stack([weight.sum() for weight in weights]).sum()

    made = adversarial_weights(net, turning, 0.5, 2)
    assert isinstance(made, ShiftedWeights)
    for shift in made.shifts.values():
        torch.testing.assert_close(shift, torch.zeros_like(shift), atol=1e-6, rtol=0)


def test_it_raises_the_loss_more_than_noise_of_its_size() -> None:
    net = network()
    plain = float(loss_of(net, None).detach())
    for level, steps in ((0.02, 1), (0.1, 1), (0.1, 4)):
        made = adversarial_weights(net, lambda extra: loss_of(net, extra), level, steps)
        assert isinstance(made, ShiftedWeights)
        worst = float(loss_of(net, made).detach())
        random = ShiftedWeights()
        generator = torch.Generator().manual_seed(0)
        for name, shift in made.shifts.items():
            drawn = torch.randn(shift.shape, generator=generator)
            random.shifts[name] = drawn * (shift.norm() / drawn.norm())
        other = float(loss_of(net, random).detach())
        assert worst > plain + 0.5 * level
        assert worst > other


def test_the_gradient_is_that_at_the_shifted_weights() -> None:
    net = network()
    made = adversarial_weights(net, lambda extra: loss_of(net, extra), 0.1)
    assert isinstance(made, ShiftedWeights)
    loss_of(net, made).backward()
    moved = network()
    with torch.no_grad():
        for name, shift in made.shifts.items():
            moved.layers[name].weight += shift
    loss_of(moved, None).backward()
    for (name, one), other in zip(net.named_parameters(), moved.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7, msg=name)


def test_it_leaves_weights_gradients_and_running_statistics_alone() -> None:
    net = network()
    before = {name: part.clone() for name, part in net.state_dict().items()}
    adversarial_weights(net, lambda extra: loss_of(net, extra), 0.1, 3)
    after = net.state_dict()
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(part, after[name]) for name, part in before.items())
    assert all(part.grad is None for part in net.parameters())


def test_level_zero_is_none_and_costs_nothing() -> None:
    def loss(extra: Perturbation) -> torch.Tensor:
        raise AssertionError("no pass is needed")

    assert adversarial_weights(network(), loss, 0.0) is None


def test_a_loss_without_slope_moves_nothing() -> None:
    net = network()
    made = adversarial_weights(net, lambda extra: loss_of(net, extra) * 0, 0.1)
    assert isinstance(made, ShiftedWeights)
    assert all(float(shift.abs().max()) == 0 for shift in made.shifts.values())
    with torch.no_grad():  # weights of zero have no size
        net.layers["conv1"].weight.zero_()
    made = adversarial_weights(net, lambda extra: loss_of(net, extra), 0.1)
    assert isinstance(made, ShiftedWeights)
    assert float(made.shifts["conv1"].abs().max()) == 0


def test_it_looks_for_the_worst_case_of_the_noisy_chip() -> None:
    net, noise = network(), ChipNoise(mismatch=0.2, weight_mismatch=0.2, thermal=0.1)

    def noisy(extra: Perturbation | None) -> torch.Tensor:
        return loss_of(net, combine(noise, extra))

    made = adversarial_weights(net, noisy, 0.1)
    assert isinstance(made, ShiftedWeights)
    assert float(noisy(made).detach()) > float(noisy(None).detach()) + 0.05
    plain = adversarial_weights(net, lambda extra: loss_of(net, extra), 0.1)
    assert isinstance(plain, ShiftedWeights)
    for name, shift in made.shifts.items():
        chips = noise.weight(name, net.layers[name].weight)  # type: ignore[arg-type]
        assert float((shift.norm() / chips.norm()).detach()) == pytest.approx(0.1, rel=1e-5)
        assert not torch.allclose(shift, plain.shifts[name], rtol=1e-2)


def test_it_can_be_found_where_gradients_are_off() -> None:
    net = network()
    with torch.no_grad():
        made = adversarial_weights(net, lambda extra: loss_of(net, extra), 0.1)
    assert isinstance(made, ShiftedWeights)
    assert float(made.shifts["conv1"].abs().max()) > 0
