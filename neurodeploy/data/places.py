"""Where data sets lie, and what reading one gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DATA_ROOT_VARIABLE, Split
from neurodeploy.data.download import DOWNLOADS, fetch
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input


@dataclass(frozen=True, eq=False)
class Loaded:
    """A data set as it was read, before a part of `train` becomes the validation split.

    Attributes:
        official: numbers of training and test samples as published; None where there is no such number.
        validation: where the data set brings its own.
    """

    name: str
    input: Input
    classes: int
    train: Split
    test: Split
    validation: Split | None = None
    official: tuple[int, int] | None = None

    @property
    def reported_name(self) -> str:
        """The name; of a part of a published data set with its sizes, since its accuracy is not comparable."""
        sizes = (len(self.train), len(self.test))
        return self.name if self.official in (None, sizes) else f"{self.name}-{sizes[0]}/{sizes[1]}"


def locate(
    name: str, config: DataConfig, wanted: Sequence[tuple[str, Sequence[str]]], folders: Sequence[str] = ()
) -> Path:
    """The folder that holds a data set's files: ROOT/name, ROOT, or one of `folders` in either.

    Args:
        wanted: what must be there: its description, and patterns of which one must match.

    Raises:
        UsageError: naming the folder and all that is missing in it, and how to get it.
    """
    given = config.root or os.environ.get(DATA_ROOT_VARIABLE)
    listing = ", ".join(description for description, _ in wanted)
    if not given:
        raise UsageError(f"data set {name} needs --data-root FOLDER (or {DATA_ROOT_VARIABLE}) with {listing}")
    root = Path(given).expanduser()
    places = [base / folder for base in (root / name, root) for folder in (*folders, ".")]

    def missing(place: Path) -> list[str]:
        return [text for text, patterns in wanted if not any(any(place.glob(pattern)) for pattern in patterns)]

    if config.download and all(missing(place) for place in places):
        fetch(name, root / name)
    gaps = {place: missing(place) for place in places}
    best = min(places, key=lambda place: len(gaps[place]))
    if not gaps[best]:
        return best
    advice = "data.download=true fetches it" if name in DOWNLOADS else "fetch it by hand"
    if len(gaps[best]) == len(wanted):
        raise UsageError(f"--data-root {root}: no {name}/{gaps[best][0]} there; {name} is: {listing}; {advice}")
    raise UsageError(f"{best}: {', '.join(gaps[best])} {'is' if len(gaps[best]) == 1 else 'are'} missing; {advice}")
