"""A sweep that is killed loses nothing that was stored, and goes on to the same curves."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from neurodeploy.errors import NeurodeployError
from neurodeploy.sweep import work
from neurodeploy.sweep.plan import NoiseAxis, parse_axis
from neurodeploy.sweep.run import Study, calibrate, sweep
from neurodeploy.sweep.store import Store

Quiet = Callable[[str, int, int], None]
Contents = Callable[[Path], dict[str, pd.DataFrame]]
AXES = [parse_axis("mismatch=0,0.3")]

SWEEP = """
import os, signal, sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from neurodeploy.snn.model_file import load_model
from neurodeploy.study import make_studies
from neurodeploy.sweep.plan import parse_axis
from neurodeploy.sweep.run import Samples, sweep
from neurodeploy.sweep.store import Store

model, path, way, last = sys.argv[1:]
transactions = 0


class Dying(Store):
    @contextmanager
    def _transaction(self):
        global transactions
        transactions += 1
        with super()._transaction():
            yield
            if transactions == int(last):
                if way == "exit":
                    os._exit(9)
                os.kill(os.getpid(), signal.SIGKILL)


study = make_studies(load_model(Path(model)), ["loihi2"], 12, 40, 0, None)[0]
selection = Samples(study.selection.inputs[:50], study.selection.labels[:50])
study = replace(study, measurement=study.measurement[:24], selection=selection)
with Dying(Path(path)) as store:
    sweep(study, [parse_axis("mismatch=0,0.3")], store, True, lambda *_: None)
"""


@pytest.mark.parametrize("study", ["loihi2"], indirect=True)
@pytest.mark.parametrize(("way", "last", "results"), [("exit", 5, 1), ("kill", 7, 3)])
def test_a_killed_sweep_goes_on_to_the_same_curves(
    study: Study, model_file: Path, tmp_path: Path, quiet: Quiet, contents: Contents,
    monkeypatch: pytest.MonkeyPatch, way: str, last: int, results: int,
) -> None:  # fmt: skip
    """Killed before the commit of a block: transactions are schema, claim, places, then each block with its trims.

    Four blocks of 10, 2, 10 and 2 chips; `results` are the blocks that were committed.
    """
    path, whole = tmp_path / "killed.sqlite", tmp_path / "whole.sqlite"
    command = [sys.executable, "-c", SWEEP, str(model_file), str(path), way, str(last)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == (9 if way == "exit" else -9), ended.stderr
    stored = contents(path)
    sizes = [10, 2, 10, 2]
    assert len(stored["calibration"]) == sum(sizes[:results])
    assert len(stored["result"]) == sum(sizes[:results])
    calls = counted(monkeypatch)
    with Store(path) as store:
        sweep(study, AXES, store, True, quiet)
    assert calls == {"_measure": 4 - results, "climb": 4 - results}
    with Store(whole) as store:
        sweep(study, AXES, store, True, quiet)
    for (name, table), other in zip(contents(path).items(), contents(whole).values(), strict=True):
        pd.testing.assert_frame_equal(table, other, obj=name)
    assert len(contents(path)["result"]) == 24


def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often blocks of chips are measured and trimmed from now on."""
    calls = {"_measure": 0, "climb": 0}
    for name in calls:
        real = getattr(work, name)

        def counting(*args: Any, name: str = name, real: Callable[..., Any] = real) -> Any:
            calls[name] += 1
            return real(*args)

        monkeypatch.setattr(work, name, counting)
    return calls


def test_what_is_stored_is_not_done_again(
    study: Study, tmp_path: Path, quiet: Quiet, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.sqlite"
    calls = counted(monkeypatch)
    for calibrated in (False, True):
        with Store(path) as store:
            sweep(study, AXES, store, calibrated, quiet)
    assert calls == {"_measure": 8, "climb": 4}
    before = contents(path)
    with Store(path) as store:
        for calibrated in (False, True):
            sweep(study, AXES, store, calibrated, quiet)
        calibrate(study, AXES, store, quiet)
        assert calls == {"_measure": 8, "climb": 4}
        sweep(study, [parse_axis("mismatch=0,0.1,0.3")], store, False, quiet)
        assert calls == {"_measure": 10, "climb": 4}
        sweep(study, [NoiseAxis("mismatch", (0.3,), replace(AXES[0].base, thermal=0.1))], store, False, quiet)
        assert calls["_measure"] == 12  # other fixed noise is another cell
    for name, table in before.items():
        after = contents(path)[name]
        assert set(table["cell"]) <= set(after["cell"])
        kept = after[after["cell"].isin(table["cell"])]
        if "fixed" in kept:
            kept = kept[kept["fixed"] == ""]
        kept = kept.reset_index(drop=True)
        pd.testing.assert_frame_equal(kept, table)


def test_progress_counts_every_chip_also_those_stored(study: Study, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    with Store(tmp_path / "study.sqlite") as store:
        for _ in range(2):
            sweep(study, AXES, store, False, lambda *call: seen.append(call))
    name = study.chip.name
    once = [(f"{name} mismatch {level}", done, 12) for level in ("0", "0.3") for done in (10, 12)]
    assert seen == once * 2


class Filling:
    """A connection whose disk is full when the second block of results is stored."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self._left = connection, 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def executemany(self, what: str, *args: Any) -> None:
        self._connection.executemany(what, *args)
        self._left -= "INTO result" in what
        if self._left < 0:
            raise sqlite3.OperationalError("database or disk is full")


def test_a_full_disk_keeps_what_was_stored_and_the_sweep_goes_on(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as store:
        store._connection = Filling(store._connection)  # type: ignore[assignment]
        said = (
            f"^{path}: database or disk is full; what was finished before is stored, run again to resume; 10 of the 24"
        )
        with pytest.raises(NeurodeployError, match=said):
            sweep(study, AXES, store, False, quiet)
    with Store(path) as store:
        assert len(store.chips()) == 10
        sweep(study, AXES, store, False, quiet)
        assert len(store.chips()) == 24
