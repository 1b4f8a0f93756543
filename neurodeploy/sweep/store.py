"""One SQLite file per study. A finished block of chips is one transaction: a killed sweep resumes and loses nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.sweep import tables
from neurodeploy.sweep.statistics import Interval

_VERSION = "5"  # 2: one calibration; 3: selection samples called validation samples; 4: one place per cell and noise
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cell (
    cell TEXT PRIMARY KEY, network TEXT NOT NULL, chip TEXT NOT NULL, evidence TEXT NOT NULL,
    calibrated INTEGER NOT NULL, ladder TEXT NOT NULL, seed INTEGER NOT NULL, parameters TEXT NOT NULL
);
CREATE TABLE place (
    cell TEXT NOT NULL, noise TEXT NOT NULL, level REAL NOT NULL, fixed TEXT NOT NULL,
    PRIMARY KEY (cell, noise, fixed)
);
CREATE TABLE result (
    cell TEXT NOT NULL, chip_id INTEGER NOT NULL, n_samples INTEGER NOT NULL, correct INTEGER NOT NULL,
    correct_bits BLOB NOT NULL, PRIMARY KEY (cell, chip_id)
);
CREATE TABLE calibration (
    cell TEXT NOT NULL, chip_id INTEGER NOT NULL, selection_before REAL NOT NULL, selection_after REAL NOT NULL,
    kept INTEGER NOT NULL, chip_runs INTEGER NOT NULL, samples INTEGER NOT NULL, codes BLOB NOT NULL,
    written INTEGER NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (cell, chip_id)
);
"""
_TABLES = {"about", "cell", "place", "result", "calibration"}
_CALIBRATION = ("chip_id", "selection_before", "selection_after", "kept", "chip_runs", "samples", "codes")
_DETAIL = {"written": 0, "detail": "[]"}


@dataclass(frozen=True)
class Cell:
    """A network on the chips of one model with one noise, with or without calibration; and its place on a curve.

    Attributes:
        key: content hash of everything that a result depends on, but for the chip's number.
        noise, level: its place on a curve, which is no part of the key: level 0 stands on every curve. None, where it
            stands on none. The nominal chip stands on several curves of one noise, where what is fixed besides says
            nothing about it, as a distribution does.
        network: the name of the network in this study.
        fixed: the noise besides, in words.
        parameters: the noise model as JSON.
        ladder: the levels of the calibration, as `calibrate.ladder.ladder_name` writes them; "" without.
    """

    key: str
    chip: str
    evidence: str
    noise: str | None
    level: float | None
    calibrated: bool
    seed: int
    network: str = "model"
    fixed: str = ""
    parameters: str = "{}"
    ladder: str = ""

    @property
    def row(self) -> tuple[Any, ...]:
        """As the table holds it."""
        numbers = (int(self.calibrated), self.ladder, self.seed)
        return (self.key, self.network, self.chip, self.evidence, *numbers, self.parameters)


