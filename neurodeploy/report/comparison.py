"""The page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from neurodeploy.compare.result import SideComparison, Tried
from neurodeploy.errors import UsageError
from neurodeploy.report import page
from neurodeploy.report.comparison_charts import error_figures, neuron_figure, share_figure
from neurodeploy.report.drawing import Figure, replace_file
from neurodeploy.report.tables import ABSENT, Table, Tile, number, percent


def write_comparison(result: SideComparison, path: Path) -> Path:
    """Writes the page, in place of what was there; returns its path.

    Raises:
        UsageError: where it cannot be written.
    """
    text = render_comparison(result)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise UsageError(f"--html {path}: {error.strerror or error}") from error
    return path


def render_comparison(result: SideComparison) -> str:
    """The page's HTML; nothing in it comes unescaped from names of layers, files or runs."""
    over_steps = [one for one in (share_figure(result), *error_figures(result)) if one is not None]
    neurons = [one for index in range(len(result.layers)) if (one := neuron_figure(result, index)) is not None]
    taken: set[str] = set()
    drawn = {name: _drawn(figures, taken) for name, figures in (("over_steps", over_steps), ("neurons", neurons))}
    scripts = [page._library(), page.START] if over_steps or neurons else []
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = files("neurodeploy.report")
    macros, _, _ = (folder / "page.html").read_text("utf-8").partition("<!DOCTYPE")  # how tables and charts look
    template = macros + (folder / "comparison.html").read_text("utf-8")
    forced = ", teacher-forced" if result.teacher_forced else ""
    chip = f" · chip {result.chip}" if result.chip else ""
    text: str = environment.from_string(template).render(
        title=f"{result.first.name} against {result.second.name}{forced}",
        subtitle=f"{number(result.samples)} samples · {number(result.steps)} steps{chip}",
        style=Markup((folder / "page.css").read_text("utf-8")),
        policy=page._policy(scripts),
        scripts=[Markup(script) for script in scripts],
        tiles=_tiles(result),
        missing=[f"Layer {layer.layer}: {text}." for layer in result.layers for text in layer.missing],
        notes=_notes(result),
        agreement="There is no difference."
        if result.by_value and not result.decisions_differing
        else "No spike differs.",
        **drawn,
        **_tables(result),
    )
    return text


def _drawn(figures: list[Figure], taken: set[str]) -> list[page.Drawn]:
    return [page._draw(figure, taken) for figure in figures]


def _tiles(result: SideComparison) -> list[Tile]:
    compared = sum(layer.compared for layer in result.layers)
    found = result.first_difference
    tiles = [
        Tile(
            number(result.differing_spikes),
            "spikes differ",
            f"of {number(compared)} neuron-steps; {percent(result.worst_share, 3)} in the worst layer",
            "bad" if result.differing_spikes else "good",
        ),
        Tile(
            number(result.decisions_differing),
            "decisions differ",
            f"of {number(result.samples)} samples",
            "bad" if result.decisions_differing else "good",
        ),
    ]
    if result.by_value:
        tiles.append(
            Tile(
                number(result.differing_voltages), "voltages differ", "", "bad" if result.differing_voltages else "good"
            )
        )
    if found is not None and found.first is not None and found.explanation is not None:
        why = found.explanation.short
        tiles.append(Tile(f"step {found.first.step}", "first difference", f"layer {found.layer}: {why}", "bad"))
    return tiles


def _tables(result: SideComparison) -> dict[str, Table]:
    return {
        "layers": _layer_table(result),
        "steps": _step_table(result),
        "firsts": _first_table(result),
        "tried": _tried_table(result),
        "causes": _cause_table(result),
        "sides": _side_table(result),
    }


