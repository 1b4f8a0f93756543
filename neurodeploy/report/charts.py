"""The charts of a report, each defined once for the page, the SVG and the PNG."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import pandas as pd

from neurodeploy.hw_models import chips as chip_catalogue
from neurodeploy.report.data import CELL, GAMMA_PREFIX, RATE_PREFIX, SEPARATOR, WITH, ReportData, quantized_accuracies
from neurodeploy.report.drawing import HEIGHT, Figure, chart_of, colours, end_labels, figure, in_words, lines
from neurodeploy.report.quantities import Quantity, quantity_of

BEFORE, AFTER, NOMINAL = "#D55E00", "#0072B2", "#555555"
NOMINAL_STATE = "no noise"
STATES = {False: "not calibrated", True: "calibrated"}
DOTS_PER_POINT = 200
POINT_TOOLTIP = [
    alt.Tooltip("state:N", title="chips"),
    alt.Tooltip("level:Q", title="level", format=".4~g"),
    alt.Tooltip("accuracy_mean:Q", title="mean (%)", format=".2f"),
    alt.Tooltip("ci_low:Q", title="95 % interval from (%)", format=".2f"),
    alt.Tooltip("ci_high:Q", title="to (%)", format=".2f"),
    alt.Tooltip("accuracy_p05:Q", title="5th percentile (%)", format=".2f"),
    alt.Tooltip("accuracy_min:Q", title="worst chip (%)", format=".2f"),
    alt.Tooltip("n_chips:Q", title="virtual chips"),
]
DOT_TOOLTIP = [
    alt.Tooltip("state:N", title="chip"),
    alt.Tooltip("chip_id:Q", title="chip id", format="d"),
    alt.Tooltip("level:Q", title="level", format=".4~g"),
    alt.Tooltip("accuracy:Q", title="accuracy (%)", format=".2f"),
]


def accuracy_figures(data: ReportData) -> list[Figure]:
    """Test accuracy against noise level, one figure for each chip and noise; all share their accuracy axis."""
    if data.curves.empty:
        return []
    curves = data.curves.dropna(subset=["accuracy_mean"])
    lowest = [curves[["accuracy_mean", "accuracy_p05", "ci_low"]].min().min()]
    if not data.chips.empty:
        lowest.append(data.chips["accuracy"].min())
    low = 100 * float(min(lowest))
    step = 10 if low < 80 else 2
    domain = [max(0.0, step * (low // step)), 100.0]
    return [
        _accuracy_figure(data, str(chip), str(noise), rows.sort_values("level"), domain)
        for (chip, noise), rows in curves.groupby(["chip", "noise"], sort=False)
    ]


def training_figures(training: pd.DataFrame) -> list[Figure]:
    """Loss and validation accuracy against epoch, and the membrane-potential loss where the run has one."""
    if training.empty:
        return []
    epochs = training["epoch"]
    loss = {"training": training["train_loss"], "validation": training["validation_loss"]}
    accuracy = {"validation": 100 * training["validation_accuracy"]}
    drawn = [
        lines("training-loss", "Loss", epochs, loss, "loss (no unit)"),
        lines(
            "training-accuracy",
            "Validation accuracy",
            epochs,
            accuracy,
            "validation accuracy (%)",
            "\u00a0%",
            zero=False,
        ),
    ]
    if "potential_loss" in training.columns:
        potential = {"potential loss": training["potential_loss"]}
        title = "Membrane-potential distribution loss (PDA)"
        drawn.append(lines("potential-loss", title, epochs, potential, "potential loss (no unit)"))
    return [one for one in drawn if one is not None]


def gamma_figures(training: pd.DataFrame) -> list[Figure]:
    """The learned width parameter of every layer's surrogate gradient against epoch."""
    if training.empty:
        return []
    widths = {layer: training[GAMMA_PREFIX + layer] for layer in _layer_columns(training, GAMMA_PREFIX)}
    title = "Learned surrogate gradient, per layer"
    y_title = "learned γ (no unit; larger is narrower)"
    drawn = lines("surrogate-width", title, training["epoch"], widths, y_title, zero=False)
    return [] if drawn is None else [drawn]


