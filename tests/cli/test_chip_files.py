"""A chip of one's own on the command line: what docs/mixed-signal.md says, typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def chip_file(run: Run, tmp_path: Path) -> Path:
    """The template, as `chips --template` prints it."""
    printed = run("chips", "--template")
    assert printed.code == 0
    path = tmp_path / "my_chip.yaml"
    path.write_text(printed.out, encoding="utf-8")
    return path


def with_changes(path: Path, name: str, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    other = path.with_name(f"{name}.yaml")
    other.write_text(text.replace("name: my-chip", f"name: {name}").replace(old, new), encoding="utf-8")
    return other


def test_export_and_run_without_the_file(run: Run, model_file: Path, chip_file: Path, tmp_path: Path) -> None:
    done = run("export", model_file, "--target", "rockpool", "--chip", chip_file, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["facts"]["own_chip"]["noise"]["decay_mismatch"] == 0.125
    chip_file.unlink()
    proof = run("run", tmp_path / "out", "--backend", "engine", "--json")
    assert (proof.code, json.loads(proof.out)["chip"]) == (0, "my-chip")
    assert json.loads(proof.out)["mismatched_spikes"] == 0


@pytest.mark.parametrize("command", ["export", "inspect", "sweep"])
def test_fan_in_is_a_violation(run: Run, model_file: Path, chip_file: Path, tmp_path: Path, command: str) -> None:
    small = with_changes(chip_file, "small-chip", "fan_in: 256", "fan_in: 20")
    target = [] if command == "sweep" else ["--target", "rockpool"]
    output = [] if command == "inspect" else ["-o", tmp_path / "made"]
    done = run(command, model_file, *target, "--chip", small, *output)
    assert done.code == 3
    assert "inputs of a neuron, at most" in done.err
    assert "(limit 20); make the layer before it smaller" in done.err
    assert not (tmp_path / "made").exists()


def test_its_noise_in_a_sweep(run: Run, model_file: Path, chip_file: Path, tmp_path: Path) -> None:
    words = ["sweep", model_file, "--chip", chip_file, "--with", chip_file, "--noise", "thermal=0.05", "--chips", 2]
    done = run(*words, "--samples", 40, "-o", tmp_path / "study.sqlite", "--json")
    assert done.code == 0, done.err
    assert '"my-chip"' in done.out
    assert "lognormal" in done.out


def test_a_file_that_is_wrong(run: Run, model_file: Path, chip_file: Path, tmp_path: Path) -> None:
    bad = with_changes(chip_file, "bad-chip", "weight_bits: 5", "weight_bits: 1\nspeed: 3")
    done = run("export", model_file, "--target", "rockpool", "--chip", bad, "-o", tmp_path / "out")
    assert done.code == 2
    assert "weight_bits='1'" in done.err
    assert "speed: unknown, known are name" in done.err
    assert not (tmp_path / "out").exists()
