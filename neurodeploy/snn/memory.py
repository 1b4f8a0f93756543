"""Memory that training frees is kept for the next batch, where the C library is GNU's.

GNU's malloc fetches blocks above 32 MiB, its largest threshold, from the system one by one and gives each back when it
is freed. The currents and spikes of a large layer are such blocks: in every batch their pages are fetched, cleared and
given back again, which takes up to a third of a training's time. Meanwhile nothing is given back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # options of mallopt, malloc.h
_NEVER = 2**31 - 1
_LARGEST = 2**25  # bytes: what malloc's own threshold grows to
_BLOCKS = 2**16  # fetched from the system one by one, at most: malloc's own limit


@contextmanager
def kept() -> Iterator[None]:
    """Freed memory stays with the process meanwhile, and goes back to the system at the end."""
    library = _gnu()
    if library is None:
        yield
        return
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    library.mallopt(_MMAP_MAX, 0)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _BLOCKS)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
        library.malloc_trim(0)


def _gnu() -> Any:
    """The C library if it is GNU's, else None."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 — raises where it is not there
    except (OSError, AttributeError, TypeError):
        return None
    return library
