"""Chart definitions: what is drawn, what is said, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neurodeploy.report import charts
from neurodeploy.report.data import ReportData
from neurodeploy.report.drawing import in_words, spread


def axis_titles(spec: Any) -> set[str]:
    """Every axis title anywhere in a specification."""
    if isinstance(spec, list):
        return set().union(*map(axis_titles, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec[axis]["title"] for axis in ("x", "y") if isinstance(spec.get(axis), dict) and spec[axis].get("title")}
    return own.union(*map(axis_titles, spec.values()))


def rows_with(spec: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The rows of the chart's data that have this key."""
    parts = [part for part in (spec, *spec["layer"]) if "data" in part]
    return [row for part in parts for row in part["data"]["values"] if key in row]


def test_accuracy_panels_name_their_axes_with_units(report_data: ReportData) -> None:
    figures = charts.accuracy_figures(report_data)
    assert [figure.name for figure in figures] == [
        "accuracy-loihi2-mismatch",
        "accuracy-mixed-signal-mismatch",
        "accuracy-mixed-signal-thermal",
    ]
    nominal = "mismatch of thresholds and decays (standard deviation, % of nominal)"
    thermal = "thermal noise on the input of every step (standard deviation, % of threshold)"
    assert [axis_titles(figure.spec) for figure in figures] == [
        {"test accuracy (%)", nominal},
        {"test accuracy (%)", nominal},
        {"test accuracy (%)", thermal},
    ]


def test_accuracy_panel_draws_the_given_values_in_percent(report_data: ReportData) -> None:
    figure = charts.accuracy_figures(report_data)[0]
    given = report_data.curves[report_data.curves["chip"] == "loihi2"]
    drawn = {(row["level"], row["state"]): row for row in rows_with(figure.spec, "ci_low")}
    assert len(drawn) == len(given)
    for row in given.to_dict("records"):
        point = drawn[round(100 * row["level"], 6), "calibrated" if row["calibrated"] else "not calibrated"]
        assert point["accuracy_mean"] == pytest.approx(100 * row["accuracy_mean"], abs=1e-4)
        assert point["accuracy_p05"] == pytest.approx(100 * row["accuracy_p05"], abs=1e-4)
        assert point["ci_low"] == pytest.approx(100 * row["ci_low"], abs=1e-4)
    assert len(rows_with(figure.spec, "chip_id")) == (report_data.chips["chip"] == "loihi2").sum()
    assert "no noise: 97.1 %" in {row["text"] for row in rows_with(figure.spec, "text")}


def test_digital_chip_is_called_a_what_if(report_data: ReportData) -> None:
    notes = [figure.note for figure in charts.accuracy_figures(report_data)]
    assert notes == ["A what-if: loihi2 is digital and has no such noise.", "", ""]


def test_subtitle_says_which_levels_rest_on_what(report_data: ReportData) -> None:
    labels = report_data.curves["level"].map(lambda level: "statistical-sim" if level else "bit-exact-sim")
    figure = charts.accuracy_figures(replace(report_data, curves=report_data.curves.assign(evidence=labels)))[0]
    expected = "12 virtual chips × 397 samples · bit-exact-sim at 0\u00a0%, statistical-sim at 5 to 30\u00a0%"
    assert figure.spec["title"]["subtitle"] == expected


def test_dots_are_capped_and_the_caption_says_so(report_data: ReportData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "DOTS_PER_POINT", 5)
    figure = charts.accuracy_figures(report_data)[1]
    dots = rows_with(figure.spec, "chip_id")
    assert {row["chip_id"] for row in dots} == set(range(5))
    assert figure.note == "Dots: the first 5 chips of every point."


def test_one_level_without_chips_is_drawn(report_data: ReportData) -> None:
    curves = report_data.curves[report_data.curves["level"] == 0.1]
    figure = charts.accuracy_figures(replace(report_data, curves=curves, chips=pd.DataFrame()))[0]
    assert {layer["mark"]["type"] for layer in figure.spec["layer"]} == {"rule", "line", "text"}


def test_point_without_accuracy_is_not_drawn(report_data: ReportData) -> None:
    curves = report_data.curves.assign(accuracy_mean=float("nan"))
    assert charts.accuracy_figures(replace(report_data, curves=curves)) == []


def test_training_charts_name_their_axes(report_data: ReportData) -> None:
    figures = charts.training_figures(report_data.training)
    assert {figure.name: axis_titles(figure.spec) for figure in figures} == {
        "training-loss": {"epoch", "loss (no unit)"},
        "training-accuracy": {"epoch", "validation accuracy (%)"},
        "potential-loss": {"epoch", "potential loss (no unit)"},
    }


def test_infinite_loss_is_left_out(report_data: ReportData) -> None:
    training = report_data.training.assign(train_loss=np.inf)
    (loss, *_) = charts.training_figures(training)
    assert {row["state"] for row in rows_with(loss.spec, "y")} == {"validation"}
    json.dumps(loss.spec, allow_nan=False)


@pytest.mark.parametrize("layer", ["y", "epoch", "state", "a.b[0]"])
def test_layers_may_have_any_name(report_data: ReportData, layer: str) -> None:
    training = report_data.training[["epoch"]].assign(**{f"gamma.{layer}": 1.5})
    (figure,) = charts.gamma_figures(training)
    assert {row["state"] for row in rows_with(figure.spec, "epoch")} == {layer}


def test_no_gamma_no_chart(report_data: ReportData) -> None:
    unknown = report_data.training[["epoch"]].assign(**{"gamma.conv1": float("nan")})
    assert charts.gamma_figures(report_data.training[["epoch"]]) == []
    assert charts.gamma_figures(unknown) == []


def test_rates_come_from_proofs_then_from_training(report_data: ReportData) -> None:
    (proved,) = charts.rate_figures(report_data)
    assert rows_with(proved.spec, "rate")[0] == {"layer": "conv1", "chip": "loihi2", "rate": 18.3}
    assert axis_titles(proved.spec) == {"layer", "firing rate (% of neurons firing per step)"}
    (trained,) = charts.rate_figures(replace(report_data, proofs=()))
    assert rows_with(trained.spec, "rate")[0] == {"layer": "conv1", "chip": "training", "rate": 20.0}
    assert charts.rate_figures(replace(report_data, proofs=(), training=pd.DataFrame())) == []


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    assert spread([1.0, 5.0], 1.0) == [1.0, 5.0]
    assert spread([2.0, 2.0], 1.0) == [1.5, 2.5]
    placed = spread([0.0, 0.1, 9.0, 0.2], 1.0)
    ordered = [placed[index] for index in (0, 1, 3, 2)]
    assert all(right - left >= 1 - 1e-9 for left, right in pairwise(ordered))
    assert placed[2] == 9.0
    assert spread([], 1.0) == []


def test_many_layers_are_summed_up_in_words() -> None:
    few = [("conv1", 12.34), ("fc1", 5.0)]
    assert in_words(few, ".1f", " %") == "conv1 12.3 %, fc1 5.0 %"
    many = [(f"layer{index}", float(index)) for index in range(20)]
    assert in_words(many, ".1f", " %") == "from 0.0 % (layer0) to 19.0 % (layer19)"
