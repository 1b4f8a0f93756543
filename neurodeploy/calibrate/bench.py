"""Bench: measures a device for a calibration, checks what comes back, and keeps the books of what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.device import Device, RackSettings
from neurodeploy.errors import NeurodeployError
from neurodeploy.hw_models.chip import Range
from neurodeploy.hw_models.knobs import unset
from neurodeploy.ir.program import Program
from neurodeploy.simulate.engine import Counts
from neurodeploy.simulate.recording import Recording

Observer = Callable[["Cost", RackSettings], None]
"""Told after every measurement what was spent and which settings are the best by then: a curve of gain against cost."""


class MeasurementError(NeurodeployError):
    """A measurement that brought nothing that could be used."""


@dataclass(frozen=True)
class Cost:
    """What a calibration has spent, per chip.

    Attributes:
        chip_runs, samples: runs of a chip, and samples over all of them.
        seconds: on the chip at its real time step, (shortest, longest); None where no source gives the step.
        written: knobs whose value changed from one run to the next, summed over runs; the mean of the chips.
    """

    chip_runs: int = 0
    samples: int = 0
    seconds: Range | None = None
    written: float = 0.0


class Bench:
    """A device, with a ledger; it hands out what it measured, or says in a `MeasurementError` what came instead."""

    def __init__(self, device: Device, program: Program, observer: Observer | None = None) -> None:
        self.device, self.program, self.observer = device, program, observer
        self._runs = self._samples = 0
        self._written = np.zeros(device.chips)
        self._last: RackSettings = {}

    @property
    def cost(self) -> Cost:
        """Spent so far."""
        step = self.device.step_seconds
        steps = self._samples * self.program.steps
        seconds = None if step is None else (steps * step[0], steps * step[1])
        return Cost(self._runs, self._samples, seconds, float(self._written.mean()))

    @property
    def written(self) -> NDArray[Any]:
        """(chips,) as `Cost.written`."""
        return self._written.copy()

    def counts(self, inputs: NDArray[Any], settings: RackSettings) -> Counts:
        """What `Device.run` returns, checked."""
        found = self._measure(self.device.run, inputs, settings)
        if not isinstance(found, Counts):
            raise MeasurementError(f"the device returned {type(found).__name__} where spike counts are expected")
        program, chips = self.program, self.device.chips
        _check_readout(found.readout, (chips, self._batch(inputs), *program.layers[-1].shape))
        for layer in program.layers:
            if layer.fires:
                check_counts(layer.name, found.spike_counts.get(layer.name), (chips, *layer.shape))
        return found

    def recordings(self, inputs: NDArray[Any], settings: RackSettings, potentials: bool = False) -> Sequence[Recording]:
        """What `Device.record` returns, checked."""
        found = self._measure(partial(self.device.record, potentials=potentials), inputs, settings)
        if found is None or len(found) != self.device.chips:
            raise MeasurementError(f"the device returned recordings of {0 if found is None else len(found)} chips")
        lead = (self.program.steps, self._batch(inputs))
        for one in found:
            _check_readout(one.readout, (self._batch(inputs), *self.program.layers[-1].shape))
            for layer in self.program.layers:
                if layer.fires:
                    check_counts(layer.name, one.spikes.get(layer.name), (*lead, *layer.shape))
        return list(found)

    def _measure(self, measure: Callable[..., Any], inputs: NDArray[Any], settings: RackSettings) -> Any:
        self._runs += 1
        self._samples += self._batch(inputs)
        for name in sorted(settings.keys() | self._last.keys()):  # what is no longer named goes back to what was there
            there = unset(self.program, name)
            changed = np.asarray(settings.get(name, there) != self._last.get(name, there))
            self._written += changed.reshape(self.device.chips, -1).sum(axis=1)
        self._last = dict(settings)
        try:
            found = measure(inputs, settings)
        except TimeoutError as error:
            raise MeasurementError(f"the measurement timed out after {self._runs} runs: {error}") from error
        return found

    def observe(self, settings: RackSettings) -> None:
        """Tells the observer what the best settings are by now."""
        if self.observer is not None:
            self.observer(self.cost, settings)

    def _batch(self, inputs: NDArray[Any]) -> int:
        return int(inputs.shape[0 if inputs.ndim == len(self.program.input.shape) + 1 else 1])


def _check_readout(readout: NDArray[Any], wanted: tuple[int, ...]) -> None:
    if readout.shape != wanted or not np.isfinite(readout).all():
        raise MeasurementError(f"the device's readout is of shape {readout.shape}, or not finite; {wanted}")


def check_counts(layer: str, values: Any, shape: tuple[int, ...]) -> None:
    """Raises MeasurementError naming the layer, where spikes are none, or of another shape or type."""
    if not isinstance(values, np.ndarray) or values.shape != shape or values.dtype.kind not in "iub":
        came = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise MeasurementError(f"layer {layer}: the device returned {came}, integers of shape {shape} are expected")
