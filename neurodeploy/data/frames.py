"""From the events of a recording to T frames, and where frames are kept."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import Samples
from neurodeploy.errors import FileFormatError, MissingBackendError, UsageError
from neurodeploy.ir.arrays import Shape

Events = NDArray[Any]  # structured: t in microseconds, x, p, and y where the sensor has rows

_CACHE_FORMAT = 1  # to be raised when the same files and options give other frames
_MICROSECONDS = 1e6


def tonic(module: str) -> Any:
    """A module of tonic.

    Raises:
        MissingBackendError: with the command that installs it.
    """
    try:
        return importlib.import_module(f"tonic.{module}")
    except ImportError as error:
        raise MissingBackendError(
            "recordings are read by tonic (GPL-3.0), which is not installed: pip install 'tonic>=1.5', "
            f"or pip install -e '.[events]' in a clone ({error})"
        ) from error


@dataclass(frozen=True)
class Sensor:
    """What recorded: (height, width) pixels, or (units,) in a row, which have no polarity."""

    size: tuple[int, ...]
    polarities: int = 2


@dataclass(frozen=True)
class Framing:
    """How events become frames; the options of `DataConfig`, and T."""

    sensor: Sensor
    steps: int
    slicing: str
    window: float | None
    merged: bool
    downsample: int
    bits: int
    resized: int | None = None

    @classmethod
    def of(cls, config: DataConfig, sensor: Sensor, steps: int) -> Framing:
        """From a configuration; one bit unless it says otherwise.

        Raises:
            UsageError: where the options do not go together.
        """
        if config.window is not None and config.slicing != "time":
            raise UsageError(f"data.window={config.window}: only with data.slicing=time")
        if config.window is not None and config.window * _MICROSECONDS < 1:
            raise UsageError(f"data.window={config.window}: seconds; at least 1e-6, the resolution of the recordings")
        if config.downsample > min(sensor.size):
            raise UsageError(f"data.downsample={config.downsample}: a sensor of {sensor.size} has not that many pixels")
        if config.size is not None and config.downsample > 1:
            raise UsageError(
                f"data.size={config.size} with data.downsample={config.downsample}: one of them; data.size=null or "
                "data.downsample=1 switches the other off"
            )
        if config.size is not None and config.size > min(sensor.size):
            raise UsageError(f"data.size={config.size}: a sensor of {sensor.size} has not that many pixels")
        merged = config.polarity == "merged" or sensor.polarities == 1
        bits = config.bits or 1
        return cls(sensor, steps, config.slicing, config.window, merged, config.downsample, bits, config.size)

    @property
    def size(self) -> tuple[int, ...]:
        """Of a frame; with `downsample` the last row and column may stand for fewer pixels of the sensor."""
        if self.resized is not None:
            return (self.resized,) * len(self.sensor.size)
        return tuple(-(-side // self.downsample) for side in self.sensor.size)

    @property
    def shape(self) -> Shape:
        """(polarities, height, width), or (units,)."""
        return self.size if len(self.size) == 1 else (1 if self.merged else 2, *self.size)

    def frames(self, events: Events) -> Samples:
        """(T, *shape): how many events fell into each frame at each place, at most 2**bits - 1.

        Slicing by time: event i is in frame floor(t[i] / window); later ones are left out. Without a window it is the
        recording's length over T, in whole microseconds, rounded up. By count: in frame floor(i * T / events), so that
        no two frames differ by more than one event.

        Events must be in order of time. tonic's ToFrame adds them up; which frame an event is in is decided here,
        since tonic's own bins drop the remainder of the division at the end.
        """
        to_frame = tonic("transforms").ToFrame
        if self.slicing == "count":
            step = np.arange(len(events), dtype=np.int64) * self.steps // max(1, len(events))
        else:
            length = int(events["t"][-1]) + 1 if len(events) else 1
            window = -(-length // self.steps) if self.window is None else round(self.window * _MICROSECONDS)
            step = events["t"] // window
        events = events.copy()
        events["t"] = step
        events = events[step < self.steps]
        for axis, wide, narrow in zip("xy", self.sensor.size[::-1], self.size[::-1], strict=False):
            events[axis] = events[axis] // self.downsample if self.resized is None else events[axis] * narrow // wide
        if self.merged:
            events["p"] = 0
        if not len(events):
            return np.zeros((self.steps, *self.shape), dtype=np.uint8)
        width, height = (*self.size[::-1], 1)[:2]
        size = (width, height, 1 if self.merged else 2)
        counts: NDArray[Any] = to_frame(size, time_window=1, start_time=0, end_time=self.steps)(events)
        frames: Samples = np.minimum(counts, 2**self.bits - 1).astype(np.uint8)
        return frames.reshape(self.steps, *self.shape)


def cache_path(folder: str, name: str, framing: Framing, files: Mapping[str, Sequence[Path]]) -> Path:
    """Where frames of these files are kept.

    The name changes with any of their paths, sizes and times, with the part that a file is of, and with the options.
    """
    state = {
        part: [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in own] for part, own in files.items()
    }
    content = json.dumps([_CACHE_FORMAT, name, repr(framing), state])
    return Path(folder).expanduser() / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:20]}.npz"


def read_cache(path: Path, expected: Sequence[str]) -> dict[str, NDArray[Any]] | None:
    """The arrays of a cache file; None where there is none, or, with a warning, where it is damaged."""
    if not path.is_file():
        return None
    try:
        # Opened here, since numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return {name: file[name] for name in expected}
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"{path}: damaged ({error}); the frames are made again", UserWarning, stacklevel=2)
        return None


def write_cache(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Writes arrays under a name that only ever holds a complete file.

    Raises:
        UsageError: where the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(suffix=".npz", prefix=".frames-", dir=path.parent)
    except OSError as error:
        raise UsageError(f"data.cache={path.parent}: {error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(scratch, path)
    except OSError as error:
        raise UsageError(f"data.cache={path.parent}: {error}") from error
    finally:
        Path(scratch).unlink(missing_ok=True)


def ordered_events(source: Path | str, sensor: Sensor, columns: dict[str, NDArray[Any]]) -> Events:
    """Events in order of time, t from 0 on, each on the sensor.

    Raises:
        FileFormatError: where there are none, or one of them is not on the sensor, between pixels or before the start.
    """
    limits = {"x": sensor.size[-1], "p": sensor.polarities} | ({"y": sensor.size[0]} if len(sensor.size) == 2 else {})
    events = np.empty(len(columns["t"]), dtype=[(name, np.int64) for name in ("t", *limits)])
    for name in events.dtype.names or ():
        events[name] = columns[name]
    if not len(events):
        raise FileFormatError(f"{source}: no events")
    for name, limit in limits.items():
        whole = events[name] == columns[name]
        if not whole.all():
            wrong = int(np.argmin(whole))
            raise FileFormatError(
                f"{source}: event {wrong} has {name}={columns[name][wrong]}; whole numbers are allowed"
            )
        if events[name].min() < 0 or events[name].max() >= limit:
            wrong = int(np.argmax((events[name] < 0) | (events[name] >= limit)))
            raise FileFormatError(
                f"{source}: event {wrong} has {name}={events[name][wrong]}; 0 to {limit - 1} is allowed"
            )
    if events["t"].min() < 0:
        raise FileFormatError(f"{source}: an event at {events['t'].min()} microseconds, before the start")
    if np.any(np.diff(events["t"]) < 0):
        events = events[np.argsort(events["t"], kind="stable")]
    return events
