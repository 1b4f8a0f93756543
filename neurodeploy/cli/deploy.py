"""inspect, export, run: from model.pt to an artifact and the proof that a backend runs it as meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, say, write_text
from neurodeploy.errors import NeurodeployError

TARGET = typer.Option(..., "--target", help="lava or rockpool; see `neurodeploy targets`.")
CHIP = typer.Option(None, "--chip", help="Chip to quantise for, where it is not the target's own.")


def inspect(
    model: Path = typer.Argument(help="model.pt"),
    target: str = TARGET,
    chip: str = CHIP,
    load: bool = typer.Option(False, "--load", help="Count additions and multiplications on the model's own samples."),
    as_json: bool = AS_JSON,
) -> None:
    """Say whether a network fits a target, and what quantisation does to each layer; exit 3 where it does not fit."""
    from neurodeploy.deployment import measure_load, prepare
    from neurodeploy.snn.model_file import load_model

    loaded = load_model(model)
    prepared = prepare(loaded, target, chip)
    measured = measure_load(loaded, prepared) if load else None
    if as_json:
        content = {"fits": True, "rounding": prepared.rounding, "warnings": prepared.warnings}
        print_json(content if measured is None else content | {"load": measured})
        return
    print_table(prepared.rounding)
    if measured is not None:
        _print_load(measured)
    for warning in prepared.warnings:
        typer.echo(f"warning: {warning}")
    typer.echo(f"fits {target}: yes")


def export(
    model: Path = typer.Argument(help="model.pt"),
    target: str = TARGET,
    chip: str = CHIP,
    output: Path = typer.Option(None, "-o", "--output", help="Folder to write; by default beside the model."),
    as_json: bool = AS_JSON,
) -> None:
    """Quantise a network and write an artifact folder; the vendor's package need not be installed."""
    from neurodeploy.deployment import export_model
    from neurodeploy.snn.model_file import load_model

    folder = output or model.with_name(f"{model.stem}-{target}")
    artifact, omitted = export_model(load_model(model), target, folder, chip)
    files = sorted(path.name for path in folder.iterdir())
    warnings = artifact.facts["warnings"]
    if as_json:
        print_json({"folder": str(folder), "files": files, "omitted": omitted, "warnings": warnings})
        return
    typer.echo(f"{folder}: {', '.join(files)}")
    for reason in omitted:
        typer.echo(f"left out: {reason}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    say(f"next: neurodeploy run {folder} --backend {target}")


def run(
    artifact: Path = typer.Argument(help="Folder made by `neurodeploy export`."),
    backend: str = typer.Option("engine", "--backend", help="reference, engine, or a target such as lava."),
    data: str = typer.Option(None, "--data", help="Test images of a data set; by default the artifact's own samples."),
    data_root: str = typer.Option(None, "--data-root", help="Folder with the data set's files."),
    samples: int = typer.Option(None, "--samples", min=1, help="How many samples."),
    output: Path = typer.Option(None, "-o", "--output", help="JSON file to write as well."),
    as_json: bool = AS_JSON,
) -> None:
    """Run an artifact on a backend and compare every spike and voltage with the reference; exit 1 where they differ."""
    from neurodeploy.deployment import prove, test_inputs
    from neurodeploy.ir.artifact import load_artifact

    loaded = load_artifact(artifact)
    inputs = None
    if data is not None:
        inputs = test_inputs(loaded, data, data_root, samples)
    elif samples is not None and samples < len(loaded.golden.labels):
        static = loaded.golden.inputs.ndim == len(loaded.program.input.shape) + 1
        inputs = loaded.golden.inputs[:samples] if static else loaded.golden.inputs[:, :samples]
    proof = prove(loaded, backend, inputs)
    if output is not None:
        write_text(output, json.dumps(proof, indent=2))
    if as_json:
        print_json(proof)
    else:
        _print_proof(proof)
    if proof["mismatched_spikes"] or proof["mismatched_voltages"]:
        raise NeurodeployError(
            f"{backend} differs from the reference in {proof['mismatched_spikes']} spikes and "
            f"{proof['mismatched_voltages']} voltages; {proof['first']}"
        )


def _print_load(load: dict[str, Any]) -> None:
    typer.echo(f"\nload per sample, mean of {load['samples']} samples, {load['steps']} steps")
    for name in ("totals", "weights", "neurons"):
        print_table(load[name])
        typer.echo("")
    seconds = load["training_seconds"]
    typer.echo(f"learnable parameters: {load['learnable_parameters']}")
    typer.echo(f"training: {'-' if seconds is None else f'{seconds:.0f} s'}")
    for name, value in load["neurobench"].items():
        shown = ", ".join(f"{key} {part:.6g}" for key, part in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name}: {'-' if shown is None else shown}")
    typer.echo("")


def _print_proof(proof: dict[str, Any]) -> None:
    typer.echo(f"{proof['backend']} {proof['version']}, chip {proof['chip']}, {proof['samples']} samples")
    print_table(proof["layers"])
    for variant in proof["variants"]:
        typer.echo(
            f"{variant['name']} ({variant['title']}): {variant['mismatched_spikes']} of {variant['spikes_compared']} "
            f"spikes and {variant['decisions_differing']} of {variant['samples']} decisions differ from the reference"
        )
