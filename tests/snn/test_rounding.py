"""When quantisation in the loop chooses what: once an epoch, where weights outgrow it, and the same after a break."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy import hw_models
from neurodeploy.config import NetworkConfig, NoiseConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.simulate import reference
from neurodeploy.snn import rounding
from neurodeploy.snn.chip_noise import ChipNoise, make_perturbation
from neurodeploy.snn.fake_quant import FakeQuant, choose_scales
from neurodeploy.snn.networks import build
from neurodeploy.snn.rounding import freeze_norms, keep_scales, kept_scales, settle_norms
from neurodeploy.snn.spiking_network import SpikingNetwork

IMAGE = Input((1, 6, 6), 1 / 15, 4)
INPUTS = np.random.default_rng(0).integers(0, 16, (40, *IMAGE.shape))
QUANTIZE = NoiseConfig(quantize="loihi2")


def network(**options: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(**{"channels": (3,), "hidden": (6,), "steps": 3, "threshold": 0.3, "decay": 0.7} | options)
    return build(config, IMAGE, 4).train()


def fake(net: SpikingNetwork, epoch: int, index: int, inputs: Any = INPUTS) -> FakeQuant:
    made = make_perturbation(QUANTIZE, net, 0, epoch, index, inputs)
    assert isinstance(made, FakeQuant)
    return made


def shake(net: SpikingNetwork, seed: int = 0, size: float = 0.02) -> None:
    """A step of some optimiser."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in net.parameters():
            part.add_(size * torch.randn(part.shape, generator=generator))


