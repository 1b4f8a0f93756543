"""compare: any two ways to compute a network, and what makes them differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli import dynapse2, xylo
from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, progress_bar, say
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.files import PAGE, check_output

if TYPE_CHECKING:
    from neurodeploy.compare.result import LayerResult, SideComparison

_ROWS = 12  # of the table over steps; steps are taken together where there are more


def compare(
    path: Path = typer.Argument(
        help="model.pt, a folder made by `neurodeploy export`, or a .net file of lava-dl.", metavar="MODEL_OR_ARTIFACT"
    ),
    first: str = typer.Argument(
        help="float, network, reference, engine, a target such as lava, TARGET:VARIANT, netx, or run:FOLDER.",
        metavar="FIRST",
    ),
    second: str = typer.Argument(help="Another of these.", metavar="SECOND"),
    target: str = typer.Option(
        None, "--target", help="What a model is quantised for; by default a target that is named."
    ),
    chip: str = typer.Option(None, "--chip", help="Chip to quantise a model for, where it is not the target's own."),
    data: str = typer.Option(None, "--data", help="Test samples of a data set; by default the file's own samples."),
    data_root: str = typer.Option(None, "--data-root", help="Folder with the data set's files."),
    samples: int = typer.Option(None, "--samples", min=1, help="How many samples."),
    teacher_forced: bool = typer.Option(
        False, "--teacher-forced", help="Feed each layer of SECOND the spikes of FIRST: its own error stands alone."
    ),
    allow_spikes: float = typer.Option(
        None, "--allow-spikes", min=0, max=1, help="Share of spikes that may differ in every layer; none by default."
    ),
    allow_decisions: float = typer.Option(
        None, "--allow-decisions", min=0, max=1, help="Share of samples that may be decided otherwise; none by default."
    ),
    explain: int = typer.Option(20, "--explain", min=0, help="Samples whose first difference in a layer is explained."),
    steps: int = typer.Option(None, "--steps", min=1, help="Of a .net file: time steps per sample."),
    input_bits: int = typer.Option(None, "--input-bits", min=1, help="Of a .net file: 1 for spikes, up to 8."),
    encoding: str = typer.Option("direct", "--encoding", help="Of a .net file's --data: direct, rate or latency."),
    html: Path = typer.Option(None, "--html", help="Page to write as well, one file."),
    as_json: bool = AS_JSON,
) -> None:
    """Compare two ways to compute a network, layer by layer and step by step; name what makes them differ."""
    from neurodeploy.compare.backends import Request, compare_backends
    from neurodeploy.importing.loading import known_encoding

    if dynapse2.is_artifact(path) or xylo.is_artifact(path):
        vendor = dynapse2.NAME if dynapse2.is_artifact(path) else xylo.NAME
        raise UsageError(
            f"{path}: `neurodeploy run {path} --backend {vendor}` compares its spikes with our simulator's, and "
            "`import-run` those of a board; compare takes other targets"
        )
    if data_root is not None and data is None:
        raise UsageError("--data-root: of which data set? name it with --data")
    check_output("--html", html, PAGE, (path, data))
    own = known_encoding(encoding)
    request = Request(
        path, first, second, target, chip, data, data_root, samples, teacher_forced, explain, steps, input_bits, own
    )
    with progress_bar("compare") as progress:
        result = compare_backends(request, lambda done, of: progress("samples", done, of))
    if html is not None:
        from neurodeploy.report.comparison import write_comparison

        write_comparison(result, html)
        say(f"page: {html}")
    excess = result.excess(allow_spikes, allow_decisions)
    if as_json:
        print_json(result.as_dict() | {"excess": excess})
    else:
        _print(result)
    if excess:
        found = result.first_difference
        raise NeurodeployError(
            f"{first} and {second} differ: {'; '.join(excess)}" + (f"; {describe(result, found)}" if found else "")
        )


def describe(result: SideComparison, layer: LayerResult) -> str:
    """A layer's first difference in words."""
    place = layer.first
    assert place is not None  # callers have looked
    where = ", ".join(map(str, place.neuron))
    names = result.first.name, result.second.name
    if place.quantity == "spike":
        fires, silent = names if place.first else names[::-1]
        what = f"{fires} fires, {silent} does not"
    else:
        what = f"voltage {place.first:.10g} in {names[0]}, {place.second:.10g} in {names[1]}"
    return f"first at step {place.step}, layer {place.layer}, neuron ({where}), sample {place.sample}: {what}"


