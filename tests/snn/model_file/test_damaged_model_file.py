"""model.pt of others: damaged, hostile or foreign files are refused with the reason, and nothing in them runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.errors import FileFormatError
from neurodeploy.snn.checkpoints import load_checkpoint
from neurodeploy.snn.model_file import load_model

Tamper = Callable[[dict[str, Any]], None]


def test_no_such_file(tmp_path: Path) -> None:
    for place in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(FileFormatError, match=r"there is no such file .made by `neurodeploy train`"):
            load_model(place)


def test_an_archive_whose_parts_cannot_be_listed_is_not_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a file that only torch's own reader understands would go round the check of its size."""
    whole = path.read_bytes()
    end = whole.rindex(b"PK\x01\x02")  # the last entry of the list
    path.write_bytes(whole[:end] + b"PK\xff\xff" + whole[end + 4 :])
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("was unpacked"))
    with pytest.raises(FileFormatError, match=r"model\.pt: damaged, truncated or not a model file"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model", b"\x80\x02.", b"PK\x03\x04", b"\x80\x05K\x01."])
def test_a_file_that_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"model\.pt: "):
        load_model(tmp_path / "model.pt")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.95, 0.9999])
def test_a_truncated_file_is_refused(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileFormatError, match=r"model\.pt: damaged, truncated or not a model file"):
        load_model(path)


def test_flipped_bytes_give_one_kind_of_error_or_a_model(path: Path) -> None:
    """Mostly in the structure, which lies at the front; flips among the weights cannot be seen."""
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, 6000, 150):
        path.write_bytes(content[:place] + bytes((content[place] ^ (1 << rng.integers(8)),)) + content[place + 1 :])
        try:
            load_model(path)
        except FileFormatError:
            refused += 1
    assert refused > 20


def test_an_hdf5_file_is_told_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "graph.nir").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(FileFormatError, match=r"graph\.nir: an HDF5 file, .* `neurodeploy import .*graph\.nir --data"):
        load_model(tmp_path / "graph.nir")


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("where", ["metrics", "pickle", "legacy"])
def test_pickled_objects_are_refused_and_not_executed(where: str, path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    if where == "pickle":
        path.write_bytes(pickle.dumps({"format": Bomb(victim)}))
    else:
        content = torch.load(path, weights_only=True)
        content["metrics"]["x"] = Bomb(victim)
        torch.save(content, path, _use_new_zipfile_serialization=where != "legacy")
    with pytest.raises(FileFormatError, match=r"holds Python objects .* nothing was executed"):
        load_model(path)
    assert not victim.exists()


def test_a_foreign_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileFormatError, match=r"model\.pt: damaged, truncated or not a model file"):
        load_model(path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"format": "other"}, torch.zeros(3), 5, None])
def test_a_torch_file_of_something_else_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(FileFormatError, match=r"model\.pt: not a model of ours"):
        load_model(path)


@pytest.mark.parametrize("version", [0, 1, 3, None, "2"])
def test_another_version_is_refused(version: Any, path: Path) -> None:
    tamper(path, lambda content: content.update(version=version))
    with pytest.raises(FileFormatError, match=f"version {version}, this program reads 2; train the model again"):
        load_model(path)


