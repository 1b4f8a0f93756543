"""Virtual chips for `calibration_ladder.py`: trained once, calibrated side by side, measured, and kept."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import read_json, write_json
from trained import BRIEF

from neurodeploy.calibrate.device import RackSettings, virtual_rack
from neurodeploy.calibrate.drift import Change, drift
from neurodeploy.calibrate.ladder import LEVELS, calibrate, ladder_name
from neurodeploy.calibrate.work import CalibrationData, Options
from neurodeploy.config import load_config
from neurodeploy.experiment import train_model
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.study import make_studies
from neurodeploy.sweep.plan import Point, parameters
from neurodeploy.sweep.run import Study
from neurodeploy.sweep.work import cell_of

AGES = (0.0, 24.0, 72.0, 168.0, 336.0, 720.0)
KELVINS = (0.0, 5.0, 10.0, 20.0, 40.0)
NONE = "0"  # the ladder of chips that are not calibrated
TEST_TRIAL, CALIBRATION_TRIAL = 0, 1000  # noise during calibration is never that of the test
AT_ONCE = 25  # chips that are simulated side by side

SETTINGS = {
    "fashion-mnist": ("network.channels=[4,8]", "train.batch_size=128", "train.epochs=3"),
    "n-mnist": (
        *BRIEF,
        "network.channels=[4,8]",
        "network.hidden=[64]",
        "network.padding=1",
        "network.steps=8",
        "data.size=16",
    ),
}
"""Small networks, so that many chips can be calibrated: two convolutions and a hidden layer; recordings of 16 x 16."""
PRESETS = {"n-mnist": "n-mnist-small"}
TRAININGS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "plain": (None, ()),
    "psg": (None, ("train.potential_weight=0",)),
    "robust": ("robust", ()),
    "robust-pda": ("robust", ("train.potential_weight=1",)),
}
"""How networks are trained: a recipe of `neurodeploy train --recipe`, and what is set besides."""


@dataclass(frozen=True)
class Case:
    """Chips of one kind and how they are calibrated.

    Attributes:
        recipe: a name of `TRAININGS`.
        ladder: that is climbed, () for none.
        bits: of the knob per neuron; samples: for measurement; runs: per search; None for the usual number.
        axis: the noise whose level the case is at.
    """

    part: str
    recipe: str
    chip: str
    noise: NoiseModel
    ladder: tuple[int, ...] = ()
    bits: int | None = None
    samples: int | None = None
    runs: int | None = None
    axis: str = "mismatch"


def population(study: Study, folder: Path, noise: NoiseModel, ladder: tuple[int, ...], chips: int) -> dict[str, Any]:
    """Ladder -> accuracies of its chips and its cost, after every level that the chip can climb; measured once."""
    study = replace(study, ladder=ladder or study.ladder, chips=chips)
    key = cell_of(study, Point(noise), bool(ladder)).key
    path = folder / f"{key}-{chips}.json"
    known: dict[str, Any] | None = read_json(path)
    if known is not None:
        return known
    blocks = [range(first, min(first + AT_ONCE, chips)) for first in range(0, chips, AT_ONCE)]
    found = [
        _climbed(study, [VirtualChip(study.chip, noise, n, study.seed) for n in block], ladder) for block in blocks
    ]
    whole = {
        name: {"accuracy": [value for one in found for value in one[name]["accuracy"]], "cost": found[0][name]["cost"]}
        for name in found[0]
    }
    write_json(path, whole)
    return whole


def _climbed(study: Study, chips: list[VirtualChip], ladder: tuple[int, ...]) -> dict[str, Any]:
    """As `_population`, of chips that are simulated side by side."""
    accuracy = _tested(study, chips, {})
    found: dict[str, Any] = {NONE: {"accuracy": accuracy.tolist(), "cost": {}}}
    if not ladder:
        return found
    rack = virtual_rack(chips, study.program, CALIBRATION_TRIAL)
    climbed = calibrate(rack, study.program, _data(study), ladder, study.options)
    for number, step in enumerate(climbed.steps):
        moved = np.flatnonzero(step.kept)  # the others are as they were, and so are their tests
        if len(moved):
            own = {name: values[moved] for name, values in step.settings.items()}
            accuracy = accuracy.copy()
            accuracy[moved] = _tested(study, [chips[chip] for chip in moved], own)
        if not step.refused:
            cost: dict[str, Any] = {
                "chip_runs": step.cost.chip_runs,
                "samples": step.cost.samples,
                "written": step.cost.written,
            }
            cost |= {"seconds": step.cost.seconds, "selection": float(step.after.mean())}
            found[ladder_name(ladder[: number + 1])] = {"accuracy": accuracy.tolist(), "cost": cost}
    return found


def _tested(study: Study, chips: list[VirtualChip], settings: RackSettings) -> Any:
    """(chips,) accuracy on the test samples."""
    decisions = virtual_rack(chips, study.program, TEST_TRIAL).run(study.test.inputs, settings).decisions
    return (decisions == study.test.labels).mean(axis=1)


def _data(study: Study) -> CalibrationData:
    assert study.measurement is not None
    assert study.selection is not None
    return CalibrationData(study.measurement, study.selection.inputs, study.selection.labels, study.refit)


def settings_of(options: argparse.Namespace) -> tuple[str, ...]:
    """Of training, as --set takes them."""
    return *SETTINGS[options.data], *options.settings


def study_of(options: argparse.Namespace, work: Path, case: Case, seed: int) -> Study:
    """A network, trained where it is not there yet, on a case's chip, and its samples."""
    path = work / f"{case.recipe}-{options.data}-{seed}.pt"
    if not path.is_file():
        given = {"data.name": options.data, "data.root": options.data_root, "seed": seed}
        named = {name: value for name, value in given.items() if value is not None}
        recipe, own = TRAININGS[case.recipe]
        settings = [*settings_of(options), *own]
        if options.data == "n-mnist":
            settings.append(f"data.cache={work / 'frames'}")
        started = time.process_time()
        chosen = load_config(None, settings, named, PRESETS.get(options.data), recipe)
        model = train_model(chosen, path, progress=False)
        spent = time.process_time() - started
        print(f"{path}: test {model.metrics['test_accuracy']:.4f}, {spent:.0f} s of CPU", flush=True)
    key = (path, case.chip)
    if key not in _STUDIES:
        if len(_STUDIES) >= options.networks:
            _STUDIES.clear()  # data sets are large: those of one recipe and chip at a time
        _STUDIES[key] = make_studies(path, [case.chip], 1, options.samples, 0, options.data_root)[0]
    study = _STUDIES[key]
    if case.bits is not None:
        knobs = tuple(replace(k, bits=case.bits) if k.per == "neuron" else k for k in study.chip.knobs)
        study = replace(study, chip=replace(study.chip, knobs=knobs))
    if case.samples is not None and study.refit is not None:
        static = study.refit.ndim == len(study.program.input.shape) + 1
        some = study.refit[: case.samples] if static else study.refit[:, : case.samples]
        study = replace(study, measurement=some)
    return replace(study, options=Options(runs=case.runs))


