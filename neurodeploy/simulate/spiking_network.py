"""One chip on some samples, in one compiled call: what spikes bring is added up, row by row of the weights.

A network is a table: a row per layer, a row per synapses, and flat arrays of weights and parameters. All layers lie
side by side in one row of neurons, each beginning at a multiple of 8, so that eight spikes are looked at in one word.
A layer runs through all steps before the next begins, where no feedback forbids it: then its weights stay in the cache.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from neurodeploy.simulate import spiking_kernels
from neurodeploy.simulate.spiking_kernels import (
    LISTED,
    MOST_AT_ONCE,
    add_rows,
    add_taps,
    add_to,
    fixed_point,
    fixed_point_in_full,
    floating,
    floating_in_full,
    inlined,
    join,
    list_spikes,
    transmit,
)


class LayerRow(NamedTuple):
    """A layer in the table.

    Attributes:
        place, size: of its neurons in the row of all neurons.
        rows, row: its neurons are `rows` times `row` values, (height, width * channels) or (1, n).
        origin, pitch, sums: its sums are an array of `sums` values with a border, in which the first row begins at
            `origin` and the next `pitch` later.
        first, last: its synapses.
        steady, changing: columns of what is added to the sums whatever spikes, the same at every step or not; -1: none.
        fixed_point, in_full, at_threshold, subtract, reads: 0 or 1; `in_full` where the short loop would be wrong,
            `reads` for the layer that is read out.
    """

    place: int
    size: int
    rows: int
    row: int
    origin: int
    pitch: int
    sums: int
    first: int
    last: int
    steady: int
    changing: int
    fixed_point: int
    in_full: int
    at_threshold: int
    subtract: int
    reads: int


class SynapsesRow(NamedTuple):
    """Synapses in the table; see `spiking_kernels.add_taps`.

    Attributes:
        place, pixels, channels: of the source in the row of all neurons.
        delay: steps.
        taps: where its taps begin; -1 for dense synapses.
        weights: where its weights begin.
        own: 1 where its sums are kept apart and transformed before they join the others.
        wraps, shift: how they are transformed.
        graded: 1 where a spike may count for several.
    """

    place: int
    pixels: int
    channels: int
    delay: int
    taps: int
    weights: int
    run: int
    row_step: int
    inside: int
    outside: int
    own: int
    wraps: int
    shift: int
    graded: int


class Tables(NamedTuple):
    """What all chips of a population share.

    Attributes:
        layers, synapses: a row each, as integers.
        groups: layer g begins a group of layers that run step by step together.
        taps, targets, rows: see `spiking_kernels.add_taps`.
        unit: of each layer.
    """

    layers: np.ndarray
    synapses: np.ndarray
    groups: np.ndarray
    taps: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    unit: np.ndarray


class ChipArrays(NamedTuple):
    """What is a chip's own: all weights, and of every neuron what it keeps, its threshold, bias and kept current."""

    weights: np.ndarray
    retention: np.ndarray
    threshold: np.ndarray
    bias: np.ndarray
    kept: np.ndarray


class Drive(NamedTuple):
    """What reaches the network from outside, (samples, …); an array of no columns where there is nothing.

    Attributes:
        given: (B, T, n) spikes that are known: those of an input, in the first places of the row.
        steady, changing: (B, columns) and (B, T, columns), added to sums.
        added: (B * T * neurons) noise added to potentials.
        masks: (B * T * neurons) what becomes of spikes, bits.
    """

    given: np.ndarray
    steady: np.ndarray
    changing: np.ndarray
    added: np.ndarray
    masks: np.ndarray


class Record(NamedTuple):
    """What is written, flat: (B * classes) the readout, (neurons) counts, (B * T * neurons) spikes and potentials.

    Counts, and spikes with potentials, are left out where they have no values.
    """

    readout: np.ndarray
    counts: np.ndarray
    spikes: np.ndarray
    potentials: np.ndarray


