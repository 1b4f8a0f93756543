"""Steps of a Xylo for many samples, compiled by numba: event-driven, in 32-bit integers cut off at 16 bits."""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import numba

from neurodeploy.ir.xylo import STATE_MAX, STATE_MIN

_HIGH, _LOW = numba.int32(STATE_MAX), numba.int32(STATE_MIN)


@numba.njit(nogil=True)
def deliver(current, events, weights, first, last):
    """Adds the events of all sources to the lanes (synapse by synapse, neuron by neuron), cutting off after each.

    Args:
        current: (lanes,) int32, changed.
        events: (sources,) uint8.
        weights: (sources, lanes) int16, shifted already.
        first, last: (sources, synapses), between which lanes of a synapse there are weights other than 0.
    """
    for source in range(len(events)):
        count = numba.int32(events[source])
        if count == 0:
            continue
        row = weights[source]
        for synapse in range(first.shape[1]):
            for lane in range(first[source, synapse], last[source, synapse]):
                # int32 by hand: numba would compute in int64, half as many lanes at once
                added = numba.int32(current[lane] + numba.int32(count * numba.int32(row[lane])))
                current[lane] = min(max(added, _LOW), _HIGH)


@numba.njit(nogil=True)
def decay(state, dash):
    """x = x - lose(x, dash) of XyloNetwork: max(x >> dash, min(x, 1)) is the sign where the shift leaves nothing."""
    for i in range(len(state)):
        x = state[i]
        state[i] = numba.int32(x - max(x >> dash[i], min(x, numba.int32(1))))


@numba.njit(nogil=True)
def integrate(current, potential, total, at_limit, dash_syn, dash_mem, bias, full):
    """Decays the currents and integrates them; `full` counts neurons with a register at its limit.

    Several loops, each over few arrays: compilers turn these into operations on many neurons at once.
    `total` and `at_limit` are (neurons,) int32, overwritten.
    """
    neurons = len(potential)
    synapses = len(current) // neurons
    at_limit[:] = 0
    for synapse in range(synapses):
        for i in range(neurons):
            x = current[synapse * neurons + i]
            at_limit[i] |= numba.int32((x == _HIGH) | (x == _LOW))
    decay(current, dash_syn)
    for i in range(neurons):
        total[i] = current[i]
    for synapse in range(1, synapses):
        for i in range(neurons):
            total[i] = numba.int32(total[i] + current[synapse * neurons + i])
    for i in range(neurons):
        v = potential[i]
        change = numba.int32(-max(v >> dash_mem[i], min(v, numba.int32(1))))
        change = _LOW if change > _HIGH else change  # -(-2^15) in 16 bits, at dash 0
        change = min(max(numba.int32(change + total[i]), _LOW), _HIGH)
        change = min(max(numba.int32(change + bias[i]), _LOW), _HIGH)
        potential[i] = min(max(numba.int32(v + change), _LOW), _HIGH)
    for i in range(neurons):
        at_limit[i] |= numba.int32((potential[i] == _HIGH) | (potential[i] == _LOW))
        full[i] += at_limit[i]


@numba.njit(nogil=True)
def fire(potential, threshold, aliases, most, spikes):
    """Resets and fires; `spikes` is overwritten."""
    spikes[:] = 0
    for i in range(len(potential)):
        if potential[i] >= threshold[i]:
            own = min(potential[i] // threshold[i], numba.int32(most) - numba.int32(spikes[i]))
            potential[i] -= own * threshold[i]
            spikes[i] += own
        if aliases[i] >= 0:
            handed = numba.int32(spikes[aliases[i]]) + numba.int32(spikes[i])
            spikes[aliases[i]] = min(handed, numba.int32(most))
