"""The tables of docs/results-calibration.md (benchmarks/calibration_tables.py): the page says what was measured."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from benchmark_scripts import BENCHMARKS, script

DOCS = BENCHMARKS.parent / "docs"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return script("calibration_tables")


def _row(**given: Any) -> dict[str, Any]:
    row = {"data": "fashion-mnist", "part": "levels", "recipe": "plain", "chip": "mixed-signal", "noise": "mismatch"}
    row |= {"level": 0.3, "ladder": "1-6", "bits": None, "test_samples": 2000, "n_networks": 3}
    row |= {"accuracy_without": 0.9, "accuracy_before": 0.8, "accuracy_mean": 0.8951, "accuracy_p05": 0.8449}
    row |= {"recovered": 0.951, "recovered_ci": [0.9, 1.004], "recovered_together": 0.5}
    return row | {"recovered_together_ci": [0.4, 0.6]} | given


def test_the_page_says_what_was_measured(tables: ModuleType) -> None:
    page = (DOCS / "results-calibration.md").read_text(encoding="utf-8")
    assert page.count("<!-- table: ") == page.count("<!-- end -->") > 10
    assert tables.filled(page, tables.read_json(DOCS / "results" / "calibration.json")) == page


def test_a_cell(tables: ModuleType) -> None:
    assert tables.cell(_row()) == "89.5 (84.5): 95 % [90, 100]"
    assert tables.cell(_row(ladder="0")) == "89.5 (84.5)"
    assert tables.cell(_row(level=0.2)) == "89.5 (84.5)"
    assert tables.cell(_row(recovered_ci=None)) == "89.5 (84.5): 95 %"
    assert tables.cell(_row(recovered=-0.004, recovered_ci=[-0.011, -0.004])) == "89.5 (84.5): 0 % [-1, 0]"
    assert tables.cell(_row(data="n-mnist-1000/100")) == "89.5 (84.5): 50 % [40, 60]"
    assert tables.cell(_row(data="n-mnist-1000/100", recovered_together_ci=None)) == "89.5 (84.5): 95 % [90, 100]"


@pytest.mark.parametrize(("before", "shown"), [(0.8899, True), (0.8901, False)])
def test_no_share_of_less_than_a_point(tables: ModuleType, before: float, shown: bool) -> None:
    assert ("%" in tables.cell(_row(accuracy_before=before))) is shown


def test_a_column_is_of_the_same_networks(tables: ModuleType) -> None:
    events = {"data": "n-mnist-1000/100", "selection_samples": 550}
    rows = [_row(ladder=ladder, n_networks=networks, **events) for ladder in ("0", "1-6") for networks in (3, 5)]
    rows += [_row(ladder="4", n_networks=24, **events), _row(ladder="4", n_networks=5, accuracy_mean=0.5, **events)]
    assert tables.ladders(rows, "mixed-signal", "n-mnist-1000/100", "levels") == [
        "| ladder | 0.3 |",
        "|---|---|",
        "| no mismatch | 90.0 |",
        "| none | 89.5 (84.5) |",
        "| 1-6 | 89.5 (84.5): 50 % [40, 60] |",
        "| 4 | 50.0 (84.5): 50 % [40, 60] |",
        "| networks | 5 |",
    ]


def test_a_row_that_is_missing_or_twice_there(tables: ModuleType) -> None:
    assert tables.only([_row()], ladder="1-6") == _row()
    with pytest.raises(LookupError, match=r"0 rows of .*'ladder': '4'"):
        tables.only([_row()], ladder="4")
    with pytest.raises(LookupError, match="2 rows"):
        tables.only([_row(), _row()], ladder="1-6")


def test_a_table_of_no_known_kind(tables: ModuleType) -> None:
    with pytest.raises(KeyError, match="unknown"):
        tables.filled("<!-- table: unknown -->\n<!-- end -->", [])
    assert tables.filled("no table", []) == "no table"
