"""`calibrate` into studies and profiles, `sweep --calibrated LEVEL`, `run --profile`."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import write_npz

from neurodeploy.calibrate.profile_file import FILE, load_profile
from neurodeploy.config import load_config
from neurodeploy.data.sources import load_data_set
from neurodeploy.deployment import export_model
from neurodeploy.errors import UsageError
from neurodeploy.profiles import with_profile
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import Model

SMALL = ("--chip", "mixed-signal", "--samples", 40)
CHIP = ("--with", "mismatch=0.5", "--chip-id", 3)


def parsed(outcome: Any) -> Any:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.fixture(scope="module")
def profile(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of chip 3, made through the library as the command does."""
    from neurodeploy.profiles import calibrate_chip
    from neurodeploy.study import make_studies
    from neurodeploy.sweep.plan import parse_noise

    folder = tmp_path_factory.mktemp("profile") / "chip3"
    (study,) = make_studies([model_file], ["mixed-signal"], 1, 40, 0, None)
    calibrate_chip(study, parse_noise(["mismatch=0.5"]), 3, 168.0, None, 1.0, folder)
    return folder


def test_a_profile_is_made_and_says_what_it_brought(
    run: Any, model_file: Path, profile: Path, rockpool_artifact: Path, tmp_path: Path
) -> None:
    words = ("calibrate", model_file, *SMALL, *CHIP, "-o", tmp_path / "chip3")
    made = parsed(run(*words, "--curve", "--json"))
    assert [point["chip_runs"] for point in made["curve"]] == [*range(2, 16), 16]
    assert made["curve"][-1]["accuracy"] == pytest.approx(made["selection_after"])
    assert (made["chip"], made["chip_id"]) == ("mixed-signal", 3)
    assert made["selection_after"] >= made["selection_before"]
    assert made["cost"]["chip_runs"] == 16
    assert made["steps"][0]["chip_runs"] == 16
    ours, theirs = load_profile(tmp_path / "chip3"), load_profile(profile)
    assert ours.program == theirs.program
    assert ours.selection_after == theirs.selection_after
    outcome = run(*words, "--level", "1+4")
    assert (outcome.code, outcome.out.split()[:3]) == (0, ["level", "name", "knob"])
    assert "time on the chip unknown: no source gives its step" in outcome.out
    assert f"next: neurodeploy run ARTIFACT --profile {tmp_path / 'chip3'}" in outcome.err
    proof = parsed(run("run", rockpool_artifact, "--profile", tmp_path / "chip3", "--json"))
    assert (proof["mismatched_spikes"], proof["samples"], proof["profile"]["chip_id"]) == (0, 32, 3)
    proof = parsed(run("run", rockpool_artifact, "--profile", profile, "--data", "digits", "--samples", 40, "--json"))
    assert proof["accuracy"] == pytest.approx(made["test_after"])


def test_a_profile_runs_on_the_classes_that_were_trained_on(
    run: Any, model: Model, profile: Path, tmp_path: Path
) -> None:
    """Of 360 test digits those of 0 to 3; and of 8-bit samples none, without a profile as with one."""
    config = load_config(None, ["data.classes=4"])
    made, _ = export_model(replace(model, config=config), "rockpool", tmp_path / "out")
    chip, _ = with_profile(made.program, profile)
    test = load_data_set(config.data, made.program.steps, 0).test
    words = ("run", tmp_path / "out", "--data", "digits", "--json")
    for program, extra in ((made.program, ()), (chip, ("--profile", profile))):
        proof = parsed(run(*words, *extra))
        assert (proof["samples"], proof["mismatched_spikes"]) == (len(test), 0)
        assert proof["accuracy"] == np.mean(reference.run(program, test.inputs).decisions == test.labels)
    write_npz(tmp_path / "mine.npz")
    for extra in ((), ("--profile", profile)):
        outcome = run("run", tmp_path / "out", "--data", tmp_path / "mine.npz", *extra)
        assert (outcome.code, outcome.out) == (2, "")
        assert "integers of 0 to 255; of a scale of 0.0625, which no images have, the network takes" in outcome.err


