"""The random numbers of `hw_models.random` compiled by numba: Philox4x64-10 with one multiplication per product."""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_FIRST, _SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_WEYL_FIRST, _WEYL_SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ROUNDS = 10
WORDS = 4  # of a counter value


@intrinsic
def _high_product(context, left, right):
    """The upper 64 bits of a product of two 64-bit words."""

    def build(_, builder, __, arguments):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(one, wide) for one in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), build


@numba.njit(error_model="numpy", nogil=True, inline="always")
def _block(counter, first_key, second_key, words, at):
    """words[at : at + 4] of a counter value; NumPy counts up before it draws, which the caller has done."""
    zero = np.uint64(0)
    a, b, c, d = counter, zero, zero, zero
    for _ in range(_ROUNDS):
        high_a, low_a = _high_product(a, _FIRST), a * _FIRST
        high_c, low_c = _high_product(c, _SECOND), c * _SECOND
        a, b, c, d = high_c ^ b ^ first_key, low_c, high_a ^ d ^ second_key, low_a
        first_key += _WEYL_FIRST
        second_key += _WEYL_SECOND
    words[at], words[at + np.uint64(1)], words[at + np.uint64(2)], words[at + np.uint64(3)] = a, b, c, d


@numba.njit(error_model="numpy", nogil=True)
def draw_normals(first_key, second_key, sample, size, table, deviation, order, words, out, place):
    """out[place + order[place + n]] += deviation * normal number n of a sample, as `step_normals` draws it.

    Args:
        first_key, second_key: of the stream.
        size: normal numbers per sample.
        table: `hw_models.random.normal_table`.
        words: room for (size + 15) / 16 times four.
    """
    blocks = (size + np.uint64(15)) // np.uint64(16)
    counter = sample * blocks + np.uint64(1)
    for block in range(blocks):
        _block(counter + block, first_key, second_key, words, np.uint64(WORDS) * block)
    indices = words.view(np.uint16)
    for n in range(size):
        out[place + np.uint64(order[place + n])] += np.float64(table[indices[n]]) * deviation


@numba.njit(error_model="numpy", nogil=True)
def round_all(values, first, n):
    """Rounds to integers, halves to even ones."""
    for i in range(n):
        values[first + i] = np.rint(values[first + i])


@numba.njit(cache=True, error_model="numpy", nogil=True)
def add_normals(key, first, size, table, deviation, order, out):
    """out[b, order[n]] += deviation * normal number n of sample first + b, as `step_normals` draws it."""
    words = np.empty(WORDS * ((size + 15) // 16), np.uint64)
    for b in range(out.shape[0]):
        sample = np.uint64(first + b)
        draw_normals(key[0], key[1], sample, np.uint64(size), table, deviation, order, words, out[b], np.uint64(0))


@numba.njit(cache=True, error_model="numpy", nogil=True)
def mark_below(key, first, size, bound, bit, place, out):
    """out[b, place[n]] |= bit where integer n of sample first + b, as `step_integers` draws it, is below the bound."""
    words = np.empty(4, np.uint64)
    integers = words.view(np.uint32)
    blocks = (size + 7) // 8
    for b in range(out.shape[0]):
        row = out[b]
        counter = np.uint64((first + b) * blocks + 1)
        for block in range(blocks):
            _block(counter + np.uint64(block), key[0], key[1], words, np.uint64(0))
            low = 8 * block
            for i in range(min(8, size - low)):
                if integers[i] < bound:
                    row[place[low + i]] |= bit
