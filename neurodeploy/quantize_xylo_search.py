"""The search behind `quantize_xylo`: shifts, dashes and thresholds at which a Xylo differs least from the network.

"Differs" is the mean difference of spike trains behind a leaky integrator of a few steps, and for the output the share
of decisions that are others, with the difference of readouts behind it. Layers lag on the chip; they are compared in
step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.populations import Population, PopulationNetwork
from neurodeploy.ir.xylo import DASH_MAX, SHIFT_MAX, XyloNetwork
from neurodeploy.ir.xylo_layout import Layout, exact_dash, layout, nearest_dash
from neurodeploy.quantize_xylo_build import Setting, Shifts, build, exact, rounding_errors
from neurodeploy.quantize_xylo_rounding import Gram, grams
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate import xylo_engine
from neurodeploy.simulate.populations import PopulationRecording
from neurodeploy.simulate.xylo import XyloRecording

Array = NDArray[Any]
Settings = dict[str, Setting]
_GAINS = (1.0, 1.25, 0.8, 1.6, 0.63, 2.0, 0.5)  # of thresholds, tried with each dash; nearest first
_FINER_GAINS = (1.0, 1.1, 0.9, 1.05, 0.95)
_LARGEST_STEP, _LARGEST_GAIN = 1.25, 10.0  # of one neuron's threshold, in a round and in all
_MEMORY = 0.9  # of the leaky integrator behind which spike trains are compared
_ROUNDS = 6  # of moving each neuron's threshold
_READOUT_WEIGHT = 0.25  # of the difference of readouts beside the share of decisions that differ


@dataclass(frozen=True, eq=False)
class Case:
    """What the search looks at: the float network's spikes on the calibration data.

    Attributes:
        smooth: population -> (T, B, n), its spikes behind a leaky integrator.
        grams: of populations whose weights are rounded so that errors cancel; the others' are to the nearest.
    """

    layout: Layout
    chip: str
    inputs: Array
    wanted: PopulationRecording
    smooth: dict[str, Array]
    grams: Mapping[str, Gram] = field(default_factory=dict)

    def built(self, settings: Settings, shifts: Shifts) -> XyloNetwork:
        """The network of these decisions."""
        return build(self.layout, settings, shifts, self.wanted.highest, self.chip, self.grams)


def case_of(network: PopulationNetwork, direct: frozenset[str], chip: str, inputs: Array) -> Case:
    """Runs the float network."""
    wanted = float_simulator.run(network, inputs)
    smooth = {one.name: smoothed(wanted.spikes[one.name]) for one in network.populations if one.fires}
    return Case(layout(network, direct), chip, inputs, wanted, smooth)


def searched(case: Case) -> XyloNetwork:
    """The network that differs least, all layers together: weights rounded to the nearest, or so that errors cancel."""
    found = [_searched(case)]
    cancelling = grams(case.layout, case.inputs, case.wanted.spikes)
    if cancelling:
        found.append(_searched(replace(case, grams=cancelling)))
    return min(found, key=lambda one: sum(differences(case, one).values()))


def _searched(case: Case) -> XyloNetwork:
    """Shifts first, then layer by layer behind the layers before it."""
    network = case.layout.network
    settings = {one.name: _nearest(case.layout, one) for one in network.populations}
    shifts = _best_shifts(case, settings)
    driven = [one for block in case.layout.blocks if network.into((one := network.population(block.name)).name)]
    for population in (*driven, network.output):
        settings = _settled(case, settings, shifts, population)
    return case.built(settings, shifts)


def differences(case: Case, network: XyloNetwork, recording: XyloRecording | None = None) -> dict[str, float]:
    """Population -> how much it differs from the float network, 0 for not at all."""
    recording = xylo_engine.run(network, case.inputs) if recording is None else recording
    got, found = _in_step(network, recording, case), {}
    for name, smooth in case.smooth.items():
        wanted = smooth[: len(got[name])]
        apart = np.abs(smoothed(got[name]) - wanted)
        found[name] = float(apart.mean()) / (float(wanted.mean()) or 1.0) if wanted.size else 0.0
    output = case.layout.network.output
    found[output.name] = _readout_difference(recording, case.wanted, graded=not output.fires)
    return found


def smoothed(spikes: Array) -> Array:
    """y[t] = 0.9 y[t-1] + n[t], as float32."""
    smooth = spikes.astype(np.float32)
    for step in range(1, len(smooth)):
        smooth[step] += _MEMORY * smooth[step - 1]
    return smooth


def _nearest(layout: Layout, population: Population) -> Setting:
    gain = np.ones(population.size)
    if population.name in layout.direct:
        return Setting(np.zeros(population.size, dtype=np.int64), nearest_dash(population.decay, 1)[None], gain)
    return Setting(nearest_dash(population.decay, 0), nearest_dash(population.current_decay, 1), gain)


def _best_shifts(case: Case, settings: Settings) -> Shifts:
    """The left shifts at which rounding errs least: that of weights, and a loss of 1 against thresholds."""

    def errors(one: Shifts) -> tuple[float, float]:
        return rounding_errors(exact(case.layout, settings, one, case.wanted.highest), one)

    shifts = range(SHIFT_MAX + 1)
    recurrent = bool(case.layout.weights_rec.any() or case.layout.direct)
    tried = product(shifts, shifts if recurrent else range(1))
    best = min((Shifts(*pair) for pair in tried), key=lambda one: errors(one)[0])
    return min((replace(best, out=out) for out in shifts), key=lambda one: errors(one)[1])


def _settled(case: Case, settings: Settings, shifts: Shifts, population: Population) -> Settings:
    """The settings with those of one population decided."""
    chosen = _best(case, settings, shifts, population, _coarse(case.layout, population))
    if population.fires:
        around = _scaled(chosen[population.name], _FINER_GAINS)
        chosen = _balanced(case, _best(case, settings, shifts, population, around), shifts, population)
    return chosen


def _best(case: Case, settings: Settings, shifts: Shifts, population: Population, tried: Iterable[Setting]) -> Settings:
    """The settings with the one that makes the population differ least; the first of equals."""
    candidates = [settings | {population.name: one} for one in tried]
    return min(candidates, key=lambda one: differences(case, case.built(one, shifts))[population.name])


def _coarse(layout: Layout, population: Population) -> Iterator[Setting]:
    """Dashes below and above the exact ones, each with gains of the threshold."""
    if population.name in layout.direct:
        tried = [(np.zeros(population.size, dtype=np.int64), one[None]) for one in _around(population.decay, 1)]
    else:
        tried = list(product(_around(population.decay, 0), _around(population.current_decay, 1)))
    for membrane, current in tried:
        yield from _scaled(Setting(membrane, current, np.ones(population.size)), _GAINS if population.fires else (1.0,))


def _around(decay: FloatArray, least: int) -> list[IntArray]:
    """The integers on either side of the exact dashes, the nearer ones first, without repetition."""
    real = exact_dash(decay)
    tried = [nearest_dash(decay, least)]
    for side in (np.floor(real), np.ceil(real)):
        one = np.clip(side, least, DASH_MAX).astype(np.int64)
        if not any(np.array_equal(one, other) for other in tried):
            tried.append(one)
    return tried


def _scaled(setting: Setting, gains: Iterable[float]) -> Iterator[Setting]:
    for gain in gains:
        yield replace(setting, gain=setting.gain * gain)


def _balanced(case: Case, settings: Settings, shifts: Shifts, population: Population) -> Settings:
    """Each neuron's threshold moved until it fires as often as wanted; the best of what came by."""
    name = population.name
    best, least = settings, np.inf
    for _ in range(_ROUNDS):
        network = case.built(settings, shifts)
        recording = xylo_engine.run(network, case.inputs)
        difference = differences(case, network, recording)[name]
        if difference < least:
            best, least = settings, difference
        spikes = _in_step(network, recording, case)[name]
        got = spikes.sum(axis=(0, 1), dtype=np.int64)
        wanted = case.wanted.spikes[name][: len(spikes)].sum(axis=(0, 1), dtype=np.int64)
        step = np.clip(np.sqrt((got + 1) / (wanted + 1)), 1 / _LARGEST_STEP, _LARGEST_STEP)
        gain = np.clip(settings[name].gain * step, 1 / _LARGEST_GAIN, _LARGEST_GAIN)
        settings = settings | {name: replace(settings[name], gain=gain)}
    return best


def _readout_difference(recording: XyloRecording, wanted: PopulationRecording, graded: bool) -> float:
    """The share of other decisions, and behind it the difference of readouts, graded ones in their best common unit."""
    got, meant = recording.readout.astype(np.float64), wanted.readout
    unit = float((got * meant).sum()) / (float((got**2).sum()) or 1.0) if graded else 1.0
    relative = float(np.abs(got * unit - meant).mean()) / (float(np.abs(meant).mean()) or 1.0)
    return float((recording.decisions != wanted.decisions).mean()) + _READOUT_WEIGHT * relative


def _in_step(network: XyloNetwork, recording: XyloRecording, case: Case) -> dict[str, Array]:
    """Population -> its spikes (T, B, n) at the steps of the float network.

    The chip stops when the outputs are done: where a layer lags more than they do, its last steps never come.
    """
    found = {}
    for block in network.blocks:
        lag = max(block.latency, 0)  # a layer ahead of the network is compared from its own start
        found[block.name] = recording.spikes[lag : lag + network.steps, :, block.start : block.stop]
    output = case.layout.network.output
    if output.fires:
        found[output.name] = recording.output_spikes[network.latency :]
    return found
