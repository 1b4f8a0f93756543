"""Questions to `sweep` as typed: designs, networks side by side, reverse question, sensitivity, export, bad options."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--chip", "loihi2", "--chips", "4", "--samples", "30")


def parsed(outcome: Any) -> Any:
    assert outcome.code == 0, outcome
    return json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_networks_side_by_side_with_other_fixed_noise_make_one_report(
    run: Any, model_file: Path, tmp_path: Path
) -> None:
    models = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for path in models:
        shutil.copy(model_file, path)
    words = (*models, *SMALL, "--noise", "mismatch=0,0.3", "-o", tmp_path / "runs" / "study.sqlite")
    rows = parsed(run("sweep", *words, "--json", "--floor", "0.5"))
    assert [(row["network"], row["level"], row["n_chips"]) for row in rows] == [
        ("a", 0.0, 4), ("a", 0.3, 4), ("b", 0.0, 4), ("b", 0.3, 4)
    ]  # fmt: skip
    assert all(row["yield_low"] <= row["yield"] <= row["yield_high"] for row in rows)
    differences = parsed(run("sweep", *words, "--show", "differences", "--json"))
    assert [(row["first"], row["second"], row["difference"]) for row in differences] == [("a", "b", 0.0)] * 2
    fixed = parsed(run("sweep", *words, "--with", "thermal=0.2", "--json"))
    assert {row["fixed"] for row in fixed} == {"", "thermal=0.2"}
    assert len(parsed(run("sweep", *words, "--show", "summary", "--json"))) == 4
    outcome = run("report", tmp_path / "runs")
    assert outcome.code == 0, outcome
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "loihi2 · b" in page
    assert "with thermal=0.2" in page


@pytest.mark.parametrize("floor", ["95", "nan", "0"])
def test_a_floor_that_is_no_fraction_is_refused_before_anything_is_measured(
    run: Any, model_file: Path, tmp_path: Path, floor: str
) -> None:
    outcome = run("sweep", model_file, *SMALL, "-o", tmp_path / "new" / "study.sqlite", "--floor", floor)
    assert outcome.code == 2, outcome
    assert f"--floor {floor}: a fraction above 0 and at most 1 is expected" in outcome.err
    assert not (tmp_path / "new").exists()


def test_designs_and_export(run: Any, model_file: Path, tmp_path: Path) -> None:
    noise = ("--noise", "mismatch=0,0.3", "--noise", "thermal=0,0.2")
    words = (model_file, *SMALL, *noise, "-o", tmp_path / "study.sqlite", "--export", tmp_path / "all.csv")
    rows = parsed(run("sweep", *words, "--design", "sobol", "--points", "4", "--json"))
    assert len(rows) == len({(row["mismatch"], row["thermal"]) for row in rows}) == 4
    assert len(parsed(run("sweep", *words, "--design", "grid", "--json"))) == 4
    with (tmp_path / "all.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 8 * 4
    assert {row["mismatch"] for row in table} >= {"0.0", "0.3"}


def test_the_reverse_question_and_sensitivity(run: Any, model_file: Path, tmp_path: Path) -> None:
    words = (model_file, *SMALL, "-o", tmp_path / "study.sqlite", "--json")
    (row,) = parsed(run("sweep", *words, "--solve-for", "mismatch", "--yield", "0.7", "--floor", "0.6"))
    assert (row["chip"], row["noise"], row["n_chips"]) == ("loihi2", "mismatch", 4)
    assert row["level"] > 0
    assert row["yield"] >= 0.7
    rows = parsed(run("sweep", *words, "--sensitivity", "--noise", "mismatch=0.3", "--noise", "thermal=0.2"))
    assert {(row["noise"], row["layer"]) for row in rows} >= {("mismatch", "all layers"), ("interaction", "all layers")}
    outcome = run("sweep", *words[:-1], "--until", "±1", "--noise", "mismatch=0.3")
    assert outcome.code == 0
    assert "the test samples alone leave" in outcome.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--solve-for mismatch", "needs --floor"),
        ("--solve-for mismach --floor 0.9", "unknown noise 'mismach': did you mean mismatch"),
        ("--solve-for mismatch --floor 0.9 --until 1", "--solve-for and --until: one question at a time"),
        ("--sensitivity --noise mismatch=0,0.1", "one level is expected"),
        ("--sensitivity --noise mismatch=0.2 --with mismatch=0.1", "--with mismatch: is given by --noise already"),
        ("--sensitivity --noise buechel-10 --with thermal=0.1", "beside which thermal=0.1 would be lost"),
        ("--solve-for mismatch --floor 0.9 --with mismatch=0.1", "--with mismatch: is an axis of this sweep already"),
        ("--solve-for mismatch --floor 0.9 --noise mismatch", "--noise mismatch: --solve-for says which noise"),
        ("--with mismatch=0.1", "--with mismatch: is an axis of this sweep already"),
        ("--until 0", "--until 0: points of accuracy"),
        ("--until 1 --chips 30 --most-chips 20", "--most-chips 20"),
        ("--interval tow-level", "unknown interval 'tow-level': did you mean two-level"),
        ("--show curve", "unknown table 'curve': did you mean curves"),
        ("--design gird", "unknown design 'gird': did you mean grid"),
        ("--export table.xls", ".csv or .parquet is expected"),
        ("--with layers=lif9", "unknown layer 'lif9': did you mean lif"),
        ("--with presure=1", "unknown noise 'presure'"),
        ("--jobs 0", "--jobs 0"),
        ("--yield 0.9 --floor 0.9", "--yield: of --solve-for, which is not given"),
        ("--most-chips 9", "--most-chips: of --until, which is not given"),
        ("--design grid --design-seed 3", "--design-seed: of --points, which is not given"),
        ("--cpus-per-task 3", "--cpus-per-task: of --ray, which is not given"),
        ("--sensitivity --interval chips --floor 0.9", "--interval and --floor: would change nothing of what --sens"),
        ("--show differences --floor 0.9", "--floor: would change nothing of what --show differences prints"),
        ("--show summary --floor 0.9", "--floor: would change nothing of what --show summary prints"),
        (
            "--show summary --interval chips --floor 0.9",
            "--interval and --floor: would change nothing of what --show s",
        ),
        (
            "--show summary --floor 0.9 --interval chips --until 1",
            "error: --floor: would change nothing of what --show",
        ),
        ("--solve-for mismatch --floor 0.9 --show points", "--show: would change nothing of what --solve-for prints"),
        ("--jobs 2 --ray auto", "give one of the two"),
        ("--chip ideal --calibrated 4", "chip ideal has no knob"),
    ],
)
def test_wrong_questions_are_one_line_and_leave_no_file(
    run: Any, model_file: Path, tmp_path: Path, words: str, said: str
) -> None:
    outcome = run("sweep", model_file, "-o", tmp_path / "study.sqlite", *words.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["--show differences --interval chips", "--show points --interval chips --floor 0.9"])
def test_what_has_a_say_in_a_table_is_taken(run: Any, model_file: Path, tmp_path: Path, words: str) -> None:
    few = ("--chip", "mixed-signal", "--chips", 2, "--samples", 5, "--noise", "mismatch=0.1")
    assert run("sweep", model_file, *few, "-o", tmp_path / "study.sqlite", *words.split()).code == 0


def test_a_calibration_without_a_knob_leaves_no_file(run: Any, model_file: Path, tmp_path: Path) -> None:
    outcome = run("calibrate", model_file, "--chip", "ideal", "-o", tmp_path / "study.sqlite")
    assert (outcome.code, list(tmp_path.iterdir())) == (2, [])
