"""Steps of DYNAP-SE2 neurons, compiled by numba: many neurons at once, in float32 as DynapSim."""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import llvmlite.ir
import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

LANES = 16  # neurons are filled up to a multiple of so many
BLOCK = 256  # neurons whose parameters lie side by side
ROW = BLOCK + LANES  # from one row to the next: not a power of two, which would crowd a few places of the cache
MOST = 255  # spikes of a neuron in a step
# Rows of a neuron's parameters and of its states, in the order in which the kernel has them.
PARAMETERS = (
    "io",
    "kept_syn",
    "charge_syn",
    "gain_syn",
    "kept_ahp",
    "charge_ahp",
    "leak",
    "per_leak",
    "idc",
    "gain_mem",
    "gain_over_leak",
    "dt_over_tau_factor",
    "per_io",
    "exponent",
    "dt",
    "threshold",
    "refractory",
)
STATES = ("membrane", "synapse", "adaptation", "feedback", "timer", "spikes")
_INT, _FLOAT = llvmlite.ir.IntType(32), llvmlite.ir.FloatType()
_F = np.float32
_ONE, _ZERO, _E = _F(1), _F(0), _F(np.e)
# log2(m) for m in [sqrt(1/2), sqrt(2)): odd series of z = (m - 1) / (m + 1), 2 / ln 2 / (2 k + 1).
_L1, _L3, _L5, _L7, _L9 = (_F(2 / np.log(2) / k) for k in (1, 3, 5, 7, 9))
# 2^f for f in [-1/2, 1/2]: the exponential series, (ln 2)^k / k!.
_E1, _E2, _E3, _E4, _E5, _E6 = (_F(np.log(2) ** k / f) for k, f in enumerate((1, 2, 6, 24, 120, 720), 1))
_MAGIC = _F(12582912.0)  # 1.5 * 2^23: adding it rounds to whole numbers


@intrinsic
def _exponent_of(typingctx, value):
    """The whole part e of log2(value), float32: value = m 2^e with m in [sqrt(1/2), sqrt(2))."""

    def codegen(context, builder, signature, args):
        return builder.sitofp(_exponent(builder, builder.bitcast(args[0], _INT)), _FLOAT)

    return types.float32(types.float32), codegen


