"""One SQLite file per study. A finished cell is one transaction: a killed sweep resumes and loses nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.sweep.statistics import summarise

_VERSION = "1"
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE result (
    cell TEXT NOT NULL, chip TEXT NOT NULL, evidence TEXT NOT NULL, noise TEXT NOT NULL, level REAL NOT NULL,
    calibrated INTEGER NOT NULL, seed INTEGER NOT NULL, chip_id INTEGER NOT NULL, n_samples INTEGER NOT NULL,
    correct INTEGER NOT NULL, correct_bits BLOB NOT NULL, PRIMARY KEY (cell, chip_id)
);
CREATE TABLE calibration (
    cell TEXT NOT NULL, chip TEXT NOT NULL, noise TEXT NOT NULL, level REAL NOT NULL, chip_id INTEGER NOT NULL,
    validation_before REAL NOT NULL, validation_after REAL NOT NULL, kept INTEGER NOT NULL,
    chip_runs INTEGER NOT NULL, samples INTEGER NOT NULL, codes BLOB NOT NULL, PRIMARY KEY (cell, chip_id)
);
"""


@dataclass(frozen=True)
class Cell:
    """One point of a curve: a chip model, a noise and its level, with or without calibration.

    `key` is the content hash of everything that the result depends on.
    """

    key: str
    chip: str
    evidence: str
    noise: str
    level: float
    calibrated: bool
    seed: int


class Store:
    """A study file; made where it does not exist.

    Raises:
        FileFormatError: where the file is not a study of ours; nothing is overwritten.
        NeurodeployError: where its folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise NeurodeployError(f"{path}: {error}; name another file") from error
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self.close()
            raise FileFormatError(f"{path}: not a study of ours, or damaged ({error}); name another file") from error
        except NeurodeployError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finished_chips(self, cell: Cell) -> set[int]:
        """The chips of a cell whose results are stored."""
        rows = self._connection.execute("SELECT chip_id FROM result WHERE cell = ?", (cell.key,))
        return {int(row[0]) for row in rows}

    def add_results(self, cell: Cell, chip_ids: Iterable[int], correct: NDArray[np.bool_]) -> None:
        """Stores which samples (chips, samples) each chip got right, in one transaction."""
        values = [
            (
                cell.key,
                cell.chip,
                cell.evidence,
                cell.noise,
                cell.level,
                int(cell.calibrated),
                cell.seed,
                int(chip_id),
                len(row),
                int(row.sum()),
                np.packbits(row).tobytes(),
            )
            for chip_id, row in zip(chip_ids, correct, strict=True)
        ]
        with self._transaction():
            self._connection.executemany(f"INSERT OR REPLACE INTO result VALUES ({', '.join('?' * 11)})", values)

    def calibrations(self, cell: Cell) -> dict[int, bytes]:
        """chip id -> the stored trim codes of a cell."""
        rows = self._connection.execute("SELECT chip_id, codes FROM calibration WHERE cell = ?", (cell.key,))
        return {int(chip_id): bytes(codes) for chip_id, codes in rows}

    def add_calibrations(self, cell: Cell, rows: Iterable[Mapping[str, Any]]) -> None:
        """Stores one row per chip, in one transaction."""
        names = ("chip_id", "validation_before", "validation_after", "kept", "chip_runs", "samples", "codes")
        values = [(cell.key, cell.chip, cell.noise, cell.level, *(row[name] for name in names)) for row in rows]
        with self._transaction():
            self._connection.executemany(f"INSERT OR REPLACE INTO calibration VALUES ({', '.join('?' * 11)})", values)

    def claim(self, name: str, fingerprint: str) -> None:
        """Ties the study to what `fingerprint` stands for.

        Raises:
            UsageError: where it is tied to something else already; mixing the two would make a curve of neither.
        """
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, fingerprint))
            (there,) = self._connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        if there != fingerprint:
            raise UsageError(
                f"{self.path}: made with another network, samples, seed, trim or version for {name} "
                f"({there[:12]} there, {fingerprint[:12]} now); name another file with -o"
            )

    def chips(self) -> pd.DataFrame:
        """One row per chip and cell: chip, evidence, noise, level, calibrated, seed, chip_id, n_samples, accuracy."""
        frame = pd.read_sql_query("SELECT * FROM result", self._connection)
        frame["accuracy"] = frame["correct"] / frame["n_samples"]
        frame["calibrated"] = frame["calibrated"].astype(bool)
        frame = frame.drop(columns=["correct", "correct_bits"])
        return frame.sort_values(["chip", "noise", "level", "calibrated", "chip_id"]).reset_index(drop=True)

    def curves(self) -> pd.DataFrame:
        """One row per cell, with the statistics over its chips."""
        names = ["cell", "chip", "evidence", "noise", "level", "calibrated", "seed", "n_samples"]
        rows = [
            dict(zip(names, key, strict=True)) | summarise(group["accuracy"].to_numpy(dtype=np.float64)).as_dict()
            for key, group in self.chips().groupby(names, sort=False)
        ]
        return pd.DataFrame(rows)

    def calibration_rows(self) -> pd.DataFrame:
        """One row per calibrated chip, without its codes."""
        query = (
            "SELECT cell, chip, noise, level, chip_id, validation_before, validation_after, kept, chip_runs, samples "
            "FROM calibration ORDER BY chip, noise, level, chip_id"
        )
        return pd.read_sql_query(query, self._connection)

    def _prepare(self) -> None:
        tables = self._tables()
        if not tables:
            with self._transaction():
                if not self._tables():  # else another process was faster
                    for statement in _SCHEMA.split(";"):
                        self._connection.execute(statement)
                    self._connection.execute("INSERT INTO about VALUES ('version', ?)", (_VERSION,))
            tables = self._tables()
        if not {"about", "result", "calibration"} <= tables:
            raise FileFormatError(f"{self.path}: a database, but not a study of ours; name another file")
        row = self._connection.execute("SELECT value FROM about WHERE name = 'version'").fetchone()
        if row is None or row[0] != _VERSION:
            found = None if row is None else row[0]
            raise FileFormatError(f"{self.path}: study version {found}, this program reads {_VERSION}")

    def _tables(self) -> set[str]:
        return {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise NeurodeployError(
                f"{self.path}: {error}; what was finished before is stored, run again to resume"
            ) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One plain dictionary per row."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def open_existing(path: Path) -> Store:
    """A study that must be there already; raises UsageError otherwise."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such study (made by `neurodeploy sweep`)")
    return Store(path)
