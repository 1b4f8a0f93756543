"""Which layer and which noise cost most: the charts and the table of `sweep.sensitivity`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from neurodeploy.errors import UsageError
from neurodeploy.report.data import SEPARATOR, ReportData
from neurodeploy.report.drawing import CONFIG, Figure, chart_of, figure, png_of, replace_file, svg_of
from neurodeploy.report.quantities import quantity_of
from neurodeploy.report.tables import ABSENT, Table, percent
from neurodeploy.sweep.sensitivity import ALL_NOISES, INTERACTION, Budget, stored_budgets
from neurodeploy.sweep.store import Store

MEASURES = {"alone": "this alone", "spared": "this left out"}
COLOURS = {"alone": "#D55E00", "spared": "#0072B2"}
ROW_HEIGHT = 30


def sensitivity_table(store: Store) -> pd.DataFrame:
    """One row per noise and layer of the analyses that a study holds, with `analysis`, what they are told apart by."""
    found = stored_budgets(store)
    several = len({named["network"] for named, _ in found}) > 1
    frames = []
    told: Counter[str] = Counter()
    for named, budget in found:
        title = _title(named, budget, several)
        told[title] += 1  # analyses that differ in what no title tells, as the seed, are none the less two
        frames.append(_frame(f"{title} ({told[title]})" if told[title] > 1 else title, budget))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def sensitivity_figures(data: ReportData) -> list[Figure]:
    """One chart per analysis: what each noise costs in each layer by itself, and what is won where it is left out."""
    if data.sensitivity.empty:
        return []
    groups = data.sensitivity.groupby("analysis", sort=False)
    return [_figure(f"sensitivity-{place}", str(title), rows) for place, (title, rows) in enumerate(groups, 1)]


def budget_table(data: ReportData) -> Table:
    """The noise budget: the same numbers as the charts, with shares."""
    rows = tuple(
        (
            str(row["analysis"]),
            _noise(row),
            str(row["layer"]),
            _interval(row, "alone"),
            _interval(row, "spared"),
            percent(row["share"], 1),
            ("weakest" if row["clear"] else "weakest, not clearly") if row["weakest"] else "",
        )
        for row in data.sensitivity.to_dict("records")
    )
    columns = ("analysis", "noise", "layer", "alone (points)", "left out (points)", "share", "layer of this noise")
    return Table("Noise budget: accuracy lost to each noise alone, and won where it is left out", columns, rows, 3)


def write_sensitivity(store: Store, path: Path) -> int:
    """Writes the charts of a study's analyses, one below the other, as SVG or PNG; returns how many.

    Raises:
        UsageError: for another ending, or where the file cannot be written.
    """
    check_chart(path)
    table = sensitivity_table(store)
    groups = [rows for _, rows in table.groupby("analysis", sort=False)] if not table.empty else []
    figures = [_figure("sensitivity", str(rows["analysis"].iloc[0]), rows) for rows in groups]
    specs = [{name: value for name, value in one.spec.items() if name != "config"} for one in figures]
    whole = {"$schema": figures[0].spec["$schema"], "vconcat": specs, "config": CONFIG} if figures else {}
    content = b"" if not figures else svg_of(whole).encode() if path.suffix == ".svg" else png_of(whole)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise UsageError(f"--chart {path}: {error.strerror or error}; the file is as it was before") from error
    return len(figures)


def check_chart(path: Path) -> None:
    """Raises UsageError for a file that is no SVG or PNG: before a sweep, rather than after it."""
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--chart {path}: .svg or .png is expected")


def _frame(title: str, budget: Budget) -> pd.DataFrame:
    return pd.DataFrame(budget.as_dicts()).assign(analysis=title, n_chips=budget.together.n_chips)


def _title(named: dict[str, Any], budget: Budget, several: bool) -> str:
    chip = SEPARATOR.join([named["chip"], *([named["network"]] if several else [])])
    state = " ".join(filter(None, ("calibrated" if named["calibrated"] else "", named.get("ladder", ""))))
    levels = {row.noise: row.level for row in budget.rows}
    noises = " + ".join(f"{name} {_level(name, level)}" for name, level in levels.items())
    return f"{', '.join(filter(None, (chip, state)))}: {', '.join(filter(None, (noises, named.get('options', ''))))}"


def _figure(name: str, title: str, rows: pd.DataFrame) -> Figure:
    labels = [_label(row) for row in rows.to_dict("records")]
    drawn = pd.concat(
        pd.DataFrame(
            {
                "label": labels,
                "measure": words,
                "points": 100 * rows[measure].astype(float).to_numpy(),
                "low": 100 * rows[f"{measure}_low"].astype(float).to_numpy(),
                "high": 100 * rows[f"{measure}_high"].astype(float).to_numpy(),
            }
        )
        for measure, words in MEASURES.items()
    ).dropna(subset=["points"])
    words = list(MEASURES.values())
    y = alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=260))
    offset = alt.YOffset("measure:N", sort=words)
    x = alt.X("points:Q", title="accuracy (points; lost by this alone, won where it is left out)")
    colour = alt.Color(
        "measure:N",
        scale=alt.Scale(domain=words, range=list(COLOURS.values())),
        legend=alt.Legend(title=None, orient="top"),
    )
    tooltip = [
        alt.Tooltip("label:N", title="noise, layer"),
        alt.Tooltip("measure:N"),
        alt.Tooltip("points:Q", format=".2f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
    ]
    base = chart_of(drawn)
    bars = base.mark_bar(opacity=0.75).encode(y=y, yOffset=offset, x=x, color=colour, tooltip=tooltip)
    whiskers = base.mark_rule(color="#222222").encode(y=y, yOffset=offset, x=alt.X("low:Q"), x2="high:Q")
    chips = int(rows["n_chips"].iloc[0])
    weak = rows[rows["weakest"].fillna(False).astype(bool)]
    parts = [
        f"{row['noise']} costs most in {row['layer']}, {100 * row['alone']:.2f} points alone"
        + ("" if row["clear"] else " (not clearly apart from the next)")
        for row in weak.to_dict("records")
    ]
    whole = rows[rows["noise"] == ALL_NOISES]["alone"]
    together = f"All noises together cost {100 * float(whole.iloc[0]):.2f} points"
    subtitle = f"{chips:,} virtual chips, 95 % intervals over chips and samples"
    return figure(
        name,
        title,
        subtitle,
        alt.layer(bars, whiskers),
        "; ".join([together, *parts]) + ".",
        height=ROW_HEIGHT * len(labels),
    )


def _label(row: dict[Any, Any]) -> str:
    if row["noise"] in (ALL_NOISES, INTERACTION):
        return str(row["noise"])
    return f"{_noise(row)}, {row['layer']}"


def _noise(row: dict[Any, Any]) -> str:
    return str(row["noise"]) if pd.isna(row["level"]) else f"{row['noise']} {_level(row['noise'], row['level'])}"


def _level(noise: str, level: float | None) -> str:
    quantity = quantity_of(noise)
    return f"{quantity.factor * (level or 0.0):.4g}{quantity.short}"


def _interval(row: dict[Any, Any], measure: str) -> str:
    """Points with their interval; absent where the measure is."""
    if row[measure] is None or pd.isna(row[measure]):
        return ABSENT
    value, low, high = (100 * float(row[name]) for name in (measure, f"{measure}_low", f"{measure}_high"))
    return f"{value:z.2f} ({low:z.2f} to {high:z.2f})"