@intrinsic
def _mantissa_of(typingctx, value):
    """That m."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], _INT)
        return builder.bitcast(builder.sub(bits, builder.shl(_exponent(builder, bits), _INT(23))), _FLOAT)

    return types.float32(types.float32), codegen


@intrinsic
def _scaled(typingctx, value, exponent):
    """value 2^exponent, for a whole exponent."""

    def codegen(context, builder, signature, args):
        shift = builder.shl(builder.fptosi(args[1], _INT), _INT(23))
        return builder.bitcast(builder.add(builder.bitcast(args[0], _INT), shift), _FLOAT)

    return types.float32(types.float32, types.float32), codegen


def _exponent(builder, bits):
    return builder.ashr(builder.sub(bits, _INT(0x3F3504F3)), _INT(23))  # the bits of sqrt(1/2)


@numba.njit(nogil=True, inline="always", fastmath={"contract"}, error_model="numpy")
def power(base, exponent):
    """base^exponent for positive base, without branches, so that it runs on many lanes; error below 1e-6 relative.

    The result must stay within float32: 2^-126 to 2^127.
    """
    mantissa = _mantissa_of(base)
    z = (mantissa - _ONE) / (mantissa + _ONE)
    z2 = z * z
    y = exponent * (_exponent_of(base) + z * (_L1 + z2 * (_L3 + z2 * (_L5 + z2 * (_L7 + z2 * _L9)))))
    rounded = (y + _MAGIC) - _MAGIC
    f = y - rounded
    return _scaled(_ONE + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * _E6))))), rounded)


@numba.njit(nogil=True)
def active(counts, found):
    """Writes the sources with events to `found`, without branches, and returns how many there are."""
    number = 0
    for source in range(counts.shape[0]):
        found[number] = source
        number += counts[source] != 0
    return number


@numba.njit(nogil=True, fastmath={"contract"})
def deliver(weighted, counts, found, number, weights, first, last):
    """Adds the events of sources to the lanes of their targets.

    Args:
        weighted: (lanes,) float32, changed.
        counts: (sources,) uint8.
        found, number: what `active` says of them.
        weights: (sources, lanes) float32.
        first, last: (sources,), between which a source has weights other than 0.
    """
    place = 0
    while place + 3 < number:  # four rows at a time: fewer passes over the sums
        a, b, c, d = found[place], found[place + 1], found[place + 2], found[place + 3]
        count_a, count_b, count_c, count_d = _F(counts[a]), _F(counts[b]), _F(counts[c]), _F(counts[d])
        start = min(min(first[a], first[b]), min(first[c], first[d]))
        stop = max(max(last[a], last[b]), max(last[c], last[d]))
        targets = weighted[start:stop]  # views of equal length: many lanes at once
        row_a, row_b, row_c, row_d = (
            weights[a, start:stop],
            weights[b, start:stop],
            weights[c, start:stop],
            weights[d, start:stop],
        )
        for i in range(targets.shape[0]):
            targets[i] += (count_a * row_a[i] + count_b * row_b[i]) + (count_c * row_c[i] + count_d * row_d[i])
        place += 4
    while place < number:
        a = found[place]
        count_a, targets, row_a = _F(counts[a]), weighted[first[a] : last[a]], weights[a, first[a] : last[a]]
        for i in range(targets.shape[0]):
            targets[i] += count_a * row_a[i]
        place += 1


@numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")
def update(p, s, weighted):
    """One step of up to `BLOCK` neurons, up to whether they are above their threshold.

    Rows lie at constants in flat arrays: only so the compiler knows that they do not overlap, and takes many lanes at
    once without asking first.

    Args:
        p: parameters, (len(PARAMETERS) * ROW,) float32.
        s: states, (len(STATES) * ROW,) float32, changed but for "spikes"; "feedback" holds (I' / Io)^exponent.
        weighted: (lanes,) float32, what arrives; set to 0.
    """
    for i in range(weighted.shape[0]):
        io = p[i]
        synapse = p[ROW + i] * s[ROW + i] + p[2 * ROW + i] * max(p[3 * ROW + i] * weighted[i], io)
        adaptation = max(p[4 * ROW + i] * s[2 * ROW + i] + p[5 * ROW + i] * s[5 * ROW + i], io)
        drain = p[6 * ROW + i] + adaptation
        arriving = synapse - drain + p[8 * ROW + i]
        arriving = arriving if s[4 * ROW + i] == _ZERO else _ZERO
        arriving = max(arriving, io)
        membrane = s[i]
        # Igain / Itau (I_in - I_leak) - I (1 + I_ahp / Itau), then the whole of dI with what cancels left out.
        pull = p[10 * ROW + i] * (arriving - drain) - membrane * (_ONE + adaptation * p[7 * ROW + i])
        change = membrane * p[11 * ROW + i] * (drain * pull / (membrane + p[9 * ROW + i]) + io * s[3 * ROW + i])
        membrane = max(membrane + change, io)
        s[i], s[ROW + i], s[2 * ROW + i] = membrane, synapse, adaptation
        s[3 * ROW + i] = power(membrane * p[12 * ROW + i], p[13 * ROW + i])
        s[4 * ROW + i] = max(s[4 * ROW + i] - p[14 * ROW + i], _ZERO)
        weighted[i] = _ZERO


@numba.njit(nogil=True, error_model="numpy")
def fire(p, s, counts, found):
    """Spikes, reset and refractory timer of up to `BLOCK` neurons.

    Args:
        p, s: as of `update`.
        counts: (neurons,) uint8, overwritten with the spikes.
        found: (neurons + 1,), overwritten with the neurons that fired.

    Returns:
        How many fired.
    """
    for i in range(counts.shape[0]):
        above = s[i] > p[15 * ROW + i]
        counts[i] = above
        s[5 * ROW + i] = _ONE if above else _ZERO
    number = active(counts, found)
    for place in range(number):
        i = found[place]
        ratio = s[i] / p[15 * ROW + i]
        s[i] = p[i]
        s[4 * ROW + i] = p[16 * ROW + i]
        if ratio > _E:  # the logarithm is above 1
            spikes = min(np.ceil(np.log(ratio)), _F(MOST))
            s[5 * ROW + i] = spikes
            counts[i] = np.uint8(spikes)
    return number
