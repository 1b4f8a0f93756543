"""The random numbers of `hw_models.random` in torch, on any device: the same bits as NumPy's Philox4x64-10.

Torch has no unsigned 64-bit arithmetic; int64 wraps alike, and a high product is put together from 32-bit halves. The
streams of many chips are drawn together: on a GPU every operation costs a launch, however many numbers it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.hw_models.random import INTEGERS_PER_BLOCK, NORMALS_PER_BLOCK, normal_table, stream_key

Name = Sequence[int | str]

_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF


def step_normals(
    first: int, count: int, size: int, *name: int | str, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """`hw_models.random.step_normals`, float32 (count, size)."""
    words = _blocks(*_addresses(first, count, size, NORMALS_PER_BLOCK), *name, device=device)
    return _as_normals(words[None], count, size)[0]


def step_integers(
    first: int, count: int, size: int, *name: int | str, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """`hw_models.random.step_integers`, as int64 (count, size)."""
    words = _blocks(*_addresses(first, count, size, INTEGERS_PER_BLOCK), *name, device=device)
    return _as_integers(words[None], count, size)[0]


def stacked_normals(
    first: int, count: int, size: int, names: Sequence[Name], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """`step_normals` of several streams at once, float32 (streams, count, size)."""
    words = _stacked_blocks(*_addresses(first, count, size, NORMALS_PER_BLOCK), names, device)
    return _as_normals(words, count, size)


def stacked_integers(
    first: int, count: int, size: int, names: Sequence[Name], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """`step_integers` of several streams at once, int64 (streams, count, size)."""
    words = _stacked_blocks(*_addresses(first, count, size, INTEGERS_PER_BLOCK), names, device)
    return _as_integers(words, count, size)


def _addresses(first: int, count: int, size: int, per_block: int) -> tuple[int, int]:
    """(first block, number of blocks) of some samples, each of which has blocks of its own."""
    blocks = -(-size // per_block)
    return first * blocks, count * blocks


def _as_normals(words: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """(streams, blocks, 4) -> (streams, count, size)."""
    shifts = torch.arange(0, 64, 16, device=words.device)
    indices = (words[..., None] >> shifts) & 0xFFFF
    return _table(str(words.device))[indices.reshape(len(words), count, -1)[..., :size]]


def _as_integers(words: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """(streams, blocks, 4) -> (streams, count, size)."""
    shifts = torch.arange(0, 64, 32, device=words.device)
    return ((words[..., None] >> shifts) & _LOW).reshape(len(words), count, -1)[..., :size]


def _blocks(first: int, count: int, *name: int | str, device: torch.device | str) -> torch.Tensor:
    """(count, 4) words, int64 with the bits of uint64, from the block `first` of a stream on."""
    return _stacked_blocks(first, count, [name], device)[0]


def _stacked_blocks(first: int, count: int, names: Sequence[Name], device: torch.device | str) -> torch.Tensor:
    """(streams, count, 4) words, int64 with the bits of uint64, from the block `first` of every stream on."""
    keys = np.stack([stream_key(*name) for name in names], axis=1).view(np.int64)
    key, weyl = _pair(keys, device), _pair([_signed(word) for word in _WEYL], device)
    factors = _pair([_signed(word) for word in _MULTIPLIERS], device)
    # Words 0 and 2, which are multiplied, and words 1 and 3; each pair is one tensor, for half as many operations.
    even = torch.zeros((2, len(names), count), dtype=torch.int64, device=device)
    odd = torch.zeros_like(even)
    # NumPy counts up before it draws. Counters past 2^63 are not reached.
    even[0] = torch.arange(first + 1, first + 1 + count, dtype=torch.int64, device=device)
    for _ in range(_ROUNDS):
        high, low = _product(even, factors)
        even, odd = high.flip(0) ^ odd ^ key, low.flip(0)
        key = key + weyl
    return torch.stack((even[0], odd[0], even[1], odd[1]), dim=-1)


def _pair(values: Sequence[int] | NDArray[np.int64], device: torch.device | str) -> torch.Tensor:
    """(2,) or (2, streams) -> (2, 1 or streams, 1)"""
    return torch.from_numpy(np.array(values, dtype=np.int64).reshape(2, -1, 1)).to(device)


def _product(values: torch.Tensor, factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(high, low) words of values * factors, all as unsigned 64-bit numbers (Warren, Hacker's Delight, section 8-2)."""
    low, high = values & _LOW, (values >> 32) & _LOW
    factors_low, factors_high = factors & _LOW, (factors >> 32) & _LOW
    first = high * factors_low + (((low * factors_low) >> 32) & _LOW)
    second = low * factors_high + (first & _LOW)
    return high * factors_high + ((first >> 32) & _LOW) + ((second >> 32) & _LOW), values * factors


def _signed(word: int) -> int:
    """The int64 with the bits of a uint64."""
    return word - 2**64 if word >= 2**63 else word


@cache
def _table(device: str) -> torch.Tensor:
    return torch.from_numpy(normal_table().copy()).to(device)
