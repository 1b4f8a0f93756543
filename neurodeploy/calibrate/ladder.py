"""The ladder of calibrations: from one gain for a chip to weights that are trained on it.

Every level starts from what those below it left, and a chip keeps what it brings only where it is right more often on
selection samples, which took no part, or as often with readouts nearer to the nominal ones; so no chip ends worse on
them than it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.algorithms import SPSA
from neurodeploy.calibrate.bench import Bench, Cost, MeasurementError, Observer
from neurodeploy.calibrate.device import Device, RackSettings
from neurodeploy.calibrate.membrane import cannot_probe
from neurodeploy.calibrate.normalisation import renormalise
from neurodeploy.calibrate.readout import cannot_refit, refit
from neurodeploy.calibrate.search import STATES, Proposal, match_chip, match_layers, match_neurons
from neurodeploy.calibrate.work import CalibrationData, Options, Work
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Granularity, Knob, Quantity
from neurodeploy.hw_models.knobs import described, unset
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.program import Program

_FINE: tuple[Granularity, ...] = ("neuron", "core", "layer")
_SHIFTS: tuple[Quantity, ...] = ("threshold", "bias")
_PER_LAYER: tuple[Granularity, ...] = ("core", "layer", "neuron")


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
        quantities, granularities: of the knob that it needs; of several, the first granularity counts before the first
            quantity.
    """

    number: int
    name: str
    quantities: tuple[Quantity, ...]
    granularities: tuple[Granularity, ...]
    propose: Callable[[Work, Knob, RackSettings], Proposal]
    refused: Callable[[Program], str | None] = lambda program: None

    def knob(self, knobs: tuple[Knob, ...]) -> Knob | None:
        """The knob of a chip that the level would turn, or None where it has none for it.

        The finest one where the chip has several of a granularity, of equally fine ones that of the first quantity.
        """
        for granularity in self.granularities:
            wanted = [(quantity, granularity) for quantity in self.quantities]
            fitting = [knob for one in wanted for knob in knobs if (knob.quantity, knob.per) == one]
            if fitting:
                return min(fitting, key=lambda knob: knob.step)
        return None

    @property
    def needs(self) -> str:
        """What it needs, in words."""
        return f"{' or '.join(self.quantities)} per {', '.join(self.granularities)}"


def _tune(work: Work, knob: Knob, settings: RackSettings) -> Proposal:
    from neurodeploy.calibrate.tuning import tune

    return tune(work, knob, settings)


def _cannot_tune(program: Program) -> str | None:
    from neurodeploy.calibrate.tuning import cannot_tune

    return cannot_tune(program)


LEVELS: Mapping[int, Level] = MappingProxyType(
    {
        level.number: level
        for level in (
            Level(1, "normalisation", _SHIFTS, _FINE, renormalise),
            Level(2, "one gain", ("gain", "threshold"), ("chip", "layer", "core", "neuron"), match_chip),
            Level(3, "per layer or core", ("threshold", "gain", "bias"), _PER_LAYER, match_layers),
            Level(4, "per neuron", ("threshold", "bias", "gain"), ("neuron",), match_neurons),
            Level(5, "readout", ("readout", "weight"), ("synapse",), refit, cannot_refit),
            Level(6, "in the loop", ("weight",), ("synapse",), _tune, _cannot_tune),
        )
    }
)
"""Number -> level; 0 is none."""


def parse_ladder(text: str) -> tuple[int, ...]:
    """Levels as typed, `4`, `1-5` or `2+4+5`, in rising order.

    Raises:
        UsageError: for anything else, naming the levels that there are.
    """
    levels: set[int] = set()
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        ends = [next((number for number in LEVELS if str(number) == end), None) for end in (first, last or first)]
        if ends[0] is None or ends[1] is None or ends[0] > ends[1] or (dash and not last):
            levels = set()
            break
        levels |= set(range(ends[0], ends[1] + 1))
    if not levels:
        known = ", ".join(f"{number} {level.name}" for number, level in LEVELS.items())
        raise UsageError(f"calibration level {text!r}: 4, 1-5 or 2+4+5 are expected, of {known}")
    return tuple(sorted(levels))


def ladder_name(levels: tuple[int, ...]) -> str:
    """A ladder as it is stored and shown: `4`, `1-5`, `2+4`."""
    if len(levels) > 2 and levels == tuple(range(levels[0], levels[-1] + 1)):
        return f"{levels[0]}-{levels[-1]}"
    return "+".join(map(str, levels))


def usable(levels: tuple[int, ...], knobs: tuple[Knob, ...], program: Program) -> dict[int, str | None]:
    """Level -> why a chip with these knobs cannot climb it, or None where it can.

    Raises:
        UsageError: naming every reason, where the highest of the levels is among those, or all are.
    """
    found: dict[int, str | None] = {}
    for number in levels:
        level = LEVELS[number]
        if level.knob(knobs) is None:
            found[number] = f"needs {level.needs}; the chip has {described(knobs)}"
        else:
            found[number] = level.refused(program)
    if found[levels[-1]] is not None:
        told = "; ".join(f"level {number} ({LEVELS[number].name}): {why}" for number, why in found.items() if why)
        raise UsageError(f"calibration of {program.chip}: {told}")
    return found