def test_a_run_says_what_noise_of_the_chip_it_leaves_out(
    run: Any, model_file: Path, profile: Path, rockpool_artifact: Path, tmp_path: Path
) -> None:
    noisy = ("--with", "stuck_neurons=0.1", "--with", "thermal=0.2")
    made = run("calibrate", model_file, *SMALL, *CHIP, *noisy, "--level", "2", "-o", tmp_path / "chip3")
    assert made.code == 0, made.err
    outcome = run("run", rockpool_artifact, "--profile", tmp_path / "chip3", "--json")
    assert json.loads(outcome.out)["noise_left_out"] == ["thermal", "stuck_neurons"]
    assert "noise left out: thermal, stuck_neurons; " in outcome.err
    outcome = run("run", rockpool_artifact, "--profile", profile, "--json")
    assert json.loads(outcome.out)["noise_left_out"] == []
    assert "left out" not in outcome.err


@pytest.mark.parametrize(
    ("options", "steps", "rate"),
    [((), 120, 0.005), (("--tuning-steps", 3), 3, 0.005), (("--tuning-steps", 1, "--tuning-rate", 0.2), 1, 0.2)],
)
def test_steps_and_rate_of_level_6(
    run: Any,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[Any, ...],
    steps: int,
    rate: float,
) -> None:
    def asked(study: Any, *rest: Any) -> None:
        raise UsageError(f"asked for {study.options.tuning_steps} steps at {study.options.tuning_rate}")

    monkeypatch.setattr("neurodeploy.profiles.calibrate_chip", asked)
    outcome = run("calibrate", model_file, *SMALL, *CHIP, "--level", "6", *options, "-o", tmp_path / "c")
    assert f"asked for {steps} steps at {rate}" in outcome.err


def test_level_6_runs_the_chip_once_a_step(run: Any, model_file: Path, tmp_path: Path) -> None:
    """And once to judge what was there, once for what it brings."""
    words = (
        "calibrate",
        model_file,
        *SMALL,
        *CHIP,
        "--level",
        "6",
        "--tuning-steps",
        3,
        "-o",
        tmp_path / "c",
        "--json",
    )
    (step,) = parsed(run(*words))["steps"]
    assert step["chip_runs"] == 3 + 2


