"""How a calibration sees chips: through what they put out when they run, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Knob, Range
from neurodeploy.hw_models.knobs import WEIGHT, Settings, adjusted, written
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import Program
from neurodeploy.simulate import engine
from neurodeploy.simulate.engine import Counts, run_chips
from neurodeploy.simulate.recording import Recording

RackSettings = dict[str, IntArray]
"""Settings of several chips: as `hw_models.knobs.Settings`, with an axis of chips before each array's own."""


class Device(Protocol):
    """Chips that run the same Program side by side, simulated or real.

    Attributes:
        chips: how many there are.
        knobs: what can be set on each of them.
        step_seconds: real time of a step, (shortest, longest), or None where that is not known.
        probes: whether recordings hold membrane potentials.
    """

    @property
    def chips(self) -> int: ...

    @property
    def knobs(self) -> tuple[Knob, ...]: ...

    @property
    def step_seconds(self) -> Range | None: ...

    @property
    def probes(self) -> bool: ...

    def run(self, inputs: NDArray[Any], settings: RackSettings) -> Counts:
        """Sets the knobs and runs samples.

        Args:
            inputs: integers, (B, *shape) or (T, B, *shape).

        Returns:
            Spike counts per neuron and the readout per sample: what a chip puts out, with its noise of that moment.

        Raises:
            TimeoutError: where a chip does not answer.
        """

    def record(self, inputs: NDArray[Any], settings: RackSettings, potentials: bool = False) -> Sequence[Recording]:
        """As `run`, with every spike of every chip; potentials where they are wanted and there are probes."""


Realise = Callable[[Program], Program]
Simulator = Callable[[Program, NDArray[Any]], Recording]


def virtual_rack(chips: Sequence[VirtualChip], program: Program, first_trial: int = 0, device: str = "cpu") -> Device:
    """Virtual chips behind the interface of real ones.

    The chips' own parameters live in a closure: nothing of the returned object leads to them. Every run is a new trial,
    so that dynamic noise is never the same twice. `device` is what simulates them, as in `simulate.engine.run_chips`.

    Raises:
        UsageError: where the chips have no knob.
    """
    model = chips[0].model
    if not model.knobs:
        raise UsageError(f"chip {model.name} has no knob: there is nothing to calibrate")
    set_up = _setting_up([chip.realise for chip in chips], program, model.knobs)
    trial = first_trial - 1

    def programs(settings: RackSettings) -> list[Program]:
        nonlocal trial
        trial += 1
        return set_up(settings)

    def run(inputs: NDArray[Any], settings: RackSettings) -> Counts:
        own = programs(settings)
        return run_chips(own, inputs, [chip.dynamic_noise(program, trial) for chip in chips], device)

    def record(inputs: NDArray[Any], settings: RackSettings, potentials: bool) -> list[Recording]:
        probed = potentials and model.probes
        return [
            engine.run(own, inputs, chip.dynamic_noise(program, trial), device=device, potentials=probed)
            for chip, own in zip(chips, programs(settings), strict=True)
        ]

    seconds = model.costs.step_seconds if model.costs is not None else None
    return _Rack(len(chips), model.knobs, seconds, model.probes, run, record)


def simulated_rack(
    chips: Sequence[Realise], program: Program, knobs: tuple[Knob, ...], simulator: Simulator, probes: bool = False
) -> Device:
    """Chips whose Programs a backend runs one after the other, as a vendor's simulator; it has no dynamic noise.

    Args:
        chips: what each makes of a Program that is written to it, as `VirtualChip.realise`.
        program: what was meant.
    """
    set_up = _setting_up(chips, program, knobs)

    def record(inputs: NDArray[Any], settings: RackSettings, potentials: bool) -> list[Recording]:
        found = [simulator(own, inputs) for own in set_up(settings)]
        return found if probes and potentials else [replace(one, potentials={}) for one in found]

    def run(inputs: NDArray[Any], settings: RackSettings) -> Counts:
        found = record(inputs, settings, False)
        counts = {
            name: np.stack([one.spikes[name].sum(axis=(0, 1), dtype=np.int64) for one in found])
            for name in found[0].spikes
        }
        return Counts(np.stack([one.readout for one in found]), counts)

    return _Rack(len(chips), knobs, None, probes, run, record)


def _setting_up(
    chips: Sequence[Realise], program: Program, knobs: tuple[Knob, ...]
) -> Callable[[RackSettings], list[Program]]:
    """From settings to what the chips compute: weights are written first, and deviate as those that were there did."""
    as_made = [realise(program) for realise in chips]

    def set_up(settings: RackSettings) -> list[Program]:
        found = []
        for index, realise in enumerate(chips):
            mine = of_chip(settings, index)
            rewritten = any(name.startswith(f"{WEIGHT}/") for name in mine)
            own = realise(written(program, knobs, mine)) if rewritten else as_made[index]
            found.append(adjusted(own, program, knobs, mine))
        return found

    return set_up


def of_chip(settings: Mapping[str, IntArray], index: int) -> Settings:
    """The settings of one chip of a rack."""
    return {name: np.asarray(values[index]) for name, values in settings.items()}


class _Rack:
    def __init__(
        self,
        chips: int,
        knobs: tuple[Knob, ...],
        step_seconds: Range | None,
        probes: bool,
        run: Callable[[NDArray[Any], RackSettings], Counts],
        record: Callable[[NDArray[Any], RackSettings, bool], Sequence[Recording]],
    ) -> None:
        self._chips, self._knobs, self._step_seconds, self._probes = chips, knobs, step_seconds, probes
        self._run, self._record = run, record

    @property
    def chips(self) -> int:
        return self._chips

    @property
    def knobs(self) -> tuple[Knob, ...]:
        return self._knobs

    @property
    def step_seconds(self) -> Range | None:
        return self._step_seconds

    @property
    def probes(self) -> bool:
        return self._probes

    def run(self, inputs: NDArray[Any], settings: RackSettings) -> Counts:
        return self._run(inputs, settings)

    def record(self, inputs: NDArray[Any], settings: RackSettings, potentials: bool = False) -> Sequence[Recording]:
        return self._record(inputs, settings, potentials)
