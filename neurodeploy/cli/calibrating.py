"""calibrate: settings of virtual chips found by measuring them, into a study or as the profile of one chip."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli import dynapse2, xylo
from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import as_typed, print_json, print_table, progress_bar, say, typed_options
from neurodeploy.cli.idle_options import refuse_without_ray
from neurodeploy.cli.population import (
    CHIPS_OF,
    CPUS,
    DATA,
    DATA_ROOT,
    DEFAULT_NOISE,
    DEVICE,
    ENCODING,
    FIXED,
    GPUS,
    INPUT_BITS,
    JOBS,
    NOISE,
    POPULATION,
    RAY,
    SAMPLES,
    SEED,
    STEPS,
    _short,
    _studies,
)
from neurodeploy.errors import UsageError

if TYPE_CHECKING:
    from neurodeploy.calibrate.drift import Change, Drift
    from neurodeploy.sweep.run import Study

LEVEL = typer.Option("4", "--level", help="Of the ladder: 4, or several as 1-5 or 2+4 (docs/calibration.md).")
STUDY_SUFFIXES = (".sqlite", ".sqlite3", ".db")


def calibrate(
    context: typer.Context,
    models: list[Path] = typer.Argument(
        help="model.pt or .net; several are measured side by side, on the same chips and samples."
    ),
    chip: str = CHIPS_OF,
    level: str = LEVEL,
    noise: list[str] = NOISE,
    fixed: list[str] = FIXED,
    chips: int = POPULATION,
    chip_id: int = typer.Option(None, "--chip-id", min=0, help="Of a profile: which virtual chip."),
    algorithm: str = typer.Option(
        "bisection", "--algorithm", help="Of a profile: bisection, secant, regression; or spsa."
    ),
    measure: str = typer.Option(
        "rates",
        "--measure",
        help="Of a profile: rates, curve (rates by drive), membrane (chips with probes); readout for spsa.",
    ),
    measurements: int = typer.Option(
        128, "--measurements", min=1, help="Of a profile: samples on which rates are matched."
    ),
    tuning_steps: int = typer.Option(
        None, "--tuning-steps", min=1, help="Of a profile, of level 6: steps of 64 samples; 120 where not given."
    ),
    tuning_rate: float = typer.Option(
        None,
        "--tuning-rate",
        help="Of a profile, of level 6: the first step's, relative to the weights' size; 0.005 where not given.",
    ),
    valid_hours: float = typer.Option(168.0, "--valid-hours", help="Of a profile: for how long it is good."),
    check_at: str = typer.Option(
        None, "--check-at", help="Of a profile: how it does later, as age=0:168:24 or temperature=0,10,20."
    ),
    points: float = typer.Option(1.0, "--points", help="Of --check-at: the fall that asks for calibration again."),
    curve: bool = typer.Option(False, "--curve", help="Of a profile: accuracy after every measurement, as well."),
    samples: int = SAMPLES,
    jobs: int = JOBS,
    ray: str = RAY,
    cpus: float = CPUS,
    gpus: float = GPUS,
    device: str = DEVICE,
    seed: int = SEED,
    data: str = DATA,
    data_root: str = DATA_ROOT,
    steps: int = STEPS,
    input_bits: int = INPUT_BITS,
    encoding: str = ENCODING,
    output: Path = typer.Option(
        Path("study.sqlite"), "-o", "--output", help="Study file (.sqlite), or the folder of one chip's profile."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Calibrate virtual chips by measuring them: into a study (then: sweep --calibrated), or one chip's profile."""
    from neurodeploy.calibrate.ladder import parse_ladder
    from neurodeploy.calibrate.work import Options
    from neurodeploy.simulate.torch_device import find_device
    from neurodeploy.study import MEASUREMENT_SAMPLES, parse_axes
    from neurodeploy.sweep.executor import make_executor
    from neurodeploy.sweep.plan import parse_noise
    from neurodeploy.sweep.run import calibrate as run_calibration
    from neurodeploy.sweep.store import Store, records
    from neurodeploy.sweep.tables import distinct
    from neurodeploy.sweep.work import check_calibratable

    if ray is None:  # else the device is one of the cluster's
        find_device(device)
    _check_analogue(chip)
    for path in models:
        if dynapse2.is_artifact(path):
            raise UsageError(f"{path}: a DYNAP-SE2 artifact; calibrate takes a model.pt with --chip dynapse2")
        if xylo.is_artifact(path):
            raise UsageError(
                f"{path}: made for a Xylo, a digital chip: every one computes the same, without calibration"
            )
    levels, base = parse_ladder(level), parse_noise(fixed)
    rate = Options.tuning_rate if tuning_rate is None else tuning_rate
    options = Options(algorithm, measure, tuning_steps=tuning_steps or Options.tuning_steps, tuning_rate=rate)
    to_study = output.suffix in STUDY_SUFFIXES or output.is_file()
    given = {"--chip-id": chip_id, "--check-at": check_at, "--curve": curve or None}
    # A study is calibrated as `sweep --calibrated` would do it.
    given |= {"--algorithm": None if algorithm == Options.algorithm else algorithm}
    given |= {"--measure": None if measure == Options.measure else measure}
    given |= {"--measurements": None if measurements == MEASUREMENT_SAMPLES else measurements}
    typed = typed_options(context)
    given |= {name: typed.get(name) for name in ("--valid-hours", "--points")}
    of_level_6 = {"--tuning-steps": tuning_steps, "--tuning-rate": tuning_rate}
    given |= of_level_6
    if to_study and any(value is not None for value in given.values()):
        raise UsageError(f"{_named(given)}: for a profile, -o FOLDER")
    if 6 not in levels and any(value is not None for value in of_level_6.values()):
        raise UsageError(f"{_named(of_level_6)}: of level 6, which --level {level} does not climb")
    if "--points" in typed and check_at is None:
        raise UsageError("--points: of --check-at, which is not given")
    of_study = {name: typed.get(name) for name in ("--chips", "--jobs", "--ray", "--cpus-per-task", "--gpus-per-task")}
    if not to_study and any(value is not None for value in of_study.values()):
        raise UsageError(
            f"{_named(of_study)}: for a study, -o FILE.sqlite; a profile is of one chip, as --chip-id says"
        )
    refuse_without_ray(typed)
    if noise and not to_study:
        raise UsageError(f"--noise {noise[0]}: one chip's noise is given by --with, as in --with mismatch=0.3")
    axes = parse_axes(noise or DEFAULT_NOISE, fixed) if to_study else []
    changes = None if check_at is None else _changes(check_at)
    of_net = {"data": data, "steps": steps, "input_bits": input_bits, "encoding": encoding}
    studies = [
        replace(study, ladder=levels, options=options, measurement=_some(study, measurements))
        for study in _studies(models, chip, chips, samples, seed, data_root, device, of_net)
    ]
    for study in studies:
        base.check_layers(study.program)
        check_calibratable(study)
    if not to_study:
        if len(studies) != 1:
            raise UsageError(f"-o {output}: a profile is of one network on one chip model; name one with --chip")
        _profile(studies[0], fixed, chip_id or 0, valid_hours, changes, points, curve, output, as_json)
        return
    with make_executor(studies, jobs, ray, cpus, gpus) as executor, Store(output) as store:
        for study in studies:
            with progress_bar("calibrate") as progress:
                run_calibration(study, axes, store, progress, executor)
        table = store.calibration_rows()
    keys = ["network", "chip", "noise", "fixed", "level", "ladder"]
    parts = table.drop(columns=["cell", "chip_id"]).groupby(keys, as_index=False)
    means = parts.mean(numeric_only=True).merge(parts["left_out"].agg(distinct), on=keys)
    rows = records(means)
    if as_json:
        print_json(rows)
    else:
        print_table(_short([{name: value for name, value in row.items() if name != "left_out"} for row in rows]))
        for chip, reason in dict.fromkeys((row["chip"], row["left_out"]) for row in rows if row["left_out"]):
            say(f"{chip}: left out: {reason}")
        again = typed | dict.fromkeys((*given, "--level", "--output")) | {"--calibrated": level, "-o": output}
        words = shlex.join([*map(str, models), *as_typed(again)])
        say(f"{output}: settings stored; next: neurodeploy sweep {words}")


