"""What inspect, export, run and deploy print alike for chips whose networks are not Programs: Xylo and DYNAP-SE2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli.console import print_json, print_table, say, write_text
from neurodeploy.errors import DesignRuleError, UsageError

if TYPE_CHECKING:
    from neurodeploy.deployment_chip import Prepared
    from neurodeploy.export.sealed_folder import ChipArtifact
    from neurodeploy.ir.arrays import IntArray


def refuse(given: Mapping[str, bool], why: str) -> None:
    """Raises UsageError naming the options that were given and are not there.

    Args:
        given: option -> whether it was given.
        why: for whom they are not, and what is there.
    """
    wrong = [name for name, there in given.items() if there]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: {why}")


def print_prepared(prepared: Prepared[Any], rows: Sequence[dict[str, Any]], as_json: bool, strict: bool) -> None:
    """Prints how alive each layer is.

    Args:
        rows: the layers for people.
        strict: take every warning for a violation.

    Raises:
        DesignRuleError: where the chip cannot hold the network alive.
    """
    chip, cores = prepared.network.chip, prepared.cores
    violated = [*prepared.dead, *(prepared.warnings if strict else ())]
    if as_json:
        content = {"fits": not violated, "dead": prepared.dead, "warnings": prepared.warnings}
        content |= {"agreement": prepared.agreement, "layers": prepared.layers}
        print_json(content | ({} if cores is None else {"cores": cores}))
    else:
        print_table(list(rows))
        if cores is not None:
            typer.echo("\ncores; currents in ampere")
            print_table(cores)
        typer.echo(f"decisions as in floating point, calibration samples: {prepared.agreement:.1%}")
        for warning in prepared.warnings:
            typer.echo(f"warning: {warning}")
        typer.echo(f"fits {chip}: {'no' if violated else 'yes'}")
    if violated:
        raise DesignRuleError(f"{chip} as it would be quantised", violated)


def print_export(
    folder: Path, artifact: ChipArtifact[Any], omitted: Sequence[str], backend: str, as_json: bool
) -> None:
    """Prints what was written, and what comes next."""
    files, warnings = sorted(path.name for path in folder.iterdir()), artifact.facts["warnings"]
    if as_json:
        print_json({"folder": str(folder), "files": files, "omitted": list(omitted), "warnings": warnings})
        return
    typer.echo(f"{folder}: {', '.join(files)}")
    for reason in omitted:
        typer.echo(f"left out: {reason}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    say(f"next: neurodeploy run {folder} --backend {backend}")


def chosen(
    artifact: ChipArtifact[Any], data: str | None, root: str | None, samples: int | None
) -> tuple[Any, IntArray | None, str]:
    """(inputs or None, labels or None, title) of the samples that a run is asked for; None are the artifact's own."""
    from neurodeploy.deployment_chip import samples_of

    found = samples_of(artifact, data, root, samples)
    if found is None:
        return None, None, f"{len(artifact.golden.labels)} test samples of the artifact"
    return found.inputs, found.labels, found.title


def print_proof(proof: Mapping[str, Any], against: str, output: Path | None, as_json: bool) -> None:
    """Prints the comparison of a backend with `against`, "reference" or "engine", and writes it to a file."""
    if output is not None:
        write_text(output, json.dumps(proof, indent=2))
    if as_json:
        print_json(proof)
        return
    typer.echo(f"{proof['backend']} {proof['version']}, chip {proof['chip']}, {proof['samples']} samples")
    print_table(proof["layers"])
    right, theirs = proof["accuracy"], proof[f"{against}_accuracy"]
    typer.echo(f"inputs: {proof['inputs']}; {100 * right:.2f} % are right, {100 * theirs:.2f} % in the {against}")
