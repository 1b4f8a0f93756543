"""ReportData: everything that a report shows, as plain values and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from neurodeploy.errors import UsageError

CELL = ["chip", "noise", "level", "calibrated"]
"""The columns that name one point of a curve."""

SEPARATOR = " · "
"""Between a chip and a network, where a study has several networks."""

WITH = " with "
"""Between the noise of a curve and what is there at every level."""

GAMMA_PREFIX = "gamma."
RATE_PREFIX = "rate."

COLUMNS = {
    "training": ("epoch", "train_loss", "validation_accuracy", "validation_loss"),
    "curves": (
        *CELL,
        "n_chips",
        "n_samples",
        "accuracy_mean",
        "accuracy_p05",
        "accuracy_min",
        "accuracy_sd",
        "ci_low",
        "ci_high",
        "evidence",
    ),
    "chips": (*CELL, "chip_id", "accuracy"),
    "rounding": (
        "layer",
        "threshold",
        "threshold_error_percent",
        "decay",
        "decay_stored",
        "decay_error_percent",
        "weight_error_rms_percent",
        "weights_clipped_percent",
        "weights_zero_percent",
    ),
    "sensitivity": (
        *("analysis", "n_chips", "noise", "level", "layer", "share", "weakest", "clear"),
        *("alone", "alone_low", "alone_high", "spared", "spared_low", "spared_high"),
    ),
    "calibration": (
        "chip",
        "noise",
        "level",
        "recovered",
        "chip_runs",
        "samples",
        "selection_before",
        "selection_after",
        "kept",
    ),
}
"""Table -> the columns that it has unless it is empty."""

FRACTIONS = {
    "training": ("validation_accuracy",),
    "curves": ("accuracy_mean", "accuracy_p05", "accuracy_min"),
    "chips": ("accuracy",),
    "calibration": ("selection_before", "selection_after"),
}

PROOF_KEYS = ("backend", "chip", "samples", "layers", "mismatched_spikes", "mismatched_voltages", "spikes_compared")


@dataclass(frozen=True, eq=False)
class ReportData:
    """What a report shows. Accuracies, rates and noise levels are fractions; a table may be empty.

    Attributes:
        summary: the run's summary: `test_accuracy`, `validation_accuracy`, `quantized_accuracy` (one number, or chip ->
            number; `quantized_accuracy_by_chip` goes before it), `data`, `seed`, `seconds`, `environment`, `command`;
            what is absent is left out of the page.
        training: one row per epoch; may hold `potential_loss`, and per spiking layer `gamma.<layer>`, `rate.<layer>`.
        curves: one row per point (chip, noise, level, calibrated); `ci_low` to `ci_high` is the 95 % interval of the
            mean, over chips and test samples.
        chips: one row per virtual chip and point.
        proofs: one mapping per backend and chip: the keys of a comparison, with `backend`, `version` and `chip`.
        rounding: what quantisation did to each layer.
        calibration: one row per (chip, noise, level); `recovered` is the share of the accuracy lost since level 0 of
            the curve that came back, NaN where nothing was lost.
        sensitivity: one row per analysis, noise and layer, as `report.sensitivity.sensitivity_table` makes them.
        imported: descriptions of runs that came back from elsewhere (`neurodeploy.recorded_run.read_description`).
    """

    title: str
    summary: Mapping[str, Any]
    training: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    chips: pd.DataFrame = field(default_factory=pd.DataFrame)
    proofs: Sequence[Mapping[str, Any]] = ()
    rounding: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    imported: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        troubles = [trouble for name in COLUMNS for trouble in _troubles(name, getattr(self, name))]
        for number, proof in enumerate(self.proofs):
            missing = [key for key in PROOF_KEYS if key not in proof]
            if missing:
                troubles.append(f"proof {number} lacks {', '.join(missing)}")
        if troubles:
            raise UsageError("the report's data are not complete: " + "; ".join(troubles))


def quantized_accuracies(data: ReportData) -> dict[str, float]:
    """Chip -> accuracy of the quantised network without noise, as far as the run says; one number holds for all."""
    value = data.summary.get("quantized_accuracy_by_chip", data.summary.get("quantized_accuracy"))
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(chip): float(one) for chip, one in value.items() if one is not None}
    chips = [] if data.curves.empty else list(data.curves["chip"])
    return {str(chip): float(value) for chip in chips} or {"quantised": float(value)}


def _troubles(name: str, table: pd.DataFrame) -> list[str]:
    """What is wrong with a table, in words."""
    if table.empty:
        return []
    missing = [column for column in COLUMNS[name] if column not in table.columns]
    if missing:
        return [f"table {name} lacks the columns {', '.join(missing)}"]
    troubles = []
    for column in FRACTIONS.get(name, ()):
        values = table[column].dropna()
        if not values.between(0, 1).all():
            troubles.append(
                f"{name}.{column} holds {values.min():g} to {values.max():g}; a fraction from 0 to 1 is meant"
            )
    if name == "curves" and table.duplicated(CELL).any():
        troubles.append(f"table curves has several rows for one {CELL}; pool them first")
    return troubles
