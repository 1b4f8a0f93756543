"""Sweeps of a DYNAP-SE2 artifact: accuracy of virtual chips at every level of mismatch and noise, into a study file.

Chips are drawn by number (`neurodeploy.hw_models.dynapse2_mismatch`) and computed by the compiled engine; the file, its
tables and statistics are those of other sweeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__, hw_models, simulate
from neurodeploy.deployment_chip import Labelled
from neurodeploy.errors import NeurodeployError, UsageError, unknown_name
from neurodeploy.hw_models.dynapse2_mismatch import PRESETS, QUANTITIES, WEIGHT, Mismatch, preset, realise
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.ir.identity import network_hash
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate.dynapse2 import Thermal
from neurodeploy.sweep.plan import DEFAULT_LEVELS, parse_levels
from neurodeploy.sweep.store import Cell, Store, encode_parameters

THERMAL, DISTRIBUTION = "thermal", "distribution"
_CURRENTS = ("Itau_mem", "Itau_syn", "Ispkthr")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "mismatch": _CURRENTS,
    "decay_mismatch": ("Itau_mem",),
    "threshold_mismatch": ("Ispkthr",),
    "weight_mismatch": (WEIGHT,),
}
"""Noises of other chips -> the quantities of this one that spread alike; a decay spreads as its time constant."""

NAMES = (THERMAL, *GROUPS, *QUANTITIES, *PRESETS)
_PRESET_LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0)
_CHIPS_AT_ONCE = 40  # chips that are stored together: what a kill can lose
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ChipNoise:
    """What virtual chips are like.

    Attributes:
        levels: quantity -> coefficient of variation; all of them above 0.
        thermal: as `neurodeploy.simulate.dynapse2.Thermal`.
    """

    levels: Mapping[str, float] = field(default_factory=dict)
    distribution: Literal["gaussian", "lognormal"] = "gaussian"
    thermal: float = 0.0

    def with_level(self, name: str, level: float) -> ChipNoise:
        """With one of `NAMES` at a level; of a preset, so many times what it says, in its own distribution."""
        if name == THERMAL:
            return replace(self, thermal=level)
        if name in PRESETS:
            found = preset(name).mismatch.scaled(level)
            return self._spread(found.levels, found.distribution)
        if name not in NAMES:
            raise unknown_name("noise of DYNAP-SE2", name, NAMES)
        return self._spread(dict.fromkeys(GROUPS.get(name, (name,)), level), self.distribution)

    @property
    def mismatch(self) -> Mismatch:
        """For `realise`."""
        return Mismatch(self.levels, self.distribution)

    @property
    def active(self) -> bool:
        """Whether anything differs from the nominal chip."""
        return bool(self.levels) or self.thermal > 0

    def parameters(self) -> dict[str, Any]:
        """Plain values, its identity."""
        found: dict[str, Any] = dict(sorted(self.levels.items()))
        found |= {THERMAL: self.thermal} if self.thermal else {}
        return found | ({DISTRIBUTION: self.distribution} if self.levels and self.distribution != "gaussian" else {})

    def _spread(self, levels: Mapping[str, float], distribution: Literal["gaussian", "lognormal"]) -> ChipNoise:
        both = {**self.levels, **levels}
        return replace(self, levels={name: one for name, one in both.items() if one > 0}, distribution=distribution)


@dataclass(frozen=True, eq=False)
class ChipPoint:
    """One level of one axis, with what is there besides."""

    axis: str
    level: float
    noise: ChipNoise
    fixed: str


@dataclass(frozen=True, eq=False)
class Dynapse2Study:
    """A network on virtual chips.

    Attributes:
        name: which tells it from others in the same file.
        test: the samples that accuracies are reported on.
        chips: how many, with ids 0 … chips - 1 at every point.
        threads: samples of a chip are divided among so many; results are the same.
    """

    network: Dynapse2Network
    name: str
    test: Labelled
    chips: int
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for option, value in (("--chips", self.chips), ("--jobs", self.threads)):
            if value < 1:
                raise UsageError(f"{option} {value}: at least 1")

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Name -> content hash of everything that results depend on, but for noise and chip number."""
        of = f"{self.name} on {self.network.chip}"
        return {
            "code of virtual DYNAP-SE2 chips": f"{__version__}, {_code()}",
            "seed of the chips": str(self.seed),
            f"network {of}": network_hash(self.network),
            f"test samples of {of}": _hash(self.test.inputs, self.test.labels),
        }

    def cell(self, point: ChipPoint) -> Cell:
        """The cell of a point."""
        parameters = encode_parameters(point.noise.parameters())
        key = hashlib.sha256(repr([sorted(self.fingerprints.items()), parameters]).encode()).hexdigest()
        return Cell(
            key,
            self.network.chip,
            "statistical-sim" if point.noise.active else "modelled",
            point.axis,
            point.level,
            False,
            self.seed,
            self.name,
            point.fixed,
            parameters,
        )

    def correct(self, noise: ChipNoise, chip_id: int) -> NDArray[np.bool_]:
        """(samples,): which samples a chip gets right."""
        chip = realise(self.network, noise.mismatch, chip_id, self.seed)
        thermal = Thermal(noise.thermal, chip_id, self.seed) if noise.thermal > 0 else None
        got = dynapse2_engine.run(chip, self.test.inputs, thermal=thermal, record=False, threads=self.threads)
        return np.asarray(got.decisions == self.test.labels)


