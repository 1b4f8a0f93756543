"""Frozen NumPy arrays, the only mutable thing that the frozen dataclasses of this folder could leak."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Shape = tuple[int, ...]


def frozen_floats(values: ArrayLike) -> FloatArray:
    """A read-only float64 copy of `values`."""
    return _read_only(np.array(values, dtype=np.float64))


def frozen_ints(values: ArrayLike) -> IntArray:
    """A read-only int64 copy of `values`; raises TypeError where a value is not an integer."""
    array = np.asarray(values)
    check_integers(array)
    return _read_only(np.array(array, dtype=np.int64))


def check_integers(array: NDArray[Any]) -> None:
    """Raises TypeError where a value is not an integer."""
    if array.dtype.kind not in "iub":
        raise TypeError(f"integers expected, got {array.dtype}")


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
