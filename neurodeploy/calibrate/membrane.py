"""What membrane probes tell: each neuron's own decay and threshold, from one recording instead of a search.

A probe gives the potential after reset. With I[t] what the recorded spikes of a layer's sources bring nominally, and
p[t] = u[t-1] what a neuron starts a step with, least squares over the steps without a spike give its decay, and the
potentials on both sides of its threshold enclose it:

    decay'      = Σ (u[t] - I[t]) p[t] / Σ p[t]²
    threshold'  = (max u[t] of the steps without a spike + min (decay' p[t] + I[t]) of those with one) / 2

Where it never fired, or always, the nominal threshold stands in for the side that was not seen. What really arrived in
a step without a spike is u[t] - decay' p[t], and is taken for I[t]. With these the neuron's spikes at any other code
follow by its equation, and codes are searched without running the chip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.algorithms import Response
from neurodeploy.calibrate.device import RackSettings
from neurodeploy.calibrate.work import Work, current_kept, in_weight_units
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.knobs import over_neurons
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.program import INPUT, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Program
from neurodeploy.simulate.outside import sums
from neurodeploy.simulate.recording import Recording
from neurodeploy.simulate.spiking_tables import channels_first


def cannot_probe(program: Program, knob: Knob) -> str | None:
    """Why potentials do not tell where a code has to be, or None."""
    if knob.quantity not in ("threshold", "bias"):
        return f"measure membrane finds thresholds and biases, no {knob.quantity}"
    for layer in program.layers:
        delayed = any(one.delay or getattr(one, "delays", None) is not None for one in layer.synapses)
        if layer.fires and (delayed or np.any(current_kept(layer) != 0)):
            return f"measure membrane: layer {layer.name} has currents with memory or delays"
    return None


def replayed(work: Work, layer: Layer, knob: Knob, settings: RackSettings) -> Response:
    """One recording of the measurement samples, and what it says of other codes of a layer with one per neuron."""
    inputs = work.parts[0]
    start = work.start(knob, layer, settings)
    recordings, biases = work.bench.recordings(inputs, settings, potentials=True), _biases(work, layer, settings)
    neurons = [_Neurons(work.program, layer, one, inputs, bias) for one, bias in zip(recordings, biases, strict=True)]
    step = knob.step * in_weight_units(layer)[1]
    wanted = work.wanted[0][layer.name]

    def response(codes: IntArray) -> NDArray[Any]:
        moved = (codes - start) * step
        return (
            np.stack([one.counts(by, knob.quantity == "bias") for one, by in zip(neurons, moved, strict=True)]) - wanted
        )

    return response


def _biases(work: Work, layer: Layer, settings: RackSettings) -> FloatArray:
    """(chips, *shape): the nominal biases, moved as they are set, in units of a weight."""
    _, threshold, bias = in_weight_units(layer)
    found = np.broadcast_to(bias, (work.bench.device.chips, *layer.shape))
    for knob in work.bench.device.knobs:
        if knob.quantity == "bias":
            codes = work.start(knob, layer, settings)
            moved = [over_neurons(knob.step * code, knob, layer) * threshold for code in codes]
            found = np.stack([one - by for one, by in zip(found, moved, strict=True)])
    return found


class _Neurons:
    """The neurons of one chip's layer, as a recording shows them; `bias` is what they are set to."""

    def __init__(
        self, program: Program, layer: Layer, recording: Recording, inputs: NDArray[Any], bias: FloatArray
    ) -> None:
        fixed = isinstance(layer.neurons, FixedPointNeurons)
        decay, threshold, _ = in_weight_units(layer)
        u = recording.potentials[layer.name] / (2.0**VOLTAGE_UNIT_BITS if fixed else layer.scale)
        fired = recording.spikes[layer.name] > 0
        before = np.concatenate([np.zeros_like(u[:1]), u[:-1]])
        arriving = _arriving(program, layer, recording, inputs) + bias
        weight = np.where(fired, 0.0, before)
        power = np.square(weight).sum(axis=(0, 1))
        found = ((u - arriving) * weight).sum(axis=(0, 1)) / np.where(power > 0, power, 1.0)
        self.decay = np.where(power > 0, np.clip(found, 0.0, 1.0), decay)
        nominal = np.broadcast_to(threshold, layer.shape)
        quiet = np.where(fired, -np.inf, u).max(axis=(0, 1))
        reached = np.where(fired, self.decay * before + arriving, np.inf).min(axis=(0, 1))
        low, high = np.where(np.isfinite(quiet), quiet, reached), np.where(np.isfinite(reached), reached, quiet)
        middle = (low + high) / 2
        middle = np.where(np.isfinite(reached), middle, np.maximum(nominal, quiet))
        self.threshold = np.where(np.isfinite(quiet), middle, np.minimum(nominal, reached))
        self.arriving = np.where(fired, arriving, u - self.decay * before)
        self.subtracts = getattr(layer.neurons, "reset", "zero") == "subtract"

    def counts(self, moved: FloatArray, by_bias: bool) -> IntArray:
        """Spikes per neuron over all samples with thresholds that much higher, or biases that much lower."""
        threshold, bias = (self.threshold, -moved) if by_bias else (self.threshold + moved, np.zeros(()))
        potential: NDArray[Any] = np.zeros(self.arriving.shape[1:])
        total = np.zeros(threshold.shape, dtype=np.int64)
        for arriving in self.arriving:
            potential = self.decay * potential + arriving + bias
            fired = potential > threshold
            total += fired.sum(axis=0)
            potential = potential - threshold * fired if self.subtracts else potential * ~fired
        return total


def _arriving(program: Program, layer: Layer, recording: Recording, inputs: NDArray[Any]) -> FloatArray:
    """(T, B, *shape): what the nominal synapses make of the spikes that were recorded, in units of a weight."""
    total: NDArray[Any] = np.zeros(())
    for one in layer.synapses:
        static = one.source == INPUT and inputs.ndim == len(program.input.shape) + 1
        source = inputs if one.source == INPUT else recording.spikes[one.source]
        brought = sums(program, one, source[None] if static else source)
        total = total + channels_first(brought, layer.shape)
    return np.broadcast_to(total.astype(np.float64), recording.spikes[layer.name].shape)