def parse_points(noise: Sequence[str], fixed: Sequence[str]) -> list[ChipPoint]:
    """The points of `--noise` and `--with` as typed: NAME=0,0.1,0.2 or NAME=0:0.3:0.1, and NAME=0.1, a preset, or
    distribution=lognormal.

    An axis may move what a preset set, but not what --with names.

    Raises:
        UsageError: for an unknown name, several levels of what is fixed, a name that is given twice, or an axis that
            moves what --with names.
    """
    base, given = _fixed(fixed)
    besides = _in_order(fixed)
    points = []
    for text in noise:
        axis, equals, values = text.partition("=")
        default = _PRESET_LEVELS if axis in PRESETS else DEFAULT_LEVELS
        levels = parse_levels(text, values) if equals else default
        _check_apart(axis, base, given)
        points += [ChipPoint(axis, level, base.with_level(axis, level), besides) for level in levels]
    return points


def sweep_dynapse2(study: Dynapse2Study, points: Sequence[ChipPoint], store: Store, progress: Progress) -> None:
    """Measures all chips at every point; what is in the store is not done again.

    Raises:
        UsageError: for a store of another study.
        NeurodeployError: where the store cannot be written; what was finished before is in it.
    """
    store.claim(study.fingerprints)
    cells = {point: study.cell(point) for point in points}
    store.place(cells.values())
    for point, cell in cells.items():
        title = f"{study.name} {point.axis} {point.level:g}"
        missing = sorted(set(range(study.chips)) - store.finished_chips(cell))
        finished = study.chips - len(missing)
        progress(title, finished, study.chips)
        for first in range(0, len(missing), _CHIPS_AT_ONCE):
            block = missing[first : first + _CHIPS_AT_ONCE]
            right = np.stack([study.correct(point.noise, chip_id) for chip_id in block])
            try:
                store.add_results(cell, block, right)
            except NeurodeployError as error:
                raise NeurodeployError(f"{error}; {finished} chips of {title} are in the study") from error
            finished += len(block)
            progress(title, finished, study.chips)


def _fixed(texts: Sequence[str]) -> tuple[ChipNoise, set[str]]:
    """What --with says, and the quantities that it names itself, presets apart."""
    presets = [text for text in texts if text in PRESETS]
    if len(presets) > 1:
        raise UsageError(f"--with {' and '.join(presets)}: one preset at a time")
    noise, given = ChipNoise(), set[str]()
    for text in [*presets, *(text for text in texts if text not in PRESETS)]:
        name, equals, value = text.partition("=")
        if text in PRESETS:
            noise = noise.with_level(text, 1.0)
        elif name == DISTRIBUTION:
            if DISTRIBUTION in given:
                raise UsageError(f"--with {text}: {DISTRIBUTION} is given twice")
            checked = Mismatch({}, value)  # type: ignore[arg-type]  # which is what it checks
            noise = replace(noise, distribution=checked.distribution)
            given.add(DISTRIBUTION)
        else:
            levels = parse_levels(text, value) if equals else ()
            if len(levels) != 1:
                raise UsageError(f"--with {text}: one level is expected, as in {name}=0.1")
            if _quantities(name) & given:
                raise UsageError(f"--with {text}: {', '.join(sorted(_quantities(name) & given))} is given twice")
            given |= _quantities(name)
            noise = noise.with_level(name, levels[0])
    return noise, given


def _check_apart(axis: str, base: ChipNoise, given: set[str]) -> None:
    """Raises UsageError where an axis moves what --with names; of a preset, its distribution is that of all factors."""
    moved = _quantities(axis) if axis not in PRESETS else set(preset(axis).mismatch.levels)
    if moved & given:
        raise UsageError(f"--with: sets {', '.join(sorted(moved & given))}, an axis of this sweep ({axis})")
    if axis not in PRESETS:
        return
    own, kept = preset(axis).mismatch.distribution, sorted(set(base.levels) - moved)
    if own != base.distribution and (kept or DISTRIBUTION in given):
        what = ", ".join(kept) or DISTRIBUTION
        raise UsageError(
            f"--with: sets {what} as {base.distribution}, but axis {axis} is {own}, and a chip has one distribution; "
            f"use --with {DISTRIBUTION}={own}, or the quantities of {axis} as axes"
        )


def _in_order(texts: Sequence[str]) -> str:
    """What --with says, whatever the order and the digits in which it was typed."""
    presets = [text for text in texts if text in PRESETS]
    words, levels = [], []
    for text in texts:
        name, _, value = text.partition("=")
        if name == DISTRIBUTION:
            words.append(text)
        elif text not in PRESETS:
            levels.append(f"{name}={parse_levels(text, value)[0]!r}")
    return ", ".join([*presets, *sorted(levels), *words])


def _quantities(name: str) -> set[str]:
    if name not in NAMES:
        raise unknown_name("noise of DYNAP-SE2", name, NAMES)
    return set() if name in PRESETS else set(GROUPS.get(name, (name,)))


def _hash(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for values in arrays:
        digest.update(f"{values.shape}{values.dtype}".encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@cache
def _code() -> str:
    """A hash of the files that compute results."""
    digest = hashlib.sha256()
    for package in (hw_models, simulate):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            if path.name.startswith("dynapse2") or path.name == "random.py":
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
