"""What a sweep computes: the chips of one block of one cell. Pure, so that any process on any machine may do it."""

from __future__ import annotations

import copyreg
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from neurodeploy import __version__, calibrate, hw_models, ir, simulate
from neurodeploy.calibrate.device import of_chip, virtual_rack
from neurodeploy.calibrate.ladder import calibrate as climb
from neurodeploy.calibrate.ladder import ladder_name, usable
from neurodeploy.calibrate.work import CalibrationData, Options
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.hw_models.knobs import Settings, adjusted, check_settings, written
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip, realise_all
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import Program
from neurodeploy.ir.serialize import encode
from neurodeploy.simulate.engine import run_chips
from neurodeploy.sweep.plan import Point, parameters
from neurodeploy.sweep.store import Cell, encode_parameters


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


# Chips and programs hold read-only mappings, which do not go to another process by themselves.
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))

NOT_ACTING = frozenset({"title", "fan_in", "neurons", "noise", "own", "sources"})
"""Fields of a ChipModel on which no result depends: words, limits that are checked before, and the noise of a chip
file, which acts through the NoiseModel alone."""

_TEST_TRIAL = 0
_PROGRAM_BYTES = 2**29  # of the chips that are realised at once
_FIRST_CALIBRATION_TRIAL = 1000  # noise during calibration is never that of the test


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs, (B, *shape) or (T, B, *shape) integers, and labels, (B,)."""

    inputs: NDArray[Any]
    labels: IntArray


@dataclass(frozen=True, eq=False)
class Study:
    """What a sweep measures.

    Attributes:
        program: quantised for `chip`.
        test: the samples that accuracies are reported on.
        measurement, selection: for calibration; disjoint from each other and from `test`.
        refit: inputs for the levels that fit weights, of the training samples too; None for those of `measurement`.
        ladder: the levels of calibrated cells; options: how they are climbed.
        chips: number of virtual chips per cell, with ids 0 … chips - 1 in every cell.
        network: its name, which tells it from others in the same file.
        beside: all networks of the same command; a network joins a file where another of them is already.
        device: that computes, as in `simulate.engine.run_chips`; not in the fingerprints, since results are the same.
    """

    program: Program
    chip: ChipModel
    test: Samples
    measurement: NDArray[Any] | None
    selection: Samples | None
    chips: int
    seed: int
    network: str = "model"
    beside: tuple[str, ...] = ()
    device: str = "cpu"
    refit: NDArray[Any] | None = None
    ladder: tuple[int, ...] = (4,)
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if self.chips < 1:
            raise UsageError(f"--chips {self.chips}: at least one chip is needed")
        if len(self.test.labels) < 1:
            raise UsageError("at least one test sample is needed")

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Name -> content hash of everything that results depend on, but for noise and chip number."""
        of = f"{self.network} on {self.chip.name}"
        arrays: dict[str, NDArray[Any]] = {}
        program = _hash({"program": encode(self.program, arrays, "program")}, arrays)
        found = {
            "neurodeploy version": f"{__version__}, code {_code()}",
            "seed of the chips": str(self.seed),
            "test labels": _hash({}, {"labels": self.test.labels}),
            f"network {of}": program,
            f"test samples of {of}": _hash({}, {"inputs": self.test.inputs}),
            f"knobs of {of}": _hash({"knobs": self.chip.knobs}, {}),
            f"chip model of {of}": _hash(_acting(self.chip), {}),
        }
        if self.measurement is not None and self.selection is not None:
            calibration = {"measurement": self.measurement, "selection": self.selection.inputs}
            calibration |= {} if self.refit is None else {"refit": self.refit}
            found[f"calibration samples of {of}"] = _hash({}, calibration | {"labels": self.selection.labels})
        return found

    @property
    def names(self) -> str:
        """What progress and messages call it."""
        return self.chip.name if len(self.beside) < 2 else f"{self.network} {self.chip.name}"


@dataclass(frozen=True)
class Task:
    """A block of chips to calibrate or to measure, or both.

    Attributes:
        codes: stored settings per chip, None where they are to be made (or where the cell is not calibrated).
        measured: False where settings alone are wanted.
    """

    cell: Cell
    noise: NoiseModel
    block: tuple[int, ...]
    codes: tuple[bytes, ...] | None
    measured: bool = True


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a task found.

    Attributes:
        correct: (chips, samples): which test samples each chip gets right; None where only settings were wanted.
        calibrations: one row per chip that was calibrated now.
    """

    correct: NDArray[np.bool_] | None
    calibrations: list[dict[str, Any]]


def cell_of(study: Study, point: Point, calibrated: bool) -> Cell:
    """The cell of a study, a point of a plan and a state of calibration."""
    noise = parameters(point.noise)
    described: dict[str, Any] = {"study": study.fingerprints, "noise": noise, "calibrated": calibrated}
    ladder = ladder_name(study.ladder) if calibrated else ""
    if calibrated:
        described |= {"ladder": ladder, "options": asdict(study.options)}
    evidence = "statistical-sim" if point.noise.active else study.chip.evidence
    return Cell(
        _hash(described, {}),
        study.chip.name,
        evidence,
        point.axis,
        point.level,
        calibrated,
        study.seed,
        study.network,
        point.fixed,
        encode_parameters(noise),
        ladder,
    )


def check_calibratable(study: Study) -> None:
    """Raises UsageError where a study's chips cannot be calibrated: before a file is made."""
    if not study.chip.knobs:
        raise UsageError(f"chip {study.chip.name} has no knob: there is nothing to calibrate")
    usable(study.ladder, study.chip.knobs, study.program)
    if study.measurement is None or study.selection is None:
        raise UsageError("calibration needs samples for measurement and for selection")


