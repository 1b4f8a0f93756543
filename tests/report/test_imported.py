"""Imported runs in a report: what was compared, what was measured, and what nobody compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hardware_programs import artifact_of, chip_program, runner_wrote

from neurodeploy.errors import UsageError
from neurodeploy.hardware_run import import_run
from neurodeploy.recorded_run import save_run
from neurodeploy.report.collect import collect
from neurodeploy.report.data import ReportData
from neurodeploy.report.imported import imported_table
from neurodeploy.report.page import write_report
from neurodeploy.report.tables import evidence_table


def test_imported_runs_are_in_the_report(tmp_path: Path) -> None:
    artifact = artifact_of(chip_program())
    runner_wrote(tmp_path / "raw", artifact, "cpu")
    runner_wrote(tmp_path / "elsewhere" / "chip", artifact, "loihi2", only=("spikes:out",))
    save_run(tmp_path / "chip", replace(import_run(tmp_path / "elsewhere" / "chip", artifact).run, date="2020-01-01"))
    data = collect(tmp_path)
    table = imported_table(data.imported)
    assert len(table.rows) == 2
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert first == {
        "run": "network on loihi2",
        "backend": "loihi2",
        "evidence": "measured-silicon",
        "date": "2020-01-01",
        "first difference": "no difference",
        "measured": "total watt 0.5",
        "samples": "4",
        "spikes compared": "72",
        "spikes differ": "0",
        "voltages differ": "–",
        "decisions differ": "0",
    }
    assert second["first difference"] == "not compared: use import-run"
    assert second["spikes compared"] == "–"
    carried = {row[0]: row[2] for row in evidence_table(data).rows}
    assert carried["measured-silicon"] == "run network on loihi2"
    assert carried["bit-exact-sim"] == "run network on cpu"
    page = write_report(data, tmp_path).read_text()
    assert "Runs from elsewhere" in page
    assert "total watt 0.5" in page


def test_a_report_without_runs_has_no_such_table(tmp_path: Path, report_data: ReportData) -> None:
    assert "Runs from elsewhere" not in write_report(report_data, tmp_path).read_text()
    with pytest.raises(UsageError, match="and no imported run"):
        collect(tmp_path / "nowhere")


def test_forged_facts_do_no_harm(tmp_path: Path) -> None:
    runner_wrote(tmp_path / "raw", artifact_of(chip_program()), "cpu")
    path = tmp_path / "raw" / "run.json"
    described = json.loads(path.read_text())
    described["name"] = "<script>alert(1)</script>"
    described["facts"] = {"comparison": {"samples": "many"}, "probes": {"power": [1], "time": {"x": True, "y": None}}}
    path.write_text(json.dumps(described))
    data = collect(tmp_path)
    assert imported_table(data.imported).rows[0][4:6] == ("not compared: use import-run", "–")
    assert "<script>alert(1)" not in write_report(data, tmp_path).read_text()