def test_how_long_it_lasts(run: Any, model_file: Path, tmp_path: Path) -> None:
    words = ("calibrate", model_file, *SMALL, "--with", "mismatch=0.3", "--with", "drift=0.02", "-o", tmp_path / "c")
    made = parsed(run(*words, "--check-at", "age=0:40:20", "--json"))
    assert made["drift"]["amounts"] == [0.0, 20.0, 40.0]
    assert len(made["drift"]["accuracy"]) == 3
    profile = load_profile(tmp_path / "c")
    hours = (profile.expires - profile.made) / timedelta(hours=1)
    assert made["drift"]["calibrate_again"] == pytest.approx(hours, abs=1e-6)
    assert profile.expires <= profile.made + timedelta(hours=40)  # it loses a point before 40 h
    outcome = run(*words, "--check-at", "temperature=0,10")
    assert outcome.code == 0, outcome.err
    assert "temperature + K" in outcome.out
    assert "calibrate again: " in outcome.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("calibrate MODEL --level 7 -o OUT", "calibration level '7': 4, 1-5 or 2+4+5 are expected"),
        ("calibrate MODEL --chip mixed-signal --algorithm newton -o OUT", "unknown algorithm 'newton'"),
        ("calibrate MODEL --chip mixed-signal --measure rate -o OUT", "unknown measure 'rate': did you mean rates"),
        ("calibrate MODEL -o OUT", "a profile is of one network on one chip model; name one with --chip"),
        ("calibrate MODEL --chip mixed-signal --check-at rust=1 -o OUT", "--check-at rust=1: age=0:168:24 (hours)"),
        ("calibrate MODEL --chip mixed-signal --check-at age=0,x -o OUT", "--check-at age=0,x"),
        ("calibrate MODEL --chip mixed-signal --check-at age=0,9 -o OUT", "chips that do not drift do not age"),
        ("calibrate MODEL --chip mixed-signal --valid-hours -3 -o OUT", "a positive number is expected"),
        ("calibrate MODEL --chip mixed-signal --measurements 9999 -o OUT", "--measurements 9999: there are"),
        ("calibrate MODEL --chip xylo-a2 -o OUT", "is digital: every chip computes the same"),
        ("calibrate MODEL --curve -o STUDY", "--curve: for a profile, -o FOLDER"),
        (
            "calibrate MODEL --algorithm secant --measurements 64 -o STUDY",
            "--algorithm and --measurements: for a profile",
        ),
        ("calibrate MODEL --level 4+6 --tuning-steps 9 -o STUDY", "--tuning-steps: for a profile, -o FOLDER"),
        (
            "calibrate MODEL --chip mixed-signal --tuning-steps 9 --tuning-rate 0.1 -o OUT",
            "--tuning-steps and --tuning-rate: of level 6, which --level 4 does not climb",
        ),
        ("calibrate MODEL --chip mixed-signal --level 6 --tuning-rate 0 -o OUT", "a positive rate"),
        ("calibrate MODEL --chip mixed-signal --level 6 --tuning-steps 0 -o OUT", "Invalid value for '--tuning-steps'"),
        ("calibrate MODEL --chip mixed-signal -o TAKEN", "exists and is not a profile of ours"),
        ("calibrate MODEL --chip mixed-signal --noise mismatch=0.3 -o OUT", "noise is given by --with, as in --with"),
        ("calibrate MODEL --chip mixed-signal --noise mismatch -o OUT", "--noise mismatch: one chip's noise is given"),
        ("calibrate MODEL --chip-id 3 -o STUDY", "--chip-id: for a profile, -o FOLDER"),
        ("calibrate MODEL --valid-hours 3 --points 5 -o STUDY", "--valid-hours and --points: for a profile, -o FOLDER"),
        ("calibrate MODEL --chip mixed-signal --points 5 -o OUT", "--points: of --check-at, which is not given"),
        ("calibrate MODEL --chip mixed-signal --chips 2 --jobs 2 -o OUT", "--chips and --jobs: for a study, -o FILE"),
        ("calibrate MODEL --cpus-per-task 2 -o STUDY", "--cpus-per-task: of --ray, which is not given"),
        ("calibrate MODEL --gpus-per-task 0 -o STUDY", "--gpus-per-task: of --ray, which is not given"),
        (
            "calibrate MODEL --chip mixed-signal --cpus-per-task 2 -o OUT",
            "--cpus-per-task: for a study, -o FILE.sqlite",
        ),
        ("sweep MODEL --calibrated 0 -o STUDY", "calibration level '0'"),
        ("run ARTIFACT --profile nowhere", "nowhere/profile.json: No such file"),
        ("run ARTIFACT --profile PROFILE", "profile refused: foreign: it is of a mixed-signal, this is a loihi2"),
        ("run ROCKPOOL --profile EXPIRED", "profile refused: expired: 2026-01-01"),
        ("run ROCKPOOL --profile PROFILE --temperature 311", "stale: made at 300 K, the chip is at 311 K"),
        ("run ROCKPOOL --profile PROFILE --temperature -1", "Invalid value for '--temperature'"),
        ("run ROCKPOOL --temperature 300", "--temperature: is that of the chip of --profile"),
    ],
)
def test_wrong_usage_says_what_and_leaves_nothing(
    run: Any,
    model_file: Path,
    artifact: Path,
    rockpool_artifact: Path,
    profile: Path,
    tmp_path: Path,
    words: str,
    said: str,
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.doc").write_text("x")
    expired = tmp_path / "expired"
    expired.mkdir()
    for path in profile.iterdir():
        (expired / path.name).write_bytes(path.read_bytes())
    content = json.loads((expired / FILE).read_text())
    old = {"made": "2025-12-25T00:00:00+00:00", "expires": "2026-01-01T00:00:00+00:00"}
    content = {name: value for name, value in (content | old).items() if name != "content_sha256"}
    seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (expired / FILE).write_text(json.dumps(content | {"content_sha256": seal}))
    names = {"MODEL": model_file, "ARTIFACT": artifact, "ROCKPOOL": rockpool_artifact, "PROFILE": profile}
    names |= {"OUT": tmp_path / "out", "TAKEN": tmp_path / "taken", "EXPIRED": expired, "STUDY": tmp_path / "s.sqlite"}
    before = sorted(path.name for path in tmp_path.iterdir())
    outcome = run(*(names.get(word, word) for word in words.split()))
    assert outcome.code == 2
    assert said in outcome.err, outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert datetime.fromisoformat(old["made"]).tzinfo is not None


def test_the_command_that_is_named_next_measures_what_was_calibrated(
    run: Any, model_file: Path, tmp_path: Path
) -> None:
    study = tmp_path / "a study.sqlite"
    words = (*SMALL, "--chips", 1, "--noise", "mismatch=0.5", "--noise", "thermal=0.1", "--with", "decay_as=tau")
    made = run("calibrate", model_file, *words, "--level", "1", "--measurements", 128, "-o", study)
    assert made.code == 0, made.err
    named = shlex.split(made.err.split("next: neurodeploy ")[1])
    assert named[:2] == ["sweep", str(model_file)]
    assert sorted(named[2:]) == sorted(map(str, (*words, "--calibrated", "1", "-o", study)))
    rows = parsed(run(*named, "--json"))
    assert [(row["noise"], row["level"], row["ladder"]) for row in rows] == [
        ("mismatch", 0.5, "1"),
        ("thermal", 0.1, "1"),
    ]


def test_levels_stand_side_by_side_in_a_study_and_its_report(run: Any, model_file: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.sqlite"
    words = (model_file, *SMALL, "--chips", 3, "--noise", "mismatch=0,0.5", "-o", study)
    parsed(run("sweep", *words, "--json"))
    for level in ("1", "4", "1-5"):
        made = parsed(run("calibrate", *words, "--level", level, "--json"))
        assert {row["ladder"] for row in made} <= {"1", "4", "1-5"}
        rows = parsed(run("sweep", *words, "--calibrated", level, "--json"))
    assert [(row["ladder"], row["level"]) for row in rows] == [
        (ladder, level) for level in (0.0, 0.5) for ladder in ("", "1", "1-5", "4")
    ]
    by_ladder = {row["ladder"]: row["accuracy_mean"] for row in rows if row["level"] == 0.5}
    assert by_ladder["1-5"] > by_ladder[""]
    shown = run("sweep", *words, "--calibrated", "4", "--show", "differences")
    assert "model, calibrated 4" in shown.out
    assert run("report", tmp_path).code == 0
    page = (tmp_path / "report.html").read_text()
    assert "level 1-5" in page


def test_levels_that_a_chip_has_no_knob_for_are_named(run: Any, model_file: Path, tmp_path: Path) -> None:
    """In the study's rows, beside its table, and in the report of the folder."""
    study = tmp_path / "study.sqlite"
    words = (model_file, "--chip", "dynapse2", "--samples", 20, "--chips", 1, "--noise", "mismatch=0.5", "-o", study)
    made = run("calibrate", *words, "--level", "1-3")
    reason = "level 1 (normalisation): needs threshold or bias per neuron, core, layer; the chip has gain per core"
    assert f"dynapse2: left out: {reason}" in made.err
    (row,) = parsed(run("calibrate", *words, "--level", "1-3", "--json"))
    assert row["left_out"].startswith(reason)
    assert "level 2" not in row["left_out"]
    assert run("report", tmp_path).code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "levels left out" in page
    assert reason in page


def test_where_every_level_has_a_knob_none_is_left_out(run: Any, model_file: Path, tmp_path: Path) -> None:
    words = ("calibrate", model_file, *SMALL, "--chips", 1, "--noise", "mismatch=0.5", "-o", tmp_path / "s.sqlite")
    (row,) = parsed(run(*words, "--json"))
    assert row["left_out"] == ""
    assert "left out" not in run(*words).err
    assert run("report", tmp_path).code == 0
    assert "levels left out" not in (tmp_path / "report.html").read_text(encoding="utf-8")
