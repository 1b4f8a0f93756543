"""Data sets from their own places: each file is checked by checksum before it gets its name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from neurodeploy.errors import FileFormatError, NeurodeployError

_CHUNK = 2**20
_TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class Resource:
    """One file of a data set.

    Attributes:
        md5: as published; of the file as it is downloaded.
        provides: a pattern that matches once the file's content is there; the file's own name if it is no archive.
    """

    file: str
    url: str
    md5: str
    provides: str


def _idx(base: str, sums: dict[str, str]) -> tuple[Resource, ...]:
    return tuple(Resource(f"{file}.gz", f"{base}{file}.gz", md5, f"{file}*") for file, md5 in sums.items())


# Checksums: torchvision's tables for MNIST, Fashion-MNIST and CIFAR (cs.toronto.edu/~kriz/cifar.html prints the same),
# tonic's for the recordings.
DOWNLOADS: dict[str, tuple[Resource, ...]] = {
    "mnist": _idx(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar-10": (
        Resource(
            "cifar-10-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            "cifar-10-batches-bin/test_batch.bin",
        ),
    ),
    "cifar-100": (
        Resource(
            "cifar-100-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
            "cifar-100-binary/test.bin",
        ),
    ),
    "n-mnist": (
        Resource(
            "train.zip",
            "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
            "39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
            "20959b8e626244a1b502305a9e6e2031",
            "Train",
        ),
        Resource(
            "test.zip",
            "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
            "05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
            "69ca8762b2fe404d9b9bad1103e97832",
            "Test",
        ),
    ),
    "dvs-cifar10": (
        Resource(
            "CIFAR10DVS.zip",
            "https://figshare.com/ndownloader/files/38023437",
            "ce3a4a0682dc0943703bd8f749a7701c",
            "truck",
        ),
    ),
    "dvs128-gesture": (
        Resource(
            "ibmGestureTrain.tar.gz",
            "https://figshare.com/ndownloader/files/38022171",
            "3a8f0d4120a166bac7591f77409cb105",
            "ibmGestureTrain",
        ),
        Resource(
            "ibmGestureTest.tar.gz",
            "https://figshare.com/ndownloader/files/38020584",
            "56070e45dadaa85fff82e0fbfbc06de5",
            "ibmGestureTest",
        ),
    ),
    "shd": tuple(
        Resource(f"{file}.zip", f"https://zenkelab.org/datasets/{file}.zip", md5, file)
        for file, md5 in {
            "shd_train.h5": "f3252aeb598ac776c1b526422d90eecb",
            "shd_test.h5": "1503a5064faa34311c398fb0a1ed0a6f",
        }.items()
    ),
}


def fetch(name: str, folder: Path) -> None:
    """Downloads what is missing of a data set into `folder`, and unpacks archives there.

    Raises:
        NeurodeployError: where a place cannot be reached; FileFormatError where what it gave is not the file.
    """
    for resource in DOWNLOADS[name]:
        if any(folder.glob(resource.provides)):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
            arrived = Path(scratch) / resource.file
            _download(resource, arrived)
            if resource.file.endswith((".zip", ".tar.gz")):
                content = Path(scratch) / "content"
                _unpack(arrived, content)
                for inner in sorted(content.glob("*.zip")):  # DVS-CIFAR10: one for each class
                    _unpack(inner, content)
                    inner.unlink()
                for entry in sorted(content.iterdir()):  # what a data set is known by comes last
                    _move(entry, folder / entry.name)
            else:
                os.replace(arrived, folder / resource.file)


def _download(resource: Resource, arrived: Path) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(resource.url, headers={"User-Agent": "neurodeploy"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, arrived.open("wb") as file:
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise NeurodeployError(
            f"data.download: {resource.url}: {error}; try again, or put {resource.file} into "
            f"{arrived.parent.parent} by hand, unpacked"
        ) from error
    if digest.hexdigest() != resource.md5:
        raise FileFormatError(
            f"data.download: {resource.url}: md5 {digest.hexdigest()} of {arrived.stat().st_size} bytes where "
            f"{resource.md5} is expected; nothing was kept; try again, or fetch {resource.file} from elsewhere"
        )


def _move(entry: Path, target: Path) -> None:
    """Puts a file or folder in its place; what a fetch left there that was cut off is completed."""
    if entry.is_dir() and target.is_dir():
        for inner in sorted(entry.iterdir()):
            _move(inner, target / inner.name)
    else:
        os.replace(entry, target)


def _unpack(archive: Path, folder: Path) -> None:
    """Everything in an archive; never anything outside `folder`."""
    folder.mkdir(exist_ok=True)
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(folder)  # drops drive letters, leading slashes and ".."
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")  # refuses links and paths that lead outside
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise FileFormatError(f"{archive.name}: cannot be unpacked: {error}") from error
