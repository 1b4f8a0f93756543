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
from neurodeploy.simulate.bounds import MOST_COUNTED

compiled = numba.njit(error_model="numpy", nogil=True)
inlined = numba.njit(error_model="numpy", nogil=True, inline="always")

STUCK, LOST, LATE, EXTRA = 1, 2, 4, 8
LISTED = 4096  # spikes that are listed before they are added up
AT_ONCE = 8  # that one word of eight bytes can add to the list

_UNIT = float(2**VOLTAGE_UNIT_BITS)
_LIMIT = float(STATE_LIMIT)
_WORD = np.uint64(8)
_ONE = np.uint64(1)
_FOUR = np.uint64(4)
_NONE = np.uint64(0)


def _places():
    """For each byte, whose bits say which of eight neurons spike, their numbers; the rest is never read."""
    table = np.zeros((256, 8), dtype=np.int32)
    for bits in range(256):
        spiking = [i for i in range(8) if bits >> i & 1]
        table[bits, : len(spiking)] = spiking
    return table.reshape(-1)


PLACES = _places()
HOW_MANY = np.array([bits.bit_count() for bits in range(256)], dtype=np.uint64)
GATHER = np.uint64(0x0102040810204080)  # times eight bytes of 0 or 1: their bits, in order, in the highest byte


@compiled
def list_spikes(words, word, last, listed):
    """Lists the neurons that spike, from a word on; returns (how many, the word at which the list was full).

    No spike is asked for by a branch, which would be guessed wrong. A multiplication gathers the eight spikes of a word
    into one number (of byte i, bit i), `PLACES` says which neurons it stands for: eight are written down wherever the
    list ends, and as many stay as there are spikes.
    """
    count = np.uint64(0)
    while word < last and count < LISTED:
        if words[word] != 0:
            bits = (words[word] * GATHER) >> np.uint64(56)
            first, at = np.int32(word * _WORD), bits * _WORD
            for i in range(_WORD):
                listed[count + i] = first + PLACES[at + i]
            count += HOW_MANY[bits]
        word += _ONE
    return count, word


@compiled
def add_rows(sums, weights, base, n, listed, begin, end, place):
    """sums[:n] += Σ_j weights[base + n j : …] over the listed neurons j, counted from the source's place.

    Four rows in one pass over the sums: what is stored most often is what costs most.
    """
    fours = end - (end - begin) % _FOUR
    for k in range(begin, fours, _FOUR):
        a = base + (np.uint64(listed[k]) - place) * n
        b = base + (np.uint64(listed[k + _ONE]) - place) * n
        c = base + (np.uint64(listed[k + np.uint64(2)]) - place) * n
        d = base + (np.uint64(listed[k + np.uint64(3)]) - place) * n
        for i in range(n):
            sums[i] += (weights[a + i] + weights[b + i]) + (weights[c + i] + weights[d + i])
    for k in range(fours, end):
        a = base + (np.uint64(listed[k]) - place) * n
        for i in range(n):
            sums[i] += weights[a + i]


@compiled
def add_taps(sums, weights, base, listed, begin, end, place, channels, taps, first_tap, targets, rows, geometry):
    """A convolution: each listed spike adds the rows of its pixel's taps.

    Args:
        channels: of the source, innermost.
        taps: from `first_tap` on, for each pixel where in `targets` and `rows` its taps begin, then their end.
        targets, rows: of every tap, where in the sums it lands and where in `weights` its row begins for channel 0.
        geometry: (values of a row, from a channel's rows to the next one's, channels of a group here and there).
    """
    run, row_step, inside, outside = geometry
    for k in range(begin, end):
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
def count_spikes(spikes, first, pitch, steps, n, counts, tally):
    """counts[:n] = the spikes of n neurons over all steps; a row of spikes begins every `pitch` values."""
    for i in range(n):
        counts[i] = 0
    for begin in range(_NONE, steps, np.uint64(MOST_COUNTED)):
        for i in range(n):
            tally[i] = 0
        for t in range(begin, min(begin + np.uint64(MOST_COUNTED), steps)):
            row = first + t * pitch
            for i in range(n):
                tally[i] += spikes[row + i]
        for i in range(n):
            counts[i] += tally[i]


