"""inspect: whether a network fits its target and chip, where it will lie, what it will cost, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from neurodeploy.cli import dynapse2, xylo
from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, say
from neurodeploy.cli.deploy import CHIP, SEARCH_SCALES, TARGET, check_search
from neurodeploy.cli.own_network import refuse
from neurodeploy.errors import DesignRuleError, UsageError

if TYPE_CHECKING:
    from neurodeploy.inspect import Finding, Inspection, Placement
    from neurodeploy.programs import NetSamples


def inspect(
    model: Path = typer.Argument(help="model.pt, or a .net file of lava-dl."),
    target: str = TARGET,
    chip: str = CHIP,
    load: bool = typer.Option(False, "--load", help="Count additions and multiplications on the model's own samples."),
    energy: bool = typer.Option(False, "--energy", help="Estimate energy and latency on the samples."),
    strict: bool = typer.Option(False, "--strict", help="Take every warning for a violation."),
    steps: int = typer.Option(None, "--steps", min=1, help="Of a .net file: time steps per sample."),
    input_bits: int = typer.Option(None, "--input-bits", min=1, help="Of a .net file: 1 for spikes, up to 8."),
    data: str = typer.Option(
        None, "--data", help="Of a .net file: test samples of a data set, in place of random ones."
    ),
    data_root: str = typer.Option(None, "--data-root", help="Folder with the data set's files."),
    samples: int = typer.Option(None, "--samples", min=1, help="Of a .net file: how many samples."),
    encoding: str = typer.Option("direct", "--encoding", help="Of a .net file's --data: direct, rate or latency."),
    search_scales: bool = SEARCH_SCALES,
    as_json: bool = AS_JSON,
) -> None:
    """Say whether a network fits a target, what rounding did to it and what to change; exit 3 where it does not fit."""
    from neurodeploy.importing.loading import NET_SUFFIX, known_encoding
    from neurodeploy.inspect import strict as made_strict
    from neurodeploy.programs import NetSamples

    target, chosen = xylo.named(target, chip)
    if search_scales:
        check_search(target)
    if target in (xylo.NAME, dynapse2.NAME):
        of_others: dict[str, Any] = {"--load": load or None, "--energy": energy or None, "--steps": steps}
        of_others |= {"--input-bits": input_bits, "--data": data, "--data-root": data_root, "--samples": samples}
        of_others |= {"--encoding": None if encoding == "direct" else encoding}
        refuse(
            {name: value is not None for name, value in of_others.items()},
            f"not for --target {target}, which takes a model.pt with its own samples; there are --chip, --strict",
        )
        if target == xylo.NAME:
            xylo.inspect_xylo(model, chosen, as_json, strict)
        else:
            dynapse2.inspect_dynapse2(model, chip, as_json, strict)
        return
    given = NetSamples(steps, input_bits, data, data_root, samples, known_encoding(encoding))
    if model.suffix == NET_SUFFIX:
        if chip is not None or search_scales:
            raise UsageError(f"{model}: --chip, --search-scales: a .net file holds Loihi 2's integers already")
        subject = _net(model, target, given, load, energy)
    else:
        for one in fields(given):
            if getattr(given, one.name) != one.default:
                option = {"root": "data-root", "count": "samples"}.get(one.name, one.name.replace("_", "-"))
                raise UsageError(f"--{option}: only for a .net file; {model} has its own")
        subject = _model(model, target, chip, search_scales, load, energy)
    findings = list(subject.inspection.findings)
    findings = made_strict(findings) if strict else findings
    violated = [one for one in findings if one.severity == "violation"]
    if as_json:
        content = subject.inspection.plain() | {"findings": [asdict(one) for one in findings]}
        found = [str(one) for one in findings if one.severity == "warning"]
        print_json({"fits": not violated, "warnings": found} | content | subject.measured)
    else:
        _print(subject, findings)
        typer.echo(f"fits {target}: {'no' if violated else 'yes'}")
    if violated:
        raise DesignRuleError(f"target {target}", [str(one) for one in violated])


class _Subject(NamedTuple):
    """What is inspected.

    Attributes:
        rounding: a row per layer; of a `.net` file none.
        samples: what it was run on.
        measured: what else was asked for, and where the scales come from.
        said: before everything else.
    """

    inspection: Inspection
    rounding: Sequence[dict[str, Any]]
    samples: str
    measured: dict[str, Any]
    said: str = ""


def _model(path: Path, target: str, chip: str | None, search_scales: bool, load: bool, energy: bool) -> _Subject:
    from neurodeploy.deployment import examine, measure_energy, measure_load
    from neurodeploy.snn.model_file import load_model

    model = load_model(path)
    prepared = examine(model, target, chip, search_scales)
    quantised = prepared.quantised
    measured: dict[str, Any] = {"scales": {"from": quantised.scales, "trained": quantised.trained}}
    measured |= {"load": measure_load(model, prepared)} if load else {}
    measured |= {"energy": measure_energy(model, prepared)} if energy else {}
    said = f"scales: {quantised.scales}\n" if quantised.notable else ""
    return _Subject(prepared.inspection, prepared.rounding, "the model's calibration samples", measured, said)


def _net(path: Path, target: str, given: NetSamples, load: bool, energy: bool) -> _Subject:
    from neurodeploy.programs import examine_program, program_energy

    if load:
        raise UsageError(
            f"{path}: --load counts what the float network adds and multiplies, beside the same ANN; a .net file holds "
            "integers alone, whose operations --energy counts"
        )
    if given.data is None and (given.root is not None or given.encoding != "direct"):
        raise UsageError("--data-root, --encoding: of which data set? name it with --data")
    examined, warnings = examine_program(path, target, given)
    for warning in warnings:
        say(f"warning: {warning}")
    measured = {"energy": program_energy(examined)} if energy else {}
    return _Subject(examined.inspection, (), examined.samples.what, measured)


def _print(subject: _Subject, findings: Sequence[Finding]) -> None:
    inspection, measured = subject.inspection, subject.measured
    if subject.said:
        typer.echo(subject.said)
    print_table(subject.rounding)
    for title, rows in (
        ("registers, voltage units, and bits of headroom", [asdict(row) for row in inspection.headroom]),
        (f"neurons on {subject.samples}", inspection.life()),
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
    if "inputs" in energy:
        typer.echo(f"inputs: {energy['inputs']}")
    print_table(energy["events"])
    for name in ("dynamic_joule", "static_joule", "latency_seconds", "period_seconds"):
        low, high = energy[name]
        typer.echo(f"{name}: {low:.3g} to {high:.3g}")
    for what, source in energy["sources"].items():
        typer.echo(f"{what}: {source}")
    typer.echo("")
