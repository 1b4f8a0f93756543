"""Data sets of event recordings: N-MNIST, DVS-CIFAR10, DVS128-Gesture, SHD."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import Labels, Split
from neurodeploy.data.frames import (
    Events,
    Framing,
    Sensor,
    cache_path,
    ordered_events,
    read_cache,
    tonic,
    write_cache,
)
from neurodeploy.data.gesture import find_gesture
from neurodeploy.data.parts import Part, labelled
from neurodeploy.data.places import Loaded, locate
from neurodeploy.data.readers import COCHLEA, DVS128, N_MNIST, read_dvs_cifar10, read_n_mnist
from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.ir.nodes import Input

_OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TEST_SEED = 20230426  # DVS-CIFAR10 comes without a split: this one is the same for every training seed
_TEST_SHARE = 0.1  # of each class, as everybody does (900 and 100 of 1,000)
_NAMED = 5  # damaged files named in one error
_MICROSECONDS = 1e6


class HeidelbergFile:
    """SHD's .h5: spikes/times (seconds) and spikes/units of every recording, and labels (Cramer et al. 2020)."""

    def __init__(self, path: Path) -> None:
        self.path, self.files = path, [path]
        with self._open() as (_, _, labels):
            self.labels: Labels = labels

    def read(self) -> Iterator[Callable[[], Events]]:
        """For each recording, what reads it."""
        with self._open() as (times, units, labels):
            for index in range(len(labels)):
                yield lambda index=index: self._events(times, units, index)  # type: ignore[misc]

    def _events(self, times: Any, units: Any, index: int) -> Events:
        name = f"{self.path}, recording {index}"
        try:
            seconds, unit = np.asarray(times[index], dtype=np.float64), np.asarray(units[index])
        except OSError as error:
            raise FileFormatError(f"{name}: damaged ({error})") from error
        if len(seconds) != len(unit) or not np.isfinite(seconds).all():
            raise FileFormatError(f"{name}: {len(seconds)} times for {len(unit)} units, or times that are not finite")
        shd = tonic("datasets").SHD
        columns = tonic("io").make_structured_array(np.rint(seconds * _MICROSECONDS), unit, 0, dtype=shd.dtype)
        return ordered_events(name, COCHLEA, {field: columns[field] for field in "txp"})

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any, Labels]]:
        import h5py

        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise FileFormatError(f"{self.path}: damaged or truncated ({error}); fetch it again") from error
        with file:
            try:
                times, units = file["spikes/times"], file["spikes/units"]
                labels = np.asarray(file["labels"]).astype(np.int64)
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise FileFormatError(f"{self.path}: not SHD's layout, or damaged ({error})") from error
            if not len(times) == len(units) == len(labels):
                raise FileFormatError(
                    f"{self.path}: {len(times)} times, {len(units)} units and {len(labels)} labels, not one each"
                )
            yield times, units, labels


@dataclass(frozen=True)
class Recordings:
    """A data set of recordings: its sensor, its classes, the sizes it is published in, how its two splits are found."""

    sensor: Sensor
    classes: int
    official: tuple[tuple[int, int], ...]
    find: Callable[[DataConfig], tuple[Part, Part]]


def load_recordings(name: str, config: DataConfig, steps: int) -> Loaded:
    """Frames of all recordings, from `config.cache` where they were made before.

    Raises:
        UsageError: for missing files and options that do not go together; FileFormatError naming damaged files;
            MissingBackendError without tonic.
    """
    kind = RECORDINGS[name]
    framing = Framing.of(config, kind.sensor, steps)
    parts = dict(zip(("train", "test"), kind.find(config), strict=True))
    for part, found in parts.items():
        if len(found.labels) == 0:
            raise UsageError(f"data set {name}: no {part} recordings")
        if found.labels.min() < 0 or found.labels.max() >= kind.classes:
            wrong = int(found.labels.max() if found.labels.min() >= 0 else found.labels.min())
            raise FileFormatError(
                f"data set {name}: label {wrong} in {found.files[0].parent}; allowed are 0 to {kind.classes - 1}"
            )
    cache = None
    if config.cache is not None:
        cache = cache_path(config.cache, name, framing, {part: found.files for part, found in parts.items()})
    samples = read_cache(cache, tuple(parts)) if cache else None
    if samples is None:
        samples = _all_frames(name, parts, framing)
        if cache:
            write_cache(cache, samples)
    source = Input(framing.shape, 1.0, framing.bits)
    train, test = (Split(samples[part], found.labels, True) for part, found in parts.items())
    sizes = (len(train), len(test))
    official = sizes if sizes in kind.official else kind.official[0]
    return Loaded(name, source, kind.classes, train, test, official=official)


