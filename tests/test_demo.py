"""The whole path in small: each step leaves its file, the summary has its keys, and a second run replaces the first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurodeploy import demo, presets
from neurodeploy.errors import FileFormatError
from neurodeploy.export.target import Backend, Target
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.proof import prove
from neurodeploy.simulate import engine
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.study import make_studies
from neurodeploy.sweep import run as sweeping
from neurodeploy.sweep import work
from neurodeploy.sweep.plan import parse_axis
from neurodeploy.sweep.store import open_existing

CHIPS, SAMPLES = 2, 20
LEVELS = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5]
ROW = {
    "chip", "noise", "level", "n_chips", "n_samples", "accuracy_mean", "accuracy_p05", "ci_low", "ci_high", "calibrated"
}  # fmt: skip


def run(folder: Path) -> tuple[Path, list[str], list[tuple[str, int, int]]]:
    """(page, what was said, progress) of a demo in small."""
    said: list[str] = []
    seen: list[tuple[str, int, int]] = []
    page = demo.run_demo(folder, CHIPS, 2, SAMPLES, 1.25, said.append, lambda *call: seen.append(call), bar=False)
    return page, said, seen


def check_summary(summary: dict[str, Any]) -> None:
    for name in ("test_accuracy", "validation_accuracy", "quantized_accuracy"):
        assert 0 <= summary[name] <= 1
    assert summary["lava"]["version"] == "0.10.0"
    assert (summary["lava"]["samples"], summary["rockpool"]["samples"]) == (32, 32)
    assert [row["layer"] for row in summary["lava"]["layers"]] == ["lif1", "lif2", "readout"]
    for name in ("lava", "rockpool"):
        assert (summary[name]["mismatched_spikes"], summary[name]["mismatched_voltages"]) == (0, 0)
        assert summary[name]["spikes_compared"] > 10_000
    assert set(summary["seconds"]) == {"setup", "train", "export", "sweep", "calibrate"}
    assert summary["seconds"]["setup"] == 1.2
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    assert {"python", "numpy", "torch", "platform", "cpu_count"} <= set(summary["environment"])
    assert summary["data"] == {"name": "digits", "train": 1293, "validation": 144, "test": 360}


def check_sweep(rows: list[dict[str, Any]], quantized: float) -> None:
    assert all(set(row) == ROW for row in rows)
    points = {(row["chip"], row["noise"], row["calibrated"], row["level"]) for row in rows}
    curves = [("mismatch", False), ("mismatch", True), ("thermal", False)]
    assert points == {
        (chip, *curve, level) for chip in ("loihi2", "mixed-signal") for curve in curves for level in LEVELS
    }
    assert len(rows) == len(points)
    for row in rows:
        assert (row["n_chips"], row["n_samples"]) == (CHIPS, SAMPLES)
        assert 0 <= row["ci_low"] <= row["accuracy_mean"] <= row["ci_high"] <= 1
        if row["level"] == 0 and row["chip"] == "loihi2":
            assert row["accuracy_mean"] == pytest.approx(quantized)


def test_the_demo_leaves_what_it_promises_and_runs_again(
    tmp_path: Path, stand_in: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lava is stood in for by the engine, so that no vendor's environment is needed, and the network is a small one."""
    small = {"network": {"channels": (4,), "hidden": 32}, "train": {"batch_size": 64}}
    monkeypatch.setattr(presets, "read", lambda name: small)
    stand_in("lava", run=engine.run, backend=lambda: Backend("0.10.0", "the engine in its place"))
    target = stand_in("rockpool")
    if target.backend().version is None:
        stand_in("rockpool", run=engine.run, variants={}, backend=lambda: Backend("3.1.0", "the engine in its place"))
    folder = tmp_path / "demo"

    page, said, seen = run(folder)
    assert page == folder / "report.html"
    assert page.stat().st_size > 10_000
    summary = json.loads((folder / "summary.json").read_text())
    check_summary(summary)
    check_sweep(summary["sweep"], summary["quantized_accuracy"])
    assert [line[:3] for line in said if line[1:3] == "/5"] == [f"{number}/5" for number in range(1, 6)]
    assert {(done, of) for _, done, of in seen} == {(CHIPS, CHIPS)}
    model = load_model(folder / "model.pt")
    assert model.metrics["test_accuracy"] == summary["test_accuracy"]
    for name in ("lava", "rockpool"):
        artifact = load_artifact(folder / name)
        assert prove(artifact, "engine")["mismatched_spikes"] == 0
        assert json.loads((folder / f"proof-{name}.json").read_text())["backend"] == name
    with open_existing(folder / "study.sqlite") as store:
        assert len(store.chips()) == 2 * 3 * len(LEVELS) * CHIPS

    calls = []
    real = work._measure
    monkeypatch.setattr(work, "_measure", lambda *args: calls.append(args) or real(*args))
    page.unlink()
    again, _, _ = run(folder)
    assert again.is_file()
    second = json.loads((folder / "summary.json").read_text())
    assert (second["sweep"], second["test_accuracy"]) == (summary["sweep"], summary["test_accuracy"])
    assert calls == []  # the same network: the study went on where it was


def test_the_study_of_another_network_is_replaced_and_that_of_the_same_kept(model: Model, tmp_path: Path) -> None:
    path, axes = tmp_path / "study.sqlite", [parse_axis("mismatch=0")]
    for seed, before in ((0, 0), (0, 1), (3, 0), (3, 1)):
        studies = make_studies(model, ["loihi2"], 1, 5, seed, None)
        with demo._fresh_or_resumed(path, studies) as store:
            assert len(store.chips()) == before
            sweeping.sweep(studies[0], axes, store, False, lambda *_: None)
            assert len(store.chips()) == 1


def test_a_file_that_is_no_study_stops_the_demo_and_stays(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    path.write_text("my notes")
    with pytest.raises(FileFormatError, match="not a study of ours"):
        demo._fresh_or_resumed(path, make_studies(model, ["loihi2"], 1, 5, 0, None))
    assert path.read_text() == "my notes"
