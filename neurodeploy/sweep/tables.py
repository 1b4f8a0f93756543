"""Tables of a study: per chip, per point, per curve, and differences between populations of the same chips."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep.curve import summarise_curve
from neurodeploy.sweep.statistics import Interval, paired_difference, summarise_samples, yield_at

PLACE = ["network", "chip", "noise", "fixed", "level", "calibrated", "ladder"]
"""The columns that name one point of a curve."""

_NOMINAL = NoiseModel()

_ORDER = [*PLACE, "chip_id"]


def chips(connection: sqlite3.Connection) -> pd.DataFrame:
    """One row per chip and place: cell, network, chip, evidence, noise, level, fixed, calibrated, ladder, seed,
    chip_id, n_samples, accuracy.
    """
    query = (
        "SELECT cell, network, chip, evidence, noise, level, fixed, calibrated, ladder, seed, chip_id, n_samples, "
        "correct * 1.0 / n_samples AS accuracy FROM result JOIN cell USING (cell) JOIN place USING (cell)"
    )
    return _read(connection, query).sort_values(_ORDER, kind="stable").reset_index(drop=True)


def results(connection: sqlite3.Connection) -> pd.DataFrame:
    """One row per chip and cell, whether it stands on a curve or not; one column per noise that the study varies."""
    query = (
        "SELECT cell, network, chip, evidence, calibrated, ladder, seed, parameters, chip_id, n_samples, correct, "
        "correct * 1.0 / n_samples AS accuracy FROM result JOIN cell USING (cell) ORDER BY cell.rowid, chip_id"
    )
    return _spread(_read(connection, query))


def curves(
    connection: sqlite3.Connection, interval: Interval = "two-level", floor: float | None = None
) -> pd.DataFrame:
    """One row per point of a curve, with `statistics.Accuracy` over its chips, and its yield where a floor is given."""
    keys = ["cell", *PLACE[:2], "evidence", *PLACE[2:], "seed", "n_samples"]
    found: dict[str, dict[str, float]] = {}
    rows = []
    for key, _ in chips(connection).groupby(keys, sort=False):
        named = dict(zip(keys, key, strict=True))
        cell = str(named["cell"])
        if cell not in found:
            found[cell] = _statistics(correct(connection, cell)[1], interval, floor)
        rows.append(named | found[cell])
    return pd.DataFrame(rows)


def points(
    connection: sqlite3.Connection, interval: Interval = "two-level", floor: float | None = None
) -> pd.DataFrame:
    """One row per cell, also of those that stand on no curve; one column per noise that the study varies."""
    query = (
        "SELECT cell, network, chip, evidence, calibrated, ladder, seed, parameters, n_samples FROM cell JOIN "
        "(SELECT cell, MIN(n_samples) AS n_samples FROM result GROUP BY cell) USING (cell) ORDER BY cell.rowid"
    )
    table = _spread(_read(connection, query))
    statistics = [_statistics(correct(connection, cell)[1], interval, floor) for cell in table["cell"]]
    return pd.concat([table, pd.DataFrame(statistics)], axis=1)


def summaries(
    connection: sqlite3.Connection, interval: Interval = "two-level", floor: float | None = None
) -> pd.DataFrame:
    """One row per curve of two levels or more: its area, and where it has fallen by 1, 5 and 10 points."""
    del interval, floor
    table = curves_index(connection)
    rows = []
    keys = [name for name in PLACE if name != "level"]
    for key, group in table.groupby(keys, sort=False):
        cells = {row["level"]: correct(connection, row["cell"]) for row in _rows(group)}
        common = sorted(set.intersection(*(set(ids) for ids, _ in cells.values())))
        if len(cells) < 2 or not common:
            continue
        curve = summarise_curve({level: right[np.isin(ids, common)] for level, (ids, right) in cells.items()})
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        row |= {name: value for name, value in asdict(curve).items() if name != "falls"}
        for fall in curve.falls:
            name = f"level_fallen_{round(100 * fall.points)}"
            row |= {name: fall.level, f"{name}_low": fall.low, f"{name}_high": fall.high}
        rows.append(row)
    return pd.DataFrame(rows)


def differences(
    connection: sqlite3.Connection, interval: Interval = "two-level", floor: float | None = None
) -> pd.DataFrame:
    """One row per pair of populations that differ in the network alone, or in calibration alone: second - first."""
    del floor
    rows = []
    table = curves_index(connection)
    for key, group in table.groupby(["chip", "noise", "fixed", "level"], sort=False):
        members = [row | {"state": _state(row)} for row in _rows(group)]
        for index, first in enumerate(members):
            for second in members[index + 1 :]:
                if sum(first[name] != second[name] for name in ("network", "state")) != 1:
                    continue
                (ids, a), (others, b) = correct(connection, first["cell"]), correct(connection, second["cell"])
                common = np.intersect1d(ids, others)
                if len(common) == 0:
                    continue
                found = paired_difference(b[np.isin(others, common)], a[np.isin(ids, common)], interval)
                names = [", ".join(filter(None, (one["network"], one["state"]))) for one in (first, second)]
                row: dict[str, Any] = dict(zip(["chip", "noise", "fixed", "level"], key, strict=True))
                row |= {"first": names[0], "second": names[1], "n_chips": found.n_chips}
                rows.append(row | {"difference": found.mean, "ci_low": found.low, "ci_high": found.high})
    return pd.DataFrame(rows)


def cells(connection: sqlite3.Connection) -> pd.DataFrame:
    """One row per cell that has results, with all that the study says about it; noise models as JSON."""
    query = "SELECT * FROM cell WHERE cell IN (SELECT cell FROM result) ORDER BY rowid"
    return _read(connection, query)


def calibrations(connection: sqlite3.Connection) -> pd.DataFrame:
    """One row per calibrated chip and place, without its codes; `left_out` says which levels could not be climbed."""
    query = (
        "SELECT cell, network, chip, noise, fixed, level, ladder, chip_id, selection_before, selection_after, kept, "
        "chip_runs, samples, written, detail FROM calibration JOIN cell USING (cell) JOIN place USING (cell) "
        "ORDER BY network, chip, noise, fixed, level, ladder, chip_id"
    )
    rows = pd.read_sql_query(query, connection)
    rows["left_out"] = [left_out(detail) for detail in rows.pop("detail")]
    return rows


def distinct(texts: Iterable[str]) -> str:
    """Every text once, without empty ones."""
    return "; ".join(dict.fromkeys(text for text in texts if text))


def left_out(detail: str) -> str:
    """Levels of a chip's calibration that were refused, each with the reason; "" where all could be climbed.

    Raises:
        sqlite3.DatabaseError: for details that are none of ours.
    """
    try:
        steps = [(step["level"], step["name"], step["refused"]) for step in json.loads(detail)]
    except (ValueError, KeyError, TypeError) as error:
        raise sqlite3.DatabaseError("the details of a calibration are damaged") from error
    return "; ".join(f"level {level} ({name}): {refused}" for level, name, refused in steps if refused)


def curves_index(connection: sqlite3.Connection) -> pd.DataFrame:
    """One row per place that has results: cell, network, chip, noise, fixed, level, calibrated, ladder."""
    query = (
        "SELECT cell, network, chip, noise, fixed, level, calibrated, ladder FROM place JOIN cell USING (cell) "
        "WHERE cell IN (SELECT cell FROM result) ORDER BY chip, noise, fixed, level, cell.rowid"
    )
    return _read(connection, query)


def correct(connection: sqlite3.Connection, cell: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(chip ids, (chips, samples)) of a cell."""
    query = "SELECT chip_id, n_samples, correct_bits FROM result WHERE cell = ? ORDER BY chip_id"
    rows = connection.execute(query, (cell,)).fetchall()
    bits = [np.unpackbits(np.frombuffer(row, np.uint8), count=samples).astype(bool) for _, samples, row in rows]
    return np.array([chip for chip, _, _ in rows], dtype=np.int64), np.stack(bits)


