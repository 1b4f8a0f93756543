"""Exit codes: 0 ok, 1 a check failed, 2 usage, 3 a design rule is violated, 4 a backend is missing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from neurodeploy.export.target import Backend, Target
from neurodeploy.simulate import engine
from neurodeploy.simulate.recording import Recording
from neurodeploy.snn.model_file import Model, save_model

StandIn = Callable[..., Target]


def complains(outcome: Any, code: int, *said: str) -> None:
    """One line on standard error, nothing on standard output, no traceback."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    for part in said:
        assert part in outcome.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "export MODEL --target lavva",
            "unknown target 'lavva': did you mean lava? known: dynapse2, lava, nir, rockpool, xylo",
        ),
        ("inspect MODEL --target rokpool", "unknown target 'rokpool': did you mean rockpool?"),
        ("export MODEL --target lava --chip loihi3", "unknown chip 'loihi3': did you mean loihi2 or loihi1?"),
        ("run ARTIFACT --backend engin", "unknown backend 'engin': did you mean engine or nir?"),
        ("run ARTIFACT --data digit", "unknown data set 'digit': did you mean digits?"),
        ("train --data mnits", "unknown data set 'mnits': did you mean mnist"),
        ("train --set train.epoch=3", "train.epoch: unknown, known are epochs"),
        ("train --set train.epochs=0", "train.epochs=0"),
        ("train --set network.steps=0", "network.steps=0"),
        ("train --set network.steps=true", "network.steps=True: Value error, true and false are not allowed here"),
        ("train --preset mnits", "unknown preset 'mnits': did you mean mnist"),
        (
            "train --set train.precision=16 --set train.accelerator=cpu",
            "train.precision=16: half precision needs",
        ),
        ("train --set train.potential_layers=[lif9]", "no layer lif9; layers of neurons are lif1, lif2, lif3"),
        ("train --config nowhere.yaml", "--config nowhere.yaml"),
        (
            "sweep MODEL --chip loihi2 --chip ideal -o STUDY",
            "--chip: given 2 times, and takes one value; several go into",
        ),
        ("train --data mnist -o A -o B --data digits", "--data: given 2 times, and takes one value (see"),
        ("export MODEL -o A --output B --target lava", "--output: given 2 times"),
        ("sweep MODEL --noise mismach -o STUDY", "unknown noise 'mismach': did you mean mismatch"),
        ("sweep MODEL --noise mismatch=-1 -o STUDY", "level -1"),
        ("sweep MODEL --with thermal -o STUDY", "one level is expected"),
        ("sweep MODEL --chip loihi2,mixed -o STUDY", "unknown chip 'mixed': did you mean mixed-signal?"),
        ("sweep MODEL --chip loihi2 --noise mismatch=0 --chips 0 -o STUDY", "--chips 0"),
        ("calibrate MODEL --chip ideal --noise mismatch=0 --chips 1 -o STUDY", "chip ideal has no knob"),
        ("sweep MODEL --chips many -o STUDY", "--chips"),
        ("sweep MODEL --samples 0 -o STUDY", "--samples"),
        ("sweep MODEL --device gpu -o STUDY", "unknown device 'gpu': allowed are cpu, cuda and cuda:N"),
        ("calibrate MODEL --device mps -o STUDY", "unknown device 'mps': allowed are cpu, cuda and cuda:N"),
        ("export MODEL --target", "--target"),
        ("export MODEL", "--target"),
        ("export --target lava", "model"),
        ("export MODEL --target lava --color red", "--color"),
        ("exprot MODEL", "exprot"),
        ("vendor install lavva", "lava"),
        ("report EMPTY", "no *.pt, *.sqlite or proof-*.json there"),
        ("export nowhere.pt --target lava", "nowhere.pt: there is no such file"),
        ("export EMPTY --target lava", "there is no such file"),
        ("run nowhere", "nowhere: not an artifact"),
        ("run EMPTY", "not an artifact"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    run: Any, model_file: Path, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    places = {"MODEL": model_file, "ARTIFACT": artifact, "STUDY": tmp_path / "new" / "study.sqlite", "EMPTY": "empty"}
    complains(run(*(places.get(word, word) for word in words.split())), 2, said)


def test_unknown_names_leave_no_files(run: Any, model_file: Path, tmp_path: Path) -> None:
    run("sweep", model_file, "--chip", "nope", "-o", tmp_path / "study.sqlite")
    run("export", model_file, "--target", "lava", "--chip", "nope", "-o", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_folder_or_study_is_refused(run: Any, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    complains(run("export", model_file, "--target", "lava", "-o", tmp_path), 2, "exists and is not an artifact of ours")
    words = ("--chip", "loihi2", "--noise", "mismatch=0", "--chips", "1", "--samples", "5")
    outcome = run("sweep", model_file, *words, "-o", tmp_path / "notes.txt")
    complains(outcome, 2, "not a study of ours")
    assert (tmp_path / "notes.txt").read_text() == "notes"
    complains(run("sweep", model_file, *words, "-o", tmp_path / "notes.txt" / "x"), 1, str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("command", ["inspect", "export"])
def test_a_violated_design_rule_is_exit_3_with_every_layer(
    run: Any, settled_model: Callable[..., Model], tmp_path: Path, command: str
) -> None:
    path = tmp_path / "model.pt"
    save_model(settled_model(reset="subtract", readout="spike_count"), path)
    outcome = run(command, path, "--target", "lava")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith("error: the network does not fit loihi2: 3 violated\n")
    for name in ("lif1", "lif2", "lif3"):
        assert f"  - layer {name}: reset 'subtract'" in outcome.err
    assert os.listdir(tmp_path) == ["model.pt"]
    assert run(command, path, "--target", "rockpool").code == 0


def test_a_missing_lava_is_exit_4_with_the_command(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURODEPLOY_HOME", str(tmp_path))
    monkeypatch.setattr("neurodeploy.export.lava_process.importable", lambda: False)
    complains(run("run", artifact, "--backend", "lava"), 4, "run `neurodeploy vendor install lava`", str(tmp_path))
    found = json.loads(run("doctor", "--json").out)["backends"]["lava"]
    assert found["version"] is None
    assert "vendor install lava" in found["detail"]


def test_a_missing_rockpool_is_exit_4_with_the_command(
    run: Any, rockpool_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.distribution

    def missing(name: str) -> Any:
        if name == "rockpool":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    complains(run("run", rockpool_artifact, "--backend", "rockpool"), 4, "pip install 'rockpool>=3.1,<3.2'")
    outcome = run("targets")
    assert outcome.code == 0
    assert "pip install 'rockpool" in outcome.out


def test_a_backend_that_differs_is_exit_1_and_says_where(
    run: Any, artifact: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    def one_spike_wrong(program: Any, inputs: Any) -> Recording:
        recording = engine.run(program, inputs)
        recording.spikes["lif1"][1, 4:5, 2, 3, 5] ^= 1
        return recording

    stand_in("lava", run=one_spike_wrong, backend=lambda: Backend("0.10.0", "here"))
    outcome = run("run", artifact, "--backend", "lava", "-o", tmp_path / "proof.json")
    assert outcome.code == 1
    assert outcome.out.startswith("lava 0.10.0, chip loihi2, 32 samples\n")
    where = "first at step 2, layer lif1, neuron (2, 3, 5), sample 4: spike "
    assert f"error: lava differs from the reference in 1 spikes and 0 voltages; {where}" in outcome.err
    assert json.loads((tmp_path / "proof.json").read_text())["mismatched_spikes"] == 1
    outcome = run("run", artifact, "--backend", "lava", "--json")
    assert (outcome.code, json.loads(outcome.out)["first"].startswith(where)) == (1, True)
    assert run("run", artifact, "--backend", "lava", "--samples", "4").code == 0  # sample 4 is the fifth


def test_an_altered_artifact_is_exit_2(run: Any, artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(artifact, folder)
    content = (folder / "program.safetensors").read_bytes()
    (folder / "program.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    complains(run("run", folder), 2, f"{folder / 'program.safetensors'}: changed since it was exported")


class Harmful:
    """Would make a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("way", ["torch", "pickle", "text", "empty", "truncated", "foreign"])
def test_a_hostile_model_is_refused_and_not_executed(run: Any, model_file: Path, tmp_path: Path, way: str) -> None:
    path, harm = tmp_path / "model.pt", tmp_path / "harm"
    if way == "torch":
        torch.save({"format": "neurodeploy-model", "version": 1, "state": Harmful(harm)}, path)
    elif way == "pickle":
        path.write_bytes(pickle.dumps(Harmful(harm)))
    elif way == "foreign":
        torch.save({"weight": torch.zeros(3)}, path)
    else:
        content = {"text": b"not a model", "empty": b"", "truncated": model_file.read_bytes()[:5000]}
        path.write_bytes(content[way])
    for command in ("export", "inspect"):
        complains(run(command, path, "--target", "lava"), 2, str(path))
    complains(run("sweep", path, "-o", tmp_path / "study.sqlite"), 2, str(path))
    assert not harm.exists()


def test_tracebacks_are_shown_on_demand_only(run: Any) -> None:
    outcome = run("--debug", "run", "nowhere")
    assert outcome.code == 2
    assert "Traceback (most recent call last)" in outcome.err
    assert "FileFormatError" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: nowhere: not an artifact")
    complains(run("run", "nowhere"), 2, "nowhere")