def _named(given: Mapping[str, Any]) -> str:
    """The options that are set."""
    return " and ".join(name for name, value in given.items() if value is not None)


def _check_analogue(names: str) -> None:
    """Raises UsageError for a chip of which every one computes the same."""
    from neurodeploy.hw_models.xylo import XYLO_CHIPS
    from neurodeploy.hw_models.xylo_core import KNOBS

    for name in names.split(","):
        if name.strip() in XYLO_CHIPS:
            raise UsageError(
                f"--chip {name}: has {', '.join(knob.name for knob in KNOBS)}, shifts of decays per neuron, but is "
                "digital: every chip computes the same, no measurement tells one from another, and there is nothing to "
                "calibrate"
            )


def _some(study: Study, count: int) -> Any:
    """The first of the samples for measurement; raises UsageError where there are fewer."""
    from neurodeploy.study import MEASUREMENT_SAMPLES

    whole = study.measurement if count <= MEASUREMENT_SAMPLES or study.refit is None else study.refit
    if whole is None:
        return None
    static = whole.ndim == len(study.program.input.shape) + 1
    there = whole.shape[0 if static else 1]
    if count > there and count != MEASUREMENT_SAMPLES:
        raise UsageError(f"--measurements {count}: there are {there} samples for it")
    return whole[:count] if static else whole[:, :count]


