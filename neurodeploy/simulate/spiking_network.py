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

from neurodeploy.simulate import neuron_steps, noise_kernels, spiking_kernels, spiking_layers, vectors
from neurodeploy.simulate.noise_kernels import WORDS, draw_normals, round_all
from neurodeploy.simulate.spiking_kernels import (
    AT_ONCE,
    LISTED,
    add_to,
    count_spikes,
    join,
    transmit,
)
from neurodeploy.simulate.spiking_layers import (
    CHANGING,
    DELAY,
    FIRST,
    GIVEN,
    LAST,
    ORIGIN,
    OWN,
    PITCH,
    PLACE,
    READS,
    ROW,
    ROWS,
    SHIFT,
    SIZE,
    STEADY,
    SUMS,
    WRAPS,
    add_list,
    add_up,
    given,
    integrate,
    take_all_steps,
    update,
)
from neurodeploy.simulate.spiking_rows import INTEGRATES, READS_POTENTIALS, READS_SPIKES

_U = np.uint64


def _fingerprint():
    files = [one.__file__ for one in (neuron_steps, noise_kernels, spiking_kernels, spiking_layers, vectors)]
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
        listed_before, starts, masks = drive.listed, drive.starts, drive.masks
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
        recorded, probed, masked = recorded_spikes.size > 0, recorded_potentials.size > 0, masks.size > 0
        noisy, drawn = added.size > 0, deviations.size > 0
        kinds = deviations.size // (population * layers.shape[0])
        samples, steady, changing = drive.steady.shape[0], drive.steady.shape[1], drive.changing.shape[2]
        steady_sums, changing_sums = drive.steady.reshape(-1), drive.changing.reshape(-1)
        one_by_one = np.full(groups.size - 1, steps)  # steps that layers of a group take one after the other
        for g in range(groups.size - 1):
            layer, alone = groups[g], groups[g + 1] - groups[g] == 1 and not probed
            if alone and (layers[layer, READS] == INTEGRATES or (given(layers, layer) and not masked)):
                one_by_one[g] = 0
        stepwise = one_by_one.any()
        for sample in range(samples):
            for chip in range(population):
                mine = _U(chip) * neurons
                if stepwise:
                    potential[:] = 0.0
                    current[:] = 0.0
                    held[:] = 0
                for g in range(groups.size - 1):
                    layer = groups[g]
                    if one_by_one[g] == 0 and layers[layer, READS] != INTEGRATES:
                        constant, varying = layers[layer, STEADY], layers[layer, CHANGING]
                        unit = units[chip * layers.shape[0] + layer]
                        if constant >= 0:
                            arriving, at, pitch = steady_sums, _U(sample * steady + constant), _U(0)
                        else:
                            arriving, at, pitch = changing_sums, _U(sample * steps * changing + varying), _U(changing)
                        take_all_steps(
                            layers, layer, arriving, at, pitch, steps, unit, keep, bias, limit, mine, spikes, neurons
                        )
                    for t in range(one_by_one[g]):
                        row = _U(t) * neurons
                        now = _U(sample * steps) * neurons + row  # of this step in what is given and recorded
                        for layer in range(groups[g], groups[g + 1]):
                            if layers[layer, READS] == INTEGRATES and not probed:
                                continue
                            place, width = _U(layers[layer, PLACE]), _U(layers[layer, ROW])
                            size = _U(layers[layer, SIZE])
                            total, origin, pitch = sums, _U(layers[layer, ORIGIN]), _U(layers[layer, PITCH])
                            first, last = layers[layer, FIRST], layers[layer, LAST]
                            constant, varying = layers[layer, STEADY], layers[layer, CHANGING]
                            if first == last and constant >= 0 and varying < 0:  # nothing is added to what is given
                                total, origin, pitch = steady_sums, _U(sample * steady + constant), width
                            elif first == last and varying >= 0 and constant < 0:
                                at = (sample * steps + t) * changing + varying
                                total, origin, pitch = changing_sums, _U(at), width
                            else:
                                room = layers[layer, SUMS]
                                total[:room] = 0
                                for s in range(first, last):
                                    own = synapses[s, OWN] == 1
                                    before = t - synapses[s, DELAY]
                                    if before < 0:
                                        continue
                                    into = apart if own else sums
                                    known = synapses[s, GIVEN]
                                    if known >= 0:
                                        at = known * (samples * steps + 1) + sample * steps + before
                                        begin, end = _U(starts[at]), _U(starts[at + 1])
                                        add_list(
                                            synapses,
                                            taps,
                                            targets,
                                            rows,
                                            weights,
                                            s,
                                            listed_before,
                                            begin,
                                            end,
                                            _U(0),
                                            into,
                                        )
                                    else:
                                        then = _U(before) * neurons
                                        add_up(synapses, taps, targets, rows, weights, s, words, then, listed, into)
                                    if own:
                                        join(sums, apart, room, synapses[s, WRAPS] == 1, synapses[s, SHIFT])
                                for line in range(_U(layers[layer, ROWS])):
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
                            for line in range(_U(layers[layer, ROWS])):
                                low = place + line * width
                                update(
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
                            if probed:
                                recorded_potentials[now + place : now + place + size] = potential[place : place + size]
                            if layers[layer, READS] >= READS_POTENTIALS:
                                at = (_U(chip) * _U(samples) + _U(sample)) * size
                                add_to(readout, at, potential, place, size)
                    for layer in range(groups[g], groups[g + 1]):
                        place, size = _U(layers[layer, PLACE]), _U(layers[layer, SIZE])
                        at = (_U(chip) * _U(samples) + _U(sample)) * size
                        if layers[layer, READS] == INTEGRATES:
                            if not probed:
                                integrate(
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
                        if layers[layer, READS] == READS_SPIKES:
                            add_to(readout, at, several, _U(0), size)
                if recorded:
                    first = sample * spikes.size
                    recorded_spikes[first : first + spikes.size] = spikes

    return run


run_samples = _kernel(_fingerprint())
