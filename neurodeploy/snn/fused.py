"""The neuron loop of one layer in one pass over memory, for CPUs: compiled by numba, gradients derived by hand.

A layer is memory-bound: written in PyTorch, each step reads and writes every neuron several times. Here a block of
neurons that fits the first-level cache runs through all steps; potentials are never stored but computed again in the
backward pass, spikes leave already pooled where an average pooling follows, and the moments of the potentials, of
which potential adjustment is made, are summed on the way. Sums are taken block by block in a fixed order, whatever the
number of threads.

Arrays are (steps, samples, neurons), or (steps, 1, samples x neurons) where all neurons have one threshold and decay.
"""

# Numba compiles these functions from their argument types; annotations would not be read.
# mypy: ignore-errors

from __future__ import annotations

import hashlib
from pathlib import Path

import numba
import numpy as np

from neurodeploy.snn import fused_pool, fused_slopes, fused_steps
from neurodeploy.snn.fused_pool import pooled, spread_back
from neurodeploy.snn.fused_slopes import ARCTANGENT, FROZEN, LITERAL, slopes
from neurodeploy.snn.fused_steps import advance, at, back, fire, part_of

_LARGEST_BLOCK = 2048  # neurons; found by timing
_CACHE = 2**18  # bytes: what a block keeps at hand stays within a second-level cache, however many steps there are


def block_size(row: int, pool: int, steps: int) -> int:
    """Neurons per block: whole groups of `pool` rows of `row` values each."""
    group = row * pool
    neurons = min(_LARGEST_BLOCK, _CACHE // (8 * (steps + 6)))
    return max(1, neurons // group) * group


def _fingerprint():
    """Of all files that the kernels are made of."""
    files = (fused_pool, fused_slopes, fused_steps)
    return hashlib.sha256(b"".join(Path(file.__file__).read_bytes() for file in files)).hexdigest()


def _kernels(fingerprint):
    """(forward, backward), compiled once and kept on disk.

    To decide whether what it has on disk is current, numba looks at a function's own file and at its closure; in the
    closure is what tells it of the other files.
    """

    @numba.njit(cache=True, error_model="numpy", nogil=True)
    def forward(current, steps, decay, threshold, subtract, row, inner, pool, block, spikes, sums, start, stop):
        """Spikes of all steps, and per block and step the sums of u, of u^2 and of o.

        Args:
            current: (1 or T, samples, neurons).
            decay, threshold: (1,), or (1, neurons) for one value each; of the current's type.
            row, inner, pool: geometry of the pooling, see `fused_pool.pooled`; pool 1 for none.
            spikes: (T, samples, neurons / pool^2), written.
            sums: (blocks, T, 3) of doubles, zeros, written.
            start, stop: the blocks that are done.
        """
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        static, samples, neurons = current.shape[0] == 1, current.shape[1], current.shape[2]
        area = pool * pool
        fired = np.empty(block, current.dtype)
        scratch = np.empty(block, current.dtype)
        before = np.empty(block, current.dtype)
        potential = np.empty(block, current.dtype)
        for b in range(start, stop):
            low = b * block
            n = min(block, neurons - low)
            limit, keep = part_of(threshold, low, n), part_of(decay, low, n)
            for s in range(samples):
                for t in range(steps):
                    arriving = current[0 if static else t, s, low : low + n]
                    if t == 0:
                        potential[:n] = arriving
                    else:
                        advance(before, arriving, keep, limit, subtract, n, potential)
                    if pool == 1:
                        fire(potential, limit, n, spikes[t, s, low : low + n], sums[b, t])
                    else:
                        fire(potential, limit, n, fired, sums[b, t])
                        pooled(fired, n, row, inner, pool, scratch, spikes[t, s, low // area : (low + n) // area])
                    before, potential = potential, before

    @numba.njit(cache=True, error_model="numpy", nogil=True)
    def backward(
        current,
        steps,
        decay,
        threshold,
        gamma,
        subtract,
        detach,
        shape,
        rule,
        row,
        inner,
        pool,
        block,
        table,
        bits,
        to_spikes,
        to_moments,
        to_current,
        to_gamma,
        to_parts,
        start,
        stop,
    ):
        """Gradients with respect to the current, gamma, the threshold and the decay.

        Args:
            table: see `fused_slopes.exponentials`.
            bits: (block,) of integers as wide as the current's type, overwritten.
            to_spikes: (T, samples, neurons / pool^2), dL/d(pooled spikes).
            to_moments: (T, 2), dL/du[t] is to_moments[t, 0] + to_moments[t, 1] u[t] in addition.
            to_current: (1 or T, samples, neurons), written.
            to_gamma: (blocks,) of doubles, zeros, written.
            to_parts: dL/dVth and dL/ddecay, doubles, zeros, written: (2, neurons), or, of all together, (2, blocks).
        """
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        static, samples, neurons = current.shape[0] == 1, current.shape[1], current.shape[2]
        area = pool * pool
        potentials = np.empty((steps, block), current.dtype)
        nothing, gamma_slope = np.zeros(block, current.dtype), np.zeros(block, current.dtype)
        spread, distance = np.empty(block, current.dtype), np.empty(block, current.dtype)
        slope = np.empty(block, current.dtype)
        scratch = np.empty((3, block), current.dtype)
        fast = threshold.ndim == 1 and shape == ARCTANGENT and rule in (LITERAL, FROZEN) and gamma[0] > 0
        paper = gamma[0] if fast else gamma.dtype.type(0)
        taken = np.empty((2, block), current.dtype)
        for b in range(start, stop):
            low = b * block
            n = min(block, neurons - low)
            limit, keep = part_of(threshold, low, n), part_of(decay, low, n)
            parts = np.zeros((2, n), current.dtype)
            for s in range(samples):
                potentials[0, :n] = current[0, s, low : low + n]
                for t in range(1, steps):
                    arriving = current[0 if static else t, s, low : low + n]
                    advance(potentials[t - 1], arriving, keep, limit, subtract, n, potentials[t])
                later = nothing
                for t in range(steps - 1, -1, -1):
                    given = to_spikes[t, s, low // area : (low + n) // area]
                    if pool > 1:
                        spread_back(given, n, row, inner, pool, scratch[0], spread)
                        given = spread
                    u = potentials[t]
                    if paper == 0:
                        for i in range(n):
                            distance[i] = u[i] - at(limit, i)
                        slopes(shape, rule, distance, gamma, n, table, scratch, bits, slope, gamma_slope)
                    by_gamma = slope if rule == LITERAL else gamma_slope
                    here = taken[t % 2] if static else to_current[t, s, low : low + n]
                    factors = to_moments[t]
                    found = back(
                        paper, u, later, given, slope, by_gamma, keep, limit, factors, subtract, detach, n, here, parts
                    )
                    to_gamma[b] += found if rule != FROZEN else 0
                    if static:
                        target = to_current[0, s, low : low + n]
                        for i in range(n):
                            target[i] = (target[i] if t < steps - 1 else current.dtype.type(0)) + here[i]
                    later = here
            if to_parts.shape[1] == neurons:
                to_parts[:, low : low + n] = parts
            else:
                to_parts[:, b] = parts[:, 0]

    return forward, backward


forward, backward = _kernels(_fingerprint())
