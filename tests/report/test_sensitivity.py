"""Charts and table of a sensitivity analysis."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.report import sensitivity as module
from neurodeploy.report.data import ReportData
from neurodeploy.report.page import write_report
from neurodeploy.report.sensitivity import budget_table, sensitivity_figures, write_sensitivity
from neurodeploy.sweep.sensitivity import ALL_LAYERS, Budget, Row
from neurodeploy.sweep.statistics import Difference


def difference(mean: float) -> Difference:
    return Difference(20, mean, mean - 0.01, mean + 0.01)


def budget() -> Budget:
    """Mismatch of 20 % loses 3 points, 2 of them in lif1, and 5 K lose 1; together 4.5."""
    rows = [
        Row("mismatch", 0.2, ALL_LAYERS, difference(0.03), difference(0.035), 0.03 / 0.045),
        Row("mismatch", 0.2, "lif1", difference(0.02), difference(0.021), 0.02 / 0.045, True, False),
        Row("mismatch", 0.2, "lif<2>", difference(0.005), difference(-0.001), 0.005 / 0.045),
        Row("temperature", 5.0, ALL_LAYERS, difference(0.01), difference(0.015), 0.01 / 0.045),
    ]
    return Budget(rows, difference(0.045), difference(0.005))


class Held:
    """Stands for a store whose study holds the analysis, of two chips."""


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Any:
    named = {"network": "model", "calibrated": False}
    told = [(named | {"chip": chip}, budget()) for chip in ("loihi2", "mixed-signal")]
    monkeypatch.setattr(module, "stored_budgets", lambda store: told)
    return Held()


@pytest.fixture
def data(report_data: ReportData, held: Any) -> ReportData:
    return replace(report_data, sensitivity=module.sensitivity_table(held))


def test_a_chart_per_analysis_draws_points_with_their_intervals(data: ReportData) -> None:
    figures = sensitivity_figures(data)
    assert [figure.title for figure in figures] == [
        f"{chip}: mismatch 20\u00a0% + temperature 5\u00a0K" for chip in ("loihi2", "mixed-signal")
    ]
    spec = figures[0].spec
    (rows,) = [part["data"]["values"] for part in (spec, *spec["layer"]) if "data" in part][:1]
    drawn = {(row["label"], row["measure"]): (row["points"], row["low"], row["high"]) for row in rows}
    assert len(drawn) == 2 * 4 + 2  # alone and left out of four; all noises and the interaction alone
    assert drawn["mismatch 20\u00a0%, lif1", "this alone"] == pytest.approx((2.0, 1.0, 3.0))
    assert drawn["mismatch 20\u00a0%, lif<2>", "this left out"] == pytest.approx((-0.1, -1.1, 0.9))
    assert drawn["temperature 5\u00a0K, all layers", "this left out"] == pytest.approx((1.5, 0.5, 2.5))
    assert drawn["all noises", "this alone"] == pytest.approx((4.5, 3.5, 5.5))
    assert drawn["interaction", "this alone"] == pytest.approx((0.5, -0.5, 1.5))
    assert figures[0].description == (
        "All noises together cost 4.50 points; mismatch costs most in lif1, 2.00 points alone (not clearly apart from "
        "the next)."
    )


def test_analyses_are_told_apart_by_their_options(monkeypatch: pytest.MonkeyPatch, report_data: ReportData) -> None:
    named = {"network": "model", "chip": "loihi2", "calibrated": False}
    told = [(named | {"options": options}, budget()) for options in ("", "decay_as=tau", "")]
    monkeypatch.setattr(module, "stored_budgets", lambda store: told)
    table = module.sensitivity_table(Held())  # type: ignore[arg-type]
    title = "loihi2: mismatch 20\u00a0% + temperature 5\u00a0K"
    figures = sensitivity_figures(replace(report_data, sensitivity=table))
    assert [figure.title for figure in figures] == [title, f"{title}, decay_as=tau", f"{title} (2)"]


def test_the_budget_as_a_table(data: ReportData) -> None:
    rows = budget_table(data).rows
    assert len(rows) == 2 * 6
    assert rows[1][1:] == (
        "mismatch 20\u00a0%",
        "lif1",
        "2.00 (1.00 to 3.00)",
        "2.10 (1.10 to 3.10)",
        "44.4 %",
        "weakest, not clearly",
    )
    assert rows[5][1:] == ("interaction", "all layers", "0.50 (-0.50 to 1.50)", "–", "11.1 %", "")


def test_the_page_holds_charts_and_budget_or_no_word_of_them(data: ReportData, tmp_path: Path) -> None:
    page = write_report(data, tmp_path / "with").read_text("utf-8")
    assert "Which layer, which noise" in page
    assert "lif&lt;2&gt;" in page
    assert "lif<2>" not in page
    assert (tmp_path / "with" / "figures" / "sensitivity-2.svg").is_file()
    without = replace(data, sensitivity=pd.DataFrame())
    assert "Which layer, which noise" not in write_report(without, tmp_path / "without").read_text("utf-8")


def test_charts_of_all_analyses_in_one_file(held: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "sensitivity.svg"
    assert write_sensitivity(held, path) == 2
    text = "".join(ET.fromstring(path.read_text("utf-8")).itertext())
    assert text.count("loihi2: mismatch") == text.count("mixed-signal: mismatch") == 1
    assert write_sensitivity(held, tmp_path / "sensitivity.png") == 2
    assert (tmp_path / "sensitivity.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["new", "sensitivity.png"]


def test_other_endings_and_places_that_cannot_be_written_are_named(held: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"sensitivity\.pdf: \.svg or \.png"):
        write_sensitivity(held, tmp_path / "sensitivity.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--chart .*file/sensitivity\.svg"):
        write_sensitivity(held, tmp_path / "file" / "sensitivity.svg")
