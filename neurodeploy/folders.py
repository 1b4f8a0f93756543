"""Folders that are whole or not there: filled under another name, renamed when complete.

A folder of ours is replaced by its successor, and nothing else is: where it holds files that its description does not
list, it is left as it is. Empty folders within it count for nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.files import read_file

BUNDLE, BUNDLE_DESCRIPTION = "bundle", "bundle.json"
"""Where a bundle lies within its artifact, and what lists its files."""
LARGEST_DESCRIPTION = 2**24
_NAMED = 5  # of the files that are not ours
# Python's, of scripts that lie in folders of ours, and what file managers leave where they have been.
_LEFTOVERS = {"__pycache__", ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder.

    Attributes:
        what: for messages, as in "an artifact".
        description: the JSON file that says what the folder is, and lists other files as the keys of `files`.
        form: `format` of the description.
        files: those of a kind that does not list them.
    """

    what: str
    description: str
    form: str
    files: tuple[str, ...] = ()

    def holds(self, folder: Path) -> bool:
        """Whether a folder has a description of this kind, readable or not."""
        return _described(folder / self.description).get("format") == self.form

    def foreign(self, folder: Path) -> list[str]:
        """Files in a folder of this kind that are not its own, nor those of a bundle within it."""
        own = _listed(folder, self.description) | set(self.files)
        own |= {f"{BUNDLE}/{name}" for name in _listed(folder / BUNDLE, BUNDLE_DESCRIPTION)}
        found = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
        names = [path.relative_to(folder) for path in found]
        return [name.as_posix() for name in names if name.as_posix() not in own and not _LEFTOVERS & {*name.parts}]


@contextmanager
def new_folder(folder: Path, kind: FolderKind) -> Iterator[Path]:
    """An empty folder to fill; it takes the place of `folder` when the block ends without an error.

    Raises:
        UsageError: where `folder` exists and may not be replaced (`check_replaceable`).
        NeurodeployError: where the disk fails; what was there is whole.
    """
    check_replaceable(folder, kind)
    place = folder.resolve()  # "." has no name to derive others from, and a link stays a link
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
        raise NeurodeployError(f"-o {folder}: {error}; what was there is as it was before") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(folder: Path, kind: FolderKind) -> None:
    """Whether a folder may be replaced: one that is not there or empty, or of that kind with nothing else in it.

    Raises:
        UsageError: naming what would be lost.
    """
    try:
        place = folder.resolve()
        recover(place)
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return
        if not place.is_dir() or not kind.holds(place):
            raise UsageError(f"-o {folder}: exists and is not {kind.what} of ours; name another folder")
        foreign = kind.foreign(place)
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, with a null character; a loop of links
        raise UsageError(f"-o {folder}: {getattr(error, 'strerror', None) or error}") from error
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise UsageError(
            f"-o {folder}: holds files that would be lost, as they are not part of {kind.what}: "
            f"{', '.join(foreign[:_NAMED])}{more}; move them, or name another folder"
        )


def recover(folder: Path) -> None:
    """A kill between the two renames of `new_folder` leaves the previous folder beside its place; puts it back."""
    try:
        lost = folder.name and not folder.exists() and _previous(folder).is_dir()
    except (OSError, ValueError, RuntimeError):  # a name that nothing can have: whoever reads or writes it says so
        return
    if lost:
        _previous(folder).rename(folder)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _listed(folder: Path, description: str) -> set[str]:
    """The description and the files that it lists; none where there is no description."""
    files = _described(folder / description).get("files")
    return {description, *files} if isinstance(files, dict) else {description}


def _described(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_file(path, LARGEST_DESCRIPTION).decode("utf-8"))
    except (FileFormatError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
