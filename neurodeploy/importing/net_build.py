"""The layers of a Program from those of a `.net` file, with the numbers that netx hands to Lava."""

from __future__ import annotations

import math

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.importing.net_layers import BIAS_MOST, NetNeurons, Reader, bias, delays, matrix, neurons
from neurodeploy.importing.netx_weights import load_dense
from neurodeploy.ir.arrays import IntArray, Shape, frozen_ints
from neurodeploy.ir.program import DECAY_ONE, INPUT, FixedPointNeurons, Layer
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses

BIAS_EXPONENT = 6  # netx's own: biases are in weight units
_CONV_WEIGHTS = (-256, 255)
_MOST_WEIGHTS = 2**25  # of a matrix, 256 MiB


def input_layer(reader: Reader, shape: Shape, bits: int) -> Layer:
    """One neuron per value of the input, driven through its bias: weight * value + bias, in weight units.

    Nothing reaches the current of these neurons, so that its decay does not matter.
    """
    weight = int(reader.truncated("weight").ravel()[0]) if reader.has("weight") else 64
    offset = int(reader.truncated("bias").ravel()[0]) if reader.has("bias") else 0
    if max(abs(offset), abs(weight * (2**bits - 1) + offset)) > BIAS_MOST:
        raise UsageError(f"weight {weight} and bias {offset} with {bits} bits: lava-nc's bias wraps above {BIAS_MOST}")
    read = neurons(reader, True)
    own = NetNeurons(frozen_ints(DECAY_ONE), read.voltage_decay, read.threshold)
    synapses: Synapses
    if len(shape) == 3:
        kernel = frozen_ints(np.full((shape[0], 1, 1, 1), weight))
        synapses = ConvSynapses("input0", INPUT, kernel, groups=shape[0])
    elif len(shape) == 1:
        if shape[0] ** 2 > _MOST_WEIGHTS:
            raise UsageError(
                f"shape {shape}: {shape[0]} x {shape[0]} weights of the input; at most {_MOST_WEIGHTS} are kept"
            )
        synapses = DenseSynapses("input0", INPUT, frozen_ints(weight * np.eye(shape[0], dtype=np.int64)))
    else:
        raise UsageError(f"shape {shape}: (channels, height, width) or (n,) is expected where the input has neurons")
    return _layer("input0", shape, synapses, own, np.full(shape[::-1], offset))


def conv_layer(reader: Reader, name: str, source: str, shape: Shape) -> Layer:
    """A convolution, whose weights netx and Lava leave as they are."""
    if reader.has("delay") and np.trunc(reader.array("delay")).any():
        reader.warn(f"delays up to {reader.array('delay').max()} of a convolution are ignored, as netx does")
    weight = reader.truncated("weight")
    if weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]
    if weight.ndim != 4:
        raise UsageError(
            f"weight of shape {weight.shape}: (out, in / groups, height, width) or that with 1 is expected"
        )
    low, high = _CONV_WEIGHTS
    if weight.min() < low or weight.max() > high:
        raise UsageError(f"weights {weight.min()} to {weight.max()}: Loihi's synapses hold {low} to {high}")
    groups = reader.integers("groups", 1, weight.shape[0])
    if groups.ndim:
        raise UsageError(f"groups of shape {groups.shape}: one number without dimensions is expected")
    synapses = ConvSynapses(
        name,
        source,
        frozen_ints(weight),
        reader.pair("stride", 1),
        reader.pair("padding", 0),
        reader.pair("dilation", 1),
        int(groups),
    )
    return _layer(name, _claimed(reader, synapses.output_shape(shape)), synapses, neurons(reader, True), bias(reader))


def dense_layer(reader: Reader, name: str, source: str, shape: Shape) -> Layer:
    """A dense layer, and its feedback one step later where it is recurrent."""
    outputs = math.prod(reader.shape())
    forward = matrix(reader, "weight", outputs)
    if forward.shape[1] != math.prod(shape):
        raise UsageError(f"weight of shape {forward.shape} for {math.prod(shape)} values that arrive")
    parts, sources = [forward], [(name, source, 0)]
    if reader.type() == "dense_rec":
        parts.append(matrix(reader, "weight_rec", outputs))
        sources.append((f"{name}.recurrent", name, 1))
        if parts[1].shape[1] != outputs:
            raise UsageError(f"weight_rec of shape {parts[1].shape}: ({outputs}, {outputs}) is expected")
    delayed = delays(reader, forward.shape) if reader.has("delay") else None
    if len(parts) > 1 and reader.has("delay") and forward.shape != parts[1].shape:
        raise UsageError(f"delay: netx fails on it with {forward.shape[1]} inputs and {outputs} recurrent neurons")
    loaded = load_dense(tuple(parts), shifted_back=not (reader.has("delay") and len(parts) > 1))
    synapses = []
    for part, weights, (label, origin, step) in zip(parts, loaded, sources, strict=True):
        changed = weights.changed(part)
        if changed:
            reader.warn(f"{changed} of {part.size} weights do not act as they are in the file; netx changes them")
        synapses.append(DenseSynapses(label, origin, weights.weight, 1, step, delayed, weights.exponent))
    return _layer(name, (outputs,), tuple(synapses), neurons(reader, False), bias(reader))


def _layer(
    name: str, shape: Shape, synapses: Synapses | tuple[Synapses, ...], own: NetNeurons, biases: IntArray | None
) -> Layer:
    numbers = FixedPointNeurons(
        _spread(own.voltage_decay, shape),
        _spread(own.threshold, shape),
        _spread_bias(biases, shape),
        BIAS_EXPONENT,
        _spread(own.current_decay, shape),
    )
    return Layer(name, shape, synapses if isinstance(synapses, tuple) else (synapses,), numbers, 1.0)


def _spread_bias(biases: IntArray | None, shape: Shape) -> IntArray:
    """(C, H, W) or (n,), from one per channel, or per neuron in Lava's order of axes (x, y, channel)."""
    if biases is None:
        return np.zeros(shape, dtype=np.int64)
    if biases.shape == shape and len(shape) == 1:
        return biases
    if len(shape) == 1 and biases.size == 1:
        return np.full(shape, biases.item())
    if len(shape) == 3 and biases.shape == shape[::-1]:
        return biases.T
    if len(shape) == 3 and biases.shape == shape[:1]:
        return np.broadcast_to(biases[:, None, None], shape)
    raise UsageError(
        f"bias of shape {biases.shape} for neurons of shape {shape}: one per channel or neuron is expected"
    )


def _spread(values: IntArray, shape: Shape) -> IntArray:
    """A scalar, or one per neuron from one per channel."""
    if values.ndim == 0:
        return values
    if values.shape == shape[:1]:
        return np.array(np.broadcast_to(values.reshape(-1, *[1] * (len(shape) - 1)), shape))
    raise UsageError(
        f"parameters of neurons of shape {values.shape}: one, or one per channel ({shape[0]}), is expected"
    )


def _claimed(reader: Reader, shape: Shape) -> Shape:
    if reader.shape() != shape:
        raise UsageError(f"shape {reader.shape()} in the file, but its geometry gives {shape}")
    return shape
