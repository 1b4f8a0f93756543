"""Settings of knobs: what a chip computes once they are written. The equations are those of `hw_models.chip.Knob`.

A chip's settings are named integer arrays:

    quantity/granularity/layer    codes of a knob: one per neuron or core, or a single one, `code_shape`
    weight/i/layer                the weights of the layer's i-th synapses, as they are written
    weight/bias/layer             what is added to the biases beside them, in units of a weight or of the mantissa

What is not named stays as the Program says. A fixed-point neuron's threshold and bias end where its registers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Knob
from neurodeploy.ir.arrays import FloatArray, IntArray, Shape, frozen_floats, frozen_ints
from neurodeploy.ir.program import (
    BIAS_MANTISSA,
    DECAY_ONE,
    THRESHOLD_MAX,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    FloatNeurons,
    Layer,
    Neurons,
    Program,
)

Settings = Mapping[str, IntArray]

WEIGHT = "weight"
BIAS = "bias"


def code_shape(knob: Knob, layer: Layer) -> Shape:
    """One code per neuron or core, or a single one for the layer (and the same in all layers for the chip)."""
    if knob.per == "neuron":
        return layer.shape
    return (-(-int(np.prod(layer.shape)) // knob.core_size),) if knob.per == "core" else ()


def weight_key(layer: str, part: int | str) -> str:
    """The name of a layer's weights among settings: `part` is the number of its synapses, or "bias"."""
    return f"{WEIGHT}/{part}/{layer}"


def unset(program: Program, key: str) -> IntArray:
    """What a setting means that nobody has written: code 0, or the Program's own weights."""
    quantity, part, name = key.split("/", 2)
    if quantity != WEIGHT or part == BIAS:
        return np.zeros((), dtype=np.int64)
    return next(layer for layer in program.layers if layer.name == name).synapses[int(part)].weight


def described(knobs: Sequence[Knob]) -> str:
    """The knobs of a chip, for messages."""
    return ", ".join(f"{knob.name} ({knob.bits} bits)" for knob in knobs) or "none"


def over_neurons(values: FloatArray, knob: Knob, layer: Layer) -> FloatArray:
    """Values of `code_shape`, one for every neuron where there are several."""
    if knob.per != "core":
        return values
    size = int(np.prod(layer.shape))
    return np.repeat(values, knob.core_size)[:size].reshape(layer.shape)


def written(program: Program, knobs: Sequence[Knob], settings: Settings) -> Program:
    """The Program with the weights and biases that settings hold; its other codes are left to `adjusted`.

    Raises:
        UsageError: naming the layer, for weights that do not fit, or where the chip has no such knob.
    """
    if not any(name.startswith(f"{WEIGHT}/") for name in settings):
        return program
    layers = []
    for layer in program.layers:
        keys = {part: weight_key(layer.name, part) for part in (BIAS, *range(len(layer.synapses)))}
        given = {part: settings[key] for part, key in keys.items() if key in settings}
        if given:
            layer = _with_weights(layer, given, _weight_knob(knobs, program, layer))
        layers.append(layer)
    return replace(program, layers=tuple(layers))


def adjusted(own: Program, nominal: Program, knobs: Sequence[Knob], settings: Settings) -> Program:
    """The Program of a chip whose thresholds, biases and gains are set.

    Args:
        own: what the chip has.
        nominal: what was meant; shifts are relative to its thresholds.
        knobs: of the chip.
        settings: see above; those of weights are left to `written`.

    Raises:
        UsageError: naming the layer, for a knob that the chip has not, for a code out of range or of the wrong shape,
            and for a layer that does not fire.
    """
    check_settings(nominal, knobs, settings)
    layers = []
    for layer, meant in zip(own.layers, nominal.layers, strict=True):
        for knob in knobs:
            code = settings.get(knob.key(layer.name))
            if code is not None and knob.per != "synapse" and code.any():
                layer = _moved(layer, meant, knob, code)
        layers.append(layer)
    return replace(own, layers=tuple(layers))


