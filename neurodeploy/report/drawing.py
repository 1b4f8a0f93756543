"""Drawing: the look that all charts share, lines with their names at their ends, plain records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from neurodeploy.files import replaced

VEGA_LITE = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
PNG_SCALE = 2.0

# After Okabe and Ito, darkened so that names in these colours can be read on white. Their blue and vermilion are kept
# for the states of calibration.
SERIES_COLOURS = ("#00785A", "#A8487F", "#333333", "#8A6A00", "#2F7FB0", "#8C564B")
WIDTH, HEIGHT, LABEL_HEIGHT = 390, 260, 14
WORDS = 8
CONFIG = {
    "font": "Helvetica, Arial, Liberation Sans, sans-serif",
    "background": "white",
    "view": {"stroke": None},
    "axis": {
        "labelFlush": False,
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
        title: what it is called.
        spec: Vega-Lite.
        description: what it shows in words, for those who cannot see it.
        note: what else a reader must know, or "".
    """

    name: str
    title: str
    spec: dict[str, Any]
    description: str
    note: str = ""


def lines(
    name: str,
    title: str,
    epochs: Numbers,
    series: Mapping[str, Numbers],
    y_title: str,
    unit: str = "",
    zero: bool = True,
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
    scale = alt.Scale(zero=False, nice=False, padding=8)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False, format="d"), scale=scale)
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(domain=domain, nice=False))
    tooltip = [alt.Tooltip("state:N", title="line"), alt.Tooltip("epoch:Q"), alt.Tooltip("y:Q", format=".4~g")]
    drawn = chart_of(long).mark_line(strokeWidth=2, point={"size": 22})
    ends = long.groupby("state", sort=False).tail(1).assign(text=lambda rows: rows["state"])
    height = max(220, LABEL_HEIGHT * (len(series) + 2))
    layers = [drawn.encode(x=x, y=y, color=colour, tooltip=tooltip)]
    if len(series) > 1:
        layers.append(end_labels(ends, domain, height).encode(x=x, y=y, color=colour))
    last = [(str(row["state"]), float(row["y"])) for row in ends.to_dict("records")]
    description = f"{title} after epoch {epochs.max():g}: {in_words(last, '.4g', unit)}."
    return figure(name, title, "", alt.layer(*layers), description, height=height)


def in_words(values: Sequence[tuple[str, float]], form: str, unit: str) -> str:
    """Named numbers as text; of many, the lowest and the highest."""
    if len(values) <= WORDS:
        return ", ".join(f"{name} {value:{form}}{unit}" for name, value in values)
    low, high = min(values, key=lambda pair: pair[1]), max(values, key=lambda pair: pair[1])
    return f"from {low[1]:{form}}{unit} ({low[0]}) to {high[1]:{form}}{unit} ({high[0]})"


def end_labels(ends: pd.DataFrame, domain: Sequence[float], height: int) -> alt.Chart:
    """The column `text` at the ends of lines, moved apart along `y` where names would overlap."""
    ends = ends.dropna(subset=["y"])
    gap = LABEL_HEIGHT * (domain[1] - domain[0]) / height
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
    return Figure(name, title, spec | {"config": CONFIG}, description, note)


def chart_of(table: pd.DataFrame) -> alt.Chart:
    """A chart of a table of any length; Altair itself refuses more than 5,000 rows."""
    return alt.Chart(alt.Data(values=_records(table)))  # type: ignore[no-untyped-call]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values; what is not finite becomes None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=6))
    return rows


def svg_of(spec: Mapping[str, Any]) -> str:
    """A specification as SVG; nothing is fetched."""
    drawn: str = vl_convert.vegalite_to_svg(dict(spec), vl_version=VEGA_LITE, allowed_base_urls=[])
    return drawn


def png_of(spec: Mapping[str, Any]) -> bytes:
    """A specification as PNG; nothing is fetched."""
    drawn: bytes = vl_convert.vegalite_to_png(dict(spec), vl_version=VEGA_LITE, allowed_base_urls=[], scale=PNG_SCALE)
    return drawn


def replace_file(path: Path, content: bytes) -> None:
    """Writes to a temporary name beside `path` and renames."""
    with replaced(path) as partial:
        partial.write_bytes(content)


def colours(count: int) -> list[str]:
    return [SERIES_COLOURS[index % len(SERIES_COLOURS)] for index in range(count)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
