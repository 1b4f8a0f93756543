"""Level 1: what a layer receives on the chip has another mean and deviation than was meant; codes make up for it.

Batch norm was folded into weights and biases with the statistics of the nominal network. With mu and sigma of a
channel's input per step there, and mu' and sigma' as they follow from the spikes that the chip's own sources put out,
normalising anew, (input - mu') sigma / sigma' + mu, is the same as moving the threshold by

    shift = (threshold - A mu) (sigma' / sigma - 1) + A (mu' - mu),    A = (1 - decay^T) / (1 - decay)

or the bias by -shift / A: A mu is what a potential that never fires reaches of a steady input. The ratio of the
deviations is kept within 1/2 and 2. Layers that read nothing but the network's input are as they were meant to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.device import RackSettings
from neurodeploy.calibrate.search import BEYOND, REACHED, Proposal
from neurodeploy.calibrate.work import Work, grouped, in_weight_units
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.knobs import code_shape
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.program import INPUT, Layer, Program
from neurodeploy.simulate import engine
from neurodeploy.simulate.outside import sums

_MOST_RATIO = 2.0


def renormalise(work: Work, knob: Knob, settings: RackSettings) -> Proposal:
    """Layer by layer from the input: one recording of the measurement samples each."""
    settings, mask = dict(settings), {}
    inputs = work.data.measurement
    meant = engine.run(work.program, inputs, potentials=False).spikes
    for layer in work.firing:
        if all(one.source == INPUT for one in layer.synapses):
            continue
        nominal = input_statistics(work.program, layer, meant, inputs)
        found = [
            input_statistics(work.program, layer, one.spikes, inputs) for one in work.bench.recordings(inputs, settings)
        ]
        shift = np.stack([_shift(layer, work.program.steps, nominal, own, knob) for own in found])
        exact = np.rint(shift / knob.span * knob.highest_code)
        start = work.start(knob, layer, settings)
        codes = start + _per_code(exact, knob, layer)
        state = np.where(np.abs(codes) > knob.highest_code, BEYOND, REACHED)
        settings[knob.key(layer.name)] = np.clip(codes, -knob.highest_code, knob.highest_code)
        mask[knob.key(layer.name)] = state
        work.bench.observe(settings)
    return Proposal(settings, mask)


def input_statistics(
    program: Program, layer: Layer, spikes: Mapping[str, NDArray[Any]], inputs: NDArray[Any]
) -> tuple[FloatArray, FloatArray]:
    """(mean, standard deviation) per channel of what the layer's synapses bring in a step, in units of its weights.

    Over steps, samples and places; delays, which move inputs in time, are left out.
    """
    total: NDArray[Any] = np.zeros(())
    for one in layer.synapses:
        source = inputs if one.source == INPUT else spikes[one.source]
        frames = source.reshape(-1, *program.shapes[one.source])
        brought = sums(program, one, frames).astype(np.float64)
        if one.source == INPUT and inputs.ndim == len(program.input.shape) + 1:
            brought = np.tile(brought, (program.steps, 1))
        total = total + brought
    rows = total.reshape(-1, layer.shape[0])  # the tables have channels last
    return rows.mean(axis=0), rows.std(axis=0)


def _shift(
    layer: Layer, steps: int, nominal: tuple[FloatArray, FloatArray], own: tuple[FloatArray, FloatArray], knob: Knob
) -> FloatArray:
    """Of the threshold (or of the bias, turned around), per channel, relative to the nominal threshold."""
    decays, thresholds, biases = in_weight_units(layer)
    decay, threshold, bias = decays.mean(), thresholds.mean(), biases.reshape(layer.shape[0], -1).mean(axis=1)
    reach = steps if decay == 1 else (1 - decay**steps) / (1 - decay)
    (mean, deviation), (own_mean, own_deviation) = nominal, own
    ratio = np.where(deviation > 0, own_deviation / np.where(deviation > 0, deviation, 1), 1.0)
    ratio = np.clip(ratio, 1 / _MOST_RATIO, _MOST_RATIO)
    shift = (threshold - reach * (mean + bias)) * (ratio - 1) + reach * (own_mean - mean)
    return np.asarray(shift / threshold / (reach if knob.quantity == "bias" else 1.0))


def _per_code(values: FloatArray, knob: Knob, layer: Layer) -> NDArray[np.int64]:
    """(chips, channels) -> (chips, *code shape): the channel's value for a neuron, the mean of them for more."""
    each = np.broadcast_to(values.reshape(*values.shape, *[1] * (len(layer.shape) - 1)), (len(values), *layer.shape))
    count: Sequence[Any] | NDArray[Any] = grouped(np.ones((1, *layer.shape)), knob, layer)
    mean = grouped(each, knob, layer) / np.asarray(count)
    return np.asarray(np.rint(mean), dtype=np.int64).reshape(len(values), *code_shape(knob, layer))
