"""What lava-dl 0.6.0's netx and lava-nc 0.10.0 make of a file's dense weights.

netx shifts weights to the left until they fill 8 bits, and lets Lava's Dense shift the sum back (`optimize_weight_bits`
in lava/lib/dl/netx/utils.py). Dense clips and cuts low bits by a sign mode that it finds out by itself (`clip_weights`,
`truncate_weights` and `determine_sign_mode` in lava/utils/weightutils.py). Most matrices come out as they are; some
do not, and those that netx cannot load at all are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import IntArray, frozen_ints
from neurodeploy.ir.synapses import WEIGHT_EXPONENTS

_BITS = 8
_CLIP = (-256, 254)  # netx's, where weights have both signs


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """Weights as they act: the summed weights are shifted by `exponent`, to the right and down where it is negative.

    Attributes:
        weight: (out features, in features).
        exponent: -8 to 7.
    """

    weight: IntArray
    exponent: int

    def changed(self, given: IntArray) -> int:
        """How many weights do not act as the file has them."""
        acting = np.ldexp(self.weight.astype(np.float64), self.exponent)
        return int(np.count_nonzero(acting != given))


def load_dense(parts: tuple[IntArray, ...], shifted_back: bool = True) -> tuple[LoadedWeights, ...]:
    """The weights of a dense layer, or those of a recurrent one and its feedback, which netx scales together.

    Args:
        parts: integers, each (out features, in features).
        shifted_back: False where netx forgets to shift the sum back (a recurrent layer with delays).

    Raises:
        UsageError: where netx fails, or shifts by a negative number of bits.
    """
    together, bits, shift = _optimized(np.hstack(parts))
    places = np.cumsum([part.shape[1] for part in parts])[:-1]
    return tuple(
        _reduced(_in_synapses(part, bits), -shift if shifted_back else 0) for part in np.split(together, places, axis=1)
    )


def _optimized(weight: IntArray) -> tuple[IntArray, int, int]:
    """(weights shifted to the left, number of weight bits, the shift), by netx."""
    low, high = int(weight.min()), int(weight.max())
    if high > _CLIP[1] and low < 0:
        weight = np.clip(weight, *_CLIP)
        high = int(weight.max())
    if low < _CLIP[0] and high > 0:
        weight = np.clip(weight, *_CLIP)
        low = int(weight.min())
    if low == high == 0:
        raise UsageError("all weights are 0, with which netx fails (OverflowError); leave the layer out")
    mixed = not (high < 0 or low >= 0)
    to_low = (-128 if mixed else -256) / low if low < 0 else np.inf
    to_high = (127 if mixed else 255) / high if high > 0 else np.inf
    scale = min(to_low, to_high)
    shift = int(np.floor(np.log2(scale))) + mixed
    if shift < 0:
        raise UsageError(f"weights {low} to {high}: netx shifts them by {shift} bits, which leaves nothing of them")
    trailing = _trailing_zeros(weight)
    return weight << shift, _BITS - shift - (trailing - mixed), shift


def _in_synapses(weight: IntArray, bits: int) -> IntArray:
    """Clipped and cut by Lava's Dense."""
    sign = -1 if weight.max() <= 0 and weight.min() < 0 else 1
    mixed = bool(weight.min() < 0 < weight.max())
    cut = _BITS - bits + mixed
    if cut < 0:
        raise UsageError(
            f"weights {weight.min()} to {weight.max()}: Lava cuts {cut} bits of them, which leaves nothing of them"
        )
    clipped = np.clip(sign * weight, -(2**_BITS) if mixed else 0, 2**_BITS - 1)
    return np.asarray(sign * ((clipped >> cut) << cut))


def _reduced(weight: IntArray, exponent: int) -> LoadedWeights:
    """The same with the smallest weights that an exponent near 0 allows: a weight of 8 bits, where it is one."""
    while exponent < 0 and not (weight & 1).any():
        weight, exponent = weight >> 1, exponent + 1
    while exponent < WEIGHT_EXPONENTS[1] and not (weight & 1).any() and not _fits(weight):
        weight, exponent = weight >> 1, exponent + 1
    return LoadedWeights(frozen_ints(weight), exponent)


def _fits(weight: IntArray) -> bool:
    half = 2 ** (_BITS - 1)
    return bool(weight.min() >= -half and weight.max() < half)


def _trailing_zeros(weight: IntArray) -> int:
    """How many low bits are 0 in every weight, at most 8."""
    return next(bits for bits in range(_BITS, -1, -1) if not (weight % 2**bits).any())
