"""The table of `snn.surrogate` for a block of neurons, compiled by numba into vector code.

Numba calls the C library for each exponential; here they are made of additions and multiplications, which a processor
does for many neurons at once.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import math
from functools import cache

import numba
import numpy as np

from neurodeploy.snn.surrogate import RULES, SHAPES

compiled = numba.njit(error_model="numpy", nogil=True)
# Inlined by force wherever operations may be fused or reordered: a call would go to a copy that is optimised by itself
# where numba compiles, and to the one within the kernel where it reads that from disk. The two need not give the same
# last bits, with which a resumed training would differ.
_reordered = numba.njit(error_model="numpy", nogil=True, forceinline=True, fastmath={"contract", "nsz"})

ARCTANGENT, _SOFTPLUS, _RECTANGLE, _TRIANGLE, _SIGMOID, _FAST_SIGMOID, _DSPIKE = range(len(SHAPES))
LITERAL, PRINCIPLED, ODD, FROZEN = range(len(RULES))


@cache
def exponentials(dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """What `_exponential` needs to know of a type: (coefficients, ln 2 in two parts, limits of x, how 2^k is written).

    exp(x) = 2^k exp(r), |r| <= ln(2) / 2, by the Taylor series of exp(r), 8 terms for single precision and 14 for
    double: the first term left out is below a rounding error.
    """
    single = dtype == np.float32
    terms = 8 if single else 14
    coefficients = np.array([1 / math.factorial(k) for k in reversed(range(terms))], dtype)
    upper = np.array(
        [0.693359375 if single else 6.93147180369123816490e-01], dtype
    )  # few bits, so that k upper is exact
    lower = np.array([math.log(2) - float(upper[0]) if single else 1.90821492927058770002e-10], dtype)
    reach = np.array([-87.0, 88.0] if single else [-708.0, 709.0], dtype)
    exponent = np.array([127, 2**23] if single else [1023, 2**52], dtype)
    return coefficients, upper, lower, reach, exponent


@_reordered
def _exponential(x, n, table, out, rest, bits):
    """out = exp(x), x kept within the finite range; NaN stays NaN."""
    coefficients, upper, lower, reach, exponent = table
    one = x.dtype.type(1)
    turns = one / (upper[0] + lower[0])
    half = x.dtype.type(0.5)
    low, high = reach[0], reach[1]
    bias, place = exponent[0], exponent[1]
    kind = bits.dtype.type
    for i in range(n):
        value = x[i]
        value = low if value < low else value
        value = high if value > high else value
        k = np.floor(value * turns + half)
        rest[i] = (value - k * upper[0]) - k * lower[0]
        bits[i] = kind(((k if k == k else one) + bias) * place)
    for i in range(n):
        out[i] = coefficients[0]
    for c in coefficients[1:]:
        for i in range(n):
            out[i] = out[i] * rest[i] + c
    power = bits.view(x.dtype)
    for i in range(n):
        out[i] *= power[i]


@_reordered
def slopes(shape, rule, x, gamma, n, table, scratch, bits, slope, gamma_slope):
    """do/du and do/dgamma at x = u - Vth for n neurons; gamma_slope is left alone where gamma does not learn.

    Args:
        gamma: (1,).
        table: `exponentials` of the type.
        scratch, bits: (3, n) of the type and (n,) of integers as wide, overwritten.
    """
    zero, half, one, two = x.dtype.type(0), x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(2)
    width = gamma[0]
    y, power, rest = scratch[0], scratch[1], scratch[2]
    if shape == ARCTANGENT:
        scale = x.dtype.type(width / math.pi) if rule == PRINCIPLED else one
        for i in range(n):
            slope[i] = scale / (one + (width * x[i]) * (width * x[i]))
    elif shape in (_SOFTPLUS, _SIGMOID):
        for i in range(n):
            y[i] = -width * x[i]
        _exponential(y, n, table, power, rest, bits)
        for i in range(n):
            high = one / (one + power[i])
            slope[i] = high if shape == _SOFTPLUS else width * high * (one - high)
    elif shape == _RECTANGLE:
        for i in range(n):
            slope[i] = width if abs(x[i]) * width < half else zero
    elif shape == _TRIANGLE:
        for i in range(n):
            height = one - abs(width * x[i])
            slope[i] = height * width if height > zero else zero
    elif shape == _FAST_SIGMOID:
        for i in range(n):
            base = one + abs(width * x[i])
            slope[i] = one / (base * base)
    else:  # 1 - tanh(y)^2 = 4 e / (1 + e)^2 with e = exp(-2 |y|)
        scale = x.dtype.type(2 * width / math.tanh(width / 2))
        for i in range(n):
            y[i] = -two * abs(width * x[i])
        _exponential(y, n, table, power, rest, bits)
        for i in range(n):
            base = one + power[i]
            slope[i] = scale * power[i] / (base * base) if abs(x[i]) <= half else zero
    if shape == _SOFTPLUS and rule in (PRINCIPLED, ODD):
        for i in range(n):
            y[i] = -abs(width * x[i])
        _exponential(y, n, table, power, rest, bits)
        for i in range(n):
            scaled = width * x[i]
            soft = (scaled if scaled > zero else zero) + math.log1p(power[i])
            gamma_slope[i] = (scaled * slope[i] - soft) / (width * width)
    elif shape == ARCTANGENT and rule == PRINCIPLED:
        for i in range(n):
            gamma_slope[i] = x[i] * slope[i] / width
    elif shape == ARCTANGENT and rule == ODD:
        for i in range(n):
            gamma_slope[i] = two * width * x[i] * slope[i]
