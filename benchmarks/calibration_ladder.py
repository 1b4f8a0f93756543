"""Accuracy against mismatch at every level of the calibration ladder, and what recovery depends on.

    python benchmarks/calibration_ladder.py --data fashion-mnist --data-root DATA -o docs/results/calibration.json

Networks are trained once per recipe and seed; every chip is calibrated level by level and measured on test samples that
took no part, the same chips before and after. A ladder of several levels is climbed once and measured after each of
them, so that 1-5 brings the rows 1, 1+2, 1-3, 1-4 and 1-5. Parts (--parts):

    levels        accuracy against mismatch for every ladder
    thermal       the same with thermal noise 0.1 while measuring and while testing
    synapses      mismatch with 0.3 on every synapse too, networks trained without and with noise
    bits          level 4 against the bits of the trims, at mismatch 0.2 and 0.5 where --mismatch has them
    measurements  level 4 against measurement samples and against runs per search, at mismatch 0.5
    readout       levels 4 and 5 against readout noise, at mismatch 0.5
    drift         accuracy after calibration against age and temperature

The output is a list of rows; beside it, in …-about.json, are commands, seeds, machine, versions, refusals, drift and
knees. A row replaces the one of the same data, part and case; all others stay. A run that was killed goes on
with what is missing: models and finished populations lie in a folder beside the output file.

`accuracy_ideal` is the network without noise, `accuracy_without` with the case's noise but no mismatch. `recovered` is
the share of what mismatch took, mean over networks of (after - before) / (without - before); its interval is Student's
over chips and networks, each chip against its own network's loss.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import mean_interval, provenance, read_json, write_json

from neurodeploy.calibrate.device import RackSettings, virtual_rack
from neurodeploy.calibrate.drift import Change, drift
from neurodeploy.calibrate.ladder import LEVELS, calibrate, ladder_name, parse_ladder, usable
from neurodeploy.calibrate.work import CalibrationData, Options
from neurodeploy.config import load_config
from neurodeploy.errors import UsageError
from neurodeploy.experiment import train_model
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.study import make_studies
from neurodeploy.sweep.plan import Point, describe, parameters
from neurodeploy.sweep.run import Study
from neurodeploy.sweep.work import cell_of

MISMATCH = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
PARTS = ("levels", "thermal", "synapses", "bits", "measurements", "readout", "drift")
AGES = (0.0, 24.0, 72.0, 168.0, 336.0, 720.0)
KELVINS = (0.0, 5.0, 10.0, 20.0, 40.0)
NONE = "0"  # the ladder of chips that are not calibrated
TEST_TRIAL, CALIBRATION_TRIAL = 0, 1000  # noise during calibration is never that of the test
AT_ONCE = 25  # chips that are simulated side by side

SETTINGS = {
    "fashion-mnist": ("network.channels=[4,8]", "train.batch_size=128", "train.epochs=3"),
    "n-mnist": (
        "network.channels=[4,8]",
        "network.hidden=[64]",
        "network.padding=1",
        "network.steps=8",
        "data.size=16",
    ),
}
"""Small networks, so that many chips can be calibrated: two convolutions and a hidden layer; recordings of 16 x 16."""
PRESETS = {"n-mnist": "n-mnist-small"}


@dataclass(frozen=True)
class Case:
    """Chips of one kind and how they are calibrated.

    Attributes:
        ladder: that is climbed, () for none.
        bits: of the knob per neuron; samples: for measurement; runs: per search; None for the usual number.
    """

    part: str
    recipe: str
    chip: str
    noise: NoiseModel
    ladder: tuple[int, ...] = ()
    bits: int | None = None
    samples: int | None = None
    runs: int | None = None


def main() -> None:
    """Trains, calibrates and measures what is missing."""
    options = _options()
    work = options.work or options.output.with_suffix(".work")
    work.mkdir(parents=True, exist_ok=True)
    about = options.output.with_name(f"{options.output.stem}-about.json")
    kept = read_json(about) or {}
    rows = {_identity(row): row for row in read_json(options.output) or []}
    for case in _cases(options):
        refusal = _refusal(options, work, case) if case.ladder else ""
        if refusal:
            kept["refused"] = dict(kept.get("refused", {})) | {f"{case.chip} {ladder_name(case.ladder)}": refusal}
            print(f"{case.part} {case.chip} {ladder_name(case.ladder)}: {refusal}", flush=True)
            continue
        for row in _rows(options, work, case):
            rows[_identity(row)] = row
            print({name: row[name] for name in _SHOWN}, flush=True)
        _write(options, about, list(rows.values()), kept)
    if "drift" in options.parts:
        of_data = dict(kept.get("drift", {}))
        kept["drift"] = of_data | {options.data: _drifts(options, work)}
        _write(options, about, list(rows.values()), kept)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist", choices=sorted(SETTINGS))
    parser.add_argument("--data-root")
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--chips", type=int, default=50)
    parser.add_argument("--samples", type=int, default=1000, help="test samples")
    parser.add_argument("--chip", default="loihi2,mixed-signal,dynapse2")
    parser.add_argument("--levels", default="1-5,4", help="ladders to climb, separated by commas")
    parser.add_argument("--mismatch", default=",".join(map(str, MISMATCH)))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of training")
    parser.add_argument("--quick", action="store_true", help="a small run that shows that it works")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="where models and finished populations go; default OUTPUT.work")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.chips, options.samples = 1, min(options.chips, 4), min(options.samples, 500)
        options.settings = [*options.settings, "train.epochs=2"]
        options.mismatch = "0,0.3,0.5"
    options.parts = options.parts.split(",")
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        raise UsageError(f"--parts {', '.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    return options


_SHOWN: tuple[str, ...] = (
    "part",
    "recipe",
    "chip",
    "level",
    "fixed",
    "bits",
    "measurement_samples",
    "runs_per_search",
    "ladder",
)
_SHOWN += ("accuracy_before", "accuracy_mean", "recovered")
_OF_CASE: tuple[str, ...] = ("data", "part", "recipe", "chip", "noise", "level", "fixed", "ladder")
_OF_CASE += ("bits", "measurement_samples", "runs_per_search")


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _OF_CASE)


def _write(options: argparse.Namespace, about: Path, rows: list[dict[str, Any]], kept: dict[str, Any]) -> None:
    """The rows, and what they were made with: one entry per command, of the last run of each."""
    names = ("settings", "networks", "chips", "samples", "mismatch", "levels")
    run = {"provenance": provenance()} | {name: getattr(options, name) for name in names}
    run |= {"network": list(_settings(options)), "seeds": {"networks": list(range(options.networks)), "chips": 0}}
    title = f"{options.data}, {options.chip}, mismatch {options.mismatch}: {', '.join(options.parts)}, {options.levels}"
    kept["runs"] = dict(kept.get("runs", {})) | {title: run}
    kept["knees"] = _knees(rows)
    write_json(options.output, rows)
    write_json(about, kept)


def _knees(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fewest measurement samples, runs and bits that bring 95 % of what the most bring, at mismatch 0.5."""
    found = []
    kinds = dict.fromkeys((row["data"], row["chip"]) for row in rows)
    for data, chip in kinds:
        for part, name in (
            ("measurements", "measurement_samples"),
            ("measurements", "runs_per_search"),
            ("bits", "bits"),
        ):
            case = (data, chip, part, 0.5, "4")
            columns = ("data", "chip", "part", "level", "ladder")
            mine = [row for row in rows if tuple(row[column] for column in columns) == case]
            one_way = [row for row in mine if (row["runs_per_search"] is None) == (name != "runs_per_search")]
            points = {row[name]: row["recovered"] for row in one_way if row["recovered"] is not None}
            if len(points) > 1:
                enough = [at for at, share in points.items() if share >= 0.95 * max(points.values())]
                knee = {"data": data, "chip": chip, "of": name, "knee": min(enough)}
                found.append(knee | {"points": points})
    return found


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    levels = [float(text) for text in options.mismatch.split(",")]
    ladders = [(), *(parse_ladder(text) for text in options.levels.split(","))]
    strongest = NoiseModel(mismatch=0.5)
    for chip in options.chip.split(","):
        for part, thermal in (("levels", 0.0), ("thermal", 0.1)):
            for level in levels if part in options.parts else ():
                for ladder in ladders:
                    yield Case(part, "plain", chip, NoiseModel(mismatch=level, thermal=thermal), ladder)
        if "synapses" in options.parts:
            for recipe in ("robust", "plain"):
                for ladder in ladders:
                    yield Case("synapses", recipe, chip, NoiseModel(mismatch=0.3, weight_mismatch=0.3), ladder)
        if "bits" in options.parts:
            for level in sorted({0.2, 0.5} & set(levels)):
                for bits in range(2, 9):
                    yield Case("bits", "plain", chip, NoiseModel(mismatch=level), (4,), bits=bits)
        if "measurements" in options.parts:
            for samples in (8, 16, 32, 64, 128, 256, 512):
                yield Case("measurements", "plain", chip, strongest, (4,), samples=samples)
            for runs in range(1, 8):
                yield Case("measurements", "plain", chip, strongest, (4,), runs=runs)
        if "readout" in options.parts:
            for level in (0.0, 0.05, 0.1, 0.2):
                for ladder in ((4,), (5,)):
                    yield Case("readout", "plain", chip, replace(strongest, readout=level), ladder)


