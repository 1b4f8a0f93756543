"""What a sweep covers: noises × levels × chips, written as a user types it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.hw_models.noise import NOISES, NoiseModel

DEFAULT_LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
_MOST_LEVELS = 1000


@dataclass(frozen=True)
class NoiseAxis:
    """One noise at several levels, all other noises at `base`."""

    noise: str
    levels: tuple[float, ...]
    base: NoiseModel = field(default_factory=NoiseModel)

    def at(self, level: float) -> NoiseModel:
        """The noise model at a level."""
        return NoiseModel(**{name: getattr(self.base, name) for name in NOISES} | {self.noise: level})


def parse_axis(text: str, base: NoiseModel | None = None) -> NoiseAxis:
    """An axis as typed: `mismatch`, `mismatch=0,0.1,0.3` or `mismatch=0:0.5:0.1` (first : last : step).

    Raises:
        UsageError: for an unknown noise or an impossible level.
    """
    noise, equals, values = text.partition("=")
    if noise not in NOISES:
        raise unknown_name("noise", noise, NOISES)
    return NoiseAxis(noise, _levels(text, values) if equals else DEFAULT_LEVELS, base or NoiseModel())


def parse_noise(texts: list[str]) -> NoiseModel:
    """Fixed noise as typed: `["mismatch=0.2", "thermal=0.1"]`."""
    levels: dict[str, float] = {}
    for text in texts:
        axis = parse_axis(text)
        if "=" not in text or len(axis.levels) != 1:
            raise UsageError(f"{text}: one level is expected, as in mismatch=0.2")
        if axis.noise in levels:
            raise UsageError(f"{text}: {axis.noise} is given twice")
        levels[axis.noise] = axis.levels[0]
    return NoiseModel(**levels)


def _levels(text: str, values: str) -> tuple[float, ...]:
    try:
        if ":" in values:
            first, last, step = (float(part) for part in values.split(":"))
            if not (np.isfinite([first, last, step]).all() and step > 0 and last >= first):
                raise UsageError(f"{text}: FIRST:LAST:STEP needs finite numbers, LAST >= FIRST and STEP > 0")
            count = int((last - first) / step + 1e-9) + 1
            if count > _MOST_LEVELS:
                raise UsageError(f"{text}: {count} levels, at most {_MOST_LEVELS} are allowed")
            levels = tuple(float(round(first + index * step, 12)) for index in range(count))
        else:
            levels = tuple(float(part) for part in values.split(","))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text}: levels are written 0,0.1,0.3 or FIRST:LAST:STEP") from error
    for level in levels:
        if not (np.isfinite(level) and level >= 0):
            raise UsageError(f"{text}: level {level} must be finite and not negative")
    return levels
