"""The neuron loop of one layer in one pass over memory, for CPUs: compiled by numba, gradients derived by hand.

A layer is memory-bound: written in PyTorch, each step reads and writes every neuron several times. Here a block of
neurons that fits the first-level cache runs through all steps; potentials are never stored but computed again in the
backward pass, spikes leave already pooled where an average pooling follows, and the moments of the potentials, of
which potential adjustment is made, are summed on the way. Sums are taken block by block in a fixed order, whatever the
number of threads.

Arrays are (steps, samples, neurons), or (steps, 1, samples x neurons) where all neurons have one threshold and decay.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import numba
import numpy as np
from numba import types
from numba.extending import overload

from neurodeploy.snn.fused_pool import pooled, spread_back
from neurodeploy.snn.fused_slopes import ARCTANGENT, FROZEN, LITERAL, compiled, slopes

_LARGEST_BLOCK = 2048  # neurons; found by timing
_CACHE = 2**18  # bytes: what a block keeps at hand stays within a second-level cache, however many steps there are

_summing = numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})


def block_size(row: int, pool: int, steps: int) -> int:
    """Neurons per block: whole groups of `pool` rows of `row` values each."""
    group = row * pool
    neurons = min(_LARGEST_BLOCK, _CACHE // (8 * (steps + 6)))
    return max(1, neurons // group) * group


def _part(values, low, n):
    """What n neurons from `low` on have: a value each, or all the same."""


def _at(values, i):
    """The value of neuron i."""


@overload(_part)
def _(values, low, n):
    if values.ndim == 2:
        return lambda values, low, n: values[0, low : low + n]
    return lambda values, low, n: values[0]


@overload(_at, inline="always")
def _(values, i):
    if isinstance(values, types.Array):
        return lambda values, i: values[i]
    return lambda values, i: values


@compiled
def _advance(before, current, decay, threshold, subtract, n, potential):
    """u[t] from u[t-1]: `before` holds potentials before reset."""
    zero = current.dtype.type(0)
    if subtract:
        for i in range(n):
            limit, keep = _at(threshold, i), _at(decay, i)
            potential[i] = (before[i] * keep - (keep * limit if before[i] > limit else zero)) + current[i]
    else:
        for i in range(n):
            kept = zero if before[i] > _at(threshold, i) else before[i]
            potential[i] = kept * _at(decay, i) + current[i]


@_summing
def _fire(potential, threshold, n, spikes, sums):
    """o[t], and the sums of u, of u^2 and of o."""
    zero, one = potential.dtype.type(0), potential.dtype.type(1)
    first, second, third = zero, zero, zero
    for i in range(n):
        fired = one if potential[i] > _at(threshold, i) else zero
        spikes[i] = fired
        first += potential[i]
        second += potential[i] * potential[i]
        third += fired
    sums[0] += first
    sums[1] += second
    sums[2] += third


@compiled
def forward(current, steps, decay, threshold, subtract, row, inner, pool, block, spikes, sums, start, stop):
    """Spikes of all steps, and per block and step the sums of u, of u^2 and of o.

    Args:
        current: (1 or T, samples, neurons).
        decay, threshold: (1,), or (1, neurons) for one value each; of the current's type.
        row, inner, pool: geometry of the pooling, see `fused_pool.pooled`; pool 1 for none.
        spikes: (T, samples, neurons / pool^2), written.
        sums: (blocks, T, 3) of doubles, zeros, written.
        start, stop: the blocks that are done.
    """
    static, samples, neurons = current.shape[0] == 1, current.shape[1], current.shape[2]
    area = pool * pool
    fired = np.empty(block, current.dtype)
    scratch = np.empty(block, current.dtype)
    before = np.empty(block, current.dtype)
    potential = np.empty(block, current.dtype)
    for b in range(start, stop):
        low = b * block
        n = min(block, neurons - low)
        limit, keep = _part(threshold, low, n), _part(decay, low, n)
        for s in range(samples):
            for t in range(steps):
                arriving = current[0 if static else t, s, low : low + n]
                if t == 0:
                    potential[:n] = arriving
                else:
                    _advance(before, arriving, keep, limit, subtract, n, potential)
                if pool == 1:
                    _fire(potential, limit, n, spikes[t, s, low : low + n], sums[b, t])
                else:
                    _fire(potential, limit, n, fired, sums[b, t])
                    pooled(fired, n, row, inner, pool, scratch, spikes[t, s, low // area : (low + n) // area])
                before, potential = potential, before


@_summing
def _back_paper(u, later, given, width, decay, threshold, factors, subtract, detach, n, here, parts):
    """`_back` of all neurons together under Eq. 11 and 12, without a slope that is written and read again."""
    zero, one = u.dtype.type(0), u.dtype.type(1)
    to_mean, to_power = factors[0], factors[1]
    through = zero if detach else decay
    gathered, dropped, by_decay = zero, zero, zero
    for i in range(n):
        fired = one if u[i] > threshold else zero
        drop = threshold if subtract else u[i]
        distance = width * (u[i] - threshold)
        direct = (given[i] - through * later[i] * drop) / (one + distance * distance)
        gathered += direct
        dropped += later[i] * fired
        by_decay += later[i] * (u[i] - drop * fired)
        here[i] = direct + decay * later[i] * (one if subtract else one - fired) + to_mean + to_power * u[i]
    parts[0, 0] -= gathered + (decay * dropped if subtract else zero)
    parts[1, 0] += by_decay
    return gathered


def _back(paper, u, later, given, slope, gamma_slope, decay, threshold, factors, subtract, detach, n, here, parts):
    """One step of BPTT: from `later`, dL/du[t+1], and `given`, dL/do[t], makes `here`, dL/du[t]; returns dL/dgamma.

    `parts` (2, 1 or n) gathers dL/dVth and dL/ddecay; `slope` is overwritten. `paper` is gamma where `_back_paper` does
    it, else 0.
    """


@overload(_back, jit_options={"fastmath": {"reassoc", "contract", "nsz"}})
def _(paper, u, later, given, slope, gamma_slope, decay, threshold, factors, subtract, detach, n, here, parts):
    def together(
        paper, u, later, given, slope, gamma_slope, decay, threshold, factors, subtract, detach, n, here, parts
    ):
        if paper > 0:
            return _back_paper(u, later, given, paper, decay, threshold, factors, subtract, detach, n, here, parts)
        zero, one = u.dtype.type(0), u.dtype.type(1)
        to_mean, to_power = factors[0], factors[1]
        through = zero if detach else decay
        direct, dropped, by_gamma, by_decay = zero, zero, zero, zero
        if subtract:
            for i in range(n):
                fired = one if u[i] > threshold else zero
                reaching = given[i] - through * later[i] * threshold
                direct += reaching * slope[i]
                dropped += later[i] * fired
                by_gamma += reaching * gamma_slope[i]
                by_decay += later[i] * (u[i] - threshold * fired)
                here[i] = reaching * slope[i] + decay * later[i] + to_mean + to_power * u[i]
        else:
            for i in range(n):
                kept = zero if u[i] > threshold else one
                reaching = given[i] - through * later[i] * u[i]
                direct += reaching * slope[i]
                by_gamma += reaching * gamma_slope[i]
                by_decay += later[i] * u[i] * kept
                here[i] = reaching * slope[i] + decay * later[i] * kept + to_mean + to_power * u[i]
        parts[0, 0] -= direct + decay * dropped
        parts[1, 0] += by_decay
        return by_gamma

    def one_each(
        paper, u, later, given, slope, gamma_slope, decay, threshold, factors, subtract, detach, n, here, parts
    ):
        # Each loop writes one array: with more, LLVM does not prove that they lie apart, and does one neuron at a time.
        zero, one = u.dtype.type(0), u.dtype.type(1)
        to_mean, to_power = factors[0], factors[1]
        through = zero if detach else one
        by_gamma = zero
        for i in range(n):
            here[i] = given[i] - through * later[i] * decay[i] * (threshold[i] if subtract else u[i])
        for i in range(n):
            by_gamma += here[i] * gamma_slope[i]
        for i in range(n):
            slope[i] *= here[i]
        to_threshold, to_decay = parts[0], parts[1]
        for i in range(n):
            dropped = later[i] * decay[i] if subtract and u[i] > threshold[i] else zero
            to_threshold[i] -= slope[i] + dropped
        for i in range(n):
            drop = threshold[i] if subtract else u[i]
            to_decay[i] += later[i] * (u[i] - (drop if u[i] > threshold[i] else zero))
        for i in range(n):
            kept = zero if not subtract and u[i] > threshold[i] else one
            here[i] = slope[i] + later[i] * decay[i] * kept + to_mean + to_power * u[i]
        return by_gamma

    return one_each if isinstance(threshold, types.Array) else together


@compiled
def backward(
    current,
    steps,
    decay,
    threshold,
    gamma,
    subtract,
    detach,
    shape,
    rule,
    row,
    inner,
    pool,
    block,
    table,
    bits,
    to_spikes,
    to_moments,
    to_current,
    to_gamma,
    to_parts,
    start,
    stop,
):
    """Gradients with respect to the current, gamma, the threshold and the decay.

    Args:
        table: see `fused_slopes.exponentials`.
        bits: (block,) of integers as wide as the current's type, overwritten.
        to_spikes: (T, samples, neurons / pool^2), dL/d(pooled spikes).
        to_moments: (T, 2), dL/du[t] is to_moments[t, 0] + to_moments[t, 1] u[t] in addition.
        to_current: (1 or T, samples, neurons), written.
        to_gamma: (blocks,) of doubles, zeros, written.
        to_parts: dL/dVth and dL/ddecay, doubles, zeros, written: (2, neurons), or (2, blocks) of all neurons together.
    """
    static, samples, neurons = current.shape[0] == 1, current.shape[1], current.shape[2]
    area = pool * pool
    potentials = np.empty((steps, block), current.dtype)
    nothing, gamma_slope = np.zeros(block, current.dtype), np.zeros(block, current.dtype)
    spread, distance = np.empty(block, current.dtype), np.empty(block, current.dtype)
    slope = np.empty(block, current.dtype)
    scratch = np.empty((3, block), current.dtype)
    fast = threshold.ndim == 1 and shape == ARCTANGENT and rule in (LITERAL, FROZEN) and gamma[0] > 0
    paper = gamma[0] if fast else gamma.dtype.type(0)
    taken = np.empty((2, block), current.dtype)
    for b in range(start, stop):
        low = b * block
        n = min(block, neurons - low)
        limit, keep = _part(threshold, low, n), _part(decay, low, n)
        parts = np.zeros((2, n), current.dtype)
        for s in range(samples):
            potentials[0, :n] = current[0, s, low : low + n]
            for t in range(1, steps):
                arriving = current[0 if static else t, s, low : low + n]
                _advance(potentials[t - 1], arriving, keep, limit, subtract, n, potentials[t])
            later = nothing
            for t in range(steps - 1, -1, -1):
                given = to_spikes[t, s, low // area : (low + n) // area]
                if pool > 1:
                    spread_back(given, n, row, inner, pool, scratch[0], spread)
                    given = spread
                u = potentials[t]
                if paper == 0:
                    for i in range(n):
                        distance[i] = u[i] - _at(limit, i)
                    slopes(shape, rule, distance, gamma, n, table, scratch, bits, slope, gamma_slope)
                by_gamma = slope if rule == LITERAL else gamma_slope
                here = taken[t % 2] if static else to_current[t, s, low : low + n]
                factors = to_moments[t]
                found = _back(
                    paper, u, later, given, slope, by_gamma, keep, limit, factors, subtract, detach, n, here, parts
                )
                to_gamma[b] += found if rule != FROZEN else 0
                if static:
                    target = to_current[0, s, low : low + n]
                    for i in range(n):
                        target[i] = (target[i] if t < steps - 1 else current.dtype.type(0)) + here[i]
                later = here
        if to_parts.shape[1] == neurons:
            to_parts[:, low : low + n] = parts
        else:
            to_parts[:, b] = parts[:, 0]
