"""Populations of benchmarks/interval_coverage.py: their decisions have the accuracy that is taken for the truth."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_scripts import script

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    return script("interval_coverage")


def test_decisions_have_the_true_accuracy(coverage: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for case in coverage.CASES:
        for population in case.populations:
            drawn = [population.decisions(rng, 200, 500).mean() for _ in range(20)]
            error = np.std(drawn, ddof=1) / np.sqrt(len(drawn))
            assert abs(np.mean(drawn) - population.accuracy) < 4 * error, (case.name, population)


def test_a_row_counts_the_intervals_that_hold_the_truth(coverage: ModuleType) -> None:
    ends = np.array([[0.1, 0.5], [0.5, 0.9], [0.51, 0.9], [0.0, 0.49]])
    assert coverage._row(ends, 0.5) == {"held": 0.5, "mean_width": pytest.approx(0.42)}


def test_the_page_says_what_the_rows_say(coverage: ModuleType) -> None:
    rows = json.loads((ROOT / "docs/results/interval-coverage.json").read_text(encoding="utf-8"))["rows"]
    held: dict[str, list[float]] = {}
    for row in rows:
        kind = (
            "differences of 88" if row["case"].startswith(("differences of 88", "differences of 98")) else row["case"]
        )
        held.setdefault(kind, []).append(row["held"])
    page = (ROOT / "docs/sweeps.md").read_text(encoding="utf-8")
    table = page.partition("| case | held |")[2].partition("\n\n")[0]
    said = [tuple(map(int, found)) for found in re.findall(r"\| (\d+) to (\d+) %", table)]
    assert said == [(round(100 * min(one)), round(100 * max(one))) for one in held.values()]
