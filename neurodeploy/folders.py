"""Folders that are whole or not there: filled under another name, renamed when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from neurodeploy.errors import NeurodeployError, UsageError


@contextmanager
def new_folder(folder: Path, is_ours: Callable[[Path], bool], what: str) -> Iterator[Path]:
    """An empty folder to fill; it takes the place of `folder` when the block ends without an error.

    Args:
        is_ours: whether an existing folder may be replaced; an empty one always may.
        what: what `folder` holds, for messages.

    Raises:
        UsageError: where `folder` exists and may not be replaced.
        NeurodeployError: where the disk fails; what was there is whole.
    """
    place = folder.resolve()  # "." has no name to derive others from
    recover(place)
    check_replaceable(folder, is_ours, what)
    partial, previous = place.with_name(f".{place.name}.partial-{os.getpid()}"), _previous(place)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        shutil.rmtree(previous, ignore_errors=True)
        if place.exists():
            place.rename(previous)
        partial.rename(place)
        shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        raise NeurodeployError(f"-o {folder}: {error}; what was there is whole") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(folder: Path, is_ours: Callable[[Path], bool], what: str) -> None:
    """Raises UsageError where `folder` exists and is neither empty nor ours."""
    place = folder.resolve()
    if place.exists() and not (place.is_dir() and (not any(place.iterdir()) or is_ours(place))):
        raise UsageError(f"-o {folder}: exists and is not {what} of ours; name another folder")


def recover(folder: Path) -> None:
    """A kill between the two renames of `new_folder` leaves the previous folder beside its place; puts it back."""
    if not folder.exists() and _previous(folder).is_dir():
        _previous(folder).rename(folder)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")
