"""Lowering: Network -> layers of neurons fed by synapses, with pooling and flattening folded into the synapses.

Exact in the weights: nothing is rounded, an average pool divides the weights by its window. What cannot be written as
"pool, then weigh, then integrate" is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray, Shape, frozen_floats
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import (
    FIRING,
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    SpikeCountReadout,
    SumPool2d,
)
from neurodeploy.ir.program import INPUT, ReadoutKind
from neurodeploy.ir.synapses import DELAY_MAX, ConvSynapses, DenseSynapses, Synapses, Weights


@dataclass(frozen=True, eq=False)
class LoweredLayer:
    """A layer before quantisation: float synapses, the bias per neuron, and the neuron node.

    Attributes:
        bias: shape of the layer, unit of potential per step; it acts on the potential, behind a current.
    """

    name: str
    shape: Shape
    synapses: tuple[Synapses, ...]
    bias: FloatArray
    neuron: LIF | CubaLIF | MembraneReadout


@dataclass(frozen=True, eq=False)
class LoweredNetwork:
    """The layers of a Network in topological order."""

    input: Input
    layers: tuple[LoweredLayer, ...]
    readout: ReadoutKind
    steps: int


def lower(network: Network) -> LoweredNetwork:
    """Folds every chain of nodes between two neuron nodes into synapses.

    Raises:
        UsageError: naming the nodes of a chain that no chip's synapses can express.
    """
    layers = []
    for name in network.order:
        node = network.nodes[name]
        if isinstance(node, LIF | CubaLIF | MembraneReadout):
            layers.append(_lower_layer(network, name, node))
    readout = network.nodes[network.readout]
    kind: ReadoutKind = "membrane" if isinstance(readout, MembraneReadout) else "spike_count"
    last = network.readout if kind == "membrane" else network.incoming(network.readout)[0].source
    if layers[-1].name != last:
        layers.sort(key=lambda layer: layer.name == last)
        if any(s.source == last and s.delay == 0 for layer in layers for s in layer.synapses):
            raise UsageError(f"node {last}: the layer that is counted must be the last one")
    return LoweredNetwork(network.input, tuple(layers), kind, network.steps)


def _lower_layer(network: Network, name: str, node: LIF | CubaLIF | MembraneReadout) -> LoweredLayer:
    shape = network.shapes[name]
    synapses = tuple(_fold(network, chain, name) for chain in _chains(network, name))
    bias = np.zeros(shape)
    for edge in network.incoming(name):
        arriving = _bias(network, edge.source)
        bias += arriving if len(shape) == 1 else arriving[:, None, None]
    return LoweredLayer(name, shape, synapses, frozen_floats(bias), node)


def _bias(network: Network, name: str) -> FloatArray:
    """What a node puts out where all neurons are silent, per channel or feature.

    Taken along edges, not along chains: a weight node that several neuron nodes feed brings its bias once.
    """
    node = network.nodes[name]
    if isinstance(node, Conv2d | Linear):
        return node.bias
    bias = np.zeros(network.shapes[name][0])
    if isinstance(node, Flatten):
        for edge in network.incoming(name):
            if len(network.shapes[edge.source]) == 1:  # `_fold` has refused a Flatten after a convolution
                bias += _bias(network, edge.source)
    return bias


def _chains(network: Network, name: str) -> Iterator[list[Edge]]:
    """Every path of edges from a neuron node or the Input into `name`, source first."""
    pending = [[edge] for edge in reversed(network.incoming(name))]
    while pending:
        path = pending.pop()
        source = network.nodes[path[0].source]
        if isinstance(source, (*FIRING, Input)):
            yield path
        elif isinstance(source, MembraneReadout | SpikeCountReadout):
            raise UsageError(f"node {path[0].source}: a readout feeds nothing")
        else:
            pending.extend([edge, *path] for edge in reversed(network.incoming(path[0].source)))


def _fold(network: Network, path: list[Edge], target: str) -> Synapses:
    """The synapses of one chain."""
    source, names = path[0].source, [edge.target for edge in path[:-1]]
    delay = sum(edge.delay for edge in path)
    described = " -> ".join([source, *names, target])
    if delay > DELAY_MAX:
        raise UsageError(f"{described}: {delay} steps of delay, at most {DELAY_MAX}")
    pool, divisor, flat, weighted = 1, 1.0, False, ""
    for name in names:
        node = network.nodes[name]
        if weighted and not isinstance(node, Flatten):
            raise UsageError(f"{described}: {name} follows {weighted} without neurons between them; move it")
        if isinstance(node, SumPool2d | AvgPool2d):
            pool *= node.kernel
            divisor *= node.kernel**2 if isinstance(node, AvgPool2d) else 1
        elif isinstance(node, Conv2d | Linear):
            weighted = name
        flat = flat or isinstance(node, Flatten)
    origin = INPUT if isinstance(network.nodes[source], Input) else source
    weight_node = network.nodes[weighted] if weighted else None
    channels = network.shapes[path[-1].source][0]
    if isinstance(weight_node, Conv2d):
        if flat:
            raise UsageError(f"{described}: a Flatten after the convolution {weighted} is not supported")
        return _convolution(weighted, origin, weight_node, divisor, pool, delay)
    if isinstance(weight_node, Linear):
        return DenseSynapses(weighted, origin, _scaled(weight_node.weight, divisor), pool, delay)
    if flat or len(network.shapes[target]) == 1:
        return DenseSynapses(target, origin, _scaled(np.eye(channels), divisor), pool, delay)
    if len(network.shapes[target]) != 3:
        raise UsageError(f"{described}: shape {network.shapes[target]}, allowed are (C, H, W) and (n,); add a Flatten")
    identity = Conv2d(np.ones((channels, 1, 1, 1)), np.zeros(channels), groups=channels)
    return _convolution(target, origin, identity, divisor, pool, delay)


def _convolution(name: str, source: str, node: Conv2d, divisor: float, pool: int, delay: int) -> Synapses:
    weight = _scaled(node.weight, divisor)
    return ConvSynapses(name, source, weight, node.stride, node.padding, node.dilation, node.groups, pool, delay)


def _scaled(weight: FloatArray, divisor: float) -> Weights:
    return frozen_floats(weight / divisor)
