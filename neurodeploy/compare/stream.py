"""Comparing two sides on many samples, some at a time: what is held at once does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.cause import explain
from neurodeploy.compare.definition import Definition
from neurodeploy.compare.result import LayerResult, Place, SideComparison, SideInfo
from neurodeploy.compare.sides import Side, part_of
from neurodeploy.compare.tally import Found, Tally
from neurodeploy.errors import UsageError
from neurodeploy.ir.program import INPUT
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]

MEMORY = 2**28  # bytes of both sides' spikes and potentials that are held at once, about
# Per neuron and step: a spike (1) and a potential (8), and both again while a simulator stacks its steps.
_BYTES = 2 * (1 + 8)


def compare_sides(
    sides: tuple[Side, Side],
    inputs: tuple[Array, Array],
    labels: NDArray[np.int64] | None = None,
    teacher_forced: bool = False,
    chip: str | None = None,
    explained: int = 0,
    memory: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> SideComparison:
    """Runs both sides and counts where they differ, layer by layer and step by step.

    Args:
        inputs: of each side, in units of its input's integers: (B, *shape) shown at every step, or (T, B, *shape). A
            Network takes numbers that are no integers.
        teacher_forced: feed each layer of the second side the first side's spikes, so that its own error stands alone.
        explained: of how many samples the first difference of each layer is explained and counted by its cause, beside
            the first difference of all.
        memory: bytes of recordings held at once; at least one sample is.
        progress: is told (samples done, samples).

    Raises:
        UsageError: where layers, steps or samples of the sides do not fit together, or nothing is there to compare.
    """
    first, second = sides
    _check(sides, teacher_forced)
    static = [one.ndim == len(side.definition.input.shape) + 1 for one, side in zip(inputs, sides, strict=True)]
    counts = {one.shape[0 if fixed else 1] for one, fixed in zip(inputs, static, strict=True)}
    if len(counts) != 1 or 0 in counts:
        raise UsageError(f"inputs of shape {inputs[0].shape} and {inputs[1].shape}: as many samples, at least one")
    (total,) = counts
    steps = first.definition.steps
    by_value = _same_units(first.definition, second.definition)
    pairs = zip(first.definition.layers, second.definition.layers, strict=True)
    tallies = {one.name: Tally(one, other, steps, by_value, explained) for one, other in pairs}
    chunk = _samples_at_once(first.definition, memory)
    decided, correct = 0, [0, 0]
    missing: dict[str, tuple[str, ...]] = {}
    causes: dict[str, Counter[str]] = {name: Counter() for name in tallies}
    for start in range(0, total, chunk):
        part = slice(start, min(start + chunk, total))
        shown = [one[part] if fixed else one[:, part] for one, fixed in zip(inputs, static, strict=True)]
        one = _recorded(first, shown[0], part)
        other = _forced(second, shown[1], one) if teacher_forced else _recorded(second, shown[1], part)
        _check_shapes(sides, (one, other), part.stop - start)
        over_time = tuple(_over_time(given, fixed, steps) for given, fixed in zip(shown, static, strict=True))
        for name, tally in tallies.items():
            tally.add((one, other), (over_time[0], over_time[1]), start)
            causes[name].update(explain(each, sides, name, teacher_forced).short for each in tally.take_samples())
        missing = _missing(sides, (one, other))
        decided += int((one.decisions != other.decisions).sum())
        if labels is not None:
            for index, recording in enumerate((one, other)):
                correct[index] += int((recording.decisions == labels[part]).sum())
        if progress is not None:
            progress(part.stop, total)
    if not any(tally.spikes_seen or tally.potentials_seen for tally in tallies.values()):
        raise UsageError(f"{first.name} and {second.name}: no layer has spikes or potentials on both sides")
    layers = tuple(
        _layer_result(tally, sides, teacher_forced, causes[name], missing.get(name, ()))
        for name, tally in tallies.items()
    )
    infos = [
        SideInfo(side.name, side.title, side.evidence, None if labels is None else right)
        for side, right in zip(sides, correct, strict=True)
    ]
    return SideComparison(
        infos[0], infos[1], chip, total, steps, teacher_forced, by_value, layers, decided, min(chunk, total)
    )


def _check(sides: tuple[Side, Side], teacher_forced: bool) -> None:
    one, other = (side.definition for side in sides)
    shapes = [[(layer.name, layer.shape, layer.fires) for layer in definition.layers] for definition in (one, other)]
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"{sides[0].name} and {sides[1].name} have different layers: {_names(one)} and {_names(other)}"
        )
    if one.steps != other.steps or one.input.shape != other.input.shape:
        raise UsageError(
            f"{sides[0].name} runs {one.steps} steps on {one.input.shape}, {sides[1].name} {other.steps} on "
            f"{other.input.shape}"
        )
    if not teacher_forced:
        return
    first, second = sides
    if second.forced is None:
        swapped = f"; put it first: {second.name} {first.name}" if first.forced is not None else ""
        what = "a recorded run" if second.recorded is not None else "a vendor's simulator"
        raise UsageError(
            f"--teacher-forced: {second.name} is {what}, whose layers cannot be fed spikes one by one; possible for "
            f"float, network, reference and engine{swapped}"
        )
    if first.recorded is not None:
        feeding = {s.source for layer in one.layers for s in layer.synapses} - {INPUT}
        lacking = sorted(feeding - set(first.recorded.recording.spikes))
        if lacking:
            raise UsageError(f"--teacher-forced: {first.name} lacks the spikes of layer {', '.join(lacking)}")


def _same_units(one: Definition, other: Definition) -> bool:
    """Whether potentials are numbers of one chip, which must be equal where both sides are right."""
    if not (one.stored and other.stored):
        return False
    pairs = zip(one.layers, other.layers, strict=True)
    return all((a.unit, a.lsb, a.rounds) == (b.unit, b.lsb, b.rounds) for a, b in pairs)


def _samples_at_once(definition: Definition, memory: int) -> int:
    neurons = sum(int(np.prod(layer.shape)) for layer in definition.layers)
    return max(1, memory // (2 * _BYTES * neurons * definition.steps))


def _recorded(side: Side, inputs: Array, part: slice) -> Recording:
    return side.run(inputs) if side.recorded is None else part_of(side.recorded.recording, part)


def _forced(side: Side, inputs: Array, teacher: Recording) -> Recording:
    assert side.forced is not None  # `_check` has refused the others
    return side.forced(inputs, teacher.spikes)


def _check_shapes(sides: tuple[Side, Side], recordings: tuple[Recording, Recording], batch: int) -> None:
    """A side that puts out other shapes than its definition's is not compared in part."""
    for side, recording in zip(sides, recordings, strict=True):
        for layer in side.definition.layers:
            wanted = (side.definition.steps, batch, *layer.shape)
            for what, values in (("spikes", recording.spikes), ("potentials", recording.potentials)):
                if layer.name in values and values[layer.name].shape != wanted:
                    found = values[layer.name].shape
                    raise UsageError(
                        f"{side.name}: {what} of layer {layer.name} of shape {found}, {wanted} is expected"
                    )


