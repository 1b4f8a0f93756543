"""What quantisation did to a network, layer by layer, and what to look at before trusting it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.ir.lower import LoweredLayer, lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import LIF
from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    STATE_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    FloatNeurons,
    Layer,
    Program,
)
from neurodeploy.ir.synapses import extreme_sums

_UNIT = 2**VOLTAGE_UNIT_BITS
_ALIVE = (0.001, 0.999)  # a layer whose mean firing rate lies outside decides nothing
_LARGE_ZERO_SHARE = 0.5
_LARGE_CLIPPED_SHARE = 0.01


@dataclass(frozen=True)
class Rounding:
    """One layer before and after quantisation; errors are relative to the exact value, in percent.

    Attributes:
        threshold, decay: of the Network; None for the threshold of a readout.
        decay_stored: what the chip computes with.
        weight_error_rms_percent: root mean square error over the root mean square weight.
        weights_clipped_percent: share of weights at the end of the range that would lie beyond it.
        weights_zero_percent: share of non-zero weights that became zero.
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


def rounding(network: Network, program: Program, chip: ChipModel) -> list[Rounding]:
    """One row per layer; `program` must come from `network`."""
    lowered = lower(network)
    return [
        _rounding(exact, stored, lowered.input.scale, chip)
        for exact, stored in zip(lowered.layers, program.layers, strict=True)
    ]


def warnings(program: Program, chip: ChipModel, rates: Mapping[str, float], rows: list[Rounding]) -> list[str]:
    """What is allowed but likely wrong, with layer names.

    Args:
        rates: layer -> mean firing rate of the quantised network on calibration data.
        rows: of `rounding`.
    """
    found = []
    for layer in program.layers:
        rate = rates.get(layer.name)
        if rate is not None and not _ALIVE[0] <= rate <= _ALIVE[1]:
            state = "silent" if rate < _ALIVE[0] else "saturated"
            found.append(f"layer {layer.name}: {state}, mean firing rate {rate:.2%}; change its threshold or retrain")
        if program.fixed_point:
            reach = _largest_current(program, layer)
            if reach >= STATE_LIMIT:
                found.append(
                    f"layer {layer.name}: the current could reach {reach / STATE_LIMIT:.1f} times its 24-bit register "
                    "for the worst input, and would wrap"
                )
    for row in rows:
        if row.weights_clipped_percent > 100 * _LARGE_CLIPPED_SHARE:
            found.append(
                f"layer {row.layer}: {row.weights_clipped_percent:.1f} % of its weights lie beyond {chip.weight_bits} "
                "bits and were clipped; its weights are large against its threshold"
            )
        if row.weights_zero_percent > 100 * _LARGE_ZERO_SHARE:
            found.append(
                f"layer {row.layer}: {row.weights_zero_percent:.0f} % of its weights became zero at "
                f"{chip.weight_bits} bits"
            )
    return found


def _rounding(exact: LoweredLayer, stored: Layer, input_scale: float, chip: ChipModel) -> Rounding:
    wanted, got = [], []
    for before, after in zip(exact.synapses, stored.synapses, strict=True):
        factor = input_scale if before.source == INPUT else 1.0
        wanted.append(before.weight.ravel() * factor)
        got.append(after.weight.ravel() * stored.scale)
    weights, kept = np.concatenate(wanted), np.concatenate(got)
    size = float(np.sqrt(np.mean(weights**2))) or 1.0
    clipped = np.abs(weights) > (chip.weight_max + 0.5) * stored.scale
    lost = (weights != 0) & (kept == 0)
    threshold, decay, bias = _stored_values(stored)
    meant = exact.neuron.threshold if isinstance(exact.neuron, LIF) else None
    largest_bias = float(np.abs(exact.bias).max()) or 1.0
    return Rounding(
        exact.name,
        meant,
        None if meant is None else 100 * (threshold / meant - 1),
        exact.neuron.decay,
        decay,
        100 * (decay / exact.neuron.decay - 1),
        100 * float(np.abs(bias - exact.bias).max()) / largest_bias,
        100 * float(np.sqrt(np.mean((kept - weights) ** 2))) / size,
        100 * float(clipped.mean()),
        100 * float(lost.mean()),
    )


def _stored_values(layer: Layer) -> tuple[float, float, np.ndarray]:
    """(threshold, decay, bias) in the Network's units, as the chip computes with them."""
    neurons = layer.neurons
    if isinstance(neurons, FloatNeurons):
        return float(neurons.threshold.mean()), float(neurons.decay.mean()), neurons.bias
    decay = (DECAY_ONE - float(neurons.voltage_decay.mean())) / DECAY_ONE
    return float(neurons.threshold.mean()) * layer.scale, decay, neurons.bias * (layer.scale / _UNIT)


def _largest_current(program: Program, layer: Layer) -> float:
    """Largest possible |current| of a fixed-point layer in voltage units."""
    assert isinstance(layer.neurons, FixedPointNeurons)
    total = 0.0
    for synapses in layer.synapses:
        highest = 2**program.input.bits - 1 if synapses.source == INPUT else 1
        low, high = extreme_sums(synapses, 0, highest)
        total += max(-low, high)
    return float(total * _UNIT)
