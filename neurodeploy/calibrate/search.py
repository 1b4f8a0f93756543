"""Levels 2 to 4: codes of gain, threshold and bias, found by matching how often neurons fire to what was meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.algorithms import ALGORITHMS, SPSA, Best, Response, Search, spsa
from neurodeploy.calibrate.device import RackSettings
from neurodeploy.calibrate.leak import TURNS, Timing, leak_knob
from neurodeploy.calibrate.membrane import replayed
from neurodeploy.calibrate.work import Work
from neurodeploy.hw_models.chip import Knob
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import Layer

REACHED, BEYOND, SILENT, UNSTOPPABLE = range(4)
STATES = (
    "reached",
    "no code of the range is enough",
    "too little whatever the code",
    "too much whatever the code",
)
"""What a mask says of a knob, the index into this: of how often its neurons fire, of leaks of when they do."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a level would set.

    Attributes:
        mask: key of the settings -> (chips, *code shape), indices into `STATES`.
    """

    settings: RackSettings
    mask: dict[str, IntArray]


def match_neurons(work: Work, knob: Knob, settings: RackSettings) -> Proposal:
    """Every code of its own, layer by layer from the input: what a layer receives depends on the codes before it.

    Where the chip has coarser knobs per neuron beside this one, as a few thresholds to choose from beside a bias, they
    are set first and the finer one makes up for what they leave. Where it has a trim of each neuron's leak too, its
    search and the knob's take turns.
    """
    settings = dict(settings)
    mask: dict[str, IntArray] = {}
    knobs = work.bench.device.knobs
    coarser = _coarser(knobs, knob) if knob.per == "neuron" else []
    leak = leak_knob(knobs) if knob.per == "neuron" else None
    for layer in work.firing:
        for one in coarser:
            _match_rates(work, layer, one, settings, {})  # what it does not reach is not the end of it
        timing = Timing(work, layer) if leak is not None else None
        for turn in range(2 * TURNS + 1 if timing is not None else 1):
            if timing is not None and leak is not None and turn % 2:
                _match(work, layer, leak, settings, mask, timing.excess)
            else:
                _match_rates(work, layer, knob, settings, mask)
    return Proposal(settings, mask)


def _coarser(knobs: tuple[Knob, ...], knob: Knob) -> list[Knob]:
    """The knobs per neuron that move how often it fires in coarser steps than this one, from the coarsest on."""
    found = [one for one in knobs if one.per == "neuron" and one.quantity != "leak" and one.step > knob.step]
    return sorted(found, key=lambda one: -one.step)


def _match_rates(work: Work, layer: Layer, knob: Knob, settings: RackSettings, mask: dict[str, IntArray]) -> None:
    """Searches one layer's codes until its neurons fire as often as they should, on the chip or in its potentials."""
    if work.options.measure == "membrane" and knob.per == "neuron":
        _take(work, layer, knob, settings, mask, replayed(work, layer, knob, settings))
        work.bench.observe(settings)  # a search on the chip tells of every run itself
    else:
        _match(work, layer, knob, settings, mask, partial(_rate_excess, work, layer, knob))


def _rate_excess(work: Work, layer: Layer, knob: Knob, settings: RackSettings) -> NDArray[Any]:
    return work.excess([layer], knob, settings)[layer.name]


def _match(
    work: Work,
    layer: Layer,
    knob: Knob,
    settings: RackSettings,
    mask: dict[str, IntArray],
    excess_of: Callable[[RackSettings], NDArray[Any]],
) -> None:
    """Searches one layer's codes of a knob on the chip."""
    key, best = knob.key(layer.name), Best(work.start(knob, layer, settings), knob.highest_code)

    def response(codes: IntArray) -> NDArray[Any]:
        excess = excess_of(settings | {key: codes})
        best.take(codes, excess)
        work.bench.observe(settings | {key: best.codes})
        return excess

    _take(work, layer, knob, settings, mask, response)


def _take(
    work: Work, layer: Layer, knob: Knob, settings: RackSettings, mask: dict[str, IntArray], response: Response
) -> None:
    """Puts the codes that a response asks for among the settings."""
    key, start = knob.key(layer.name), work.start(knob, layer, settings)
    found = _search(work, knob, response, start, int(key in settings))
    settings[key], mask[key] = judged(found, start)


def match_layers(work: Work, knob: Knob, settings: RackSettings) -> Proposal:
    """As `match_neurons`, with all codes of a layer moved by the same number; those of cores are found one by one."""
    if work.options.algorithm == SPSA:
        return _descend(work, knob, settings, [[layer] for layer in work.firing])
    if knob.per == "core":
        return match_neurons(work, knob, settings)
    settings = dict(settings)
    mask: dict[str, IntArray] = {}
    for layer in work.firing:
        moved = _Moved(work, knob, [layer], settings)
        found = moved.search(work)
        offset, state = judged(found, np.zeros_like(found.codes))
        settings |= moved.by(offset)
        mask |= {key: spread(state, codes) for key, codes in moved.base.items()}
    return Proposal(settings, mask)


