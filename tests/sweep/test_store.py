"""The study file: what is not ours is left untouched, and what is stored stays."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep.export import export
from neurodeploy.sweep.store import Cell, Store, open_existing, records
from neurodeploy.sweep.tables import left_out

CELL = Cell("key", "loihi2", "modelled", "mismatch", 0.25, False, 3)
CORRECT = np.array([[1, 0, 1, 1, 0, 1, 1, 1, 0, 1], [0] * 10, [1] * 10], dtype=bool)


def calibration(chip_id: int, codes: bytes = b"codes") -> dict[str, object]:
    accuracies = {"selection_before": 0.25 * chip_id, "selection_after": 0.75}
    return {"chip_id": chip_id, **accuracies, "kept": 1, "chip_runs": 16, "samples": 900, "codes": codes}


def test_results_come_back_per_chip_and_per_cell(tmp_path: Path) -> None:
    path = tmp_path / "new" / "study.sqlite"
    with Store(path) as store:
        assert store.finished_chips(CELL) == set()
        store.add_results(CELL, [0, 7, 2], CORRECT)
        store.add_results(Cell("other", "loihi2", "modelled", "thermal", 0.0, True, 3), [1], CORRECT[:1])
    with open_existing(path) as store:
        assert store.finished_chips(CELL) == {0, 2, 7}
        chips, curves = store.chips(), store.curves()
    assert [(row["chip_id"], row["accuracy"]) for row in records(chips)] == [(0, 0.7), (2, 1.0), (7, 0.0), (1, 0.7)]
    row = records(curves)[0]
    assert (row["chip"], row["noise"], row["level"], row["calibrated"]) == ("loihi2", "mismatch", 0.25, False)
    assert (row["n_chips"], row["n_samples"], row["seed"], row["evidence"]) == (3, 10, 3, "modelled")
    assert row["accuracy_mean"] == pytest.approx(1.7 / 3)
    assert row["accuracy_p05"] == pytest.approx(0.07)
    assert (records(curves)[1]["calibrated"], len(curves)) == (True, 2)


def test_which_samples_were_right_is_stored(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        store.add_results(CELL, [0, 1, 2], CORRECT)
        rows = store._connection.execute("SELECT correct_bits FROM result ORDER BY chip_id").fetchall()
    for (bits,), wanted in zip(rows, CORRECT, strict=True):
        np.testing.assert_array_equal(np.unpackbits(np.frombuffer(bits, np.uint8), count=10), wanted)


def test_calibrations_come_back_by_cell(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        store.add_calibrations(CELL, [calibration(0, b"a"), calibration(3, b"b")])
        assert store.calibrations(CELL) == {0: b"a", 3: b"b"}
        assert store.calibrations(Cell("other", "loihi2", "modelled", "mismatch", 0.25, True, 3)) == {}
        rows = records(store.calibration_rows())
    assert [(row["chip_id"], row["selection_before"], row["kept"], row["samples"]) for row in rows] == [
        (0, 0.0, 1, 900),
        (3, 0.75, 1, 900),
    ]
    assert "codes" not in rows[0]


def test_storing_again_replaces(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        store.add_results(CELL, [0], CORRECT[:1])
        store.add_results(CELL, [0], CORRECT[1:2])
        assert [row["accuracy"] for row in records(store.chips())] == [0.0]


def test_an_empty_study_has_empty_tables(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        assert (len(store.chips()), len(store.curves()), len(store.calibration_rows())) == (0, 0, 0)


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\xff" * 200, b"\0" * 5000])
def test_what_is_no_database_is_refused_and_left_untouched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thesis.doc"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=f"^{path}: not a study of ours, or damaged"):
        Store(path)
    assert path.read_bytes() == content


def test_a_foreign_database_is_refused_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "browser.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE about (name TEXT, value TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match=f"^{path}: a database, but not a study of ours"):
        Store(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("version", [None, "1", "2", "3", "4"])
def test_another_version_is_refused(tmp_path: Path, version: str | None) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as store:
        store._connection.execute("DELETE FROM about")
        if version is not None:
            store._connection.execute("INSERT INTO about VALUES ('version', ?)", (version,))
    with pytest.raises(FileFormatError, match=f"^{path}: study version {version}, this program reads 5"):
        Store(path)


def test_a_folder_in_place_of_a_file_is_named_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^{tmp_path}: is a folder; a study is one file: name one, such as .*study"):
        Store(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_study_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such study"):
        open_existing(tmp_path / "study.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_place_where_nothing_can_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "study.sqlite", tmp_path):
        with pytest.raises(NeurodeployError, match=f"^{path}: "):
            Store(path)


def test_a_study_belongs_to_whoever_claimed_it_first(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as store:
        store.claim({"seed": "f" * 64, "network a": "a" * 64})
        store.claim({"network b": "e" * 64})
        store.claim({"seed": "f" * 64})
    with Store(path) as store:
        for _ in range(2):
            said = (
                f"^{path}: made with other seed .ffffffffffff there, eeeeeeeeeeee now., network b .eeeeeeeeeeee there"
            )
            with pytest.raises(UsageError, match=said):
                store.claim({"seed": "e" * 64, "network a": "a" * 64, "network b": "b" * 64, "network c": "c" * 64})
        assert "network c" not in store.about()
        store.claim({"seed": "f" * 64})
        store.add_results(CELL, [0], CORRECT[:1])  # the refusal left no transaction open


def test_a_full_disk_says_that_the_rest_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    large: NDArray[np.bool_] = np.ones((1, 10**6), dtype=bool)
    with Store(path) as store:
        store.add_results(CELL, [0, 1, 2], CORRECT)
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        said = f"{path}: database or disk is full; what was finished before is stored, run again to resume"
        for _ in range(2):
            with pytest.raises(NeurodeployError, match=said):
                store.add_results(CELL, [3, 4], np.concatenate([large, large]))
        assert store.finished_chips(CELL) == {0, 1, 2}
    with Store(path) as store:
        assert len(store.chips()) == 3


def test_a_transaction_that_fails_half_way_stores_nothing_of_it(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        with pytest.raises(ValueError, match="zip"):
            store.add_results(CELL, [0, 1], CORRECT)
        with pytest.raises(NeurodeployError, match="NOT NULL"):
            store.add_calibrations(CELL, [calibration(0), {**calibration(1), "kept": None}])
        assert store.finished_chips(CELL) == set()
        assert store.calibrations(CELL) == {}


def test_a_study_that_another_holds_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as one, Store(path) as other:
        other._connection.execute("PRAGMA busy_timeout = 0")
        with one._transaction(), pytest.raises(NeurodeployError, match="database is locked"):
            other.add_results(CELL, [0], CORRECT[:1])
        other.add_results(CELL, [0], CORRECT[:1])


WRITER = """
import sys
from pathlib import Path
import numpy as np
from neurodeploy.sweep.store import Cell, Store

