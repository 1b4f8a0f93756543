"""sweep: accuracy against noise over populations of virtual chips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli import dynapse2, xylo
from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import LARGEST_SEED, print_json, print_table, progress_bar, say, typed_options
from neurodeploy.cli.idle_options import OF_RAY, refuse_idle
from neurodeploy.cli.own_network import refuse
from neurodeploy.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from neurodeploy.sweep.run import Study

MODELS = typer.Argument(
    help="model.pt, .net or DYNAP-SE2 artifact; several are measured side by side, on the same chips and samples."
)
CHIPS_OF = typer.Option("loihi2,mixed-signal", "--chip", help="Chip models, separated by commas.")
DEFAULT_NOISE = ["mismatch"]
NOISE = typer.Option(
    [],
    "--noise",
    show_default=DEFAULT_NOISE[0],
    help="mismatch, weight_mismatch, thermal and others, with levels =0,0.1,0.3 or =0:0.5:0.1; repeatable.",
)
FIXED = typer.Option(
    [],
    "--with",
    help="What is there at every level: thermal=0.1, an option as decay_as=tau or layers=lif1, a preset; repeatable.",
)
DESIGN = typer.Option(
    "one-at-a-time", "--design", help="one-at-a-time, grid, all-combinations, random, latin-hypercube or sobol."
)
POINTS = typer.Option(None, "--points", help="Points of a random, latin-hypercube or sobol design.")
DESIGN_SEED = typer.Option(0, "--design-seed", min=0, help="Of such a design.")
POPULATION = typer.Option(20, "--chips", help="Number of virtual chips.")
UNTIL = typer.Option(None, "--until", help="Add chips until the interval is this narrow, in points, as in ±0.5.")
MOST_CHIPS = typer.Option(2000, "--most-chips", help="Where --until gives up.")
INTERVAL = typer.Option("two-level", "--interval", help="two-level (chips and test samples) or chips (chips alone).")
FLOOR = typer.Option(None, "--floor", help="Also say how many chips keep this accuracy, as in 0.9.")
SOLVE_FOR = typer.Option(
    None, "--solve-for", help="Find the largest level of this noise at which --yield of the chips keep --floor."
)
YIELD = typer.Option(0.95, "--yield", help="For --solve-for: share of the chips.")
SENSITIVITY = typer.Option(
    False, "--sensitivity", help="What each --noise (one level each) costs in each layer, alone and left out."
)
CHART = typer.Option(None, "--chart", help="For --sensitivity: also draw it, into a .svg or .png file.")
SHOW = typer.Option(None, "--show", help="curves, points, summary or differences.")
EXPORT = typer.Option(None, "--export", help="Also write all results of the study to a .csv or .parquet file.")
JOBS = typer.Option(1, "--jobs", help="Processes on this machine; results are the same to the bit.")
RAY = typer.Option(None, "--ray", help="Address of a Ray cluster, as in auto; results are the same to the bit.")
CPUS = typer.Option(1.0, "--cpus-per-task", min=0, help="With --ray.")
GPUS = typer.Option(0.0, "--gpus-per-task", min=0, help="With --ray.")
DEVICE = typer.Option("cpu", "--device", help="cpu, cuda or cuda:N; results are the same to the bit.")
SAMPLES = typer.Option(None, "--samples", min=1, help="Test samples; by default the whole test set.")
DATA_ROOT = typer.Option(None, "--data-root", help="Folder with the data set's files (or NEURODEPLOY_DATA).")
DATA = typer.Option(None, "--data", help="For .net files: data set or .npz that they are judged on.")
STEPS = typer.Option(None, "--steps", min=1, help="For .net files: time steps per sample.")
INPUT_BITS = typer.Option(None, "--input-bits", min=1, max=8, help="For .net files: 1 for spikes.")
ENCODING = typer.Option("direct", "--encoding", help="For .net files: direct, rate or latency.")
SEED = typer.Option(
    0, "--seed", min=0, max=LARGEST_SEED, help="Of the chips; chip 17 of a seed is always the same chip."
)
CALIBRATED = typer.Option(
    None, "--calibrated", metavar="LEVEL", help="Calibrate every chip first: 4, 1-5 (see `calibrate`)."
)
STUDY = typer.Option(
    Path("study.sqlite"), "-o", "--output", help="Study file; what it holds already is not done again."
)


def sweep(
    context: typer.Context,
    models: list[Path] = MODELS,
    chip: str = CHIPS_OF,
    noise: list[str] = NOISE,
    fixed: list[str] = FIXED,
    design: str = DESIGN,
    points: int = POINTS,
    design_seed: int = DESIGN_SEED,
    chips: int = POPULATION,
    until: str = UNTIL,
    most_chips: int = MOST_CHIPS,
    interval: str = INTERVAL,
    floor: float = FLOOR,
    solve_for: str = SOLVE_FOR,
    share: float = YIELD,
    sensitivity: bool = SENSITIVITY,
    chart: Path = CHART,
    level: str = CALIBRATED,
    samples: int = SAMPLES,
    show: str = SHOW,
    export: Path = EXPORT,
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
    output: Path = STUDY,
    as_json: bool = AS_JSON,
) -> None:
    """Measure accuracy on virtual chips at every level of noise, and store it."""
    from neurodeploy.calibrate.ladder import parse_ladder
    from neurodeploy.report.sensitivity import check_chart, write_sensitivity
    from neurodeploy.simulate.torch_device import find_device
    from neurodeploy.study import parse_axes, parse_noises
    from neurodeploy.sweep.design import make_points
    from neurodeploy.sweep.executor import make_executor
    from neurodeploy.sweep.export import check_export
    from neurodeploy.sweep.export import export as write_results
    from neurodeploy.sweep.plan import parse_noise
    from neurodeploy.sweep.run import sweep as run_sweep
    from neurodeploy.sweep.sensitivity import sensitivity as analyse
    from neurodeploy.sweep.solve import solve
    from neurodeploy.sweep.statistics import check_fraction, known_interval
    from neurodeploy.sweep.store import Store, records
    from neurodeploy.sweep.tables import TABLES
    from neurodeploy.sweep.until import check_until, sweep_until
    from neurodeploy.sweep.work import check_calibratable

    if xylo.is_artifact(models[0]):
        raise UsageError(f"{models[0]}: made for a Xylo, a digital chip without mismatch; sweep the model itself")
    own = dynapse2.is_artifact(models[0])
    # All that can be wrong with options is found before a network is read or a file made.
    questions = {"--solve-for": solve_for, "--sensitivity": sensitivity or None, "--until": until}
    asked = [name for name, value in questions.items() if value is not None]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)}: one question at a time")
    if solve_for is not None and floor is None:
        raise UsageError("--solve-for: needs --floor, the accuracy that chips must keep, as in --floor 0.9")
    if solve_for is not None and noise:
        raise UsageError(f"--noise {noise[0]}: --solve-for says which noise; what is there besides is given by --with")
    if floor is not None:
        check_fraction("--floor", floor)
    noise = noise or DEFAULT_NOISE
    if chart is not None:
        if not sensitivity:
            raise UsageError("--chart: draws --sensitivity; curves are drawn by `neurodeploy report`")
        check_chart(chart)
    if show is not None and show not in TABLES:
        raise unknown_name("table", show, TABLES)
    if export is not None:
        check_export(export)
    if own:
        from neurodeploy.study_dynapse2 import parse_points

        others = {"--points": points, "--steps": steps, "--input-bits": input_bits, "--ray": ray, "--data": data}
        others |= {"--design-seed": design_seed or None, "--calibrated": level}
        others |= {"--most-chips": None if most_chips == MOST_CHIPS.default else most_chips}
        others |= {"--encoding": None if encoding == ENCODING.default else encoding}
        typed = typed_options(context)
        others |= {name: typed.get(name) for name in (*OF_RAY, "--yield")}
        _check_own(chip, design, asked, device, others)
        refuse_idle(typed)
        chip_points, kind = parse_points(noise, fixed), known_interval(interval)
        of_artifacts = dynapse2.artifact_studies(models, chips, seed, jobs, samples, data_root)
        with Store(output) as store:
            dynapse2.sweep_artifacts(of_artifacts, chip_points, store)
            rows = records(store.table(show or "curves", kind, floor))
            notes = [] if export is None else [f"{export}: {write_results(store, export)} rows, one per chip and cell"]
        _print(rows, notes, output, as_json)
        return
    refuse_idle(typed_options(context))
    if ray is None:  # else the device is one of the cluster's
        find_device(device)
    base, kind = parse_noise(fixed), known_interval(interval)
    calibrated, ladder = level is not None, None if level is None else parse_ladder(level)
    half = None if until is None else check_until(until, chips, most_chips)
    axis = None if solve_for is None else parse_axes([solve_for], fixed)[0]
    given = parse_noises(noise, fixed) if sensitivity else None
    plan = [] if asked and until is None else make_points(parse_axes(noise, fixed), design, points, design_seed)
    of_net = {"data": data, "steps": steps, "input_bits": input_bits, "encoding": encoding}
    studies = _studies(models, chip, chips, samples, seed, data_root, device, of_net)
    if ladder is not None:
        studies = [replace(study, ladder=ladder) for study in studies]
    for study in studies:
        base.check_layers(study.program)
        if calibrated:
            check_calibratable(study)
    rows, notes = [], []
    with make_executor(studies, jobs, ray, cpus, gpus) as executor, Store(output) as store:
        for study in studies:
            named = {"network": study.network, "chip": study.chip.name, "calibrated": calibrated, "ladder": level or ""}
            with progress_bar("sweep") as progress:
                if axis is not None:
                    answer = solve(study, axis, share, floor, store, calibrated, progress, executor)
                    rows.append(named | answer.as_dict())
                elif given is not None:
                    budget = analyse(study, given, store, calibrated, progress, executor)
                    rows += [named | row for row in budget.as_dicts()]
                    notes += [f"{study.names}: {text}" for text in budget.weakest()]
                elif half is not None:
                    reached = sweep_until(
                        study, plan, store, calibrated, progress, executor, half=half, most=most_chips, interval=kind
                    )
                    notes += [f"{study.names} {text}" for one in reached if (text := one.in_words(half))]
                else:
                    run_sweep(study, plan, store, calibrated, progress, executor)
        if not rows:
            on_curves = plan[0].axis is not None
            rows = records(store.table(show or ("curves" if on_curves else "points"), kind, floor))
        if chart is not None:
            notes.append(f"{chart}: {write_sensitivity(store, chart)} charts")
        if export is not None:
            notes.append(f"{export}: {write_results(store, export)} rows, one per chip and cell")
    _print(rows, notes, output, as_json)


def _print(rows: list[dict[str, Any]], notes: list[str], output: Path, as_json: bool) -> None:
    rows = _plain(rows)
    if as_json:
        print_json(rows)
    else:
        print_table(_short(rows))
    for note in notes:
        say(note)
    if not as_json:
        say(f"{output}: stored; next: neurodeploy report {output.parent}")


def _check_own(chip: str, design: str, asked: list[str], device: str, others: dict[str, Any]) -> None:
    """Refuses what is not there for artifacts of chips whose networks are not Programs; None in `others`: not given."""
    given = {"--chip": chip != CHIPS_OF.default, "--design": design != DESIGN.default}
    given |= dict.fromkeys(asked, True) | {"--device": device != DEVICE.default}
    refuse(
        given | {name: value is not None for name, value in others.items()},
        "not for an artifact, which is for its own chip and data; it takes --noise, --with, --chips, --samples, --jobs",
    )


def _studies(
    models: list[Path],
    chip: str,
    count: int,
    samples: int | None,
    seed: int,
    data_root: str | None,
    device: str,
    of_net: dict[str, Any],
) -> list[Study]:
    """Of models, on the chips that are named; of .net files, on the chip that they are made for."""
    from neurodeploy.importing.loading import NET_SUFFIX, known_encoding
    from neurodeploy.study import make_studies

    nets = [path for path in models if path.suffix == NET_SUFFIX]
    if not nets:
        given = [name for name, value in of_net.items() if value not in (None, "direct")]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')}: only for .net files; a model.pt says its own")
        return make_studies(models, chip.split(","), count, samples, seed, data_root, device)
    if len(nets) != len(models):
        raise UsageError(".net files and models: sweep them one after the other, into the same study file")
    if of_net["data"] is None:
        raise UsageError("--data: a .net file has no samples; name a data set or a .npz")
    from neurodeploy.programs import program_studies

    options = of_net | {"encoding": known_encoding(of_net["encoding"])}
    studies, warnings = program_studies(models, options.pop("data"), count, samples, seed, data_root, **options)
    for warning in warnings:
        say(f"warning: {warning}")
    return [replace(study, device=device) for study in studies]


_HIDDEN = ("cell", "evidence")


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as JSON takes them: what is not a number is None."""
    return [
        {key: None if value != value else value for key, value in row.items() if key not in _HIDDEN} for row in rows
    ]


def _short(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what only tells populations apart where there is one."""
    idle = {name for name in ("fixed", "ladder") if len({row.get(name) or "" for row in rows} - {""}) < 1}
    if len({row.get("network") for row in rows}) == 1:
        idle.add("network")
    return [{key: row[key] for key in row if key not in idle} for row in rows]
