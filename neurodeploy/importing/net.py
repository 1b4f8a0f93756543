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

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.importing.hdf5 import Limits, Tree, read_tree
from neurodeploy.importing.net_build import conv_layer, dense_layer, input_layer
from neurodeploy.importing.net_layers import Reader, matrix, warn_of_unknown, within
from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import INPUT, FixedPointNeurons, Layer, Program

CHIP = "loihi2"
MOST_STEPS = 2**20
NEVER_FIRES = 2**17 - 1  # or more: the threshold of layers whose voltages are read
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
        named = Reader(content, f"{index} ({kind})", reader.warnings)
        warn_of_unknown(named)
        yield named


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
                layers.append(within(reader.name, partial(input_layer, reader, shape, input_bits)))
            continue
        if shape is None:
            shape = within(reader.name, partial(_inferred_shape, reader, kind))
        if source is None:
            source = _input(shape, input_bits)
        if kind != "conv" and layers and len(shape) > 1 and not flat:
            raise UsageError(
                f"layer {reader.name}: reads {shape} without a flatten layer before it; netx fails on that"
            )
        build = conv_layer if kind == "conv" else dense_layer
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


def _can_fire(layer: Layer) -> bool:
    """Whether a threshold is below the largest of 17 bits, which stands for layers whose voltages are read.

    slayer writes 2^18 - 1 there, and `neurodeploy.export.netx` 2^17 - 1, which Lava's saturating voltage just exceeds.
    """
    assert isinstance(layer.neurons, FixedPointNeurons)  # every layer here is made of them
    return int(layer.neurons.threshold.min()) < NEVER_FIRES


def _as_readout(layer: Layer) -> Layer:
    """The same layer as a readout, whose threshold does not count: the largest that the register holds."""
    assert isinstance(layer.neurons, FixedPointNeurons)
    return replace(layer, neurons=replace(layer.neurons, threshold=frozen_ints(NEVER_FIRES)), fires=False)