# The columns of the tables, as numba takes them in: constants.
(_PLACE, _SIZE, _ROWS, _ROW, _ORIGIN, _PITCH, _SUMS, _FIRST, _LAST, _STEADY, _CHANGING) = range(11)
(_FIXED_POINT, _IN_FULL, _AT_THRESHOLD, _SUBTRACT, _READS) = range(11, 16)
(_SOURCE, _PIXELS, _CHANNELS, _DELAY, _TAPS, _WEIGHTS, _RUN, _ROW_STEP, _INSIDE, _OUTSIDE) = range(10)
(_OWN, _WRAPS, _SHIFT, _GRADED) = range(10, 14)
_U = np.uint64


@inlined
def _add_up(table, all_taps, targets, rows, weights, s, spikes, words, row, listed, into):
    """into += what synapses s bring of the spikes of a step, whose row begins at `row`."""
    place = row + _U(table[s, _SOURCE])
    end = place + _U(table[s, _PIXELS] * table[s, _CHANNELS])
    word, last = place // _U(8), (end + _U(7)) // _U(8)
    base, run = _U(table[s, _WEIGHTS]), _U(table[s, _RUN])
    channels, taps = _U(table[s, _CHANNELS]), table[s, _TAPS]
    geometry = run, _U(table[s, _ROW_STEP]), _U(table[s, _INSIDE]), _U(table[s, _OUTSIDE])
    while word < last:
        count, word = list_spikes(spikes, words, word, last, table[s, _GRADED] == 1, listed)
        if taps < 0:
            add_rows(into, weights, base, run, listed, count, place)
        else:
            at = _U(taps)
            add_taps(into, weights, base, listed, count, place, channels, all_taps, at, targets, rows, geometry)


@inlined
def _update(
    table,
    layer,
    sums,
    at,
    unit,
    kept,
    keep,
    bias,
    limit,
    added,
    noise,
    current,
    potential,
    place,
    spikes,
    first,
    n,
):
    """One step of a row of neurons."""
    at_threshold, subtract = table[layer, _AT_THRESHOLD] == 1, table[layer, _SUBTRACT] == 1
    full = table[layer, _IN_FULL] == 1
    if table[layer, _FIXED_POINT] == 1:
        if full:
            fixed_point_in_full(
                sums, at, kept, keep, bias, limit, added, noise, current, potential, place, spikes, first, n
            )
        else:
            fixed_point(sums, at, keep, bias, limit, potential, place, spikes, first, n)
    elif full:
        floating_in_full(
            sums,
            at,
            unit,
            kept,
            keep,
            bias,
            limit,
            added,
            noise,
            at_threshold,
            subtract,
            current,
            potential,
            place,
            spikes,
            first,
            n,
        )
    else:
        floating(sums, at, unit, keep, bias, limit, at_threshold, subtract, potential, place, spikes, first, n)


def _fingerprint():
    return hashlib.sha256(Path(spiking_kernels.__file__).read_bytes()).hexdigest()


