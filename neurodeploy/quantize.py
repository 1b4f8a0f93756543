"""Quantisation: Network + chip -> Program, with weights, thresholds, biases and decays rounded jointly.

Per layer one scale s is chosen, the Network's unit of potential per weight unit:

    weight_int = round(weight * source_scale / s),   |weight_int| <= 2^(bits-1) - 1

For fixed-point neurons (Loihi 2) the threshold takes part in the choice: only scales at which the threshold is an
integer are tried, s = threshold / q, so that it is not rounded at all. Neurons that fire at equality use
s = 64 threshold / (64 q + 1), because v >= 64 q + 1 is the strict v > 64 q that the chip computes. Among these scales
the one is taken at which the layer, behind the quantised layers before it, differs least from the float network on
calibration data.

For floating-point neurons s is the smallest power of two that holds the weights; nothing but the weights is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.ir.lower import LoweredLayer, LoweredNetwork, lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import FIRING, CubaLIF
from neurodeploy.ir.program import DECAY_ONE, INPUT, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import extreme_sums
from neurodeploy.quantize_layer import (
    UNIT,
    bias_limit,
    clips_bias,
    fixed_layer,
    float_layer,
    highest_input,
    largest_weight,
    source_scale,
)
from neurodeploy.quantize_layer import threshold_scale as threshold_scale

if TYPE_CHECKING:
    from neurodeploy.simulate.resumed import Rest

# Tried around the scale at which the largest weight just fits: below 1 coarser, above 1 finer with large weights
# clipped. Nearest first, and the first of equals is kept.
_RELATIVE_SCALES = (1.0, 1.15, 0.85, 1.3, 0.7, 1.5, 0.5, 1.8, 2.2)
# A readout that never fires must stay below the largest threshold for all steps; it is scaled to this share of it.
_READOUT_HEADROOM = 0.9


def quantize(
    network: Network,
    chip: ChipModel,
    calibration: NDArray[Any] | None = None,
    scales: Mapping[str, float] | None = None,
) -> Program:
    """The Program that a chip stores for a network.

    Args:
        network: the float network.
        chip: the chip model.
        calibration: integer inputs, (B, *shape) or (T, B, *shape), on which scales are chosen. Without it the scale at
            which the largest weight just fits is taken.
        scales: layer -> scale, where they are chosen already; weights beyond the range are clipped. On a fixed-point
            chip a threshold is exact at `threshold_scale` of an integer, and else rounded.

    Raises:
        UsageError: where a layer's scale is missing, or not positive.
        DesignRuleError: naming every layer that the chip cannot hold, at the scales that are given.
    """
    lowered = lower(network)
    violations = [f"layer {layer.name}: {text}" for layer in lowered.layers for text in _violations(layer, chip)]
    if violations:
        raise DesignRuleError(chip.name, violations)
    if scales is not None:
        return _at_scales(lowered, chip, scales)
    if not chip.fixed_point:
        layers = tuple(float_layer(lowered, layer, chip) for layer in lowered.layers)
        return Program(chip.name, network.steps, network.input, layers, lowered.readout)
    if calibration is None:
        layers = tuple(
            fixed_layer(lowered, one, chip, _candidates(lowered, one, chip, (1.0,))[0]) for one in lowered.layers
        )
        return Program(chip.name, network.steps, network.input, layers, lowered.readout)
    return _searched(lowered, chip, calibration)


def _at_scales(lowered: LoweredNetwork, chip: ChipModel, scales: Mapping[str, float]) -> Program:
    violations, layers = [], []
    for layer in lowered.layers:
        scale = scales.get(layer.name)
        if scale is None or not (np.isfinite(scale) and scale > 0):
            raise UsageError(f"scale of layer {layer.name}: {scale}; a finite and positive number is expected")
        if not chip.fixed_point:
            layers.append(float_layer(lowered, layer, chip, scale))
            continue
        layers.append(fixed_layer(lowered, layer, chip, scale))
        bias, threshold = float(np.abs(layer.bias).max()) * UNIT / scale, int(layers[-1].neurons.threshold)
        if clips_bias(bias, chip):
            violations.append(f"layer {layer.name}: bias of {bias:.0f} at this scale, at most {bias_limit(chip)}")
        if not 1 <= threshold <= (chip.threshold_max or 0):
            violations.append(f"layer {layer.name}: threshold {threshold} at this scale, 1 to {chip.threshold_max}")
        if not isinstance(layer.neuron, FIRING) and _roomy(lowered, layer, chip, scale) > scale:
            violations.append(f"layer {layer.name}: at this scale it could reach the largest threshold, and fire")
    if violations:
        raise DesignRuleError(chip.name, violations)
    return Program(chip.name, lowered.steps, lowered.input, tuple(layers), lowered.readout)


def _violations(layer: LoweredLayer, chip: ChipModel) -> list[str]:
    """What no scale can mend."""
    found = []
    if isinstance(layer.neuron, FIRING) and layer.neuron.reset not in chip.resets:
        found.append(
            f"reset {layer.neuron.reset!r}: {chip.name} has {', '.join(map(repr, chip.resets))}; train with that"
        )
    if isinstance(layer.neuron, CubaLIF) and layer.neuron.most_spikes > 1:
        found.append(
            f"fires up to {layer.neuron.most_spikes} times in a step, {chip.name} once; export for xylo, or train with "
            "network.most_spikes=1"
        )
    if chip.fixed_point and isinstance(layer.neuron, FIRING):
        finest = _finest_threshold(layer, chip)
        if finest < 1:
            smallest = UNIT + (1 if layer.neuron.fires_at_threshold else 0)
            found.append(
                f"bias up to {np.abs(layer.bias).max():.4g} with threshold {layer.neuron.threshold:.4g}: the bias "
                f"register of {chip.name} holds at most {bias_limit(chip) / smallest:.0f} times the smallest threshold"
            )
    return found


# --- fixed-point neurons ------------------------------------------------------------------------------------------


def _searched(lowered: LoweredNetwork, chip: ChipModel, calibration: NDArray[Any]) -> Program:
    """Layer by layer, the scale whose output on the calibration data differs least from the float network's."""
    from neurodeploy.hw_models.ideal import CHIP as IDEAL
    from neurodeploy.simulate import engine

    wanted = engine.run(
        Program(
            IDEAL.name,
            lowered.steps,
            lowered.input,
            tuple(float_layer(lowered, layer, IDEAL) for layer in lowered.layers),
            lowered.readout,
        ),
        calibration,
    )
    done: tuple[Layer, ...] = ()
    spikes: dict[str, NDArray[Any]] = {}  # of the layers that are quantised, which the next ones start from
    for layer in lowered.layers:
        best: tuple[float, Layer, Mapping[str, NDArray[Any]]] | None = None
        for scale in _candidates(lowered, layer, chip, _RELATIVE_SCALES):
            candidate = fixed_layer(lowered, layer, chip, scale)
            readout = lowered.readout if layer is lowered.layers[-1] else "spike_count"
            parts = _runnable((*done, candidate))
            if layer.name not in {part.name for part in parts}:  # nothing to compare yet: the scale that just fits
                best = (0.0, fixed_layer(lowered, layer, chip, _candidates(lowered, layer, chip, (1.0,))[0]), {})
                break
            got = _behind(spikes, Program(chip.name, lowered.steps, lowered.input, parts, readout), calibration)
            if candidate.fires:
                difference = float(np.mean(got.spikes[layer.name] != wanted.spikes[layer.name]))
            else:
                difference = float(np.abs(got.readout * candidate.scale / UNIT - wanted.readout).mean())
            if best is None or difference < best[0]:
                best = (difference, candidate, got.spikes)
        assert best is not None  # _candidates is never empty: _violations has refused what it could not serve
        done = (*done, best[1])
        spikes.update(best[2])
    return Program(chip.name, lowered.steps, lowered.input, done, lowered.readout)


