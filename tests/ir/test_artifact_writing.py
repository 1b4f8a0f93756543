"""The artifact folder as it is written: whole or as it was before, whatever happens on the way."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.ir.artifact import Artifact, is_artifact, load_artifact, save_artifact

Make = Callable[..., Artifact]


def nothing(_: Path) -> list[str]:
    return []


def seed_of(folder: Path) -> Any:
    return load_artifact(folder).facts["seed"]


def test_an_artifact_replaces_the_one_before_and_all_its_files(make_artifact: Make, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def write(place: Path) -> list[str]:
        (place / "network.net").write_bytes(b"net")
        return []

    save_artifact(make_artifact(0), folder, write)
    save_artifact(make_artifact(1), folder, nothing)
    assert seed_of(folder) == 1
    assert not (folder / "network.net").exists()
    assert os.listdir(tmp_path) == ["out"]


def test_parent_folders_are_made_and_an_empty_folder_is_used(make_artifact: Make, tmp_path: Path) -> None:
    save_artifact(make_artifact(0), tmp_path / "a" / "b", nothing)
    assert seed_of(tmp_path / "a" / "b") == 0
    (tmp_path / "empty").mkdir()
    save_artifact(make_artifact(0), tmp_path / "empty", nothing)
    assert seed_of(tmp_path / "empty") == 0


def test_the_folder_where_one_stands_can_be_written(
    make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    save_artifact(make_artifact(0), Path("."), nothing)
    assert seed_of(tmp_path / "out") == 0


def test_a_link_to_an_artifact_stays_a_link(make_artifact: Make, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for seed in (0, 1, 2):
        save_artifact(make_artifact(seed), tmp_path / "link", nothing)
        assert (seed_of(tmp_path / "link"), seed_of(tmp_path / "out")) == (seed, seed)
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "out"]


@pytest.mark.parametrize("manifest", [None, "{}", "[]", "not json", '{"manifest_version": 3, "name": "extension"}'])
def test_a_folder_that_is_not_ours_is_refused_and_left_untouched(
    make_artifact: Make, tmp_path: Path, manifest: str | None
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    before = sorted(os.listdir(folder))
    with pytest.raises(UsageError, match=f"-o {folder}: exists and is not an artifact"):
        save_artifact(make_artifact(0), folder, nothing)
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert sorted(os.listdir(folder)) == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_in_its_place_is_refused(make_artifact: Make, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="exists and is not an artifact"):
        save_artifact(make_artifact(0), tmp_path / "out", nothing)
    assert (tmp_path / "out").read_text() == "a file"


def test_a_full_disk_leaves_the_one_before_and_nothing_half_made(make_artifact: Make, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def full(place: Path) -> list[str]:
        (place / "network.net").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(NeurodeployError, match=f"-o {folder}: .*No space left on device.*as it was before"):
        save_artifact(make_artifact(1), folder, full)
    assert os.listdir(tmp_path) == []
    save_artifact(make_artifact(0), folder, nothing)
    with pytest.raises(NeurodeployError, match="No space left"):
        save_artifact(make_artifact(1), folder, full)
    assert (seed_of(folder), os.listdir(tmp_path)) == (0, ["out"])


def test_a_disk_that_fills_with_our_own_files_leaves_the_one_before(
    make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write_bytes = tmp_path / "out", Path.write_bytes
    save_artifact(make_artifact(0), folder, nothing)

    def failing(path: Path, content: bytes) -> int:
        if path.name == "golden.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(NeurodeployError, match="No space left"):
        save_artifact(make_artifact(1), folder, nothing)
    monkeypatch.undo()
    assert (seed_of(folder), os.listdir(tmp_path)) == (0, ["out"])


def test_a_fault_of_the_target_leaves_the_one_before_and_nothing_half_made(make_artifact: Make, tmp_path: Path) -> None:
    save_artifact(make_artifact(0), tmp_path / "out", nothing)

    def interrupted(place: Path) -> list[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_artifact(make_artifact(1), tmp_path / "out", interrupted)
    assert (seed_of(tmp_path / "out"), os.listdir(tmp_path)) == (0, ["out"])


def test_a_kill_between_the_two_renames_is_recovered(make_artifact: Make, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for mend in (lambda: load_artifact(folder), lambda: save_artifact(make_artifact(0), folder, nothing)):
        save_artifact(make_artifact(0), folder, nothing)
        folder.rename(tmp_path / ".out.previous")
        assert not is_artifact(folder)
        mend()
        assert (seed_of(folder), os.listdir(tmp_path)) == (0, ["out"])


def test_a_second_rename_that_fails_is_recovered(
    make_artifact: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "out", Path.rename
    save_artifact(make_artifact(0), folder, nothing)

    def failing(path: Path, target: Path) -> Path:
        if "partial" in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(NeurodeployError, match="Input/output error"):
        save_artifact(make_artifact(1), folder, nothing)
    monkeypatch.undo()
    assert (seed_of(folder), os.listdir(tmp_path)) == (0, ["out"])


def test_a_kill_while_writing_leaves_the_one_before_whole(make_artifact: Make, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    save_artifact(make_artifact(0), folder, nothing)
    script = """
        import os, sys
        from pathlib import Path
        from neurodeploy.ir.artifact import load_artifact, save_artifact

        def write(place):
            (place / "network.net").write_bytes(b"half")
            os._exit(9)

        folder = Path(sys.argv[1])
        save_artifact(load_artifact(folder), folder, write)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 9
    assert seed_of(folder) == 0
    save_artifact(make_artifact(1), folder, nothing)
    assert seed_of(folder) == 1
    assert json.loads((folder / "manifest.json").read_text())["facts"]["seed"] == 1
