"""Why two sides differ at a place: proved by computing the neuron again with one quantity changed, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.departure import Departure, departure
from neurodeploy.compare.neuron import History, Neuron, column, differing_sources, extract, replay
from neurodeploy.compare.quantities import QUANTITIES, Quantity, alike, stored, with_all
from neurodeploy.compare.result import Explanation, Kind, Trace, Tried
from neurodeploy.compare.sides import Side
from neurodeploy.compare.tally import Found
from neurodeploy.ir.program import INPUT

Array = NDArray[Any]

_LARGEST_SET = 4  # quantities that are tried together; single ones come first, and pairs
_REGISTERS_SHOWN = 3


def explain(found: Found, sides: tuple[Side, Side], name: str, teacher_forced: bool) -> Explanation:
    """The explanation of a layer's first difference.

    The histories of the neuron are computed again from both definitions, on the first side's spikes of the layers
    before. A quantity is a cause where the other side's value of it, put in its place in the second side (in the one
    that stores rounded numbers, where only the first does), makes the neuron's spikes (of a voltage: its potentials,
    too) those of the other side at every step up to the difference. Where none is alone, the smallest sets are.
    """
    first, second = sides
    layers = tuple(side.definition.layer(name) for side in sides)
    spikes = (found.spikes[0], found.spikes[0] if teacher_forced else found.spikes[1])
    needed = {one.source for one in layers[0].synapses} - {INPUT}
    lacking = [
        f"{side.name} lacks the spikes of layer {', '.join(sorted(needed - set(own)))}"
        for side, own in zip(sides, spikes, strict=True)
        if needed - set(own)
    ]
    if lacking:
        sentence = f"{'; '.join(lacking)}, which feed it: whether the difference comes from there cannot be told"
        return Explanation("unknown", f"not explained: {sentence}")
    common = tuple(
        extract(side.definition, layer, found.neuron, {**spikes[0], INPUT: shown})
        for side, layer, shown in zip(sides, layers, found.inputs, strict=True)
    )
    own_second = extract(second.definition, layers[1], found.neuron, {**spikes[1], INPUT: found.inputs[1]})
    histories = replay(common[0]), replay(own_second)
    registers = _registers(sides, histories, found.step)
    departures = [
        one
        for index, history in enumerate(histories)
        if (one := departure(found, sides, name, index, spikes[index], history)) is not None
    ]
    trace = _trace(found, name, (common[0], own_second), histories, {one.side for one in departures})
    if departures:
        return _departed(departures, registers, trace)
    inherited = differing_sources(common[0], *spikes, found.step)
    if not alike(*common):
        return Explanation("unknown", "not explained: the sides' synapses differ in shape", trace=trace)
    again = replay(common[1]) if inherited else histories[1]
    if inherited and _agree(again, histories[0], found, common):
        layers_named = " and ".join(inherited)
        sentence = (
            f"inherited from layer {layers_named}: on {first.name}'s spikes of it, {second.name} does as {first.name}"
        )
        return Explanation("inherited", sentence, (), tuple(inherited), (), (), registers, trace)
    before = ""
    if inherited:
        before = f"the spikes of layer {' and '.join(inherited)} differ, and on the same spikes it still differs: "
    kind, causes, tried, words = _switched(found, sides, common, (histories[0], again))
    return Explanation(kind, before + words, causes, tuple(inherited), (), tried, registers, trace)


def _departed(departures: list[Departure], registers: tuple[str, ...], trace: Trace) -> Explanation:
    kind: Kind = "departure" if any(not one.causes for one in departures) else "precision"
    causes = tuple(cause for one in departures for cause in one.causes)
    consistent = tuple(change for one in departures for change in one.consistent_with)
    sentence = "; ".join(one.sentence for one in departures)
    return Explanation(kind, sentence, causes, (), consistent, (), registers, trace)


def _switched(
    found: Found, sides: tuple[Side, Side], neurons: tuple[Neuron, ...], histories: tuple[History, History]
) -> tuple[Kind, tuple[str, ...], tuple[Tried, ...], str]:
    """(kind, causes, what was tried, in words) by switching quantities in both sides' computations."""
    first, second = neurons
    differing = [one for one in QUANTITIES if one.differs(first, second) or one.differs(second, first)]
    titles = {one.name: one.title(first, second) for one in differing}

    def removes(index: int, chosen: tuple[Quantity, ...]) -> bool:
        changed = with_all(neurons[index], neurons[1 - index], chosen)
        return _agree(replay(changed), histories[1 - index], found, (changed, neurons[1 - index]))

    def effective(index: int, quantity: Quantity) -> bool | None:
        own, other = neurons[index], neurons[1 - index]
        return removes(index, (quantity,)) if quantity.differs(own, other) else None

    shown = [one for one in differing if one.register is None or _reached(one.register, histories, found.step)]
    tried = tuple(Tried(titles[one.name], effective(0, one), effective(1, one)) for one in shown)
    changed = 0 if stored(first) and not stored(second) else 1
    own, other = sides[changed].name, sides[1 - changed].name
    for size in range(1, min(len(differing), _LARGEST_SET) + 1):
        sets = [chosen for chosen in combinations(differing, size) if removes(changed, chosen)]
        if not sets:
            continue
        named = [tuple(titles[one.name] for one in chosen) for chosen in sets]
        if size > 1:
            words = " or ".join(f"{_listed(names)} together" for names in named)
            words += f": with {other}'s in their place {own} does as {other}, in the place of fewer it does not"
            return "together", named[0], tried, words
        causes = tuple(names[0] for names in named)
        place = "its place and nothing else changed" if len(causes) == 1 else "the place of any one of them"
        return "cause", causes, tried, f"{' or '.join(causes)}: with {other}'s in {place}, {own} does as {other}"
    names = tuple(one.quantity for one in tried)
    return "unknown", (), tried, f"not explained by {_listed(names)}" if names else "not explained: nothing differs"