def _layer_table(result: SideComparison) -> Table:
    first, second = result.first.name, result.second.name
    columns = ["layer", "neurons", f"{first} fires", f"{second} fires", "spikes differ", "of neuron-steps"]
    columns += ["voltages differ"] if result.by_value else []
    columns += ["error, mean (LSB)", "max (LSB)", "mean (thresholds)", "max (thresholds)"]
    rows = []
    for layer in result.layers:
        error = layer.error
        cells = [layer.layer, number(layer.neurons), percent(layer.first_rate), percent(layer.second_rate)]
        cells += [number(layer.differing_spikes) if layer.compared else ABSENT, percent(layer.share, 3)]
        cells += [number(layer.differing_voltages)] if result.by_value else []
        cells += [_large(error.mean_lsb if error else None), _large(error.max_lsb if error else None)]
        cells += [number(error.mean_thresholds if error else None, ".3g")]
        cells += [number(error.max_thresholds if error else None, ".3g")]
        rows.append(tuple(cells))
    return Table("Spikes, and error of the potential after the reset", tuple(columns), tuple(rows))


def _step_table(result: SideComparison) -> Table:
    columns, values = ["step"], []
    for layer in result.layers:
        if layer.compared:
            columns.append(f"{layer.layer}: spikes differ")
            values.append([number(count) for count in layer.differing_by_step])
        if layer.error is not None:
            columns.append(f"{layer.layer}: error ({'LSB' if layer.error.lsb else 'network'})")
            values.append([_large(value) for value in layer.error.by_step])
    rows = tuple((str(step + 1), *(column[step] for column in values)) for step in range(result.steps))
    return Table("Every step", tuple(columns), rows)


def _first_table(result: SideComparison) -> Table:
    columns = ("layer", "step", "sample", "neuron", "what", result.first.name, result.second.name, "why")
    rows = []
    for layer in result.layers:
        place, explanation = layer.first, layer.explanation
        if place is None or explanation is None:
            continue
        where = ", ".join(map(str, place.neuron))
        values = number(place.first, ".10g"), number(place.second, ".10g")
        why = "; ".join([explanation.sentence, *explanation.registers])
        cells = (layer.layer, str(place.step), str(place.sample), f"({where})", place.quantity, *values, why)
        rows.append(cells)
    return Table("The first difference of each layer", columns, tuple(rows), len(columns))


def _tried_table(result: SideComparison) -> Table:
    columns = ("layer", "quantity", f"put into {result.first.name}", f"put into {result.second.name}")
    rows = [
        (layer.layer, one.quantity, _outcome(one, True), _outcome(one, False))
        for layer in result.layers
        if layer.explanation is not None
        for one in layer.explanation.tried
    ]
    return Table("Quantities in which the sides differ, each replaced alone", columns, tuple(rows), len(columns))


def _outcome(tried: Tried, first: bool) -> str:
    outcome = tried.in_first if first else tried.in_second
    return ABSENT if outcome is None else "removes the difference" if outcome else "does not"


def _cause_table(result: SideComparison) -> Table:
    rows = [
        (layer.layer, cause, number(count), number(sum(layer.causes.values())))
        for layer in result.layers
        for cause, count in layer.causes.items()
    ]
    columns = ("layer", "cause", "samples", "explained")
    return Table("Causes of the first difference of each sample in a layer", columns, tuple(rows), 2)


def _side_table(result: SideComparison) -> Table:
    rows = tuple(
        (side.name, side.title, side.evidence or ABSENT, number(side.correct)) for side in (result.first, result.second)
    )
    return Table("Sides", ("side", "what it is", "evidence", "right decisions"), rows, 3)


def _notes(result: SideComparison) -> list[str]:
    notes = [f"{note}." for note in result.notes]
    if result.teacher_forced:
        first, second = result.first.name, result.second.name
        notes.append(f"Each layer of {second} was fed {first}'s spikes, so that its own error stands alone.")
    notes.append(f"{number(result.chunk)} samples were held at once.")
    return notes


def _large(value: float | None) -> str:
    return number(value, ",.0f" if value is not None and abs(value) >= 1000 else ".4g")
