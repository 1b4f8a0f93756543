"""The artifact folder as it is read: what was written comes back, and whatever was altered is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from neurodeploy.errors import FileFormatError
from neurodeploy.ir.artifact import Artifact, is_artifact, load_artifact, save_artifact
from neurodeploy.simulate import reference

Make = Callable[..., Artifact]
Content = dict[str, Any]


@pytest.fixture
def folder(make_artifact: Make, tmp_path: Path) -> Path:
    """A folder with two files of the target, one of them in a folder of its own."""

    def write(place: Path) -> list[str]:
        (place / "network.net").write_bytes(b"net")
        (place / "extra").mkdir()
        (place / "extra" / "notes.txt").write_text("notes")
        return ["network.net: too small"]

    assert save_artifact(make_artifact(), tmp_path / "out", write) == ["network.net: too small"]
    return tmp_path / "out"


def edit(folder: Path, change: Callable[[Content], object]) -> None:
    """Changes the manifest, which no hash protects."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def swap(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file and corrects its hash, as someone who means harm would."""
    (folder / name).write_bytes(content)
    edit(folder, lambda manifest: manifest["files"].update({name: hashlib.sha256(content).hexdigest()}))


def edit_golden(folder: Path, change: Callable[[dict[str, NDArray[Any]]], object]) -> None:
    arrays = load((folder / "golden.safetensors").read_bytes())
    change(arrays)
    swap(folder, "golden.safetensors", save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal"])
@pytest.mark.parametrize("kind", ["dense", "conv", "residual", "recurrent"])
def test_what_was_written_comes_back(make_artifact: Make, tmp_path: Path, kind: str, chip: str) -> None:
    written = make_artifact(1, kind, chip)
    save_artifact(written, tmp_path / "out", lambda _: [])
    read = load_artifact(tmp_path / "out")
    assert (read.target, dict(read.facts)) == ("lava", dict(written.facts))
    for name in ("inputs", "labels", "readout"):
        before, after = getattr(written.golden, name), getattr(read.golden, name)
        np.testing.assert_array_equal(after, before)
        assert after.dtype == before.dtype
    assert list(read.golden.spikes) == list(written.golden.spikes)
    for name, spikes in written.golden.spikes.items():
        np.testing.assert_array_equal(read.golden.spikes[name], spikes)
    again = reference.run(read.program, read.golden.inputs)
    np.testing.assert_array_equal(again.readout, written.golden.readout)
    assert list(read.network.nodes) == list(written.network.nodes)


def test_inputs_that_change_with_time_come_back(make_artifact: Make, tmp_path: Path) -> None:
    static = make_artifact()
    inputs = np.repeat(static.golden.inputs[None], static.program.steps, axis=0)
    golden = type(static.golden)(inputs, static.golden.labels, static.golden.readout, static.golden.spikes)
    save_artifact(Artifact("lava", static.network, static.program, golden, {}), tmp_path / "out", lambda _: [])
    np.testing.assert_array_equal(load_artifact(tmp_path / "out").golden.inputs, inputs)


def test_the_manifest_says_what_the_folder_holds(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(content["files"]) == files - {"manifest.json"}
    assert content["files"]["network.net"] == hashlib.sha256(b"net").hexdigest()
    assert "extra/notes.txt" in files
    assert (content["format"], content["version"], content["chip"]) == ("neurodeploy-artifact", 1, "loihi2")
    assert content["omitted"] == ["network.net: too small"]


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    assert not is_artifact(tmp_path)
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileFormatError, match=f"^{place}: not an artifact, there is no manifest.json"):
            load_artifact(place)


@pytest.mark.parametrize(
    "name", ["program.safetensors", "network.safetensors", "golden.safetensors", "network.net", "extra/notes.txt"]
)
def test_every_file_is_held_to_its_hash(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=f"{folder / name}: changed since it was exported"):
        load_artifact(folder)
    (folder / name).unlink()
    with pytest.raises(FileFormatError, match=f"{folder}.*{name}.*No such file"):
        load_artifact(folder)


def test_a_hash_is_not_taken_from_anything_but_text(folder: Path) -> None:
    for digest in (None, 0, [], True):
        edit(folder, lambda content, digest=digest: content["files"].update({"network.net": digest}))
        with pytest.raises(FileFormatError, match=r"network\.net: changed"):
            load_artifact(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "extra/../../secret", "/etc/hostname", "link", "..", "loop", "nul\0l", ""]
)
def test_nothing_outside_the_folder_is_read(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    edit(folder, lambda content: content["files"].update({name: hashlib.sha256(b"secret").hexdigest()}))
    with pytest.raises(FileFormatError, match=r"manifest\.json: file") as caught:
        load_artifact(folder)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "damaged"),
        (b"not json", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b'{"format": ', "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"9" * 5000, "damaged"),
        (b"[]", "not a manifest of ours"),
        (b"null", "not a manifest of ours"),
        (b'{"format": "web-extension"}', "not a manifest of ours"),
    ],
)
def test_a_damaged_or_foreign_manifest_is_refused(folder: Path, text: bytes, said: str) -> None:
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(FileFormatError, match=rf"^{folder / 'manifest.json'}: {said}"):
        load_artifact(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused(folder: Path, version: Any) -> None:
    edit(folder, lambda content: content.update(version=version))
    with pytest.raises(FileFormatError, match=rf"manifest\.json: version {version}, this program reads 1"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["files", "facts", "network", "program", "target"])
@pytest.mark.parametrize("value", [None, 5, []])
def test_every_part_of_the_manifest_is_needed(folder: Path, name: str, value: Any) -> None:
    edit(folder, lambda content: content.pop(name) if value is None else content.update({name: value}))
    with pytest.raises(FileFormatError, match=rf"manifest\.json: {name} is missing or not a"):
        load_artifact(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["program"].update(type="Popen"),
        lambda content: content["program"].update(steps="4"),
        lambda content: content["program"].pop("chip"),
        lambda content: content["network"].update(colour="red"),
        lambda content: content.update(program=content["network"]),
    ],
)
def test_an_altered_structure_is_refused(folder: Path, change: Callable[[Content], object]) -> None:
    edit(folder, change)
    with pytest.raises(FileFormatError, match=rf"^{folder / 'manifest.json'}: "):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["program", "network", "golden"])
