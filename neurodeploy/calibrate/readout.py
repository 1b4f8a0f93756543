"""Level 5: the readout's weights are fitted to what the chip's last hidden neurons really put out.

A membrane readout is linear in the spikes that reach it, R = F W + c b, with F the spikes of a sample weighted by how
long each stays in the sum. With R* the nominal Program's readout of the same samples, which needs no labels,

    W, b = argmin |F W + c b - R*|² + λ (|W - W0|² + |b - b0|²)        W0, b0: what is there now

in units of a weight. λ is the one of a grid whose decisions agree most with the nominal Program's on a quarter of the
samples that the fit did not see.

A synapse of the readout may be off itself: the chip computes F (G ∘ W) + c b, with a gain G per synapse. What its
readouts R were in the same recording tells the gains,

    G = argmin |F (G ∘ W0) + c b0 - R|² + μ |W0 ∘ (G - 1)|²

with the μ of a grid that foretells R best on the held-out quarter, or G = 1 where none does so better by a tenth than
synapses that are as they were written (noise of a readout must not become gains). What is written is W / G, rounded to
the chip's codes. A gain below 1/4, of a dead synapse for one, is taken for 1/4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.device import RackSettings
from neurodeploy.calibrate.search import Proposal
from neurodeploy.calibrate.work import Work, readout_in_weight_units
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.knobs import BIAS, bias_room, weight_key
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.program import DECAY_ONE, INPUT, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses, extreme_sums
from neurodeploy.simulate import engine
from neurodeploy.simulate.recording import Recording

_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # λ, relative to the mean square of a feature
_MOST = 512  # samples: every spike of a layer is held at once
_HELD_OUT = 4  # every fourth sample chooses λ and μ
_EXACT = 1e-12  # of a readout's mean square: what rounding of floats leaves
_CLEARLY = 0.9  # of the error without gains
_LEAST_GAIN = 0.25


def cannot_refit(program: Program) -> str | None:
    """Why a program's readout cannot be fitted, or None."""
    last = program.layers[-1]
    if last.fires:
        return "its readout counts spikes: only a membrane readout is linear in its weights"
    if not all(isinstance(one, DenseSynapses) and one.delays is None for one in last.synapses):
        return "its readout has convolutions, or synapses with delays of their own"
    return None


def refit(work: Work, knob: Knob, settings: RackSettings) -> Proposal:
    """One recording of the refit samples; the weights of every chip are its own."""
    program = work.program
    inputs = work.refit[:_MOST] if work.refit.ndim == len(program.input.shape) + 1 else work.refit[:, :_MOST]
    last = program.layers[-1]
    nominal = engine.run(program, inputs, potentials=False)
    wanted = readout_in_weight_units(last, nominal.readout)
    found = []
    for chip, one in enumerate(work.bench.recordings(inputs, settings)):
        before = [
            np.asarray(settings[key][chip] if (key := weight_key(last.name, part)) in settings else synapses.weight)
            for part, synapses in enumerate(last.synapses)
        ]
        bias_key = weight_key(last.name, BIAS)
        added = np.asarray(settings[bias_key][chip]) if bias_key in settings else np.zeros(last.shape, dtype=np.int64)
        seen, told = features(program, one, inputs), readout_in_weight_units(last, one.readout)
        found.append(_fitted(program, seen, told, wanted, before, added, knob))
    settings = dict(settings)
    for part in range(len(last.synapses)):
        settings[weight_key(last.name, part)] = np.stack([weights[part] for weights, _ in found])
    settings[weight_key(last.name, BIAS)] = np.stack([bias for _, bias in found])
    work.bench.observe(settings)
    return Proposal(settings, {})


