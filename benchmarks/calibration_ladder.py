"""Accuracy against mismatch at every level of the calibration ladder, and what recovery depends on.

    python benchmarks/calibration_ladder.py --data fashion-mnist --data-root DATA -o docs/results/calibration.json

Networks are trained once per recipe and seed; every chip is calibrated level by level and measured on test samples that
took no part, the same chips before and after. Parts (--parts):

    levels        accuracy against mismatch for every level alone and for the whole ladder
    thermal       the same with thermal noise 0.1 while measuring and while testing
    synapses      mismatch with 0.3 on every synapse too, networks trained with noise
    bits          level 4 against the bits of the trims, at mismatch 0.2 and 0.5
    measurements  level 4 against measurement samples and against runs per search
    readout       level 5 and the whole ladder against readout noise
    drift         accuracy after calibration against age and temperature

The output is a list of rows; beside it, in …-about.json, are command, seeds, machine, versions, drift and knees. Rows
of other data sets and parts stay. A run that was killed goes on with what is missing: models and studies stay in a
folder beside the output file.
`recovered` is the share of the accuracy that mismatch took, mean over networks of (after - before) / (ideal - before);
its interval is Student's over chips and networks, each chip against its own network's loss.
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

from neurodeploy.calibrate.device import virtual_rack
from neurodeploy.calibrate.drift import drift
from neurodeploy.calibrate.ladder import LEVELS, calibrate, ladder_name, parse_ladder, usable
from neurodeploy.calibrate.work import CalibrationData, Options
from neurodeploy.config import load_config
from neurodeploy.errors import UsageError
from neurodeploy.experiment import train_model
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.study import make_studies
from neurodeploy.sweep.plan import Point, describe, parameters
from neurodeploy.sweep.run import Study, measure
from neurodeploy.sweep.store import Store

MISMATCH = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
PARTS = ("levels", "thermal", "synapses", "bits", "measurements", "readout", "drift")
WHOLE = "1-5"
AGES = (0.0, 24.0, 72.0, 168.0, 336.0, 720.0)
KELVINS = (0.0, 5.0, 10.0, 20.0, 40.0)


@dataclass(frozen=True)
class Case:
    """One line of the result: which study, what noise, which ladder."""

    part: str
    recipe: str
    chip: str
    noise: NoiseModel
    ladder: tuple[int, ...] | None
    bits: int | None = None
    samples: int | None = None
    runs: int | None = None


def main() -> None:
    """Trains, calibrates and measures what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--data-root")
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--chips", type=int, default=50)
    parser.add_argument("--samples", type=int, default=1000, help="test samples")
    parser.add_argument("--chip", default="loihi2,mixed-signal,dynapse2")
    parser.add_argument("--levels", default="1,2,3,4,5,1-5", help="ladders, separated by commas")
    parser.add_argument("--tuned", type=int, default=0, help="chips for level 6, which is slow; 0: none")
    parser.add_argument("--mismatch", default=",".join(map(str, MISMATCH)))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of training")
    parser.add_argument("--quick", action="store_true", help="a small run that shows that it works")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="where models and studies go; default OUTPUT.work")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.chips, options.samples = 1, min(options.chips, 4), min(options.samples, 500)
        options.settings = [*options.settings, "network.channels=[8,16]", "train.epochs=2"]
        options.mismatch = "0,0.3,0.5"
    unknown = set(options.parts.split(",")) - set(PARTS)
    if unknown:
        raise UsageError(f"--parts {', '.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    work = options.work or options.output.with_suffix(".work")
    work.mkdir(parents=True, exist_ok=True)
    about = options.output.with_name(f"{options.output.stem}-about.json")
    kept = read_json(about) or {}
    rows: list[dict[str, Any]] = []
    parts = options.parts.split(",")
    others = [
        row
        for row in read_json(options.output) or []
        if (row["data"], row["part"]) not in {(options.data, part) for part in parts}
    ]
    for case in _cases(options):
        row = _row(options, work, case)
        if row is not None:
            rows.append(row)
            print({name: row[name] for name in _SHOWN}, flush=True)
            _write(options, about, others + rows, kept)
    if "drift" in parts:
        kept["drift"] = dict(kept.get("drift", {})) | {options.data: _drifts(options, work)}
        _write(options, about, others + rows, kept)


_SHOWN = ("part", "chip", "noise", "level", "fixed", "ladder", "accuracy_before", "accuracy_mean", "recovered")


def _write(options: argparse.Namespace, about: Path, rows: list[dict[str, Any]], kept: dict[str, Any]) -> None:
    """The rows, and what they were made with: one entry per data set and set of parts, of the last run of each."""
    names = ("settings", "networks", "chips", "samples", "mismatch", "levels", "tuned")
    run = {"provenance": provenance()} | {name: getattr(options, name) for name in names}
    run |= {"seeds": {"networks": list(range(options.networks)), "chips": 0}}
    kept["runs"] = dict(kept.get("runs", {})) | {f"{options.data}: {options.parts}": run}
    kept["knees"] = _knees(rows)
    write_json(options.output, rows)
    write_json(about, kept)


def _knees(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per data set and chip the fewest measurement samples, runs and bits that bring 95 % of what the most bring."""
    found = []
    for data, chip in dict.fromkeys((row["data"], row["chip"]) for row in rows):
        for part, name in (
            ("measurements", "measurement_samples"),
            ("measurements", "runs_per_search"),
            ("bits", "bits"),
        ):
            mine = [
                row for row in rows if (row["data"], row["chip"], row["part"], row["level"]) == (data, chip, part, 0.5)
            ]
            one_way = [row for row in mine if (row["runs_per_search"] is None) == (name != "runs_per_search")]
            points = {row[name]: row["recovered"] for row in one_way if row["recovered"] is not None}
            if len(points) > 1:
                enough = [at for at, share in points.items() if share >= 0.95 * max(points.values())]
                found.append({"data": data, "chip": chip, "of": name, "knee": min(enough), "points": points})
    return found


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    levels = [float(text) for text in options.mismatch.split(",")]
    ladders = [parse_ladder(text) for text in options.levels.split(",")]
    tuned = [parse_ladder("6")] if options.tuned else []
    parts = options.parts.split(",")
    for chip in options.chip.split(","):
        if "levels" in parts:
            for level in levels:
                for ladder in (None, *ladders, *(tuned if level == levels[-1] else [])):
                    yield Case("levels", "plain", chip, NoiseModel(mismatch=level), ladder)
        if "thermal" in parts:
            for level in levels:
                for ladder in (None, *ladders):
                    yield Case("thermal", "plain", chip, NoiseModel(mismatch=level, thermal=0.1), ladder)
        if "synapses" in parts:
            for name in ("plain", "robust"):
                for ladder in (None, (4,), parse_ladder(WHOLE), *tuned, *([parse_ladder("1-6")] if tuned else [])):
                    yield Case("synapses", name, chip, NoiseModel(mismatch=0.3, weight_mismatch=0.3), ladder)
        if "bits" in parts:
            for level in (0.2, 0.5):
                for bits in range(2, 9):
                    yield Case("bits", "plain", chip, NoiseModel(mismatch=level), (4,), bits=bits)
        if "measurements" in parts:
            for samples in (8, 16, 32, 64, 128, 256, 512):
                yield Case("measurements", "plain", chip, NoiseModel(mismatch=0.5), (4,), samples=samples)
            for runs in range(1, 8):
                yield Case("measurements", "plain", chip, NoiseModel(mismatch=0.5), (4,), runs=runs)
        if "readout" in parts:
            for level in (0.0, 0.02, 0.05, 0.1, 0.2):
                for ladder in ((4,), (5,)):
                    yield Case("readout", "plain", chip, NoiseModel(mismatch=0.5, readout=level), ladder)


def _row(options: argparse.Namespace, work: Path, case: Case) -> dict[str, Any] | None:
    """One line, over all networks; None where the chip cannot climb the ladder."""
    chips = options.tuned if case.ladder is not None and 6 in case.ladder else options.chips
    after, before, ideal, cost, refused = [], [], [], [], ""
    for seed in range(options.networks):
        study = _study(options, work, case, seed, chips)
        if case.ladder is not None:
            try:
                refused = "; ".join(f"level {n}: {w}" for n, w in _refusals(study, case.ladder).items())
            except UsageError as error:
                print(f"{case.part} {case.chip} {ladder_name(case.ladder)}: {error}", flush=True)
                return None
        with Store(work / f"{case.recipe}-{options.data}-{seed}-{_name(study, case)}.sqlite") as store:
            point = Point(case.noise, "mismatch", case.noise.mismatch)
            before.append(_measured(study, point, chips, store, False)[0])
            ideal.append(_measured(study, Point(NoiseModel()), 1, store, False)[0].mean())
            found, key = _measured(study, point, chips, store, case.ladder is not None)
            after.append(found)
            cost.append(_cost(store, key) if case.ladder else {})
    lost = [one - part for one, part in zip(ideal, before, strict=True)]
    gained = [one - part for one, part in zip(after, before, strict=True)]
    shares = [float(g.mean() / l.mean()) if l.mean() > 0.002 else None for g, l in zip(gained, lost, strict=True)]
    usual = [share for share in shares if share is not None]
    # Each chip's gain against its network's mean loss: the spread of recovery over chips and networks.
    spread = [v for g, l in zip(gained, lost, strict=True) if l.mean() > 0.002 for v in (g / l.mean()).tolist()]
    interval = mean_interval(spread) if len(spread) > 1 else (None, None, None)
    return {
        "data": options.data,
        "part": case.part,
        "recipe": case.recipe,
        "chip": case.chip,
        "noise": "mismatch",
        "level": case.noise.mismatch,
        "fixed": describe(case.noise, without="mismatch"),
        "ladder": ladder_name(case.ladder) if case.ladder else "",
        "bits": case.bits,
        "measurement_samples": case.samples or 128,
        "runs_per_search": case.runs,
        "accuracy_ideal": float(np.mean(ideal)),
        "accuracy_before": float(np.mean(before)),
        "accuracy_mean": float(np.mean(after)),
        "accuracy_p05": float(np.quantile(np.concatenate(after), 0.05)),
        "recovered": float(np.mean(usual)) if usual and case.ladder else None,
        "recovered_ci": [interval[1], interval[2]] if usual and case.ladder else None,
        "recovered_by_network": shares if case.ladder else None,
        "n_chips": chips,
        "n_networks": options.networks,
        "cost": cost[0],
        "refused": refused,
    }


def _refusals(study: Study, ladder: tuple[int, ...]) -> dict[int, str]:
    found = usable(ladder, study.chip.knobs, study.program)
    return {number: why for number, why in found.items() if why is not None}


def _name(study: Study, case: Case) -> str:
    """A study file per set of knobs and samples: within one, all cells are of the same study."""
    return f"{case.chip}-{case.bits or 'own'}bits-{case.samples or 128}samples"


def _measured(study: Study, point: Point, chips: int, store: Store, calibrated: bool) -> tuple[Any, str]:
    """((chips,) test accuracies, the key of their cell)."""
    cell = measure(study, {point: chips}, store, calibrated, lambda *_: None)[point]
    found = store.correct(cell.key)
    return np.array([found[chip].mean() for chip in range(chips)]), cell.key


def _cost(store: Store, key: str) -> dict[str, float]:
    """Means over the chips of a cell."""
    rows = store.calibration_rows()
    rows = rows[rows["cell"] == key]
    return {name: float(rows[name].mean()) for name in ("chip_runs", "samples", "written")}


def _study(options: argparse.Namespace, work: Path, case: Case, seed: int, chips: int) -> Study:
    path = work / f"{case.recipe}-{options.data}-{seed}.pt"
    if not path.is_file():
        given = {"data.name": options.data, "data.root": options.data_root, "seed": seed}
        named = {name: value for name, value in given.items() if value is not None}
        started = time.process_time()
        chosen = load_config(None, options.settings, named, recipe=None if case.recipe == "plain" else case.recipe)
        model = train_model(chosen, path, progress=False)
        spent = time.process_time() - started
        print(f"{path}: test {model.metrics['test_accuracy']:.4f}, {spent:.0f} s of CPU", flush=True)
    key = (path, case.chip, options.samples)
    if key not in _STUDIES:
        _STUDIES.clear()  # one at a time: data sets are large
        _STUDIES[key] = make_studies(path, [case.chip], chips, options.samples, 0, options.data_root)[0]
    study = replace(_STUDIES[key], chips=chips)
    if case.bits is not None:
        knobs = tuple(replace(k, bits=case.bits) if k.per == "neuron" else k for k in study.chip.knobs)
        study = replace(study, chip=replace(study.chip, knobs=knobs))
    if case.samples is not None and study.refit is not None:
        static = study.refit.ndim == len(study.program.input.shape) + 1
        some = study.refit[: case.samples] if static else study.refit[:, : case.samples]
        study = replace(study, measurement=some)
    return replace(study, ladder=case.ladder or (4,), options=Options(runs=case.runs))


_STUDIES: dict[Any, Study] = {}


def _drifts(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Accuracy of calibrated chips as they age by 0.1 % of a threshold per hour, and as they warm up."""
    rows = []
    for chip in options.chip.split(","):
        noise = NoiseModel(mismatch=0.3, drift=0.001, age=0.0)
        case = Case("drift", "plain", chip, noise, (4,))
        study = _study(options, work, case, 0, options.chips)
        ladder = (4,) if LEVELS[4].knob(study.chip.knobs) else (3,)
        chips = [VirtualChip(study.chip, noise, number) for number in range(min(options.chips, 20))]
        assert study.measurement is not None
        assert study.selection is not None
        data = CalibrationData(study.measurement, study.selection.inputs, study.selection.labels, study.refit)
        found = calibrate(virtual_rack(chips, study.program, 1000), study.program, data, ladder)
        for change, amounts in (("age", AGES), ("temperature", KELVINS)):
            later = drift(chips, study.program, found.settings, study.test.inputs, study.test.labels, change, amounts)
            row = {"chip": chip, "ladder": ladder_name(ladder), "noise": parameters(noise), "change": change}
            row |= {"amounts": list(amounts), "accuracy": later.accuracy.mean(axis=1).tolist()}
            row |= {"n_chips": len(chips), "again_after_1_point": later.lasts(1.0)}
            rows.append(row)
            print(row, flush=True)
    return rows


if __name__ == "__main__":
    main()