def _agree(history: History, wanted: History, found: Found, neurons: tuple[Neuron, ...]) -> bool:
    """Whether a history is the wanted one up to the difference: its spikes, of a voltage its potentials, too."""
    until = slice(0, found.step + 1)
    if not np.array_equal(history.fired[until], wanted.fired[until]):
        return False
    if found.quantity == "spike":
        return True
    units = [neuron.layer.unit for neuron in neurons]
    one, other = history.kept[until] * units[0], wanted.kept[until] * units[1]
    return bool(np.allclose(one, other, rtol=1e-9, atol=1e-9 * (neurons[0].layer.lsb or units[0])))


def _reached(register: str, histories: tuple[History, History], last: int) -> bool:
    """Whether a register came to its limit up to the difference."""
    if register == "current":
        return any(bool(history.wrapped[: last + 1].any()) for history in histories)
    return any(bool((history.integrated != history.potential)[: last + 1].any()) for history in histories)


def _registers(sides: tuple[Side, Side], histories: tuple[History, History], last: int) -> tuple[str, ...]:
    """Wraps and saturations up to the difference, against the values that registers without limits would hold."""
    found = []
    for side, history in zip(sides, histories, strict=True):
        for step in np.flatnonzero(history.wrapped[: last + 1])[:_REGISTERS_SHOWN]:
            before, after = history.summed[step], history.current[step]
            became = f": {before:.0f} became {after:.0f}" if before != after else " in the sum of a convolution"
            found.append(f"{side.name}: the current wrapped at step {step + 1}{became}")
        cut = history.integrated[: last + 1] != history.potential[: last + 1]
        for step in np.flatnonzero(cut)[:_REGISTERS_SHOWN]:
            before, after = history.integrated[step], history.potential[step]
            found.append(f"{side.name}: the voltage saturated at step {step + 1}: {before:.0f} became {after:.0f}")
    return tuple(found)


def _trace(
    found: Found,
    name: str,
    neurons: tuple[Neuron, Neuron],
    histories: tuple[History, History],
    departed: set[int],
) -> Trace:
    threshold = float(neurons[1].layer.threshold * neurons[1].layer.unit)
    potentials: list[tuple[float, ...] | None] = []
    for index, (neuron, history) in enumerate(zip(neurons, histories, strict=True)):
        recorded = found.potentials[index]
        if index not in departed:
            potentials.append(tuple((history.potential * neuron.layer.unit).tolist()))
        elif recorded is not None:
            potentials.append(tuple((column(recorded, found.neuron) * neuron.layer.unit).tolist()))
        else:
            potentials.append(None)
    spikes = [_spikes_of(own, name, found.neuron) for own in found.spikes]
    return Trace(threshold if np.isfinite(threshold) else None, potentials[0], potentials[1], spikes[0], spikes[1])


def _spikes_of(spikes: Mapping[str, Array], name: str, neuron: tuple[int, ...]) -> tuple[int, ...] | None:
    return tuple(column(spikes[name], neuron).tolist()) if name in spikes else None


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
