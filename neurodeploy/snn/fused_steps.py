"""One step of a block of neurons, forth and back, compiled by numba.

Thresholds and decays are one number, or an array with a value per neuron; numba compiles either.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import numba
from numba import types
from numba.extending import overload

from neurodeploy.snn.fused_slopes import compiled

# Inlined by force as in `fused_slopes`: the two copies add up in different orders.
_summing = numba.njit(error_model="numpy", nogil=True, forceinline=True, fastmath={"reassoc", "contract", "nsz"})


def part_of(values, low, n):
    """What n neurons from `low` on have: a value each, or all the same."""


def at(values, i):
    """The value of neuron i."""


@overload(part_of)
def _(values, low, n):
    if values.ndim == 2:
        return lambda values, low, n: values[0, low : low + n]
    return lambda values, low, n: values[0]


@overload(at, inline="always")
def _(values, i):
    if isinstance(values, types.Array):
        return lambda values, i: values[i]
    return lambda values, i: values


@compiled
def advance(before, current, decay, threshold, subtract, n, potential):
    """u[t] from u[t-1]: `before` holds potentials before reset."""
    zero = current.dtype.type(0)
    if subtract:
        for i in range(n):
            limit, keep = at(threshold, i), at(decay, i)
            potential[i] = (before[i] * keep - (keep * limit if before[i] > limit else zero)) + current[i]
    else:
        for i in range(n):
            kept = zero if before[i] > at(threshold, i) else before[i]
            potential[i] = kept * at(decay, i) + current[i]


@_summing
def fire(potential, threshold, n, spikes, sums):
    """o[t], and the sums of u, of u^2 and of o."""
    zero, one = potential.dtype.type(0), potential.dtype.type(1)
    first, second, third = zero, zero, zero
    for i in range(n):
        fired = one if potential[i] > at(threshold, i) else zero
        spikes[i] = fired
        first += potential[i]
        second += potential[i] * potential[i]
        third += fired
    sums[0] += first
    sums[1] += second
    sums[2] += third


@_summing
def _back_paper(u, later, given, width, decay, threshold, factors, subtract, detach, n, here, parts):
    """`back` of all neurons together under Eq. 11 and 12, without a slope that is written and read again."""
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


def back(paper, u, later, given, slope, gamma_slope, decay, threshold, factors, subtract, detach, n, here, parts):
    """One step of BPTT: from `later`, dL/du[t+1], and `given`, dL/do[t], makes `here`, dL/du[t]; returns dL/dgamma.

    `parts` (2, 1 or n) gathers dL/dVth and dL/ddecay; `slope` is overwritten. `paper` is gamma where `_back_paper` does
    it, else 0.
    """


@overload(back, jit_options={"forceinline": True, "fastmath": {"reassoc", "contract", "nsz"}})
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
