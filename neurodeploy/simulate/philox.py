"""The random numbers of `hw_models.random` in torch, on any device: the same bits as NumPy's Philox4x64-10.

Torch has no unsigned 64-bit arithmetic; int64 wraps alike, and a high product is put together from 32-bit halves.
"""

from __future__ import annotations

from functools import cache

import torch

from neurodeploy.hw_models.random import INTEGERS_PER_BLOCK, NORMALS_PER_BLOCK, normal_table, stream_key

_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = 0xFFFFFFFF


def step_normals(
    first: int, count: int, size: int, *name: int | str, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """`hw_models.random.step_normals`, float32 (count, size)."""
    blocks = -(-size // NORMALS_PER_BLOCK)
    words = _blocks(first * blocks, count * blocks, *name, device=device)
    shifts = torch.arange(0, 64, 16, device=device)
    indices = (words[..., None] >> shifts) & 0xFFFF
    return _table(str(device))[indices.reshape(count, blocks * NORMALS_PER_BLOCK)[:, :size]]


def step_integers(
    first: int, count: int, size: int, *name: int | str, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """`hw_models.random.step_integers`, as int64 (count, size)."""
    blocks = -(-size // INTEGERS_PER_BLOCK)
    words = _blocks(first * blocks, count * blocks, *name, device=device)
    shifts = torch.arange(0, 64, 32, device=device)
    return ((words[..., None] >> shifts) & _LOW).reshape(count, blocks * INTEGERS_PER_BLOCK)[:, :size]


def _blocks(first: int, count: int, *name: int | str, device: torch.device | str) -> torch.Tensor:
    """(count, 4) words, int64 with the bits of uint64, from the block `first` of a stream on."""
    keys = [int(word) for word in stream_key(*name)]
    zeros = torch.zeros(count, dtype=torch.int64, device=device)
    # NumPy counts up before it draws. Counters past 2^63 are not reached.
    words = [torch.arange(first + 1, first + 1 + count, dtype=torch.int64, device=device), zeros, zeros, zeros]
    for _ in range(_ROUNDS):
        high0, low0 = _product(words[0], _MULTIPLIERS[0])
        high1, low1 = _product(words[2], _MULTIPLIERS[1])
        words = [high1 ^ words[1] ^ _signed(keys[0]), low1, high0 ^ words[3] ^ _signed(keys[1]), low0]
        keys = [(key + weyl) & (2**64 - 1) for key, weyl in zip(keys, _WEYL, strict=True)]
    return torch.stack(words, dim=1)


def _product(values: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(high, low) words of values * factor, both as unsigned 64-bit numbers."""
    low, high = values & _LOW, (values >> 32) & _LOW
    factor_low, factor_high = factor & _LOW, factor >> 32
    lows, cross = low * factor_low, high * factor_low
    middle = ((lows >> 32) & _LOW) + (cross & _LOW) + ((low * factor_high) & _LOW)
    carried = ((low * factor_high) >> 32 & _LOW) + ((cross >> 32) & _LOW) + (middle >> 32)
    return high * factor_high + carried, values * _signed(factor)


def _signed(word: int) -> int:
    """The int64 with the bits of a uint64."""
    return word - 2**64 if word >= 2**63 else word


@cache
def _table(device: str) -> torch.Tensor:
    return torch.from_numpy(normal_table().copy()).to(device)
