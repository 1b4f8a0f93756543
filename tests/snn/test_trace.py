"""Tracing: the Network computes what the module computes, spike for spike, or the module is refused by name."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy import hw_models
from neurodeploy.config import NetworkConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import LIF, Conv2d, Input, Linear, MembraneReadout
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential
from neurodeploy.snn.trace import trace

STEPS = 5
IMAGE = Input((2, 8, 8), scale=1 / 31, bits=5)


def lif(kind: Any = "arctangent", **settings: Any) -> LIFNeurons:
    return LIFNeurons(kind, STEPS, **settings)


def shuffle_statistics(module: nn.Module, seed: int) -> None:
    """Random running statistics and affine parameters, so that folding has something to fold."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.uniform_(-0.3, 0.3, generator=generator)
            part.running_var.uniform_(0.1, 0.6, generator=generator)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
                nn.init.uniform_(part.bias, 0.0, 0.5, generator=generator)


def residual() -> SpikingNetwork:
    """A static shortcut into a layer that a strided, grouped, dilated convolution feeds."""
    modules = {
        "stem": nn.Conv2d(2, 4, 3, padding=1),
        "stem_norm": nn.BatchNorm2d(4),
        "a": lif(decay=0.6),
        "conv": nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=2, bias=False),
        "conv_norm": nn.BatchNorm2d(4),
        "short": nn.Conv2d(2, 4, 1, stride=2),
        "b": lif(reset="subtract"),
        "pool": nn.AvgPool2d((2, 2)),
        "flat": nn.Flatten(),
        "head": nn.Linear(16, 3),
        "readout": MembraneReadoutNeurons(STEPS, 0.9),
    }
    names = "input stem,stem stem_norm,stem_norm a,a conv,conv conv_norm,conv_norm b,input short,short b"
    edges = [tuple(edge.split()) for edge in f"{names},b pool,pool flat,flat head,head readout".split(",")]
    return SpikingNetwork(IMAGE, STEPS, modules.items(), edges)  # type: ignore[arg-type]


MODULES = {
    "membrane": lambda: build(NetworkConfig(channels=(4, 6), hidden=12, steps=STEPS), IMAGE, 3),
    "leaky membrane, subtract": lambda: build(
        NetworkConfig(channels=(4,), hidden=12, steps=STEPS, reset="subtract", readout_decay=0.8, decay=0.9), IMAGE, 3
    ),
    "spike count": lambda: build(
        NetworkConfig(channels=(4,), hidden=12, steps=STEPS, readout="spike_count", threshold=0.2), IMAGE, 3
    ),
    "residual": residual,
}


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_the_network_computes_what_the_module_computes(name: str, static: bool) -> None:
    torch.manual_seed(11)
    module = MODULES[name]()
    shuffle_statistics(module, 5)
    network = trace(module)
    double = copy.deepcopy(module).double().eval()
    shape = (6, *IMAGE.shape) if static else (STEPS, 6, *IMAGE.shape)
    integers = np.random.default_rng(2).integers(0, 32, shape)
    with torch.no_grad():
        output = double(torch.from_numpy(integers).double() * IMAGE.scale)
    recording = reference.run(quantize(network, hw_models.chip("ideal")), integers)
    assert set(recording.spikes) == set(output.spikes)
    for layer, spikes in output.spikes.items():
        assert 0.05 < float(spikes.mean()) < 0.95, layer
        np.testing.assert_array_equal(recording.spikes[layer], spikes.numpy(), err_msg=layer)
    np.testing.assert_allclose(recording.readout / STEPS, output.logits.numpy(), rtol=0, atol=1e-6)
    assert float(output.logits.std()) > 0.01


