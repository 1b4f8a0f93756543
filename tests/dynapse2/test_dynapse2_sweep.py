"""Sweeps of a DYNAP-SE2 artifact: what is typed, the chips, the study file."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dynapse2_networks import chip_network, events

from neurodeploy import cli
from neurodeploy import study_dynapse2 as sweeps
from neurodeploy.cli import console
from neurodeploy.config import load_config
from neurodeploy.deployment_chip import Labelled
from neurodeploy.deployment_dynapse2 import accuracies
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.experiment import train_model
from neurodeploy.hw_models.dynapse2_mismatch import Mismatch, preset
from neurodeploy.study_dynapse2 import ChipNoise, Dynapse2Study, parse_points, sweep_dynapse2
from neurodeploy.sweep.store import Store

Run = Callable[..., tuple[int, str, str]]


def test_what_is_typed() -> None:
    points = parse_points(["mismatch=0:0.2:0.1", "thermal=0.05"], ["weight_mismatch=0.3", "distribution=lognormal"])
    assert [(one.axis, one.level) for one in points] == [
        ("mismatch", 0.0),
        ("mismatch", 0.1),
        ("mismatch", 0.2),
        ("thermal", 0.05),
    ]
    assert points[0].noise == ChipNoise({"weight": 0.3}, "lognormal")
    currents = dict.fromkeys(("Itau_mem", "Itau_syn", "Ispkthr"), 0.2)
    assert points[2].noise == ChipNoise({"weight": 0.3, **currents}, "lognormal")
    assert points[3].noise == ChipNoise({"weight": 0.3}, "lognormal", 0.05)
    assert points[3].noise.parameters() == {"weight": 0.3, "thermal": 0.05, "distribution": "lognormal"}
    assert points[0].fixed == "weight_mismatch=0.3, distribution=lognormal"
    assert not ChipNoise().active
    assert ChipNoise().parameters() == {}


def test_presets_as_axes_and_below_axes() -> None:
    (ranged,), (plain,) = (parse_points(["thermal=0.1"], [text]) for text in ("mismatch=0.2:0.2:1", "mismatch=0.20"))
    assert ranged.fixed == plain.fixed == "mismatch=0.2"
    points = parse_points(["dynap-se"], [])
    assert [one.level for one in points] == [0, 0.5, 1, 1.5, 2]
    assert points[0].noise.mismatch.levels == {}
    assert points[2].noise.mismatch == preset("dynap-se").mismatch
    assert points[4].noise.levels == {"Itau_mem": 0.25, "weight": 0.58}
    (moved,) = parse_points(["weight_mismatch=0.1"], ["dynap-se"])
    assert moved.noise == ChipNoise({"Itau_mem": 0.125, "weight": 0.1}, "lognormal")
    (single,) = parse_points(["Iref=0.1"], ["buechel-05"])
    assert single.noise.levels == {**dict.fromkeys(("Itau_mem", "Itau_syn", "Ispkthr", "weight"), 0.05), "Iref": 0.1}


def test_a_preset_as_axis_leaves_what_is_fixed() -> None:
    nothing, silicon = parse_points(["dynap-se=0,1"], ["Itau_syn=0.1", "thermal=0.2", "distribution=lognormal"])
    assert nothing.noise == ChipNoise({"Itau_syn": 0.1}, "lognormal", 0.2)
    assert silicon.noise == ChipNoise({"Itau_syn": 0.1, "Itau_mem": 0.125, "weight": 0.29}, "lognormal", 0.2)
    (same,) = parse_points(["buechel-10=1"], ["Iref=0.1"])
    assert same.noise.levels == {**dict.fromkeys(("Itau_mem", "Itau_syn", "Ispkthr", "weight"), 0.1), "Iref": 0.1}


def test_what_is_fixed_has_one_name_however_it_is_typed() -> None:
    typed = (
        ["thermal=0.10", "weight=.3", "rockpool", "distribution=lognormal"],
        ["rockpool", "distribution=lognormal", "weight=0.3", "thermal=0.1"],
    )
    assert {parse_points(["mismatch=0.1"], fixed)[0].fixed for fixed in typed} == {
        "rockpool, thermal=0.1, weight=0.3, distribution=lognormal"
    }


@pytest.mark.parametrize(
    ("noise", "fixed", "told"),
    [
        (["dead_neurons=0.1"], [], "unknown noise of DYNAP-SE2 'dead_neurons'"),
        (["mismatch=0.1"], ["Ispkthr=0.1"], "sets Ispkthr, an axis of this sweep"),
        (["thermal=0.1"], ["thermal=0.2"], "sets thermal"),
        (["thermal=0.1"], ["mismatch=0.1", "Itau_mem=0.2"], "Itau_mem is given twice"),
        (["thermal=0.1"], ["mismatch=0,0.1"], "one level is expected"),
        (["thermal=0.1"], ["mismatch"], "one level is expected"),
        (["thermal=0.1"], ["dynap-se", "rockpool"], "one preset at a time"),
        (["thermal=0.1"], ["distribution=uniform"], "unknown distribution 'uniform'"),
        (["thermal=0.1"], ["distribution=lognormal", "distribution=gaussian"], "distribution is given twice"),
        (["dynap-se=0,1"], ["mismatch=0.1"], r"sets Itau_mem, an axis of this sweep \(dynap-se\)"),
        (["rockpool"], ["Iref=0.1"], "sets Iref, an axis of this sweep"),
        (["dynap-se=0,1"], ["Itau_syn=0.1"], "sets Itau_syn as gaussian, but axis dynap-se is lognormal"),
        (["currents=1"], ["distribution=lognormal"], "sets distribution as lognormal, but axis currents is gaussian"),
        (["dynap-se=0,1"], ["currents"], "sets Ispkthr, Itau_syn as gaussian, but axis dynap-se is lognormal"),
        (["thermal=-1"], [], "not negative"),
        (["thermal=x"], [], "levels are written"),
    ],
)
def test_what_is_typed_wrong(noise: list[str], fixed: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_points(noise, fixed)


def study(chips: int = 3, **changes: Any) -> Dynapse2Study:
    network = chip_network(1)
    shown = events(network, 20)
    labels = np.asarray(np.arange(20) % network.outputs)
    return Dynapse2Study(network, "net", Labelled(shown, labels, "20"), chips, **changes)


def test_chips_are_those_of_the_library_and_the_file_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = parse_points(["weight_mismatch=0,0.4"], ["thermal=0.05"])
    asked: list[int] = []
    computed = Dynapse2Study.correct
    monkeypatch.setattr(
        Dynapse2Study, "correct", lambda self, noise, chip: asked.append(chip) or computed(self, noise, chip)
    )
    one = study()
    with Store(tmp_path / "study.sqlite") as store:
        sweep_dynapse2(one, points, store, lambda *_: None)
        table = store.chips()
    assert asked == [0, 1, 2, 0, 1, 2]
    for level in (0.0, 0.4):
        mismatch = Mismatch({"weight": level})
        wanted = accuracies(one.network, mismatch, one.test.inputs, one.test.labels, 3, thermal=0.05)
        assert table[table["level"] == level]["accuracy"].tolist() == wanted.tolist()
    assert set(table["evidence"]) == {"statistical-sim"}
    assert set(table["fixed"]) == {"thermal=0.05"}
    asked.clear()
    with Store(tmp_path / "study.sqlite") as store:
        sweep_dynapse2(study(5, threads=2), points, store, lambda *_: None)
        assert store.chips().groupby("level").size().tolist() == [5, 5]
        assert store.chips()["accuracy"].tolist()[:3] == table["accuracy"].tolist()[:3]
        assert asked == [3, 4, 3, 4]
        with pytest.raises(UsageError, match="made with other seed of the chips"):
            sweep_dynapse2(study(seed=1), points, store, lambda *_: None)


def test_the_nominal_chip_is_modelled_and_stands_on_every_axis(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        sweep_dynapse2(study(2), parse_points(["mismatch=0", "thermal=0"], []), store, lambda *_: None)
        curves = store.curves()
        assert len(store.cells()) == 1
    assert (curves["noise"].tolist(), set(curves["evidence"])) == (["mismatch", "thermal"], {"modelled"})


def test_every_curve_begins_with_its_nominal_chip(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        for fixed in ([], ["distribution=lognormal"]):
            sweep_dynapse2(study(2), parse_points(["mismatch=0,0.1,0.2"], fixed), store, lambda *_: None)
        curves, summary = store.curves(), store.table("summary")
        assert len(store.cells()) == 5
    assert [(row.fixed, row.level) for row in curves.itertuples()] == [
        (fixed, level) for fixed in ("", "distribution=lognormal") for level in (0.0, 0.1, 0.2)
    ]
    assert summary["lowest"].tolist() == [0.0, 0.0]


def test_a_file_that_cannot_be_written_says_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "_CHIPS_AT_ONCE", 2)
    real, calls = Store.add_results, []

    def full(self: Store, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise NeurodeployError("disk full")
        real(self, *arguments)

    monkeypatch.setattr(Store, "add_results", full)
    with Store(tmp_path / "study.sqlite") as store:
        with pytest.raises(NeurodeployError, match=r"disk full; 2 chips of net mismatch 0\.1 are in the study"):
            sweep_dynapse2(study(3), parse_points(["mismatch=0.1"], []), store, lambda *_: None)
        assert len(store.chips()) == 2
    with pytest.raises(UsageError, match="--chips 0"):
        study(0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """(words of a command line) -> (exit code, output, errors)."""

    def type_in(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neurodeploy", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        console._settings.update(tracebacks=False, verbosity=0)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return type_in


def test_the_command(run: Run, tmp_path: Path) -> None:
    settings = ["train.epochs=6", "network.hidden=[32]"]
    train_model(load_config(None, settings, preset="dynapse2_digits"), tmp_path / "model.pt", progress=False)
    out, file = tmp_path / "out", tmp_path / "study.sqlite"
    assert run("export", tmp_path / "model.pt", "--target", "dynapse2", "-o", out, "--json")[0] == 0
    words = ("sweep", out, "--noise", "dynap-se=0,1", "--chips", 3, "--samples", 60, "-o", file)
    code, printed, _ = run(*words, "--json", "--export", tmp_path / "rows.csv")
    rows = json.loads(printed)
    assert (code, [row["level"] for row in rows]) == (0, [0, 1])
    assert [row["n_chips"] for row in rows] == [3, 3]
    assert rows[0]["accuracy_sd"] == 0
    assert 0.5 < rows[1]["accuracy_mean"] <= 1
    assert rows[0]["network"] == "out"
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 7
    code, printed, err = run(*words, "--show", "summary")
    assert (code, "report" in err) == (0, True)
    code, _, err = run("report", tmp_path)
    assert code == 0, err
    assert "dynap-se" in (tmp_path / "report.html").read_text(encoding="utf-8")
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT COUNT(*) FROM result").fetchone() == (6,)
    for words, told in (
        (("--calibrated", 4), "--calibrated: not for an artifact"),
        (("--until", "0.5"), "--until: not for an artifact"),
        (("--chip", "loihi2"), "--chip: not for an artifact"),
        (("--cpus-per-task", 1), "--cpus-per-task: not for an artifact"),
        (("--gpus-per-task", 0, "--ray", "auto"), "--ray, --gpus-per-task: not for an artifact"),
        (("--yield", 0.95), "--yield: not for an artifact"),
        (("--noise", "spike_loss=0.1"), "unknown noise of DYNAP-SE2"),
        (("--jobs", 0), "--jobs 0"),
        (("--noise", "dynap-se", "--with", "mismatch=0.1"), "--with: sets Itau_mem, an axis of this sweep"),
        (("--interval", "chip"), "unknown interval"),
    ):
        code, _, err = run("sweep", out, "-o", tmp_path / "other.sqlite", *words)
        assert (code, told in err) == (2, True), err
        assert not (tmp_path / "other.sqlite").exists()
    code, _, err = run("compare", out, "engine", "reference")
    assert (code, "--backend dynapse2` compares its spikes" in err) == (2, True), err
