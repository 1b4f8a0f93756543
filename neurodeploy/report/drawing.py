"""Drawing: the look that all charts share, lines with their names at their ends, plain records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import pandas as pd

# Okabe and Ito's colours, distinct for the colour-blind too; their yellow is darkened for a white page.
SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B58900", "#56B4E9", "#333333", "#8C564B")
WIDTH, HEIGHT, LABEL_HEIGHT = 390, 260, 14
CONFIG = {
    "font": "Helvetica, Arial, Liberation Sans, sans-serif",
    "background": "white",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelColor": "#333",
        "titleColor": "#222",
        "gridColor": "#ececec",
        "domainColor": "#888",
        "tickColor": "#888",
    },
    "title": {"anchor": "start", "fontSize": 14, "subtitleFontSize": 12, "subtitleColor": "#555", "offset": 14},
}


Numbers: TypeAlias = "pd.Series[Any]"


@dataclass(frozen=True)
class Figure:
    """One chart.

    Attributes:
        name: stem of its files.
        spec: Vega-Lite.
        description: what it shows in words, for those who cannot see it.
        note: what else a reader must know, or "".
    """

    name: str
    spec: dict[str, Any]
    description: str
    note: str = ""


def lines(
    name: str, title: str, epochs: Numbers, series: Mapping[str, Numbers], y_title: str, zero: bool = True
) -> Figure | None:
    """Lines over epochs with their names at their ends; None where there is nothing to draw."""
    tables = [pd.DataFrame({"epoch": epochs, "y": values, "state": one}) for one, values in series.items()]
    long = pd.concat(tables) if tables else pd.DataFrame(columns=["epoch", "y", "state"])
    long = long[np.isfinite(long["y"].astype(float))]
    if long.empty:
        return None
    low, high = float(long["y"].min()), float(long["y"].max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    domain = [min(0.0, low) if zero else low - margin, high + margin]
    colour = alt.Color(
        "state:N", scale=alt.Scale(domain=list(series), range=colours(len(series))), legend=None, sort=list(series)
    )
    x = alt.X(
        "epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False, format="d"), scale=alt.Scale(zero=False)
    )
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(domain=domain, nice=False))
    tooltip = [alt.Tooltip("state:N", title="line"), alt.Tooltip("epoch:Q"), alt.Tooltip("y:Q", format=".4~g")]
    drawn = chart_of(long).mark_line(strokeWidth=2, point={"size": 22})
    ends = long.groupby("state", sort=False).tail(1).assign(text=lambda rows: rows["state"])
    layers = [drawn.encode(x=x, y=y, color=colour, tooltip=tooltip)]
    if len(series) > 1:
        layers.append(end_labels(ends, domain).encode(x=x, y=y, color=colour))
    words = []
    for one, rows in long.groupby("state", sort=False):
        words.append(f"{one} from {rows['y'].iloc[0]:.4g} to {rows['y'].iloc[-1]:.4g}")
    description = f"{title} against epoch, {y_title}: {'; '.join(words)}."
    return figure(name, title, "", alt.layer(*layers), description, height=220)


def end_labels(ends: pd.DataFrame, domain: Sequence[float]) -> alt.Chart:
    """The column `text` at the ends of lines, moved apart along `y` where names would overlap."""
    ends = ends.dropna(subset=["y"])
    gap = LABEL_HEIGHT * (domain[1] - domain[0]) / HEIGHT
    placed = ends.assign(y=spread([float(value) for value in ends["y"]], gap))
    text = chart_of(placed).mark_text(align="left", dx=16, fontSize=12, limit=180)
    labels: alt.Chart = text.encode(text="text:N")
    return labels


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions in the same order that are at least `gap` apart, and as near to the given ones as that allows."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    blocks: list[list[float]] = []  # runs of labels that touch, each less its rank's share of the gap
    for rank, index in enumerate(order):
        blocks.append([positions[index] - rank * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    shifted = [_mean(block) for block in blocks for _ in block]
    placed = [0.0] * len(order)
    for rank, index in enumerate(order):
        placed[index] = shifted[rank] + rank * gap
    return placed


def figure(
    name: str,
    title: str,
    subtitle: str,
    chart: alt.LayerChart | alt.FacetChart,
    description: str,
    note: str = "",
    height: int = HEIGHT,
) -> Figure:
    heading = alt.TitleParams(title, subtitle=subtitle) if subtitle else alt.TitleParams(title)
    spec: dict[str, Any] = chart.properties(
        width=WIDTH, height=height, title=heading, description=description
    ).to_dict()
    return Figure(name, spec | {"config": CONFIG}, description, note)


def chart_of(table: pd.DataFrame) -> alt.Chart:
    """A chart of a table of any length; Altair itself refuses more than 5,000 rows."""
    return alt.Chart(alt.Data(values=_records(table)))  # type: ignore[no-untyped-call]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values; what is not finite becomes None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=6))
    return rows


def colours(count: int) -> list[str]:
    return [SERIES_COLOURS[index % len(SERIES_COLOURS)] for index in range(count)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
