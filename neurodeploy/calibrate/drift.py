"""How long a calibration lasts: accuracy of calibrated chips as they age, or as their temperature changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.device import RackSettings, virtual_rack
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NOMINAL_TEMPERATURE, NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.program import Program

Change = Literal["age", "temperature"]
UNITS: dict[Change, str] = {"age": "h", "temperature": "K"}
_FIRST_TRIAL = 5000  # noise of these measurements is that of no calibration and no test


@dataclass(frozen=True, eq=False)
class Drift:
    """Accuracy after calibration.

    Attributes:
        change: what changed since, "age" (hours) or "temperature" (kelvin, with sign).
        amounts: by how much, from 0 on.
        accuracy: (amounts, chips), with the settings of the calibration.
    """

    change: Change
    amounts: tuple[float, ...]
    accuracy: FloatArray

    def lasts(self, points: float) -> float | None:
        """The amount at which the mean accuracy has fallen by so many points, by straight lines between the amounts.

        None where it has not: the calibration is good for all of them.

        Raises:
            UsageError: for points that are no fall.
        """
        check_points(points)
        mean = self.accuracy.mean(axis=1)
        # From 94 of 100 right to 93 is a point, whatever the division rounds.
        limit = min(mean[0], mean[0] - points / 100 + 1e-12)
        for before, after in zip(range(len(mean) - 1), range(1, len(mean)), strict=True):
            if mean[after] <= limit and mean[after] < mean[0]:  # no fall is none of however few points
                part = (mean[before] - limit) / (mean[before] - mean[after])
                return float(self.amounts[before] + part * (self.amounts[after] - self.amounts[before]))
        return None


def drift(
    chips: Sequence[VirtualChip],
    program: Program,
    settings: RackSettings,
    inputs: NDArray[Any],
    labels: IntArray,
    change: Change,
    amounts: Sequence[float],
) -> Drift:
    """Measures the same chips with the same settings, as they are later or at other temperatures.

    Args:
        amounts: since the calibration, the first one 0.

    Raises:
        UsageError: where the chips do not drift, or an amount is impossible.
    """
    check_amounts(amounts)
    found = []
    for amount in amounts:
        later = [replace(chip, noise=changed(chip.noise, change, amount)) for chip in chips]
        decisions = virtual_rack(later, program, _FIRST_TRIAL).run(inputs, settings).decisions
        found.append((decisions == labels).mean(axis=1))
    return Drift(change, tuple(amounts), np.stack(found))


def check_amounts(amounts: Sequence[float]) -> None:
    """Raises UsageError for amounts that do not go one way from 0."""
    if len(amounts) < 2 or amounts[0] != 0:
        raise UsageError(f"drift: amounts {list(amounts)}: 0 first, then at least one more, as age=0:168:24")
    steps = np.diff(amounts)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise UsageError(f"drift: amounts {list(amounts)}: in order and each once, as age=0,10,20")


def check_points(points: float) -> None:
    """Raises UsageError for a fall of accuracy that is none."""
    if not 0 < points <= 100:
        raise UsageError(
            f"--points {points:g}: points of accuracy above 0 and at most 100 are expected, as in --points 1"
        )


def changed(noise: NoiseModel, change: Change, amount: float) -> NoiseModel:
    """The noise of a chip that much later, or that much warmer (colder where negative)."""
    if change == "age":
        if noise.drift == 0:
            raise UsageError(
                "drift: chips that do not drift do not age; say how fast, as in --with drift=0.001 (per hour)"
            )
        return replace(noise, age=noise.age + amount)
    if change != "temperature":
        raise UsageError(f"drift: {change!r}: age and temperature change")
    sign = 1 if noise.temperature_direction == "hotter" else -1
    offset = sign * noise.temperature + amount
    if offset < -NOMINAL_TEMPERATURE:
        raise UsageError(f"drift: {amount} K: below 0 K")
    return replace(noise, temperature=abs(offset), temperature_direction="hotter" if offset >= 0 else "colder")
