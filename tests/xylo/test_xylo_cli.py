"""What the command line does for Xylo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy import deployment_xylo
from neurodeploy.cli import xylo as command
from neurodeploy.config import load_config
from neurodeploy.errors import DesignRuleError, FileFormatError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.experiment import train_model
from neurodeploy.export import xylo as vendor
from neurodeploy.export.xylo_folder import load_xylo
from neurodeploy.simulate import xylo as reference


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("command")
    labels = np.arange(60) % 2
    samples = np.clip(rng.integers(0, 6, (2, 8, 6))[labels] + rng.integers(0, 2, (60, 8, 6)), 0, 15).astype(np.uint8)
    parts = {"train_samples": samples, "train_labels": labels, "test_samples": samples, "test_labels": labels}
    np.savez(folder / "rows.npz", temporal=np.array(True), **parts)
    settings = ["network.kind=mlp", "network.hidden=[10]", "network.steps=8", "network.reset=subtract", "data.bits=4"]
    settings += [
        "network.decay=0.75",
        "network.threshold=0.9",
        "train.epochs=4",
        "train.threads=1",
        "train.batch_size=8",
    ]
    settings += ["train.potential_deviation=0.5"]
    train_model(
        load_config(None, settings, {"data.name": str(folder / "rows.npz")}), folder / "model.pt", progress=False
    )
    return folder / "model.pt"


def test_inspect_prints_every_layer_and_that_it_fits(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.inspect_xylo(model, None, False)
    shown = capsys.readouterr().out
    assert "lif1" in shown
    assert "fits xylo-a2: yes" in shown
    command.inspect_xylo(model, "xylo-a3", True)
    content = json.loads(capsys.readouterr().out)
    assert (content["fits"], content["dead"]) == (True, [])
    assert content["layers"][0]["layer"] == "lif1"
    assert 0 <= content["agreement"] <= 1


def test_export_and_run(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.export_xylo(model, None, tmp_path / "out", False, False)
    assert "xylo_specification.json" in capsys.readouterr().out
    for backend in ("reference", "engine", "xylo"):
        command.run_xylo(tmp_path / "out", backend, 3, tmp_path / "proof.json", True)
        proof = json.loads(capsys.readouterr().out)
        assert proof == json.loads((tmp_path / "proof.json").read_text(encoding="utf-8"))
        assert (proof["backend"], proof["samples"], proof["mismatched_voltages"]) == (backend, 3, 0)
    command.run_xylo(tmp_path / "out", "engine", None, None, False)
    assert "output current" in capsys.readouterr().out
    command.export_xylo(model, "xylo-imu", tmp_path / "out", True, True)
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / "out")


def test_a_difference_is_an_error(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command.export_xylo(model, None, tmp_path / "out", False, True)

    def other(network: Any, inputs: Any) -> Any:
        return vendor.run(network, np.zeros_like(inputs), limits=False)

    monkeypatch.setattr(deployment_xylo.xylo_engine, "run", other)
    with pytest.raises(NeurodeployError, match=r"engine differs from the reference in \d+ spikes and \d+ currents"):
        command.run_xylo(tmp_path / "out", "engine", None, None, True)


def test_a_dead_layer_ends_inspection_with_the_design_rule(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = deployment_xylo.prepare

    def dead(*arguments: Any, **settings: Any) -> Any:
        from dataclasses import replace

        return replace(whole(*arguments, **settings), dead=["layer lif1: silent"])

    monkeypatch.setattr(deployment_xylo, "prepare", dead)
    with pytest.raises(DesignRuleError, match="layer lif1: silent"):
        command.inspect_xylo(model, None, False)
    assert "fits xylo-a2: no" in capsys.readouterr().out


def test_a_chip_can_be_the_target(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.named("xylo-a3", None) == ("xylo", "xylo-a3")
    assert command.named("xylo-a3", "xylo-a3") == ("xylo", "xylo-a3")
    assert command.named("lava", "loihi2") == ("lava", "loihi2")
    with pytest.raises(UsageError, match="--target xylo-a3 --chip xylo-a2: the target names a chip already"):
        command.named("xylo-a3", "xylo-a2")
    command.export_xylo(model, "xylo-a3", tmp_path / "out", False, True, bundle=True)
    assert "bundle" in json.loads(capsys.readouterr().out)["files"]
    assert (tmp_path / "out" / "bundle" / "run.py").is_file()
    with pytest.raises(MissingBackendError, match=r"Without them, the simulator: neurodeploy run .*out --backend xylo"):
        command.deploy_xylo(tmp_path / "out", "xylo", None, "last", "power,time", None)
    for target, record in (("loihi2", "last"), ("xylo-a2", "last"), ("xylo-a3", "some")):
        with pytest.raises(UsageError):
            command.deploy_xylo(tmp_path / "out", target, None, record, "none", None)
    with pytest.raises(FileFormatError, match="result"):
        command.import_xylo(tmp_path, tmp_path / "out")


def test_samples_of_a_data_set(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.export_xylo(model, None, tmp_path / "out", False, True)
    rows = str(model.with_name("rows.npz"))
    capsys.readouterr()
    command.run_xylo(tmp_path / "out", "engine", 40, None, True, rows)
    proof = json.loads(capsys.readouterr().out)
    assert (proof["samples"], proof["inputs"]) == (40, f"40 test samples of {rows}")
    with np.load(rows) as stored:
        shown, labels = stored["test_samples"][:40].transpose(1, 0, 2), stored["test_labels"][:40]
    decided = reference.run(load_xylo(tmp_path / "out").network, shown).decisions
    assert proof["accuracy"] == proof["reference_accuracy"] == (decided == labels).mean() > 0
    command.run_xylo(tmp_path / "out", "engine", None, None, False, rows)
    assert "60 test samples" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"--data digits: samples of shape .*, the network takes \(6,\)"):
        command.run_xylo(tmp_path / "out", "engine", None, None, True, "digits")
    with pytest.raises(UsageError, match="name it with --data"):
        command.run_xylo(tmp_path / "out", "engine", None, None, True, None, "folder")
