"""export --bundle, deploy and import-run as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hardware_programs import runner_wrote

from neurodeploy.export import loihi2
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.recorded_run import load_run

Run = Callable[..., Any]


def test_a_bundle_lies_within_the_artifact(run: Run, model_file: Path, tmp_path: Path) -> None:
    done = run("export", model_file, "--target", "lava", "--bundle", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "bundle" / "run.py").is_file()
    lines = [line for line in done.out.splitlines() if line.startswith("bundle: ")]
    described = json.loads((tmp_path / "out" / "bundle" / "bundle.json").read_text())
    assert lines == [f"bundle: {note}" for note in described["notes"]]
    assert described["name"] == model_file.stem
    load_artifact(tmp_path / "out")
    again = run("export", model_file, "--target", "lava", "--bundle", "-o", tmp_path / "out", "--json")
    assert json.loads(again.out)["bundle_notes"] == described["notes"]
    plain = run("export", model_file, "--target", "lava", "-o", tmp_path / "out", "--json")
    assert "bundle_notes" not in json.loads(plain.out)
    assert not (tmp_path / "out" / "bundle").exists()  # no bundle of an artifact that is gone


def test_a_bundle_is_for_lava(run: Run, model_file: Path, tmp_path: Path) -> None:
    done = run("export", model_file, "--target", "rockpool", "--bundle", "-o", tmp_path / "out")
    assert (done.code, done.err) == (2, "error: --bundle: only for --target lava, this is rockpool\n")
    assert list(tmp_path.iterdir()) == []


def test_what_the_chip_cannot_hold_is_said_before_anything_is_written(
    run: Run, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loihi2, "violations", lambda program: ["layer a: too much", "layer b: far too much"])
    done = run("export", model_file, "--target", "lava", "--bundle", "-o", tmp_path / "out")
    assert done.code == 3
    assert done.err == (
        "error: the network does not fit Loihi 2 through INRC: 2 violated\n  - layer a: too much\n"
        "  - layer b: far too much\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_deploy_without_lava_loihi(run: Run, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("deploy", artifact, "--target", "loihi2", "-o", tmp_path / "run")
    assert (done.code, done.out) == (4, "")
    for text in (
        "error: Loihi 2 cannot be used from here:",
        "lava-loihi is not installed (no lava.magma.core.model.nc, ",
        "no SLURM: there is no `sinfo` on the PATH",
        "neurodeploy run ARTIFACT --backend lava",
        "neurodeploy export MODEL --target lava --bundle",
    ):
        assert text in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []
    assert run("deploy", artifact, "--target", "loihi", "-o", tmp_path / "run").code == 2
    assert run("deploy", artifact, "--target", "loihi2", "--host", "fax").code == 2


def test_import_run(run: Run, artifact: Path, tmp_path: Path) -> None:
    loaded = load_artifact(artifact)
    runner_wrote(tmp_path / "back", loaded, "loihi2")
    done = run("import-run", tmp_path / "back", "--artifact", artifact, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "measured-silicon, 32 samples" in lines[0]
    assert [line.split()[0] for line in lines[2:-2]] == [layer.name for layer in loaded.program.layers]
    assert lines[-2].startswith("decisions: 0 differ from the reference of what ran")
    assert lines[-1] == "power: total_watt 0.5"
    assert load_run(tmp_path / "run", loaded.program).evidence == "measured-silicon"
    as_json = run("import-run", tmp_path / "back", "--artifact", artifact, "-o", tmp_path / "run", "--json")
    content = json.loads(as_json.out)
    assert content["evidence"] == "measured-silicon"
    assert content["facts"]["comparison"]["mismatched_spikes"] == 0


def test_import_run_of_something_else_than_expected(run: Run, artifact: Path, tmp_path: Path) -> None:
    loaded = load_artifact(artifact)
    first = loaded.program.layers[0].name

    def change(result: dict[str, Any]) -> None:
        result[f"spikes:{first}"][2, 1] ^= 1

    runner_wrote(tmp_path / "back", loaded, "cpu", change)
    done = run("import-run", tmp_path / "back", "--artifact", artifact, "-o", tmp_path / "run")
    assert done.code == 1
    assert (
        f"error: cpu differs from the reference in {loaded.golden.spikes[first][0, 0].size} spikes, 0 voltages"
        in done.err
    )
    assert f"first at step 3, layer {first}" in done.err
    assert load_run(tmp_path / "run").evidence == "bit-exact-sim"  # kept, since it is what came back


def test_import_run_refuses_what_it_cannot_trust(run: Run, artifact: Path, tmp_path: Path) -> None:
    runner_wrote(tmp_path / "back", load_artifact(artifact), "cpu")
    words = ("import-run", tmp_path / "back", "--artifact", artifact, "-o", tmp_path / "run")
    recording = tmp_path / "back" / "recording.safetensors"
    content = recording.read_bytes()
    for damaged in (content[:-1], content[:100] + bytes(1) + content[101:], b""):
        recording.write_bytes(damaged)
        done = run(*words)
        assert done.code == 2
        assert "SHA-256 differs" in done.err
    with recording.open("wb") as file:
        file.truncate(5 * 2**30)  # sparse: takes no room
    assert "5368709120 bytes, allowed are 4294967296" in run(*words).err
    assert run("import-run", artifact, "--artifact", artifact, "-o", tmp_path / "run").code == 2
    assert run("import-run", tmp_path / "nowhere", "--artifact", artifact, "-o", tmp_path / "run").code == 2
    assert not (tmp_path / "run").exists()


def test_the_run_that_is_read_is_not_written_over(run: Run, artifact: Path, tmp_path: Path) -> None:
    runner_wrote(tmp_path / "back", load_artifact(artifact), "loihi2")
    before = {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()}
    words = ("import-run", tmp_path / "back", "--artifact", artifact, "-o")
    assert "is what is read" in run(*words, tmp_path / "back").err
    assert run(*words, tmp_path / "run").code == 0
    (tmp_path / "run" / "notes.txt").write_text("mine")
    done = run(*words, tmp_path / "run")
    assert (done.code, "not part of a run: notes.txt" in done.err) == (2, True)
    done = run("deploy", artifact, "--target", "loihi2", "-o", tmp_path / "run")
    assert (done.code, "not part of a run: notes.txt" in done.err) == (2, True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == before
