"""The figures and tables of a report as text."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neurodeploy.report.charts import STATES, count_range
from neurodeploy.report.data import WITH, ReportData, quantized_accuracies
from neurodeploy.report.quantities import quantity_of

ABSENT = "–"
EVIDENCE = {
    "measured-silicon": "measured on a chip.",
    "bit-exact-sim": "simulated bit for bit as the vendor's simulator computes; noise on top of it is a model.",
    "statistical-sim": "statistics of virtual chips drawn from a noise model, which stands for no measured chip.",
    "modelled": "simulated with a model of our own that was fitted to no particular chip.",
}


@dataclass(frozen=True)
class Tile:
    """A headline figure; `state` is "good", "bad" or ""."""

    value: str
    label: str
    detail: str = ""
    state: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text; the first `words` columns hold words, the others numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


def percent(fraction: Any, digits: int = 2) -> str:
    """A fraction as text, for example "97.12 %"."""
    return ABSENT if fraction is None or pd.isna(fraction) else f"{100 * float(fraction):z.{digits}f} %"


def number(value: Any, form: str = "") -> str:
    """A number as text; without a form it is a count, or the mean of counts."""
    if value is None or pd.isna(value):
        return ABSENT
    return format(value, form or (",.0f" if float(value).is_integer() else ",.1f"))


def tiles(data: ReportData) -> list[Tile]:
    """What most readers want to know first."""
    summary, found = data.summary, []
    counts = summary.get("data") or {}
    samples = f"{number(counts['test'])} test samples" if counts.get("test") is not None else "test set"
    if summary.get("test_accuracy") is not None:
        origin = f"network of {summary['imported_from']}" if "imported_from" in summary else "trained network"
        found.append(Tile(percent(summary["test_accuracy"]), "test accuracy", f"{origin}, {samples}"))
    for chip, accuracy in quantized_accuracies(data).items():
        found.append(Tile(percent(accuracy), f"quantised for {chip}", "test accuracy without noise"))
    for proof in data.proofs:
        differing = proof["mismatched_spikes"] + proof["mismatched_voltages"]
        compared = f"of {number(proof['spikes_compared'])} compared on {proof['chip']}"
        detail = f"{compared}; {number(proof['mismatched_voltages'])} voltages differ"
        label = f"spikes differ in {_backend(proof)}"
        found.append(Tile(number(proof["mismatched_spikes"]), label, detail, "bad" if differing else "good"))
    if not data.curves.empty:
        # One population may stand on several curves, as that of level 0 does.
        cells = data.curves.drop_duplicates("cell") if "cell" in data.curves else data.curves
        runs = f"{number(int(cells['n_chips'].sum()))} chip runs in {len(cells)} points"
        found.append(Tile(count_range(data.curves["n_chips"]), "virtual chips per point", runs))
    return found


def curve_table(data: ReportData) -> Table:
    """Every point of every curve."""
    columns = ("chip", "noise", "state", "evidence", "level", "chips", "samples", "mean", "95 % interval", "sd")
    rows = tuple(
        (
            str(row["chip"]),
            _noise(row["noise"]),
            STATES[bool(row["calibrated"])],
            str(row["evidence"]),
            _level(row["noise"], row["level"]),
            number(row["n_chips"]),
            number(row["n_samples"]),
            percent(row["accuracy_mean"]),
            f"{percent(row['ci_low'])} to {percent(row['ci_high'])}",
            percent(row["accuracy_sd"]),
            percent(row["accuracy_p05"]),
            percent(row["accuracy_min"]),
        )
        for row in _rows(data.curves)
    )
    caption = "Test accuracy over virtual chips; the interval of the mean is over chips and test samples"
    return Table(caption, (*columns, "5th percentile", "worst chip"), rows, 4)


def calibration_table(data: ReportData) -> Table:
    """What calibration brought back, and which levels were refused for want of a knob."""
    left_out = any(row.get("left_out") for row in _rows(data.calibration))
    rows = tuple(
        (
            str(row["chip"]),
            _noise(row["noise"]),
            _level(row["noise"], row["level"]),
            _recovered(data.curves, row),
            percent(row["selection_before"]),
            percent(row["selection_after"]),
            number(row["kept"]),
            number(row["chip_runs"]),
            number(row["samples"]),
            *([row["left_out"] or ABSENT] if left_out else []),
        )
        for row in _rows(data.calibration)
    )
    columns = ("chip", "noise", "level", "recovered", "right on selection before", "after", "chips that kept it")
    columns_behind = ("runs per chip", "samples per chip", *(["levels left out"] if left_out else []))
    caption = "Calibration: share of the test accuracy lost since level 0 of its curve that came back, and what it cost"
    return Table(caption, (*columns, *columns_behind), rows, 2)


def _recovered(curves: pd.DataFrame, row: Mapping[str, Any]) -> str:
    """The recovered share; where there is none, whether nothing was lost or the sweep lacks one of the two states.

    Level 0 has what is there at every level (" with …") and so may have lost accuracy to it; since itself it has lost
    nothing.
    """
    if not pd.isna(row["recovered"]):
        return percent(row["recovered"], 1)
    if curves.empty:
        return "not swept"
    curve = curves[(curves["chip"] == row["chip"]) & (curves["noise"] == row["noise"])]
    if curve.loc[curve["level"] == row["level"], "calibrated"].nunique() < len(STATES):
        return "not swept"
    if row["level"] == 0 and WITH in row["noise"]:
        return ABSENT
    return "nothing was lost" if ((curve["level"] == 0) & ~curve["calibrated"]).any() else "level 0 not swept"


def proof_table(data: ReportData) -> Table:
    """One row per backend."""
    rows = tuple(
        (
            _backend(proof),
            str(proof["chip"]),
            str(proof.get("first") or "no difference"),
            number(proof["samples"]),
            number(proof["spikes_compared"]),
            number(proof["mismatched_spikes"]),
            number(proof["mismatched_voltages"]),
        )
        for proof in data.proofs
    )
    columns = ("backend", "chip", "first difference", "samples", "spikes compared", "spikes differ", "voltages differ")
    return Table("The exported network in other simulators, against the reference", columns, rows, 3)


def layer_table(data: ReportData) -> Table:
    """One row per backend and layer."""
    rows = tuple(
        (
            _backend(proof),
            str(proof["chip"]),
            str(layer["layer"]),
            number(layer["compared"]),
            "does not fire" if layer["firing_rate"] is None else percent(layer["firing_rate"]),
            ABSENT if layer["firing_rate"] is None else number(layer["mismatched_spikes"]),
            number(layer["mismatched_voltages"]),
        )
        for proof in data.proofs
        for layer in proof["layers"]
    )
    columns = ("backend", "chip", "layer", "values compared", "firing rate", "spikes differ", "voltages differ")
    caption = (
        "Layer by layer; a value is one neuron at one step of one sample, the firing rate the share of them that spike"
    )
    return Table(caption, columns, rows, 3)


def variant_table(data: ReportData) -> Table:
    """Other ways of exporting, and what they would have cost."""
    rows = tuple(
        (
            _backend(proof),
            str(variant.get("title") or variant["name"]),
            number(variant["spikes_compared"]),
            number(variant["mismatched_spikes"]),
            number(variant["decisions_differing"]),
        )
        for proof in data.proofs
        for variant in proof.get("variants") or ()
    )
    columns = ("backend", "variant", "spikes compared", "spikes differ", "decisions differ")
    return Table("Variants of the export, against the same reference", columns, rows, 2)


def rounding_table(data: ReportData) -> Table:
    """What quantisation did to each layer."""
    rows = tuple(
        (
            str(row["layer"]),
            number(row["threshold"], ".4g"),
            number(row["threshold_error_percent"], "z.2f"),
            number(row["decay"], ".6g"),
            number(row["decay_stored"], ".6g"),
            number(row["decay_error_percent"], "z.3f"),
            number(row["weight_error_rms_percent"], "z.2f"),
            number(row["weights_clipped_percent"], "z.2f"),
            number(row["weights_zero_percent"], "z.2f"),
        )
        for row in _rows(data.rounding)
    )
    columns = ("layer", "threshold", "its error (%)", "decay", "decay stored", "its error (%)", "weight error, rms (%)")
    return Table("Rounding, layer by layer", (*columns, "weights clipped (%)", "weights at zero (%)"), rows)


def evidence_table(data: ReportData) -> Table:
    """The labels that say what a number rests on, and which chips and runs carry them here."""
    used: dict[str, list[str]] = {label: [] for label in EVIDENCE}
    for row in _rows(data.curves):
        chips = used.setdefault(str(row["evidence"]), [])
        if str(row["chip"]) not in chips:
            chips.append(str(row["chip"]))
    for described in data.imported:
        used.setdefault(str(described["evidence"]), []).append(f"run {described['name']}")
    rows = tuple(
        (label, EVIDENCE.get(label, "not a label of ours."), ", ".join(chips) or "nothing here")
        for label, chips in used.items()
    )
    return Table("What a number rests on", ("label", "meaning", "carried by"), rows, 3)


def count_table(data: ReportData) -> Table:
    """How many chips and samples stand behind every curve."""
    rows = []
    for (chip, noise), points in () if data.curves.empty else data.curves.groupby(["chip", "noise"], sort=False):
        levels = ", ".join(_level(noise, level) for level in sorted(points["level"].unique()))
        runs = number(int(points["n_chips"].sum()))
        texts = (levels, count_range(points["n_chips"]), count_range(points["n_samples"]), runs)
        rows.append((str(chip), _noise(noise), *texts))
    columns = ("chip", "noise", "levels", "virtual chips per point", "samples per chip", "chip runs")
    return Table("Chips and samples behind the curves", columns, tuple(rows), 3)


def pairs(caption: str, values: Mapping[str, Any], columns: tuple[str, str]) -> Table:
    """A mapping as a table."""
    return Table(caption, columns, tuple((str(key), _text(value)) for key, value in values.items()), 2)


def run_table(data: ReportData) -> Table:
    """Data set, seed and accuracies of the run."""
    counts = data.summary.get("data") or {}
    seed, validation = data.summary.get("seed"), data.summary.get("validation_accuracy")
    values = {
        "data set": counts.get("name"),
        **{f"{part} samples": counts.get(part) for part in ("train", "validation", "test")},
        "seed": None if seed is None else str(seed),
        "validation accuracy": None if validation is None else percent(validation),
    }
    known = {key: value for key, value in values.items() if value is not None}
    return pairs("Run", known, ("what", "value"))


def command(summary: Mapping[str, Any]) -> str:
    """The command of the run as one types it, or ""."""
    value = summary.get("command") or ""
    return shlex.join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _backend(proof: Mapping[str, Any]) -> str:
    name = str(proof["backend"])
    return " ".join(filter(None, [name[:1].upper() + name[1:], str(proof.get("version") or "")]))


def _level(noise: Any, level: float) -> str:
    """A level in the unit of its noise: "5.0 %", "0.12 %", "20 K"; bare where the noise has none of ours."""
    quantity = quantity_of(str(noise).partition(WITH)[0])
    text = f"{quantity.factor * level:.6g}"
    if quantity.factor == 1.0:
        return text if quantity.unit == "level" else f"{text} {quantity.unit}"
    return f"{text} %" if "." in text or "e" in text else f"{text}.0 %"


def _noise(name: Any) -> str:
    return str(name).replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return number(value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _rows(table: pd.DataFrame) -> Iterable[dict[str, Any]]:
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return records