TABLES: dict[str, Callable[[sqlite3.Connection, Interval, float | None], pd.DataFrame]] = {
    "curves": curves,
    "points": points,
    "summary": summaries,
    "differences": differences,
}
"""What `sweep --show` prints."""


def _statistics(right: NDArray[np.bool_], interval: Interval, floor: float | None) -> dict[str, float]:
    found = summarise_samples(right, interval).as_dict()
    if floor is not None:
        share = yield_at(right.mean(axis=1, dtype=np.float64), floor)
        found |= {"yield": share.share, "yield_low": share.low, "yield_high": share.high}
    return found


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _state(row: dict[str, Any]) -> str:
    """ "", or "calibrated" with the levels of the ladder."""
    return f"calibrated {row['ladder']}".rstrip() if row["calibrated"] else ""


def _read(connection: sqlite3.Connection, query: str) -> pd.DataFrame:
    frame = pd.read_sql_query(query, connection)
    frame["calibrated"] = frame["calibrated"].astype(bool)
    return frame


def _spread(table: pd.DataFrame) -> pd.DataFrame:
    """The noise models, one column for each parameter that any cell has; absent is its default, "all" for layers."""
    models = [json.loads(text) for text in table.pop("parameters")]
    names = sorted({name for model in models for name in model})
    for name in names:
        default = getattr(_NOMINAL, name, 0.0) or ("all" if name == "layers" else 0.0)
        values = [model.get(name, default) for model in models]
        table[name] = ["+".join(map(str, value)) if isinstance(value, list) else value for value in values]
    return table
