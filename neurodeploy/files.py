"""Single files: read up to a limit, written whole or not at all, and not over what is something else."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.errors import FileFormatError, UsageError

_LARGEST_JSON = 2**28  # bytes; what is larger is taken for no output of ours
_BEGINNING = 4096  # bytes of a page, or of the pickle in a model file, in which its kind is written


@dataclass(frozen=True)
class FileKind:
    """A kind of output.

    Attributes:
        what: for messages, as in "a model file".
        fits: whether an existing file that is not empty is of the kind; may raise OSError, ValueError, RecursionError
            or BadZipFile for one that is not.
    """

    what: str
    fits: Callable[[Path], bool]


def json_file(what: str, keys: Iterable[str]) -> FileKind:
    """A JSON object that has these keys."""
    wanted = set(keys)

    def fits(path: Path) -> bool:
        content = json.loads(read_file(path, _LARGEST_JSON))
        return isinstance(content, dict) and content.keys() >= wanted

    return FileKind(what, fits)


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_BEGINNING).lstrip().lower().startswith(b"<!doctype html")


def _is_model(path: Path) -> bool:
    with zipfile.ZipFile(path) as packed:
        inner = [name for name in packed.namelist() if name.endswith("/data.pkl")]
        if not inner:
            return False
        with packed.open(inner[0]) as pickled:
            return MODEL_FORMAT.encode() in pickled.read(_BEGINNING)


MODEL_FORMAT = "neurodeploy-model"
"""`format` of a model file, its first entry."""
PAGE = FileKind("an HTML page", _is_page)
MODEL = FileKind("a model file", _is_model)
PROOF = json_file("what `run -o` writes", ("backend", "mismatched_spikes"))


def check_output(option: str, path: Path | None, kind: FileKind, inputs: Iterable[Path | str | None] = ()) -> None:
    """Before any work: whether a file can be written without the loss of something else.

    Args:
        option: that names the file, for messages.
        inputs: what the command reads; a name that is no file (of a data set, say) does no harm.

    Raises:
        UsageError: for a folder, for one of the inputs, and for an existing file of another kind.
    """
    if path is None:
        return
    given = f"{option} {path}"
    try:
        if not path.name or path.is_dir():
            raise UsageError(f"{given}: is a folder; name a file")
        if any(one is not None and _same(path, Path(one)) for one in inputs):
            raise UsageError(f"{given}: is what is read; name another file")
        if not os.path.lexists(path) or (path.is_file() and path.stat().st_size == 0):
            return
        if path.is_file() and not _fits(kind, path):
            raise UsageError(f"{given}: exists and is not {kind.what}; name another file, or remove it")
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, with a null character; a loop of links
        raise UsageError(f"{given}: {getattr(error, 'strerror', None) or error}") from error


def read_file(path: Path, largest: int, hint: str = "made by `neurodeploy export`") -> bytes:
    """The bytes of a file of at most so many; raises FileFormatError, with the hint where there is no such file."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise FileFormatError(f"{path}: missing, or not a file ({hint})")
        if found.st_size > largest:
            raise FileFormatError(f"{path}: {found.st_size} bytes, allowed are {largest}")
        with path.open("rb") as file:
            return file.read(largest)
    except FileNotFoundError as error:
        raise FileFormatError(f"{path}: missing, or not a file ({error.strerror}; {hint})") from error
    except (OSError, ValueError, RuntimeError) as error:  # as above
        raise FileFormatError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends without an error; OSErrors pass."""
    if not path.name:
        raise IsADirectoryError(f"{path} is a folder; name a file")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):  # where the folder is none, there is nothing to take away
            partial.unlink(missing_ok=True)


def _fits(kind: FileKind, path: Path) -> bool:
    try:
        return kind.fits(path)
    except (ValueError, RuntimeError, zipfile.BadZipFile, FileFormatError):  # RecursionError is a RuntimeError
        return False


def _same(path: Path, other: Path) -> bool:
    place = path.resolve()  # which finds loops of links
    return other.exists() and (place == other.resolve() or (path.exists() and path.samefile(other)))
