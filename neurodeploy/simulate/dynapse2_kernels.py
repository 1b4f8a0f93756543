"""Steps of DYNAP-SE2 neurons, compiled by numba: many neurons at once, in float32 as DynapSim."""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import llvmlite.ir
import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from neurodeploy.simulate.vectors import Arguments, everywhere

LANES = 16  # neurons are filled up to a multiple of so many
BLOCK = 256  # neurons whose parameters lie side by side
ROW = BLOCK + LANES  # from one row to the next: not a power of two, which would crowd a few places of the cache
MOST = 255  # spikes of a neuron in a step
_MANY = 4 * LANES  # neurons whose sums are added up side by side, so that none waits for the last addition
_AT_ONCE = np.uint64(16)  # sources whose rows are added in one pass, over the targets of any of them
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
_F, _U = np.float32, np.uint64
_ONE, _ZERO = _F(1), _F(0)
# log2(m) for m in [sqrt(1/2), sqrt(2)): odd series of z = (m - 1) / (m + 1), 2 / ln 2 / (2 k + 1).
_L1, _L3, _L5, _L7, _L9 = (_F(2 / np.log(2) / k) for k in (1, 3, 5, 7, 9))
# 2^f for f in [-1/2, 1/2]: the exponential series, (ln 2)^k / k!.
_E1, _E2, _E3, _E4, _E5, _E6 = (_F(np.log(2) ** k / f) for k, f in enumerate((1, 2, 6, 24, 120, 720), 1))
(_R1, _R2, _R3, _R4, _R5, _R6, _R7, _R8, _R9, _R10, _R11, _R12, _R13, _R14, _R15, _R16) = (
    _U(ROW * number) for number in range(1, 17)
)
_MAGIC = _F(12582912.0)  # 1.5 * 2^23: adding it rounds to whole numbers


def _powers():
    """Of each whole number k, the largest float32 whose natural logarithm, rounded to float32, is k or less."""
    largest = np.full(MOST + 1, np.finfo(_F).max)
    for k in range(89):  # e^89 is beyond float32
        value = np.nextafter(_F(np.exp(k)), _F(0))
        while _F(np.log(np.float64(np.nextafter(value, _F(np.inf))))) <= k:
            value = np.nextafter(value, _F(np.inf))
        largest[k] = value
    return largest


_POWERS = _powers()


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


