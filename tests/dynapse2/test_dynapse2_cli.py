"""What a user types for DYNAP-SE2, from training to the board, and the exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurodeploy import cli
from neurodeploy.cli import console
from neurodeploy.config import load_config
from neurodeploy.experiment import train_model

Run = Callable[..., tuple[int, str, str]]
SMALL = ["train.epochs=6", "network.hidden=[48]"]


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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset, smaller."""
    path = tmp_path_factory.mktemp("dynapse2") / "model.pt"
    train_model(load_config(None, SMALL, preset="dynapse2_digits"), path, progress=False)
    return path


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that no chip of the family takes: biases, too many inputs, potentials read out."""
    path = tmp_path_factory.mktemp("dynapse2") / "wide.pt"
    settings = ["network.kind=mlp", "network.hidden=[70]", "network.reset=subtract", "train.epochs=1", "data.bits=4"]
    train_model(load_config(None, settings, {"data.name": "digits"}), path, progress=False)
    return path


def test_inspect_says_cores_and_life(run: Run, model: Path) -> None:
    code, out, _ = run("inspect", model, "--target", "dynapse2")
    assert code == 0
    assert "fits dynapse2: yes" in out
    code, out, _ = run("inspect", model, "--target", "dynapse2", "--json")
    found = json.loads(out)
    assert (code, found["fits"], [row["neurons"] for row in found["cores"]]) == (0, True, [48, 10])
    assert all(0.01 < row["rate"] < 0.95 and row["most"] == 1 for row in found["layers"])
    assert found["agreement"] > 0.85
    assert found["cores"][0]["most synapses"] <= 64


def test_export_and_run(run: Run, model: Path, tmp_path: Path) -> None:
    code, out, err = run("export", model, "--target", "dynapse2", "-o", tmp_path / "out")
    assert code == 0
    assert "dynapse2_memories.json" in out
    assert "--backend dynapse2" in err
    for backend in ("engine", "reference"):
        code, out, _ = run("run", tmp_path / "out", "--backend", backend, "--json", "--samples", 8)
        proof = json.loads(out)
        assert (code, proof["agrees"], proof["samples"]) == (0, True, 8)


def test_a_bundle_and_samples_of_a_data_set(run: Run, model: Path, tmp_path: Path) -> None:
    code, out, _ = run("export", model, "--target", "dynapse2", "--bundle", "-o", tmp_path / "out")
    assert (code, "bundle" in out) == (0, True)
    names = {path.name for path in (tmp_path / "out" / "bundle").iterdir()}
    assert {"run.py", "samna_runner.py", "samna_probe.py", "golden.npz", "dynapsim.npz", "bundle.json"} <= names
    code, out, _ = run("run", tmp_path / "out", "--data", "digits", "--samples", 100, "--json")
    proof = json.loads(out)
    assert (code, proof["samples"], proof["inputs"]) == (0, 100, "100 test samples of digits")
    assert proof["accuracy"] == proof["engine_accuracy"] > 0.75
    code, _, err = run("run", tmp_path / "out", "--data", "n-mnist", "--data-root", tmp_path)
    assert (code, "n-mnist" in err) == (2, True)
    code, _, err = run("run", tmp_path / "out", "--data-root", tmp_path)
    assert (code, "name it with --data" in err) == (2, True)
    code, _, err = run("run", tmp_path / "out", "--profile", tmp_path)
    assert (code, "has no calibration" in err) == (2, True)


def test_run_in_dynapsim(run: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    assert run("export", model, "--target", "dynapse2", "-o", tmp_path / "out", "--json")[0] == 0
    code, out, _ = run("run", tmp_path / "out", "--backend", "dynapse2", "-o", tmp_path / "proof.json")
    assert code == 0
    assert "decisions differ from the engine" in out
    assert json.loads((tmp_path / "proof.json").read_text())["agrees"]


def test_a_network_that_does_not_fit_ends_with_3(run: Run, wide: Path, tmp_path: Path) -> None:
    for words in (("inspect", wide), ("export", wide, "-o", tmp_path / "out")):
        code, _, err = run(*words, "--target", "dynapse2")
        assert code == 3
        for part in ("up to 70 inputs", "4 bits", "reset 'subtract'", "70 biases", "network.readout=spike_count"):
            assert part in err
    assert not (tmp_path / "out").exists()


def test_deploy_without_a_board_ends_with_4(run: Run, model: Path, tmp_path: Path) -> None:
    assert run("export", model, "--target", "dynapse2", "-o", tmp_path / "out", "--json")[0] == 0
    code, _, err = run("deploy", tmp_path / "out", "--target", "dynapse2")
    assert code == 4
    assert f"neurodeploy run {tmp_path / 'out'} --backend dynapse2" in err
    code, _, err = run("deploy", tmp_path / "out", "--target", "loihi2")
    assert code == 2
    assert "goes to dynapse2" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--virtual-chip", 3), "--virtual-chip: not for --target dynapse2"),
        (("--chip", "dynapse3"), "known: dynapse2"),
        (("--bits", 4), "--bits 4"),
    ],
)
def test_options_that_are_not_for_it(run: Run, model: Path, tmp_path: Path, words: Any, message: str) -> None:
    code, _, err = run("export", model, "--target", "dynapse2", "-o", tmp_path / "out", *words)
    assert code == 2
    assert message in err


def test_it_is_listed(run: Run) -> None:
    assert "dynapse2" in {row["target"] for row in json.loads(run("targets", "--json")[1])}
    assert "dynapse2" in run("doctor")[1]
    assert "dynapse2" in json.loads(run("chips", "--json")[1])
