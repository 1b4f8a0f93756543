"""Readers of event recordings, one per format; each names what is wrong with a file."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.frames import Events, Sensor, ordered_events, tonic
from neurodeploy.errors import FileFormatError, MissingBackendError

N_MNIST = Sensor((34, 34))
DVS128 = Sensor((128, 128))
COCHLEA = Sensor((700,), polarities=1)

_MNIST_RECORD = 5  # bytes
_AEDAT2_RECORD = 8  # bytes
_AEDAT3_END = b"#!END-HEADER\r\n"
_AEDAT3_PACKET = struct.Struct("<hhiiiiii")  # type, source, size, place of the time, overflow, capacity, number, valid
_POLARITY_EVENT = 1
_AEDAT3_RECORD = 8  # bytes
_AEDAT4_MAGIC = b"#!AER-DAT4.0\r\n"
_PANIC = "PanicException"  # of Rust code, as aedat's: a BaseException, whose class pyo3 does not give away
_MILLISECOND = 1000  # microseconds


def read_n_mnist(path: Path) -> Events:
    """N-MNIST's .bin: records of 40 bits: x, y, polarity, 23 bits of microseconds (Orchard et al. 2015)."""
    size = _size(path)
    if size % _MNIST_RECORD or not size:
        raise FileFormatError(f"{path}: {size} bytes are not whole records of {_MNIST_RECORD}, or none")
    columns = tonic("io").read_mnist_file(str(path), dtype=tonic("datasets").NMNIST.dtype)
    return ordered_events(path, N_MNIST, {name: columns[name] for name in "txyp"})


def read_gesture(path: Path) -> Events:
    """DVS128-Gesture as tonic publishes it, cut into gestures: a .npy of rows x, y, polarity, milliseconds."""
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise FileFormatError(f"{path}: damaged, or not a plain array ({error})") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
        raise FileFormatError(f"{path}: an array of shape {np.shape(rows)}; (events, 4) is expected: x, y, p, ms")
    if not np.isfinite(rows).all():
        raise FileFormatError(f"{path}: values that are not finite")
    x, y, p, milliseconds = rows.T.astype(np.float64)
    microseconds = (milliseconds - milliseconds.min(initial=np.inf)) * _MILLISECOND if len(rows) else milliseconds
    return ordered_events(path, DVS128, {"t": microseconds, "x": x, "y": y, "p": p})


def read_dvs_cifar10(path: Path) -> Events:
    """A recording of a DVS128 camera: .aedat4 (as tonic publishes the data set) or .aedat (2.0, the authors' own)."""
    return _read_aedat4(path) if path.suffix == ".aedat4" else _read_aedat2(path)


