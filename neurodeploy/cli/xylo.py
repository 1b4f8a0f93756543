"""What inspect, export and run do where the target is Xylo, whose networks are not Programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli.console import print_json, print_table, say, write_text
from neurodeploy.errors import DesignRuleError, NeurodeployError

if TYPE_CHECKING:
    from neurodeploy.deployment_xylo import PreparedXylo

NAME = "xylo"


def is_artifact(path: Path) -> bool:
    """Whether `path` is the folder of a Xylo artifact."""
    from neurodeploy.export.xylo_folder import is_xylo

    return is_xylo(path)


def inspect_xylo(model: Path, chip: str | None, as_json: bool) -> None:
    """Prints how alive each layer is, and raises DesignRuleError where the chip cannot hold the network alive."""
    from neurodeploy.deployment_xylo import prepare
    from neurodeploy.snn.model_file import load_model

    prepared = prepare(load_model(model), chip, allow_dead=True)
    if as_json:
        content = {"fits": not prepared.dead, "dead": prepared.dead, "warnings": prepared.warnings}
        print_json(content | {"agreement": prepared.agreement, "layers": prepared.layers})
    else:
        print_table(_rows(prepared))
        typer.echo(f"decisions as in floating point, calibration samples: {prepared.agreement:.1%}")
        for warning in prepared.warnings:
            typer.echo(f"warning: {warning}")
        typer.echo(f"fits {prepared.network.chip}: {'no' if prepared.dead else 'yes'}")
    if prepared.dead:
        raise DesignRuleError(f"{prepared.network.chip} as it would be quantised", prepared.dead)


def export_xylo(model: Path, chip: str | None, folder: Path, allow_dead: bool, as_json: bool) -> None:
    """Quantises a model for a Xylo and writes its artifact folder."""
    from neurodeploy.deployment_xylo import export_model
    from neurodeploy.snn.model_file import load_model

    artifact, omitted = export_model(load_model(model), folder, chip, allow_dead=allow_dead)
    files, warnings = sorted(path.name for path in folder.iterdir()), artifact.facts["warnings"]
    if as_json:
        print_json({"folder": str(folder), "files": files, "omitted": omitted, "warnings": warnings})
        return
    typer.echo(f"{folder}: {', '.join(files)}")
    for reason in omitted:
        typer.echo(f"left out: {reason}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    say(f"next: neurodeploy run {folder} --backend {NAME}")


def run_xylo(folder: Path, backend: str, samples: int | None, output: Path | None, as_json: bool) -> None:
    """Runs a Xylo artifact on a backend and compares every current, potential and spike with the reference.

    Raises:
        NeurodeployError: where they differ.
    """
    from neurodeploy.deployment_xylo import prove
    from neurodeploy.export.xylo_folder import load_xylo

    loaded = load_xylo(folder)
    inputs = None
    if samples is not None and samples < len(loaded.golden.labels):
        inputs = loaded.golden.inputs[..., :samples, :]
    proof = prove(loaded, backend, inputs)
    if output is not None:
        write_text(output, json.dumps(proof, indent=2))
    if as_json:
        print_json(proof)
    else:
        typer.echo(f"{proof['backend']} {proof['version']}, chip {proof['chip']}, {proof['samples']} samples")
        print_table(proof["layers"])
    if proof["mismatched_spikes"] or proof["mismatched_voltages"]:
        raise NeurodeployError(
            f"{backend} differs from the reference in {proof['mismatched_spikes']} spikes and "
            f"{proof['mismatched_voltages']} currents and potentials; {proof['first']}"
        )


def _rows(prepared: PreparedXylo) -> list[dict[str, Any]]:
    return [
        {
            "layer": row["layer"],
            "neurons": row["neurons"],
            "firing": f"{row['rate']:.1%}" if row["fires"] else "-",
            "silent neurons": row["silent_neurons"] if row["fires"] else "-",
            "31 spikes": f"{row['at_most']:.1%}",
            "at 16-bit limit": f"{row['at_limit']:.1%}",
            "reach in thresholds": f"{row['reach']:.2f}",
        }
        for row in prepared.layers
    ]
