"""Currents that the host computes: what reads the input is weighted outside Lava, and handed to neurons as it is.

Goes along with `lava_worker.py`. Direct encoding the other way round: instead of graded pixels that synapses in Lava
weight, the sums themselves arrive. They are whole numbers, and what neurons compute of them is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_CONV_LIMIT = 2**23  # Lava's Conv wraps its sums to two's complement of 24 bits, its Dense does not


def currents(
    synapses: dict[str, Any], weight: Any, delays: Any, frames: Any, shape: tuple[int, ...], steps: int, lag: int
) -> Any:
    """(frames, *shape) integers: what arrives at the target of synapses that read the input, and when.

    Row i of sample s arrives with its frame i; of what delays carry past the end of a sample nothing is left.

    Args:
        synapses: their description in the job.
        weight, delays: their arrays; dense weights in Lava's terms.
        frames: (samples * steps, *input shape).
        shape: of the target.
        lag: of the target.
    """
    late = synapses["wait"] + 1 - lag  # the delay that all of these synapses have
    if synapses["kind"] == "conv":
        sums = (_convolved(synapses, weight, frames) + _CONV_LIMIT) % (2 * _CONV_LIMIT) - _CONV_LIMIT
        return _delayed(sums, late, steps)
    inputs = frames.reshape(len(frames), -1).astype(np.int64)
    extra = np.zeros(weight.shape, dtype=np.int64) if delays is None else delays
    summed = np.zeros((len(frames), len(weight)), dtype=np.int64)
    exponent = synapses["weight_exponent"]
    for one in np.unique(extra):
        sums = inputs @ np.where(extra == one, weight, 0).T.astype(np.int64)
        shifted = sums << exponent if exponent >= 0 else sums >> -exponent  # each delay's sum by itself
        summed += _delayed(shifted, late + int(one), steps)
    return summed.reshape(len(frames), *shape)


def _delayed(values: Any, late: int, steps: int) -> Any:
    by_sample = values.reshape(-1, steps, *values.shape[1:])
    moved = np.zeros_like(by_sample)
    if late < steps:
        moved[:, late:] = by_sample[:, : steps - late]
    return moved.reshape(values.shape)


def _convolved(synapses: dict[str, Any], weight: Any, frames: Any) -> Any:
    """Cross-correlation, tap by tap."""
    (down, right), (top, left) = synapses["stride"], synapses["padding"]
    rows, columns = synapses["dilation"]
    groups, outputs = synapses["groups"], len(weight)
    padded = np.pad(frames.astype(np.int64), ((0, 0), (0, 0), (top, top), (left, left)))
    high, wide = weight.shape[2:]
    height = (padded.shape[2] - rows * (high - 1) - 1) // down + 1
    width = (padded.shape[3] - columns * (wide - 1) - 1) // right + 1
    grouped = padded.reshape(len(frames), groups, -1, *padded.shape[2:])
    taps = weight.reshape(groups, outputs // groups, *weight.shape[1:]).astype(np.int64)
    summed = np.zeros((len(frames), groups, outputs // groups, height, width), dtype=np.int64)
    for row in range(high):
        for column in range(wide):
            first, start = row * rows, column * columns
            seen = grouped[..., first : first + down * height : down, start : start + right * width : right]
            summed += np.einsum("nghyx,goh->ngoyx", seen[..., :height, :width], taps[..., row, column])
    return summed.reshape(len(frames), outputs, height, width)
