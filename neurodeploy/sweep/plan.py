"""What a sweep covers: noises × levels × chips, written as a user types it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

import numpy as np

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.hw_models.noise import NOISES, OPTIONS, NoiseModel, parse_option
from neurodeploy.hw_models.noise_presets import PRESETS, is_preset, noise_of

DEFAULT_LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
_MOST_LEVELS = 1000


@dataclass(frozen=True)
class Point:
    """One noise of a plan.

    Attributes:
        axis, level: where it stands on a curve; None where it is on none.
    """

    noise: NoiseModel
    axis: str | None = None
    level: float | None = None

    @property
    def fixed(self) -> str:
        """What is there besides the axis, in words; "" for nothing."""
        return describe(self.noise, without=self.axis)

    @property
    def title(self) -> str:
        """What progress calls it."""
        return f"{self.axis} {self.level:g}" if self.axis is not None else describe(self.noise) or "no noise"


@dataclass(frozen=True)
class NoiseAxis:
    """One noise at several levels, all other noises at `base`."""

    noise: str
    levels: tuple[float, ...]
    base: NoiseModel = field(default_factory=NoiseModel)

    def at(self, level: float) -> NoiseModel:
        """The noise model at a level."""
        changed: dict[str, Any] = {self.noise: level}
        return replace(self.base, **changed)

    def points(self) -> list[Point]:
        """One point per level."""
        return [Point(self.at(level), self.noise, level) for level in self.levels]


def parameters(noise: NoiseModel) -> dict[str, Any]:
    """What of a noise model is not at its default: its identity, whatever fields later versions add."""
    found = {}
    for one in fields(noise):
        value = getattr(noise, one.name)
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if value != default:
            found[one.name] = list(value) if isinstance(value, tuple | set | frozenset) else value
    return found


def describe(noise: NoiseModel, without: str | None = None) -> str:
    """A noise model as typed: `mismatch=0.1, layers=lif1+lif2`."""
    return ", ".join(
        f"{name}={'+'.join(map(str, value)) if isinstance(value, list) else _shown(value)}"
        for name, value in parameters(noise).items()
        if name != without
    )


def parse_axis(text: str, base: NoiseModel | None = None) -> NoiseAxis:
    """An axis as typed: `mismatch`, `mismatch=0,0.1,0.3` or `mismatch=0:0.5:0.1` (first : last : step).

    Raises:
        UsageError: for an unknown noise or an impossible level.
    """
    noise, equals, values = text.partition("=")
    if noise not in NOISES:
        raise unknown_name("noise", noise, NOISES)
    axis = NoiseAxis(noise, parse_levels(text, values) if equals else DEFAULT_LEVELS, base or NoiseModel())
    for level in axis.levels:
        axis.at(level)  # a noise knows its own limit
    return axis


def parse_noise(texts: Iterable[str], base: NoiseModel | None = None) -> NoiseModel:
    """Fixed noise as typed, on top of `base`: levels, options of the noise, and at most one preset under them.

    As in `["buechel-10", "thermal=0.1", "decay_as=tau", "layers=lif1,lif2"]`. A chip file stands for its own noise.

    Raises:
        UsageError: for an unknown name, several levels, a name given twice, or a preset that would replace a `base`.
    """
    given: dict[str, Any] = {}
    presets = []
    for text in texts:
        name, equals, value = text.partition("=")
        if is_preset(text):
            presets.append(text)
            continue
        if name in OPTIONS:
            if not equals:
                raise UsageError(f"{text}: a value is expected, as in decay_as=tau")
            found: Any = parse_option(name, value)
        else:
            found = _single(text)
        if name in given:
            raise UsageError(f"{text}: {name} is given twice")
        given[name] = found
    if len(presets) > 1:
        raise UsageError(f"{' and '.join(presets)}: one preset at a time")
    under = base or NoiseModel()
    if presets and under != NoiseModel():
        raise UsageError(
            f"{presets[0]}: a preset is the whole noise, beside which {describe(under)} would be lost; "
            "give these in the same place as the preset"
        )
    return replace(noise_of(presets[0]) if presets else under, **given)


def _single(text: str) -> float:
    name, equals, _ = text.partition("=")
    if name not in NOISES:
        raise unknown_name("noise", name, (*NOISES, *OPTIONS, *PRESETS))
    levels = parse_axis(text).levels
    if not equals or len(levels) != 1:
        raise UsageError(f"{text}: one level is expected, as in mismatch=0.2")
    return levels[0]


def parse_levels(text: str, values: str) -> tuple[float, ...]:
    """`0,0.1,0.3` or FIRST:LAST:STEP as numbers; raises UsageError naming `text`, what was typed."""
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


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
