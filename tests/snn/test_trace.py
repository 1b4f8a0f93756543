"""Tracing part by part: what is folded, by value, and what is refused, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy.config import NetworkConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.network import Edge
from neurodeploy.ir.nodes import LIF, AvgPool2d, Conv2d, Input, Linear, MembraneReadout, SumPool2d
from neurodeploy.snn.graded import GradedLIFNeurons
from neurodeploy.snn.layers import FeatureLateral, ModerateDropout
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential
from neurodeploy.snn.surrogate import Surrogate
from neurodeploy.snn.trace import trace

STEPS = 5
IMAGE = Input((2, 8, 8), scale=1 / 31, bits=5)


def lif(**settings: Any) -> LIFNeurons:
    return LIFNeurons(STEPS, **settings)


def configured(**settings: Any) -> SpikingNetwork:
    return build(NetworkConfig(steps=STEPS, **settings), IMAGE, 3)


def test_tracing_leaves_the_module_as_it_was() -> None:
    module = configured(channels=(4, 6), hidden=(12,)).train()
    before = {name: part.clone() for name, part in module.state_dict().items()}
    trace(module)
    assert module.training
    assert all(torch.equal(part, before[name]) for name, part in module.state_dict().items())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_is_folded_by_value(affine: bool, bias: bool, shuffle_statistics: Any) -> None:
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


def test_two_batch_norms_in_a_row_are_both_folded(shuffle_statistics: Any) -> None:
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
    neurons = lif(surrogate=Surrogate("softplus"), decay=0.8, threshold=0.3, reset="subtract")
    parts = [("lif", neurons), ("readout", MembraneReadoutNeurons(STEPS, 0.75))]
    network = trace(sequential(Input((4,)), STEPS, parts))
    node, readout = network.nodes["lif"], network.nodes["readout"]
    assert isinstance(node, LIF)
    assert isinstance(readout, MembraneReadout)
    assert (node.decay, node.reset, node.fires_at_threshold) == (0.8, "subtract", False)
    assert node.threshold == float(neurons.threshold.detach())
    assert (readout.decay, network.steps, network.readout) == (0.75, STEPS, "readout")


@pytest.mark.parametrize(
    "layer", [nn.Linear(4, 4, bias=False), nn.Linear(4, 4), nn.Conv2d(2, 2, 5, padding=2, groups=2, bias=False)]
)
def test_recurrent_weights_become_a_node_with_a_delay(layer: nn.Linear | nn.Conv2d) -> None:
    neurons = RecurrentLIFNeurons(layer, STEPS, decay=0.8)
    shape = (4,) if isinstance(layer, nn.Linear) else (2, 3, 3)
    flat = [] if isinstance(layer, nn.Linear) else [("flat", nn.Flatten())]
    network = trace(
        sequential(Input(shape), STEPS, [("a", neurons), *flat, ("readout", MembraneReadoutNeurons(STEPS))])
    )
    assert Edge("a", "a.recurrent") in network.edges
    assert Edge("a.recurrent", "a", 1) in network.edges
    node = network.nodes["a.recurrent"]
    assert isinstance(node, Linear | Conv2d)
    np.testing.assert_array_equal(node.weight, layer.weight.detach().double().numpy())
    bias = 0 if layer.bias is None else layer.bias.detach().double().numpy()
    np.testing.assert_array_equal(node.bias, np.zeros(len(node.bias)) + bias)
    assert not isinstance(node, Conv2d) or (node.padding, node.groups) == ((2, 2), 2)


@pytest.mark.parametrize(("divisor", "kind"), [(None, AvgPool2d), (4, AvgPool2d), (1, SumPool2d)])
def test_pools_that_divide_are_averages_and_others_sums(divisor: int | None, kind: type) -> None:
    network = trace(chain(("pool", nn.AvgPool2d(2, divisor_override=divisor))))
    assert type(network.nodes["pool"]) is kind


def test_lateral_taps_are_folded_by_value(shuffle_statistics: Any) -> None:
    torch.manual_seed(0)
    parts = [("fc", nn.Linear(4, 6)), ("norm", nn.BatchNorm1d(6)), ("lateral", FeatureLateral()), ("lif", lif())]
    module = sequential(Input((4,)), STEPS, [*parts, ("readout", MembraneReadoutNeurons(STEPS))]).double().eval()
    shuffle_statistics(module, 2)
    network = trace(module)
    assert set(network.nodes) == {"input", "fc", "lif", "readout"}
    node = network.nodes["fc"]
    assert isinstance(node, Linear)
    x = torch.randn(5, 4, dtype=torch.float64)
    expected = nn.Sequential(*(part for _, part in parts[:3]))(x).detach().numpy()
    np.testing.assert_allclose(x.numpy() @ node.weight.T + node.bias, expected, rtol=1e-12)


def test_lateral_taps_behind_something_that_others_read_are_refused() -> None:
    modules = {"fc": nn.Linear(4, 3), "lateral": FeatureLateral(), "a": lif(), "out": MembraneReadoutNeurons(STEPS)}
    edges = [("input", "fc"), ("fc", "lateral"), ("lateral", "a"), ("fc", "a"), ("a", "out")]
    with pytest.raises(UsageError, match=r"module lateral: lateral taps .* that nothing else reads"):
        trace(SpikingNetwork(Input((4,)), STEPS, modules.items(), edges))


def test_dropout_is_left_out_and_needs_one_source() -> None:
    drop = ("drop", ModerateDropout(0.5))
    network = trace(sequential(Input((4,)), STEPS, [("a", lif()), drop, ("out", MembraneReadoutNeurons(STEPS))]))
    assert network.edges == (Edge("input", "a"), Edge("a", "out"))
    modules = {"a": lif(), "b": lif(), "drop": drop[1], "out": MembraneReadoutNeurons(STEPS)}
    edges = [("input", "a"), ("input", "b"), ("a", "drop"), ("b", "drop"), ("drop", "out")]
    with pytest.raises(UsageError, match="module drop: dropout of a sum of a, b"):
        trace(SpikingNetwork(Input((4,)), STEPS, modules.items(), edges))


def test_everything_that_cannot_be_expressed_is_said_at_once() -> None:
    graded = configured(channels=(4,), pool="max", hidden_output="potential", readout="potential")
    with pytest.raises(UsageError, match=r"pool1: max pooling .*; module lif2: puts out graded .*; module lif3: "):
        trace(graded)


def test_only_what_is_wrong_itself_is_named() -> None:
    odd = nn.Conv2d(2, 3, 3, padding="same")
    with pytest.raises(UsageError) as caught:
        trace(chain(("conv", odd), ("norm", nn.BatchNorm2d(3)), ("a", lif())))
    assert str(caught.value).count("module") == 1


def chain(*parts: tuple[str, nn.Module], shape: tuple[int, ...] = IMAGE.shape) -> SpikingNetwork:
    end = [("flat", nn.Flatten()), ("readout", MembraneReadoutNeurons(STEPS))]
    return sequential(Input(shape), STEPS, [*parts, *end])


@pytest.mark.parametrize(
    ("part", "match"),
    [
        (nn.MaxPool2d(2), r"max pooling has no counterpart .* use AvgPool2d \(network.pool=average\)"),
        (nn.GELU(), "GELU cannot be traced"),
        (nn.Conv2d(2, 2, 3, padding="same"), "padding 'same', mode 'zeros': only numbers of zeros"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "mode 'circular': only numbers of zeros"),
        (nn.AvgPool2d(2, stride=1), "average pooling must be square, without overlap and without padding"),
        (nn.AvgPool2d((2, 1)), "average pooling must be square"),
        (nn.AvgPool2d(2, stride=(2, 1)), "average pooling must be square"),
        (nn.AvgPool2d(2, padding=1), "average pooling must be square"),
        (nn.AvgPool2d(2, divisor_override=3), "divisor_override 3: 4 is an average, 1 is a sum"),
        (nn.Flatten(2), "flattening of dimensions 2 to -1: only 1 to -1"),
        (nn.BatchNorm2d(2), "a batch norm must follow one convolution or linear layer"),
        (FeatureLateral(), "lateral taps must follow one linear layer"),
        (
            GradedLIFNeurons(STEPS, Surrogate("softplus")),
            "graded potentials, .*network.hidden_output=spikes",
        ),
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
    with pytest.raises(UsageError, match="node readout: a spike-count readout reads exactly one LIF or CubaLIF node"):
        trace(sequential(Input((4,)), STEPS, parts))