def _all_frames(name: str, parts: Mapping[str, Part], framing: Framing) -> dict[str, Any]:
    tonic("transforms")  # before anything is read
    samples, damaged = {}, []
    for part, recordings in parts.items():
        samples[part] = np.zeros((len(recordings.labels), framing.steps, *framing.shape), dtype=np.uint8)
        for index, read in enumerate(recordings.read()):
            try:
                samples[part][index] = framing.frames(read())
            except FileFormatError as error:
                damaged.append(str(error))
    if damaged:
        rest = f"; and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        raise FileFormatError(
            f"data set {name}: {len(damaged)} damaged recordings: {'; '.join(damaged[:_NAMED])}{rest}; fetch them again"
        )
    return samples


def _find_n_mnist(config: DataConfig) -> tuple[Part, Part]:
    wanted = [(f"{part}/<digit>/*.bin", (f"{part}/*/*.bin",)) for part in ("Train", "Test")]
    place = locate("n-mnist", config, wanted)
    train, test = (sorted((place / part).glob("*/*.bin")) for part in ("Train", "Test"))
    return labelled(train, read_n_mnist, _digit), labelled(test, read_n_mnist, _digit)


def _digit(path: Path) -> int:
    if not path.parent.name.isdecimal():
        raise FileFormatError(
            f"{path}: in a folder that is no digit; N-MNIST's are Train/0 to Train/9, Test/0 to Test/9"
        )
    return int(path.parent.name)


def _find_dvs_cifar10(config: DataConfig) -> tuple[Part, Part]:
    wanted = [(f"{label}/*.aedat4 (or .aedat)", (f"{label}/*.aedat4", f"{label}/*.aedat")) for label in _OBJECTS]
    place = locate("dvs-cifar10", config, wanted)
    train: list[Path] = []
    test: list[Path] = []
    for number, label in enumerate(_OBJECTS):
        files = sorted(path for path in (place / label).iterdir() if path.suffix in (".aedat4", ".aedat"))
        count = max(1, round(_TEST_SHARE * len(files)))
        order = np.random.default_rng((_TEST_SEED, number)).permutation(len(files))
        test += sorted(files[index] for index in order[:count])
        train += sorted(files[index] for index in order[count:])

    def label_of(path: Path) -> int:
        return _OBJECTS.index(path.parent.name)

    return labelled(train, read_dvs_cifar10, label_of), labelled(test, read_dvs_cifar10, label_of)


def _find_shd(config: DataConfig) -> tuple[Part, Part]:
    names = ("shd_train.h5", "shd_test.h5")
    place = locate("shd", config, [(name, (name,)) for name in names])
    return HeidelbergFile(place / names[0]), HeidelbergFile(place / names[1])


RECORDINGS: Mapping[str, Recordings] = {
    "n-mnist": Recordings(N_MNIST, 10, ((60000, 10000),), _find_n_mnist),
    "dvs-cifar10": Recordings(DVS128, 10, ((9000, 1000),), _find_dvs_cifar10),
    "dvs128-gesture": Recordings(DVS128, 11, ((1077, 264), (1176, 288)), find_gesture),
    "shd": Recordings(COCHLEA, 20, ((8156, 2264),), _find_shd),
}
