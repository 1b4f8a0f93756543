"""The loops of the event-driven engine, compiled by numba: adding up what spikes bring, and the neurons of a row.

Sums are integers, so that their order does not matter; neurons compute in double precision, operation for operation
as `simulate.reference` does, neither fused nor reordered. Every array is whole and comes with the place of its first
value: places are unsigned, which spares numba the question whether they count from the end, and a view costs more than
a row.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import numba
import numpy as np

from neurodeploy.ir.program import STATE_LIMIT, VOLTAGE_UNIT_BITS

compiled = numba.njit(error_model="numpy", nogil=True)
inlined = numba.njit(error_model="numpy", nogil=True, inline="always")

STUCK, LOST, LATE, EXTRA = 1, 2, 4, 8
LISTED = 4096  # spikes that are listed before they are added up
MOST_AT_ONCE = 8 * 255  # that one word of eight bytes can add to the list

_UNIT = float(2**VOLTAGE_UNIT_BITS)
_LIMIT = float(STATE_LIMIT)
_WORD = np.uint64(8)
_ONE = np.uint64(1)
_FOUR = np.uint64(4)


@compiled
def list_spikes(spikes, words, word, last, graded, listed):
    """Lists the neurons that spike, from a word on; returns (how many, the word at which the list was full).

    A neuron is written down wherever the list ends and stays there if it spikes: a branch would be guessed wrong. Of
    graded spikes each counts as many.
    """
    count = np.uint64(0)
    while word < last and count < LISTED:
        if words[word] != 0:
            first = word * _WORD
            for i in range(_WORD):
                listed[count] = first + i
                if graded:
                    for _ in range(spikes[first + i]):
                        listed[count] = first + i
                        count += _ONE
                else:
                    count += np.uint64(spikes[first + i])
        word += _ONE
    return count, word


@compiled
def add_rows(sums, weights, base, n, listed, count, place):
    """sums[:n] += Σ_j weights[base + n j : …] over the listed neurons j, counted from the source's place.

    Four rows in one pass over the sums: what is stored most often is what costs most.
    """
    fours = count - count % _FOUR
    for k in range(np.uint64(0), fours, _FOUR):
        a = base + (np.uint64(listed[k]) - place) * n
        b = base + (np.uint64(listed[k + _ONE]) - place) * n
        c = base + (np.uint64(listed[k + np.uint64(2)]) - place) * n
        d = base + (np.uint64(listed[k + np.uint64(3)]) - place) * n
        for i in range(n):
            sums[i] += (weights[a + i] + weights[b + i]) + (weights[c + i] + weights[d + i])
    for k in range(fours, count):
        a = base + (np.uint64(listed[k]) - place) * n
        for i in range(n):
            sums[i] += weights[a + i]


@compiled
def add_taps(sums, weights, base, listed, count, place, channels, taps, first_tap, targets, rows, geometry):
    """A convolution: each listed spike adds the rows of its pixel's taps.

    Args:
        channels: of the source, innermost.
        taps: from `first_tap` on, for each pixel where in `targets` and `rows` its taps begin, then their end.
        targets, rows: of every tap, where in the sums it lands and where in `weights` its row begins for channel 0.
        geometry: (values of a row, from a channel's rows to the next one's, channels of a group here and there).
    """
    run, row_step, inside, outside = geometry
    for k in range(count):
        neuron = np.uint64(listed[k]) - place
        pixel = np.uint64(np.uint32(neuron) // np.uint32(channels))
        channel = neuron - pixel * channels
        shift = channel // inside * outside if outside else np.uint64(0)
        from_here = base + channel * row_step
        for tap in range(np.uint64(taps[first_tap + pixel]), np.uint64(taps[first_tap + pixel + _ONE])):
            target, row = np.uint64(targets[tap]) + shift, np.uint64(rows[tap]) + from_here
            for i in range(run):
                sums[target + i] += weights[row + i]


@compiled
def join(sums, apart, n, wraps, shift):
    """Adds sums that were kept apart: wrapped as Lava's Conv wraps, or shifted by a weight exponent; empties them."""
    for i in range(n):
        value = apart[i]
        if wraps:
            value = ((value + STATE_LIMIT) & (2 * STATE_LIMIT - 1)) - STATE_LIMIT
        elif shift >= 0:
            value = value << shift
        else:
            value = value >> -shift
        sums[i] += value
        apart[i] = 0


@compiled
def add_to(totals, at, values, first, n):
    for i in range(n):
        totals[at + i] += values[first + i]


@compiled
def fixed_point(sums, at, retention, bias, threshold, potential, place, spikes, first, n):
    """`FixedPointNeurons` without memory of the current, whose registers neither wrap nor saturate."""
    for i in range(n):
        j = place + i
        reached = np.trunc(potential[j] * retention[j]) + (sums[at + i] * _UNIT + bias[j])
        fired = reached > threshold[j]
        potential[j] = 0.0 if fired else reached
        spikes[first + i] = fired


@compiled
def fixed_point_in_full(
    sums, at, kept, retention, bias, threshold, added, noise, current, potential, place, spikes, first, n
):
    """`FixedPointNeurons` with memory of the current, wrapping, saturation and noise."""
    for i in range(n):
        j = place + i
        u = np.trunc(current[j] * kept[j]) + sums[at + i] * _UNIT
        up = u + 2 * _LIMIT if u <= -_LIMIT else u
        u = u - 2 * _LIMIT if u > _LIMIT else up
        current[j] = u
        reached = np.trunc(potential[j] * retention[j]) + (u + bias[j]) + added[noise + i]
        reached = min(max(reached, -(_LIMIT - 1)), _LIMIT - 1)
        fired = reached > threshold[j]
        potential[j] = 0.0 if fired else reached
        spikes[first + i] = fired


@compiled
def floating(sums, at, unit, retention, bias, threshold, at_threshold, subtract, potential, place, spikes, first, n):
    """`FloatNeurons` without memory of the current."""
    for i in range(n):
        j = place + i
        reached = retention[j] * potential[j] + (unit * sums[at + i] + bias[j])
        fired = reached >= threshold[j] if at_threshold else reached > threshold[j]
        rest = reached - threshold[j] if subtract else 0.0
        potential[j] = rest if fired else reached
        spikes[first + i] = fired


@compiled
def floating_in_full(
    sums,
    at,
    unit,
    kept,
    retention,
    bias,
    threshold,
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
):
    """`FloatNeurons` with memory of the current and noise."""
    for i in range(n):
        j = place + i
        u = kept[j] * current[j] + unit * sums[at + i]
        current[j] = u
        reached = retention[j] * potential[j] + ((u + bias[j]) + added[noise + i])
        fired = reached >= threshold[j] if at_threshold else reached > threshold[j]
        rest = reached - threshold[j] if subtract else 0.0
        potential[j] = rest if fired else reached
        spikes[first + i] = fired


@compiled
def transmit(spikes, first, masks, mask_place, held, place, n):
    """`hw_models.dynamic_noise.transmitted`; `held` are the spikes that arrive a step later."""
    for i in range(n):
        mask = masks[mask_place + i]
        fired = spikes[first + i] != 0
        if mask & STUCK:
            fired = True
        if mask & LOST:
            fired = False
        late = fired and mask & LATE != 0
        fired = (fired and not late) or held[place + i] != 0
        held[place + i] = late
        spikes[first + i] = fired or mask & EXTRA != 0
