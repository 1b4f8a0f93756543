"""What a layer of the tables does: what its synapses bring is added up, its neurons take a step, or all steps."""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np

from neurodeploy.simulate.neuron_steps import LANES, fixed_point_through, floating_through
from neurodeploy.simulate.spiking_kernels import (
    add_rows,
    add_taps,
    add_weighed,
    fixed_point,
    fixed_point_in_full,
    floating,
    floating_in_full,
    inlined,
    list_spikes,
    weigh_spikes,
)
from neurodeploy.simulate.spiking_rows import INTEGRATES, READS_POTENTIALS

# The columns of the tables, as numba takes them in: constants.
(PLACE, SIZE, ROWS, ROW, ORIGIN, PITCH, SUMS, FIRST, LAST, STEADY, CHANGING) = range(11)
(FIXED_POINT, IN_FULL, AT_THRESHOLD, SUBTRACT, READS) = range(11, 16)
(SOURCE, PIXELS, CHANNELS, DELAY, TAPS, WEIGHTS, RUN, ROW_STEP, INSIDE, OUTSIDE) = range(10)
(OWN, WRAPS, SHIFT, GIVEN) = range(10, 14)
_U = np.uint64


@inlined
def add_list(table, all_taps, targets, rows, weights, s, listed, begin, end, place, into):
    """into += what synapses s bring of listed spikes, counted from `place`."""
    base, run = _U(table[s, WEIGHTS]), _U(table[s, RUN])
    channels, taps = _U(table[s, CHANNELS]), table[s, TAPS]
    geometry = run, _U(table[s, ROW_STEP]), _U(table[s, INSIDE]), _U(table[s, OUTSIDE])
    if taps < 0:
        add_rows(into, weights, base, run, listed, begin, end, place)
    else:
        at = _U(taps)
        add_taps(into, weights, base, listed, begin, end, place, channels, all_taps, at, targets, rows, geometry)


@inlined
def add_up(table, all_taps, targets, rows, weights, s, words, row, listed, into):
    """into += what synapses s bring of the spikes of a step, whose row begins at `row`."""
    place = row + _U(table[s, SOURCE])
    end = place + _U(table[s, PIXELS] * table[s, CHANNELS])
    word, last = place // _U(8), (end + _U(7)) // _U(8)
    while word < last:
        count, word = list_spikes(words, word, last, listed)
        add_list(table, all_taps, targets, rows, weights, s, listed, _U(0), count, place, into)


@inlined
def integrate(layers, layer, synapses, weights, unit, bias, own, spikes, neurons, steps, weighed, tally, sums, out, at):
    """The total over all steps of the potentials of an integrator: Σ_t (T - t) (unit Σ_j w_j s_j[t] + bias)."""
    size, room = _U(layers[layer, SIZE]), layers[layer, SUMS]
    sums[:room] = 0
    for s in range(layers[layer, FIRST], layers[layer, LAST]):
        delay = min(_U(synapses[s, DELAY]), steps)
        source = _U(synapses[s, PIXELS] * synapses[s, CHANNELS])
        weigh_spikes(spikes, _U(synapses[s, SOURCE]), neurons, steps - delay, source, weighed, tally)
        add_weighed(sums, weights, _U(synapses[s, WEIGHTS]), _U(synapses[s, RUN]), weighed, source)
    often = 0.5 * np.float64(steps) * np.float64(steps + _U(1))
    for i in range(size):
        out[at + i] = unit * sums[i] + often * bias[own + i]


@inlined
def update(
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
    at_threshold, subtract = table[layer, AT_THRESHOLD] == 1, table[layer, SUBTRACT] == 1
    full = table[layer, IN_FULL] == 1
    if table[layer, FIXED_POINT] == 1:
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


@inlined
def given(layers, layer):
    """Whether all that reaches a layer is given, so that its neurons may take all steps before another layer begins."""
    alone = layers[layer, FIRST] == layers[layer, LAST] and layers[layer, IN_FULL] == 0
    read = layers[layer, READS] == READS_POTENTIALS or layers[layer, READS] == INTEGRATES
    return alone and not read and (layers[layer, STEADY] < 0) != (layers[layer, CHANGING] < 0)


@inlined
def take_all_steps(layers, layer, sums, at, pitch, steps, unit, keep, bias, limit, own, spikes, neurons):
    """All steps of a layer whose sums are `given`: from `at` on, a step every `pitch` values."""
    place, size = _U(layers[layer, PLACE]), _U(layers[layer, SIZE])
    flags = layers[layer, AT_THRESHOLD], layers[layer, SUBTRACT]
    for i in range(_U(0), size, _U(LANES)):  # past its end, a layer has neurons that never fire
        j = place + i
        if layers[layer, FIXED_POINT] == 1:
            fixed_point_through(sums, at + i, pitch, steps, keep, bias, limit, own + j, unit, flags, spikes, j, neurons)
        else:
            floating_through(sums, at + i, pitch, steps, keep, bias, limit, own + j, unit, flags, spikes, j, neurons)
