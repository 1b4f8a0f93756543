"""The recordings of one split of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from neurodeploy.data.dataset import Labels
from neurodeploy.data.frames import Events


class Part(Protocol):
    """Recordings of one split, in a fixed order."""

    @property
    def labels(self) -> Labels:
        """(N,)"""

    @property
    def files(self) -> Sequence[Path]:
        """All files that the recordings lie in."""

    def read(self) -> Iterator[Callable[[], Events]]:
        """For each recording, what reads it."""


@dataclass(frozen=True, eq=False)
class Files:
    """One recording per file."""

    files: Sequence[Path]
    labels: Labels
    reader: Callable[[Path], Events]

    def read(self) -> Iterator[Callable[[], Events]]:
        """For each recording, what reads it."""
        for path in self.files:
            yield lambda path=path: self.reader(path)  # type: ignore[misc]


def labelled(files: Sequence[Path], reader: Callable[[Path], Events], label: Callable[[Path], int]) -> Files:
    """One recording per file, with the label that `label` reads off its path."""
    return Files(files, np.array([label(path) for path in files], dtype=np.int64), reader)
