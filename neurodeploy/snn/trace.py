"""Tracing: SpikingNetwork -> Network, with batch norm folded into the weights before it."""

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
    Flatten,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
)
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.spiking_network import INPUT, SpikingNetwork

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def trace(module: SpikingNetwork) -> Network:
    """The Network that computes what the module computes in evaluation mode.

    Raises:
        UsageError: naming a module that a Network cannot express, or a weight that is not finite.
    """
    nodes: dict[str, Node] = {INPUT: module.input}
    stands_for = {INPUT: INPUT}
    edges: list[Edge] = []
    for name, layer in module.layers.items():
        sources = [stands_for[source] for source in module.sources(name)]
        stands_for[name] = name
        try:
            if isinstance(layer, _BATCH_NORMS):
                nodes[sources[0]] = _with_batch_norm(nodes[sources[0]], layer, module.edges, module.sources(name))
                stands_for[name] = sources[0]
                continue
            nodes[name] = _node(layer)
        except UsageError as error:
            raise UsageError(f"module {name}: {error}") from error
        edges.extend(Edge(source, name) for source in sources)
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
        if layer.divisor_override not in (None, kernel**2):
            raise UsageError(f"divisor_override {layer.divisor_override}: an average divides by {kernel**2}")
        return AvgPool2d(kernel)
    if isinstance(layer, nn.Flatten):
        if (layer.start_dim, layer.end_dim) != (1, -1):
            raise UsageError(
                f"flattening of dimensions {layer.start_dim} to {layer.end_dim}: only 1 to -1 can be traced"
            )
        return Flatten()
    if isinstance(layer, LIFNeurons):
        decay, threshold = (float(part.detach().double()) for part in (layer.decay, layer.threshold))
        return LIF(decay, threshold, layer.dynamics.reset)
    if isinstance(layer, MembraneReadoutNeurons):
        return MembraneReadout(layer.decay)
    if isinstance(layer, SpikeCountReadoutNeurons):
        return SpikeCountReadout()
    if isinstance(layer, nn.MaxPool2d):
        raise UsageError("max pooling has no counterpart on chips that add spikes; use AvgPool2d")
    raise UsageError(f"{type(layer).__name__} cannot be traced")


def _with_batch_norm(
    node: Node, norm: nn.BatchNorm1d | nn.BatchNorm2d, edges: tuple[tuple[str, str], ...], sources: list[str]
) -> Node:
    """weight' = weight * g, bias' = (bias - mean) * g + shift, with g = weight_bn / sqrt(variance + eps)."""
    alone = len(sources) == 1 and sum(source == sources[0] for source, _ in edges) == 1
    if not isinstance(node, Conv2d | Linear) or not alone:
        raise UsageError("a batch norm must follow one convolution or linear layer that nothing else reads")
    if norm.running_mean is None or norm.running_var is None:
        raise UsageError("a batch norm without running statistics cannot be folded")
    gain = 1 / np.sqrt(_array(norm.running_var) + norm.eps)
    shift = np.zeros_like(gain)
    if norm.affine:
        gain, shift = gain * _array(norm.weight), _array(norm.bias)
    bias = (node.bias - _array(norm.running_mean)) * gain + shift
    weight = node.weight * gain.reshape(-1, *[1] * (node.weight.ndim - 1))
    return replace(node, weight=weight, bias=bias)


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
