"""ReportData names everything that is wrong with its tables at once."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.report.data import ReportData, quantized_accuracies
from neurodeploy.report.tables import calibration_table, count_table, curve_table


def test_missing_columns_and_keys_are_named_together(report_data: ReportData) -> None:
    curves = report_data.curves.drop(columns=["ci_low", "evidence"])
    with pytest.raises(UsageError, match=r"curves lacks the columns ci_low, evidence; proof 0 lacks chip"):
        replace(report_data, curves=curves, proofs=[{k: v for k, v in report_data.proofs[0].items() if k != "chip"}])


def test_percent_in_place_of_fractions_is_refused(report_data: ReportData) -> None:
    chips = report_data.chips.assign(accuracy=97.5)
    with pytest.raises(UsageError, match=r"chips.accuracy holds 97.5 to 97.5; a fraction from 0 to 1 is meant"):
        replace(report_data, chips=chips)


def test_two_rows_for_one_point_are_refused(report_data: ReportData) -> None:
    with pytest.raises(UsageError, match="several rows for one"):
        replace(report_data, curves=pd.concat([report_data.curves, report_data.curves.head(1)]))


def test_quantized_accuracy_is_one_number_or_one_per_chip(report_data: ReportData) -> None:
    assert quantized_accuracies(report_data) == {"loihi2": 0.9712, "mixed-signal": 0.9823}
    assert quantized_accuracies(replace(report_data, summary={"quantized_accuracy": 0.9})) == {
        "loihi2": 0.9,
        "mixed-signal": 0.9,
    }
    assert quantized_accuracies(ReportData("", {"quantized_accuracy": 0.9})) == {"quantised": 0.9}
    assert quantized_accuracies(ReportData("", {})) == {}
    by_chip = {"loihi2": 0.9, "mixed-signal": 0.97}
    both = {"quantized_accuracy": 0.9, "quantized_accuracy_by_chip": by_chip}
    assert quantized_accuracies(replace(report_data, summary=both)) == by_chip


@pytest.mark.parametrize(
    ("noise", "level", "shown"),
    [
        ("temperature", 20.0, "20 K"),
        ("temperature with mismatch=0.1", 20.0, "20 K"),
        ("ktc", 1.0, "1 multiple of the physical noise"),
        ("thermal", 0.001, "0.1 %"),
        ("thermal", 0.0012, "0.12 %"),
        ("mismatch", 0.05, "5.0 %"),
        ("mismatch", 0.0, "0.0 %"),
        ("of a chip of one's own", 2.0, "2"),
    ],
)
def test_tables_show_levels_in_the_unit_of_their_noise(
    report_data: ReportData, noise: str, level: float, shown: str
) -> None:
    curves = report_data.curves.head(1).assign(noise=noise, level=level)
    calibration = report_data.calibration.head(1).assign(noise=noise, level=level)
    data = replace(report_data, curves=curves, calibration=calibration)
    assert (curve_table(data).rows[0][4], calibration_table(data).rows[0][2]) == (shown, shown)
    assert count_table(data).rows[0][2] == shown
