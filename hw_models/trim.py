"""Trim codes: what the knob of a chip does to the Program that the chip computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Trim
from neurodeploy.ir.arrays import IntArray, Shape, frozen_floats, frozen_ints
from neurodeploy.ir.program import VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Neurons, Program

Codes = Mapping[str, IntArray]


def code_shape(trim: Trim, layer: Layer) -> Shape:
    """One code per neuron, or a single one for the layer."""
    return layer.shape if trim.per == "neuron" else ()


def trimmed(program: Program, nominal: Program, trim: Trim, codes: Codes) -> Program:
    """The Program of a chip whose knobs are set; the equations are `Trim`'s.

    Args:
        program: what the chip has.
        nominal: what was meant.
        codes: firing layer -> codes of `code_shape`; layers that are not named keep code 0.

    Raises:
        UsageError: naming the layer, for a code out of range, of the wrong shape, or of a layer that does not fire.
    """
    known = {layer.name for layer in program.layers if layer.fires}
    for name in codes:
        if name not in known:
            raise UsageError(f"trim codes for {name!r}: firing layers are {', '.join(sorted(known))}")
    layers = []
    for layer, meant in zip(program.layers, nominal.layers, strict=True):
        code = codes.get(layer.name)
        layers.append(layer if code is None else _moved(layer, meant, trim, code))
    return replace(program, layers=tuple(layers))


def _moved(layer: Layer, nominal: Layer, trim: Trim, code: IntArray) -> Layer:
    if code.shape != code_shape(trim, layer):
        raise UsageError(f"layer {layer.name}: trim codes of shape {code.shape}, {code_shape(trim, layer)} is expected")
    if np.abs(code).max() > trim.highest_code:
        raise UsageError(f"layer {layer.name}: trim code {np.abs(code).max()}, the largest is {trim.highest_code}")
    if not code.any():
        return layer
    shift = nominal.neurons.threshold * (trim.span * code / trim.highest_code)
    neurons: Neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        if trim.quantity == "threshold":
            threshold = np.maximum(neurons.threshold + np.rint(shift), 0)
            neurons = replace(neurons, threshold=frozen_ints(threshold.astype(np.int64)))
        else:
            bias = neurons.bias - shift * 2**VOLTAGE_UNIT_BITS
            mantissa = np.broadcast_to(np.rint(bias / 2**neurons.bias_exponent), layer.shape)
            neurons = replace(neurons, bias_mantissa=frozen_ints(mantissa.astype(np.int64)))
    elif trim.quantity == "threshold":
        neurons = replace(neurons, threshold=frozen_floats(np.maximum(neurons.threshold + shift, 0)))
    else:
        neurons = replace(neurons, bias=frozen_floats(np.broadcast_to(neurons.bias - shift, layer.shape)))
    return replace(layer, neurons=neurons)