def _changes(text: str) -> tuple[Change, tuple[float, ...]]:
    """`age=0:168:24` or `temperature=0,10,20`, as (what, amounts)."""
    from neurodeploy.calibrate.drift import UNITS
    from neurodeploy.sweep.plan import parse_levels

    name, equals, values = text.partition("=")
    change = next((one for one in UNITS if one == name), None)
    if change is None or not equals:
        raise UsageError(f"--check-at {text}: age=0:168:24 (hours) or temperature=0,10,20 (kelvin) is expected")
    return change, parse_levels(f"--check-at {text}", values)


def _profile(
    study: Study,
    fixed: list[str],
    chip_id: int,
    hours: float,
    changes: tuple[Change, tuple[float, ...]] | None,
    points: float,
    watched: bool,
    output: Path,
    as_json: bool,
) -> None:
    from neurodeploy.calibrate.profile_file import KIND
    from neurodeploy.folders import check_replaceable
    from neurodeploy.profiles import calibrate_chip
    from neurodeploy.sweep.plan import parse_noise

    check_replaceable(output, KIND)
    made = calibrate_chip(study, parse_noise(fixed), chip_id, hours, changes, points, output, watched)
    profile, later = made.profile, made.drift
    content = {
        "profile": str(output),
        "chip": profile.chip,
        "chip_id": profile.chip_id,
        "selection_before": profile.selection_before,
        "selection_after": profile.selection_after,
        "test_before": made.test_before,
        "test_after": made.test_after,
        "expires": profile.expires.isoformat(timespec="minutes"),
        "cost": profile.cost,
        "steps": profile.steps,
    }
    if as_json:
        content |= {"curve": list(made.curve)} if watched else {}
        if later is not None:
            again = later.lasts(points)
            content |= {"drift": asdict(later) | {"accuracy": later.accuracy.tolist(), "calibrate_again": again}}
        print_json(content)
        return
    shown = ("level", "name", "knob", "before", "after", "kept", "chip_runs", "samples", "refused")
    print_table([{name: step[name] for name in shown} for step in profile.steps])
    seconds = profile.cost["seconds"]
    on_chip = "unknown: no source gives its step" if seconds is None else f"{seconds[0]:.3g} to {seconds[1]:.3g} s"
    typer.echo(f"test accuracy {made.test_before:.4g} before, {made.test_after:.4g} after; time on the chip {on_chip}")
    if watched:
        print_table([{name: one[name] for name in ("chip_runs", "samples", "accuracy")} for one in made.curve])
    for step in profile.steps:
        for trouble in step["troubles"]:
            typer.echo(f"level {step['level']}: {trouble}")
    if later is not None:
        _print_drift(later, points)
    say(f"{output}: good until {content['expires']}; next: neurodeploy run ARTIFACT --profile {output}")


def _print_drift(later: Drift, points: float) -> None:
    from neurodeploy.calibrate.drift import UNITS

    unit, lasts = UNITS[later.change], later.lasts(points)
    rows = zip(later.amounts, later.accuracy.mean(axis=1), strict=True)
    print_table([{f"{later.change} + {unit}": amount, "test accuracy": float(mean)} for amount, mean in rows])
    told = f"after {lasts:.3g} {unit}" if lasts is not None else f"later than {later.amounts[-1]:g} {unit}"
    typer.echo(f"calibrate again: {told} ({points:g} points less)")
