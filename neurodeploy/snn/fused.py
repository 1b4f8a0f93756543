"""The neuron loop of one layer in one pass over memory, for CPUs: compiled by numba, gradients derived by hand.

A layer is memory-bound: written in PyTorch, each step reads and writes every neuron several times. Here a block of
neurons that fits the first-level cache runs through all steps; potentials are never stored but computed again in the
backward pass, spikes leave already pooled where an average pooling follows, and the moments of the potentials, of
which potential adjustment is made, are summed on the way. Sums are taken block by block in a fixed order, whatever the
number of threads.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import math

import numba
import numpy as np

_LARGEST_BLOCK = 2048  # neurons; found by timing
_CACHE = 2**18  # bytes: what a block keeps at hand stays within a second-level cache, however many steps there are


def block_size(row: int, pool: int, steps: int) -> int:
    """Neurons per block: whole groups of `pool` rows of `row` values each."""
    group = row * pool
    neurons = min(_LARGEST_BLOCK, _CACHE // (8 * (steps + 6)))
    return max(1, neurons // group) * group


def use_threads(count: int) -> None:
    """As many threads as PyTorch uses, as far as the machine has them."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))


def _compiled(**options):
    return numba.njit(cache=True, error_model="numpy", **options)


@_compiled(fastmath={"reassoc", "nsz"})
def _sums(values, spikes, n, into):
    first = values.dtype.type(0)
    second = first
    third = first
    for i in range(n):
        first += values[i]
        second += values[i] * values[i]
        third += spikes[i]
    into[0] = first
    into[1] = second
    into[2] = third