first = int(sys.argv[2])
with Store(Path(sys.argv[1])) as store:
    for chip_id in range(first, first + 30):
        cell = Cell("key", "loihi2", "modelled", "mismatch", 0.25, False, 3)
        store.add_results(cell, [chip_id], np.ones((1, 10), dtype=bool))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first)]) for first in (0, 100)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with Store(path) as store:
        assert store.finished_chips(CELL) == {*range(30), *range(100, 130)}


def test_many_open_and_claim_a_new_study_at_once(tmp_path: Path) -> None:
    for number in range(5):
        path, barrier = tmp_path / f"{number}.sqlite", threading.Barrier(8)
        failed: list[str] = []

        def work(who: int, path: Path = path, barrier: threading.Barrier = barrier, failed: list[str] = failed) -> None:
            barrier.wait()
            try:
                with Store(path) as store:
                    store.claim({"network a": f"{who:064}"})
            except NeurodeployError as error:
                failed.append(str(error))

        threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(failed) == 7
        assert all("made with other network a" in text for text in failed)


def test_a_cell_that_stands_on_two_curves_is_stored_once(tmp_path: Path) -> None:
    other = replace(CELL, noise="thermal", level=0.0, fixed="mismatch=0.25")
    with Store(tmp_path / "study.sqlite") as store:
        store.add_results(CELL, [0, 1, 2], CORRECT)
        store.place([other, replace(CELL, key="planned")])
        assert store.finished_chips(other) == {0, 1, 2}
        rows = records(store.curves("chips", 0.7))
        assert (len(store.results()), len(store.table("points"))) == (3, 1)
    assert [(row["noise"], row["level"], row["fixed"]) for row in rows] == [
        ("mismatch", 0.25, ""),
        ("thermal", 0.0, "mismatch=0.25"),
    ]
    assert {row["yield"] for row in rows} == {2 / 3}