@pytest.mark.parametrize("how", ["packed", "twice"])
def test_a_file_that_unpacks_to_more_than_it_is_is_not_unpacked(
    how: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch makes room for all that the archive claims."""
    with zipfile.ZipFile(path) as whole:
        parts = {one.filename: whole.read(one) for one in whole.infolist()}
    method = zipfile.ZIP_DEFLATED if how == "packed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in parts.items():
            packed.writestr(name, content + (bytes(2**20) if how == "packed" else b""))
        if how == "twice":  # many names for one place in the file
            packed.filelist += [max(packed.filelist, key=lambda one: one.file_size)] * 100
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(FileFormatError, match="unpacks to more than it is"):
        load_model(path)
    with pytest.raises(FileFormatError, match=r"--resume: .*unpacks to more than it is"):
        load_checkpoint(path)


def tamper(path: Path, change: Tamper) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def put(*names: str, value: Any) -> Tamper:
    """Puts a value at content[a][b]…"""

    def change(content: dict[str, Any]) -> None:
        for name in names[:-1]:
            content = content[name]
        content[names[-1]] = value

    return change


def huge(content: dict[str, Any]) -> None:
    """Sizes that are each allowed: the first linear layer would take 80 GB, claimed by a tensor of one value."""
    content["input"]["shape"] = [1, 2000, 4000]
    content["config"]["network"] |= {"channels": [1], "hidden": 10**4}
    content["state"]["layers.linear2.weight"] = torch.zeros(1).expand(10**4, 2 * 10**6)


TAMPERED: dict[str, tuple[Tamper, str]] = {
    "no config": (lambda content: content.pop("config"), "'config'"),
    "config unknown": (put("config", "train", "x", value=1), r"train\.x: unknown"),
    "config out of range": (put("config", "network", "decay", value=7.0), r"network\.decay=7\.0"),
    "config of the wrong type": (put("config", value=[1]), "configuration"),
    "another network": (put("config", "network", "hidden", value=7), r"state .*shape: layers\.linear2\.weight, "),
    "huge network": (put("config", "network", "hidden", value=2**16), "state .*shape: layers"),
    "more classes than there are": (put("classes", value=11), r"state .*shape: layers\.linear3\.weight, "),
    "one class": (put("classes", value=1), "1 classes.*out of range"),
    "classes without end": (put("classes", value=float("inf")), "infinity"),
    "huge input": (put("input", "shape", value=[1, 10**6, 10**6]), "out of range"),
    "huge dimensions": (put("input", "shape", value=[2**31] * 30), "out of range"),
    "flat input": (put("input", "shape", value=[64]), r"kind=convnet: needs images of shape"),
    "empty input": (put("input", "shape", value=[1, 0, 8]), "every dimension must be at least 1"),
    "input of text": (put("input", "shape", value=["a"]), "invalid literal"),
    "input not finite": (put("input", "scale", value=float("nan")), "input scale nan"),
    "input of too many bits": (put("input", "bits", value=9), "input bits 9"),
    "input another size": (put("input", "shape", value=[1, 16, 16]), r"state .*shape: layers\.linear2\.weight"),
    "huge sizes, each allowed": (huge, r"state .*layers\.linear2\.weight"),
    "no state": (put("state", value={}), r"state missing, .*: layers\.conv1\.weight, "),
    "state of the wrong type": (put("state", value=[1]), "'list'"),
    "state of the wrong shape": (
        put("state", "layers.conv1.weight", value=torch.zeros(3, 1, 3, 2)),
        "shape: layers.conv1",
    ),
    "state of numbers": (put("state", "layers.conv1.weight", value=5), r"state missing, .*: layers\.conv1\.weight"),
    "state with more": (put("state", "extra", value=torch.zeros(1)), "state missing, unknown .*: extra"),
    "metrics that are not finite": (put("metrics", "a", value={"b": [float("nan")]}), r"metrics\.a\.b=nan: texts and"),
    "metrics that are tensors": (put("metrics", "a", value=torch.zeros(1)), r"metrics\.a=tensor"),
    "metrics of no name": (put("metrics", 3, value=1), "metrics="),
    "an unknown entry": (put("extra", value=1), "unknown entries: extra"),
    "metrics of the wrong type": (put("metrics", value=5), "not iterable"),
    "history of the wrong type": (put("history", value=5), "not iterable"),
    "history of numbers": (put("history", value=[5]), "not iterable"),
    "history of tensors": (put("history", value=[{"loss": torch.zeros(1)}]), "history.loss=.*: texts and numbers are"),
    "samples missing": (lambda content: content["samples"].pop("golden"), "'golden'"),
    "samples of floats": (put("samples", "golden", value=torch.zeros(32, 1, 8, 8)), "samples of type float32"),
    "samples past the input's bits": (
        put("samples", "golden", value=torch.full((32, 1, 8, 8), 32).byte()),
        "golden samples outside the 5 bits",
    ),
    "samples of text": (put("samples", "golden", value="x"), "'str'"),
    "samples of another shape": (
        put("samples", "golden", value=torch.zeros(32, 8, 8).byte()),
        "golden samples of shape",
    ),
    "temporal of another kind": (put("temporal", value=1), "temporal is 1, not true or false"),
    "temporal missing": (lambda content: content.pop("temporal"), "'temporal'"),
    "samples that should be temporal": (put("temporal", value=True), "calibration samples of shape"),
    "labels missing": (put("samples", "golden_labels", value=torch.zeros(31).long()), "labels of shape"),
    "one sample a billion times": (
        put("samples", "calibration", value=torch.zeros(1).byte().expand(10**9, 1, 8, 8)),
        "not contiguous",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_model_is_refused_with_the_reason(name: str, path: Path) -> None:
    change, match = TAMPERED[name]
    tamper(path, change)
    with pytest.raises(FileFormatError, match=rf"model\.pt: not a valid model: .*{match}"):
        load_model(path)
