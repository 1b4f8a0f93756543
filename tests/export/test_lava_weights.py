"""Weights in Lava's terms, without Lava: by hand, and what is given back from what is stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurodeploy.errors import UsageError
from neurodeploy.export.lava_weights import RANGES, SignMode, dense_terms, effective_weights
from neurodeploy.ir.arrays import frozen_ints

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("bits", "mode", "given", "stored"),
    [
        (8, "mixed", [127, -1, 1, 0, 255, 256, -256, -257, 400], [126, -2, 0, 0, 254, 254, -256, -256, 254]),
        (7, "mixed", [127, -1, 3, 4, -4, -5], [124, -4, 0, 4, -4, -8]),
        (1, "mixed", [255, -1, -256, 127], [0, -256, -256, 0]),
        (8, "excitatory", [-1, 0, 1, 255, 256], [0, 0, 1, 255, 255]),
        (4, "excitatory", [15, 16, 31, 255], [0, 16, 16, 240]),
        (1, "excitatory", [127, 128, 255], [0, 128, 128]),
        (8, "inhibitory", [1, 0, -1, -255, -256], [0, 0, -1, -255, -255]),
        (4, "inhibitory", [-15, -16, -31, -255], [0, -16, -16, -240]),
    ],
)
def test_weights_are_clipped_and_lose_their_low_bits(
    bits: int, mode: SignMode, given: list[int], stored: list[int]
) -> None:
    assert effective_weights(given, bits, mode).tolist() == stored


@given(seed=seeds, bits=st.integers(1, 8), mode=st.sampled_from(sorted(RANGES)))
def test_what_is_stored_stays_as_it_is(seed: int, bits: int, mode: SignMode) -> None:
    weights = np.random.default_rng(seed).integers(-400, 400, (5, 7))
    stored = effective_weights(weights, bits, mode)
    assert not stored.flags.writeable
    np.testing.assert_array_equal(effective_weights(stored, bits, mode), stored)
    assert np.unique(stored).size <= 2**bits
    terms = dense_terms(stored, 7)
    assert terms is not None
    np.testing.assert_array_equal(terms.weights * 2.0**terms.exponent, stored * 2.0**7)


@given(seed=seeds, low=st.integers(-300, 0), high=st.integers(0, 300), exponent=st.integers(-8, 7), even=st.booleans())
def test_terms_are_exact_where_there_are_any(seed: int, low: int, high: int, exponent: int, even: bool) -> None:
    weights = np.random.default_rng(seed).integers(low, high + 1, (4, 6))
    weights = frozen_ints(weights // 2 * 2 if even else weights)
    terms = dense_terms(weights, exponent)
    least, most = weights.min(), weights.max()
    eight_bits = least >= -128 and most <= 127 and exponent >= -7
    one_sign = (least >= 0 and most <= 255) or (most <= 0 and least >= -255)
    assert (terms is not None) == (eight_bits or one_sign or bool((weights % 2 == 0).all() and abs(weights).max() < 257
                                                                  and most < 255))  # fmt: skip
    if terms is not None:
        stored = effective_weights(terms.weights, 8, terms.sign_mode)
        assert -8 <= terms.exponent <= 7
        np.testing.assert_array_equal(stored * 2.0**terms.exponent, weights * 2.0**exponent)


def test_unknown_modes_and_bits_are_refused() -> None:
    with pytest.raises(UsageError, match="sign mode 'null': allowed are mixed, excitatory, inhibitory"):
        effective_weights([1], 8, "null")  # type: ignore[arg-type]
    for bits in (0, 9):
        with pytest.raises(UsageError, match=f"weights of {bits} bits: allowed are 1 to 8"):
            effective_weights([1], bits)
    with pytest.raises(TypeError, match="integers expected"):
        effective_weights([1.0])