def rate_figures(data: ReportData) -> list[Figure]:
    """Firing rate of every layer: of the exported network where it was proved, else of the last epoch."""
    rows = [
        {"layer": str(layer["layer"]), "chip": str(proof["chip"]), "rate": 100 * float(layer["firing_rate"])}
        for proof in data.proofs
        for layer in proof["layers"]
        if layer["firing_rate"] is not None
    ]
    origin = "quantised network, reference simulator"
    if not rows:
        origin = "network in training, last epoch"
        rows = [
            {"layer": layer, "chip": "training", "rate": 100 * float(data.training[RATE_PREFIX + layer].iloc[-1])}
            for layer in _layer_columns(data.training, RATE_PREFIX)
        ]
    table = pd.DataFrame(rows, columns=["layer", "chip", "rate"]).dropna().drop_duplicates(["layer", "chip"])
    if table.empty:
        return []
    layers, owners = list(table["layer"].unique()), list(table["chip"].unique())
    base = chart_of(table).encode(
        y=alt.Y("layer:N", sort=layers, title="layer", axis=alt.Axis(labelLimit=160)),
        x=alt.X("rate:Q", title="firing rate (% of neurons firing per step)", scale=alt.Scale(domainMin=0)),
        yOffset=alt.YOffset("chip:N", sort=owners),
        tooltip=[alt.Tooltip("layer:N"), alt.Tooltip("chip:N"), alt.Tooltip("rate:Q", title="rate (%)", format=".2f")],
    )
    colour = alt.Color(
        "chip:N",
        scale=alt.Scale(domain=owners, range=colours(len(owners))),
        legend=alt.Legend(title=None, orient="top") if len(owners) > 1 else None,
    )
    numbers = base.mark_text(align="left", dx=4, fontSize=11).encode(text=alt.Text("rate:Q", format=".1f"))
    height = max(80, 22 * len(table) + 12 * len(layers))
    words = "; ".join(
        f"{owner}: " + in_words(list(zip(rows["layer"], rows["rate"], strict=True)), ".1f", "\u00a0%")
        for owner, rows in table.groupby("chip", sort=False)
    )
    description = f"Firing rate per layer ({origin}), {words}."
    chart = alt.layer(base.mark_bar().encode(color=colour), numbers)
    return [figure("firing-rates", "Firing rate per layer", origin, chart, description, height=height)]


def _accuracy_figure(data: ReportData, chip: str, noise: str, rows: pd.DataFrame, domain: list[float]) -> Figure:
    axis, _, fixed = noise.partition(WITH)
    quantity = quantity_of(axis)
    table = _in_percent(rows, quantity.factor)
    levels = [float(level) for level in sorted(table["level"].unique())]
    span = levels[-1] - levels[0] or 10.0
    margin = 0.04 * span if len(levels) > 1 else span / 2
    edges = [levels[0] - margin, levels[-1] + margin]

    def x(field: str) -> alt.X:
        scale = alt.Scale(domain=edges, nice=False, zero=False)
        axis = alt.Axis(values=levels, grid=False, labelOverlap=True, format=".4~g")
        return alt.X(f"{field}:Q", title=f"{quantity.title} ({quantity.unit})", scale=scale, axis=axis)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title="test accuracy (%)", scale=alt.Scale(domain=domain, nice=False))

    colour = alt.Color(
        "state:N",
        scale=alt.Scale(domain=[*STATES.values(), NOMINAL_STATE], range=[BEFORE, AFTER, NOMINAL]),
        legend=None,
    )
    base = chart_of(table).encode(x=x("level"), color=colour, tooltip=POINT_TOOLTIP)
    # An area of one point would not be seen.
    band = base.mark_area(opacity=0.22) if len(levels) > 1 else base.mark_rule(strokeWidth=5, opacity=0.4)
    tail = base.mark_line(strokeDash=[5, 4], strokeWidth=1.5, point={"shape": "stroke", "size": 80, "filled": False})
    mean = base.mark_line(strokeWidth=2.2, point={"size": 42, "filled": True, "opacity": 1})
    layers = []
    dots, left_out = _dots(data.chips, chip, noise, span, quantity.factor)
    if not dots.empty:
        circles = chart_of(dots).mark_circle(size=13, opacity=0.22)
        layers.append(circles.encode(x=x("place"), y=y("accuracy"), color=colour, tooltip=DOT_TOOLTIP))
    ends = _accuracy_ends(table)
    nominal = quantized_accuracies(data).get(chip)
    if nominal is not None:
        row = {
            "level": levels[-1],
            "y": 100 * nominal,
            "state": NOMINAL_STATE,
            "text": f"no noise: {100 * nominal:.1f} %",
        }
        ends = pd.concat([pd.DataFrame([row]), ends])
        layers.append(chart_of(pd.DataFrame([row])).mark_rule().encode(y=y("y"), color=colour))
    layers += [
        band.encode(y=y("ci_low"), y2="ci_high:Q"),
        tail.encode(y=y("accuracy_p05")),
        mean.encode(y=y("accuracy_mean")),
        end_labels(ends, domain, HEIGHT).encode(x=x("level"), y=y("y"), color=colour),
    ]
    counts = f"{count_range(rows['n_chips'])} virtual chips × {count_range(rows['n_samples'])} samples"
    subtitle = f"{counts} · {_evidence(rows, quantity)}"
    description = f"Mean test accuracy: {_accuracy_words(table, quantity)}."
    notes = []
    model = chip_catalogue().get(chip.partition(SEPARATOR)[0])
    if model is not None and model.fixed_point:
        notes.append(f"A what-if: {chip} is digital and has no such noise.")
    if left_out:
        notes.append(f"Dots: the first {DOTS_PER_POINT} chips of every point.")
    name = f"accuracy-{_slug(chip)}-{_slug(noise)}"
    return figure(
        name,
        f"{chip}: {quantity.title}{f'{WITH}{fixed}' if fixed else ''}",
        subtitle,
        alt.layer(*layers),
        description,
        " ".join(notes),
    )


