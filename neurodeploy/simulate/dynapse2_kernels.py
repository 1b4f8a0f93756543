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
    for place in range(number):
        source = found[place]
        count, start, stop = _F(counts[source]), first[source], last[source]
        targets, row = weighted[start:stop], weights[source, start:stop]  # views of equal length: many lanes at once
        for lane in range(targets.shape[0]):
            targets[lane] += count * row[lane]


@numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")
def update(parameters, states, weighted):
    """One step of all neurons, up to whether they are above their threshold.

    Two loops over few arrays each: compilers turn these into operations on many neurons at once.

    Args:
        parameters: (len(PARAMETERS), lanes) float32.
        states: (len(STATES), lanes) float32, changed but for "spikes"; "feedback" holds (I' / Io)^exponent.
        weighted: (lanes,) float32, what arrives; set to 0.
    """
    p, s = parameters, states
    for lane in range(weighted.shape[0]):
        io = p[0, lane]
        synapse = p[1, lane] * s[1, lane] + p[2, lane] * max(p[3, lane] * weighted[lane], io)
        adaptation = max(p[4, lane] * s[2, lane] + p[5, lane] * s[5, lane], io)
        drain = p[6, lane] + adaptation
        arriving = synapse - drain + p[8, lane]
        arriving = arriving if s[4, lane] == _ZERO else _ZERO
        arriving = max(arriving, io)
        membrane = s[0, lane]
        # Igain / Itau (I_in - I_leak) - I (1 + I_ahp / Itau), then the whole of dI with what cancels left out.
        pull = p[10, lane] * (arriving - drain) - membrane * (_ONE + adaptation * p[7, lane])
        change = membrane * p[11, lane] * (drain * pull / (membrane + p[9, lane]) + io * s[3, lane])
        membrane = max(membrane + change, io)
        s[0, lane], s[1, lane], s[2, lane] = membrane, synapse, adaptation
        s[3, lane] = membrane * p[12, lane]
        s[4, lane] = max(s[4, lane] - p[14, lane], _ZERO)
        weighted[lane] = _ZERO
    ratio, exponent = states[3], parameters[13]
    for lane in range(ratio.shape[0]):
        ratio[lane] = power(ratio[lane], exponent[lane])


@numba.njit(nogil=True, error_model="numpy")
def fire(parameters, states, counts, found):
    """Spikes, reset and refractory timer.

    Args:
        counts: (neurons,) uint8, overwritten with the spikes.
        found: (neurons + 1,), overwritten with the neurons that fired.

    Returns:
        How many fired.
    """
    membrane, spikes, threshold = states[0], states[5], parameters[15]
    for neuron in range(counts.shape[0]):
        counts[neuron] = membrane[neuron] > threshold[neuron]
        spikes[neuron] = _ONE if membrane[neuron] > threshold[neuron] else _ZERO
    number = active(counts, found)
    for place in range(number):
        neuron = found[place]
        ratio = membrane[neuron] / threshold[neuron]
        membrane[neuron] = parameters[0, neuron]
        states[4, neuron] = parameters[16, neuron]
        if ratio > _E:  # the logarithm is above 1
            fired = min(np.ceil(np.log(ratio)), _F(MOST))
            spikes[neuron] = fired
            counts[neuron] = np.uint8(fired)
    return number