def _rows(options: argparse.Namespace, work: Path, case: Case) -> list[dict[str, Any]]:
    """One line per level of the ladder that the chip can climb, over all networks."""
    alike = replace(case, noise=replace(case.noise, mismatch=0.0, weight_mismatch=0.0), ladder=())
    ideal, without, before, after = [], [], [], []
    for seed in range(options.networks):
        study = _study(options, work, case, seed)
        here = work / f"{case.recipe}-{options.data}-{seed}.cells"
        ideal.append(np.mean(_population(study, here, NoiseModel(), (), 1)[NONE]["accuracy"]))
        without.append(
            np.mean(_population(study, here, alike.noise, (), _alike(alike.noise, options))[NONE]["accuracy"])
        )
        before.append(np.array(_population(study, here, case.noise, (), options.chips)[NONE]["accuracy"]))
        after.append(_population(study, here, case.noise, case.ladder, options.chips))
    return [
        _row(options, case, name, (ideal, without, before), [found[name] for found in after])
        for name in after[0]
        if (name == NONE) != bool(case.ladder)
    ]


def _refusal(options: argparse.Namespace, work: Path, case: Case) -> str:
    """Why the chip cannot climb the ladder, "" where it can."""
    study = _study(options, work, case, 0)
    try:
        usable(case.ladder, study.chip.knobs, study.program)
    except UsageError as error:
        return str(error)
    return ""


