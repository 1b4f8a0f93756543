"""Weights of a DYNAP-SE2 core as signs, 4-bit masks and four base currents, fitted to the weights.

A mask b names any of the four base currents, so that a core has the 16 magnitudes b · I. Binary-weighted currents,
I = unit (1, 2, 4, 8), make them the equally spaced 0 … 15 units. Here the currents are fitted too, by turns:

    codes:     |w| takes the nearest of the 16 magnitudes
    currents:  I = argmin Σ importance (|w| - b · I)^2, the least squares of the codes, none below 0

Neither turn makes the error larger, and the turns start at binary-weighted currents of several units, the usual
max |w| / 15 among them, so that the result is never worse than binary-weighted rounding at any of these units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from neurodeploy.ir.arrays import FloatArray, IntArray

BITS = 4
LARGEST = 2**BITS - 1
_BINARY = np.array([1.0, 2.0, 4.0, 8.0])
_MASKS = (np.arange(LARGEST + 1)[:, None] >> np.arange(BITS)) & 1
_UNITS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)  # of max |w| / 15, where the turns start
_TURNS = 60
_ENOUGH = 1e-9  # relative gain of a turn below which the turns end


@dataclass(frozen=True, eq=False)
class Fitted:
    """Weights as a core stores them.

    Attributes:
        codes: -15 to 15, of the weights' shape.
        base: (4,), in the weights' unit, rising.
        error: sqrt(Σ importance (w - stored)^2 / Σ importance w^2).
    """

    codes: IntArray
    base: FloatArray
    error: float


def binary(weights: FloatArray, unit: float, importance: FloatArray | None = None) -> Fitted:
    """Rounding to `unit` (1, 2, 4, 8)."""
    return _stored(weights, unit * _BINARY, _shares(weights, importance))


def fit(weights: FloatArray, importance: FloatArray | None = None) -> Fitted:
    """The best of what the turns lead to.

    Args:
        weights: those of all synapses of a core; zeros are no synapses, and stay 0.
        importance: of each weight's error, not negative, of the weights' shape; None for all alike.
    """
    magnitude = np.abs(weights)
    if not magnitude.any():
        return Fitted(np.zeros(weights.shape, dtype=np.int64), _BINARY / LARGEST, 0.0)
    shares = _shares(weights, importance)
    starts = [magnitude.max() / LARGEST * share for share in _UNITS]
    found = [_by_turns(weights, unit * _BINARY, shares) for unit in starts]
    return min(found, key=lambda one: one.error)


def _by_turns(weights: FloatArray, base: FloatArray, shares: FloatArray) -> Fitted:
    best = _stored(weights, base, shares)
    there = (weights != 0) & (shares > 0)
    wanted, root = np.abs(weights[there]), np.sqrt(shares[there])
    for _ in range(_TURNS):
        masks = _MASKS[np.abs(best.codes[there])].astype(np.float64)
        improved = _stored(weights, np.sort(nnls(masks * root[:, None], wanted * root)[0]), shares)
        if not improved.error < best.error * (1 - _ENOUGH):
            break
        best = improved
    return best


def _stored(weights: FloatArray, base: FloatArray, shares: FloatArray) -> Fitted:
    magnitudes = _MASKS @ base
    order = np.argsort(magnitudes, kind="stable")
    edges = (magnitudes[order][1:] + magnitudes[order][:-1]) / 2
    codes = order[np.searchsorted(edges, np.abs(weights))]
    codes = np.where(weights == 0, 0, codes * np.sign(weights)).astype(np.int64)
    stored = np.sign(codes) * magnitudes[np.abs(codes)]
    size = float((shares * weights**2).sum())
    error = float(np.sqrt((shares * (weights - stored) ** 2).sum() / size)) if size > 0 else 0.0
    return Fitted(codes, np.asarray(base, dtype=np.float64), error)


def _shares(weights: FloatArray, importance: FloatArray | None) -> FloatArray:
    return np.ones(weights.shape) if importance is None else np.asarray(importance, dtype=np.float64)
