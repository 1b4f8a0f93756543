"""inspect: whether a network fits its target and chip, where it will lie, what it will cost, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli import dynapse2, xylo
from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, say
from neurodeploy.cli.deploy import CHIP, TARGET
from neurodeploy.errors import DesignRuleError, UsageError

if TYPE_CHECKING:
    from neurodeploy.deployment import Prepared
    from neurodeploy.inspect import Finding, Placement
    from neurodeploy.programs import Examined


def inspect(
    model: Path = typer.Argument(help="model.pt, or a .net file of lava-dl."),
    target: str = TARGET,
    chip: str = CHIP,
    load: bool = typer.Option(False, "--load", help="Count additions and multiplications on the model's own samples."),
    energy: bool = typer.Option(False, "--energy", help="Estimate energy and latency on the model's own samples."),
    strict: bool = typer.Option(False, "--strict", help="Take every warning for a violation."),
    steps: int = typer.Option(None, "--steps", min=1, help="Of a .net file: time steps per sample."),
    input_bits: int = typer.Option(None, "--input-bits", min=1, help="Of a .net file: 1 for spikes, up to 8."),
    as_json: bool = AS_JSON,
) -> None:
    """Say whether a network fits a target, what rounding did to it and what to change; exit 3 where it does not fit."""
    from neurodeploy.deployment import examine, measure_energy, measure_load
    from neurodeploy.importing.loading import NET_SUFFIX
    from neurodeploy.inspect import strict as made_strict
    from neurodeploy.snn.model_file import load_model

    prepared: Prepared | Examined
    measured: dict[str, Any]
    target, chosen = xylo.named(target, chip)
    if target == xylo.NAME:
        xylo.inspect_xylo(model, chosen, as_json)
        return
    if target == dynapse2.NAME:
        dynapse2.inspect_dynapse2(model, chip, as_json)
        return
    if model.suffix == NET_SUFFIX:
        prepared, measured = _examine_net(model, target, steps, input_bits, chip, load or energy), {}
    else:
        for option, value in (("--steps", steps), ("--input-bits", input_bits)):
            if value is not None:
                raise UsageError(f"{option} {value}: only for a .net file; {model} says its own")
        loaded = load_model(model)
        prepared = examine(loaded, target, chip)
        measured = {"load": measure_load(loaded, prepared)} if load else {}
        measured |= {"energy": measure_energy(loaded, prepared)} if energy else {}
    findings = list(prepared.inspection.findings)
    findings = made_strict(findings) if strict else findings
    violated = [one for one in findings if one.severity == "violation"]
    if as_json:
        content = prepared.inspection.plain() | {"findings": [asdict(one) for one in findings]}
        found = [str(one) for one in findings if one.severity == "warning"]
        print_json({"fits": not violated, "warnings": found} | content | measured)
    else:
        _print(prepared, findings, measured)
        typer.echo(f"fits {target}: {'no' if violated else 'yes'}")
    if violated:
        raise DesignRuleError(f"target {target}", [str(one) for one in violated])


def _examine_net(
    path: Path, target: str, steps: int | None, input_bits: int | None, chip: str | None, measured: bool
) -> Examined:
    from neurodeploy.programs import examine_program

    if chip is not None or measured:
        raise UsageError(f"{path}: --chip, --load and --energy need a model.pt, which has a float network and samples")
    examined, warnings = examine_program(path, target, steps, input_bits)
    for warning in warnings:
        say(f"warning: {warning}")
    return examined


def _print(prepared: Prepared | Examined, findings: Sequence[Finding], measured: dict[str, Any]) -> None:
    inspection = prepared.inspection
    print_table(prepared.rounding)
    for title, rows in (
        ("registers, voltage units, and bits of headroom", [asdict(row) for row in inspection.headroom]),
        ("neurons on the model's calibration samples", inspection.life()),
    ):
        if rows:
            typer.echo(f"\n{title}")
            print_table(rows)
    if inspection.placement is not None:
        _print_placement(inspection.placement)
    if "load" in measured:
        _print_load(measured["load"])
    if "energy" in measured:
        _print_energy(measured["energy"])
    _print_findings(findings)


def _print_placement(placement: Placement) -> None:
    typer.echo("\ncores, estimated; of each the fullest")
    print_table([asdict(row) | {"tile": " x ".join(map(str, row.tile))} for row in placement.layers])
    typer.echo(f"cores: {placement.cores}, chips: {placement.chips}")


def _print_findings(findings: Iterable[Finding]) -> None:
    """One paragraph per rule, with the layers that it found."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.severity, one.rule), []).append(one)
    for (severity, rule), group in groups.items():
        first = group[0]
        typer.echo(f"\n{severity}: {rule}: {first.what}")
        rows = [{"layer": one.layer, "measured": one.measured, "limit": one.limit} for one in group]
        print_table(rows if first.limit != "" else [{"measured": one.measured} for one in group])
        if first.suggestion:
            typer.echo(f"do: {first.suggestion}")
        typer.echo(f"source: {first.source}")
    if groups:
        typer.echo("")


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


def _print_energy(energy: dict[str, Any] | None) -> None:
    if energy is None:
        typer.echo("\nenergy: no source gives what events cost on this chip\n")
        return
    typer.echo(f"\nenergy per sample ({energy['evidence']}), mean of {energy['samples']} samples")
    print_table(energy["events"])
    for name in ("dynamic_joule", "static_joule", "latency_seconds", "period_seconds"):
        low, high = energy[name]
        typer.echo(f"{name}: {low:.3g} to {high:.3g}")
    for what, source in energy["sources"].items():
        typer.echo(f"{what}: {source}")
    typer.echo("")