def _alike(noise: NoiseModel, options: argparse.Namespace) -> int:
    """Chips without mismatch differ by their noise alone, and are all the same without any."""
    return options.chips if noise.active else 1


def _row(
    options: argparse.Namespace, case: Case, ladder: str, references: tuple[Any, Any, Any], after: list[dict[str, Any]]
) -> dict[str, Any]:
    ideal, without, before = references
    reached = [np.array(one["accuracy"]) for one in after]
    lost = [float(one - part.mean()) for one, part in zip(without, before, strict=True)]
    gained = [one - part for one, part in zip(reached, before, strict=True)]
    shares = [float(g.mean() / l) if l > 0.002 else None for g, l in zip(gained, lost, strict=True)]
    usual = [share for share in shares if share is not None] if ladder != NONE else []
    # Each chip's gain against its network's mean loss: the spread of recovery over chips and networks.
    spread = [v for g, l in zip(gained, lost, strict=True) if l > 0.002 for v in (g / l).tolist()]
    interval = mean_interval(spread)[1:] if usual and len(spread) > 1 else None
    return {
        "data": "n-mnist-1000/100" if options.data == "n-mnist" else options.data,
        "part": case.part,
        "recipe": case.recipe,
        "chip": case.chip,
        "noise": "mismatch",
        "level": case.noise.mismatch,
        "fixed": describe(case.noise, without="mismatch"),
        "ladder": ladder,
        "bits": case.bits,
        "measurement_samples": case.samples or 128,
        "runs_per_search": case.runs,
        "accuracy_ideal": float(np.mean(ideal)),
        "accuracy_without": float(np.mean(without)),
        "accuracy_before": float(np.mean(before)),
        "accuracy_mean": float(np.mean(reached)),
        "accuracy_p05": float(np.quantile(np.concatenate(reached), 0.05)),
        "recovered": float(np.mean(usual)) if usual else None,
        "recovered_ci": list(interval) if interval else None,
        "recovered_by_network": shares if usual else None,
        "n_chips": options.chips,
        "n_networks": options.networks,
        "cost": after[0]["cost"],
    }


def _population(study: Study, folder: Path, noise: NoiseModel, ladder: tuple[int, ...], chips: int) -> dict[str, Any]:
    """Ladder -> accuracies of its chips and its cost, after every level that the chip can climb; measured once."""
    study = replace(study, ladder=ladder or study.ladder, chips=chips)
    key = cell_of(study, Point(noise, "mismatch", noise.mismatch), bool(ladder)).key
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
            cost |= {"seconds": step.cost.seconds, "validation": float(step.after.mean())}
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


def _settings(options: argparse.Namespace) -> tuple[str, ...]:
    return *SETTINGS[options.data], *options.settings


def _study(options: argparse.Namespace, work: Path, case: Case, seed: int) -> Study:
    path = work / f"{case.recipe}-{options.data}-{seed}.pt"
    if not path.is_file():
        given = {"data.name": options.data, "data.root": options.data_root, "seed": seed}
        named = {name: value for name, value in given.items() if value is not None}
        settings = list(_settings(options))
        if options.data == "n-mnist":
            settings.append(f"data.cache={work / 'frames'}")
        started = time.process_time()
        recipe = None if case.recipe == "plain" else case.recipe
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


def _drifts(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Accuracy of calibrated chips as they age by 0.1 % of a threshold per hour, and as they warm up."""
    rows = []
    for chip in options.chip.split(","):
        noise = NoiseModel(mismatch=0.3, drift=0.001, age=0.0)
        study = _study(options, work, Case("drift", "plain", chip, noise), 0)
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


if __name__ == "__main__":
    main()