def check_settings(program: Program, knobs: Sequence[Knob], settings: Settings) -> None:
    """Whether settings are such as a chip with these knobs takes; raises as `adjusted` and `written` do."""
    by_name = {f"{knob.quantity}/{knob.per}": knob for knob in knobs}
    firing = {layer.name: layer for layer in program.layers if layer.fires}
    everywhere: dict[Knob, int] = {}
    for name, code in settings.items():
        quantity, _, rest = name.partition("/")
        granularity, _, layer = rest.partition("/")
        if quantity == WEIGHT and (granularity == BIAS or granularity.isdecimal()):
            _check_weights(program, layer, granularity)
            continue
        knob = by_name.get(f"{quantity}/{granularity}")
        if knob is None:
            raise UsageError(f"setting {name!r}: the chip has {described(knobs)}")
        if layer not in firing:
            raise UsageError(f"codes for {layer!r}: firing layers are {', '.join(sorted(firing))}")
        expected = code_shape(knob, firing[layer])
        if code.shape != expected or code.dtype.kind not in "iu":
            raise UsageError(f"layer {layer}: codes of shape {code.shape} for {knob.name}, {expected} is expected")
        largest = int(np.abs(code).max(initial=0))
        if largest > knob.highest_code:
            raise UsageError(f"layer {layer}: code {largest} of {knob.name}, the largest is {knob.highest_code}")
        if knob.per == "chip" and everywhere.setdefault(knob, int(code)) != int(code):
            raise UsageError(f"layer {layer}: {knob.name} is one knob, its code is the same in all layers")


def _check_weights(program: Program, name: str, part: str) -> None:
    layer = next((layer for layer in program.layers if layer.name == name), None)
    if layer is None or (part != BIAS and int(part) >= len(layer.synapses)):
        raise UsageError(f"weights {part} of layer {name!r}: there are none; layers are {', '.join(program.shapes)}")


def _moved(layer: Layer, nominal: Layer, knob: Knob, code: IntArray) -> Layer:
    relative = over_neurons(np.asarray(knob.step * code), knob, layer)
    neurons = layer.neurons
    if knob.quantity == "gain":
        divided = 1 + relative
        if isinstance(neurons, FixedPointNeurons):
            neurons = _with_threshold(neurons, neurons.threshold * divided)
            return replace(layer, neurons=_with_bias(neurons, neurons.bias_mantissa * divided))
        scaled = frozen_floats(np.broadcast_to(neurons.bias * divided, layer.shape))
        return replace(
            layer, neurons=replace(neurons, threshold=frozen_floats(neurons.threshold * divided), bias=scaled)
        )
    if knob.quantity == "leak":
        return replace(layer, neurons=_leaking(neurons, nominal.neurons, relative, layer.shape))
    shift = nominal.neurons.threshold * relative
    if isinstance(neurons, FixedPointNeurons):
        if knob.quantity == "threshold":
            return replace(layer, neurons=_with_threshold(neurons, neurons.threshold + np.rint(shift)))
        bias = neurons.bias - shift * 2**VOLTAGE_UNIT_BITS
        whole = np.broadcast_to(bias / 2**neurons.bias_exponent, layer.shape)
        return replace(layer, neurons=_with_bias(neurons, whole))
    if knob.quantity == "threshold":
        return replace(
            layer, neurons=replace(neurons, threshold=frozen_floats(np.maximum(neurons.threshold + shift, 0)))
        )
    return replace(
        layer, neurons=replace(neurons, bias=frozen_floats(np.broadcast_to(neurons.bias - shift, layer.shape)))
    )


