"""ReportData from the files of a run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.export.dynapse2_folder import is_dynapse2
from neurodeploy.export.xylo_folder import is_xylo
from neurodeploy.ir.artifact import is_artifact, load_artifact
from neurodeploy.report.data import CELL, SEPARATOR, WITH, ReportData
from neurodeploy.report.imported import imported_runs
from neurodeploy.report.sensitivity import sensitivity_table
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.sweep.store import open_existing
from neurodeploy.sweep.tables import distinct

SUMMARY = "summary.json"


def collect(folder: Path) -> ReportData:
    """What a folder holds: model.pt, summary.json, studies (*.sqlite), proofs (proof-*.json), artifacts, runs.

    Raises:
        UsageError: where there is nothing to report; FileFormatError naming a damaged file.
    """
    models = [load_model(path) for path in sorted(folder.glob("*.pt"))]
    studies = sorted(folder.glob("*.sqlite"))
    proofs = [_read_json(path) for path in sorted(folder.glob("proof-*.json"))]
    imported = imported_runs(folder) if folder.is_dir() else []
    if not models and not studies and not proofs and not imported:
        raise UsageError(
            f"{folder}: no *.pt, *.sqlite or proof-*.json there, and no imported run; name the folder of a run"
        )
    if len(models) > 1 or len(studies) > 1:
        raise UsageError(f"{folder}: {len(models)} models and {len(studies)} studies; keep one of each per folder")
    chips, curves, calibration = _study(studies[0]) if studies else (pd.DataFrame(),) * 3
    sensitivity = pd.DataFrame()
    for study in studies:
        with open_existing(study) as store:
            sensitivity = sensitivity_table(store)
    model = models[0] if models else None
    summary = _read_json(folder / SUMMARY) if (folder / SUMMARY).is_file() else _summary(model)
    data = summary.get("data")
    name = data.get("name", folder.name) if isinstance(data, dict) else folder.name
    return ReportData(
        title=f"{name}: from {summary.get('imported_from', 'PyTorch')} to virtual chips",
        summary=summary,
        training=pd.DataFrame(model.history) if model else pd.DataFrame(),
        curves=curves,
        chips=chips,
        proofs=proofs,
        rounding=_rounding(folder),
        calibration=calibration,
        sensitivity=sensitivity,
        imported=imported,
    )


def recovered(chips: pd.DataFrame, chip: str, noise: str, level: float) -> float:
    """Share of the accuracy lost since level 0 of the curve that calibration brought back, over the chips that were
    measured all three ways: at level 0, at this level, and calibrated; NaN where there are none, or nothing was lost.

    Level 0 is not calibrated, and has the noise that is there at every level of the curve.
    """
    if chips.empty:
        return float("nan")
    rows = chips[(chips["chip"] == chip) & (chips["noise"] == noise)].set_index("chip_id")
    plain = rows[~rows["calibrated"]]
    states = (
        plain[plain["level"] == 0],
        plain[plain["level"] == level],
        rows[rows["calibrated"] & (rows["level"] == level)],
    )
    means = pd.concat([state["accuracy"] for state in states], axis=1, join="inner").mean()
    ideal, before, after = (float(mean) for mean in means)
    return (after - before) / (ideal - before) if ideal > before else float("nan")


def _study(path: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(chips, curves, calibration) of a study."""
    with open_existing(path) as store:
        tables = (store.chips(), store.curves(), store.calibration_rows())
    ladders = sorted({ladder for table in tables if not table.empty for ladder in table["ladder"] if ladder})
    chips, curves, rows = (_named(table, ladders) for table in tables)
    if not curves.empty and curves.duplicated(CELL).any():
        raise UsageError(f"{path}: several results for one network, chip, noise and level; name another study file")
    if rows.empty:
        return chips, curves, rows
    keys = ["chip", "noise", "level"]
    calibration = rows.groupby(keys, as_index=False).agg(
        chip_runs=("chip_runs", "mean"),
        samples=("samples", "mean"),
        selection_before=("selection_before", "mean"),
        selection_after=("selection_after", "mean"),
        kept=("kept", "sum"),
        left_out=("left_out", distinct),
    )
    calibration["recovered"] = [recovered(chips, *key) for key in calibration[keys].itertuples(index=False)]
    return chips, curves, calibration


def _named(table: pd.DataFrame, ladders: list[str]) -> pd.DataFrame:
    """A study's table in a report's words: several networks, calibrations and noises become curves of their own.

    A chip is called "loihi2 · network" where the study has several networks, "loihi2 · level 3" where it has several
    calibrations (each beside the chips without), and a noise "mismatch with thermal=0.1".
    """
    if table.empty:
        return table
    if len(ladders) > 1:
        named = [(table[table["ladder"].isin(("", ladder))], f"{SEPARATOR}level {ladder}") for ladder in ladders]
        table = pd.concat([part.assign(chip=part["chip"] + name) for part, name in named], ignore_index=True)
    several = table["network"].nunique() > 1
    chip = table["chip"] + SEPARATOR + table["network"] if several else table["chip"]
    noise = table["noise"].where(table["fixed"] == "", table["noise"] + WITH + table["fixed"])
    return table.assign(chip=chip, noise=noise).drop(columns=["network", "fixed", "ladder"])


def _rounding(folder: Path) -> pd.DataFrame:
    """What quantisation did, from the artifact for the chip with the fewest weight bits (the fixed-point one)."""
    places = [path for path in sorted(folder.iterdir()) if path.is_dir() and is_artifact(path)]
    artifacts = [load_artifact(path) for path in places if not (is_xylo(path) or is_dynapse2(path))]
    fixed = [artifact for artifact in artifacts if artifact.program.fixed_point]
    return pd.DataFrame(fixed[0].facts.get("rounding", [])).fillna(np.nan) if fixed else pd.DataFrame()


def _summary(model: Model | None) -> dict[str, Any]:
    if model is None:
        return {}
    metrics = model.metrics
    counts = {name: metrics.get(f"{name}_images") for name in ("train", "validation", "test")}
    known = (
        {"imported_from": str(metrics["imported_from"])} if "imported_from" in metrics else {"seed": model.config.seed}
    )
    return known | {
        "test_accuracy": metrics.get("test_accuracy"),
        "validation_accuracy": metrics.get("validation_accuracy"),
        "data": {"name": model.config.data.name, **counts},
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error})") from error
    if not isinstance(value, dict):
        raise FileFormatError(f"{path}: an object is expected")
    return value
