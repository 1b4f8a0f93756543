"""One layer of a lowered network as a chip stores it, at one scale: all rounding is here.

    weight_int = round(weight * source_scale / scale),   |weight_int| <= 2^(bits-1) - 1

Fixed-point decays are rounded to 1/4096, of the potential and of the current alike; biases to the mantissa at the
smallest exponent at which all fit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.ir.arrays import FloatArray, IntArray, frozen_ints
from neurodeploy.ir.lower import LoweredLayer, LoweredNetwork
from neurodeploy.ir.nodes import FIRING, LIF, CubaLIF, MembraneReadout
from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    SUM_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    FloatNeurons,
    Layer,
    Neurons,
)
from neurodeploy.ir.synapses import Synapses, largest_sum

UNIT = 2**VOLTAGE_UNIT_BITS


def threshold_scale(neuron: LIF | CubaLIF, threshold: int) -> float:
    """The scale at which a fixed-point chip stores the neuron's threshold as this integer, without error."""
    extra = 1 if neuron.fires_at_threshold else 0
    return float(UNIT * neuron.threshold / (UNIT * threshold + extra))


def float_layer(lowered: LoweredNetwork, layer: LoweredLayer, chip: ChipModel, scale: float | None = None) -> Layer:
    """The layer with floating-point neurons.

    The scale is by default the smallest power of two that holds the weights, and at which sums stay exact.
    """
    if scale is None:
        reach = max(
            largest_sum(one, highest_input(lowered, one)) * source_scale(lowered, one) for one in layer.synapses
        )
        least = max(largest_weight(lowered, layer) / chip.weight_max, reach / (SUM_LIMIT / 2))  # rounding adds to sums
        scale = float(2.0 ** np.ceil(np.log2(least)))
    neuron = layer.neuron
    neurons: Neurons
    if isinstance(neuron, MembraneReadout):
        neurons = FloatNeurons(np.array(neuron.decay), np.array(np.inf), layer.bias)
    else:
        neurons = FloatNeurons(
            np.array(neuron.decay),
            np.array(neuron.threshold),
            layer.bias,
            neuron.reset,
            neuron.fires_at_threshold,
            np.array(_current_decay(neuron)),
        )
    return _layer(lowered, layer, chip, neurons, scale)


def fixed_layer(lowered: LoweredNetwork, layer: LoweredLayer, chip: ChipModel, scale: float) -> Layer:
    """The layer with fixed-point neurons; a readout gets the largest threshold."""
    assert chip.threshold_max is not None
    neuron = layer.neuron
    if isinstance(neuron, MembraneReadout):
        threshold = chip.threshold_max
    else:
        extra = 1 if neuron.fires_at_threshold else 0
        threshold = round((neuron.threshold / scale * UNIT - extra) / UNIT)
    mantissa, exponent = _bias(layer.bias * (UNIT / scale), chip)
    decay, current_decay = (DECAY_ONE - round(kept * DECAY_ONE) for kept in (neuron.decay, _current_decay(neuron)))
    neurons = FixedPointNeurons(
        frozen_ints(decay), frozen_ints(threshold), mantissa, exponent, frozen_ints(current_decay)
    )
    return _layer(lowered, layer, chip, neurons, scale)


def _current_decay(neuron: LIF | CubaLIF | MembraneReadout) -> float:
    return neuron.current_decay if isinstance(neuron, CubaLIF) else 0.0


def _bias(units: FloatArray, chip: ChipModel) -> tuple[IntArray, int]:
    """(mantissa, exponent): the smallest exponent at which every mantissa fits."""
    assert chip.bias_mantissa_max is not None and chip.bias_exponents is not None
    for exponent in range(chip.bias_exponents[0], chip.bias_exponents[1] + 1):
        mantissa = np.rint(units / 2**exponent).astype(np.int64)
        if np.abs(mantissa).max() <= chip.bias_mantissa_max:
            return frozen_ints(mantissa), exponent
    limit = chip.bias_mantissa_max  # reached by rounding alone: the scales tried respect the limit itself
    return frozen_ints(np.clip(mantissa, -limit, limit)), exponent


def bias_limit(chip: ChipModel) -> int:
    """Largest bias in voltage units."""
    assert chip.bias_mantissa_max is not None and chip.bias_exponents is not None
    return chip.bias_mantissa_max << chip.bias_exponents[1]


def clips_bias(bias: float, chip: ChipModel) -> bool:
    """Whether the register cuts off a bias of so many voltage units, after rounding to its coarsest mantissa."""
    assert chip.bias_mantissa_max is not None and chip.bias_exponents is not None
    return round(bias / (1 << chip.bias_exponents[1])) > chip.bias_mantissa_max


def _layer(lowered: LoweredNetwork, layer: LoweredLayer, chip: ChipModel, neurons: Neurons, scale: float) -> Layer:
    synapses = tuple(_rounded(lowered, one, chip, scale) for one in layer.synapses)
    return Layer(layer.name, layer.shape, synapses, neurons, scale, fires=isinstance(layer.neuron, FIRING))


def _rounded(lowered: LoweredNetwork, synapses: Synapses, chip: ChipModel, scale: float) -> Synapses:
    exact = synapses.weight * (source_scale(lowered, synapses) / scale)
    weight = np.clip(np.rint(exact), -chip.weight_max, chip.weight_max).astype(np.int64)
    return replace(synapses, weight=frozen_ints(weight))


def largest_weight(lowered: LoweredNetwork, layer: LoweredLayer) -> float:
    """Largest |weight| × source scale; 1 where all weights are zero, so that a scale exists."""
    largest = max(float(np.abs(one.weight).max()) * source_scale(lowered, one) for one in layer.synapses)
    return largest or 1.0


def source_scale(lowered: LoweredNetwork, synapses: Synapses) -> float:
    """The Network's unit per integer that the source puts out."""
    return lowered.input.scale if synapses.source == INPUT else 1.0


def highest_input(lowered: LoweredNetwork, synapses: Synapses) -> int:
    """The largest integer that the source puts out."""
    return int(2**lowered.input.bits - 1) if synapses.source == INPUT else 1