def _rows_summed(lanes):
    """An intrinsic that adds the rows of listed sources to so many targets, which stay in registers meanwhile."""

    @intrinsic
    def add_rows(typing, weighted, place, weights, pitch, counts, frame, found, first, last):
        """weighted[place : …] += Σ_k counts[frame + j] weights[pitch j + place : …], j = found[k], first ≤ k < last."""

        def build(context, builder, signature, values):
            _, place, _, pitch, _, frame, _, first, last = values
            arrays = Arguments(context, builder, signature, values)
            total = cgutils.alloca_once_value(builder, arrays.load(0, place, lanes))
            with cgutils.for_range_slice(builder, first, last, first.type(1)) as (k, _):
                source = arrays.load(6, k)
                events = arrays.load(4, builder.add(frame, source))
                count = everywhere(builder, builder.uitofp(events, _FLOAT), lanes)
                row = arrays.load(2, builder.add(builder.mul(source, pitch), place), lanes)
                product = builder.fmul(count, row, flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
            arrays.store(builder.load(total), 0, place, lanes)
            return context.get_dummy_value()

        return types.void(weighted, place, weights, pitch, counts, frame, found, first, last), build

    return add_rows


_add_lanes, _add_many = _rows_summed(LANES), _rows_summed(_MANY)


@intrinsic
def _above(typing, p, own, s, at):
    """Bit i is set where s[at + i] > p[own + i], for LANES values."""

    def build(context, builder, signature, values):
        arrays = Arguments(context, builder, signature, values)
        above = builder.fcmp_ordered(">", arrays.load(2, values[3], LANES), arrays.load(0, values[1], LANES))
        return builder.zext(builder.bitcast(above, llvmlite.ir.IntType(LANES)), llvmlite.ir.IntType(64))

    return types.uint64(p, own, s, at), build


@intrinsic
def _lowest(typing, bits):
    """The number of the lowest bit that is set."""

    def build(context, builder, signature, values):
        return builder.cttz(values[0], llvmlite.ir.Constant(llvmlite.ir.IntType(1), 1))

    return types.uint64(types.uint64), build


@numba.njit(nogil=True)
def active(counts, first, n, found):
    """Writes which of the n sources from `first` on have events to `found`, without branches; returns how many do."""
    number = _U(0)
    for source in range(n):
        found[number] = source
        number += _U(counts[first + source] != 0)
    return number


@numba.njit(nogil=True)
def deliver(weighted, counts, frame, found, number, weights, lanes, first, last):
    """Adds the events of sources to the lanes of their targets.

    Args:
        weighted: (lanes,) float32, changed.
        counts, frame: events by source, from `frame` on, uint8.
        found, number: the sources that have events, in order.
        weights: (sources * lanes,) float32.
        first, last: (sources,), lanes between which a source has weights other than 0, whole groups.
    """
    for begin in range(_U(0), number, _AT_ONCE):
        end = min(begin + _AT_ONCE, number)
        place, stop = lanes, _U(0)
        for k in range(begin, end):
            place, stop = min(place, first[found[k]]), max(stop, last[found[k]])
        while place + _U(_MANY) <= stop:
            _add_many(weighted, place, weights, lanes, counts, frame, found, begin, end)
            place += _U(_MANY)
        while place < stop:
            _add_lanes(weighted, place, weights, lanes, counts, frame, found, begin, end)
            place += _U(LANES)


@numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")
def update(p, own, s, at, weighted, start, n):
    """One step of up to `BLOCK` neurons, up to whether they are above their threshold.

    Rows lie at constants in flat arrays: only so the compiler knows that they do not overlap, and takes many lanes at
    once without asking first.

    Args:
        p, own: parameters, `len(PARAMETERS)` rows of `ROW` values from `own` on, float32.
        s, at: states, `len(STATES)` rows from `at` on, changed, "spikes" to 0; "feedback" holds (I' / Io)^exponent.
        weighted, start: what arrives, from `start` on; set to 0.
        n: neurons, whole groups of lanes.
    """
    for k in range(n):
        i, j, arrived = own + k, at + k, start + k
        io = p[i]
        synapse = p[i + _R1] * s[j + _R1] + p[i + _R2] * max(p[i + _R3] * weighted[arrived], io)
        adaptation = max(p[i + _R4] * s[j + _R2] + p[i + _R5] * s[j + _R5], io)
        drain = p[i + _R6] + adaptation
        arriving = synapse - drain + p[i + _R8]
        arriving = arriving if s[j + _R4] == _ZERO else _ZERO
        arriving = max(arriving, io)
        membrane = s[j]
        # Igain / Itau (I_in - I_leak) - I (1 + I_ahp / Itau), then the whole of dI with what cancels left out.
        pull = p[i + _R10] * (arriving - drain) - membrane * (_ONE + adaptation * p[i + _R7])
        change = membrane * p[i + _R11] * (drain * pull / (membrane + p[i + _R9]) + io * s[j + _R3])
        membrane = max(membrane + change, io)
        s[j], s[j + _R1], s[j + _R2] = membrane, synapse, adaptation
        s[j + _R3] = power(membrane * p[i + _R12], p[i + _R13])
        s[j + _R4] = max(s[j + _R4] - p[i + _R14], _ZERO)
        s[j + _R5] = weighted[arrived] = _ZERO


@numba.njit(nogil=True, error_model="numpy")
def fire(p, own, s, at, start, n, counts, found, number):
    """Spikes, reset and refractory timer of up to `BLOCK` neurons.

    Args:
        p, own, s, at, n: as of `update`.
        start: the first neuron's number.
        counts: uint8, of zeros; set to the spikes of those that fire.
        found, number: those that fired so far; the new ones join.

    Returns:
        How many have fired.
    """
    for group in range(_U(0), n, _U(LANES)):
        bits = _above(p, own + group + _R15, s, at + group)
        while bits != _U(0):
            k = group + _lowest(bits)
            bits &= bits - _U(1)
            i, j = own + k, at + k
            ratio = s[j] / p[i + _R15]
            s[j] = p[i]
            s[j + _R4] = p[i + _R16]
            spikes = 1
            while spikes < MOST and ratio > _POWERS[spikes]:  # the logarithm is above that
                spikes += 1
            s[j + _R5] = _F(spikes)
            counts[start + k] = spikes
            found[number] = start + k
            number += _U(1)
    return number
