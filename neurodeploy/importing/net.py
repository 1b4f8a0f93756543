"""`.net` files of lava-dl (HDF5): networks trained with SLAYER, as a Program that computes what netx would.

What lava-dl 0.6.0's netx does silently is done here too, with a warning that names layer and number; what it cannot
load is refused with the reason (lava/lib/dl/netx/hdf5.py and blocks/process.py). The meaning is the unpipelined one:
netx's layer n is n steps late (one step per synapse), which a Program leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.importing.hdf5 import Limits, Tree, read_tree
from neurodeploy.importing.net_layers import BIAS_MOST, NetNeurons, Reader, bias, delays, matrix, neurons, within
from neurodeploy.importing.netx_weights import load_dense
from neurodeploy.ir.arrays import IntArray, Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import DECAY_ONE, INPUT, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses

CHIP = "loihi2"
BIAS_EXPONENT = 6  # netx's own: biases are in weight units
MOST_STEPS = 2**20
_THRESHOLD_MOST = 2**17 - 1
_CONV_WEIGHTS = (-256, 255)
_TYPES = ("input", "conv", "flatten", "dense", "dense_rec")
_REFUSED = {
    "pool": "netx has no pooling layer; average pooling can be a convolution with stride",
    "average": "netx does not average outputs; leave it out and read spikes of the layer before",
    "convT": "netx has no transposed convolution",
    "unpool": "netx has no unpooling",
    "concat": "netx knows chains of layers only",
    "dense_comp": "complex weights belong to resonate-and-fire neurons, which have no Program",
}


@dataclass(frozen=True, eq=False)
class ImportedProgram:
    """A Program from a file.

    Attributes:
        warnings: what netx does silently and the file is affected by, each with layer and number.
    """

    program: Program
    warnings: tuple[str, ...]


def read_net(
    path: Path, steps: int | None = None, input_bits: int = 1, limits: Limits | None = None
) -> ImportedProgram:
    """Reads a `.net` file as lava-dl's slayer and netx write and read it.

    Args:
        steps: T, which the file need not say; without it, tSample / Ts of the file's group `simulation`.
        input_bits: 1 for spikes; more for graded values (netx's `input_message_bits`).

    Raises:
        FileFormatError: naming file and layer, for damaged or hostile files and for what netx cannot load.
        UsageError: where the number of steps is not known, or an option is out of range.
    """
    tree = read_tree(path, limits)
    try:
        steps = _steps(tree, steps)
        readers = list(_readers(tree))
        layers, source = _layers(readers, input_bits)
        fires = _can_fire(layers[-1])
        if not fires:
            layers[-1] = _as_readout(layers[-1])
        program = Program(CHIP, steps, source, tuple(layers), "spike_count" if fires else "membrane")
    except FileFormatError:
        raise
    except UsageError as error:
        if isinstance(error, _OptionError):
            raise UsageError(f"{path}: {error}") from error
        raise FileFormatError(f"{path}: {error}") from error
    return ImportedProgram(program, tuple(text for reader in readers for text in reader.warnings))


class _OptionError(UsageError):
    """What the user must say, because the file does not."""


def _steps(tree: Tree, steps: int | None) -> int:
    group = tree.get("simulation")
    if steps is None and isinstance(group, dict):
        times = Reader(group, "simulation")
        if times.has("tSample"):
            step = float(times.array("Ts").flat[0]) if times.has("Ts") else 1.0
            ratio = float(times.array("tSample").flat[0]) / step if step else 0.0
            steps = round(ratio) if 0 < ratio <= MOST_STEPS else 0
    if steps is None:
        raise _OptionError("does not say for how many steps a sample is shown; give --steps")
    if not 1 <= steps <= MOST_STEPS:
        raise _OptionError(f"--steps {steps}: allowed are 1 to {MOST_STEPS}")
    return steps


def _readers(tree: Tree) -> Iterator[Reader]:
    group = tree.get("layer")
    if not isinstance(group, dict) or not group:
        raise UsageError("no group `layer` with layers 0, 1, …: not a .net file of lava-dl")
    if set(group) != {str(index) for index in range(len(group))}:
        raise UsageError(f"layers {', '.join(sorted(group)[:8])}: 0 to {len(group) - 1} are expected")
    for index in range(len(group)):
        content = group[str(index)]
        if not isinstance(content, dict):
            raise UsageError(f"layer {index}: a group is expected")
        reader = Reader(content, str(index))
        kind = within(str(index), reader.type)
        if kind not in _TYPES:
            why = _REFUSED.get(kind, "netx skips it without a word")
            raise UsageError(f"layer {index} of type {kind!r} is refused: {why}; allowed are {', '.join(_TYPES)}")
        if kind == "input" and index:
            raise UsageError(f"layer {index} of type 'input': only layer 0 can be the input")
        yield Reader(content, f"{index} ({kind})", reader.warnings)


def _layers(readers: list[Reader], input_bits: int) -> tuple[list[Layer], Input]:
    """The layers in their order, and the input."""
    layers: list[Layer] = []
    shape: Shape | None = None  # of what the next layer reads
    flat = False  # whether a flatten layer lies before it
    source: Input | None = None
    for index, reader in enumerate(readers):
        kind = reader.type()
        if kind == "flatten":
            if layers and shape is not None and len(shape) != 3:
                raise UsageError(f"layer {reader.name}: only what a convolution puts out can be flattened in netx")
            flat = True
            continue
        if kind == "input":
            shape = within(reader.name, reader.shape) if reader.has("shape") or reader.has("neuron") else None
            if reader.has("neuron"):
                assert shape is not None  # read in the line above
                source = _input(shape, input_bits)
                layers.append(within(reader.name, partial(_input_layer, reader, shape, input_bits)))
            continue
        if shape is None:
            shape = within(reader.name, partial(_inferred_shape, reader, kind))
        if source is None:
            source = _input(shape, input_bits)
        if kind != "conv" and layers and len(shape) > 1 and not flat:
            raise UsageError(
                f"layer {reader.name}: reads {shape} without a flatten layer before it; netx fails on that"
            )
        build = _conv_layer if kind == "conv" else _dense_layer
        name = f"{kind}{index}"
        before = layers[-1].name if layers else INPUT
        layers.append(within(reader.name, partial(build, reader, name, before, shape)))
        shape, flat = layers[-1].shape, False
    if source is None or not layers:
        raise UsageError("there is no layer with neurons")
    return layers, source


def _input(shape: Shape, bits: int) -> Input:
    if not 1 <= bits <= 8:
        raise _OptionError(f"--input-bits {bits}: allowed are 1 to 8")
    return Input(shape, 1.0, bits)


def _inferred_shape(reader: Reader, kind: str) -> Shape:
    if kind == "conv":
        raise UsageError("the file's input layer has no shape, which a convolution needs")
    weight = matrix(reader, "weight", math.prod(reader.shape()))
    return (weight.shape[1],)


# --- layers -------------------------------------------------------------------------------------------------------


def _input_layer(reader: Reader, shape: Shape, bits: int) -> Layer:
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
        synapses = DenseSynapses("input0", INPUT, frozen_ints(weight * np.eye(shape[0], dtype=np.int64)))
    else:
        raise UsageError(f"shape {shape}: (channels, height, width) or (n,) is expected where the input has neurons")
    return _layer("input0", shape, synapses, own, np.full(shape[::-1], offset))


def _conv_layer(reader: Reader, name: str, source: str, shape: Shape) -> Layer:
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


def _dense_layer(reader: Reader, name: str, source: str, shape: Shape) -> Layer:
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


# --- parts --------------------------------------------------------------------------------------------------------


def _can_fire(layer: Layer) -> bool:
    """Whether a threshold is below the largest of 17 bits, which stands for layers whose voltages are read.

    slayer writes 2^18 - 1 there, and `neurodeploy.export.netx` 2^17 - 1, which Lava's saturating voltage just exceeds.
    """
    assert isinstance(layer.neurons, FixedPointNeurons)  # every layer here is made of them
    return int(layer.neurons.threshold.min()) < _THRESHOLD_MOST


def _as_readout(layer: Layer) -> Layer:
    """The same layer as a readout, whose threshold does not count: the largest that the register holds."""
    assert isinstance(layer.neurons, FixedPointNeurons)
    return replace(layer, neurons=replace(layer.neurons, threshold=frozen_ints(_THRESHOLD_MOST)), fires=False)


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
