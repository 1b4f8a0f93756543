"""A device that notes how a calibration uses it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from neurodeploy.calibrate.device import Device, RackSettings
from neurodeploy.simulate.engine import Counts


class Watched:
    """A device that notes how it is used, and nothing more."""

    def __init__(self, device: Device) -> None:
        self.device, self.seen = device, list[tuple[str, int, RackSettings]]()
        self.chips, self.knobs = device.chips, device.knobs
        self.step_seconds, self.probes = device.step_seconds, device.probes

    def run(self, inputs: NDArray[Any], settings: RackSettings) -> Counts:
        self.seen.append(("run", len(inputs), {name: one.copy() for name, one in settings.items()}))
        return self.device.run(inputs, settings)

    def record(self, inputs: NDArray[Any], settings: RackSettings, potentials: bool = False) -> Any:
        self.seen.append(("record", len(inputs), {name: one.copy() for name, one in settings.items()}))
        return self.device.record(inputs, settings, potentials)
