"""How a Program may be laid out on cores, as Intel's compiler does it, as far as its public reports show.

The compiler starts with a layer on one core and divides it until every resource of a core holds it (so
OzU-CAST/LoihiScalingEfficiency, README, describes it; the reports in lava-dl's notebooks agree):

* A layer of n neurons with dense synapses: on a core lie ceil(n / r) of them, r = ceil(words needed / words of a core);
  what is still too large is divided again. Cores: ceil(n / neurons on a core).
* A layer of channels × height × width with convolutions is cut into tiles. Its channels are halved (rounded up) until
  their kernels fit into synaptic memory, and no further. Then the width is a power of two, and the height halved any
  number of times: of the tiles that fit, one with the fewest cores is taken, of those the squarest. This is inferred:
  it gives the cores of all 21 layers of convolutions in the public reports.

Every layer has cores of its own, and the input comes from outside. What a word of synaptic memory holds is inferred
too: see `neurodeploy.hw_models.chip.Cores`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from neurodeploy.hw_models.chip import ChipModel, Cores
from neurodeploy.ir.arrays import IntArray, Shape
from neurodeploy.ir.program import Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses

LARGEST_GROUPS = 127  # lava-nc 0.10.0 keeps groups in int8: exports write more out as one group, with zeros


@dataclass(frozen=True)
class LayerPlacement:
    """One layer; what a core takes is that of its fullest core.

    Attributes:
        cores: that the layer takes.
        tile: what lies on a core, (neurons,) or (channels, height, width).
        neurons: on a core.
        fan_in: synapses of a neuron.
        synapse_words: of the core's synaptic memory.
        in_axons: input neurons of dense synapses, and one for each convolution.
        out_axons: entries for spikes that leave: one per neuron and dense target (or host), one per pixel and
            convolution.
    """

    layer: str
    cores: int
    tile: Shape
    neurons: int
    fan_in: int
    synapse_words: int
    in_axons: int
    out_axons: int


@dataclass(frozen=True)
class Placement:
    """All layers, and what they take together."""

    layers: tuple[LayerPlacement, ...]
    cores: int
    chips: int


def place(program: Program, chip: ChipModel) -> Placement | None:
    """An estimate; None where nothing is known about the chip's cores.

    A layer of which not even one neuron fits is placed neuron by neuron, with the words that this would take.
    """
    if chip.cores is None:
        return None
    rows = tuple(_placed(layer, program, chip.cores) for layer in program.layers)
    total = sum(row.cores for row in rows)
    return Placement(rows, total, ceil(total / chip.cores.per_chip))


def destinations(synapses: Synapses, source: Shape, target: LayerPlacement, shape: Shape) -> IntArray:
    """How many of the target's cores a spike from every place of the source goes to, of the source's shape.

    Args:
        shape: of the target layer.
    """
    if not isinstance(synapses, ConvSynapses):
        return np.full(source, target.cores, dtype=np.int64)
    channels, height, width = target.tile
    kernel = synapses.weight.shape[2:]
    rows, columns = (
        _tiles_reached(
            source[1 + axis] // synapses.pool,
            shape[1 + axis],
            (height, width)[axis],
            kernel[axis],
            synapses.stride[axis],
            synapses.padding[axis],
            synapses.dilation[axis],
        ).repeat(synapses.pool)
        for axis in (0, 1)
    )
    outputs = shape[0] // synapses.groups
    first = np.arange(source[0]) // synapses.weight.shape[1] * outputs
    reached = (first + outputs - 1) // channels - first // channels + 1
    return np.asarray(reached[:, None, None] * rows[:, None] * columns, dtype=np.int64)


def _placed(layer: Layer, program: Program, cores: Cores) -> LayerPlacement:
    convolutions = [one for one in layer.synapses if isinstance(one, ConvSynapses)]
    dense = [(one, prod(program.shapes[one.source])) for one in layer.synapses if isinstance(one, DenseSynapses)]
    if len(layer.shape) == 3:
        tile, count = _smallest(layer, convolutions, cores)
    else:
        tile, count = _divided(layer, dense, cores)
    neurons = prod(min(part, whole) for part, whole in zip(tile, layer.shape, strict=True))
    words = _convolution_words(convolutions, tile[0], cores) + _dense_words(dense, tile[0], cores)
    return LayerPlacement(
        layer.name,
        count,
        tile,
        neurons,
        sum(one.weight[0].size * one.pool**2 for one in layer.synapses),
        ceil(words),
        sum(axons for _, axons in dense) + len(convolutions),
        _out_axons(layer, program, neurons, neurons // min(tile[0], layer.shape[0])),
    )


def _divided(layer: Layer, dense: list[tuple[DenseSynapses, int]], cores: Cores) -> tuple[Shape, int]:
    """(neurons on a core, cores) of a layer with dense synapses."""
    neurons = layer.shape[0]
    while True:
        ratio = ceil(max(_dense_words(dense, neurons, cores) / cores.synapse_words, neurons / cores.neurons))
        if ratio <= 1 or neurons == 1:
            return (neurons,), ceil(layer.shape[0] / neurons)
        neurons = ceil(neurons / ratio)


def _smallest(layer: Layer, convolutions: list[ConvSynapses], cores: Cores) -> tuple[Shape, int]:
    """(channels, height, width) on a core and cores of a layer with convolutions."""
    channels = next(
        part
        for part in _halved(layer.shape[0])
        if part == 1 or (part <= cores.neurons and _convolution_words(convolutions, part, cores) <= cores.synapse_words)
    )
    tiles = [
        (channels, height, width)
        for height in _halved(layer.shape[1])
        for width in _powers(layer.shape[2])
        if channels * height * width <= cores.neurons
    ]

    def count(tile: Shape) -> int:
        return prod(ceil(whole / part) for whole, part in zip(layer.shape, tile, strict=True))

    best = min(tiles, key=lambda tile: (count(tile), abs(tile[2] - tile[1])))
    return best, count(best)


def _dense_words(dense: list[tuple[DenseSynapses, int]], neurons: int, cores: Cores) -> float:
    words = 0
    for one, axons in dense:
        bits = cores.dense_bits + (0 if one.delays is None else cores.delay_bits)
        words += axons * ceil((bits * neurons + cores.dense_list_bits) / cores.dense_word_bits)
    return words


def _convolution_words(convolutions: list[ConvSynapses], channels: int, cores: Cores) -> float:
    words = 0.0
    for one in convolutions:
        groups = 1 if one.groups > LARGEST_GROUPS else one.groups
        outputs = one.weight.shape[0] // groups
        inside = one.weight.shape[1] * one.groups // groups
        touched = ceil(channels / outputs)
        bits = ceil(cores.convolution_bits * min(channels, outputs) / 32) * 32
        words += touched * inside * _places(one) * bits / cores.convolution_word_bits
    return words


def _places(one: ConvSynapses) -> int:
    """Kernel places, pooling written out: a dilated kernel is filled up with zeros before it is pooled."""
    kernel = one.weight.shape[2:]
    if one.pool == 1:
        return int(prod(kernel))
    return prod(((size - 1) * step + 1) * one.pool for size, step in zip(kernel, one.dilation, strict=True))


def _out_axons(layer: Layer, program: Program, neurons: int, pixels: int) -> int:
    targets = [one for other in program.layers for one in other.synapses if one.source == layer.name]
    if not targets:
        return neurons  # read out by the host
    return sum(pixels if isinstance(one, ConvSynapses) else neurons for one in targets)


def _tiles_reached(
    source: int, outputs: int, tile: int, kernel: int, stride: int, padding: int, dilation: int
) -> IntArray:
    """Along one axis: how many tiles hold outputs that read each place of the (pooled) source."""
    reached = np.zeros((source, ceil(outputs / tile)), dtype=np.int64)
    for tap in range(kernel):
        places = np.arange(outputs) * stride + tap * dilation - padding
        inside = (places >= 0) & (places < source)
        reached[places[inside], np.arange(outputs)[inside] // tile] = 1
    return np.asarray(reached.sum(axis=1), dtype=np.int64)


def _halved(size: int) -> Iterator[int]:
    while size > 1:
        yield size
        size = ceil(size / 2)
    yield 1


def _powers(size: int) -> Iterator[int]:
    power = 1
    while power < size:
        yield power
        power *= 2
    yield power
