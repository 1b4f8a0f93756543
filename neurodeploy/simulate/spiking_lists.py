"""The spikes that are known before a network runs, as lists: read once, from where they lie in memory."""

# mypy does not read the compiled function; see `simulate.spiking_kernels`.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import Shape
from neurodeploy.simulate.spiking_kernels import GATHER, HOW_MANY, PLACES
from neurodeploy.simulate.spiking_tables import channels_last

_WORD = 8  # spikes that are looked at in one piece
_GUESS = 4  # the first room: one spike in so many values; what is not used is never touched


def lists(
    sources: Sequence[tuple[NDArray[Any], Shape, bool]], steps: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The spikes of sources, in the order of the tables, one source after the other, sample by sample, step by step.

    Args:
        sources: (spikes, shape, whether they are graded): (B, *shape) where they do not change, or (B, T, *shape).
        steps: T.

    Returns:
        (the number of every neuron that spikes, graded ones as often as they count; where those of each sample and step
        begin, (sources, B * T + 1)).
    """
    found = [_listed(values, shape, graded, steps) for values, shape, graded in sources]
    begins = np.cumsum([0, *(len(listed) for listed, _ in found)])
    starts = [ends + begin for (_, ends), begin in zip(found, begins[:-1], strict=True)]
    if len(found) == 1:
        return found[0][0], starts[0][None]
    listed = np.concatenate([np.zeros(0, dtype=np.int32), *(one for one, _ in found)])
    return listed, np.stack(starts) if starts else np.zeros((0, 1), dtype=np.int64)


def _listed(values: NDArray[Any], shape: Shape, graded: bool, steps: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    static = values.ndim == len(shape) + 1
    size = int(np.prod(shape))
    if values.dtype != np.uint8 or not _whole_rows(values, len(shape)):
        values = np.ascontiguousarray(values, dtype=np.uint8)
    pitches = values.strides[0], 0 if static else values.strides[1]
    batch = len(values)
    reach = (batch - 1) * pitches[0] + (0 if static else steps - 1) * pitches[1] + size
    flat = np.lib.stride_tricks.as_strided(values, (reach,), (1,), writeable=False)
    in_words = not graded and not any(number % _WORD for number in (*pitches, size, flat.ctypes.data))
    words = flat[: reach - reach % _WORD].view(np.uint64) if in_words else np.zeros(0, dtype=np.uint64)
    places = np.zeros(0, dtype=np.int32)
    if len(shape) == 3 and shape[0] > 1:
        places = np.empty(size, dtype=np.int32)
        places[channels_last(np.arange(size).reshape(shape), shape)] = np.arange(size, dtype=np.int32)
    starts = np.zeros(batch * steps + 1, dtype=np.int64)
    return _list_rows(flat, words, steps, size, pitches[0], pitches[1], places, starts), starts


def _whole_rows(values: NDArray[Any], dimensions: int) -> bool:
    """Whether what follows samples and steps lies in one piece, and samples and steps ahead of each other."""
    row = values[(0,) * (values.ndim - dimensions)]
    return bool(row.flags.c_contiguous) and all(stride >= 0 for stride in values.strides)


@numba.njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _list_rows(
    flat: Any, words: Any, steps: Any, n: Any, sample_pitch: Any, step_pitch: Any, places: Any, starts: Any
) -> Any:
    """Lists all rows, of which that of sample b and step t begins at b * sample_pitch + t * step_pitch in `flat`.

    Args:
        words: the same values, eight in one, where rows are whole words and every value is 0 or 1; else empty.
        places: of each value of a row in the order of the tables; empty where they are in it.
        starts: written, (B * T + 1).
    """
    listed = np.empty((starts.size - 1) * n // _GUESS + n + 2 * _WORD, np.int32)
    count = np.uint64(0)
    for row in range(starts.size - 1):
        begin = (row // steps) * sample_pitch + (row % steps) * step_pitch
        needed = n
        if words.size == 0:
            needed = 0
            for i in range(n):
                needed += flat[begin + i]
        if listed.size < np.int64(count) + needed + _WORD:
            room = np.empty(2 * listed.size + needed + _WORD, np.int32)
            room[:count] = listed[:count]
            listed = room
        first = count
        if words.size > 0:
            word = np.uint64(begin // _WORD)
            for k in range(np.uint64(n // _WORD)):  # no word is asked whether it is empty: it would be guessed wrong
                bits = (words[word + k] * GATHER) >> np.uint64(56)
                at, number = bits * np.uint64(_WORD), np.int32(k * np.uint64(_WORD))
                for i in range(np.uint64(_WORD)):
                    listed[count + i] = number + PLACES[at + i]
                count += HOW_MANY[bits]
        else:
            for i in range(n):
                for _ in range(flat[begin + i]):
                    listed[count] = i
                    count += np.uint64(1)
        if places.size > 0:
            for k in range(first, count):
                listed[k] = places[listed[k]]
        starts[row + 1] = count
    return listed[:count]
