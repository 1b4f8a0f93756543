"""Trims by matching firing rates: each knob is bisected until its neurons fire as often as they should.

Layer by layer from the input, because what a layer receives depends on the trims before it. All knobs of a layer, in
all chips, are bisected at once: one run of the chips per bit of the trim. Of all codes measured, each knob keeps the
one whose spike count came nearest to the reference (of equals, the smallest change). At the end each chip keeps its
trims only where they do better on data that took no part, so that no chip ends worse on it than it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.device import Device, RackCodes
from neurodeploy.hw_models.trim import code_shape
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.program import Layer, Program
from neurodeploy.simulate.engine import run_chips


@dataclass(frozen=True, eq=False)
class Calibration:
    """Trims of a rack of chips, and what they cost and brought.

    Attributes:
        codes: firing layer -> (chips, *code shape); 0 where a chip did better without.
        reached: firing layer -> (chips, *code shape), True where the knob was not at the end of its range.
        validation_before, validation_after: (chips,) accuracy on the selection data, without and with trims.
        kept: (chips,) True where the trims are used.
        chip_runs: runs per chip; samples: samples per chip over all runs.
    """

    codes: RackCodes
    reached: dict[str, NDArray[np.bool_]]
    validation_before: FloatArray
    validation_after: FloatArray
    kept: NDArray[np.bool_]
    chip_runs: int
    samples: int


def calibrate_trims(
    device: Device,
    program: Program,
    measurement: NDArray[Any],
    selection: NDArray[Any],
    selection_labels: IntArray,
) -> Calibration:
    """Trims every chip of a device.

    Args:
        program: what the chips were meant to be; the reference rates come from it.
        measurement: inputs on which rates are matched, (B, *shape) or (T, B, *shape).
        selection: other inputs, on which the trims must show that they help; neither is test data.
        selection_labels: (B,).
    """
    wanted = run_chips([program], measurement).spike_counts
    firing = [layer for layer in program.layers if layer.fires]
    untouched = {
        layer.name: np.zeros((device.chips, *code_shape(device.trim, layer)), dtype=np.int64) for layer in firing
    }
    codes = dict(untouched)
    runs = 0
    for layer in firing:
        codes[layer.name], used = _bisect(device, layer, wanted[layer.name][0], measurement, codes)
        runs += used
    before = _accuracy(device, selection, selection_labels, untouched)
    after = _accuracy(device, selection, selection_labels, codes)
    kept = after > before
    highest = device.trim.highest_code
    return Calibration(
        {name: np.where(_column(kept, values), values, 0) for name, values in codes.items()},
        {name: np.abs(values) < highest for name, values in codes.items()},
        before,
        np.where(kept, after, before),
        kept,
        runs + 2,
        runs * _samples(program, measurement) + 2 * len(selection_labels),
    )


def _bisect(
    device: Device, layer: Layer, wanted: IntArray, measurement: NDArray[Any], codes: RackCodes
) -> tuple[IntArray, int]:
    """(codes of one layer, runs used). More spikes than wanted means that the code must rise.

    Always as many runs as the trim has bits: if they ended when the last chip is settled, the thermal noise that a chip
    meets later would depend on the chips beside it.
    """
    shape = codes[layer.name].shape
    target = wanted if device.trim.per == "neuron" else np.asarray(wanted.sum())
    low = np.full(shape, -device.trim.highest_code)
    high = np.full(shape, device.trim.highest_code)
    best = np.zeros(shape, dtype=np.int64)
    best_error = np.full(shape, np.iinfo(np.int64).max)
    trial = np.zeros(shape, dtype=np.int64)  # the untrimmed chip comes first, then the middle of what is left
    for _ in range(device.trim.bits):
        counts = device.run(measurement, codes | {layer.name: trial}).spike_counts[layer.name]
        if device.trim.per == "layer":
            counts = counts.reshape(len(counts), -1).sum(axis=1)
        error = np.abs(counts - target)
        better = (error < best_error) | ((error == best_error) & (np.abs(trial) < np.abs(best)))
        best, best_error = np.where(better, trial, best), np.where(better, error, best_error)
        low = np.where(counts > target, trial + 1, low)
        high = np.where(counts < target, trial - 1, high)
        settled = (counts == target) | (low > high)
        low, high = np.where(settled, trial, low), np.where(settled, trial, high)
        trial = (low + high) // 2
    return best, device.trim.bits


def _accuracy(device: Device, inputs: NDArray[Any], labels: IntArray, codes: RackCodes) -> FloatArray:
    return np.asarray((device.run(inputs, codes).decisions == labels).mean(axis=1), dtype=np.float64)


def _column(flags: NDArray[np.bool_], values: IntArray) -> NDArray[np.bool_]:
    return flags.reshape(-1, *[1] * (values.ndim - 1))


def _samples(program: Program, inputs: NDArray[Any]) -> int:
    return int(inputs.shape[0 if inputs.ndim == len(program.input.shape) + 1 else 1])
