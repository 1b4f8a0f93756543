"""Runs that came back from elsewhere, as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neurodeploy.recorded_run import is_run, read_description
from neurodeploy.report.tables import ABSENT, Table, number

COUNTS = ("samples", "spikes_compared", "mismatched_spikes", "mismatched_voltages", "decisions_differing")


def imported_runs(folder: Path) -> list[dict[str, Any]]:
    """The descriptions of the run folders in a folder, the oldest first.

    Raises:
        FileFormatError: naming one that is damaged.
    """
    found = [read_description(path) for path in sorted(folder.iterdir()) if path.is_dir() and is_run(path)]
    return sorted(found, key=lambda described: str(described["date"]))


def imported_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """One row per run; what nobody compared with the reference says so."""
    rows = tuple(_row(described) for described in runs)
    columns = ("run", "backend", "evidence", "date", "first difference", "measured")
    counted = ("samples", "spikes compared", "spikes differ", "voltages differ", "decisions differ")
    return Table("Runs from elsewhere, against the reference of what ran", (*columns, *counted), rows, len(columns))


def _row(described: Mapping[str, Any]) -> tuple[str, ...]:
    comparison = described["facts"].get("comparison")
    known = isinstance(comparison, dict) and all(_is_count(name, comparison.get(name)) for name in COUNTS)
    first = str(comparison.get("first") or "no difference") if known else "not compared: use import-run"
    texts = (str(described[name]) for name in ("name", "backend", "evidence", "date"))
    counts = (number(comparison[name]) if known else ABSENT for name in COUNTS)
    return (*texts, first, _measured(described["facts"].get("probes")), *counts)


def _is_count(name: str, value: Any) -> bool:
    """Voltages are None where none came back."""
    return type(value) is int or (name == "mismatched_voltages" and value is None)


def _measured(probes: Any) -> str:
    """What power and time probes brought back, in words."""
    figures = probes.values() if isinstance(probes, dict) else ()
    pairs = [pair for named in figures if isinstance(named, dict) for pair in named.items()]
    shown = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in pairs if type(value) in (int, float)]
    return ", ".join(shown) or ABSENT
