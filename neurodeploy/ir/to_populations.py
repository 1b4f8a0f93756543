"""Network -> PopulationNetwork: every synapse of its own, convolutions and pools written out."""

from __future__ import annotations

import math

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray, Shape, frozen_floats
from neurodeploy.ir.lower import LoweredLayer, LoweredNetwork, lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import CubaLIF, Input, MembraneReadout
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.synapses import ConvSynapses, Synapses

LARGEST_MATRIX = 2**24  # weights written out; no chip that needs this is near


def to_populations(network: Network) -> PopulationNetwork:
    """The same network with a matrix of weights for every pair of layers.

    Raises:
        UsageError: where a layer written out has more than `LARGEST_MATRIX` weights, or as `lower`.
    """
    lowered = lower(network)
    channels = math.prod(lowered.input.shape)
    shapes = {INPUT: lowered.input.shape} | {layer.name: layer.shape for layer in lowered.layers}
    return PopulationNetwork(
        Input((channels,), lowered.input.scale, lowered.input.bits),
        tuple(_population(layer) for layer in lowered.layers),
        tuple(_projection(one, layer, shapes) for layer in lowered.layers for one in layer.synapses),
        lowered.readout,
        lowered.steps,
    )


def layer_sizes(lowered: LoweredNetwork) -> dict[str, int]:
    """Layer -> neurons, the input's channels first."""
    sizes = {INPUT: math.prod(lowered.input.shape)}
    return sizes | {layer.name: math.prod(layer.shape) for layer in lowered.layers}


def matrix(synapses: Synapses, shape: Shape) -> FloatArray:
    """The weights (sources, targets), row-major, of synapses on a source of `shape`.

    Raises:
        UsageError: where there are more than `LARGEST_MATRIX`.
    """
    target = synapses.output_shape(shape)
    count = math.prod(shape) * math.prod(target)
    if count > LARGEST_MATRIX:
        raise UsageError(f"{synapses.name}: {count:,} weights written out, at most {LARGEST_MATRIX:,} are")
    if not isinstance(synapses, ConvSynapses):
        return frozen_floats(synapses.expanded(shape).weight.T)
    plain = synapses.expanded()
    written = np.zeros((*shape, *target))
    (down, right), (high, wide) = plain.stride, plain.padding
    channels, per_group = plain.weight.shape[1], target[0] // plain.groups
    rows, columns = np.arange(target[1]), np.arange(target[2])
    for out, inside, row, column in np.ndindex(plain.weight.shape):
        y, x = rows * down - high + row * plain.dilation[0], columns * right - wide + column * plain.dilation[1]
        at_y, at_x = (y >= 0) & (y < shape[1]), (x >= 0) & (x < shape[2])
        source = out // per_group * channels + inside
        where = np.ix_(y[at_y], x[at_x])
        to = np.ix_(rows[at_y], columns[at_x])
        written[source, where[0], where[1], out, to[0], to[1]] += plain.weight[out, inside, row, column]
    return frozen_floats(written.reshape(math.prod(shape), -1))


def _projection(synapses: Synapses, layer: LoweredLayer, shapes: dict[str, Shape]) -> Projection:
    return Projection(synapses.source, layer.name, matrix(synapses, shapes[synapses.source]), 0, synapses.delay)


def _population(layer: LoweredLayer) -> Population:
    neuron, bias = layer.neuron, layer.bias.ravel()
    decay = np.full(bias.size, neuron.decay)
    currents = np.full((1, bias.size), neuron.current_decay if isinstance(neuron, CubaLIF) else 0.0)
    if isinstance(neuron, MembraneReadout):
        return Population(layer.name, decay, currents, np.full(bias.size, np.inf), bias, fires=False)
    most = neuron.most_spikes if isinstance(neuron, CubaLIF) else 1
    threshold, at_threshold = np.full(bias.size, neuron.threshold), neuron.fires_at_threshold
    return Population(layer.name, decay, currents, threshold, bias, most, neuron.reset, fires_at_threshold=at_threshold)