def _read_aedat2(path: Path) -> Events:
    """AEDAT 2.0: header lines that start with #, then big-endian 32-bit address and microseconds.

    The address of a DVS128: bit 0 polarity (0 is ON), bits 1 to 7 x from the right, bits 8 to 14 y (jAER). Bit 15 marks
    special events, as of a trigger, which are of no pixel and left out.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
    if not content.startswith(b"#!AER-DAT2.0"):
        raise FileFormatError(f"{path}: not an AEDAT 2.0 file (it starts with {content[:12]!r})")
    start = 0
    while content[start : start + 1] == b"#" and (end := content.find(b"\n", start)) >= 0:
        start = end + 1
    if (len(content) - start) % _AEDAT2_RECORD:
        raise FileFormatError(f"{path}: truncated: {len(content) - start} bytes are not whole events of 8")
    records = np.frombuffer(content, dtype=">u4", offset=start).reshape(-1, 2).astype(np.int64)
    address, t = records[records[:, 0] >> 15 & 1 == 0].T
    t = t - t.min(initial=2**32) if len(t) else t
    columns = {"t": t, "x": 127 - (address >> 1 & 127), "y": address >> 8 & 127, "p": 1 - (address & 1)}
    return ordered_events(path, DVS128, columns)


def read_aedat3(path: Path) -> dict[str, NDArray[np.int64]]:
    """The polarity events of a DVS128 in AEDAT 3.1, as IBM publishes DVS128-Gesture: t in microseconds, x, y, p.

    Lines that start with # up to an end mark, then packets: a header of 28 bytes, little-endian, and `capacity`
    records. Of a polarity event: bit 0 valid, bit 1 polarity, bits 2 to 16 y, bits 17 to 31 x, and 31 bits of time, of
    which the packet's header says how often they overflowed (AEDAT 3.1, iniVation).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
    if not content.startswith(b"#!AER-DAT3.1"):
        raise FileFormatError(f"{path}: not an AEDAT 3.1 file (it starts with {content[:12]!r})")
    at = content.find(_AEDAT3_END)
    if at < 0:
        raise FileFormatError(f"{path}: truncated: its header has no end")
    at += len(_AEDAT3_END)
    found: list[NDArray[np.int64]] = []
    while at < len(content):
        if len(content) - at < _AEDAT3_PACKET.size:
            raise FileFormatError(f"{path}: truncated: {len(content) - at} bytes at the end are no packet")
        kind, _, size, _, overflow, capacity, number, _ = _AEDAT3_PACKET.unpack_from(content, at)
        at += _AEDAT3_PACKET.size
        wrong = kind == _POLARITY_EVENT and size != _AEDAT3_RECORD
        if wrong or min(size, overflow, capacity) < 0 or not 0 <= number <= capacity or overflow >> 31:
            raise FileFormatError(f"{path}: damaged: a packet of {number} of {capacity} events of {size} bytes")
        if capacity * size > len(content) - at:
            raise FileFormatError(
                f"{path}: truncated: a packet of {capacity * size} bytes, {len(content) - at} are left"
            )
        if kind == _POLARITY_EVENT:
            records = np.frombuffer(content, "<u4", 2 * number, at).reshape(-1, 2).astype(np.int64)
            valid = records[records[:, 0] & 1 == 1]
            found.append(np.stack([valid[:, 0], valid[:, 1] | overflow << 31]))
        at += capacity * size
    data, t = np.concatenate(found, axis=1) if found else np.zeros((2, 0), dtype=np.int64)
    return {"t": t, "x": data >> 17 & 0x7FFF, "y": data >> 2 & 0x7FFF, "p": data >> 1 & 1}


def _read_aedat4(path: Path) -> Events:
    _check_aedat4(path)
    try:
        importlib.import_module("aedat")
    except ImportError as error:
        raise MissingBackendError(
            f"{path.name}: tonic reads .aedat4 with the package aedat, which is not installed: pip install aedat"
        ) from error
    try:
        found = tonic("io").read_aedat4(str(path))
    except MissingBackendError:
        raise
    except BaseException as error:  # tonic and aedat raise bare Exception, RuntimeError, ValueError ...
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise FileFormatError(f"{path}: damaged or truncated ({error})") from error
    t = found["t"].astype(np.int64)
    columns = {"t": t - t.min() if len(t) else t, "x": found["x"], "y": found["y"], "p": found["on"]}
    return ordered_events(path, DVS128, columns)


def _check_aedat4(path: Path) -> None:
    """A file that is cut between two packets reads well, but ends before the table that its header points to."""
    size = _size(path)
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if not head.startswith(_AEDAT4_MAGIC):
        raise FileFormatError(f"{path}: not an AEDAT 4.0 file (it starts with {head[:14]!r})")
    try:
        base = len(_AEDAT4_MAGIC) + 4  # behind the length of the header, a FlatBuffer
        table = base + struct.unpack_from("<I", head, base)[0]
        fields = table - struct.unpack_from("<i", head, table)[0]
        length, offset = struct.unpack_from("<H", head, fields)[0], struct.unpack_from("<H", head, fields + 6)[0]
        end = struct.unpack_from("<q", head, table + offset)[0] if length >= 8 and offset else -1
    except struct.error as error:
        raise FileFormatError(f"{path}: damaged header ({error})") from error
    if end >= size:
        raise FileFormatError(f"{path}: truncated: {size} bytes, but its table of contents begins at {end}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