def bias_room(layer: Layer) -> tuple[FloatArray, FloatArray]:
    """(lowest, highest) that settings may add to a layer's biases; no end where there is no register."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        low, high = (np.asarray(end - neurons.bias_mantissa, dtype=np.float64) for end in BIAS_MANTISSA)
        return np.minimum(low, 0), np.maximum(high, 0)
    return np.full(layer.shape, -np.inf), np.full(layer.shape, np.inf)


def _with_threshold(neurons: FixedPointNeurons, wanted: NDArray[Any]) -> FixedPointNeurons:
    """What the register takes of it; a threshold above all of its values, of a neuron that is dead, stays."""
    most = np.maximum(neurons.threshold, THRESHOLD_MAX)
    return replace(neurons, threshold=frozen_ints(np.clip(np.rint(wanted), 0, most).astype(np.int64)))


def _with_bias(neurons: FixedPointNeurons, wanted: NDArray[Any]) -> FixedPointNeurons:
    """What the register takes of a mantissa; one that lies outside already goes no further."""
    low = np.minimum(neurons.bias_mantissa, BIAS_MANTISSA[0])
    high = np.maximum(neurons.bias_mantissa, BIAS_MANTISSA[1])
    return replace(neurons, bias_mantissa=frozen_ints(np.clip(np.rint(wanted), low, high).astype(np.int64)))


def _leaking(neurons: Neurons, meant: Neurons, relative: FloatArray, shape: Shape) -> Neurons:
    """Neurons whose decay is lower by a share of the nominal one."""
    if isinstance(neurons, FixedPointNeurons) and isinstance(meant, FixedPointNeurons):
        less = np.rint((DECAY_ONE - meant.voltage_decay) * relative).astype(np.int64)
        # A register of 12 bits; a decay that is 4096 already has none, and stays.
        most = np.maximum(neurons.voltage_decay, DECAY_ONE - 1)
        decay = np.broadcast_to(np.clip(neurons.voltage_decay + less, 0, most), shape)
        return replace(neurons, voltage_decay=frozen_ints(decay))
    assert isinstance(neurons, FloatNeurons)
    assert isinstance(meant, FloatNeurons)
    decays = np.broadcast_to(np.clip(neurons.decay - meant.decay * relative, 0, 1), shape)
    return replace(neurons, decay=frozen_floats(decays))


def weight_knob(knobs: Sequence[Knob], program: Program, layer: str) -> Knob | None:
    """The knob that writes a layer's weights, or None; "readout" writes those of the last layer alone."""
    wanted = ("weight", "readout") if layer == program.layers[-1].name else ("weight",)
    return next((knob for knob in knobs if knob.quantity in wanted), None)


def _weight_knob(knobs: Sequence[Knob], program: Program, layer: Layer) -> Knob:
    knob = weight_knob(knobs, program, layer.name)
    if knob is None:
        raise UsageError(f"layer {layer.name}: its weights cannot be written, the chip has {described(knobs)}")
    return knob


def _with_weights(layer: Layer, given: Mapping[int | str, IntArray], knob: Knob) -> Layer:
    synapses = list(layer.synapses)
    for part, values in given.items():
        if part == BIAS:
            continue
        assert isinstance(part, int)
        if values.shape != synapses[part].weight.shape or values.dtype.kind not in "iu":
            raise UsageError(
                f"layer {layer.name}: weights of shape {values.shape}, {synapses[part].weight.shape} is expected"
            )
        if np.abs(values).max() > knob.highest_code:
            raise UsageError(f"layer {layer.name}: weight {np.abs(values).max()}, the largest is {knob.highest_code}")
        synapses[part] = replace(synapses[part], weight=frozen_ints(values))
    neurons = layer.neurons
    bias = given.get(BIAS)
    if bias is not None:
        if bias.shape != layer.shape:
            raise UsageError(f"layer {layer.name}: biases of shape {bias.shape}, {layer.shape} is expected")
        if isinstance(neurons, FixedPointNeurons):
            neurons = _with_bias(neurons, neurons.bias_mantissa + bias)
        else:
            neurons = replace(neurons, bias=frozen_floats(neurons.bias + bias * layer.scale))
    return replace(layer, synapses=tuple(synapses), neurons=neurons)
