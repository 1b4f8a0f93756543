"""Optimisers' groups and learning rates by value."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from neurodeploy.config import NetworkConfig, TrainConfig
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.networks import build
from neurodeploy.snn.optimise import make_optimizer, make_schedule
from neurodeploy.snn.spiking_network import SpikingNetwork


@pytest.fixture
def network() -> SpikingNetwork:
    torch.manual_seed(0)
    return build(NetworkConfig(channels=(3,), hidden=(5,), steps=2, decay_rule="layer"), Input((1, 4, 4)), 3)


@pytest.mark.parametrize(("name", "kind"), [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")])
def test_groups_have_their_own_rates_and_only_weights_decay(network: SpikingNetwork, name: Any, kind: str) -> None:
    config = TrainConfig(optimizer=name, learning_rate=0.5, gamma_learning_rate=0.25, weight_decay=0.125, momentum=0.75)
    optimizer = make_optimizer(network, config)
    assert type(optimizer).__name__ == kind
    names = {id(part): part_name for part_name, part in network.named_parameters()}
    found = [sorted(names[id(part)] for part in group["params"]) for group in optimizer.param_groups]
    assert len(found[1]) == 4  # threshold and decay of two layers
    assert all("threshold" in part or "decay" in part for part in found[1])
    assert found[2] == ["layers.lif1.gamma", "layers.lif2.gamma"]
    assert sorted(name for part in found for name in part) == sorted(names.values())
    rates = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert rates == [(0.5, 0.125), (0.5, 0.0), (0.25, 0.0)]
    if name == "sgd":
        assert all(group["momentum"] == 0.75 for group in optimizer.param_groups)


def test_weight_decay_moves_weights_alone(network: SpikingNetwork) -> None:
    """With gradients of zero, SGD multiplies what decays by 1 - rate * decay."""
    optimizer = make_optimizer(network, TrainConfig(optimizer="sgd", learning_rate=0.5, weight_decay=0.2, momentum=0.0))
    before = {name: part.detach().clone() for name, part in network.named_parameters()}
    for part in network.parameters():
        part.grad = torch.zeros_like(part)
    optimizer.step()
    for name, part in network.named_parameters():
        factor = 1.0 if "lif" in name else 0.9
        torch.testing.assert_close(part.detach(), factor * before[name])


def rates_by_epoch(steps_per_epoch: int, **settings: Any) -> list[tuple[float, float]]:
    """(learning rate, gamma's) at the first step of every epoch, and after the last."""
    network = build(NetworkConfig(channels=(), hidden=(3,), steps=1), Input((1, 2, 2)), 2)
    config = TrainConfig(learning_rate=0.4, gamma_learning_rate=0.1, optimizer="sgd", **settings)
    optimizer = make_optimizer(network, config)
    schedule = make_schedule(optimizer, config, steps_per_epoch)
    found = []
    for _ in range(config.epochs):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[2]["lr"]))
        for _ in range(steps_per_epoch):
            optimizer.step()
            schedule.step()
    return [*found, (optimizer.param_groups[0]["lr"], optimizer.param_groups[2]["lr"])]


def test_a_constant_schedule_is_constant() -> None:
    assert rates_by_epoch(3, epochs=4, schedule="constant") == [(0.4, 0.1)] * 5


def test_a_cosine_goes_to_zero() -> None:
    found = rates_by_epoch(5, epochs=4, schedule="cosine")
    for epoch, (rate, gamma) in enumerate(found):
        factor = (1 + math.cos(math.pi * epoch / 4)) / 2
        assert rate == pytest.approx(0.4 * factor, abs=1e-9)
        assert gamma == pytest.approx(0.1 * factor, abs=1e-9)
    assert found[2][0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.1, [1, 1, 0.1, 0.1, 0.01, 0.01]), ((0.5, 0.2), [1, 1, 0.5, 0.5, 0.1, 0.1])]
)
def test_steps_come_at_the_milestones(factor: Any, expected: list[float]) -> None:
    found = rates_by_epoch(3, epochs=5, schedule="steps", milestones=(2, 4), factor=factor)
    assert [rate / 0.4 for rate, _ in found] == pytest.approx(expected)
    assert [gamma / 0.1 for _, gamma in found] == pytest.approx(expected)


def test_one_cycle_rises_for_three_tenths_and_ends_near_zero() -> None:
    found = rates_by_epoch(10, epochs=10, schedule="one_cycle")[:-1]
    assert found[0] == (pytest.approx(0.4 / 25), pytest.approx(0.1 / 25))
    assert max(found) == found[3] == (pytest.approx(0.4, rel=1e-2), pytest.approx(0.1, rel=1e-2))
    assert found[9][0] < 0.05


def momenta(optimizer: str, steps: int, **settings: Any) -> list[float]:
    """SGD's momentum, or the first beta, at every step of one epoch of one_cycle."""
    network = build(NetworkConfig(channels=(), hidden=(3,), steps=1), Input((1, 2, 2)), 2)
    config = TrainConfig(optimizer=optimizer, schedule="one_cycle", epochs=1, **settings)  # type: ignore[arg-type]
    made = make_optimizer(network, config)
    schedule = make_schedule(made, config, steps)
    found = []
    for _ in range(steps):
        group = made.param_groups[0]
        found.append(group["momentum"] if optimizer == "sgd" else group["betas"][0])
        made.step()
        schedule.step()
    return found


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_one_cycle_leaves_the_momentum_of_sgd_as_it_was_asked_for(momentum: float) -> None:
    assert momenta("sgd", 10, momentum=momentum) == [momentum] * 10


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_one_cycle_moves_the_first_beta_against_the_rate(optimizer: str) -> None:
    found = momenta(optimizer, 10)
    up, down = [(1 + math.cos(math.pi * n / 2)) / 2 for n in range(3)], range(1, 8)
    wanted = [0.85 + 0.1 * share for share in up] + [0.95 - 0.1 * (1 + math.cos(math.pi * n / 7)) / 2 for n in down]
    assert found == pytest.approx(wanted)


def test_a_training_of_one_step_has_its_learning_rate() -> None:
    assert rates_by_epoch(1, epochs=1, schedule="one_cycle")[0] == (0.4, 0.1)
    assert rates_by_epoch(2, epochs=1, schedule="one_cycle")[0][0] > 0.3  # OneCycleLR's own
