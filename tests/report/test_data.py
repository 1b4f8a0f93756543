"""ReportData names everything that is wrong with its tables at once."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.report.data import ReportData, quantized_accuracies


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