def _evidence(rows: pd.DataFrame, quantity: Quantity) -> str:
    """What the points rest on, with the levels where not all rest on the same."""
    found = {
        str(label): sorted(quantity.factor * points["level"].unique())
        for label, points in rows.groupby("evidence", sort=False)
    }
    if len(found) == 1:
        return next(iter(found))
    spans = {label: [f"{level:.4g}" for level in dict.fromkeys((at[0], at[-1]))] for label, at in found.items()}
    return ", ".join(f"{label} at {' to '.join(span)}{quantity.short}" for label, span in spans.items())


def _in_percent(rows: pd.DataFrame, factor: float) -> pd.DataFrame:
    """Accuracies in percent, levels times the factor of their axis."""
    columns = ["accuracy_mean", "accuracy_p05", "accuracy_min", "ci_low", "ci_high"]
    percent = (100 * rows[columns]).round(6)
    return percent.assign(
        level=(factor * rows["level"]).round(6),
        state=rows["calibrated"].map(lambda flag: STATES[bool(flag)]),
        n_chips=rows["n_chips"],
    )


def _dots(chips: pd.DataFrame, chip: str, noise: str, span: float, factor: float) -> tuple[pd.DataFrame, bool]:
    """Single chips beside their point, those before calibration to the left; whether some were left out."""
    if chips.empty:
        return chips, False
    own = chips[(chips["chip"] == chip) & (chips["noise"] == noise)].dropna(subset=["accuracy"]).sort_values("chip_id")
    drawn = own.groupby(CELL, sort=False).head(DOTS_PER_POINT)
    jitter = (drawn["chip_id"] * 0.6180339887) % 1 - 0.5
    side = drawn["calibrated"].map(lambda flag: 1.0 if flag else -1.0) * (
        0.013 if own["calibrated"].nunique() > 1 else 0.0
    )
    level = factor * drawn["level"]
    dots = pd.DataFrame(
        {
            "level": level,
            "place": level + span * (side + 0.016 * jitter),
            "accuracy": 100 * drawn["accuracy"],
            "chip_id": drawn["chip_id"],
            "state": drawn["calibrated"].map(lambda flag: STATES[bool(flag)]),
        }
    )
    return dots, len(drawn) < len(own)


def _accuracy_ends(table: pd.DataFrame) -> pd.DataFrame:
    """The last point of every line, with its name."""
    last = table.groupby("state", sort=False).tail(1)
    mean = last.assign(y=last["accuracy_mean"], text=last["state"])
    tail = last.assign(y=last["accuracy_p05"], text=last["state"] + ", 5th percentile")
    return pd.concat([mean, tail])[["level", "y", "state", "text"]].assign(level=table["level"].max())


def _accuracy_words(table: pd.DataFrame, quantity: Quantity) -> str:
    parts = []
    for state, rows in table.groupby("state", sort=False):
        points = [f"{mean:.1f}\u00a0% at level {level:g}{quantity.short}" for mean, level in _ends(rows)]
        tail = rows["accuracy_p05"].iloc[-1]
        parts.append(f"{state} {', '.join(points)} (5th percentile {tail:.1f}\u00a0%)")
    return "; ".join(parts)


def _ends(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Accuracy and level of the first and the last point, once where they are one."""
    points = list(zip(rows["accuracy_mean"], rows["level"], strict=True))
    return [points[0], points[-1]] if len(points) > 1 else points


def _layer_columns(training: pd.DataFrame, prefix: str) -> list[str]:
    names = [str(column) for column in training.columns if str(column).startswith(prefix)]
    return [name.removeprefix(prefix) for name in names if training[name].notna().any()]


def count_range(values: pd.Series[Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _slug(text: str) -> str:
    """A name that is safe in a path."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "other"
