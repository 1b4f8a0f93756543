"""What a side may do that departs from its Program: changes with which a whole layer comes out as it was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.definition import Definition, LayerDefinition
from neurodeploy.compare.simulation import run_definition
from neurodeploy.ir.arrays import frozen_floats
from neurodeploy.ir.program import DECAY_ONE, INPUT
from neurodeploy.ir.synapses import DELAY_MAX, Synapses

Array = NDArray[Any]


def consistent_changes(
    definition: Definition,
    layer: LayerDefinition,
    sources: Mapping[str, Array],
    spikes: Array | None,
    potentials: Array | None,
) -> tuple[str, ...]:
    """Names of the changes that the recording of one sample does not refute.

    Where spikes are shifted in time, potentials are as the definition says, or shifted by as much.

    Args:
        sources: source -> (T, *shape) what the layer received in that sample.
        spikes, potentials: (T, *shape) of the layer in that sample; what is there must come out entirely.
    """
    given = {name: values[:, None] for name, values in sources.items()}
    teacher = {name: values for name, values in given.items() if name != INPUT}
    found = []
    for name, changed in _changes(layer):
        alone = replace(definition, layers=(changed,))
        recording = run_definition(alone, given[INPUT], teacher)
        fired = recording.spikes[layer.name][:, 0] if layer.fires else None
        if _equal(fired, spikes) and _equal(recording.potentials[layer.name][:, 0], potentials):
            found.append(name)
    if layer.fires and spikes is not None:
        recording = run_definition(replace(definition, layers=(layer,)), given[INPUT], teacher)
        found += _shifts(recording.spikes[layer.name][:, 0], spikes, recording.potentials[layer.name][:, 0], potentials)
    return tuple(found)


def _shifts(own: Array, spikes: Array, potential: Array, potentials: Array | None) -> Iterator[str]:
    """Shifts in time that turn a layer's own spikes (T, *shape) into the recorded ones; by less than T steps.

    Recorded potentials are those that belong to the layer's own spikes, or shifted with them.
    """
    in_place = _equal(potential, potentials)

    def moved(ours: slice, recorded: slice) -> bool:
        beside = potentials is not None and np.array_equal(potential[ours], potentials[recorded])
        return np.array_equal(own[ours], spikes[recorded]) and (in_place or beside)

    for steps in range(1, min(3, len(own))):
        plural = "step" if steps == 1 else "steps"
        first, last = slice(None, -steps), slice(steps, None)
        if moved(first, last) and not spikes[:steps].any():
            yield f"spikes recorded {steps} {plural} late"
        if moved(last, first):
            yield f"spikes recorded {steps} {plural} early"


def _equal(computed: Array | None, recorded: Array | None) -> bool:
    return computed is None or recorded is None or np.array_equal(computed, recorded)


def _changes(layer: LayerDefinition) -> Iterator[tuple[str, LayerDefinition]]:
    """Every change that can make a difference to the layer."""
    if layer.fires:
        flipped = not layer.fires_at_threshold
        yield f"{'>=' if flipped else '>'} in the comparison", replace(layer, fires_at_threshold=flipped)
        if layer.reset != "subtract":
            yield "reset by subtraction", replace(layer, reset="subtract")
        if layer.reset != "zero":
            yield "reset to zero", replace(layer, reset="zero")
        yield "no reset", replace(layer, reset="none")
    if layer.wraps is not None:
        yield "no wrap of the current", replace(layer, wraps=None, wraps_sums=None)
    if layer.saturates is not None:
        yield "no saturation of the voltage", replace(layer, saturates=None)
    if layer.rounds == "truncate":
        yield "decayed states rounded down", replace(layer, rounds="floor")
        yield "decayed states not rounded", replace(layer, rounds="none")
    if layer.bias.any():
        yield "no bias", replace(layer, bias=frozen_floats(np.zeros(layer.bias.shape)))
    if (layer.decay != 1).any():
        yield "no decay of the voltage", replace(layer, decay=frozen_floats(np.ones(())))
    if (layer.decay != 0).any():
        yield "no memory in the voltage", replace(layer, decay=frozen_floats(np.zeros(())))
    if layer.rounds != "none":
        for name, sign in (("1/4096 more", 1), ("1/4096 less", -1)):
            kept = np.clip(layer.current_decay - sign / DECAY_ONE, 0, 1)
            yield (
                f"current that loses {name} (an offset of 1 in its decay)",
                replace(layer, current_decay=frozen_floats(kept)),
            )
    for name, change in _SYNAPSE_CHANGES:
        changed = tuple(change(one) for one in layer.synapses)
        if any(one is not other for one, other in zip(changed, layer.synapses, strict=True)):
            yield name, replace(layer, synapses=changed)


def _delayed(steps: int) -> Callable[[Synapses], Synapses]:
    def change(synapses: Synapses) -> Synapses:
        delay = synapses.delay + steps
        return replace(synapses, delay=delay) if 0 <= delay <= DELAY_MAX else synapses

    return change


def _without_lowest_bit(synapses: Synapses) -> Synapses:
    even = np.floor(synapses.weight / 2) * 2
    return synapses if np.array_equal(even, synapses.weight) else replace(synapses, weight=frozen_floats(even))


_SYNAPSE_CHANGES: tuple[tuple[str, Callable[[Synapses], Synapses]], ...] = (
    ("synapses that take a step more", _delayed(1)),
    ("synapses that take a step less", _delayed(-1)),
    ("weights without their lowest bit (odd ones rounded down)", _without_lowest_bit),
)