class Store:
    """A study file; made where it does not exist.

    Raises:
        FileFormatError: where the file is not a study of ours, or damaged; nothing is overwritten.
        UsageError: where it is a folder.
        NeurodeployError: where its folder cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; a study is one file: name one, such as {path / 'study.sqlite'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise NeurodeployError(f"{path}: {error}; name another file") from error
        try:
            with self._reading():
                self._prepare()
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
        return {int(row[0]) for row in self._rows("SELECT chip_id FROM result WHERE cell = ?", cell.key)}

    def correct(self, key: str) -> dict[int, NDArray[np.bool_]]:
        """chip id -> which samples it got right, of the cell with that key."""
        rows = self._rows("SELECT chip_id, n_samples, correct_bits FROM result WHERE cell = ? ORDER BY chip_id", key)
        return {int(chip): np.unpackbits(np.frombuffer(bits, np.uint8), count=n).astype(bool) for chip, n, bits in rows}

    def place(self, cells: Iterable[Cell]) -> None:
        """Says which cells there are and where they stand on curves; their results may be there or come later."""
        chosen = list(cells)
        about = [cell.row for cell in chosen]
        places = [(c.key, c.noise, c.level, c.fixed) for c in chosen if c.noise is not None]
        with self._transaction():
            self._many("INSERT OR IGNORE INTO cell", about)
            self._many("INSERT OR IGNORE INTO place", places)

    def add_results(
        self,
        cell: Cell,
        chip_ids: Iterable[int],
        correct: NDArray[np.bool_] | None,
        calibrations: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Stores which samples (chips, samples) each chip got right, and trims that were made, in one transaction."""
        chips = [] if correct is None else list(zip(chip_ids, correct, strict=True))
        results = [(cell.key, int(i), len(row), int(row.sum()), np.packbits(row).tobytes()) for i, row in chips]
        found = [{**_DETAIL, **row} for row in calibrations]
        trims = [(cell.key, *(row[name] for name in (*_CALIBRATION, *_DETAIL))) for row in found]
        with self._transaction():
            self._many("INSERT OR IGNORE INTO cell", [cell.row])
            if cell.noise is not None:
                self._many("INSERT OR IGNORE INTO place", [(cell.key, cell.noise, cell.level, cell.fixed)])
            self._many("INSERT OR REPLACE INTO calibration", trims)
            self._many("INSERT OR REPLACE INTO result", results)

    def add_calibrations(self, cell: Cell, rows: Iterable[Mapping[str, Any]]) -> None:
        """Stores one row per chip, in one transaction."""
        self.add_results(cell, (), None, list(rows))

    def calibrations(self, cell: Cell) -> dict[int, bytes]:
        """chip id -> the stored settings of a cell."""
        rows = self._rows("SELECT chip_id, codes FROM calibration WHERE cell = ?", cell.key)
        return {int(chip_id): bytes(codes) for chip_id, codes in rows}

    def about(self) -> dict[str, str]:
        """What the study is tied to: name -> fingerprint."""
        return {str(name): str(value) for name, value in self._rows("SELECT name, value FROM about")}

    def claim(self, parts: Mapping[str, str]) -> None:
        """Ties the study to what the fingerprints stand for.

        Raises:
            UsageError: naming every part that it is tied to otherwise; mixing the two would make a curve of neither.
        """
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", list(parts.items()))
            there = self.about()
            differing = [name for name in parts if there[name] != parts[name]]
            if differing:
                self._connection.execute("ROLLBACK")
        if differing:
            told = ", ".join(f"{name} ({there[name][:12]} there, {parts[name][:12]} now)" for name in differing)
            raise UsageError(f"{self.path}: made with other {told}; name another file with -o")

    def chips(self) -> pd.DataFrame:
        """One row per chip and place on a curve; see `tables.chips`."""
        with self._reading():
            return tables.chips(self._connection)

    def curves(self, interval: Interval = "two-level", floor: float | None = None) -> pd.DataFrame:
        """One row per point of a curve, with the statistics over its chips; see `tables.curves`."""
        with self._reading():
            return tables.curves(self._connection, interval, floor)

    def table(self, name: str, interval: Interval = "two-level", floor: float | None = None) -> pd.DataFrame:
        """One of `tables.TABLES`."""
        with self._reading():
            return tables.TABLES[name](self._connection, interval, floor)

    def results(self) -> pd.DataFrame:
        """One row per chip and cell, with its noise; see `tables.results`."""
        with self._reading():
            return tables.results(self._connection)

    def cells(self) -> pd.DataFrame:
        """One row per cell that has results; see `tables.cells`."""
        with self._reading():
            return tables.cells(self._connection)

    def calibration_rows(self) -> pd.DataFrame:
        """One row per calibrated chip and place on a curve, without its codes."""
        with self._reading():
            return tables.calibrations(self._connection)

    def _prepare(self) -> None:
        found = self._names()
        if not found:
            with self._transaction():
                if not self._names():  # else another process was faster
                    for statement in _SCHEMA.split(";"):
                        self._connection.execute(statement)
                    self._connection.execute("INSERT INTO about VALUES ('version', ?)", (_VERSION,))
            found = self._names()
        if "about" not in found or "result" not in found:
            raise FileFormatError(f"{self.path}: a database, but not a study of ours; name another file")
        row = self._connection.execute("SELECT value FROM about WHERE name = 'version'").fetchone()
        if row is None or row[0] != _VERSION:
            there = None if row is None else row[0]
            raise FileFormatError(
                f"{self.path}: study version {there}, this program reads {_VERSION}; name another file"
            )
        if _TABLES - found:
            raise FileFormatError(f"{self.path}: a damaged study, without {', '.join(sorted(_TABLES - found))}")
        (state,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)

    def _names(self) -> set[str]:
        return {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._reading():
            return self._connection.execute(query, values).fetchall()

    def _many(self, what: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._connection.executemany(f"{what} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, pd.errors.DatabaseError, sqlite3.DatabaseError) as error:
            if "locked" in str(error):
                raise NeurodeployError(f"{self.path}: {error}; another process holds it, run again") from error
            told = " ".join(str(error).split())  # SQLite's own report of a damaged page has several lines
            raise FileFormatError(
                f"{self.path}: not a study of ours, or damaged ({told}); name another file"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if type(error) is sqlite3.DatabaseError:  # the file itself
                raise
            raise NeurodeployError(
                f"{self.path}: {error}; what was finished before is stored, run again to resume"
            ) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def encode_parameters(parameters: Mapping[str, Any]) -> str:
    """A noise model as a study keeps it."""
    return json.dumps(parameters, sort_keys=True)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One plain dictionary per row."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def open_existing(path: Path) -> Store:
    """A study that must be there already; raises UsageError otherwise."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such study (made by `neurodeploy sweep`)")
    return Store(path)