def compute(study: Study, task: Task) -> Outcome:
    """Calibrates the chips of a task where that is wanted, and measures them."""
    rows: list[dict[str, Any]] = []
    settings = None
    if task.cell.calibrated:
        stored = task.codes
        if stored is None:
            rows = _calibrate(study, task.noise, task.block)
            stored = tuple(row["codes"] for row in rows)
        settings = [_decode(study, one) for one in stored]
    correct = _measure(study, task.noise, task.block, settings) if task.measured else None
    return Outcome(correct, rows)


def _population(study: Study, noise: NoiseModel, block: Sequence[int]) -> list[VirtualChip]:
    return [VirtualChip(study.chip, noise, chip_id, study.seed) for chip_id in block]


def _measure(
    study: Study, noise: NoiseModel, block: Sequence[int], settings: Sequence[Settings] | None
) -> NDArray[np.bool_]:
    """(chips, samples): which test samples each chip gets right."""
    at_once = max(1, _PROGRAM_BYTES // _own_bytes(study.program, noise))
    right = []
    for first in range(0, len(block), at_once):
        chips = _population(study, noise, block[first : first + at_once])
        if settings is None:
            programs = realise_all(chips, study.program)
        else:
            own = settings[first : first + at_once]
            programs = [_set_up(study, chip, one) for chip, one in zip(chips, own, strict=True)]
        noises = [chip.dynamic_noise(study.program, _TEST_TRIAL) for chip in chips]
        right.append(run_chips(programs, study.test.inputs, noises, study.device).decisions == study.test.labels)
    return np.concatenate(right)


def _own_bytes(program: Program, noise: NoiseModel) -> int:
    """About what a chip's own numbers take: five doubles per neuron twice, and weights where they are its own."""
    neurons = sum(int(np.prod(layer.shape)) for layer in program.layers)
    weights = sum(one.weight.size for layer in program.layers for one in layer.synapses)
    own = noise.weight_mismatch or noise.dead_synapses or noise.stuck_synapses or noise.quantization
    return 80 * neurons + (16 * weights if own else 0)


def _calibrate(study: Study, noise: NoiseModel, block: Sequence[int]) -> list[dict[str, Any]]:
    """One row per chip: what calibrating it cost and brought, level by level, and the settings."""
    if study.measurement is None or study.selection is None:
        raise UsageError("calibration needs samples for measurement and for selection")
    device = virtual_rack(_population(study, noise, block), study.program, _FIRST_CALIBRATION_TRIAL, study.device)
    data = CalibrationData(study.measurement, study.selection.inputs, study.selection.labels, study.refit)
    found = climb(device, study.program, data, study.ladder, study.options)
    return [
        {
            "chip_id": chip_id,
            "selection_before": float(found.selection_before[index]),
            "selection_after": float(found.selection_after[index]),
            "kept": int(found.kept[index]),
            "chip_runs": found.cost.chip_runs,
            "samples": found.cost.samples,
            "codes": save_arrays({name: np.atleast_1d(v) for name, v in of_chip(found.settings, index).items()}),
            "written": int(found.written[index]),
            "detail": json.dumps([step.of_chip(index) for step in found.steps]),
        }
        for index, chip_id in enumerate(block)
    ]


def _set_up(study: Study, chip: VirtualChip, settings: Settings) -> Program:
    """The Program of a calibrated chip: its weights are written first, and deviate as all its weights do."""
    own = chip.realise(written(study.program, study.chip.knobs, settings))
    return adjusted(own, study.program, study.chip.knobs, settings)


def _decode(study: Study, stored: bytes) -> Settings:
    """Stored settings, checked."""
    settings = {name: values.reshape(()) if _single(name) else values for name, values in load_arrays(stored).items()}
    check_settings(study.program, study.chip.knobs, settings)
    return settings


def _single(key: str) -> bool:
    return key.split("/")[1] in ("layer", "chip")


def _acting(chip: ChipModel) -> dict[str, Any]:
    """What of a chip results depend on, but for its knobs, which have a fingerprint of their own."""
    return {one.name: getattr(chip, one.name) for one in fields(chip) if one.name not in NOT_ACTING | {"knobs"}}


@cache
def _code() -> str:
    """What tells code that computes results from other code of the same version: a hash of its files."""
    digest = hashlib.sha256()
    for package in (ir, hw_models, simulate, calibrate):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _hash(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=asdict).encode())
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
