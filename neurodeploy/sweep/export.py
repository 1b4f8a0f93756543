"""Results of a study as one table for other programs: CSV or Parquet, one row per chip and cell."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from neurodeploy.errors import MissingBackendError, NeurodeployError, UsageError
from neurodeploy.sweep.store import Store

FORMATS = (".csv", ".parquet")


def check_export(path: Path) -> None:
    """Raises where `export` could not write that file: before a sweep, rather than after it.

    Raises:
        UsageError: for another format; MissingBackendError where Parquet's package is missing.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"--export {path}: {' or '.join(FORMATS)} is expected")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingBackendError(f"--export {path}: Parquet needs pyarrow: run `pip install pyarrow`, or export .csv")


def export(store: Store, path: Path) -> int:
    """Writes `Store.results` and returns its number of rows; the file is whole or as it was before.

    Raises:
        NeurodeployError: where the disk fails.
    """
    check_export(path)
    table = store.results()
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            table.to_csv(partial, index=False)
        else:
            table.to_parquet(partial, index=False, engine="pyarrow")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise NeurodeployError(f"--export {path}: {error}; the file is as it was before") from error
    return len(table)
