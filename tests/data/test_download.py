"""Downloads from a server of the test's own: checked, unpacked, and nothing kept that is not right."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import write_cifar, write_dvs_cifar10, write_idx_set

from neurodeploy.config import DataConfig
from neurodeploy.data.download import DOWNLOADS, Resource, fetch
from neurodeploy.data.sources import SOURCES, load_data_set
from neurodeploy.errors import FileFormatError, NeurodeployError

Offer = Callable[[str, dict[str, tuple[bytes, str]]], None]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def offer(served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Offer:
    """(data set, {file: (content, what it provides)}) puts files on the server and into the table."""
    folder, address = served

    def put(name: str, files: dict[str, tuple[bytes, str]]) -> None:
        resources = []
        for file, (content, provides) in files.items():
            (folder / file).write_bytes(content)
            resources.append(Resource(file, f"{address}/{file}", hashlib.md5(content).hexdigest(), provides))
        monkeypatch.setitem(DOWNLOADS, name, tuple(resources))

    return put


def zipped(folder: Path, entries: list[Path]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for entry in entries:
            archive.write(entry, entry.relative_to(folder))
    return content.getvalue()


def packed(folder: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(folder, folder.name)
    return content.getvalue()


def test_missing_files_are_fetched_and_read(tmp_path: Path, offer: Offer) -> None:
    images, _ = write_idx_set(tmp_path / "made")["test"]
    files = sorted((tmp_path / "made" / "mnist").iterdir())
    offer("mnist", {file.name: (file.read_bytes(), f"{file.stem}*") for file in files})
    root = tmp_path / "root"
    (root / "mnist").mkdir(parents=True)
    mine = root / "mnist" / "t10k-labels-idx1-ubyte"  # is there already, unpacked: stays
    mine.write_bytes(gzip.decompress((tmp_path / "made" / "mnist" / f"{mine.name}.gz").read_bytes()))
    data = load_data_set(DataConfig(name="mnist", root=str(root), download=True, bits=8), 2, 0)
    np.testing.assert_array_equal(data.test.samples[:, 0], images)
    names = sorted(file.name for file in (root / "mnist").iterdir())
    assert names == sorted([mine.name, *(file.name for file in files if file.stem != mine.name)])


def test_nothing_is_fetched_unasked_or_twice(tmp_path: Path, offer: Offer) -> None:
    offer("mnist", {"x.gz": (b"never", "x*")})
    with pytest.raises(NeurodeployError, match=r"data\.download=true fetches it"):
        load_data_set(DataConfig(name="mnist", root=str(tmp_path / "root")), 2, 0)
    assert not (tmp_path / "root").exists()
    write_idx_set(tmp_path)
    load_data_set(DataConfig(name="mnist", root=str(tmp_path), download=True), 2, 0)
    assert not (tmp_path / "mnist" / "x.gz").exists()


def test_a_tar_archive_is_unpacked(tmp_path: Path, offer: Offer) -> None:
    images, _ = write_cifar(tmp_path / "made")["test"]
    folder = (tmp_path / "made" / "cifar-10").rename(tmp_path / "made" / "cifar-10-batches-bin")
    offer("cifar-10", {"c.tar.gz": (packed(folder), "cifar-10-batches-bin/test_batch.bin")})
    data = load_data_set(DataConfig(name="cifar-10", root=str(tmp_path), download=True), 2, 0)
    np.testing.assert_array_equal(data.test.samples, images)
    assert [file.name for file in (tmp_path / "cifar-10").iterdir()] == ["cifar-10-batches-bin"]


def test_archives_in_an_archive_are_unpacked(tmp_path: Path, offer: Offer) -> None:
    write_dvs_cifar10(tmp_path / "made", per_class=2, events=9)
    folder = tmp_path / "made" / "dvs-cifar10"
    inner = []
    for label in sorted(folder.iterdir()):
        path = tmp_path / "made" / f"{label.name}.zip"
        path.write_bytes(zipped(folder, [label, *sorted(label.iterdir())]))
        inner.append(path)
    offer("dvs-cifar10", {"all.zip": (zipped(tmp_path / "made", inner), "truck")})
    data = load_data_set(DataConfig(name="dvs-cifar10", root=str(tmp_path / "root"), download=True), 2, 0)
    assert (len(data.train) + len(data.validation), len(data.test)) == (10, 10)
    assert len(list((tmp_path / "root" / "dvs-cifar10").iterdir())) == 10


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(
    tmp_path: Path, served: tuple[Path, str], offer: Offer
) -> None:
    offer("mnist", {"x.gz": (b"right", "x*")})
    (served[0] / "x.gz").write_bytes(b"wrong")
    with pytest.raises(FileFormatError, match=r"x\.gz: md5 \w+ of 5 bytes where \w+ is expected; nothing was kept"):
        fetch("mnist", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_transfer_that_ends_too_early_is_refused_and_nothing_is_kept(
    tmp_path: Path, served: tuple[Path, str], offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(self: SimpleHTTPRequestHandler) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")

    offer("mnist", {"x.gz": (b"x" * 100, "x*")})
    monkeypatch.setattr(SimpleHTTPRequestHandler, "do_GET", cut)
    with pytest.raises(NeurodeployError, match=r"x\.gz: md5 \w+ of 4 bytes"):
        fetch("mnist", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_an_interrupted_transfer_leaves_nothing(tmp_path: Path, offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        def update(self, chunk: bytes) -> None:
            raise KeyboardInterrupt

    offer("mnist", {"x.gz": (b"right", "x*")})
    monkeypatch.setattr("neurodeploy.data.download.hashlib.md5", lambda **_: Interrupting())
    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    monkeypatch.undo()


def test_a_fetch_that_was_cut_off_while_moving_is_completed(
    tmp_path: Path, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a/1", "a/2", "b/1", "last/1"]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    offer("dvs-cifar10", {"x.zip": (content.getvalue(), "last")})
    root, replace_file, moved = tmp_path / "root", os.replace, []

    def dying(entry: Path, target: Path) -> None:
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(target)
        replace_file(entry, target)

    with monkeypatch.context() as patched:
        patched.setattr("neurodeploy.data.download.os.replace", dying)
        with pytest.raises(KeyboardInterrupt):
            fetch("dvs-cifar10", root)
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]
    (root / "a" / "2").unlink()  # a file that a copy by hand lacks is put there
    fetch("dvs-cifar10", root)
    assert {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()} == {
        name: name for name in names
    }


@pytest.mark.parametrize("file", ["gone.gz", None])
def test_a_place_that_cannot_be_reached_is_named(
    file: str | None, tmp_path: Path, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer("mnist", {"x.gz": (b"right", "x*")})
    (there,) = DOWNLOADS["mnist"]
    url = there.url.replace("x.gz", file) if file else "http://127.0.0.1:1/x.gz"
    monkeypatch.setitem(DOWNLOADS, "mnist", (Resource("x.gz", url, there.md5, "x*"),))
    with pytest.raises(NeurodeployError, match=rf"{url}: .*put x\.gz into .*/root by hand"):
        fetch("mnist", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("kind", ["tar", "zip", "no tar", "no zip"])
def test_an_archive_writes_nothing_outside_its_folder(kind: str, tmp_path: Path, offer: Offer) -> None:
    content = io.BytesIO(b"abc")
    if kind == "tar":
        with tarfile.open(fileobj=content, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("../../../evil"), io.BytesIO())
    elif kind == "zip":
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("../../../evil", b"")
    file = "x.zip" if "zip" in kind else "x.tar.gz"
    offer("cifar-10", {file: (content.getvalue(), "never")})
    if kind == "zip":  # loses its dots
        fetch("cifar-10", tmp_path / "root" / "deep")
        assert [path.name for path in (tmp_path / "root" / "deep").iterdir()] == ["evil"]
    else:
        with pytest.raises(FileFormatError, match=rf"{file}: cannot be unpacked"):
            fetch("cifar-10", tmp_path / "root" / "deep")
        assert list((tmp_path / "root" / "deep").iterdir()) == []
    assert not any((folder / "evil").exists() for folder in (tmp_path, tmp_path / "root"))


def test_every_data_set_of_files_can_be_fetched_and_every_checksum_is_one() -> None:
    assert set(DOWNLOADS) == set(SOURCES) - {"digits"}
    sums = [resource.md5 for resources in DOWNLOADS.values() for resource in resources]
    assert all(len(md5) == 32 and int(md5, 16) >= 0 for md5 in sums)
    assert len(set(sums)) == len(sums)


def test_places_and_checksums_of_recordings_are_those_that_tonic_has() -> None:
    from tonic.datasets import CIFAR10DVS, NMNIST, SHD, DVSGesture

    known = {(resource.url, resource.md5) for resources in DOWNLOADS.values() for resource in resources}
    for source in (NMNIST, DVSGesture):
        assert {(source.train_url, source.train_md5), (source.test_url, source.test_md5)} <= known
    assert (CIFAR10DVS.url, CIFAR10DVS.file_md5) in known
    for file, md5 in ((SHD.train_zip, SHD.train_md5), (SHD.test_zip, SHD.test_md5)):
        assert (SHD.base_url + file, md5) in known