def norms(net: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [part for part in net.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]


def test_settled_statistics_are_those_of_the_inputs() -> None:
    net = network()
    settle_norms(net, INPUTS)
    conv, first = net.layers["conv1"], norms(net)[0]
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        current = conv(torch.from_numpy(INPUTS).float() / 15)
    assert first.running_mean is not None
    assert first.running_var is not None
    torch.testing.assert_close(first.running_mean, current.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(first.running_var, current.transpose(0, 1).flatten(1).var(dim=1))
    assert all(part.training for part in net.modules())  # as it was
    assert [norm.momentum for norm in norms(net)] == [0.1, 0.1]


def test_settling_leaves_modes_weights_and_the_generator_alone() -> None:
    net = network(dropout=0.3)
    net.layers["conv1"].eval()
    modes = [part.training for part in net.modules()]
    weights = [part.clone() for part in net.parameters()]
    state = torch.get_rng_state()
    settle_norms(net, INPUTS)  # dropout is off, or the generator would move
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in net.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
    assert all(part.grad is None for part in net.parameters())
    before = copy.deepcopy(net.state_dict())
    settle_norms(net, INPUTS)
    for name, part in net.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(part, before[name], rtol=0, atol=0)


def test_frozen_norms_use_running_statistics_until_the_network_trains_again() -> None:
    net = network()
    freeze_norms(net)
    assert [norm.training for norm in norms(net)] == [False, False]
    assert net.training
    assert net.layers["conv1"].training
    before = copy.deepcopy(net.state_dict())
    net(torch.from_numpy(INPUTS).float() / 15)
    assert all(torch.equal(part, before[name]) for name, part in net.state_dict().items())
    net.train()
    assert all(norm.training for norm in norms(net))


def test_scales_are_chosen_once_an_epoch_and_codes_at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    calls: list[int] = []

    def counted(*arguments: Any) -> Any:
        calls.append(len(arguments[2]))
        return choose_scales(*arguments)

    monkeypatch.setattr(rounding, "choose_scales", counted)
    first = fake(net, 0, 0)
    assert not any(norm.training for norm in norms(net))
    statistics = [norm.running_mean.clone() for norm in norms(net) if norm.running_mean is not None]
    shake(net)
    net.train()
    second = fake(net, 0, 1)
    assert not any(norm.training for norm in norms(net))
    kept = [norm.running_mean for norm in norms(net)]
    assert all(b is not None and torch.equal(a, b) for a, b in zip(statistics, kept, strict=True))
    assert len(calls) == 1
    one, other = (part.program.layers[0] for part in (first, second))
    assert int(one.neurons.threshold) == int(other.neurons.threshold)
    assert not np.array_equal(one.synapses[0].weight, other.synapses[0].weight)
    net.train()
    fake(net, 1, 0)
    assert len(calls) == 2
    kept = [norm.running_mean for norm in norms(net)]
    assert not any(b is not None and torch.equal(a, b) for a, b in zip(statistics, kept, strict=True))
    fake(net, 2, 5)  # a device that does not see batch 0, or a break
    assert len(calls) == 3
    fake(net, 2, 6)
    assert len(calls) == 3
    fake(net, 2, 0)  # training that starts anew with the same network
    assert len(calls) == 4
    make_perturbation(NoiseConfig(quantize="mixed-signal"), net, 0, 2, 7, INPUTS)
    assert calls == [32] * 5


def test_another_network_has_its_own() -> None:
    one, other = network(), network(threshold=0.6)
    fake(one, 0, 0)
    assert kept_scales(other) is None
    fake(other, 0, 0)
    assert kept_scales(one) != kept_scales(other)


def test_weights_that_outgrow_their_scale_get_another() -> None:
    net = network()
    fake(net, 0, 0)
    before = kept_scales(net)
    assert before is not None
    with torch.no_grad():
        net.layers["linear3"].bias[0] = 1e4  # type: ignore[index, operator]
    fake(net, 0, 1)
    after = kept_scales(net)
    assert after is not None
    assert after["fixed"]["readout"] > 10 * before["fixed"]["readout"]
    fake(net, 0, 2)
    assert kept_scales(net) == after


def test_going_on_within_an_epoch_with_the_kept_scales_is_the_same_to_the_bit() -> None:
    net = network()
    fake(net, 0, 0)
    shake(net)
    kept, state = kept_scales(net), copy.deepcopy(net.state_dict())
    assert kept is not None
    shake(net, 1)
    on = fake(net, 0, 2)
    resumed = network()
    resumed.load_state_dict(state)
    keep_scales(resumed, copy.deepcopy(kept))
    shake(resumed, 1)
    again = fake(resumed, 0, 2)
    for name in ("conv1", "linear2", "linear3"):
        weights = [part.weight(name, net.layers[name].weight) for part in (on, again)]  # type: ignore[arg-type]
        assert torch.equal(*weights)
    keep_scales(resumed, None)
    assert kept_scales(resumed) is None
    assert all(isinstance(value, int | str | dict) for value in kept.values())


def test_without_calibration_inputs_statistics_stay_and_the_largest_weights_fit() -> None:
    net = network()
    before = [norm.running_mean.clone() for norm in norms(net) if norm.running_mean is not None]
    made = fake(net, 0, 0, None)
    after = [norm.running_mean for norm in norms(net)]
    assert all(b is not None and torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert made.program.layers[0].scale == choose_scales(net, hw_models.chip("loihi2")).of(_traced(net))["lif1"]


def _traced(net: SpikingNetwork) -> Any:
    from neurodeploy.snn.trace import trace

    return trace(net)


def test_inputs_with_time_are_cut_by_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    moving = np.random.default_rng(1).integers(0, 16, (3, 40, *IMAGE.shape))
    seen: list[Any] = []

    def watched(*arguments: Any) -> Any:
        seen.append(arguments[2])
        return choose_scales(*arguments)

    monkeypatch.setattr(rounding, "choose_scales", watched)
    fake(network(), 0, 0, moving)
    assert np.array_equal(seen[0], moving[:, :32])


def test_rounding_and_noise_come_in_that_order() -> None:
    net = network()
    config = NoiseConfig(quantize="loihi2", weight_mismatch=0.1)
    both = make_perturbation(config, net, 1, 2, 3, INPUTS)
    assert both is not None
    weight = net.layers["conv1"].weight
    assert isinstance(weight, torch.Tensor)
    noise = ChipNoise(weight_mismatch=0.1, name=(1, 2, 3))
    assert torch.equal(both.weight("conv1", weight), noise.weight("conv1", fake(net, 2, 4).weight("conv1", weight)))


def test_an_unknown_chip_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown chip 'loihi3'"):
        make_perturbation(NoiseConfig(quantize="loihi3"), network(), 0, 0, 0)


def test_training_with_all_noises_learns() -> None:
    """Codes, a new chip for every batch and the worst case around it: the loss falls all the same."""
    from torch.nn.functional import cross_entropy

    from neurodeploy.snn.adversarial import adversarial_weights
    from neurodeploy.snn.perturb import combine
    from neurodeploy.snn.spiking_network import Perturbation

    net = network()
    values = torch.from_numpy(INPUTS).float() / 15
    labels = torch.from_numpy((INPUTS[:, 0, :3].sum(axis=(1, 2)) > INPUTS[:, 0, 3:].sum(axis=(1, 2))).astype(np.int64))
    config = NoiseConfig(quantize="loihi2", mismatch=0.1, weight_mismatch=0.05, thermal=0.05, adversarial=0.02)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    losses = []
    for epoch in range(3):
        net.train()
        for index in range(12):
            noise = make_perturbation(config, net, 0, epoch, index, INPUTS)

            def loss(extra: Perturbation | None, noise: Perturbation | None = noise) -> torch.Tensor:
                return cross_entropy(net(values, perturbation=combine(noise, extra)).logits, labels)

            value = loss(adversarial_weights(net, loss, config.adversarial, config.adversarial_steps))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            net.keep_positive()
            losses.append(float(value.detach()))
    assert np.mean(losses[-6:]) < 0.7 * np.mean(losses[:6])
    rates = net(values, perturbation=fake(net, 9, 0)).rates.values()
    assert all(0.02 < float(rate.mean()) < 0.98 for rate in rates)


@pytest.mark.parametrize("off", [1e-7, -1e-7])
def test_equal_sums_of_voltages_are_the_first_class_as_on_the_chip(off: float) -> None:
    net = network()
    rounded = fake(net, 0, 0)
    unit = rounded.program.layers[-1].scale / 64
    sums = torch.tensor([[5760, 320, 5760], [5760, 5761, 320], [5761, 5760, 320]], dtype=torch.float64)
    voltages = torch.stack([sums - 1000, torch.full_like(sums, 1400), torch.full_like(sums, -400)])
    assert rounded.decided(voltages * unit + torch.tensor([0, 0, off])).tolist() == [0, 1, 0]
    with torch.no_grad():
        output = net.eval()(torch.from_numpy(INPUTS).float() / 15, perturbation=rounded)
    expected = reference.run(rounded.program, INPUTS)
    means = unit / rounded.program.steps
    np.testing.assert_array_equal(torch.round(output.logits.double() / means).numpy(), expected.readout)
    np.testing.assert_array_equal(rounded.decided(output.per_step).numpy(), expected.decisions)
    assert len(set(expected.decisions)) > 1


def test_sums_of_many_steps_are_those_of_the_chip() -> None:
    """Each readout against the chip's own sum, as the class before it and the class behind it: equal both times."""
    net = network(steps=25, decay=0.95)
    rounded = fake(net, 0, 0)
    with torch.no_grad():
        output = net.eval()(torch.from_numpy(INPUTS).float() / 15, perturbation=rounded)
    unit, sums = rounded.program.layers[-1].scale / 64, reference.run(rounded.program, INPUTS).readout
    means = torch.round(output.logits.double() * 25 / unit).numpy()
    assert (means != sums).any()  # which single precision keeps no count of
    here, there = output.per_step.double().flatten(1), torch.zeros(25, sums.size, dtype=torch.float64)
    there[0] = torch.from_numpy(sums.astype(np.float64)).flatten() * unit
    assert not rounded.decided(torch.stack([here, there], dim=2)).any()
    assert not rounded.decided(torch.stack([there, here], dim=2)).any()
    there[0] += unit
    assert rounded.decided(torch.stack([here, there], dim=2)).all()


@pytest.mark.parametrize(("chip", "readout"), [("mixed-signal", "membrane"), ("loihi2", "spike_count")])
def test_other_readouts_are_decided_as_they_are(chip: str, readout: str) -> None:
    net = network(readout=readout)
    rounded = FakeQuant(net.eval(), choose_scales(net, hw_models.chip(chip), INPUTS))
    means = torch.tensor([[0.1, 0.1 + 1e-7, 0.0], [0.5, 0.5, 0.75]])
    for per_step in (means[None], torch.stack([means - 0.25, means + 0.25])):
        assert rounded.decided(per_step).tolist() == [1, 2]