def _missing(sides: tuple[Side, Side], recordings: tuple[Recording, Recording]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for side, recording in zip(sides, recordings, strict=True):
        for layer in side.definition.layers:
            lacking = [] if layer.name in recording.spikes or not layer.fires else ["spikes"]
            lacking += [] if layer.name in recording.potentials else ["potentials"]
            if lacking:
                told = f"{side.name} has no {' and no '.join(lacking)}"
                found[layer.name] = (*found.get(layer.name, ()), told)
    return found


def _over_time(inputs: Array, static: bool, steps: int) -> Array:
    """(T, B, *shape), a view."""
    return np.broadcast_to(inputs, (steps, *inputs.shape)) if static else inputs


def _layer_result(
    tally: Tally,
    sides: tuple[Side, Side],
    teacher_forced: bool,
    causes: Counter[str],
    missing: tuple[str, ...],
) -> LayerResult:
    layer = tally.sides[0]
    neurons = int(np.prod(layer.shape))
    found = tally.found
    place = None if found is None else _place(found, layer.name)
    return LayerResult(
        layer.name,
        neurons,
        layer.fires,
        tally.compared,
        tally.spikes[0] / tally.compared if tally.compared else None,
        tally.spikes[1] / tally.compared if tally.compared else None,
        int(tally.differing.sum()),
        tally.either,
        tuple(tally.differing.tolist()),
        tally.voltages if tally.by_value and tally.potentials_seen else None,
        tally.potential_error(),
        place,
        None if found is None else explain(found, sides, layer.name, teacher_forced),
        dict(causes.most_common()),
        missing,
    )


def _place(found: Found, name: str) -> Place:
    where = (found.step, *found.neuron)
    if found.quantity == "spike":
        values = [float(spikes[name][where]) for spikes in found.spikes]
    else:
        values = [float(potentials[where]) for potentials in found.potentials if potentials is not None]
    return Place(found.step + 1, name, found.sample, found.neuron, found.quantity, values[0], values[1])


def _names(definition: Definition) -> str:
    return ", ".join(f"{layer.name} {layer.shape}" for layer in definition.layers)
