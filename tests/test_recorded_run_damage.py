"""Run folders that were cut off, changed, made up or blown up: one clear error each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_runs import PROGRAM, SAMPLES, STEPS, make
from safetensors.numpy import load, save

from neurodeploy import recorded_run
from neurodeploy.errors import FileFormatError
from neurodeploy.recorded_run import load_run, save_run

Damage = Callable[[Path], None]


def rewrite(**changes: Any) -> Damage:
    """Changes values of run.json."""

    def damage(folder: Path) -> None:
        path = folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def rearrange(change: Callable[[dict[str, Any]], dict[str, Any]], **texts: Any) -> Damage:
    """Changes arrays, with the right SHA-256: what a forger would do."""

    def damage(folder: Path) -> None:
        path = folder / "recording.safetensors"
        content = save(change(load(path.read_bytes())))
        path.write_bytes(content)
        rewrite(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), **texts)(folder)

    return damage


def cut(folder: Path) -> None:
    path = folder / "recording.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder: Path) -> None:
    path = folder / "recording.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def made_up_header(folder: Path) -> None:
    """A header that claims 2^40 bytes."""
    header = b'{"readout":{"dtype":"I64","shape":[1099511627776],"data_offsets":[0,8796093022208]}}'
    content = len(header).to_bytes(8, "little") + header
    (folder / "recording.safetensors").write_bytes(content)
    rewrite(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())(folder)


def directory(folder: Path) -> None:
    (folder / "recording.safetensors").unlink()
    (folder / "recording.safetensors").mkdir()


def nested(folder: Path) -> None:
    (folder / "run.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cut off"),
        (flip, "SHA-256 differs"),
        (made_up_header, "damaged or not a recording"),
        (directory, "not a file"),
        (nested, "damaged"),
        (lambda folder: (folder / "run.json").unlink(), "missing"),
        (lambda folder: (folder / "recording.safetensors").unlink(), "missing"),
        (lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe"), "damaged"),
        (lambda folder: (folder / "run.json").write_text('{"format": NaN}'), "NaN is not a number"),
        (lambda folder: (folder / "run.json").write_text("[]"), "not a run of ours"),
        (rewrite(format="neurodeploy-artifact"), "not a run of ours"),
        (rewrite(version=2), "version 2"),
        (rewrite(evidence="certain"), "evidence 'certain'"),
        (rewrite(facts=[]), "facts is missing or not a dict"),
        (rewrite(bytes=True), "bytes is missing or not a int"),
        (rewrite(versions={"a": 1}), "version of 'a'"),
        (rewrite(shapes={}), "damaged or not a recording"),
        (rewrite(shapes={"a": [STEPS, SAMPLES, 4], "b": [1]}), "shapes of other layers"),
        (rewrite(shapes={"a": [2**40, 2**40, 4]}), "does not hold"),
        (rewrite(shapes={"a": [STEPS, SAMPLES, 3]}), "does not hold 90 packed bits"),
        (rewrite(shapes={"a": [STEPS, SAMPLES, True, 4]}), "shape"),
        (rewrite(shapes={"a": [-1, -120]}), "shape"),
        (rewrite(shapes={"a": [1] * 40}), "shape"),
        (rearrange(lambda arrays: arrays | {"extra": np.zeros(1)}), "unknown array 'extra'"),
        (rearrange(lambda arrays: arrays | {"inputs": np.zeros((5, 6, 3))}), "inputs of type float64"),
        (rearrange(lambda arrays: arrays | {"readout": np.zeros((6, 2), bool)}), "an array of bool"),
        (rearrange(lambda arrays: {n: v for n, v in arrays.items() if n != "readout"}), "damaged"),
        (rearrange(lambda arrays: arrays | {"spikes.a": arrays["spikes.a"].astype(np.int32)}), "packed bits"),
        (rearrange(lambda arrays: arrays | {"readout": np.full((6, 2), np.nan)}), "finite"),
    ],
)
def test_damaged_and_hostile_folders(tmp_path: Path, damage: Damage, message: str) -> None:
    save_run(tmp_path, make())
    damage(tmp_path)
    with pytest.raises(FileFormatError, match=message):
        load_run(tmp_path, PROGRAM)


def test_huge_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path, make())
    size = (tmp_path / "recording.safetensors").stat().st_size
    monkeypatch.setattr(recorded_run, "LARGEST_RECORDING", size)
    load_run(tmp_path)
    monkeypatch.setattr(recorded_run, "LARGEST_RECORDING", size - 1)
    with pytest.raises(FileFormatError, match=f"{size} bytes, allowed are {size - 1}"):
        load_run(tmp_path)
    with (tmp_path / "run.json").open("r+b") as file:
        file.truncate(recorded_run.LARGEST_DESCRIPTION + 1)  # sparse: takes no room
    with pytest.raises(FileFormatError, match="allowed are 4194304"):
        load_run(tmp_path)
