"""Tracing: SpikingNetwork -> Network, with batch norm and lateral taps folded into the weights before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
    SumPool2d,
)
from neurodeploy.snn.currents import WITH_CURRENTS
from neurodeploy.snn.graded import GradedLIFNeurons
from neurodeploy.snn.layers import FeatureLateral, ModerateDropout
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.spiking_network import INPUT, SpikingNetwork

_FOLDED = (nn.BatchNorm1d, nn.BatchNorm2d, FeatureLateral)


def trace(module: SpikingNetwork | Network) -> Network:
    """The Network that computes what the module computes in evaluation mode; an imported Network is one already.

    The weights by which a layer "a" receives its own spikes become a node "a.recurrent", with a delay of one step.

    Raises:
        UsageError: naming every module that a Network cannot express, or a weight that is not finite.
    """
    if isinstance(module, Network):
        return module
    nodes: dict[str, Node] = {INPUT: module.input}
    stands_for = {INPUT: INPUT}
    edges: list[Edge] = []
    refused: list[str] = []
    for name, layer in module.layers.items():
        sources = [stands_for[source] for source in module.sources(name)]
        try:
            if isinstance(layer, ModerateDropout):
                stands_for[name] = sources[0]
                _check_alone(sources)
            elif isinstance(layer, _FOLDED):
                stands_for[name] = sources[0]
                if sources[0] in nodes:  # else it has been refused itself
                    nodes[sources[0]] = _with(nodes[sources[0]], layer, module.edges, module.sources(name))
            else:
                stands_for[name] = name
                nodes[name] = _node(layer)
                edges.extend(Edge(source, name) for source in sources)
            if isinstance(layer, RecurrentLIFNeurons):
                nodes[f"{name}.recurrent"] = _node(layer.recurrent)
                edges += [Edge(name, f"{name}.recurrent"), Edge(f"{name}.recurrent", name, 1)]
        except UsageError as error:
            refused.append(f"module {name}: {error}")
    if refused:
        raise UsageError("; ".join(refused))
    return Network(nodes, tuple(edges), module.steps)


def _node(layer: nn.Module) -> Node:
    if isinstance(layer, nn.Conv2d):
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            raise UsageError(
                f"padding {layer.padding!r}, mode {layer.padding_mode!r}: only numbers of zeros can be traced"
            )
        bias = _array(layer.bias) if layer.bias is not None else np.zeros(layer.out_channels)
        return Conv2d(
            _array(layer.weight),
            bias,
            _pair(layer.stride),
            _pair(layer.padding),
            _pair(layer.dilation),
            layer.groups,
        )
    if isinstance(layer, nn.Linear):
        return Linear(
            _array(layer.weight), _array(layer.bias) if layer.bias is not None else np.zeros(layer.out_features)
        )
    if isinstance(layer, nn.AvgPool2d):
        kernel, stride = _square(layer.kernel_size), _square(layer.stride)
        if kernel != stride or layer.padding not in (0, (0, 0)):
            raise UsageError("average pooling must be square, without overlap and without padding")
        if layer.divisor_override not in (None, kernel**2, 1):
            raise UsageError(f"divisor_override {layer.divisor_override}: {kernel**2} is an average, 1 is a sum")
        return SumPool2d(kernel) if layer.divisor_override == 1 else AvgPool2d(kernel)
    if isinstance(layer, nn.Flatten):
        if (layer.start_dim, layer.end_dim) != (1, -1):
            raise UsageError(
                f"flattening of dimensions {layer.start_dim} to {layer.end_dim}: only 1 to -1 can be traced"
            )
        return Flatten()
    if isinstance(layer, GradedLIFNeurons):
        raise UsageError(
            "puts out graded potentials, chips carry spikes; train with network.hidden_output=spikes, and with "
            "network.readout=membrane or spike_count"
        )
    if isinstance(layer, LIFNeurons):
        decay, threshold = (float(part.detach().double()) for part in (layer.decay, layer.threshold))
        if isinstance(layer, WITH_CURRENTS):
            return CubaLIF(decay, layer.current_decay, threshold, layer.dynamics.reset, most_spikes=layer.most)
        return LIF(decay, threshold, layer.dynamics.reset)
    if isinstance(layer, MembraneReadoutNeurons):
        return MembraneReadout(layer.decay)
    if isinstance(layer, SpikeCountReadoutNeurons):
        return SpikeCountReadout()
    if isinstance(layer, nn.MaxPool2d):
        raise UsageError(
            "max pooling has no counterpart on chips that add spikes; use AvgPool2d (network.pool=average)"
        )
    raise UsageError(f"{type(layer).__name__} cannot be traced")


def _check_alone(sources: list[str]) -> None:
    if len(sources) != 1:
        raise UsageError(f"dropout of a sum of {', '.join(sources)}; give each its own")


def _with(node: Node, layer: nn.Module, edges: tuple[tuple[str, str], ...], sources: list[str]) -> Node:
    """The node before a batch norm or lateral taps, with these in its weights."""
    taps = isinstance(layer, FeatureLateral)
    alone = len(sources) == 1 and sum(source == sources[0] for source, _ in edges) == 1
    if not isinstance(node, Linear if taps else Conv2d | Linear) or not alone:
        what = "lateral taps must follow one linear" if taps else "a batch norm must follow one convolution or linear"
        raise UsageError(f"{what} layer that nothing else reads")
    if isinstance(layer, FeatureLateral):
        return _with_lateral(node, layer)
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)  # _FOLDED
    return _with_batch_norm(node, layer)


def _with_batch_norm(node: Conv2d | Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Conv2d | Linear:
    """weight' = weight * g, bias' = (bias - mean) * g + shift, with g = weight_bn / sqrt(variance + eps)."""
    if norm.running_mean is None or norm.running_var is None:
        raise UsageError("a batch norm without running statistics cannot be folded")
    gain = 1 / np.sqrt(_array(norm.running_var) + norm.eps)
    shift = np.zeros_like(gain)
    if norm.affine:
        gain, shift = gain * _array(norm.weight), _array(norm.bias)
    bias = (node.bias - _array(norm.running_mean)) * gain + shift
    weight = node.weight * gain.reshape(-1, *[1] * (node.weight.ndim - 1))
    return replace(node, weight=weight, bias=bias)


def _with_lateral(node: Conv2d | Linear, lateral: FeatureLateral) -> Conv2d | Linear:
    """weight' = (1 + L) weight, bias' = (1 + L) bias, with L[i, i + k - 2] = w[k]."""
    taps = _array(lateral.taps.weight).ravel()
    count = len(node.bias)
    mixing = np.eye(count)
    for k, tap in enumerate(taps):
        mixing += tap * np.eye(count, k=k - len(taps) // 2)
    return replace(node, weight=mixing @ node.weight, bias=mixing @ node.bias)


def _array(tensor: torch.Tensor) -> FloatArray:
    return np.asarray(tensor.detach().double().cpu().numpy(), dtype=np.float64)


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    return int(value[0]), int(value[1])


def _square(value: int | tuple[int, int]) -> int:
    if isinstance(value, int):
        return value
    if value[0] != value[1]:
        raise UsageError("average pooling must be square, without overlap and without padding")
    return value[0]
