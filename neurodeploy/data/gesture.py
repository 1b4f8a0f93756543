"""DVS128-Gesture: cut into gestures as tonic publishes it, or IBM's original recordings of whole trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import Labels
from neurodeploy.data.frames import Events, ordered_events
from neurodeploy.data.parts import Part, labelled
from neurodeploy.data.places import locate
from neurodeploy.data.readers import DVS128, read_aedat3, read_gesture
from neurodeploy.errors import FileFormatError, UsageError

_NAMED = 5  # missing files named in one error


class _Gesture(NamedTuple):
    """Where in a trial a gesture is; microseconds."""

    trial: Path
    label: int
    start: int
    end: int


class Trials:
    """Gestures cut out of IBM's .aedat files (AEDAT 3.1) by their <trial>_labels.csv (Amir et al., CVPR 2017).

    A gesture is what lies from its start up to its end, its time counted from its start.
    """

    def __init__(self, trials: Sequence[Path]) -> None:
        self._gestures = [gesture for trial in trials for gesture in _gestures(trial)]
        self.files: Sequence[Path] = [file for trial in trials for file in (trial, _labels_of(trial))]
        self.labels: Labels = np.array([gesture.label for gesture in self._gestures], dtype=np.int64)

    def read(self) -> Iterator[Callable[[], Events]]:
        """For each gesture, what reads it; a trial's gestures follow each other, and it is read once for all."""
        trial = lru_cache(maxsize=1)(read_aedat3)
        for gesture in self._gestures:
            yield lambda gesture=gesture: _cut(trial, gesture)  # type: ignore[misc]


def find_gesture(config: DataConfig) -> tuple[Part, Part]:
    """The training and the test recordings, of whichever form is there."""
    folders, lists = ("ibmGestureTrain", "ibmGestureTest"), ("trials_to_train.txt", "trials_to_test.txt")
    wanted = [
        (
            f"{folder}/user<number>_<light>/<gesture>.npy (or IBM's {names} with its .aedat)",
            (f"{folder}/*/*.npy", names),
        )
        for folder, names in zip(folders, lists, strict=True)
    ]
    place = locate("dvs128-gesture", config, wanted, folders=("DvsGesture",))
    cut = [sorted((place / folder).glob("*/*.npy")) for folder in folders]
    if not all(cut):
        return Trials(_listed(place / lists[0])), Trials(_listed(place / lists[1]))
    train, test = (labelled(files, read_gesture, _gesture) for files in cut)
    return train, test


def _gesture(path: Path) -> int:
    if not path.stem.isdecimal():
        raise FileFormatError(f"{path}: its name is no gesture; 0.npy to 10.npy is expected")
    return int(path.stem)


def _listed(path: Path) -> list[Path]:
    """The trials that a text file names, one in a line."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
    for name in names:
        if Path(name).name != name or not name.endswith(".aedat"):
            raise FileFormatError(f"{path}: {name!r}; names of .aedat files beside it are expected")
    trials = [path.parent / name for name in names]
    missing = [file.name for trial in trials for file in (trial, _labels_of(trial)) if not file.is_file()]
    if missing:
        rest = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UsageError(f"{path.parent}: {', '.join(missing[:_NAMED])}{rest} missing, which {path.name} asks for")
    return trials


def _labels_of(trial: Path) -> Path:
    return trial.with_name(f"{trial.stem}_labels.csv")


def _gestures(trial: Path) -> Iterator[_Gesture]:
    """Rows of class (1 to 11), start and end; the first row is a heading."""
    path = _labels_of(trial)
    try:
        rows = path.read_text(encoding="utf-8").splitlines()[1:]
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
    for number, row in enumerate(rows, 2):
        if not row.strip():
            continue
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) != 3 or not all(cell.isdecimal() and len(cell) < 19 for cell in cells):
            raise FileFormatError(f"{path}, line {number}: {row[:60]!r}; class, start, end in microseconds is expected")
        label, start, end = map(int, cells)
        yield _Gesture(trial, label - 1, start, end)


def _cut(read: Callable[[Path], dict[str, NDArray[Any]]], gesture: _Gesture) -> Events:
    columns = read(gesture.trial)
    inside = (columns["t"] >= gesture.start) & (columns["t"] < gesture.end)
    source = f"{gesture.trial}, gesture {gesture.label + 1} from {gesture.start} us"
    part = {name: values[inside] for name, values in columns.items()}
    return ordered_events(source, DVS128, part | {"t": part["t"] - gesture.start})
