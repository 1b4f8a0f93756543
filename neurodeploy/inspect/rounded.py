"""What quantisation did to a network, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.lower import LoweredLayer, lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.program import DECAY_ONE, INPUT, VOLTAGE_UNIT_BITS, FloatNeurons, Layer, Neurons, Program
from neurodeploy.ir.synapses import DenseSynapses, Synapses

_UNIT = 2**VOLTAGE_UNIT_BITS


@dataclass(frozen=True)
class Rounding:
    """One layer before and after quantisation; errors are relative to the exact value, in percent.

    Attributes:
        threshold, decay: of the Network; None for the threshold of a readout.
        decay_stored: what the chip computes with.
        weight_error_rms_percent: root mean square error over the root mean square weight.
        weights_clipped_percent: share of non-zero weights at the end of the range that would lie beyond it.
        weights_zero_percent: share of non-zero weights that became zero; where a layer is sparse, the zeros that it has
            anyway are no part of it.
        current_decay: fraction of the current that is kept each step (0: a current without memory).
    """

    layer: str
    threshold: float | None
    threshold_error_percent: float | None
    decay: float
    decay_stored: float
    decay_error_percent: float
    bias_error_percent: float
    weight_error_rms_percent: float
    weights_clipped_percent: float
    weights_zero_percent: float
    current_decay: float = 0.0
    current_decay_stored: float = 0.0


def rounding(network: Network, program: Program, chip: ChipModel) -> list[Rounding]:
    """One row per layer; `program` must come from `network`."""
    lowered = lower(network)
    return [
        _rounding(exact, stored, lowered.input.scale, chip)
        for exact, stored in zip(lowered.layers, program.layers, strict=True)
    ]


def _rounding(exact: LoweredLayer, stored: Layer, input_scale: float, chip: ChipModel) -> Rounding:
    wanted, got, ends = [], [], []
    for before, after in zip(exact.synapses, stored.synapses, strict=True):
        factor = input_scale if before.source == INPUT else 1.0
        unit = stored.scale * 2.0 ** _exponent(after)
        wanted.append(before.weight.ravel() * factor)
        got.append(after.weight.ravel() * unit)
        ends.append(np.full(after.weight.size, (chip.weight_max + 0.5) * unit))
    weights, kept = np.concatenate(wanted), np.concatenate(got)
    size = float(np.sqrt(np.mean(weights**2))) or 1.0
    there = weights != 0
    clipped, lost = np.abs(weights) > np.concatenate(ends), there & (kept == 0)
    connections = int(there.sum()) or 1
    neuron, neurons = exact.neuron, stored.neurons
    threshold, bias = _threshold_and_bias(stored)
    decay, current_decay = retained(neurons)
    meant = getattr(neuron, "threshold", None)  # a readout has none
    largest_bias = float(np.abs(exact.bias).max()) or 1.0
    return Rounding(
        exact.name,
        meant,
        None if meant is None else 100 * (threshold / meant - 1),
        neuron.decay,
        decay,
        100 * (decay / neuron.decay - 1),
        100 * float(np.abs(bias - exact.bias).max()) / largest_bias,
        100 * float(np.sqrt(np.mean((kept - weights) ** 2))) / size,
        100 * int(clipped.sum()) / connections,
        100 * int(lost.sum()) / connections,
        float(getattr(neuron, "current_decay", 0.0)),
        current_decay,
    )


def retained(neurons: Neurons) -> tuple[float, float]:
    """Fractions of potential and of current that are kept each step, means over the neurons."""
    if isinstance(neurons, FloatNeurons):
        return float(neurons.decay.mean()), float(neurons.current_decay.mean())
    kept = [1 - float(values.mean()) / DECAY_ONE for values in (neurons.voltage_decay, neurons.current_decay)]
    return kept[0], kept[1]


def _threshold_and_bias(layer: Layer) -> tuple[float, FloatArray]:
    """In the Network's units, as the chip computes with them."""
    neurons = layer.neurons
    if isinstance(neurons, FloatNeurons):
        return float(neurons.threshold.mean()), neurons.bias
    return float(neurons.threshold.mean()) * layer.scale, neurons.bias * (layer.scale / _UNIT)


def _exponent(synapses: Synapses) -> int:
    return synapses.weight_exponent if isinstance(synapses, DenseSynapses) else 0
