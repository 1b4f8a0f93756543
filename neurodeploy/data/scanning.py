"""Scanning: a frame enters row by row, so that a chip with few input channels can take it.

A chip as Xylo has 16 input channels. A sensor is read out row by row, and so is a frame here: each row stays for as
many steps as there are to share. With "rows" the channels are the row's pixels; with "rows_and_columns", for square
frames, the column of the same number comes beside it. Polarities lie side by side.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DataSet, Samples, Split
from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import Shape


def frames_for(config: DataConfig, steps: int) -> int:
    """How many frames a recording is cut into: one per step, or `scan_frames` where they are scanned."""
    return steps if config.scan == "none" else config.scan_frames


def scanned(data: DataSet, config: DataConfig, steps: int) -> DataSet:
    """The data set with its frames scanned over `steps` steps, input shape (channels,).

    Raises:
        UsageError: where samples are no frames, the steps are no multiple of the rows of all frames, columns come
            beside rows of another length, or the samples are encoded as spikes.
    """
    shape, temporal = data.input.shape, data.train.temporal
    if len(shape) != 3:
        raise UsageError(f"data.scan={config.scan}: needs frames (C, H, W); samples of {data.name} are {shape}")
    if config.encoding != "direct":
        raise UsageError(f"data.scan={config.scan}: with data.encoding={config.encoding}; only direct is allowed")
    smaller = 1 if temporal else config.downsample  # recordings have been made smaller already
    channels, height, width = shape[0], -(-shape[1] // smaller), -(-shape[2] // smaller)
    if config.scan == "rows_and_columns" and height != width:
        raise UsageError(f"data.scan=rows_and_columns: frames of {height} x {width}; they must be square, or scan=rows")
    frames = config.scan_frames if temporal else 1
    if not temporal and config.scan_frames != 1:
        raise UsageError(f"data.scan_frames={config.scan_frames}: only for recordings; an image is one frame")
    if steps % (frames * height):
        raise UsageError(
            f"network.steps={steps}: {frames} frame{'s' * (frames > 1)} of {height} rows are scanned in a multiple of "
            f"{frames * height} steps"
        )
    lines = 2 if config.scan == "rows_and_columns" else 1

    def scan(split: Split) -> Split:
        samples = split.samples if temporal else split.samples[:, None]
        samples = _smaller(samples, smaller)
        rows = samples.transpose(0, 1, 3, 2, 4)  # (N, frames, H, C, W)
        parts = [rows.reshape(*rows.shape[:3], -1)]
        if lines == 2:
            parts.append(samples.transpose(0, 1, 4, 2, 3).reshape(*rows.shape[:3], -1))
        line = np.concatenate(parts, axis=3).reshape(len(samples), frames * height, -1)
        return Split(np.repeat(line, steps // (frames * height), axis=1), split.labels, temporal=True)

    shape = (lines * channels * width,)
    splits = (scan(split) for split in (data.train, data.validation, data.test))
    return DataSet(data.name, replace(data.input, shape=shape), data.classes, *splits)


def _smaller(samples: Samples, factor: int) -> Samples:
    """Means over squares of pixels, halves rounded up; past the edges there are zeros."""
    if factor == 1:
        return samples
    height, width = samples.shape[-2:]
    edges = [(0, 0)] * (samples.ndim - 2) + [(0, -height % factor), (0, -width % factor)]
    whole = np.pad(samples, edges).astype(np.uint32)
    size: Shape = (*whole.shape[:-2], whole.shape[-2] // factor, factor, whole.shape[-1] // factor, factor)
    summed = whole.reshape(size).sum(axis=(-3, -1))
    smaller: Samples = ((2 * summed + factor**2) // (2 * factor**2)).astype(np.uint8)
    return smaller
