"""The random numbers of `hw_models.random` in torch, on any device: the same bits as NumPy's Philox4x64-10.

Torch has no unsigned 64-bit arithmetic; int64 wraps alike, and a high product is put together from 32-bit halves. The
streams of many chips are drawn together: on a GPU every operation costs a launch, however many numbers it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

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
    keys = torch.from_numpy(np.stack([stream_key(*name) for name in names]).view(np.int64)).to(device)
    key0, key1 = keys[:, :1], keys[:, 1:]
    # NumPy counts up before it draws. Counters past 2^63 are not reached.
    counter = torch.arange(first + 1, first + 1 + count, dtype=torch.int64, device=device)
    zeros = torch.zeros((), dtype=torch.int64, device=device)
    words = [counter, zeros, zeros, zeros]
    for _ in range(_ROUNDS):
        high0, low0 = _product(words[0], _MULTIPLIERS[0])
        high1, low1 = _product(words[2], _MULTIPLIERS[1])
        words = [high1 ^ words[1] ^ key0, low1, high0 ^ words[3] ^ key1, low0]
        key0, key1 = key0 + _signed(_WEYL[0]), key1 + _signed(_WEYL[1])
    return torch.stack(words, dim=-1)


def _product(values: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(high, low) words of values * factor, both as unsigned 64-bit numbers."""
    low, high = values & _LOW, (values >> 32) & _LOW
    factor_low, factor_high = factor & _LOW, factor >> 32
    lows, cross, crossed = low * factor_low, high * factor_low, low * factor_high
    middle = ((lows >> 32) & _LOW) + (cross & _LOW) + (crossed & _LOW)
    carried = ((crossed >> 32) & _LOW) + ((cross >> 32) & _LOW) + (middle >> 32)
    return high * factor_high + carried, values * _signed(factor)


def _signed(word: int) -> int:
    """The int64 with the bits of a uint64."""
    return word - 2**64 if word >= 2**63 else word


@cache
def _table(device: str) -> torch.Tensor:
    return torch.from_numpy(normal_table().copy()).to(device)
