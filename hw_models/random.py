"""Counter-based random numbers: what is drawn depends on its name alone, never on the order of drawing.

Every draw is keyed by (seed, chip, layer, parameter, step) and addressed by sample and neuron, so that chip 17 is chip
17 in any batch, chunk, worker or simulator. The generator is Philox4x64-10 (Salmon et al., SC 2011), NumPy's.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from neurodeploy.ir.arrays import FloatArray, Shape

_WORDS_PER_BLOCK = 4  # one Philox counter value gives four 64-bit words
_NORMALS_PER_BLOCK = 16  # each of them four 16-bit indices into the table


def stream(*name: int | str) -> np.random.Philox:
    """The generator of that name, at counter 0."""
    digest = hashlib.blake2b("\x1f".join(map(str, name)).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64))


def frozen_normals(shape: Shape, *name: int | str) -> FloatArray:
    """Standard normal numbers of that name: the inverse normal distribution of 53-bit uniforms."""
    words = stream(*name).random_raw(int(np.prod(shape)))
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(ndtri(uniform), dtype=np.float64).reshape(shape)


def step_normals(first: int, count: int, size: int, *name: int | str) -> NDArray[np.float32]:
    """Standard normal numbers (count, size) for samples first … first + count - 1 of the stream of that name.

    Fast rather than fine: 65,536 equally likely values within ±4.2, variance 1 (`normal_table`).
    """
    blocks = -(-size // _NORMALS_PER_BLOCK)
    generator = stream(*name)
    generator.advance(first * blocks)
    words = generator.random_raw(count * blocks * _WORDS_PER_BLOCK)
    indices = words.astype("<u8", copy=False).view("<u2").reshape(count, blocks * _NORMALS_PER_BLOCK)
    return np.asarray(normal_table()[indices[:, :size]])


@cache
def normal_table() -> NDArray[np.float32]:
    """The quantiles of the standard normal distribution at (i + 1/2) / 65,536, scaled to variance 1."""
    quantiles = ndtri((np.arange(65536) + 0.5) / 65536)
    table = np.asarray(quantiles / quantiles.std(), dtype=np.float32)
    table.setflags(write=False)
    return table