def test_tracing_leaves_the_module_as_it_was() -> None:
    module = MODULES["membrane"]().train()
    before = {name: part.clone() for name, part in module.state_dict().items()}
    trace(module)
    assert module.training
    assert all(torch.equal(part, before[name]) for name, part in module.state_dict().items())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_is_folded_by_value(affine: bool, bias: bool) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 3, 3, bias=bias), nn.BatchNorm2d(3, eps=0.01, affine=affine)
    modules = [("conv", conv), ("norm", norm), ("lif", lif()), ("flat", nn.Flatten())]
    module = sequential(IMAGE, STEPS, [*modules, ("readout", MembraneReadoutNeurons(STEPS))])
    shuffle_statistics(module, 1)
    network = trace(module)
    node = network.nodes["conv"]
    assert isinstance(node, Conv2d)
    assert "norm" not in network.nodes
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    gain = (norm.weight.detach().double().numpy() if affine else 1) / np.sqrt(variance + 0.01)
    shift = norm.bias.detach().double().numpy() if affine else 0
    start = conv.bias.detach().double().numpy() if conv.bias is not None else 0
    weight = conv.weight.detach().double().numpy()
    np.testing.assert_allclose(node.weight, weight * gain[:, None, None, None], rtol=1e-14)
    np.testing.assert_allclose(node.bias, (start - mean) * gain + shift, rtol=1e-12, atol=1e-14)


def test_two_batch_norms_in_a_row_are_both_folded() -> None:
    torch.manual_seed(1)
    parts = [("fc", nn.Linear(4, 3)), ("one", nn.BatchNorm1d(3)), ("two", nn.BatchNorm1d(3))]
    module = sequential(Input((4,)), STEPS, [*parts, ("readout", MembraneReadoutNeurons(STEPS))]).double().eval()
    shuffle_statistics(module, 2)
    node = trace(module).nodes["fc"]
    assert isinstance(node, Linear)
    x = torch.randn(5, 4, dtype=torch.float64)
    expected = nn.Sequential(*(part for _, part in parts))(x).detach().numpy()
    np.testing.assert_allclose(x.numpy() @ node.weight.T + node.bias, expected, rtol=1e-12)


def test_neurons_keep_decay_threshold_and_reset() -> None:
    neurons = lif("softplus", decay=0.8, threshold=0.3, reset="subtract")
    parts = [("lif", neurons), ("readout", MembraneReadoutNeurons(STEPS, 0.75))]
    network = trace(sequential(Input((4,)), STEPS, parts))
    node, readout = network.nodes["lif"], network.nodes["readout"]
    assert isinstance(node, LIF)
    assert isinstance(readout, MembraneReadout)
    assert (node.decay, node.reset, node.fires_at_threshold) == (0.8, "subtract", False)
    assert node.threshold == float(neurons.threshold.detach())
    assert (readout.decay, network.steps, network.readout) == (0.75, STEPS, "readout")


def chain(*parts: tuple[str, nn.Module], shape: tuple[int, ...] = IMAGE.shape) -> SpikingNetwork:
    end = [("flat", nn.Flatten()), ("readout", MembraneReadoutNeurons(STEPS))]
    return sequential(Input(shape), STEPS, [*parts, *end])


@pytest.mark.parametrize(
    ("part", "match"),
    [
        (nn.MaxPool2d(2), "max pooling has no counterpart .* use AvgPool2d"),
        (nn.GELU(), "GELU cannot be traced"),
        (nn.Conv2d(2, 2, 3, padding="same"), "padding 'same', mode 'zeros': only numbers of zeros"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "mode 'circular': only numbers of zeros"),
        (nn.AvgPool2d(2, stride=1), "average pooling must be square, without overlap and without padding"),
        (nn.AvgPool2d((2, 1)), "average pooling must be square"),
        (nn.AvgPool2d(2, stride=(2, 1)), "average pooling must be square"),
        (nn.AvgPool2d(2, padding=1), "average pooling must be square"),
        (nn.AvgPool2d(2, divisor_override=1), "divisor_override 1: an average divides by 4"),
        (nn.Flatten(2), "flattening of dimensions 2 to -1: only 1 to -1"),
        (nn.BatchNorm2d(2), "a batch norm must follow one convolution or linear layer"),
    ],
)
def test_what_a_network_cannot_express_is_refused_by_name(part: nn.Module, match: str) -> None:
    with pytest.raises(UsageError, match=f"module odd: .*{match}"):
        trace(chain(("odd", part)))


