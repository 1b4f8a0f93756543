"""Reading an HDF5 file that may be hostile: everything is checked on metadata before an array is read.

Only plain content is taken: groups, numbers and texts that lie in the file itself. Soft and external links, objects
that are linked twice, virtual and external datasets, references, compound and opaque types, attributes and filters
other than shuffle, gzip and checksum are refused or left alone. What a compressed chunk holds is measured before
HDF5 unpacks it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError

if TYPE_CHECKING:
    import h5py

Tree: TypeAlias = "dict[str, Tree | NDArray[Any]]"

_DEEPEST = 12
_LONGEST_NAME = 200
_MOST_DIMENSIONS = 8
_MOST_TEXTS = 200_000  # edges of a graph are pairs of texts
_LONGEST_TEXT = 4096
_KEPT = 8  # bytes of a number once it is in a network
_SHUFFLE, _DEFLATE, _FLETCHER = 2, 1, 3  # HDF5's numbers of filters, in the order in which they are allowed
_ORDER = (_SHUFFLE, _DEFLATE, _FLETCHER)


@dataclass(frozen=True)
class Limits:
    """What a file may hold at most.

    Attributes:
        file_bytes: of the file itself.
        array_bytes: of all arrays together, unpacked, with at least 8 bytes a value, as networks keep them.
        objects: groups and datasets.
    """

    file_bytes: int = 2**30
    array_bytes: int = 2**30
    objects: int = 100_000


@dataclass
class _Walk:
    """How much of the limits is used, and the addresses of the objects that were met."""

    limits: Limits
    path: Path
    bytes: int = 0
    addresses: set[int] = field(default_factory=set)

    def refuse(self, where: str, why: str) -> FileFormatError:
        return FileFormatError(f"{self.path}: {where or '/'}: {why}")


def read_tree(path: Path, limits: Limits | None = None) -> Tree:
    """The groups of a file as dictionaries, and its datasets as arrays; texts are arrays of str (type object).

    Raises:
        FileFormatError: naming the file and the object in it, for anything but plain content within the limits.
    """
    import h5py

    walk = _Walk(limits or Limits(), path)
    try:
        if not path.is_file():
            raise FileFormatError(f"{path}: there is no such file")
        if path.stat().st_size > walk.limits.file_bytes:
            raise FileFormatError(f"{path}: {path.stat().st_size} bytes, allowed are {walk.limits.file_bytes}")
        with h5py.File(path, "r", locking=False) as file:
            plan = _examine_group(walk, file, "", 0)
            return _read_group(walk, plan, "")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError, OverflowError, zlib.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileFormatError(f"{path}: damaged, truncated or not an HDF5 file ({reason})") from error


# --- metadata -----------------------------------------------------------------------------------------------------


def _examine_group(walk: _Walk, group: h5py.Group, where: str, depth: int) -> dict[str, Any]:
    """name -> dataset, or the same of a group; nothing has been read of what is returned."""
    import h5py

    if depth > _DEEPEST:
        raise walk.refuse(where, f"nested more than {_DEEPEST} deep")
    _meet(walk, group, where)
    if len(group) > walk.limits.objects:
        raise walk.refuse(where, f"{len(group)} entries, allowed are {walk.limits.objects} in the file")
    found: dict[str, Any] = {}
    for name in group:
        if not (isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()):
            raise walk.refuse(where, f"a name of 1 to {_LONGEST_NAME} printable characters is expected")
        place = f"{where}/{name}"
        link = group.get(name, getlink=True)
        if type(link) is not h5py.HardLink:
            raise walk.refuse(place, f"a {type(link).__name__} to elsewhere; only what lies in the file itself is read")
        item = group[name]
        if isinstance(item, h5py.Group):
            found[name] = _examine_group(walk, item, place, depth + 1)
        elif isinstance(item, h5py.Dataset):
            _meet(walk, item, place)
            _examine_dataset(walk, item, place)
            found[name] = item
        else:
            raise walk.refuse(place, f"a {type(item).__name__}; only groups and datasets are read")
    return found


def _meet(walk: _Walk, item: h5py.Group | h5py.Dataset, where: str) -> None:
    """An object that is linked twice could make a small file large, or a loop."""
    import h5py

    address = h5py.h5o.get_info(item.id).addr
    if address in walk.addresses:
        raise walk.refuse(where, "linked more than once in the file")
    walk.addresses.add(address)
    if len(walk.addresses) > walk.limits.objects:
        raise walk.refuse(where, f"more than {walk.limits.objects} groups and datasets in the file")


def _examine_dataset(walk: _Walk, dataset: h5py.Dataset, where: str) -> None:
    import h5py

    if dataset.shape is None or len(dataset.shape) > _MOST_DIMENSIONS:
        raise walk.refuse(where, f"no array of at most {_MOST_DIMENSIONS} dimensions")
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count():
        raise walk.refuse(where, "its values lie in other files; only what lies in the file itself is read")
    count = math.prod(dataset.shape)
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None and dataset.dtype.kind not in "iufb":
        raise walk.refuse(where, f"values of type {dataset.dtype}; numbers and texts are read")
    if text is not None and (count > _MOST_TEXTS or (text.length or 0) > _LONGEST_TEXT):
        raise walk.refuse(where, f"{count} texts; at most {_MOST_TEXTS} of up to {_LONGEST_TEXT} characters are read")
    size = count * dataset.dtype.itemsize
    walk.bytes += count * max(dataset.dtype.itemsize, _KEPT)
    most = walk.limits.array_bytes
    if walk.bytes > most:
        raise walk.refuse(where, f"{dataset.shape} brings the arrays above {most} bytes, {_KEPT} or more a value")
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if filters != [one for one in _ORDER if one in filters]:
        raise walk.refuse(where, "packed by a filter other than shuffle, gzip and a checksum, in that order")
    if dataset.chunks is not None:
        chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
        if chunk > max(size, 2**20):
            raise walk.refuse(where, f"chunks of {chunk} bytes for an array of {size} bytes")


# --- values -------------------------------------------------------------------------------------------------------


def _read_group(walk: _Walk, plan: dict[str, Any], where: str) -> Tree:
    return {
        name: _read_group(walk, item, f"{where}/{name}")
        if isinstance(item, dict)
        else _read_dataset(walk, item, f"{where}/{name}")
        for name, item in plan.items()
    }


def _read_dataset(walk: _Walk, dataset: h5py.Dataset, where: str) -> NDArray[Any]:
    import h5py

    if dataset.chunks is not None:
        _measure_chunks(walk, dataset, where)
    if h5py.check_string_dtype(dataset.dtype) is None:
        array = np.asarray(dataset[()])
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise walk.refuse(where, "holds values that are not finite numbers")
        return array
    texts = np.empty(dataset.shape, dtype=object)
    for index in np.ndindex(dataset.shape):  # one at a time: many may share one long text
        texts[index] = _text(walk, dataset[index], where)
    return texts


def _text(walk: _Walk, value: Any, where: str) -> str:
    if not isinstance(value, bytes) or len(value) > _LONGEST_TEXT:
        raise walk.refuse(where, f"a text of more than {_LONGEST_TEXT} characters")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise walk.refuse(where, "a text that is not UTF-8") from error


def _measure_chunks(walk: _Walk, dataset: h5py.Dataset, where: str) -> None:
    """Whether every chunk unpacks to no more than it may hold: HDF5's gzip filter itself grows without limit."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if _DEFLATE not in filters:
        return
    largest = math.prod(dataset.chunks) * dataset.dtype.itemsize
    for stored, skipped in _chunks(dataset):
        if skipped & (1 << filters.index(_DEFLATE)):
            continue
        unpacked = zlib.decompressobj().decompress(stored, largest + 1)
        if len(unpacked) > largest:
            raise walk.refuse(where, f"a chunk unpacks to more than the {largest} bytes that it may hold")


def _chunks(dataset: h5py.Dataset) -> Iterator[tuple[bytes, int]]:
    """(stored bytes, mask of filters that were skipped) of every chunk that is stored."""
    for index in range(dataset.id.get_num_chunks()):
        offset = dataset.id.get_chunk_info(index).chunk_offset
        skipped, stored = dataset.id.read_direct_chunk(offset)
        yield stored, skipped