def match_chip(work: Work, knob: Knob, settings: RackSettings) -> Proposal:
    """All codes of a chip are moved by the same number, until its layers' mean relative excess is 0."""
    if work.options.algorithm == SPSA:
        return _descend(work, knob, settings, [work.firing])
    moved = _Moved(work, knob, work.firing, settings)
    found = moved.search(work)
    offset, state = judged(found, np.zeros_like(found.codes))
    mask = {key: spread(state, codes) for key, codes in moved.base.items()}
    return Proposal(dict(settings) | moved.by(offset), mask)


class _Moved:
    """Codes of some layers that move together, by one number per chip."""

    def __init__(self, work: Work, knob: Knob, layers: list[Layer], settings: RackSettings) -> None:
        self.knob, self.layers, self.settings = knob, layers, dict(settings)
        self.base = {knob.key(layer.name): work.start(knob, layer, settings) for layer in layers}

    def by(self, offset: IntArray) -> RackSettings:
        """key -> codes, (chips, *code shape), kept within the knob's range."""
        highest = self.knob.highest_code
        return {key: np.clip(codes + spread(offset, codes), -highest, highest) for key, codes in self.base.items()}

    def search(self, work: Work) -> Search:
        """Brings the sum over layers of their relative excess to 0."""
        whole = Knob(self.knob.quantity, "layer", self.knob.bits, self.knob.span)
        totals = {layer.name: sum(int(part[layer.name].sum()) for part in work.wanted) for layer in self.layers}
        start = np.zeros(work.bench.device.chips, dtype=np.int64)
        best = Best(start, self.knob.highest_code)

        def response(offset: IntArray) -> NDArray[Any]:
            excess = work.excess(self.layers, whole, self.settings | self.by(offset))
            relative = sum((one / max(totals[name], 1) for name, one in excess.items()), np.zeros(len(offset)))
            best.take(offset, relative)
            work.bench.observe(self.settings | self.by(best.codes))
            return np.asarray(relative)

        return _search(work, self.knob, response, start, 0)


def _descend(work: Work, knob: Knob, settings: RackSettings, groups: list[list[Layer]]) -> Proposal:
    """Moves the codes of several groups of layers at once, downhill in how far the readout is from the nominal one."""
    moved = [_Moved(work, knob, group, settings) for group in groups]

    def together(offsets: IntArray) -> RackSettings:
        found = dict(settings)
        for index, one in enumerate(moved):
            found |= one.by(offsets[:, index])
        return found

    start = np.zeros((work.bench.device.chips, len(groups)), dtype=np.int64)
    runs = work.options.runs or 1 + 2 * _DESCENTS
    found = spsa(lambda offsets: work.distance(together(offsets)), start, knob.highest_code, runs, work.options.seed)
    proposed = together(found.codes)
    work.bench.observe(proposed)
    deaf = np.where(found.answered, REACHED, UNSTOPPABLE)
    states = {key: spread(deaf[:, i], codes) for i, one in enumerate(moved) for key, codes in one.base.items()}
    return Proposal(proposed, states)


_DESCENTS = 12  # steps of a descent, two runs each


def _search(work: Work, knob: Knob, response: Response, start: IntArray, more: int) -> Search:
    """As many runs as the knob has bits, and `more` where the search starts elsewhere than in the middle."""
    runs = work.options.runs or knob.bits + more
    return ALGORITHMS[work.options.algorithm](response, start, knob.highest_code, runs)


def judged(found: Search, start: IntArray) -> tuple[IntArray, IntArray]:
    """(codes, states): a knob that does nothing stays where it was; one that would have to go on, where it is nearest.

    There a neuron is nearer to what it should be than anywhere else within the range, and the mask says that it has not
    come there. Where it was, it would be as far off as the worst neurons are. Of codes that do equally well, as behind
    the last one that still changes anything, it is the smallest.
    """
    excess = found.excess
    state = np.where(found.beyond, BEYOND, np.full(found.codes.shape, REACHED))
    deaf = ~found.answered & (excess != 0)
    state = np.where(deaf & (excess < 0), SILENT, np.where(deaf, UNSTOPPABLE, state))
    return np.where(deaf, start, found.codes), state


def spread(values: IntArray, like: IntArray) -> IntArray:
    """(chips,) -> the shape of codes (chips, *code shape): the same number for all codes of a chip."""
    return np.broadcast_to(values.reshape(-1, *[1] * (like.ndim - 1)), like.shape).copy()
