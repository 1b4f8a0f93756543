"""Chips on some samples, in one compiled call: what spikes bring is added up, row by row of the weights.

A network is a table: a row per layer, a row per synapses, and flat arrays of weights and parameters. All layers lie
side by side in one row of neurons, each beginning at a multiple of 8, so that eight spikes are looked at in one word.
A layer runs through all steps before the next begins, where no feedback forbids it: then its weights stay in the cache.
All chips run a sample before the next begins: then what they share stays there too.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import hashlib
from pathlib import Path

import numba
import numpy as np

from neurodeploy.simulate import noise_kernels, spiking_kernels
from neurodeploy.simulate.noise_kernels import WORDS, draw_normals, round_all
from neurodeploy.simulate.spiking_kernels import (
    AT_ONCE,
    LISTED,
    add_rows,
    add_taps,
    add_to,
    add_weighed,
    count_spikes,
    fixed_point,
    fixed_point_in_full,
    floating,
    floating_in_full,
    inlined,
    join,
    list_spikes,
    transmit,
    weigh_spikes,
)
from neurodeploy.simulate.spiking_rows import INTEGRATES, READS_POTENTIALS, READS_SPIKES

# The columns of the tables, as numba takes them in: constants.
(_PLACE, _SIZE, _ROWS, _ROW, _ORIGIN, _PITCH, _SUMS, _FIRST, _LAST, _STEADY, _CHANGING) = range(11)
(_FIXED_POINT, _IN_FULL, _AT_THRESHOLD, _SUBTRACT, _READS) = range(11, 16)
(_SOURCE, _PIXELS, _CHANNELS, _DELAY, _TAPS, _WEIGHTS, _RUN, _ROW_STEP, _INSIDE, _OUTSIDE) = range(10)
(_OWN, _WRAPS, _SHIFT, _GIVEN) = range(10, 14)
_U = np.uint64


@inlined
def _add_list(table, all_taps, targets, rows, weights, s, listed, begin, end, place, into):
    """into += what synapses s bring of listed spikes, counted from `place`."""
    base, run = _U(table[s, _WEIGHTS]), _U(table[s, _RUN])
    channels, taps = _U(table[s, _CHANNELS]), table[s, _TAPS]
    geometry = run, _U(table[s, _ROW_STEP]), _U(table[s, _INSIDE]), _U(table[s, _OUTSIDE])
    if taps < 0:
        add_rows(into, weights, base, run, listed, begin, end, place)
    else:
        at = _U(taps)
        add_taps(into, weights, base, listed, begin, end, place, channels, all_taps, at, targets, rows, geometry)


@inlined
def _add_up(table, all_taps, targets, rows, weights, s, words, row, listed, into):
    """into += what synapses s bring of the spikes of a step, whose row begins at `row`."""
    place = row + _U(table[s, _SOURCE])
    end = place + _U(table[s, _PIXELS] * table[s, _CHANNELS])
    word, last = place // _U(8), (end + _U(7)) // _U(8)
    while word < last:
        count, word = list_spikes(words, word, last, listed)
        _add_list(table, all_taps, targets, rows, weights, s, listed, _U(0), count, place, into)


@inlined
def _integrate(
    layers, layer, synapses, weights, unit, bias, own, spikes, neurons, steps, weighed, tally, sums, out, at
):
    """The total over all steps of the potentials of an integrator: Σ_t (T - t) (unit Σ_j w_j s_j[t] + bias)."""
    size, room = _U(layers[layer, _SIZE]), layers[layer, _SUMS]
    sums[:room] = 0
    for s in range(layers[layer, _FIRST], layers[layer, _LAST]):
        delay = min(_U(synapses[s, _DELAY]), steps)
        source = _U(synapses[s, _PIXELS] * synapses[s, _CHANNELS])
        weigh_spikes(spikes, _U(synapses[s, _SOURCE]), neurons, steps - delay, source, weighed, tally)
        add_weighed(sums, weights, _U(synapses[s, _WEIGHTS]), _U(synapses[s, _RUN]), weighed, source)
    often = 0.5 * np.float64(steps) * np.float64(steps + _U(1))
    for i in range(size):
        out[at + i] = unit * sums[i] + often * bias[own + i]


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
    own,
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
                sums, at, kept, keep, bias, limit, own, added, noise, current, potential, place, spikes, first, n
            )
        else:
            fixed_point(sums, at, keep, bias, limit, own, potential, place, spikes, first, n)
    elif full:
        floating_in_full(
            sums,
            at,
            unit,
            kept,
            keep,
            bias,
            limit,
            own,
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
        floating(sums, at, unit, keep, bias, limit, own, at_threshold, subtract, potential, place, spikes, first, n)


def _fingerprint():
    files = (spiking_kernels.__file__, noise_kernels.__file__)
    return hashlib.sha256(b"".join(Path(one).read_bytes() for one in files)).hexdigest()


def _kernel(fingerprint):
    """Compiled once and kept on disk; the fingerprint in its closure tells numba of changes in the other files."""

    @numba.njit(cache=True, error_model="numpy", nogil=True)
    def run(tables, chips, drive, noise, record, steps, sums, apart):
        """Runs all samples of a drive on all chips.

        Args:
            steps: T.
            sums, apart: (longest `LayerRow.sums`) of zeros, integers that are wide enough; overwritten.
        """
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        # Taken out of their tuples once: numba counts references to whatever it takes out, every time.
        layers, synapses, groups, units = tables.layers, tables.synapses, tables.groups, chips.unit
        taps, targets, rows = tables.taps, tables.targets, tables.rows
        weights, kept, keep, bias, limit = chips.weights, chips.kept, chips.retention, chips.bias, chips.threshold
        given, starts, masks = drive.listed, drive.starts, drive.masks
        added, keys, deviations, order = noise.added, noise.keys, noise.deviations, noise.order
        table, first_sample, whole = noise.table, noise.first, noise.whole == 1
        readout, counts = record.readout, record.counts
        recorded_spikes, recorded_potentials = record.spikes, record.potentials
        neurons, population = _U(tables.neurons), limit.size // tables.neurons
        words = np.zeros(steps * neurons // _U(8), np.uint64)
        spikes = words.view(np.uint8)
        listed = np.empty(LISTED + AT_ONCE, np.int32)
        potential, current, held = np.empty(neurons), np.empty(neurons), np.empty(neurons, np.uint8)
        fresh, several = np.zeros(neurons), np.empty(neurons, np.int32)
        random = np.empty(neurons // _U(4) + _U(WORDS), np.uint64)
        weighed, tally = np.empty(neurons, np.uint16), np.empty(neurons, np.uint8)
        recorded, masked = recorded_potentials.size > 0, masks.size > 0
        noisy, drawn = added.size > 0, deviations.size > 0
        kinds = deviations.size // (population * layers.shape[0])
        samples, steady, changing = drive.steady.shape[0], drive.steady.shape[1], drive.changing.shape[2]
        steady_sums, changing_sums = drive.steady.reshape(-1), drive.changing.reshape(-1)
        for sample in range(samples):
            for chip in range(population):
                mine = _U(chip) * neurons
                potential[:] = 0.0
                current[:] = 0.0
                held[:] = 0
                for g in range(groups.size - 1):
                    for t in range(steps):
                        row = _U(t) * neurons
                        now = _U(sample * steps) * neurons + row  # of this step in what is given and recorded
                        for layer in range(groups[g], groups[g + 1]):
                            if layers[layer, _READS] == INTEGRATES and not recorded:
                                continue
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
                                    known = synapses[s, _GIVEN]
                                    if known >= 0:
                                        at = known * (samples * steps + 1) + sample * steps + before
                                        begin, end = _U(starts[at]), _U(starts[at + 1])
                                        _add_list(
                                            synapses,
                                            taps,
                                            targets,
                                            rows,
                                            weights,
                                            s,
                                            given,
                                            begin,
                                            end,
                                            _U(0),
                                            into,
                                        )
                                    else:
                                        then = _U(before) * neurons
                                        _add_up(synapses, taps, targets, rows, weights, s, words, then, listed, into)
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
                            if drawn:
                                fresh[place : place + size] = 0.0
                                for kind in range(kinds):
                                    at = (chip * layers.shape[0] + layer) * kinds + kind
                                    if deviations[at] > 0.0:
                                        key = 2 * (at * steps + t)
                                        draw_normals(
                                            keys[key],
                                            keys[key + 1],
                                            _U(first_sample + sample),
                                            size,
                                            table,
                                            deviations[at],
                                            order,
                                            random,
                                            fresh,
                                            place,
                                        )
                                if whole:
                                    round_all(fresh, place, size)
                            for line in range(_U(layers[layer, _ROWS])):
                                low = place + line * width
                                _update(
                                    layers,
                                    layer,
                                    total,
                                    origin + line * pitch,
                                    units[chip * layers.shape[0] + layer],
                                    kept,
                                    keep,
                                    bias,
                                    limit,
                                    mine + low,
                                    added if noisy else fresh,
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
                            if recorded:
                                for i in range(size):
                                    recorded_spikes[now + place + i] = spikes[row + place + i]
                                    recorded_potentials[now + place + i] = potential[place + i]
                            if layers[layer, _READS] >= READS_POTENTIALS:
                                at = (_U(chip) * _U(samples) + _U(sample)) * size
                                add_to(readout, at, potential, place, size)
                    for layer in range(groups[g], groups[g + 1]):
                        place, size = _U(layers[layer, _PLACE]), _U(layers[layer, _SIZE])
                        at = (_U(chip) * _U(samples) + _U(sample)) * size
                        if layers[layer, _READS] == INTEGRATES:
                            if not recorded:
                                _integrate(
                                    layers,
                                    layer,
                                    synapses,
                                    weights,
                                    units[chip * layers.shape[0] + layer],
                                    bias,
                                    mine + place,
                                    spikes,
                                    neurons,
                                    _U(steps),
                                    weighed,
                                    tally,
                                    sums,
                                    readout,
                                    at,
                                )
                            continue
                        count_spikes(spikes, place, neurons, _U(steps), size, several, tally)
                        add_to(counts, mine + place, several, _U(0), size)
                        if layers[layer, _READS] == READS_SPIKES:
                            add_to(readout, at, several, _U(0), size)

    return run


run_samples = _kernel(_fingerprint())
