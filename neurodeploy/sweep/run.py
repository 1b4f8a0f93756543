"""Running a sweep: every cell's chips, uncalibrated and calibrated, into a store; what is there is not done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from neurodeploy import __version__
from neurodeploy.calibrate.device import RackCodes, virtual_rack
from neurodeploy.calibrate.trims import calibrate_trims
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.hw_models.noise import NoiseModel, VirtualChip
from neurodeploy.hw_models.trim import trimmed
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import Program
from neurodeploy.ir.serialize import encode
from neurodeploy.simulate.engine import run_chips
from neurodeploy.sweep.plan import NoiseAxis
from neurodeploy.sweep.store import Cell, Store

_TEST_TRIAL = 0
_FIRST_CALIBRATION_TRIAL = 1000  # thermal noise during calibration is never that of the test
_CHIPS_AT_ONCE = 10  # stored together: what a kill can lose

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs, (B, *shape) integers, and labels, (B,)."""

    inputs: NDArray[Any]
    labels: IntArray


@dataclass(frozen=True, eq=False)
class Study:
    """What a sweep measures.

    Attributes:
        program: quantised for `chip`.
        test: the samples that accuracies are reported on.
        measurement, selection: for calibration; disjoint from each other and from `test`.
        chips: number of virtual chips per cell, with ids 0 … chips - 1 in every cell.
    """

    program: Program
    chip: ChipModel
    test: Samples
    measurement: NDArray[Any] | None
    selection: Samples | None
    chips: int
    seed: int

    def __post_init__(self) -> None:
        if self.chips < 1:
            raise UsageError(f"--chips {self.chips}: at least one chip is needed")
        if len(self.test.labels) < 1:
            raise UsageError("at least one test sample is needed")


def sweep(study: Study, axes: Sequence[NoiseAxis], store: Store, calibrated: bool, progress: Progress) -> None:
    """Measures every level of every axis on all chips, without or with calibration.

    Calibrated cells use the trims that `calibrate` stored, and make them where they are missing.
    """
    claim(study, store)
    for axis in axes:
        for level in axis.levels:
            noise = axis.at(level)
            cell = _cell(study, axis, level, noise, calibrated)
            done = store.finished_chips(cell)
            for block in _blocks(study.chips):
                if not set(block) <= done:
                    codes = _codes(study, axis, level, block, store) if calibrated else None
                    store.add_results(cell, block, _measure(study, noise, block, codes))
                progress(f"{cell.chip} {cell.noise} {level:g}", block[-1] + 1, study.chips)


def calibrate(study: Study, axes: Sequence[NoiseAxis], store: Store, progress: Progress) -> None:
    """Trims every chip of every cell and stores the codes."""
    claim(study, store)
    for axis in axes:
        for level in axis.levels:
            for block in _blocks(study.chips):
                _codes(study, axis, level, block, store)
                progress(f"{study.chip.name} {axis.noise} {level:g}", block[-1] + 1, study.chips)


def claim(study: Study, store: Store) -> None:
    """Ties a store to a study's network, samples, seed and trim; raises UsageError where it is another's."""
    store.claim(f"chip {study.chip.name}", _fingerprint(study))


def _blocks(chips: int) -> list[list[int]]:
    return [list(range(first, min(first + _CHIPS_AT_ONCE, chips))) for first in range(0, chips, _CHIPS_AT_ONCE)]


def _population(study: Study, noise: NoiseModel, block: Sequence[int]) -> list[VirtualChip]:
    return [VirtualChip(study.chip, noise, chip_id, study.seed) for chip_id in block]


def _measure(study: Study, noise: NoiseModel, block: Sequence[int], codes: RackCodes | None) -> NDArray[np.bool_]:
    """(chips, samples): which test samples each chip gets right."""
    chips = _population(study, noise, block)
    programs = [chip.realise(study.program) for chip in chips]
    if codes is not None and study.chip.trim is not None:
        programs = [
            trimmed(one, study.program, study.chip.trim, {name: values[index] for name, values in codes.items()})
            for index, one in enumerate(programs)
        ]
    thermal = [chip.thermal(study.program, _TEST_TRIAL) for chip in chips]
    return np.asarray(run_chips(programs, study.test.inputs, thermal).decisions == study.test.labels)


def _codes(study: Study, axis: NoiseAxis, level: float, block: Sequence[int], store: Store) -> RackCodes:
    """Trim codes (chips of the block, *code shape) per layer, from the store or measured now."""
    noise = axis.at(level)
    cell = _cell(study, axis, level, noise, True)
    stored = store.calibrations(cell)
    if not set(block) <= set(stored):
        if study.measurement is None or study.selection is None:
            raise UsageError("calibration needs samples for measurement and for selection")
        device = virtual_rack(_population(study, noise, block), study.program, _FIRST_CALIBRATION_TRIAL)
        result = calibrate_trims(
            device, study.program, study.measurement, study.selection.inputs, study.selection.labels
        )
        rows = [
            {
                "chip_id": chip_id,
                "validation_before": float(result.validation_before[index]),
                "validation_after": float(result.validation_after[index]),
                "kept": int(result.kept[index]),
                "chip_runs": result.chip_runs,
                "samples": result.samples,
                "codes": save_arrays({name: np.atleast_1d(v[index]) for name, v in result.codes.items()}),
            }
            for index, chip_id in enumerate(block)
        ]
        store.add_calibrations(cell, rows)
        stored = store.calibrations(cell)
    chips = [load_arrays(stored[chip_id]) for chip_id in block]
    shapes = {layer.name: layer.shape for layer in study.program.layers if layer.fires}
    per_neuron = study.chip.trim is not None and study.chip.trim.per == "neuron"
    return {
        name: np.stack([one[name].reshape(shape if per_neuron else ()) for one in chips])
        for name, shape in shapes.items()
    }


def _cell(study: Study, axis: NoiseAxis, level: float, noise: NoiseModel, calibrated: bool) -> Cell:
    described = {
        "study": _fingerprint(study),
        "axis": axis.noise,  # level 0 stands on every axis
        "noise": asdict(noise),
        "calibrated": calibrated,
    }
    evidence = study.chip.evidence if noise == NoiseModel() else "statistical-sim"
    return Cell(_hash(described, {}), study.chip.name, evidence, axis.noise, level, calibrated, study.seed)


def _fingerprint(study: Study) -> str:
    """Content hash of all that a study's results depend on, but for the noise."""
    arrays: dict[str, NDArray[Any]] = {}
    described = {
        "version": __version__,
        "seed": study.seed,
        "trim": asdict(study.chip.trim) if study.chip.trim else None,
        "program": encode(study.program, arrays, "program"),
    }
    arrays |= {"test": study.test.inputs, "labels": study.test.labels}
    if study.measurement is not None and study.selection is not None:
        arrays |= {"measurement": study.measurement, "selection": study.selection.inputs}
        arrays["selection_labels"] = study.selection.labels
    return _hash(described, arrays)


def _hash(described: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
