"""Where the spike of a pixel lands in a convolution: its taps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurodeploy.ir.arrays import IntArray, Shape
from neurodeploy.ir.synapses import ConvSynapses


@dataclass(frozen=True)
class Border:
    """Of a layer's sums: pixels before the first of each row, and pixels from a row to the next."""

    origin: int
    pitch: int


def fast(one: ConvSynapses) -> bool:
    """Whether a row of the kernel lands in one piece: taps are then kernel rows, with columns reversed."""
    return one.stride[1] == 1 and one.dilation[1] == 1 and one.groups == 1


def border_of(convolutions: Sequence[ConvSynapses], shapes: Mapping[str, Shape], shape: Shape) -> Border:
    """Wide enough for every whole kernel row of a layer's convolutions, whose ends may lie outside the image."""
    if len(shape) != 3:
        return Border(0, 0)
    whole = [one for one in convolutions if fast(one)]
    origin = max([0, *(one.weight.shape[3] - 1 - one.padding[1] for one in whole)])
    last = [shapes[one.source][2] // one.pool - 1 + one.padding[1] for one in whole]
    return Border(origin, origin + max([shape[2] - 1, *last]) + 1)


def taps_of(one: ConvSynapses, source: Shape, shape: Shape, border: Border) -> tuple[IntArray, IntArray, IntArray]:
    """(places (pixels + 1), targets, rows): see `spiking_kernels.add_taps`.

    A pixel (y, x) reaches the output row (y / pool + padding - ky dilation) / stride of every kernel row ky, where that
    is a whole number within the image, and columns likewise.
    """
    outputs, _, height, width = one.weight.shape
    channels, per_group = shape[0], outputs // one.groups
    down = _reached(source[1], one, 0, height, shape[1])
    if fast(one):
        x = np.arange(source[2]) // one.pool + one.padding[1] - (width - 1)
        right, columns = x[:, None], 1
    else:
        right, columns = _reached(source[2], one, 1, width, shape[2]), width
    pixels = (source[1], source[2], height, columns)
    rows_y = np.broadcast_to(down[:, None, :, None], pixels)
    rows_x = np.broadcast_to(right[None, :, None, :], pixels)
    valid = rows_y >= 0 if fast(one) else (rows_y >= 0) & (rows_x >= 0)
    targets = (rows_y * border.pitch + rows_x + border.origin) * channels
    kernel = (np.arange(height)[:, None] * width + np.arange(columns)[None]) * per_group
    kernel = np.broadcast_to(kernel, pixels)
    counts = valid.reshape(source[1] * source[2], -1).sum(axis=1)
    places = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return places, targets[valid].astype(np.int64), kernel[valid].astype(np.int64)


def _reached(pixels: int, one: ConvSynapses, axis: int, kernel: int, outputs: int) -> IntArray:
    """(pixels, kernel): the output that a pixel reaches through a tap, -1 where there is none."""
    ahead = np.arange(pixels)[:, None] // one.pool + one.padding[axis] - np.arange(kernel) * one.dilation[axis]
    landed = ahead // one.stride[axis]
    return np.where((ahead % one.stride[axis] == 0) & (landed >= 0) & (landed < outputs), landed, -1)
