"""Weights in Lava's terms: what its Dense makes of the numbers that it is given, and which numbers give ours.

Lava's Dense keeps weights of 8 bits in one of three sign modes (lava-nc 0.10.0, lava/utils/weightutils.py). In the mode
"mixed" the sign takes a bit, so that the lowest one is lost: 127 becomes 126 and -1 becomes -2.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import IntArray, frozen_ints

SignMode = Literal["mixed", "excitatory", "inhibitory"]
RANGES = MappingProxyType({"mixed": (-256, 255), "excitatory": (0, 255), "inhibitory": (-255, 0)})
WEIGHT_BITS = 8
SMALLEST_EXPONENT = -8


def effective_weights(weights: ArrayLike, num_weight_bits: int = 8, sign_mode: SignMode = "mixed") -> IntArray:
    """The weights that Lava's Dense (`Loihi2SimCfg(select_tag="fixed_pt")`) multiplies by.

    They are clipped to the range of the sign mode; then the lowest 8 - num_weight_bits bits of their magnitude
    ("excitatory", "inhibitory") or 9 - num_weight_bits bits of their two's complement ("mixed") are set to 0.

    Args:
        weights: integers.
        num_weight_bits: 1 to 8.
        sign_mode: Lava's SignMode.

    Raises:
        UsageError: where the bits or the sign mode are none of Lava's.
    """
    if sign_mode not in RANGES:
        raise UsageError(f"sign mode {sign_mode!r}: allowed are {', '.join(RANGES)}")
    if not 1 <= num_weight_bits <= WEIGHT_BITS:
        raise UsageError(f"weights of {num_weight_bits} bits: allowed are 1 to {WEIGHT_BITS}")
    clipped = np.clip(frozen_ints(weights), *RANGES[sign_mode])
    lost = 2 ** (WEIGHT_BITS - num_weight_bits + (sign_mode == "mixed"))
    if sign_mode == "inhibitory":
        return frozen_ints(-(-clipped // lost * lost))
    return frozen_ints(clipped // lost * lost)


class DenseTerms(NamedTuple):
    """What to give Lava's Dense, with num_weight_bits 8."""

    weights: IntArray
    exponent: int
    sign_mode: SignMode


def dense_terms(weights: IntArray, exponent: int) -> DenseTerms | None:
    """Terms with which Lava's Dense computes (weights · x) << exponent exactly, or None where there are none.

    Weights of 8 bits with sign are given doubled with an exponent one smaller, so that the bit that Lava drops is 0.
    """
    low, high = int(weights.min()), int(weights.max())
    if low >= -128 and high <= 127 and exponent > SMALLEST_EXPONENT:
        return DenseTerms(frozen_ints(2 * weights), exponent - 1, "mixed")
    for mode in RANGES:
        sign_mode: SignMode = mode  # type: ignore[assignment]
        if np.array_equal(effective_weights(weights, sign_mode=sign_mode), weights):
            return DenseTerms(weights, exponent, sign_mode)
    return None
