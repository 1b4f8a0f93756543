"""A folder of ours is replaced by its successor, and nothing that it does not list is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.files import read_file
from neurodeploy.folders import BUNDLE, BUNDLE_DESCRIPTION, FolderKind, check_replaceable, new_folder

KIND = FolderKind("a box", "box.json", "box")
FIXED = FolderKind("a box", "box.json", "box", ("content.bin",))


def fill(folder: Path, kind: FolderKind = KIND) -> None:
    with new_folder(folder, kind) as place:
        (place / "inner").mkdir()
        (place / "inner" / "one.txt").write_text("ours")
        (place / "box.json").write_text(json.dumps({"format": "box", "files": {"inner/one.txt": "hash"}}))


def test_a_successor_replaces_what_the_description_lists(tmp_path: Path) -> None:
    for _ in range(2):
        fill(tmp_path / "out")
    (tmp_path / "out" / "__pycache__").mkdir()
    (tmp_path / "out" / "__pycache__" / "run.pyc").write_text("of a script here")
    (tmp_path / "out" / ".DS_Store").write_text("of a file manager")
    fill(tmp_path / "out")
    assert not (tmp_path / "out" / "__pycache__").exists()


@pytest.mark.parametrize("name", ["notes.txt", "inner/two.txt", "deep/er/model.pt", "link"])
def test_a_file_that_is_not_listed_is_named_and_kept(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    fill(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if name == "link":
        (folder / name).symlink_to(tmp_path / "nowhere")
    else:
        (folder / name).write_text("years of work")
    with pytest.raises(UsageError, match=f"-o {folder}: holds files that would be lost.* a box: {name}; move"):
        fill(folder)
    assert os.path.lexists(folder / name)
    assert os.listdir(tmp_path) == ["out"]


def test_of_many_files_five_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "out")
    for number in range(7):
        (tmp_path / "out" / f"{number}.txt").write_text("")
    with pytest.raises(UsageError, match=r": 0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt and 2 more; move"):
        check_replaceable(tmp_path / "out", KIND)


def test_the_files_of_a_bundle_go_with_its_artifact_and_what_its_runner_wrote_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    fill(folder)
    (folder / BUNDLE).mkdir()
    (folder / BUNDLE / "run.py").write_text("")
    (folder / BUNDLE / BUNDLE_DESCRIPTION).write_text(json.dumps({"files": {"run.py": "hash"}}))
    check_replaceable(folder, KIND)
    (folder / BUNDLE / "run-loihi2").mkdir()
    (folder / BUNDLE / "run-loihi2" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match=r"bundle/run-loihi2/run\.json"):
        check_replaceable(folder, KIND)


def test_a_kind_without_a_list_has_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "box.json").write_text('{"format": "box"}')
    (tmp_path / "content.bin").write_bytes(b"")
    check_replaceable(tmp_path, FIXED)
    with pytest.raises(UsageError, match=r"content\.bin"):
        check_replaceable(tmp_path, KIND)


@pytest.mark.parametrize("name", ["a" * 300, "nul\0l", "loop", "file/below"])
def test_a_place_that_cannot_be_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=f"-o {tmp_path}") as caught:
        fill(tmp_path / name)
    assert type(caught.value).__module__ == "neurodeploy.errors"


def test_a_file_is_read_up_to_its_limit_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345678")
    assert read_file(tmp_path / "file", 8) == b"12345678"
    with pytest.raises(FileFormatError, match="8 bytes, allowed are 7"):
        read_file(tmp_path / "file", 7)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "", "missing", "a" * 300, "file/below", "nul\0l"):
        with pytest.raises(FileFormatError):
            read_file(tmp_path / name, 8)
