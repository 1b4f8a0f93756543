"""What is written takes the place of its own kind only, and what is wrong with a place is said before the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.conftest import Run

from neurodeploy.errors import UsageError
from neurodeploy.files import MODEL, PAGE, PROOF, check_output
from neurodeploy.snn.model_file import Model, save_model


@pytest.fixture
def model_file(model: Model, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "m.pt")
    return tmp_path / "m.pt"


def refused(run: Run, told: str, *words: object) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, ""), done
    assert told in done.err
    assert "Traceback" not in done.err


def test_an_export_beside_the_model_it_reads_keeps_both(run: Run, model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert run("export", model_file, "--target", "nir", "-o", folder).code == 0
    model_file.rename(folder / "model.pt")
    (folder / "notes.txt").write_text("x")
    refused(run, "model.pt, notes.txt", "export", folder / "model.pt", "--target", "nir", "-o", folder)
    assert (folder / "model.pt").is_file()
    (folder / "notes.txt").unlink()
    (folder / "model.pt").rename(model_file)
    assert run("export", model_file, "--target", "nir", "-o", folder).code == 0


def test_an_output_that_is_an_input_is_refused(run: Run, model_file: Path, artifact: Path, tmp_path: Path) -> None:
    before = model_file.read_bytes()
    refused(
        run, "is what is read", "compare", model_file, "engine", "reference", "--target", "nir", "--html", model_file
    )
    refused(run, "is not what `run -o` writes", "run", artifact, "-o", model_file)
    refused(run, "is not what `run -o` writes", "run", artifact, "-o", artifact / "manifest.json")
    assert model_file.read_bytes() == before
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        arrays[f"{split}_samples"] = rng.integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(20) % 2
    np.savez(tmp_path / "own.npz", **arrays)
    before = (tmp_path / "own.npz").read_bytes()
    refused(run, "is what is read", "train", "--data", tmp_path / "own.npz", "-o", tmp_path / "own.npz")
    (tmp_path / "link.pt").symlink_to(tmp_path / "own.npz")
    refused(run, "is what is read", "train", "--data", tmp_path / "own.npz", "-o", tmp_path / "link.pt")
    refused(run, "is not a model file", "train", "--data", "digits", "-o", tmp_path / "own.npz")
    assert (tmp_path / "own.npz").read_bytes() == before
    (tmp_path / "g.nir").write_bytes(b"\x89HDF\r\n\x1a\n")
    refused(run, "is what is read", "import", tmp_path / "g.nir", "--data", "digits", "-o", tmp_path / "g.nir")


def test_each_kind_takes_the_place_of_its_own(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("\n<!DOCTYPE html><p>")
    (tmp_path / "proof").write_text(json.dumps({"backend": "engine", "mismatched_spikes": 0}))
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "empty").write_text("")
    fitting = {(PAGE, "page"), (PROOF, "proof"), (MODEL, "m.pt")}
    for kind in (PAGE, PROOF, MODEL):
        check_output("-o", tmp_path / "new", kind)
        check_output("-o", tmp_path / "empty", kind)
        check_output("-o", None, kind)
        for name in ("page", "proof", "package.json", "m.pt"):
            if (kind, name) in fitting:
                check_output("-o", tmp_path / name, kind)
                continue
            with pytest.raises(UsageError, match=f"-o {tmp_path / name}: exists and is not {kind.what}"):
                check_output("-o", tmp_path / name, kind)


@pytest.mark.parametrize("place", [".", "", "a" * 300, "loop"])
def test_a_place_that_cannot_be_is_refused_before_the_work(
    run: Run, place: str, artifact: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr("neurodeploy.proof.prove", None)
    monkeypatch.setattr("neurodeploy.compare.backends.compare_backends", None)
    refused(run, "-o ", "run", artifact, "-o", place)
    refused(run, "-o ", "train", "-o", place)
    refused(run, "--html ", "compare", model_file, "engine", "reference", "--target", "nir", "--html", place)


def test_the_default_place_of_an_export_follows_what_is_right(run: Run, model_file: Path) -> None:
    refused(run, "there is no such file", "export", ".", "--target", "lava")
    refused(run, "there is no such file", "export", "", "--target", "lava")
    refused(run, "unknown target 'a/b'", "export", model_file, "--target", "a/b")
    known = "known: dynapse2, lava, nir, rockpool, xylo, xylo-a2, xylo-a3, xylo-imu"
    refused(run, known, "export", model_file, "--target", "moon")


def test_options_that_do_not_apply_are_refused(run: Run, artifact: Path, model_file: Path) -> None:
    refused(run, "--data-root: of which data set?", "run", artifact, "--data-root", "/nonexistent")
    refused(run, "--encoding: of which data set?", "run", artifact, "--encoding", "rate")
    refused(run, "--encoding: only for .net", "run", artifact, "--data", "digits", "--encoding", "rate")
    refused(run, "--seed: is for --virtual-chip", "export", model_file, "--target", "lava", "--seed", "0")


def test_a_name_that_no_file_can_have_is_one_line(run: Run, model_file: Path) -> None:
    for words in (("run", "a" * 300), ("export", model_file, "--target", "nir", "-o", "a" * 300)):
        done = run(*words)
        assert done.code in (1, 2)
        assert len(done.err.splitlines()) == 1
        assert "File name too long" in done.err or "not an artifact" in done.err


def test_a_training_that_cannot_store_or_run_is_refused_before_it(
    run: Run, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(run, "Not a directory; name another file", "train", "--epochs", "1", "-o", model_file / "x.pt")
    monkeypatch.setattr("neurodeploy.snn.train.cores", lambda: 2)
    words = ("train", "--epochs", "1", "-o", model_file.parent / "new.pt", "--set", "train.accelerator=cpu", "--set")
    kept = model_file.parent / "new.pt.checkpoints" / "best.ckpt"  # of an earlier training
    kept.parent.mkdir()
    kept.write_bytes(b"earlier")
    said = "train.devices=3: a process for each, and there are 2 CPU cores here; allowed are 1 to 2"
    refused(run, said, *words, "train.devices=3")
    refused(run, "train.precision=16: half precision needs a GPU", *words, "train.precision=16")
    assert kept.read_bytes() == b"earlier"


def test_a_data_set_of_that_name_is_no_file_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_output("-o", Path("digits"), MODEL, ("digits", None))
    Path("digits").write_bytes(b"")
    with pytest.raises(UsageError, match="-o digits: is what is read"):
        check_output("-o", Path("digits"), MODEL, ("digits", None))


def test_closed_standard_output_is_no_error() -> None:
    command = (
        "import sys; sys.stdout = None; from neurodeploy.cli import main; sys.argv = ['neurodeploy', 'chips']; main()"
    )
    done = subprocess.run([sys.executable, "-c", command], stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_where_deploy_goes_is_named_as_typed(run: Run, artifact: Path) -> None:
    refused(run, "known: dynapse2, loihi2, xylo-a2, xylo-a3, xylo-imu", "deploy", artifact, "--target", "a/b")


def test_a_seed_that_a_study_cannot_hold_is_refused(run: Run, model_file: Path) -> None:
    refused(run, "--seed", "sweep", model_file, "--seed", str(2**63))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_full_disk_on_standard_output_is_one_line() -> None:
    command = [sys.executable, "-m", "neurodeploy", "chips"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output, or a file that is written: No space left on device\n",
    )


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_is_one_line(run: Run, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("neurodeploy.cli.app", lambda **_: fails())
    done = run("chips")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert done.err.startswith("error: not enough memory (")


def test_another_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from neurodeploy import cli

    def fails(**_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("neurodeploy.cli.app", fails)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main()