def test_a_cell_stands_on_several_curves_of_one_noise(tmp_path: Path) -> None:
    """As the nominal chip does, whatever the distribution of a mismatch that it has not."""
    other = replace(CELL, fixed="distribution=lognormal")
    with Store(tmp_path / "study.sqlite") as store:
        store.add_results(CELL, [0, 1, 2], CORRECT)
        store.place([other, CELL])
        store.add_results(other, [3], CORRECT[:1])
        rows = records(store.curves("chips"))
    assert [(row["fixed"], row["n_chips"]) for row in rows] == [("", 4), ("distribution=lognormal", 4)]


def test_damage_inside_a_study_is_named_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as store:
        store.add_results(CELL, range(300), np.ones((300, 100), dtype=bool))
    whole = path.read_bytes()
    page = len(whole) // 2 // 4096 * 4096
    for content in (whole[:page], whole[:page] + b"\xff" * 100 + whole[page + 100 :]):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=f"^{path}: .*damaged") as caught:
            Store(path)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_an_export_has_a_row_per_chip_and_cell(tmp_path: Path) -> None:
    noisy = replace(
        CELL, key="noisy", noise=None, level=None, parameters='{"layers": ["lif1", "lif2"], "thermal": 0.5}'
    )
    path = tmp_path / "new" / "results.csv"
    with Store(tmp_path / "study.sqlite") as store:
        store.add_results(CELL, [0, 7], CORRECT[:2])
        store.add_results(noisy, [0], CORRECT[2:])
        assert export(store, path) == 3
        for name in ("results.txt", "results"):
            with pytest.raises(UsageError, match=r"\.csv or \.parquet is expected"):
                export(store, tmp_path / name)
        with pytest.raises(NeurodeployError, match="the file is as it was before"):
            export(store, tmp_path / "study.sqlite" / "results.csv")
    table = pd.read_csv(path)
    assert list(table["chip_id"]) == [0, 7, 0]
    assert list(table["correct"]) == [7, 0, 10]
    assert list(table["accuracy"]) == [0.7, 0.0, 1.0]
    assert list(table["thermal"]) == [0.0, 0.0, 0.5]
    assert list(table["layers"]) == ["all", "all", "lif1+lif2"]
    assert [one.name for one in path.parent.iterdir()] == ["results.csv"]


def test_options_at_their_default_are_shown_as_what_they_are(tmp_path: Path) -> None:
    options = {"age": 24.0, "decay_as": "tau", "distribution": "lognormal", "temperature_tau": 0.0}
    other = replace(CELL, key="other", noise=None, level=None, parameters=json.dumps(options))
    with Store(tmp_path / "study.sqlite") as store:
        store.add_results(CELL, [0], CORRECT[:1])
        store.add_results(other, [0], CORRECT[1:2])
        for table in (store.results(), store.table("points")):
            shown = [{name: row[name] for name in options} for row in records(table)]
            default = NoiseModel()
            assert shown == [{name: getattr(default, name) for name in options}, options]


def test_parquet_needs_a_package_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.parquet"
    with Store(tmp_path / "study.sqlite") as store:
        store.add_results(CELL, [0, 7], CORRECT[:2])
        if importlib.util.find_spec("pyarrow") is not None:
            export(store, path)
            pd.testing.assert_frame_equal(pd.read_parquet(path), store.results())
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingBackendError, match="pip install pyarrow"):
            export(store, path)


@pytest.mark.parametrize("detail", ["", "{", "5", "[5]", '[{"level": 1}]'])
def test_damaged_details_of_a_calibration_are_named(detail: str) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="details of a calibration are damaged"):
        left_out(detail)
    assert left_out("[]") == ""
    steps = (
        '[{"level": 2, "name": "one gain", "refused": ""}, {"level": 4, "name": "per neuron", "refused": "no knob"}]'
    )
    assert left_out(steps) == "level 4 (per neuron): no knob"
