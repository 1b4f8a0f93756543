"""deploy, import-run: an artifact on a chip, and what came back from one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from neurodeploy.cli import dynapse2, xylo
from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, say
from neurodeploy.cli.own_network import refuse
from neurodeploy.errors import NeurodeployError, UsageError

if TYPE_CHECKING:
    from neurodeploy.hardware_run import ImportedRun


def deploy(
    artifact: Path = typer.Argument(help="Folder made by `neurodeploy export`."),
    target: str = typer.Option(..., "--target", help="loihi2, xylo-a2, xylo-a3, xylo-imu or dynapse2."),
    host: str = typer.Option("slurm", "--host", help="How the board is reached: slurm or ethernet."),
    address: str = typer.Option(None, "--address", help="Of the board's host, for --host ethernet."),
    partition: str = typer.Option(None, "--partition", help="SLURM partition."),
    board: str = typer.Option(None, "--board", help="SLURM node, instead of a partition."),
    generation: str = typer.Option("N3B3", "--generation", help="Of the chip."),
    record: str = typer.Option("last", "--record", help="Whose spikes come back: last or all."),
    probes: str = typer.Option("power,time", "--probes", help="Of power, time, memory, activity; or none."),
    samples: int = typer.Option(None, "--samples", min=1, help="How many of the artifact's samples."),
    python: str = typer.Option(
        None, "--python", help="Python that has the vendor's driver (lava-loihi, or samna), where it is not this one."
    ),
    output: Path = typer.Option(None, "-o", "--output", help="Run folder to write; by default beside the artifact."),
    as_json: bool = AS_JSON,
) -> None:
    """Run an artifact on a chip and compare it with the reference. Not run on hardware yet by its authors."""
    from neurodeploy.hardware_run import deploy as run_on_chip
    from neurodeploy.ir.artifact import load_artifact

    place = output if output is not None else _beside(artifact, target)
    _check_place(place)
    to_xylo = xylo.is_target(target) or xylo.is_artifact(artifact)
    if to_xylo or target == dynapse2.NAME or dynapse2.is_artifact(artifact):
        of_loihi = {"--host": host != "slurm", "--address": address is not None, "--partition": partition is not None}
        of_loihi |= {"--board": board is not None, "--generation": generation != "N3B3"}
        if not to_xylo:  # outputs alone are watched, and the board measures nothing
            of_loihi |= {"--record": record != "last", "--probes": probes != "power,time"}
        which, also = ("Xylo", "--record, --probes, ") if to_xylo else ("DYNAP-SE2", "")
        why = f"not for the board of a {which}, which is at this machine; there are {also}--samples, --python"
        refuse(of_loihi, why)
    if to_xylo:
        found = xylo.deploy_xylo(artifact, target, samples, record, probes, python)
        _finish(found, place, as_json)
        return
    if target == dynapse2.NAME or dynapse2.is_artifact(artifact):
        found = dynapse2.deploy_dynapse2(artifact, target, samples, python)
        _finish(found, place, as_json)
        return
    given = {
        "--host": host,
        "--address": address,
        "--partition": partition,
        "--board": board,
        "--generation": generation,
        "--record": record,
        "--probes": probes,
        "--samples": samples,
    }
    options = [str(word) for pair in given.items() if pair[1] is not None for word in pair]
    found = run_on_chip(load_artifact(artifact), target, options, python)
    _finish(found, place, as_json)


def import_run(
    folder: Path = typer.Argument(help="Run folder that a bundle's `run.py` wrote."),
    artifact: Path = typer.Option(..., "--artifact", help="The artifact that the bundle was made with."),
    output: Path = typer.Option(..., "-o", "--output", help="Run folder to write."),
    as_json: bool = AS_JSON,
) -> None:
    """Check a run that came back from another machine and compare it with the reference; exit 1 where it differs."""
    from neurodeploy.hardware_run import import_run as read_run
    from neurodeploy.ir.artifact import load_artifact

    _check_place(output, folder)
    if xylo.is_artifact(artifact):
        _finish(xylo.import_xylo(folder, artifact), output, as_json)
        return
    if dynapse2.is_artifact(artifact):
        _finish(dynapse2.import_dynapse2(folder, artifact), output, as_json)
        return
    _finish(read_run(folder, load_artifact(artifact)), output, as_json)


def _beside(artifact: Path, target: str) -> Path:
    place = Path(os.path.abspath(artifact))  # "." has no name
    return place.parent / f"{place.name}-{target}-run"


def _check_place(output: Path, source: Path | None = None) -> None:
    """Before the work: raises UsageError where the run folder may not be written, or is the one that is read."""
    from neurodeploy.folders import check_replaceable
    from neurodeploy.recorded_run import KIND

    check_replaceable(output, KIND)
    if source is not None and output.resolve() == source.resolve():
        raise UsageError(f"-o {output}: is what is read; name another folder")


def _finish(found: ImportedRun, output: Path, as_json: bool) -> None:
    from neurodeploy.recorded_run import save_run

    run, comparison = found.run, found.comparison
    save_run(output, run)
    if as_json:
        plain = {name: getattr(run, name) for name in ("name", "evidence", "backend", "date", "program_hash")}
        print_json(plain | {"folder": str(output), "versions": dict(run.versions), "facts": dict(run.facts)})
    else:
        typer.echo(f"{run.name}, {run.date}: {run.evidence}, {comparison['samples']} samples, {comparison['form']}")
        print_table(comparison["layers"])
        typer.echo(
            f"decisions: {comparison['decisions_differing']} differ from the reference of what ran, "
            f"{comparison['decisions_differing_from_artifact']} from the artifact's program"
        )
        if "accuracy" in comparison:
            typer.echo(
                f"right: {comparison['accuracy']:.2%}, {comparison['expected_accuracy']:.2%} of the nominal chip"
            )
        for name, values in run.facts.get("probes", {}).items():
            shown = ", ".join(f"{label} {value:.6g}" for label, value in values.items() if value is not None)
            typer.echo(f"{name}: {shown or 'no figures came back'}")
        say(f"saved in {output}")
    if not found.agrees:
        differing = comparison["mismatched_voltages"]
        voltages = "voltages unknown" if differing is None else f"{differing} voltages"
        raise NeurodeployError(
            f"{run.backend} differs from the reference in {comparison['mismatched_spikes']} spikes, {voltages} and "
            f"{comparison['readouts_differing']} readouts; "
            f"{comparison['first'] or 'only the readout differs'}"
        )