def _behind(spikes: Mapping[str, NDArray[Any]], program: Program, inputs: NDArray[Any]) -> Rest:
    """The program's run, but for its first layers, as far as they are known and hear nothing of those behind."""
    from neurodeploy.simulate.resumed import independent, run_on  # imports torch

    last = len(program.layers) - 1
    known = next((index for index, layer in enumerate(program.layers[:last]) if layer.name not in spikes), last)
    known = independent(program.layers, known)
    return run_on(program, inputs, {layer.name: spikes[layer.name] for layer in program.layers[:known]})


def _runnable(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers without delayed synapses whose sources are not quantised yet, and without what nothing else feeds."""
    present = {INPUT} | {layer.name for layer in layers}
    kept = {layer.name: tuple(one for one in layer.synapses if one.source in present) for layer in layers}
    if not all(kept.values()):
        return _runnable(tuple(layer for layer in layers if kept[layer.name]))
    return tuple(replace(layer, synapses=kept[layer.name]) for layer in layers)


def _candidates(
    lowered: LoweredNetwork, layer: LoweredLayer, chip: ChipModel, relative: tuple[float, ...]
) -> list[float]:
    """Scales at which the threshold is an integer and every register holds, near the one that just fits the weights."""
    fitting = largest_weight(lowered, layer) / chip.weight_max
    if not isinstance(layer.neuron, FIRING):
        smallest = max(fitting, _readout_scale(lowered, layer, chip))
        return [_roomy(lowered, layer, chip, smallest / factor) for factor in relative if factor <= 1]
    finest = _finest_threshold(layer, chip)
    thresholds = [int(np.clip(np.floor(layer.neuron.threshold / fitting * factor), 1, finest)) for factor in relative]
    return [threshold_scale(layer.neuron, q) for q in dict.fromkeys(thresholds)]


def _finest_threshold(layer: LoweredLayer, chip: ChipModel) -> int:
    """The largest integer threshold at which threshold and bias registers hold (0: there is none)."""
    assert isinstance(layer.neuron, FIRING) and chip.threshold_max is not None
    extra = 1 if layer.neuron.fires_at_threshold else 0
    bias = float(np.abs(layer.bias).max())
    limit = float(chip.threshold_max)
    if bias > 0:
        limit = min(limit, (bias_limit(chip) * layer.neuron.threshold / bias - extra) / UNIT)
    return int(limit)


def _readout_scale(lowered: LoweredNetwork, layer: LoweredLayer, chip: ChipModel) -> float:
    """The smallest scale at which a readout's potential never reaches the largest threshold, nor its bias overflows."""
    assert chip.threshold_max is not None
    per_step = float(np.abs(layer.bias).max())
    for synapses in layer.synapses:
        low, high = extreme_sums(synapses, 0, highest_input(lowered, synapses))
        per_step += max(-low, high) * source_scale(lowered, synapses)
    decay = layer.neuron.decay
    steps = lowered.steps if decay == 1 else (1 - decay**lowered.steps) / (1 - decay)
    bias_scale = float(np.abs(layer.bias).max()) * UNIT / bias_limit(chip)
    return float(max(per_step * steps / (_READOUT_HEADROOM * chip.threshold_max), bias_scale))


def _roomy(lowered: LoweredNetwork, layer: LoweredLayer, chip: ChipModel, scale: float) -> float:
    """The scale, coarser where rounding alone (weights of half a unit, a decay near 1) would reach the threshold."""
    while True:
        rounded = fixed_layer(lowered, layer, chip, scale)
        neurons = rounded.neurons
        assert isinstance(neurons, FixedPointNeurons)
        per_step = float(np.abs(neurons.bias).max())
        for synapses in rounded.synapses:
            low, high = extreme_sums(synapses, 0, highest_input(lowered, synapses))
            per_step += max(-low, high) * UNIT
        decay = (DECAY_ONE - int(neurons.voltage_decay)) / DECAY_ONE
        steps = lowered.steps if decay == 1 else (1 - decay**lowered.steps) / (1 - decay)
        if per_step * steps < int(neurons.threshold) * UNIT:
            return scale
        scale *= 1.1
