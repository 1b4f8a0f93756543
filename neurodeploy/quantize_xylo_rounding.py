"""Rounding of weights so that their errors cancel in what reaches a neuron's potential, on calibration data.

Rounding each weight to the nearest leaves an error Σ_k e_k x_k in a potential, x_k being what source k brings to it,
behind the decays of current and potential. Sources fire together, and in recurrent layers the error comes round again,
so that it matters more than the size of a weight's own error says. Here weights are rounded one after the other, and
what was lost so far is made up for by those that are still to be rounded (optimal brain surgeon; Frantar et al., GPTQ,
arXiv:2210.17323, eq. 2 and 3): with G = mean of x x', damped, and U' U = G^-1, U upper triangular,

    q_k = round(w_k),   w_j -= U_kj (w_k - q_k) / U_kk   for j > k
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.populations import Population
from neurodeploy.ir.xylo import WEIGHT_MAX
from neurodeploy.ir.xylo_layout import Layout

_DAMPING = 0.01  # of the mean of G's diagonal, as in GPTQ
_LARGEST = 256  # sources of a layer; the work grows with their square


@dataclass(frozen=True, eq=False)
class Gram:
    """How what reaches the neurons of a layer hangs together.

    Attributes:
        rows: numbers of the sources that have a connection to the layer, the busiest first: others make up for them.
        upper: (rows, rows), U of the module's docstring.
    """

    rows: IntArray
    upper: FloatArray


def grams(layout: Layout, inputs: NDArray[Any], spikes: Mapping[str, NDArray[Any]]) -> dict[str, Gram]:
    """Population -> its Gram; those are left out that nothing reaches or too many sources, and direct ones.

    Sources are the inputs and then the hidden neurons, those of the output the hidden neurons alone.

    Args:
        inputs: (B, channels) or (T, B, channels).
        spikes: population -> (T, B, n), of the float network.
    """
    network = layout.network
    if layout.weights_in.shape[2] > 1 or layout.direct:  # two currents of one source have decays of their own
        return {}
    shown = inputs if inputs.ndim == 3 else np.broadcast_to(inputs, (network.steps, *inputs.shape))
    hidden = np.concatenate([spikes[block.name] for block in layout.blocks], axis=2)
    before = np.concatenate([np.zeros_like(hidden[:1]), hidden[:-1]])
    into = np.concatenate([layout.weights_in, layout.weights_rec])[..., 0]
    found: dict[str, Gram] = {}
    for block in layout.blocks:
        rows = np.flatnonzero(into[:, block.start : block.stop].any(axis=1))
        late = np.where(
            np.arange(hidden.shape[2]) >= block.start, before, hidden
        )  # spikes of its own come a step later
        _add(found, network.population(block.name), rows, np.concatenate([shown, late], axis=2))
    _add(found, network.output, np.flatnonzero(layout.weights_out.any(axis=1)), hidden)
    return found


def compensated(meant: FloatArray, units: FloatArray, gram: Gram) -> IntArray:
    """The weights (sources, neurons) as integers of at most 127; those that are not there stay 0.

    Args:
        meant: in units of the chip.
        units: (sources,), what one unit of each brings.
    """
    left = meant[gram.rows] * units[gram.rows, None]
    there = left != 0
    rounded = np.zeros(meant.shape, dtype=np.int64)
    for index, row in enumerate(gram.rows):
        rounded[row] = np.clip(np.rint(left[index] / units[row]), -WEIGHT_MAX, WEIGHT_MAX)
        lost = (left[index] - rounded[row] * units[row]) / gram.upper[index, index]
        left[index:] -= np.outer(gram.upper[index, index:], lost) * there[index:]
    return rounded


def _add(found: dict[str, Gram], population: Population, rows: IntArray, sources: NDArray[Any]) -> None:
    """The Gram of a population, of sources (T, B, n) behind the decays of its current and its potential."""
    if not 0 < len(rows) <= _LARGEST:
        return
    current, decay = float(population.current_decay.mean()), float(population.decay.mean())
    arriving, potential = np.zeros((2, sources.shape[1], len(rows)))
    total = np.zeros((len(rows), len(rows)))
    for step in sources[..., rows].astype(np.float64):
        arriving = current * arriving + step
        potential = decay * potential + arriving
        total += potential.T @ potential
    if not total.any():
        return
    total /= len(sources) * sources.shape[1]
    total[np.diag_indices_from(total)] += _DAMPING * np.mean(np.diag(total))
    busiest = np.argsort(-np.diag(total), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(total[np.ix_(busiest, busiest)])).T
    found[population.name] = Gram(rows[busiest], upper)