def test_damaged_arrays_are_refused_though_the_hash_is_right(folder: Path, name: str) -> None:
    whole = (folder / f"{name}.safetensors").read_bytes()
    for content in (b"", whole[:-1], whole[:20], b"\xff" * 64, whole + b"\0"):
        swap(folder, f"{name}.safetensors", content)
        with pytest.raises(FileFormatError, match=rf"^{folder / name}\.safetensors: damaged"):
            load_artifact(folder)


@pytest.mark.parametrize("name", ["program", "network", "golden"])
def test_arrays_that_are_not_listed_are_not_read(folder: Path, name: str) -> None:
    edit(folder, lambda content: content["files"].pop(f"{name}.safetensors"))
    with pytest.raises(FileFormatError, match=rf"{name}\.safetensors is not listed"):
        load_artifact(folder)


def spiking(arrays: dict[str, Any]) -> str:
    return next(name for name in arrays if name.startswith("spikes."))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.update(inputs=a["inputs"][:4]),
        lambda a: a.update(inputs=a["inputs"][..., :-1]),
        lambda a: a.update(inputs=a["inputs"][None]),
        lambda a: a.update(inputs=a["inputs"].astype(np.float64)),
        lambda a: a.update(labels=a["labels"][:4]),
        lambda a: a.update(labels=a["labels"][:, None]),
        lambda a: a.update(labels=np.array(5)),
        lambda a: a.update(labels=a["labels"] + 0.5),
        lambda a: a.update(readout=a["readout"][:, :-1]),
        lambda a: a.update(readout=a["readout"][:4]),
        lambda a: a.update({spiking(a): a[spiking(a)][:-1]}),
        lambda a: a.update({spiking(a): np.append(a[spiking(a)], np.uint8(0))}),
        lambda a: a.update({spiking(a): a[spiking(a)].astype(np.int16)}),
        lambda a: a.pop(spiking(a)),
        lambda a: a.pop("labels"),
        lambda a: a.update(more=np.zeros(1)),
        lambda a: a.update({"spikes.elsewhere": np.zeros(1, np.uint8)}),
        lambda a: a.update({name: a[name][:0] for name in ("inputs", "labels", "readout")}),
    ],
)
def test_golden_vectors_that_do_not_fit_are_refused(folder: Path, change: Callable[[Any], object]) -> None:
    edit_golden(folder, change)
    with pytest.raises(FileFormatError, match=rf"^{folder / 'golden.safetensors'}: "):
        load_artifact(folder)


def test_a_number_of_steps_beyond_all_memory_is_refused(folder: Path) -> None:
    for steps in (10**6, 2**61, 2**62, 10**30):
        edit(folder, lambda content, steps=steps: content["program"].update(steps=steps))
        with pytest.raises(FileFormatError, match="do not fit"):
            load_artifact(folder)


@pytest.mark.parametrize("name", ["manifest.json", "program.safetensors"])
def test_files_that_are_too_large_or_no_files_are_not_read(folder: Path, name: str) -> None:
    """A sparse file claims any size; reading a pipe would wait for ever."""
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(FileFormatError, match="not a"):
        load_artifact(folder)
    (folder / name).unlink()
    with (folder / name).open("wb") as file:
        file.truncate(10 * 2**40)
    with pytest.raises(FileFormatError, match=f"{10 * 2**40} bytes, allowed are"):
        load_artifact(folder)
