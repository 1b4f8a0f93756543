"""What commands print and write: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy import __version__
from neurodeploy.config import DataConfig
from neurodeploy.data.sources import load_data_set
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import load_model
from neurodeploy.sweep.store import Store

SMALL = ("--chip", "loihi2", "--noise", "mismatch=0,0.3", "--chips", "3", "--samples", "20")


def parsed(outcome: Any) -> Any:
    """Standard output as JSON, whole and strict."""
    assert outcome.code == 0, outcome
    return json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_chips_and_targets(run: Any) -> None:
    chips = parsed(run("chips", "--json"))
    assert {"ideal", "loihi2", "mixed-signal", "xylo-a2", "xylo-a3", "xylo-imu"} <= set(chips)
    assert chips["xylo-a2"]["hidden"] == 1000
    assert chips["loihi2"]["weight_bits"] == 8
    targets = parsed(run("targets", "--json"))
    found = {row["target"]: row["chip"] for row in targets}
    wanted = {"lava": "loihi2", "rockpool": "mixed-signal", "nir": "ideal", "xylo": "xylo-a2"}
    assert wanted.items() <= found.items()
    for command, names in (("chips", chips), ("targets", wanted)):
        outcome = run(command)
        assert (outcome.code, outcome.err) == (0, "")
        assert all(name in outcome.out for name in names)


def test_doctor_says_what_is_there_without_changing_anything(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURODEPLOY_HOME", str(tmp_path / "home"))
    found = parsed(run("doctor", "--json"))
    assert (found["versions"]["neurodeploy"], found["python"]) == (__version__, sys.executable)
    assert {"lava", "rockpool", "nir", "xylo"} <= set(found["backends"])
    assert found["backends"]["lava"]["version"] is None  # not "no": for scripts
    assert found["cpu_count"] == os.cpu_count()
    outcome = run("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert "rockpool" in outcome.out
    assert not (tmp_path / "home").exists()


def test_inspect_prints_a_row_per_layer(run: Any, model_file: Path) -> None:
    content = parsed(run("inspect", model_file, "--target", "lava", "--json"))
    assert (content["fits"], content["warnings"]) == (True, [])
    assert [row["layer"] for row in content["rounding"]] == ["lif1", "lif2", "readout"]
    outcome = run("inspect", model_file, "--target", "lava")
    assert outcome.out.splitlines()[-1] == "fits lava: yes"
    assert outcome.out.startswith("layer ")


def test_export_writes_beside_the_model_by_default(run: Any, model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(model_file.read_bytes())
    outcome = run("export", path, "--target", "lava")
    assert outcome.code == 0
    assert outcome.out.startswith(f"{tmp_path / 'net-lava'}: golden.safetensors, ")
    assert f"next: neurodeploy run {tmp_path / 'net-lava'} --backend lava" in outcome.err
    assert load_artifact(tmp_path / "net-lava").target == "lava"
    content = parsed(run("export", path, "--target", "rockpool", "-o", tmp_path / "own", "--json"))
    assert content["folder"] == str(tmp_path / "own")
    assert content["files"] == sorted(os.listdir(tmp_path / "own"))
    assert {"manifest.json", "rockpool.json"} <= set(content["files"])


def test_export_goes_into_the_folder_where_one_stands(
    run: Any, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", model_file, "--target", "lava", "-o", ".").code == 0
    assert load_artifact(tmp_path).target == "lava"


@pytest.mark.parametrize("backend", ["engine", "reference"])
def test_run_proves_an_artifact(run: Any, artifact: Path, tmp_path: Path, backend: str) -> None:
    words = ("run", artifact, "--backend", backend)
    proof = parsed(run(*words, "--json", "-o", tmp_path / "new" / "proof.json"))
    assert json.loads((tmp_path / "new" / "proof.json").read_text()) == proof
    assert (proof["samples"], proof["mismatched_spikes"], proof["mismatched_voltages"]) == (32, 0, 0)
    assert parsed(run(*words, "--samples", "3", "--json"))["samples"] == 3
    assert parsed(run(*words, "--samples", "33", "--json"))["samples"] == 32
    assert parsed(run(*words, "--data", "digits", "--samples", "40", "--json"))["samples"] == 40
    outcome = run(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{backend} {__version__}, chip loihi2, 32 samples\n")
    loaded = load_artifact(artifact)
    right = np.mean(loaded.golden.readout.argmax(axis=1) == loaded.golden.labels)
    assert f"inputs: 32 test samples of the artifact; the reference is right in {100 * right:.2f} %\n" in outcome.out
    test = load_data_set(DataConfig(), loaded.program.steps, 0).test.take(slice(40))
    right = np.mean(reference.run(loaded.program, test.inputs).decisions == test.labels)
    outcome = run(*words, "--data", "digits", "--samples", "40")
    assert f"inputs: 40 test samples of digits; the reference is right in {100 * right:.2f} %\n" in outcome.out


def test_sweep_calibrate_and_report(run: Any, model_file: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.sqlite"
    words = (model_file, *SMALL, "-o", study)
    rows = parsed(run("sweep", *words, "--json"))
    keys = ("chip", "noise", "level", "calibrated", "n_chips", "n_samples")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("loihi2", "mismatch", 0.0, False, 3, 20),
        ("loihi2", "mismatch", 0.3, False, 3, 20),
    ]
    assert all(0 <= row["ci_low"] <= row["accuracy_mean"] <= row["ci_high"] <= 1 for row in rows)
    trims = parsed(run("calibrate", *words, "--json"))
    assert [(row["level"], row["chip_runs"]) for row in trims] == [(0.0, 16.0), (0.3, 16.0)]
    assert trims[1]["selection_after"] >= trims[1]["selection_before"]
    assert len(parsed(run("sweep", *words, "--calibrated", "4", "--json"))) == 4
    outcome = run("sweep", *words)
    assert (outcome.code, outcome.out.splitlines()[0].split()[:3]) == (0, ["chip", "noise", "level"])
    assert f"next: neurodeploy report {tmp_path}" in outcome.err
    outcome = run("report", tmp_path, "-o", tmp_path / "page")
    assert (outcome.code, outcome.out) == (0, f"{tmp_path / 'page' / 'report.html'}\n")
    assert (tmp_path / "page" / "report.html").is_file()


def test_a_study_keeps_its_seed_and_samples(run: Any, model_file: Path, tmp_path: Path) -> None:
    words = (model_file, *SMALL[:6], "-o", tmp_path / "study.sqlite")
    assert run("sweep", *words, "--samples", "5").code == 0
    for other in (("--samples", "6"), ("--samples", "5", "--seed", "1")):
        outcome = run("sweep", *words, *other)
        assert outcome.code == 2
        assert "name another file with -o" in outcome.err
    with Store(tmp_path / "study.sqlite") as store:
        assert set(store.chips()["n_samples"]) == {5}


def test_train_writes_a_model_that_exports(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    words = ("--epochs", "1", "--set", "network.channels=[4]", "--set", "network.hidden=8", "--set", "network.steps=2")
    content = parsed(run("-q", "train", *words, "-o", path, "--json"))
    assert content["model"] == str(path)
    assert 0 <= content["test_accuracy"] <= 1
    outcome = run("export", path, "--target", "lava", "-o", tmp_path / "lava", "--json")
    assert set(parsed(outcome)) == {"folder", "files", "omitted", "scales", "warnings"}


def test_presets_are_listed_and_lie_under_everything_else(run: Any, tmp_path: Path) -> None:
    listed = parsed(run("train", "--list-presets", "--json"))
    assert {"digits", "mnist", "paper-cifar-10", "shd"} <= set(listed)
    outcome = run("train", "--list-presets")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(name in outcome.out and title in outcome.out for name, title in listed.items())
    path, file = tmp_path / "model.pt", tmp_path / "experiment.yaml"
    file.write_text("data: {name: digits}\nnetwork: {channels: [4], hidden: 8}\ntrain: {epochs: 3, batch_size: 99}\n")
    words = ("--preset", "paper-mnist", "--config", file, "--set", "train.batch_size=64", "--set", "train.epochs=2")
    shorter = ("--set", "train.milestones=[1]", "--epochs", "1", "-o", path)
    outcome = run("-q", "train", *words, *shorter)
    assert (outcome.code, outcome.err) == (0, "")
    assert re.search(
        r"^best on test: 0\.\d+ in epoch 1 \(.*selected on the test set, not a test", outcome.out, re.MULTILINE
    )
    config = load_model(path).config
    assert (config.data.name, config.network.channels, config.network.dropout) == ("digits", (4,), 0.2)
    assert (config.train.epochs, config.train.batch_size, config.train.optimizer) == (1, 64, "sgd")


def test_quiet_says_nothing_but_the_result(run: Any, model_file: Path, tmp_path: Path) -> None:
    outcome = run("-q", "sweep", model_file, *SMALL, "-o", tmp_path / "study.sqlite")
    assert (outcome.code, outcome.err) == (0, "")
    assert run("-q", "export", model_file, "--target", "lava", "-o", tmp_path / "lava").err == ""


def test_json_through_a_pipe_is_json_alone(model_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "neurodeploy", "sweep", str(model_file), *SMALL, "--json", "-o", "study.sqlite"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert (ended.returncode, len(json.loads(ended.stdout)), "Traceback" in ended.stderr) == (0, 2, False)


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    code = "import sys; from neurodeploy.cli import main; sys.argv = ['neurodeploy', 'chips', '--json']; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(60)