def _kernel(fingerprint):
    """Compiled once and kept on disk; the fingerprint in its closure tells numba of changes in the other file."""

    @numba.njit(cache=True, error_model="numpy", nogil=True)
    def run(tables, chip, drive, record, steps, sums, apart):
        """Runs all samples of a drive.

        Args:
            steps: T.
            sums, apart: (longest `LayerRow.sums`) of zeros, integers that are wide enough; overwritten.
        """
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        # Taken out of their tuples once: numba counts references to whatever it takes out, every time.
        layers, synapses, groups, units = tables.layers, tables.synapses, tables.groups, tables.unit
        taps, targets, rows = tables.taps, tables.targets, tables.rows
        weights, kept, keep, bias, limit = chip.weights, chip.kept, chip.retention, chip.bias, chip.threshold
        masks, readout, counts = drive.masks, record.readout, record.counts
        recorded_spikes, recorded_potentials = record.spikes, record.potentials
        neurons = _U(limit.size)
        words = np.zeros(steps * neurons // _U(8), np.uint64)
        spikes = words.view(np.uint8)
        listed = np.empty(LISTED + MOST_AT_ONCE, np.int64)
        potential, current, held = np.empty(neurons), np.empty(neurons), np.empty(neurons, np.uint8)
        noisy, masked = drive.added.size > 0, masks.size > 0
        recorded, counted = recorded_potentials.size > 0, counts.size > 0
        added = drive.added if noisy else np.zeros(neurons)
        known, steady, changing = drive.given.shape[2], drive.steady.shape[1], drive.changing.shape[2]
        steady_sums, changing_sums = drive.steady.reshape(-1), drive.changing.reshape(-1)
        for sample in range(drive.given.shape[0]):
            if known:
                spikes.reshape(steps, -1)[:, :known] = drive.given[sample]
            potential[:] = 0.0
            current[:] = 0.0
            held[:] = 0
            for g in range(groups.size - 1):
                for t in range(steps):
                    row = _U(t) * neurons
                    now = _U(sample * steps) * neurons + row  # of this step in what is given and recorded
                    for layer in range(groups[g], groups[g + 1]):
                        place, width = _U(layers[layer, _PLACE]), _U(layers[layer, _ROW])
                        size = _U(layers[layer, _SIZE])
                        total, origin, pitch = sums, _U(layers[layer, _ORIGIN]), _U(layers[layer, _PITCH])
                        first, last = layers[layer, _FIRST], layers[layer, _LAST]
                        constant, varying = layers[layer, _STEADY], layers[layer, _CHANGING]
                        if first == last and constant >= 0 and varying < 0:  # nothing is added to what is given
                            total, origin, pitch = steady_sums, _U(sample * steady + constant), width
                        elif first == last and varying >= 0 and constant < 0:
                            at = (sample * steps + t) * changing + varying
                            total, origin, pitch = changing_sums, _U(at), width
                        else:
                            room = layers[layer, _SUMS]
                            total[:room] = 0
                            for s in range(first, last):
                                own = synapses[s, _OWN] == 1
                                before = t - synapses[s, _DELAY]
                                if before < 0:
                                    continue
                                into = apart if own else sums
                                then = _U(before) * neurons
                                _add_up(synapses, taps, targets, rows, weights, s, spikes, words, then, listed, into)
                                if own:
                                    join(sums, apart, room, synapses[s, _WRAPS] == 1, synapses[s, _SHIFT])
                            for line in range(_U(layers[layer, _ROWS])):
                                at = origin + line * pitch
                                if constant >= 0:
                                    begin = _U(sample * steady + constant) + line * width
                                    add_to(sums, at, steady_sums, begin, width)
                                if varying >= 0:
                                    begin = _U((sample * steps + t) * changing + varying) + line * width
                                    add_to(sums, at, changing_sums, begin, width)
                        for line in range(_U(layers[layer, _ROWS])):
                            low = place + line * width
                            _update(
                                layers,
                                layer,
                                total,
                                origin + line * pitch,
                                units[layer],
                                kept,
                                keep,
                                bias,
                                limit,
                                added,
                                now + low if noisy else low,
                                current,
                                potential,
                                low,
                                spikes,
                                row + low,
                                width,
                            )
                        if masked:
                            transmit(spikes, row + place, masks, now + place, held, place, size)
                        if counted:
                            add_to(counts, place, spikes, row + place, size)
                        if recorded:
                            for i in range(size):
                                recorded_spikes[now + place + i] = spikes[row + place + i]
                                recorded_potentials[now + place + i] = potential[place + i]
                        if layers[layer, _READS] == 1:
                            add_to(readout, _U(sample) * size, spikes, row + place, size)
                        elif layers[layer, _READS] == 2:
                            add_to(readout, _U(sample) * size, potential, place, size)

    return run


run_samples = _kernel(_fingerprint())
