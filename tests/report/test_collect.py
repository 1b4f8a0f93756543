"""Collection: what lies in a run's folder becomes tables, and damaged or double files are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neurodeploy.deployment import export_model
from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.export.target import Target
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.proof import prove
from neurodeploy.report.collect import collect, recovered
from neurodeploy.report.page import write_report
from neurodeploy.report.tables import ABSENT, calibration_table, tiles
from neurodeploy.simulate import engine
from neurodeploy.snn.model_file import Model, save_model
from neurodeploy.study import make_studies
from neurodeploy.sweep.plan import NoiseAxis, parse_axis
from neurodeploy.sweep.run import sweep
from neurodeploy.sweep.store import Cell, Store, records


def measured(*rows: tuple[str, str, float, bool, float], chip_id: int = 0) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["chip", "noise", "level", "calibrated", "accuracy"])
    return table.assign(chip_id=chip_id)


LOSSY = (
    ("a", "mismatch", 0.0, False, 0.9),
    ("a", "mismatch", 0.0, True, 0.2),  # not what was lost is measured against
    ("a", "mismatch", 0.2, False, 0.5),
    ("a", "mismatch", 0.2, True, 0.8),
    ("a", "mismatch", 0.3, False, 0.4),
    ("a", "mismatch", 0.3, True, 0.3),
    ("a", "mismatch", 0.4, False, 0.4),
    ("a", "mismatch", 0.5, True, 0.4),
    ("a", "thermal", 0.2, False, 0.1),
    ("a", "thermal", 0.2, True, 0.9),
    ("b", "mismatch", 0.0, False, 0.6),
    ("b", "mismatch", 0.1, False, 0.7),
    ("b", "mismatch", 0.1, True, 0.9),
)


@pytest.mark.parametrize(
    ("chip", "noise", "level", "share"),
    [
        ("a", "mismatch", 0.2, 0.75),  # 0.3 of 0.4
        ("a", "mismatch", 0.3, -0.2),  # it got worse
        ("a", "mismatch", 0.0, None),  # nothing was lost
        ("a", "mismatch", 0.4, None),  # not calibrated
        ("a", "mismatch", 0.5, None),  # not measured without
        ("a", "mismatch", 0.7, None),  # not measured at all
        ("a", "thermal", 0.2, None),  # no level 0
        ("b", "mismatch", 0.1, None),  # better than without noise
        ("c", "mismatch", 0.1, None),
    ],
)
def test_the_recovered_share_by_value(chip: str, noise: str, level: float, share: float | None) -> None:
    got = recovered(measured(*LOSSY), chip, noise, level)
    assert np.isnan(got) if share is None else got == pytest.approx(share)


def test_the_recovered_share_is_of_the_chips_that_were_calibrated() -> None:
    """Chip 1, which loses much more, was not calibrated; chip 2 has no row without noise."""
    plain = (("a", "mismatch", 0.0, False, 0.9), ("a", "mismatch", 0.2, False, 0.1))
    other = (("a", "mismatch", 0.2, False, 0.3), ("a", "mismatch", 0.2, True, 0.9))
    chips = pd.concat([measured(*LOSSY), measured(*plain, chip_id=1), measured(*other, chip_id=2)])
    assert recovered(chips, "a", "mismatch", 0.2) == pytest.approx(0.75)
    assert np.isnan(recovered(chips[chips["chip_id"] == 2], "a", "mismatch", 0.2))
    assert np.isnan(recovered(pd.DataFrame(), "a", "mismatch", 0.2))


def test_a_study_that_holds_calibrations_only_is_reported(tmp_path: Path) -> None:
    cell = Cell("only", "loihi2", "modelled", "mismatch", 0.2, True, 0)
    row = {"chip_id": 0, "selection_before": 0.25, "selection_after": 0.5, "kept": True, "chip_runs": 16, "samples": 9}
    with Store(tmp_path / "study.sqlite") as store:
        store.add_calibrations(cell, [row | {"codes": b""}])
    data = collect(tmp_path)
    assert [line[:4] for line in calibration_table(data).rows] == [("loihi2", "mismatch", "20.0 %", "not swept")]
    assert "not swept" in write_report(data, tmp_path).read_text("utf-8")


def test_what_was_lost_is_unknown_without_level_0(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        add_cells(store, {(0.2, False): 0.5, (0.2, True): 0.7})
    assert [row[3] for row in calibration_table(collect(tmp_path)).rows] == ["level 0 not swept"]
    with Store(tmp_path / "study.sqlite") as store:
        add_cells(store, {(0.0, False): 0.5})
    assert [row[3] for row in calibration_table(collect(tmp_path)).rows] == ["nothing was lost"]


def test_level_0_with_noise_beside_it_does_not_say_that_nothing_was_lost(tmp_path: Path) -> None:
    """It may have lost accuracy to what is there at every level; the other levels are held against it."""
    with Store(tmp_path / "study.sqlite") as store:
        add_cells(store, {(0.0, False): 0.5, (0.0, True): 0.7, (0.2, False): 0.3, (0.2, True): 0.4}, "thermal=0.1")
    table = calibration_table(collect(tmp_path))
    assert [row[1:4] for row in table.rows] == [
        ("mismatch with thermal=0.1", "0.0 %", ABSENT),
        ("mismatch with thermal=0.1", "20.0 %", "50.0 %"),
    ]
    assert "lost since level 0 of its curve" in table.caption


def test_a_population_on_two_curves_is_counted_once(tmp_path: Path) -> None:
    nothing = Cell("nothing", "loihi2", "modelled", "mismatch", 0.0, False, 0)
    right = np.ones((4, 10), dtype=bool)
    with Store(tmp_path / "study.sqlite") as store:
        for cell in (nothing, replace(nothing, noise="thermal"), replace(nothing, key="more", level=0.1)):
            store.place([cell])
        store.add_results(nothing, range(4), right)
        store.add_results(replace(nothing, key="more", level=0.1), range(4), right)
    data = collect(tmp_path)
    assert len(data.curves) == 3
    assert tiles(data)[-1].detail == "8 chip runs in 2 points"


def add_cells(store: Store, cells: dict[tuple[float, bool], float], fixed: str = "") -> None:
    """(level, calibrated) -> accuracy of its four chips, on ten samples."""
    for (level, calibrated), accuracy in cells.items():
        cell = Cell(f"{level} {calibrated}", "loihi2", "modelled", "mismatch", level, calibrated, 0, fixed=fixed)
        right = np.arange(10) < round(10 * accuracy)
        store.add_results(cell, range(4), np.tile(right, (4, 1)))
        if calibrated:
            rows = [
                {
                    "chip_id": chip_id,
                    "selection_before": 0.25,
                    "selection_after": 0.25 + chip_id / 8,
                    "kept": chip_id > 0,
                }
                | {"chip_runs": 16, "samples": 900, "codes": b""}
                for chip_id in range(4)
            ]
            store.add_calibrations(cell, rows)


def test_calibrations_are_summed_up_by_point(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        add_cells(store, {(0.0, False): 0.9, (0.0, True): 0.9, (0.2, False): 0.5, (0.2, True): 0.7})
    data = collect(tmp_path)
    rows = records(data.calibration)
    assert [(row["chip"], row["noise"], row["level"]) for row in rows] == [
        ("loihi2", "mismatch", 0.0),
        ("loihi2", "mismatch", 0.2),
    ]
    assert [rows[1][name] for name in ("chip_runs", "samples", "kept")] == [16, 900, 3]
    assert [rows[1][f"selection_{when}"] for when in ("before", "after")] == [0.25, 0.4375]
    assert np.isnan(rows[0]["recovered"])
    assert rows[1]["recovered"] == pytest.approx(0.5)
    assert (len(data.curves), len(data.chips), data.proofs, data.rounding.empty, data.training.empty) == (
        4, 16, [], True, True
    )  # fmt: skip
    assert data.summary == {}
    assert data.title.startswith(tmp_path.name)


def test_a_whole_run_is_collected(
    model: Model, tmp_path: Path, stand_in: Callable[..., Target], quiet: Callable[[str, int, int], None]
) -> None:
    stand_in("lava", run=engine.run)
    history = [{"epoch": 1.0, "train_loss": 2.0, "validation_accuracy": 0.5, "validation_loss": 1.5}]
    save_model(replace(model, history=history), tmp_path / "model.pt")
    for name in ("lava", "rockpool"):
        artifact, _ = export_model(model, name, tmp_path / name)
    (tmp_path / "proof-engine.json").write_text(json.dumps(prove(artifact, "engine")))
    study = make_studies(model, ["loihi2"], 2, 10, 0, None)[0]
    with Store(tmp_path / "study.sqlite") as store:
        sweep(study, [parse_axis("mismatch=0,0.2")], store, False, quiet)
    data = collect(tmp_path)
    assert data.title.startswith("digits")
    assert (data.summary["test_accuracy"], data.summary["seed"], data.summary["data"]["name"]) == (0.7, 0, "digits")
    assert data.summary["data"]["test"] == 360
    assert [(proof["backend"], proof["mismatched_spikes"]) for proof in data.proofs] == [("engine", 0)]
    # of the two artifacts the one for the fixed-point chip: its weights have eight bits
    assert list(data.rounding["layer"]) == ["lif1", "lif2", "readout"]
    assert data.rounding["weight_error_rms_percent"].min() > 0.1
    assert np.isnan(data.rounding["threshold"].iloc[-1])
    assert list(data.training["train_loss"]) == [2.0]
    assert data.calibration.empty
    assert write_report(data, tmp_path).is_file()


@pytest.fixture
def quiet() -> Callable[[str, int, int], None]:
    return lambda what, done, of: None


def test_a_stored_summary_comes_before_the_models(model_file: Path, tmp_path: Path) -> None:
    shutil.copy(model_file, tmp_path / "model.pt")
    (tmp_path / "summary.json").write_text(json.dumps({"test_accuracy": 0.25, "data": {"name": "mine"}}))
    data = collect(tmp_path)
    assert (data.summary["test_accuracy"], data.title.split(":")[0]) == (0.25, "mine")


@pytest.mark.parametrize("summary", [{}, {"data": None}, {"data": []}, {"data": "digits"}, {"data": {}}])
def test_a_summary_without_a_name_is_called_by_its_folder(model_file: Path, tmp_path: Path, summary: Any) -> None:
    shutil.copy(model_file, tmp_path / "model.pt")
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert collect(tmp_path).title.split(":")[0] == tmp_path.name


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=rf"^{folder}: no \*\.pt, \*\.sqlite or proof-\*\.json there"):
            collect(folder)


@pytest.mark.parametrize("name", ["summary.json", "proof-lava.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff", b"[" * 10**5])
def test_damaged_json_is_named(model_file: Path, tmp_path: Path, name: str, content: bytes) -> None:
    shutil.copy(model_file, tmp_path / "model.pt")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=f"^{tmp_path / name}: (damaged|an object is expected)"):
        collect(tmp_path)


def test_an_imported_network_is_not_called_trained(model: Model, tmp_path: Path) -> None:
    metrics = {"imported_from": "mine.nir", "test_accuracy": 0.25, "test_images": 40}
    save_model(replace(model, metrics=metrics), tmp_path / "model.pt")
    data = collect(tmp_path)
    assert data.title == "digits: from mine.nir to virtual chips"
    assert tiles(data)[0].detail == "network of mine.nir, 40 test samples"
    assert "seed" not in data.summary  # nothing here was drawn by one


@pytest.mark.parametrize("name", ["model.pt", "study.sqlite"])
def test_a_damaged_model_or_study_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not what its name says")
    with pytest.raises(FileFormatError, match=f"^{tmp_path / name}: "):
        collect(tmp_path)


def test_a_damaged_artifact_is_named(model: Model, model_file: Path, tmp_path: Path) -> None:
    shutil.copy(model_file, tmp_path / "model.pt")
    export_model(model, "lava", tmp_path / "lava")
    (tmp_path / "lava" / "program.safetensors").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"lava/program\.safetensors"):
        collect(tmp_path)


def test_a_proof_that_lacks_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "proof-lava.json").write_text("{}")
    with pytest.raises(UsageError, match="proof 0 lacks backend"):
        collect(tmp_path)


@pytest.mark.parametrize("suffix", ["pt", "sqlite"])
def test_two_models_or_studies_in_a_folder_are_refused(model_file: Path, tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        if suffix == "pt":
            shutil.copy(model_file, tmp_path / f"{name}.pt")
        else:
            Store(tmp_path / f"{name}.sqlite").close()
    counts = "2 models and 0 studies" if suffix == "pt" else "0 models and 2 studies"
    with pytest.raises(UsageError, match=f"^{tmp_path}: {counts}; keep one of each per folder"):
        collect(tmp_path)


def test_other_fixed_noise_is_a_curve_of_its_own(
    model: Model, tmp_path: Path, quiet: Callable[[str, int, int], None]
) -> None:
    study = make_studies(model, ["loihi2"], 1, 5, 0, None)[0]
    study = replace(study, measurement=study.measurement[:4])  # type: ignore[index]
    with Store(tmp_path / "study.sqlite") as store:
        for thermal in (0.0, 0.1):
            for calibrated in (False, True):
                sweep(study, [NoiseAxis("mismatch", (0.2,), NoiseModel(thermal=thermal))], store, calibrated, quiet)
    data = collect(tmp_path)
    assert list(data.curves["noise"]) == ["mismatch"] * 2 + ["mismatch with thermal=0.1"] * 2
    assert set(data.calibration["noise"]) == {"mismatch", "mismatch with thermal=0.1"}
    assert set(data.curves["chip"]) == {"loihi2"}


def test_two_results_for_one_point_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        for key in ("one", "other"):
            cell = Cell(key, "loihi2", "modelled", "mismatch", 0.2, False, 0)
            store.add_results(cell, [0], np.ones((1, 10), dtype=bool))
    said = f"^{tmp_path / 'study.sqlite'}: several results for one network, chip, noise and level"
    with pytest.raises(UsageError, match=said):
        collect(tmp_path)


def test_an_empty_study_makes_empty_tables(tmp_path: Path) -> None:
    Store(tmp_path / "study.sqlite").close()
    data = collect(tmp_path)
    assert (data.curves.empty, data.chips.empty, data.calibration.empty) == (True, True, True)