def _print(result: SideComparison) -> None:
    for side in (result.first, result.second):
        label = ", ".join(filter(None, [side.title, side.evidence]))
        typer.echo(f"{side.name}: {label}")
    forced = f", each layer of {result.second.name} fed {result.first.name}'s spikes" if result.teacher_forced else ""
    chip = f", chip {result.chip}" if result.chip else ""
    typer.echo(f"{result.samples} samples, {result.steps} steps{chip}{forced}\n")
    print_table([_row(result, layer) for layer in result.layers])
    typer.echo("\nshare of differing spikes (%), and mean error of the potential, over steps")
    print_table(_over_steps(result))
    typer.echo("")
    right = [f"{side.name} {side.correct}" for side in (result.first, result.second) if side.correct is not None]
    typer.echo(
        f"decisions: {result.decisions_differing} of {result.samples} differ"
        + (f"; right: {', '.join(right)}" if right else "")
    )
    for layer in result.layers:
        for told in layer.missing:
            typer.echo(f"not compared: layer {layer.layer}: {told}")
    for note in result.notes:
        typer.echo(f"note: {note}")
    found = result.first_difference
    if found is None:
        typer.echo("no difference" if result.by_value and not result.decisions_differing else "no spike differs")
        return
    typer.echo(describe(result, found))
    for layer in result.layers:
        if layer.explanation is not None:
            typer.echo(f"layer {layer.layer}: {layer.explanation.sentence}")
            for event in layer.explanation.registers:
                typer.echo(f"  {event}")
            if sum(layer.causes.values()) > 1:
                counted = ", ".join(f"{cause} {count}" for cause, count in layer.causes.items())
                typer.echo(f"  first differences of {sum(layer.causes.values())} samples: {counted}")


def _row(result: SideComparison, layer: LayerResult) -> dict[str, Any]:
    error, place = layer.error, layer.first
    row: dict[str, Any] = {"layer": layer.layer, "neurons": layer.neurons}
    row[f"{result.first.name} fires (%)"] = _percent(layer.first_rate)
    row[f"{result.second.name} fires (%)"] = _percent(layer.second_rate)
    row["spikes differ"] = layer.differing_spikes if layer.compared else None
    row["of neuron-steps (%)"] = _percent(layer.share)
    if result.by_value:
        row["voltages differ"] = layer.differing_voltages
    row["error mean (LSB)"] = _number(error.mean_lsb) if error else None
    row["max (LSB)"] = _number(error.max_lsb) if error else None
    row["mean (thresholds)"] = error.mean_thresholds if error else None
    row["first at step"] = place.step if place else None
    row["why"] = layer.explanation.short if layer.explanation else None
    return row


def _over_steps(result: SideComparison) -> list[dict[str, Any]]:
    per_row = -(-result.steps // _ROWS)
    rows = []
    for start in range(0, result.steps, per_row):
        stop = min(start + per_row, result.steps)
        row: dict[str, Any] = {"step": str(start + 1) if per_row == 1 else f"{start + 1}-{stop}"}
        for layer in result.layers:
            if layer.compared:
                compared = layer.compared / result.steps * (stop - start)
                row[f"{layer.layer} (%)"] = 100 * sum(layer.differing_by_step[start:stop]) / compared
            if layer.error is not None:
                unit = "LSB" if layer.error.lsb else "potential"
                values = [value for value in layer.error.by_step[start:stop] if value is not None]
                row[f"{layer.layer} ({unit})"] = _number(sum(values) / len(values)) if values else None
        rows.append(row)
    return rows


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
