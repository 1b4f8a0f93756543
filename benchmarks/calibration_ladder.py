"""Accuracy against mismatch at every level of the calibration ladder, and what recovery depends on.

    python benchmarks/calibration_ladder.py --data fashion-mnist --data-root DATA -o docs/results/calibration.json

Networks are trained once per recipe and seed; every chip is calibrated level by level and measured on test samples that
took no part, the same chips before and after. A ladder of several levels is climbed once and measured after each of
them, so that 1-5 brings the rows 1, 1+2, 1-3, 1-4 and 1-5. Networks are trained (--recipes) without noise and with
potential adjustment, "plain", or without it, "psg"; with the recipe for chips that differ, "robust", or with potential
adjustment on top of it, "robust-pda". Parts (--parts):

    levels        accuracy against mismatch for every ladder
    thermal       the same with thermal noise 0.1 while measuring and while testing
    sources       mismatch 0.5 of thresholds alone and of decays alone: what trims of thresholds can make up for
    synapses      mismatch with 0.3 on every synapse too
    bits          level 4 against the bits of the trims, at mismatch 0.2, 0.3 and 0.5 where --mismatch has them
    measurements  level 4 against measurement samples and against runs per search, at mismatch 0.5
    readout       levels 4 and 5 against readout noise, at mismatch 0.5
    drift         accuracy after calibration against age and temperature

The output is a list of rows; beside it, in …-about.json, are commands, seeds, machine, versions, refusals, drift and
knees. A row replaces the one of the same data, part, case, test samples and number of networks; all others stay. A run
that was killed goes on with what is missing: models and finished populations lie in a folder beside the output file.

`accuracy_ideal` is the network without noise, `accuracy_without` with the case's noise but no mismatch. `recovered` is
the share of what mismatch took, mean over networks of (after - before) / (without - before); its interval is Student's
over chips and networks, each chip against its own network's loss. `recovered_together` is the same share of the sums
over networks, in which a network that lost little counts little, its interval that of a ratio over networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from calibration_chips import NONE, SETTINGS, TRAININGS, Case, drifts, population, settings_of, study_of
from common import mean_interval, provenance, ratio_interval, read_json, write_json

from neurodeploy.calibrate.ladder import ladder_name, parse_ladder, usable
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep.plan import describe

MISMATCH = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
PARTS = ("levels", "thermal", "sources", "synapses", "bits", "measurements", "readout", "drift")


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
        kept["drift"] = of_data | {options.data: drifts(options, work)}
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
    parser.add_argument(
        "--recipes", default="plain", help="of levels, thermal and synapses: plain, psg, robust, robust-pda"
    )
    parser.add_argument("--bits", default="2,3,4,5,6,7,8", help="of trims, of the part bits")
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
    unknown = set(options.recipes.split(",")) - set(TRAININGS)
    if unknown:
        raise UsageError(f"--recipes {', '.join(sorted(unknown))}: known are {', '.join(TRAININGS)}")
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
_OF_CASE += ("bits", "measurement_samples", "runs_per_search", "test_samples", "n_networks")


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _OF_CASE)


def _write(options: argparse.Namespace, about: Path, rows: list[dict[str, Any]], kept: dict[str, Any]) -> None:
    """The rows, and what they were made with: one entry per command, of the last run of each."""
    names = ("settings", "networks", "chips", "samples", "mismatch", "levels", "recipes", "bits")
    run = {"provenance": provenance()} | {name: getattr(options, name) for name in names}
    run |= {"network": list(settings_of(options)), "seeds": {"networks": list(range(options.networks)), "chips": 0}}
    title = f"{options.data}, {options.chip}, mismatch {options.mismatch}: {', '.join(options.parts)}, {options.levels}"
    title += "" if options.recipes == "plain" else f", {options.recipes}"
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
                for recipe, ladder in product(options.recipes.split(","), ladders):
                    yield Case(part, recipe, chip, NoiseModel(mismatch=level, thermal=thermal), ladder)
        for name in ("threshold_mismatch", "decay_mismatch") if "sources" in options.parts else ():
            for ladder in ladders:
                yield Case("sources", "plain", chip, replace(NoiseModel(), **{name: 0.5}), ladder, axis=name)
        if "synapses" in options.parts:
            for recipe, ladder in product(options.recipes.split(","), ladders):
                yield Case("synapses", recipe, chip, NoiseModel(mismatch=0.3, weight_mismatch=0.3), ladder)
        if "bits" in options.parts:
            for level, bits in product(sorted({0.2, 0.3, 0.5} & set(levels)), map(int, options.bits.split(","))):
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
    alike = replace(case, noise=replace(case.noise, **{case.axis: 0.0}, weight_mismatch=0.0), ladder=())
    chips, (ideal, without, before, after) = _alike(case.noise, options), ([], [], [], [])
    for seed in range(options.networks):
        study = study_of(options, work, case, seed)
        here = work / f"{case.recipe}-{options.data}-{seed}.cells"
        ideal.append(np.mean(population(study, here, NoiseModel(), (), 1)[NONE]["accuracy"]))
        without.append(
            np.mean(population(study, here, alike.noise, (), _alike(alike.noise, options))[NONE]["accuracy"])
        )
        before.append(np.array(population(study, here, case.noise, (), chips)[NONE]["accuracy"]))
        after.append(population(study, here, case.noise, case.ladder, chips))
    rows = [
        _row(options, chips, case, name, (ideal, without, before), [found[name] for found in after])
        for name in after[0]
        if (name == NONE) != bool(case.ladder)
    ]
    assert study.selection is not None
    used = {"test_samples": len(study.test.labels), "selection_samples": len(study.selection.labels)}
    return [row | used for row in rows]


def _refusal(options: argparse.Namespace, work: Path, case: Case) -> str:
    """Why the chip cannot climb the ladder, "" where it can."""
    study = study_of(options, work, case, 0)
    try:
        usable(case.ladder, study.chip.knobs, study.program)
    except UsageError as error:
        return str(error)
    return ""


def _alike(noise: NoiseModel, options: argparse.Namespace) -> int:
    """Chips without any noise are all the same: one is measured."""
    return options.chips if noise.active else 1


def _row(
    options: argparse.Namespace,
    chips: int,
    case: Case,
    ladder: str,
    references: tuple[Any, Any, Any],
    after: list[dict[str, Any]],
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
    together = ratio_interval([float(g.mean()) for g in gained], lost) if usual else None
    return {
        "data": "n-mnist-1000/100" if options.data == "n-mnist" else options.data,
        "part": case.part,
        "recipe": case.recipe,
        "chip": case.chip,
        "noise": case.axis,
        "level": getattr(case.noise, case.axis),
        "fixed": describe(case.noise, without=case.axis),
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
        "recovered_together": together[0] if together else None,
        "recovered_together_ci": list(together[1:]) if together and len(lost) > 1 else None,
        "recovered_ci": list(interval) if interval else None,
        "recovered_by_network": shares if usual else None,
        "n_chips": chips,
        "n_networks": options.networks,
        "cost": after[0]["cost"],
    }


if __name__ == "__main__":
    main()
