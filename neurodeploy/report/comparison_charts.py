"""Charts of a comparison: differences over steps, and the neuron at which two sides first differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from neurodeploy.compare.result import SideComparison, Trace
from neurodeploy.report.drawing import LABEL_HEIGHT, Figure, chart_of, colours, end_labels, figure, in_words

_THRESHOLD = "#888888"


def share_figure(result: SideComparison) -> Figure | None:
    """Share of differing spikes over steps, a line per layer that fires."""
    series = {
        layer.layer: [100 * count * result.steps / layer.compared for count in layer.differing_by_step]
        for layer in result.layers
        if layer.compared
    }
    title = "Differing spikes over steps"
    return _over_steps("differing-spikes", title, series, "share of the layer's neurons that differ (%)", " %")


def error_figures(result: SideComparison) -> list[Figure]:
    """Mean error of the potential over steps, a chart for each unit."""
    figures = []
    for in_lsb, unit in ((True, "LSB"), (False, "units of the network")):
        series = {
            layer.layer: [np.nan if value is None else value for value in layer.error.by_step]
            for layer in result.layers
            if layer.error is not None and (layer.error.lsb is not None) == in_lsb
        }
        name, title = "potential-error" if in_lsb else "potential-error-float", "Error of the potential over steps"
        drawn = _over_steps(name, title, series, f"mean without sign ({unit})", f" {unit}")
        if drawn is not None:
            figures.append(drawn)
    return figures


def neuron_figure(result: SideComparison, index: int) -> Figure | None:
    """Potentials of both sides at the neuron of a layer's first difference, with spikes and threshold.

    The figure is named after the layer's number: names become part of the page's markup, a layer's own must not.
    """
    layer = result.layers[index]
    place, explanation = layer.first, layer.explanation
    if place is None or explanation is None or explanation.trace is None:
        return None
    table = _trace_table(result, explanation.trace)
    if table.empty:
        return None
    names = list(dict.fromkeys(table["side"]))
    colour = alt.Color("side:N", scale=alt.Scale(domain=names, range=colours(len(names))), sort=names, title=None)
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, grid=False, format="d"), scale=alt.Scale(nice=False))
    y = alt.Y("potential:Q", title="potential (units of the network)", scale=alt.Scale(zero=False))
    tooltip = [alt.Tooltip("side:N"), alt.Tooltip("step:Q"), alt.Tooltip("potential:Q", format=".6g"), "spike:N"]
    base = chart_of(table)
    layers = [base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, tooltip=tooltip)]
    for fired in (True, False):
        shown = chart_of(table[table["spike"] == fired])
        style = {"filled": True} if fired else {"fill": "white"}
        layers.append(
            shown.mark_point(size=60, strokeWidth=2, opacity=1, **style).encode(x=x, y=y, color=colour, tooltip=tooltip)
        )
    if explanation.trace.threshold is not None:
        rule = chart_of(pd.DataFrame({"threshold": [explanation.trace.threshold]}))
        layers.append(rule.mark_rule(strokeDash=[5, 4], color=_THRESHOLD).encode(y="threshold:Q"))
    here = chart_of(pd.DataFrame({"step": [place.step]}))
    layers.append(here.mark_rule(color=_THRESHOLD, opacity=0.6).encode(x="step:Q"))
    where = ", ".join(map(str, place.neuron))
    title = f"{layer.layer}, neuron ({where}), sample {place.sample}"
    why = explanation.sentence
    description = (
        f"The neuron at which {result.first.name} and {result.second.name} first differ in {layer.layer}, at step "
        f"{place.step}. Filled: it fires. Dashed: the threshold. {why[:1].upper()}{why[1:]}."
    )
    return figure(f"neuron-{index + 1}", title, "", alt.layer(*layers), description)


def _trace_table(result: SideComparison, trace: Trace) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for side, potentials, spikes in (
        (result.first.name, trace.first_potential, trace.first_spikes),
        (result.second.name, trace.second_potential, trace.second_spikes),
    ):
        if potentials is None:
            continue
        label = f"{side} (second)" if any(side in part["side"].to_numpy() for part in parts) else side
        steps = np.arange(1, len(potentials) + 1)
        fired = np.zeros(len(potentials), dtype=bool) if spikes is None else np.array(spikes, dtype=bool)
        parts.append(pd.DataFrame({"side": label, "step": steps, "potential": potentials, "spike": fired}))
    return pd.concat(parts) if parts else pd.DataFrame(columns=["side", "step", "potential", "spike"])


def _over_steps(name: str, title: str, series: Mapping[str, Sequence[float]], y_title: str, unit: str) -> Figure | None:
    tables = [
        pd.DataFrame({"step": np.arange(1, len(values) + 1), "y": values, "state": one})
        for one, values in series.items()
    ]
    long = pd.concat(tables) if tables else pd.DataFrame(columns=["step", "y", "state"])
    long = long[np.isfinite(long["y"].astype(float))]
    if long.empty:
        return None
    high = float(long["y"].max())
    domain = [0.0, 1.06 * high or 1.0]
    names = list(series)
    colour = alt.Color("state:N", scale=alt.Scale(domain=names, range=colours(len(names))), legend=None, sort=names)
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, grid=False, format="d"), scale=alt.Scale(nice=False))
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(domain=domain, nice=False))
    tooltip = [alt.Tooltip("state:N", title="layer"), alt.Tooltip("step:Q"), alt.Tooltip("y:Q", format=".4~g")]
    height = max(220, LABEL_HEIGHT * (len(names) + 2))
    ends = long.groupby("state", sort=False).tail(1).assign(text=lambda rows: rows["state"])
    lines = chart_of(long).mark_line(strokeWidth=2, point={"size": 22}).encode(x=x, y=y, color=colour, tooltip=tooltip)
    layers = [lines, end_labels(ends, domain, height).encode(x=x, y=y, color=colour)]
    last = [(str(row["state"]), float(row["y"])) for row in ends.to_dict("records")]
    description = f"{title}, at step {int(long['step'].max())}: {in_words(last, '.3g', unit)}."
    return figure(name, title, "", alt.layer(*layers), description, height=height)