@compiled
def weigh_spikes(spikes, first, pitch, steps, n, weighed, tally):
    """weighed[:n] = Σ_t (steps - t) * the spikes of n neurons at step t, for at most MOST_COUNTED steps.

    It is what an integrator that adds up its potential over all steps has of each spike: those so far, once per step.
    """
    for i in range(n):
        weighed[i] = 0
        tally[i] = 0
    for t in range(steps):
        row = first + t * pitch
        for i in range(n):
            tally[i] += spikes[row + i]
        for i in range(n):
            weighed[i] += tally[i]


@compiled
def add_weighed(sums, weights, base, n, weighed, size):
    """sums[:n] += Σ_j weighed[j] * weights[base + n j : …], four rows in one pass over the sums, as `add_rows`."""
    two, three = np.uint64(2), np.uint64(3)
    kind = sums.dtype.type
    fours = size - size % _FOUR
    for j in range(_NONE, fours, _FOUR):
        a = base + j * n
        b, c, d = a + n, a + two * n, a + three * n
        p, q, r, s = kind(weighed[j]), kind(weighed[j + _ONE]), kind(weighed[j + two]), kind(weighed[j + three])
        for i in range(n):
            sums[i] += (p * weights[a + i] + q * weights[b + i]) + (r * weights[c + i] + s * weights[d + i])
    for j in range(fours, size):
        a, p = base + j * n, kind(weighed[j])
        for i in range(n):
            sums[i] += p * weights[a + i]


@compiled
def fixed_point(sums, at, retention, bias, threshold, own, potential, place, spikes, first, n):
    """`FixedPointNeurons` without memory of the current, whose registers neither wrap nor saturate."""
    for i in range(n):
        j = place + i
        reached = np.trunc(potential[j] * retention[own + i]) + (sums[at + i] * _UNIT + bias[own + i])
        fired = reached > threshold[own + i]
        potential[j] = 0.0 if fired else reached
        spikes[first + i] = fired


@compiled
def fixed_point_in_full(
    sums, at, kept, retention, bias, threshold, own, added, noise, current, potential, place, spikes, first, n
):
    """`FixedPointNeurons` with memory of the current, wrapping, saturation and noise."""
    for i in range(n):
        j = place + i
        u = np.trunc(current[j] * kept[own + i]) + sums[at + i] * _UNIT
        up = u + 2 * _LIMIT if u <= -_LIMIT else u
        u = u - 2 * _LIMIT if u > _LIMIT else up
        current[j] = u
        reached = np.trunc(potential[j] * retention[own + i]) + (u + bias[own + i]) + added[noise + i]
        reached = min(max(reached, -(_LIMIT - 1)), _LIMIT - 1)
        fired = reached > threshold[own + i]
        potential[j] = 0.0 if fired else reached
        spikes[first + i] = fired


@compiled
def floating(
    sums, at, unit, retention, bias, threshold, own, at_threshold, subtract, potential, place, spikes, first, n
):
    """`FloatNeurons` without memory of the current."""
    for i in range(n):
        j = place + i
        reached = retention[own + i] * potential[j] + (unit * sums[at + i] + bias[own + i])
        limit = threshold[own + i]
        fired = reached >= limit if at_threshold else reached > limit
        rest = reached - limit if subtract else 0.0
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
):
    """`FloatNeurons` with memory of the current and noise."""
    for i in range(n):
        j = place + i
        u = kept[own + i] * current[j] + unit * sums[at + i]
        current[j] = u
        reached = retention[own + i] * potential[j] + ((u + bias[own + i]) + added[noise + i])
        limit = threshold[own + i]
        fired = reached >= limit if at_threshold else reached > limit
        rest = reached - limit if subtract else 0.0
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