def features(program: Program, recording: Recording, inputs: NDArray[Any]) -> FloatArray:
    """(B, F + 1): what every weight of a readout neuron is multiplied by in its sum over time, and the bias last."""
    last = program.layers[-1]
    through_current, direct = _lasting(last, program.steps)
    columns = []
    for one in last.synapses:
        if one.source == INPUT:
            whole = (
                inputs
                if inputs.ndim > len(program.input.shape) + 1
                else np.broadcast_to(inputs, (program.steps, *inputs.shape))
            )
        else:
            whole = recording.spikes[one.source]
        stays = np.concatenate([through_current[one.delay :], np.zeros(min(one.delay, program.steps))])
        summed = np.tensordot(stays, whole.astype(np.float64), axes=1)
        if one.pool > 1:
            b, c, h, w = summed.shape
            summed = summed.reshape(b, c, h // one.pool, one.pool, w // one.pool, one.pool).sum(axis=(3, 5))
        columns.append(summed.reshape(len(summed), -1))
    return np.concatenate([*columns, np.full((len(columns[0]), 1), direct.sum())], axis=1)


def _lasting(layer: Layer, steps: int) -> tuple[FloatArray, FloatArray]:
    """How much a unit at step s adds to the sum of potentials over time: through the current, and as a bias."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        decay = float(np.mean(1 - neurons.voltage_decay / DECAY_ONE))
        current = float(np.mean(1 - neurons.current_decay / DECAY_ONE))
    else:
        decay, current = float(np.mean(neurons.decay)), float(np.mean(neurons.current_decay))
    brought = np.zeros((2, steps))
    for kind, kept in enumerate((current, 0.0)):
        potential = arriving = 0.0
        response = []
        for step in range(steps):
            arriving = kept * arriving + float(step == 0)
            potential = decay * potential + arriving
            response.append(potential)
        # A unit at step s has the steps that are left.
        brought[kind] = np.cumsum(response)[::-1]
    return brought[0], brought[1]


def _fitted(
    program: Program,
    seen: FloatArray,
    told: FloatArray,
    wanted: FloatArray,
    before: list[NDArray[Any]],
    added: NDArray[Any],
    knob: Knob,
) -> tuple[list[IntArray], IntArray]:
    """(weights of each synapses, what is added to the biases)."""
    per_code, bias = _bias(program.layers[-1])
    prior = np.concatenate([*before, (bias + added * per_code)[:, None]], axis=1).T  # (F + 1, classes)
    gains = measured_gains(seen, told, prior)
    held = _held_out(len(seen))
    scale = np.square(seen).mean()
    best, agreement = prior, -1.0
    if held.any() and scale > 0:
        for ridge in _RIDGES:
            candidate = _solved(seen[~held], wanted[~held], prior, ridge * scale * int((~held).sum()))
            agreed = float(np.mean((seen[held] @ candidate).argmax(axis=1) == wanted[held].argmax(axis=1)))
            if agreed >= agreement:  # of equals the one that stays nearest to what is there
                best, agreement, chosen = candidate, agreed, ridge
        best = _solved(seen, wanted, prior, chosen * scale * len(seen))
    weights = (best / gains)[:-1].T
    shrink = min(1.0, knob.highest_code / max(float(np.abs(weights).max()), 1e-12))
    shrink = min(shrink, _room(program, weights * np.maximum(gains[:-1].T, 1), best[-1]))
    codes = np.rint(weights * shrink).astype(np.int64)
    sizes = np.cumsum([one.shape[1] for one in before])[:-1]
    more = np.clip(np.rint((best[-1] * shrink - bias) / per_code), *bias_room(program.layers[-1]))
    return list(np.split(codes, sizes, axis=1)), more.astype(np.int64)


def measured_gains(seen: FloatArray, told: FloatArray, prior: FloatArray) -> FloatArray:
    """(F + 1, classes) how strong each synapse of the readout is, of what was written; 1 for biases and where W is 0.

    Args:
        seen: (B, F + 1), `features` of a recording.
        told: (B, classes), the chip's readouts in it, in units of a weight.
        prior: (F + 1, classes), the weights and biases that were written.
    """
    ones = np.ones_like(prior)
    held = _held_out(len(seen))
    missing = told - seen @ prior
    least, scale = float(np.square(missing[held]).mean()) if held.any() else 0.0, np.square(seen).mean()
    if least <= _EXACT * float(np.square(told).mean()) or scale == 0:
        return ones
    least *= _CLEARLY
    best = None
    for ridge in _RIDGES:
        off = _solved(seen[~held, :-1], missing[~held], 0 * prior[:-1], ridge * scale * int((~held).sum()))
        error = float(np.square(missing[held] - seen[held, :-1] @ off).mean())
        if error < least:
            least, best = error, ridge
    if best is None:
        return ones
    off = _solved(seen[:, :-1], missing, 0 * prior[:-1], best * scale * len(seen))
    written = prior[:-1]
    gains = np.where(written != 0, 1 + off / np.where(written != 0, written, 1), 1.0)
    ones[:-1] = np.maximum(gains, _LEAST_GAIN)
    return ones


def _held_out(samples: int) -> NDArray[np.bool_]:
    return np.asarray(np.arange(samples) % _HELD_OUT == _HELD_OUT - 1)


def _solved(seen: FloatArray, wanted: FloatArray, prior: FloatArray, strength: float) -> FloatArray:
    square = seen.T @ seen + strength * np.eye(seen.shape[1])
    return np.asarray(prior + np.linalg.solve(square, seen.T @ (wanted - seen @ prior)))


def _bias(layer: Layer) -> tuple[float, FloatArray]:
    """(weight units per bias code, the biases in weight units)."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        unit = 2.0 ** (neurons.bias_exponent - VOLTAGE_UNIT_BITS)
        return unit, np.asarray(neurons.bias_mantissa * unit)
    return 1.0, np.asarray(neurons.bias / layer.scale)


def _room(program: Program, weights: FloatArray, bias: FloatArray) -> float:
    """By what to shrink a fixed-point readout so that no input brings it to its threshold; else 1."""
    last = program.layers[-1]
    if not isinstance(last.neurons, FixedPointNeurons):
        return 1.0
    through_current, direct = _lasting(last, program.steps)
    reach = float(np.abs(bias).max()) * direct.max()
    column = 0
    for one in last.synapses:
        size = one.weight.shape[1]
        part = weights[:, column : column + size]
        column += size
        highest = 2**program.input.bits - 1 if one.source == INPUT else 1
        low, high = extreme_sums(_like(one, part), 0, highest)
        reach += max(-low, high) * through_current.max()
    return float(min(1.0, 0.9 * float(np.min(last.neurons.threshold)) / max(reach, 1e-12)))


def _like(synapses: Any, weight: FloatArray) -> DenseSynapses:
    own = np.array(weight)
    own.setflags(write=False)
    return DenseSynapses(synapses.name, synapses.source, own, synapses.pool, synapses.delay)