def test_a_batch_norm_without_statistics_is_refused() -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    with pytest.raises(UsageError, match="module norm: a batch norm without running statistics"):
        trace(chain(("conv", nn.Conv2d(2, 3, 1)), ("norm", norm)))


@pytest.mark.parametrize(
    "edges",
    [
        "conv norm,conv other,norm lif,other lif",  # the convolution is read by two norms
        "conv norm,norm other,norm lif,other lif",  # the first norm is read by a second one and by lif
        "conv norm,norm other,conv lif,other lif",  # the convolution is read by a norm and by lif
        "conv other,input conv2,conv2 other,other lif",  # a norm of a sum
        "conv other,conv other,other lif",  # a norm of twice the same
        "conv lif,lif other,other flat",  # a norm of spikes
    ],
)
def test_a_batch_norm_behind_something_that_others_read_is_refused(edges: str) -> None:
    parts = {"conv": nn.Conv2d(2, 2, 1), "conv2": nn.Conv2d(2, 2, 1), "lif": lif(), "norm": nn.BatchNorm2d(2)}
    parts |= {"other": nn.BatchNorm2d(2), "flat": nn.Flatten(), "readout": MembraneReadoutNeurons(STEPS)}
    if "lif other" not in edges:
        parts["lif"] = parts.pop("lif")
        edges += ",lif flat"
        parts |= {name: parts.pop(name) for name in ("flat", "readout")}
    pairs = [tuple(edge.split()) for edge in f"input conv,{edges},flat readout".split(",")]
    kept = [(name, part) for name, part in parts.items() if any(name in pair for pair in pairs)]
    with pytest.raises(UsageError, match=r"module (norm|other): a batch norm must follow one .* nothing else reads"):
        trace(SpikingNetwork(IMAGE, STEPS, kept, pairs))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_with_module_and_index(value: float) -> None:
    conv = nn.Conv2d(2, 3, 3)
    with torch.no_grad():
        conv.weight[2, 1, 0, 2] = value
    with pytest.raises(UsageError, match=rf"module conv: weight\[2, 1, 0, 2\] is {value} \(1 such values\)"):
        trace(chain(("conv", conv)))


def test_a_batch_norm_that_makes_weights_not_finite_is_named() -> None:
    norm = nn.BatchNorm2d(3)
    assert norm.running_var is not None
    norm.running_var[1] = float("nan")
    with pytest.raises(UsageError, match=r"module norm: weight\[1, 0, 0, 0\] is nan"):
        trace(chain(("conv", nn.Conv2d(2, 3, 1)), ("norm", norm)))


@pytest.mark.parametrize("value", [0.0, -0.5, float("nan")])
def test_a_threshold_that_is_not_positive_is_named_with_its_value(value: float) -> None:
    neurons = lif()
    with torch.no_grad():
        neurons.threshold_parameter.fill_(value)
    shown = float(torch.tanh(torch.tensor(value)))
    with pytest.raises(UsageError, match=f"module hidden: threshold {shown}: must be finite and positive"):
        trace(chain(("hidden", neurons)))


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(UsageError, match=r"node fc: input shape .* \(is a Flatten missing"):
        trace(chain(("fc", nn.Linear(8, 3))))


def test_a_count_readout_of_a_linear_layer_is_refused() -> None:
    parts = [("fc", nn.Linear(4, 3)), ("readout", SpikeCountReadoutNeurons())]
    with pytest.raises(UsageError, match="node readout: a spike-count readout reads exactly one LIF node"):
        trace(sequential(Input((4,)), STEPS, parts))