@_compiled()
def _pooled(spikes, n, row, inner, pool, out):
    """Means over pool × pool windows of rows of `row` values, `inner` of them side by side (channels last)."""
    area = spikes.dtype.type(pool * pool)
    group = row * pool
    wide = row // pool
    for g in range(n // group):
        rows = spikes[g * group : (g + 1) * group]
        to = out[g * wide : (g + 1) * wide]
        if inner == 1 and pool == 2:
            for j in range(wide):
                to[j] = (rows[2 * j] + rows[2 * j + 1] + rows[row + 2 * j] + rows[row + 2 * j + 1]) / area
        elif pool == 2:
            for j in range(wide // inner):
                for c in range(inner):
                    k = 2 * j * inner + c
                    to[j * inner + c] = (rows[k] + rows[k + inner] + rows[row + k] + rows[row + k + inner]) / area
        else:
            to[:] = 0
            for y in range(pool):
                for j in range(wide // inner):
                    for x in range(pool):
                        for c in range(inner):
                            to[j * inner + c] += rows[y * row + (j * pool + x) * inner + c]
            for j in range(wide):
                to[j] /= area


@_compiled()
def _spread(gradient, n, row, inner, pool, out):
    """The gradient of `_pooled`: one row is spread, the others of its window are copies."""
    area = gradient.dtype.type(pool * pool)
    group = row * pool
    wide = row // pool
    for g in range(n // group):
        first = out[g * group : g * group + row]
        given = gradient[g * wide : (g + 1) * wide]
        if inner == 1 and pool == 2:
            for j in range(wide):
                value = given[j] / area
                first[2 * j] = value
                first[2 * j + 1] = value
        else:
            for j in range(wide // inner):
                for x in range(pool):
                    for c in range(inner):
                        first[(j * pool + x) * inner + c] = given[j * inner + c] / area
        for y in range(1, pool):
            copy = out[g * group + y * row : g * group + (y + 1) * row]
            for j in range(row):
                copy[j] = first[j]


@_compiled()
def _advance(before, current, decay, threshold, subtract, n, potential):
    """u[t] from u[t-1]: `before` holds potentials before reset."""
    zero = threshold.dtype.type(0)
    limit = threshold[0]
    keep = decay[0]
    if subtract:
        drop = keep * limit
        for i in range(n):
            potential[i] = (before[i] * keep - (drop if before[i] > limit else zero)) + current[i]
    else:
        for i in range(n):
            potential[i] = (zero if before[i] > limit else before[i]) * keep + current[i]


@_compiled(parallel=True)
def forward(current, steps, decay, threshold, subtract, row, inner, pool, block, spikes, sums):
    """Spikes of all steps, and per block and step the sums of u, of u^2 and of o.

    Args:
        current: (1 or T, neurons).
        decay, threshold: (1,), of the current's type.
        row, inner, pool: geometry of the pooling, see `_pooled`; pool 1 for none.
        spikes: (T, neurons / pool^2), written.
        sums: (blocks, T, 3), written.
    """
    static, neurons = current.shape[0] == 1, current.shape[1]
    zero = current.dtype.type(0)
    one = current.dtype.type(1)
    for b in numba.prange(sums.shape[0]):
        low = b * block
        n = min(block, neurons - low)
        before = np.zeros(block, current.dtype)
        potential = np.empty(block, current.dtype)
        fired = np.empty(block, current.dtype)
        for t in range(steps):
            arriving = current[0 if static else t, low : low + n]
            _advance(before, arriving, decay, threshold, subtract, n, potential)
            limit = threshold[0]
            for i in range(n):
                fired[i] = one if potential[i] > limit else zero
            _sums(potential, fired, n, sums[b, t])
            if pool == 1:
                spikes[t, low : low + n] = fired[:n]
            else:
                area = pool * pool
                _pooled(fired, n, row, inner, pool, spikes[t, low // area : (low + n) // area])
            before, potential = potential, before


@_compiled(fastmath={"reassoc", "nsz"})
def _slopes(shape, rule, potential, threshold, gamma, n, slope, gamma_slope):
    """The table of `snn.surrogate`, by number: shapes and rules in the order in which they are given there."""
    one = gamma.dtype.type(1)
    zero = gamma.dtype.type(0)
    half = gamma.dtype.type(0.5)
    width = gamma[0]
    limit = threshold[0]
    if shape == 0:
        scale = gamma.dtype.type(width / math.pi) if rule == 1 else one
        for i in range(n):
            y = width * (potential[i] - limit)
            slope[i] = scale / (one + y * y)
    elif shape == 1:
        for i in range(n):
            slope[i] = one / (one + math.exp(-width * (potential[i] - limit)))
    elif shape == 2:
        for i in range(n):
            slope[i] = width if abs(potential[i] - limit) * width < half else zero
    elif shape == 3:
        for i in range(n):
            y = one - abs(width * (potential[i] - limit))
            slope[i] = y * width if y > zero else zero
    elif shape == 4:
        for i in range(n):
            high = one / (one + math.exp(-width * (potential[i] - limit)))
            slope[i] = width * high * (one - high)
    elif shape == 5:
        for i in range(n):
            y = one + abs(width * (potential[i] - limit))
            slope[i] = one / (y * y)
    else:
        scale = gamma.dtype.type(width / (2 * math.tanh(width / 2)))
        for i in range(n):
            x = potential[i] - limit
            y = gamma.dtype.type(math.tanh(width * x))
            slope[i] = (one - y * y) * scale if abs(x) <= half else zero
    if shape == 1 and rule in (1, 2):
        for i in range(n):
            y = width * (potential[i] - limit)
            soft = (y if y > zero else zero) + math.log1p(math.exp(-abs(y)))
            gamma_slope[i] = (y * slope[i] - soft) / (width * width)
    elif shape == 0 and rule == 1:
        for i in range(n):
            gamma_slope[i] = (potential[i] - limit) * slope[i] / width
    elif shape == 0 and rule == 2:
        for i in range(n):
            gamma_slope[i] = 2 * width * (potential[i] - limit) * slope[i]


@_compiled(fastmath={"reassoc", "nsz"})
def _back(
    potential,
    later,
    to_spikes,
    slope,
    gamma_slope,
    decay,
    threshold,
    to_mean,
    to_power,
    subtract,
    detach,
    n,
    into,
):
    """One step of BPTT: `later` holds dL/du[t+1] and is replaced by dL/du[t]; `into` gathers scalars' gradients.

    Written without a branch inside the loops, so that they become vector code.
    """
    zero = decay.dtype.type(0)
    one = decay.dtype.type(1)
    keep = decay[0]
    limit = threshold[0]
    through = zero if detach else keep
    a = zero  # dL/dVth, through the comparison
    b = zero  # dL/dgamma
    c = zero  # dL/ddecay
    d = zero  # dL/dVth, through the subtracting reset
    if subtract:
        for i in range(n):
            u = potential[i]
            fired = one if u > limit else zero
            reaching = to_spikes[i] - through * later[i] * limit
            a -= reaching * slope[i]
            b += reaching * gamma_slope[i]
            c += later[i] * (u - limit * fired)
            d -= keep * later[i] * fired
            later[i] = reaching * slope[i] + keep * later[i] + to_mean + to_power * u
    else:
        for i in range(n):
            u = potential[i]
            kept = zero if u > limit else one
            reaching = to_spikes[i] - through * later[i] * u
            a -= reaching * slope[i]
            b += reaching * gamma_slope[i]
            c += later[i] * u * kept
            later[i] = reaching * slope[i] + keep * later[i] * kept + to_mean + to_power * u
    into[0] += a + d
    into[1] += b
    into[2] += c


@_compiled(parallel=True)
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
    to_spikes,
    to_moments,
    to_current,
    scalars,
):
    """Gradients with respect to the current and, per block, to threshold, gamma and decay.

    Args:
        to_spikes: (T, neurons / pool^2), dL/d(pooled spikes).
        to_moments: (T, 2), dL/du[t] is to_moments[t, 0] + to_moments[t, 1] u[t] in addition.
        to_current: (1 or T, neurons), written.
        scalars: (blocks, 3) of doubles, zeros, written.
    """
    static, neurons = current.shape[0] == 1, current.shape[1]
    for b in numba.prange(scalars.shape[0]):
        low = b * block
        n = min(block, neurons - low)
        potentials = np.empty((steps + 1, block), current.dtype)
        potentials[0] = 0
        for t in range(steps):
            arriving = current[0 if static else t, low : low + n]
            _advance(potentials[t], arriving, decay, threshold, subtract, n, potentials[t + 1])
        later = np.zeros(block, current.dtype)
        given = np.empty(block, current.dtype)
        slope = np.empty(block, current.dtype)
        gamma_slope = np.empty(block, current.dtype)
        if rule == 3:
            gamma_slope[:] = 0
        for t in range(steps - 1, -1, -1):
            potential = potentials[t + 1]
            if pool == 1:
                given[:n] = to_spikes[t, low : low + n]
            else:
                area = pool * pool
                _spread(to_spikes[t, low // area : (low + n) // area], n, row, inner, pool, given)
            _slopes(shape, rule, potential, threshold, gamma, n, slope, gamma_slope)
            _back(
                potential,
                later,
                given,
                slope,
                slope if rule == 0 else gamma_slope,
                decay,
                threshold,
                to_moments[t, 0],
                to_moments[t, 1],
                subtract,
                detach,
                n,
                scalars[b],
            )
            target = to_current[0 if static else t, low : low + n]
            if static and t < steps - 1:
                for i in range(n):
                    target[i] += later[i]
            else:
                for i in range(n):
                    target[i] = later[i]
