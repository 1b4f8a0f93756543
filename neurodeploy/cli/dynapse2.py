"""What inspect, export, run and deploy do where the target is DYNAP-SE2, whose networks are not Programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli.console import print_json, print_table, say, write_text
from neurodeploy.errors import DesignRuleError, NeurodeployError, UsageError

if TYPE_CHECKING:
    from neurodeploy.deployment_dynapse2 import PreparedDynapse2

NAME = "dynapse2"


def is_artifact(path: Path) -> bool:
    """Whether `path` is the folder of a DYNAP-SE2 artifact."""
    from neurodeploy.export.dynapse2_folder import is_dynapse2

    return is_dynapse2(path)


def inspect_dynapse2(model: Path, chip: str | None, as_json: bool) -> None:
    """Prints cores and how alive each layer is, and raises DesignRuleError where the chip cannot hold it alive."""
    from neurodeploy.deployment_dynapse2 import prepare
    from neurodeploy.snn.model_file import load_model

    prepared = prepare(load_model(model), chip, allow_dead=True)
    if as_json:
        content = {"fits": not prepared.dead, "dead": prepared.dead, "warnings": prepared.warnings}
        content |= {"agreement": prepared.agreement, "layers": prepared.layers, "cores": prepared.cores}
        print_json(content)
    else:
        print_table(_rows(prepared))
        typer.echo("\ncores; currents in ampere")
        print_table(prepared.cores)
        typer.echo(f"decisions as in floating point, calibration samples: {prepared.agreement:.1%}")
        for warning in prepared.warnings:
            typer.echo(f"warning: {warning}")
        typer.echo(f"fits {prepared.network.chip}: {'no' if prepared.dead else 'yes'}")
    if prepared.dead:
        raise DesignRuleError(f"{prepared.network.chip} as it would be quantised", prepared.dead)


def export_dynapse2(model: Path, chip: str | None, folder: Path, allow_dead: bool, as_json: bool) -> None:
    """Quantises a model for DYNAP-SE2 and writes its artifact folder."""
    from neurodeploy.deployment_dynapse2 import export_model
    from neurodeploy.snn.model_file import load_model

    artifact, omitted = export_model(load_model(model), folder, chip, allow_dead=allow_dead)
    files, warnings = sorted(path.name for path in folder.iterdir()), artifact.facts["warnings"]
    if as_json:
        print_json({"folder": str(folder), "files": files, "omitted": omitted, "warnings": warnings})
        return
    typer.echo(f"{folder}: {', '.join(files)}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    say(f"next: neurodeploy run {folder} --backend {NAME}")


def run_dynapse2(folder: Path, backend: str, samples: int | None, output: Path | None, as_json: bool) -> None:
    """Runs a DYNAP-SE2 artifact on a backend and compares every spike and membrane with the engine.

    Raises:
        NeurodeployError: where more spikes differ than float32 explains.
    """
    from neurodeploy.deployment_dynapse2 import prove
    from neurodeploy.export.dynapse2_folder import load_dynapse2

    loaded = load_dynapse2(folder)
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
        typer.echo(
            f"{proof['mismatched_spikes']} of {proof['spikes_compared']} spikes and {proof['decisions_differing']} of "
            f"{proof['samples']} decisions differ from the engine; {proof['tolerated_spikes']} are tolerated (float32)"
        )
    if not proof["agrees"]:
        raise NeurodeployError(
            f"{backend} differs from the engine in {proof['mismatched_spikes']} spikes, {proof['tolerated_spikes']} "
            "are what float32 explains"
        )


def deploy_dynapse2(artifact: Path, target: str, samples: int | None, output: Path, as_json: bool) -> None:
    """Runs an artifact on a board and prints how it decided beside the engine; the run is saved as JSON.

    Raises:
        MissingBackendError: where samna, Rockpool or the board is not here, with the command of the simulator.
        UsageError: for an artifact of another target.
    """
    from neurodeploy.export.dynapse2_board import run_on_board
    from neurodeploy.export.dynapse2_folder import load_dynapse2

    if not is_artifact(artifact) or target != NAME:
        raise UsageError(f"{artifact}, --target {target}: an artifact of `export --target {NAME}` goes to {NAME}")
    loaded = load_dynapse2(artifact)
    result = run_on_board(loaded, f"neurodeploy run {artifact} --backend {NAME}", samples)
    write_text(output.with_suffix(".json"), json.dumps(result, indent=2))
    if as_json:
        print_json(result)
    else:
        print_table(
            [{name: result[name] for name in ("evidence", "samples", "accuracy", "engine_accuracy", "agreement")}]
        )
        say(f"saved in {output.with_suffix('.json')}")


def _rows(prepared: PreparedDynapse2) -> list[dict[str, Any]]:
    return [
        {
            "layer": row["layer"],
            "neurons": row["neurons"],
            "spikes a step": f"{row['rate']:.1%}",
            "silent neurons": row["silent_neurons"],
            "several at once": f"{row['several']:.1%}",
            "reach in thresholds": f"{row['reach']:.2f}",
        }
        for row in prepared.layers
    ]
