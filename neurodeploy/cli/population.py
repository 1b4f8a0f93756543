"""sweep, calibrate: accuracy against noise over populations of virtual chips."""

from __future__ import annotations

from pathlib import Path

import typer

from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, progress_bar, say

MODEL = typer.Argument(help="model.pt")
CHIPS_OF = typer.Option("loihi2,mixed-signal", "--chip", help="Chip models, separated by commas.")
NOISE = typer.Option(
    ["mismatch"],
    "--noise",
    help="mismatch, weight_mismatch or thermal, with levels =0,0.1,0.3 or =0:0.5:0.1; repeatable.",
)
FIXED = typer.Option([], "--with", help="Noise that is there at every level, as in thermal=0.1; repeatable.")
POPULATION = typer.Option(20, "--chips", help="Number of virtual chips.")
SAMPLES = typer.Option(None, "--samples", min=1, help="Test samples; by default the whole test set.")
DATA_ROOT = typer.Option(None, "--data-root", help="Folder with the data set's files (or NEURODEPLOY_DATA).")
SEED = typer.Option(0, "--seed", min=0, help="Of the chips; chip 17 of a seed is always the same chip.")
STUDY = typer.Option(
    Path("study.sqlite"), "-o", "--output", help="Study file; what it holds already is not done again."
)


def sweep(
    model: Path = MODEL,
    chip: str = CHIPS_OF,
    noise: list[str] = NOISE,
    fixed: list[str] = FIXED,
    chips: int = POPULATION,
    samples: int = SAMPLES,
    calibrated: bool = typer.Option(False, "--calibrated", help="Trim every chip first (see `calibrate`)."),
    seed: int = SEED,
    data_root: str = DATA_ROOT,
    output: Path = STUDY,
    as_json: bool = AS_JSON,
) -> None:
    """Measure accuracy on virtual chips at every level of noise, and store it."""
    from neurodeploy.study import make_studies, parse_axes
    from neurodeploy.sweep.run import sweep as run_sweep
    from neurodeploy.sweep.store import Store, records

    axes = parse_axes(noise, fixed)
    studies = make_studies(model, chip.split(","), chips, samples, seed, data_root)
    with Store(output) as store:
        for study in studies:
            with progress_bar("sweep") as progress:
                run_sweep(study, axes, store, calibrated, progress)
        curves = store.curves()
    rows = records(curves.drop(columns=["cell", "evidence"]))
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
        say(f"{output}: stored; next: neurodeploy report {output.parent}")


def calibrate(
    model: Path = MODEL,
    chip: str = CHIPS_OF,
    noise: list[str] = NOISE,
    fixed: list[str] = FIXED,
    chips: int = POPULATION,
    samples: int = SAMPLES,
    seed: int = SEED,
    data_root: str = DATA_ROOT,
    output: Path = STUDY,
    as_json: bool = AS_JSON,
) -> None:
    """Trim virtual chips by measuring them, and store the trims; then: sweep --calibrated."""
    from neurodeploy.study import make_studies, parse_axes
    from neurodeploy.sweep.run import calibrate as run_calibration
    from neurodeploy.sweep.store import Store, records

    axes = parse_axes(noise, fixed)
    studies = make_studies(model, chip.split(","), chips, samples, seed, data_root)
    with Store(output) as store:
        for study in studies:
            with progress_bar("calibrate") as progress:
                run_calibration(study, axes, store, progress)
        table = store.calibration_rows()
    keys = ["chip", "noise", "level"]
    rows = records(table.drop(columns=["cell", "chip_id"]).groupby(keys, as_index=False).mean())
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
        say(f"{output}: trims stored; next: neurodeploy sweep {model} --calibrated -o {output}")
