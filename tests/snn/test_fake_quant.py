"""Quantisation in the loop: codes and spikes are the Program's, gradients pass straight through."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from neurodeploy import hw_models
from neurodeploy.config import NetworkConfig
from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.ir.nodes import LIF, Input
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.snn.chip_noise import ChipNoise
from neurodeploy.snn.fake_quant import FakeQuant, choose_scales
from neurodeploy.snn.layers import FeatureLateral
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons
from neurodeploy.snn.perturb import combine
from neurodeploy.snn.rounding import settle_norms
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential
from neurodeploy.snn.trace import trace

IMAGE = Input((2, 8, 8), 1 / 15, 4)
SMALL = {"channels": (4,), "hidden": (8,), "steps": 5, "decay": 0.7, "threshold": 0.4}
KINDS: dict[str, dict[str, Any]] = {
    "convnet": {"channels": (5, 6), "readout_decay": 0.9},
    "no norm": {"norm": "none", "readout_decay": 0.8, "threshold": 0.15},
    "tdBN": {"norm": "threshold"},
    "spike count": {"readout": "spike_count"},
    "sum pool": {"pool": "sum", "threshold": 0.9},
    "mlp": {"kind": "mlp", "hidden": (16, 12)},
    "recurrent": {"kind": "mlp", "hidden": (16, 12), "recurrent": True, "decay": 0.9},
    "channel lateral": {"lateral": "channel"},
    "feature lateral": {"lateral": "feature"},
    "residual sum": {"kind": "resnet19", "width": 0.04, "steps": 3},
    "residual sew": {"kind": "resnet19", "width": 0.04, "steps": 3, "residual": "sew"},
    "forgets": {"decay": 1e-5},
    "keeps": {"decay": 1.0, "threshold": 0.9, "readout_decay": 0.9999},  # 4095.6 / 4096 is stored as 1
}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[SpikingNetwork, NDArray[Any]]:
    """A network with settled norms, in evaluation mode, and integer inputs for it."""
    torch.manual_seed(1)
    options = SMALL | KINDS[name]
    for unused in [n for n in ("channels",) if options.get("kind") in ("mlp", "resnet19")]:
        options = {key: value for key, value in options.items() if key != unused}
    network = build(NetworkConfig(**options), IMAGE, 5)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            size = float(part.weight.detach().mean())
            nn.init.normal_(part.weight, size, 0.3 * size)
            nn.init.normal_(part.bias, 0.1, 0.1)
    inputs = np.random.default_rng(0).integers(0, 16, (4, *IMAGE.shape))
    settle_norms(network, inputs)
    return network.eval().to(dtype), inputs


def codes(network: SpikingNetwork, fake: FakeQuant, program: Program, name: str, norm: str | None) -> NDArray[Any]:
    """The integers behind the weights that the forward pass uses: folded by hand, per weight unit."""
    module = network.layers[name]
    assert isinstance(module, nn.Conv2d | nn.Linear)
    weight = fake.weight(name, module.weight).detach().double().numpy()
    if norm is not None:
        part = network.layers[norm]
        assert isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
        assert part.running_var is not None
        gain = part.weight.detach().double() / torch.sqrt(part.running_var.double() + part.eps)
        weight = weight * gain.numpy().reshape(-1, *[1] * (weight.ndim - 1))
    layer = next(part for part in program.layers if any(one.name == name for one in part.synapses))
    synapses = next(one for one in layer.synapses if one.name == name)
    scale = IMAGE.scale if synapses.source == "input" else 1.0
    return weight * scale / layer.scale / synapses.pool**2


@pytest.mark.parametrize("chip_name", ["loihi2", "mixed-signal"])
def test_the_codes_are_the_programs(chip_name: str) -> None:
    network, inputs = made("convnet")
    chip = hw_models.chip(chip_name)
    scales = choose_scales(network, chip, inputs)
    fake = FakeQuant(network, scales)
    program = quantize(trace(network), chip, inputs)  # what export stores
    synapses = {one.name: one for layer in program.layers for one in layer.synapses}
    pairs = [("conv1", "norm1"), ("conv2", "norm2"), ("linear3", "norm3"), ("linear4", None)]
    assert set(synapses) == {name for name, _ in pairs}
    for name, norm in pairs:
        found = codes(network, fake, program, name, norm)
        np.testing.assert_allclose(found, np.rint(found), atol=1e-9)
        assert np.array_equal(np.rint(found).astype(int), synapses[name].weight), name
        assert len(np.unique(synapses[name].weight)) > 10
        own = network.layers[name].weight
        assert not torch.equal(fake.weight(name, own), own)  # type: ignore[arg-type]
    for one, other in zip(fake.program.layers, program.layers, strict=True):
        assert one.scale == other.scale
        assert np.array_equal(one.neurons.threshold, other.neurons.threshold)
        assert np.array_equal(one.neurons.bias, other.neurons.bias)


@pytest.mark.parametrize("chip_name", ["loihi2", "mixed-signal"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_the_module_fires_as_the_program_does(name: str, chip_name: str, dtype: torch.dtype) -> None:
    network, inputs = made(name, dtype)
    chip = hw_models.chip(chip_name)
    fake = FakeQuant(network, choose_scales(network, chip, inputs[:2]))
    expected = reference.run(fake.program, inputs)
    values = torch.from_numpy(inputs).to(dtype) * IMAGE.scale
    with torch.no_grad():
        output = network(values, record=True, perturbation=fake)
        plain = network(values, record=True)
    assert set(output.spikes) == set(expected.spikes)
    different = 0
    for layer, spikes in expected.spikes.items():
        assert 0.05 < spikes.mean() < 0.95, layer
        np.testing.assert_array_equal(output.spikes[layer].numpy(), spikes, err_msg=layer)
        different += int((plain.spikes[layer].numpy() != spikes).sum())
    if chip.fixed_point:
        assert different > 0  # rounding does change spikes here: the equality says something
    last = fake.program.layers[-1]
    if not last.fires:
        unit = last.scale / 64 if chip.fixed_point else 1.0
        tolerance = 1e-12 if dtype == torch.float64 else 1e-4
        np.testing.assert_allclose(output.per_step.sum(dim=0).numpy(), expected.readout * unit, atol=tolerance)
    if chip.fixed_point and dtype == torch.float64:  # potentials, before reset, are the chip's voltages
        first = fake.program.layers[0]
        silent = expected.spikes[first.name] == 0
        voltages = output.potentials[first.name].numpy() * 64 / first.scale
        np.testing.assert_allclose(voltages[silent], expected.potentials[first.name][silent], atol=1e-6)


def test_inputs_that_change_over_time() -> None:
    network, _ = made("convnet")
    inputs = np.random.default_rng(2).integers(0, 16, (5, 3, *IMAGE.shape))
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2"), inputs))
    assert_fires_alike(network, fake, inputs)


def test_a_kept_scale_follows_a_threshold_that_is_learned_and_clips_weights() -> None:
    network, inputs = made("convnet")
    chip = hw_models.chip("loihi2")
    scales = choose_scales(network, chip, inputs)
    with torch.no_grad():
        lif = network.layers["lif1"]
        assert isinstance(lif, LIFNeurons)
        lif.threshold_parameter.add_(0.1)
        conv = network.layers["conv1"]
        assert isinstance(conv, nn.Conv2d)
        conv.weight.mul_(3.0)
    fake = FakeQuant(network, scales)
    layer = fake.program.layers[0]
    assert int(layer.neurons.threshold) == scales.thresholds["lif1"]
    node = trace(network).nodes["lif1"]
    assert isinstance(node, LIF)
    assert layer.scale * scales.thresholds["lif1"] == pytest.approx(node.threshold, rel=1e-15)
    assert np.abs(layer.synapses[0].weight).max() == 127
    assert_fires_alike(network, fake, inputs)
    assert set(scales.thresholds) == {"lif1", "lif2", "lif3"}
    assert set(scales.fixed) == {"readout"}
    assert set(choose_scales(network, hw_models.chip("mixed-signal")).fixed) == {"lif1", "lif2", "lif3", "readout"}


def test_gradients_pass_straight_through() -> None:
    network, inputs = made("convnet")
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2"), inputs))
    weight = network.layers["conv1"].weight
    assert isinstance(weight, torch.Tensor)
    upstream = torch.randn(weight.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((fake.weight("conv1", weight) * upstream).sum(), weight)
    assert torch.equal(gradient, upstream)
    for hook in (fake.threshold, fake.decay):
        value = torch.tensor(0.37, dtype=torch.float64, requires_grad=True)
        rounded = hook("lif1", value, torch.Size((5, 8, 8)))
        assert float(rounded.detach()) != 0.37
        (gradient,) = torch.autograd.grad(3 * rounded, value)
        assert float(gradient) == 3.0
    current = torch.randn(1, 2, 5, 8, 8, dtype=torch.float64, requires_grad=True)
    given = fake.current("lif1", current, torch.tensor(0.4), 5)
    assert given.shape == (5, 2, 5, 8, 8)
    (gradient,) = torch.autograd.grad(given.sum(), current)
    assert torch.equal(gradient, torch.full_like(current, 5.0))
    current = torch.randn(5, 2, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(fake.readout("readout", current, 5).sum(), current)
    assert torch.equal(gradient, torch.ones_like(current))
    shortcut, inputs = made("residual sum")
    fake = FakeQuant(shortcut, choose_scales(shortcut, hw_models.chip("loihi2")))
    value = torch.ones(3, dtype=torch.float64, requires_grad=True)
    arriving = fake.arriving("block2_lif2", "block3_lif2", value)
    assert float(arriving.detach()[0]) != 1.0
    (gradient,) = torch.autograd.grad(arriving.sum(), value)
    assert torch.equal(gradient, torch.ones_like(value))
    through = torch.ones(3)
    assert fake.arriving("block3_norm2", "block3_lif2", through) is through  # has weights


def test_training_through_it_moves_every_parameter() -> None:
    network, inputs = made("convnet", torch.float32)
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2"), inputs))
    output = network(torch.from_numpy(inputs).float() * IMAGE.scale, perturbation=fake)
    output.logits.square().sum().backward()
    for name, part in network.named_parameters():
        if part.requires_grad:
            assert part.grad is not None, name
            assert 0 < float(part.grad.abs().sum()) < math.inf, name


def test_values_of_the_neurons_by_hand() -> None:
    network, inputs = made("convnet")
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2"), inputs))
    layer = fake.program.layers[0]
    none = torch.Size(())
    threshold = fake.threshold("lif1", torch.tensor(0.0, dtype=torch.float64), none)
    q = int(layer.neurons.threshold)
    assert float(threshold) == pytest.approx((64 * q + 0.5) * layer.scale / 64, rel=1e-15)
    assert abs(float(threshold) / 0.4 - 1) < 1 / (64 * q)
    assert float(fake.decay("lif1", torch.tensor(0.7, dtype=torch.float64), none)) == 2867 / 4096
    exact = FakeQuant(network, choose_scales(network, hw_models.chip("mixed-signal")))
    value, current = torch.tensor(0.37), torch.randn(1, 2, 5)
    assert exact.threshold("lif1", value, none) is value  # floating-point neurons are not rounded
    assert exact.decay("lif1", value, none) is value
    assert exact.current("lif1", current, value, 5) is current
    assert exact.readout("readout", current, 5) is current


def test_noise_comes_on_top_of_what_is_stored() -> None:
    network, inputs = made("convnet")
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2"), inputs))
    noise = ChipNoise(mismatch=0.2, weight_mismatch=0.1, thermal=0.1)
    both = combine(fake, noise)
    assert both is not None
    weight = network.layers["conv1"].weight
    assert isinstance(weight, torch.Tensor)
    assert torch.equal(both.weight("conv1", weight), noise.weight("conv1", fake.weight("conv1", weight)))
    values = torch.from_numpy(inputs).double() * IMAGE.scale
    noisy, exact = (network(values, record=True, perturbation=part) for part in (both, fake))
    noisy.logits.sum().backward()
    for name, spikes in noisy.spikes.items():
        assert 0.05 < float(spikes.detach().mean()) < 0.95
        assert not torch.equal(spikes, exact.spikes[name])


def test_a_channel_that_a_norm_switches_off() -> None:
    network, inputs = made("convnet")
    norm = network.layers["norm1"]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight[2] = 0.0
        norm.bias[2] = 0.6
        network.layers["conv2"].weight[1].zero_()
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2"), inputs))
    own = network.layers["conv1"].weight
    assert isinstance(own, torch.Tensor)
    assert torch.equal(fake.weight("conv1", own)[2], own[2])  # or the norm could not learn to switch it on again
    assert_fires_alike(network, fake, inputs)


def test_a_shortcut_through_a_pooling() -> None:
    torch.manual_seed(0)
    modules = {"conv": nn.Conv2d(2, 3, 3, padding=1), "a": LIFNeurons(4, threshold=0.2), "pool": nn.AvgPool2d(2)}
    modules |= {"branch": nn.Conv2d(3, 3, 3, padding=1), "b": LIFNeurons(4, threshold=0.37), "flat": nn.Flatten()}
    modules |= {"last": nn.Linear(48, 3), "readout": MembraneReadoutNeurons(4)}
    names = ["input conv", "conv a", "a pool", "pool branch", "branch b", "pool b", "b flat", "flat last"]
    edges = [(name.split()[0], name.split()[1]) for name in (*names, "last readout")]
    network = SpikingNetwork(IMAGE, 4, modules.items(), edges).eval().double()
    inputs = np.random.default_rng(0).integers(0, 16, (4, *IMAGE.shape))
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2"), inputs))
    layer = next(layer for layer in fake.program.layers if layer.name == "b")
    code = next(one.weight.max() for one in layer.synapses if one.name == "b")
    value = fake.arriving("pool", "b", torch.tensor(0.75, dtype=torch.float64))
    assert float(value) == pytest.approx(3 * code * layer.scale, rel=1e-12)  # three of four spikes
    assert_fires_alike(network, fake, inputs)


def assert_fires_alike(network: SpikingNetwork, fake: FakeQuant, inputs: NDArray[Any]) -> None:
    with torch.no_grad():
        output = network(torch.from_numpy(inputs).double() * IMAGE.scale, record=True, perturbation=fake)
    for name, spikes in reference.run(fake.program, inputs).spikes.items():
        assert 0.05 < spikes.mean() < 0.95, name
        np.testing.assert_array_equal(output.spikes[name].numpy(), spikes, err_msg=name)


def test_weights_that_would_be_rounded_in_two_ways_are_refused() -> None:
    torch.manual_seed(0)
    modules = {"fc": nn.Linear(6, 4), "a": LIFNeurons(3), "b": LIFNeurons(3, threshold=0.31)}
    modules |= {"last": nn.Linear(4, 2), "readout": MembraneReadoutNeurons(3)}
    edges = [("input", "fc"), ("fc", "a"), ("fc", "b"), ("a", "last"), ("b", "last"), ("last", "readout")]
    network = SpikingNetwork(Input((6,), 1 / 15, 4), 3, modules.items(), edges).eval()
    with pytest.raises(UsageError, match="module fc: its weights lead to several layers of neurons"):
        FakeQuant(network, choose_scales(network, hw_models.chip("loihi2")))


def test_what_no_chip_carries_is_refused() -> None:
    network = build(NetworkConfig(**SMALL, hidden_output="potential"), IMAGE, 5).eval()
    with pytest.raises(UsageError, match="module lif2"):
        choose_scales(network, hw_models.chip("loihi2"))
    network = build(NetworkConfig(**SMALL, reset="subtract"), IMAGE, 5).eval()
    with pytest.raises(DesignRuleError, match="reset 'subtract'"):
        choose_scales(network, hw_models.chip("loihi2"))
    FakeQuant(network, choose_scales(network, hw_models.chip("mixed-signal")))


def test_lateral_taps_are_undone_before_they_come() -> None:
    torch.manual_seed(0)
    lateral = FeatureLateral()
    parts = [("fc", nn.Linear(12, 7)), ("lateral", lateral), ("lif", LIFNeurons(4, threshold=0.3))]
    parts += [("last", nn.Linear(7, 3)), ("readout", MembraneReadoutNeurons(4))]
    network = sequential(Input((12,), 1 / 15, 4), 4, parts).eval().double()
    fake = FakeQuant(network, choose_scales(network, hw_models.chip("loihi2")))
    stored = fake.program.layers[0]
    weight = fake.weight("fc", network.layers["fc"].weight)  # type: ignore[arg-type]
    passed = lateral(weight.T).T.detach().numpy() * (1 / 15) / stored.scale
    np.testing.assert_allclose(passed, stored.synapses[0].weight, atol=1e-9)