@dataclass(frozen=True, eq=False)
class Step:
    """What one level brought.

    Attributes:
        knob: the name of the knob that was turned, or "".
        refused: why nothing was done: a knob that the chip has not, or a measurement that failed; "" otherwise.
        before, after: (chips,) accuracy on the selection samples.
        kept: (chips,) True where the chip is better with it (`work.Standing.better`).
        mask: key of the settings -> (chips, *code shape), indices into `search.STATES`.
        cost: spent when the level ended, all levels before it included.
        settings: of the chips when the level ended, as `Calibration.settings`.
    """

    level: int
    name: str
    knob: str
    refused: str
    before: FloatArray
    after: FloatArray
    kept: NDArray[np.bool_]
    mask: dict[str, IntArray]
    cost: Cost
    settings: RackSettings

    def of_chip(self, chip: int) -> dict[str, Any]:
        """What it brought one chip, as plain values."""
        return {
            "level": self.level,
            "name": self.name,
            "knob": self.knob,
            "refused": self.refused,
            "before": float(self.before[chip]),
            "after": float(self.after[chip]),
            "kept": bool(self.kept[chip]),
            "chip_runs": self.cost.chip_runs,
            "samples": self.cost.samples,
            "seconds": self.cost.seconds,
            "troubles": self.troubles(chip),
        }

    def troubles(self, chip: int) -> list[str]:
        """Knobs of a chip that did not reach what was wanted, in words, by layer."""
        found = []
        for key, states in self.mask.items():
            for state in range(1, len(STATES)):
                where = np.flatnonzero(states[chip].ravel() == state)
                if len(where):
                    few = ", ".join(map(str, where[:5])) + (", …" if len(where) > 5 else "")
                    found.append(f"{key}: {len(where)} of {states[chip].size}: {STATES[state]} ({few})")
        return found


@dataclass(frozen=True, eq=False)
class Calibration:
    """Settings of a rack of chips, and what they cost and brought.

    Attributes:
        settings: key -> (chips, *shape).
        selection_before, selection_after: (chips,) accuracy on the selection samples.
        steps: one per level, in order.
        written: (chips,) knobs written.
    """

    settings: RackSettings
    selection_before: FloatArray
    selection_after: FloatArray
    steps: tuple[Step, ...]
    cost: Cost
    written: FloatArray

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(chips,) True where some level helped."""
        return np.asarray(np.any([step.kept for step in self.steps], axis=0))


def calibrate(
    device: Device,
    program: Program,
    data: CalibrationData,
    levels: tuple[int, ...] = (4,),
    options: Options | None = None,
    observer: Observer | None = None,
) -> Calibration:
    """Climbs a ladder with every chip of a device.

    Args:
        program: what the chips were meant to be.
        levels: in rising order. A level below the highest for which the chip has no knob is left out, and says so.

    Raises:
        UsageError: where the chip cannot climb the highest level.
        MeasurementError: where the first measurement fails; later ones end their level alone.
    """
    reasons = usable(levels, device.knobs, program)
    bench, chosen = Bench(device, program, observer), options or Options()
    if chosen.algorithm == SPSA and 4 in levels:
        raise UsageError("level 4 with algorithm spsa: thousands of codes from one number per chip; take bisection")
    _check_probes(device, program, levels, chosen)
    work = Work(bench, data, chosen)
    settings: RackSettings = {}
    first = reached = work.standing(settings)
    steps = []
    for number in levels:
        level = LEVELS[number]
        knob, why = level.knob(device.knobs), reasons[number] or ""
        best, kept, mask = reached, np.zeros(device.chips, dtype=bool), {}
        if knob is not None and not why:
            try:
                proposed = level.propose(work, knob, settings)
                after = work.standing(proposed.settings)
                kept, mask = after.better(reached), proposed.mask
                best = after.where(kept, reached)
                settings = _chosen(program, kept, proposed.settings, settings)
            except MeasurementError as error:
                why = str(error)
        turned, before = knob.name if knob else "", reached.accuracy
        steps.append(Step(number, level.name, turned, why, before, best.accuracy, kept, mask, bench.cost, settings))
        reached = best
        bench.observe(settings)
    return Calibration(settings, first.accuracy, reached.accuracy, tuple(steps), bench.cost, bench.written)


def _check_probes(device: Device, program: Program, levels: tuple[int, ...], options: Options) -> None:
    knob = LEVELS[4].knob(device.knobs) if 4 in levels else None
    if options.measure != "membrane":
        return
    if not device.probes:
        raise UsageError(f"measure membrane: {program.chip} has no probes of membrane potentials; take rates")
    why = cannot_probe(program, knob) if knob is not None else "measure membrane is of level 4; take rates"
    if why is not None:
        raise UsageError(why)


def _chosen(program: Program, kept: NDArray[np.bool_], proposed: RackSettings, before: RackSettings) -> RackSettings:
    """Chip by chip what was proposed, or what was there."""
    found = {}
    for key, values in proposed.items():
        old = before.get(key)
        if old is None:
            old = np.broadcast_to(unset(program, key), values.shape)
        found[key] = np.where(kept.reshape(-1, *[1] * (values.ndim - 1)), values, old)
    return found