_STUDIES: dict[Any, Study] = {}


def drifts(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Accuracy of calibrated chips as they age by 0.1 % of a threshold per hour, and as they warm up."""
    rows = []
    for chip in options.chip.split(","):
        noise = NoiseModel(mismatch=0.3, drift=0.001, age=0.0)
        study = study_of(options, work, Case("drift", "plain", chip, noise), 0)
        ladder = (4,) if LEVELS[4].knob(study.chip.knobs) else (3,)
        chips = [VirtualChip(study.chip, noise, number) for number in range(min(options.chips, 20))]
        found = calibrate(virtual_rack(chips, study.program, CALIBRATION_TRIAL), study.program, _data(study), ladder)
        changes: tuple[tuple[Change, tuple[float, ...]], ...] = (("age", AGES), ("temperature", KELVINS))
        for change, amounts in changes:
            later = drift(chips, study.program, found.settings, study.test.inputs, study.test.labels, change, amounts)
            row = {"chip": chip, "ladder": ladder_name(ladder), "noise": parameters(noise), "change": change}
            row |= {"amounts": list(amounts), "accuracy": later.accuracy.mean(axis=1).tolist()}
            row |= {"n_chips": len(chips), "again_after_1_point": later.lasts(1.0)}
            rows.append(row)
            print(row, flush=True)
    return rows
