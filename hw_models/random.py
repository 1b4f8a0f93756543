"""Counter-based random numbers: what is drawn depends on its name alone, never on the order of drawing.

Every draw is keyed by (seed, chip, layer, parameter, step) and addressed by sample and neuron, so that chip 17 is chip
17 in any batch, chunk, worker or simulator. The generator is Philox4x64-10 (Salmon et al., SC 2011), NumPy's;
`neurodeploy.simulate.philox` draws the same numbers in torch, on any device.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from neurodeploy.ir.arrays import FloatArray, Shape

WORDS_PER_BLOCK = 4  # one Philox counter value gives four 64-bit words
NORMALS_PER_BLOCK = 16  # each of them four 16-bit indices into the table
INTEGERS_PER_BLOCK = 8  # or two 32-bit integers


def stream_key(*name: int | str) -> NDArray[np.uint64]:
    """The generator's key of that name: two 64-bit words."""
    digest = hashlib.blake2b("\x1f".join(map(str, name)).encode(), digest_size=16).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def stream(*name: int | str) -> np.random.Philox:
    """The generator of that name, at counter 0."""
    return np.random.Philox(key=stream_key(*name))


def frozen_uniforms(shape: Shape, *name: int | str) -> FloatArray:
    """Uniform numbers of that name in (0, 1): 53 bits, never 0 or 1."""
    words = stream(*name).random_raw(int(np.prod(shape)))
    return np.asarray(((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53).reshape(shape)


def frozen_normals(shape: Shape, *name: int | str) -> FloatArray:
    """Standard normal numbers of that name: the inverse normal distribution of 53-bit uniforms."""
    return np.asarray(ndtri(frozen_uniforms(shape, *name)), dtype=np.float64)


def step_normals(first: int, count: int, size: int, *name: int | str) -> NDArray[np.float32]:
    """Standard normal numbers (count, size) for samples first … first + count - 1 of the stream of that name.

    Fast rather than fine: 65,536 equally likely values within ±4.2, variance 1 (`normal_table`).
    """
    blocks = -(-size // NORMALS_PER_BLOCK)
    words = _sample_words(first, count, blocks, *name)
    indices = words.view("<u2").reshape(count, blocks * NORMALS_PER_BLOCK)
    return np.asarray(normal_table()[indices[:, :size]])


def step_integers(first: int, count: int, size: int, *name: int | str) -> NDArray[np.uint32]:
    """Uniform 32-bit integers (count, size) for samples first … first + count - 1 of the stream of that name."""
    blocks = -(-size // INTEGERS_PER_BLOCK)
    words = _sample_words(first, count, blocks, *name)
    return words.view("<u4").reshape(count, blocks * INTEGERS_PER_BLOCK)[:, :size]


def _sample_words(first: int, count: int, blocks: int, *name: int | str) -> NDArray[np.uint64]:
    """The words of some samples, each of which has `blocks` counter values of its own."""
    generator = stream(*name)
    generator.advance(first * blocks)
    return np.asarray(generator.random_raw(count * blocks * WORDS_PER_BLOCK).astype("<u8", copy=False))


@cache
def normal_table() -> NDArray[np.float32]:
    """The quantiles of the standard normal distribution at (i + 1/2) / 65,536, scaled to variance 1."""
    quantiles = ndtri((np.arange(65536) + 0.5) / 65536)
    table = np.asarray(quantiles / quantiles.std(), dtype=np.float32)
    table.setflags(write=False)
    return table
