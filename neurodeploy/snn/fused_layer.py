"""A fused layer of neurons as one node of the autograd graph: on CPUs by numba, on NVIDIA GPUs by Triton.

Only the current is kept for the backward pass; potentials are computed again there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d

from neurodeploy.snn import fused
from neurodeploy.snn.fused_slopes import exponentials
from neurodeploy.snn.threads import share

_on_cpu: Any = fused  # what numba compiles has no types that mypy could read
_SHARED = 2**17  # neurons x steps from which threads pay; found by timing


class Settings(NamedTuple):
    """What `snn.integrate.Dynamics` says; `shape` and `rule` count within `surrogate.SHAPES` and `RULES`."""

    steps: int
    shape: int
    rule: int
    subtract: bool
    detach: bool


def available(current: torch.Tensor) -> bool:
    """Whether there is a kernel for this tensor."""
    if current.numel() == 0:
        return False
    if current.device.type == "cpu":
        return current.dtype in (torch.float32, torch.float64)
    return current.device.type == "cuda" and current.dtype != torch.float64 and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _gpu() -> Any:
    from neurodeploy.snn import fused_gpu  # imports Triton

    return fused_gpu


def fire(
    current: torch.Tensor,
    threshold: torch.Tensor,
    decay: torch.Tensor,
    gamma: torch.Tensor,
    settings: Settings,
    pool: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs a layer.

    Args:
        current: (1 or T, B, …), single or double precision; on a GPU also half.
        threshold, decay: one number, or a shape that broadcasts to (B, …); of the current's type, on a GPU single.
        gamma: one number.
        pool: average over windows of this size.

    Returns:
        Spikes, (T, B, …) or pooled, of the current's type; (T, 3), the means of u, of u^2 and of o.
    """
    threshold, decay = _per_neuron(current, threshold, decay)
    on_gpu = current.device.type == "cuda"
    arguments = (current, threshold, decay, gamma, *settings, 1 if on_gpu else pool)
    # An operator of PyTorch's own registry costs a small layer more than its neurons do, but torch.compile needs one.
    run = _fire if torch.compiler.is_compiling() else _Fire.apply
    spikes, means = run(*arguments)
    if on_gpu and pool > 1:
        spikes = avg_pool2d(spikes.flatten(0, 1), pool).unflatten(0, spikes.shape[:2])
    return spikes, means


def _per_neuron(
    current: torch.Tensor, threshold: torch.Tensor, decay: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Threshold and decay as (1,), or both as (neurons of one sample or of all,) in the current's memory order."""
    if threshold.numel() == decay.numel() == 1:
        return threshold.reshape(1), decay.reshape(1)
    shape = torch.broadcast_shapes(threshold.shape, decay.shape, current.shape[2:])
    if len(shape) < current.ndim - 1:
        shape = torch.Size([1, *shape])
    order = (0, 2, 3, 1) if _channels_last(current) else tuple(range(len(shape)))
    threshold, decay = (part.expand(shape).permute(order).reshape(-1) for part in (threshold, decay))
    return threshold, decay


def _state(current: torch.Tensor) -> torch.Tensor:
    """Nothing, of the type that potentials have: single precision for half."""
    return current.new_empty(0, dtype=torch.promote_types(current.dtype, torch.float32))


def _channels_last(tensor: torch.Tensor) -> bool:
    """Whether (T, B, C, H, W) lies in memory as (T, B, H, W, C), which convolutions are fastest with."""
    if tensor.ndim != 5 or tensor.is_contiguous():
        return False
    return tensor.permute(0, 1, 3, 4, 2).is_contiguous()


def _flat(tensor: torch.Tensor, last: bool, neurons: int) -> torch.Tensor:
    """(T, B, …) as (T, samples, neurons) in memory order; `neurons` of 1 stands for all neurons of all samples."""
    ordered = tensor.permute(0, 1, 3, 4, 2) if last else tensor
    return ordered.contiguous().view(len(tensor), *((1, -1) if neurons == 1 else (-1, neurons)))


def _empty(current: torch.Tensor, steps: int, last: bool, pool: int = 1) -> torch.Tensor:
    """(T, B, …) in the current's memory order, pooled."""
    shape = list(current.shape[1:])
    if pool > 1:
        shape[-2:] = [size // pool for size in shape[-2:]]
    if not last:
        return current.new_empty((steps, *shape))
    batch, channels, height, width = shape
    return current.new_empty((steps, batch, height, width, channels)).permute(0, 1, 4, 2, 3)


def _forward(
    current: torch.Tensor,
    threshold: torch.Tensor,
    decay: torch.Tensor,
    gamma: torch.Tensor,
    steps: int,
    shape: int,
    rule: int,
    subtract: bool,
    detach: bool,
    pool: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    last, each = _channels_last(current), len(threshold)
    spikes = _empty(current, steps, last, pool)
    flat = _flat(current, last, each)
    if current.device.type == "cuda":
        return spikes, _gpu().forward(flat, threshold, decay, steps, subtract, _flat(spikes, last, each))
    row, inner, block = _geometry(current, last, pool, steps)
    sums = np.zeros((-(-flat.shape[2] // block), steps, 3))
    arrays = _arrays(flat, *_by_neuron(decay, threshold))
    outputs = (*_arrays(_flat(spikes, last, each // pool**2 if each > 1 else 1)), sums)
    _share(
        lambda start, stop: _on_cpu.forward(
            arrays[0], steps, *arrays[1:], subtract, row, inner, pool, block, *outputs, start, stop
        ),
        len(sums),
        flat.shape[2] * flat.shape[1] * steps,
    )
    return spikes, torch.from_numpy(sums.sum(axis=0) / (flat.shape[1] * flat.shape[2])).to(current.dtype)


def _backward(
    current: torch.Tensor,
    threshold: torch.Tensor,
    decay: torch.Tensor,
    gamma: torch.Tensor,
    steps: int,
    shape: int,
    rule: int,
    subtract: bool,
    detach: bool,
    pool: int,
    to_spikes: torch.Tensor,
    to_means: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    last, each = _channels_last(current), len(threshold)
    flat = _flat(current, last, each)
    given = _flat(to_spikes, last, each // pool**2 if each > 1 else 1)
    to_current = _empty(current, len(current), last)
    written = _flat(to_current, last, each)
    neurons = flat.shape[1] * flat.shape[2]
    factors = torch.stack([to_means[:, 0], 2 * to_means[:, 1]], dim=1) / neurons  # of 1 and of u in dL/du
    if current.device.type == "cuda":
        parts = _gpu().backward(
            flat, threshold, decay, gamma, steps, subtract, detach, shape, rule, given, factors, written
        )
        return (to_current, *parts)
    row, inner, block = _geometry(current, last, pool, steps)
    blocks = -(-flat.shape[2] // block)
    arrays = _arrays(flat, *_by_neuron(decay, threshold), gamma.reshape(1))
    to_gamma, to_parts = np.zeros(blocks), np.zeros((2, each if each > 1 else blocks))
    inputs = (*_arrays(given, factors), *_arrays(written), to_gamma, to_parts)
    table = exponentials(arrays[0].dtype)
    integers = np.int32 if arrays[0].dtype == np.float32 else np.int64
    settings = (subtract, detach, shape, rule, row, inner, pool, block, table)
    _share(
        lambda start, stop: _on_cpu.backward(
            arrays[0], steps, *arrays[1:], *settings, np.empty(block, integers), *inputs, start, stop
        ),
        blocks,
        neurons * steps,
    )
    if each == 1:
        to_parts = to_parts.sum(axis=1, keepdims=True)
    by_part = torch.from_numpy(to_parts).to(current.dtype)
    return to_current, by_part[0].clone(), by_part[1].clone(), current.new_full(gamma.shape, to_gamma.sum())


def _geometry(current: torch.Tensor, last: bool, pool: int, steps: int) -> tuple[int, int, int]:
    """(values per row, of which side by side, neurons per block)."""
    inner = int(current.shape[2]) if last else 1
    row = int(current.shape[-1]) * inner if pool > 1 else 1
    return row, inner, fused.block_size(row, pool, steps)


def _by_neuron(*parts: torch.Tensor) -> list[torch.Tensor]:
    """(1,) for all neurons together, (1, neurons) for one value each: the kernel is compiled for either."""
    return [part if len(part) == 1 else part[None] for part in parts]


def _arrays(*tensors: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


def _share(work: Callable[[int, int], None], blocks: int, size: int) -> None:
    """Does all blocks, in as many threads as PyTorch uses."""
    share(work, blocks, min(torch.get_num_threads(), blocks, size // _SHARED))


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(*arguments[:4])
        ctx.settings = arguments[4:]
        return _forward(*arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_spikes: torch.Tensor, to_means: torch.Tensor) -> tuple[Any, ...]:
        return _differentiated(_backward, ctx, to_spikes, to_means)


def _differentiated(run: Any, ctx: Any, to_spikes: torch.Tensor, to_means: torch.Tensor) -> tuple[Any, ...]:
    return (*run(*ctx.saved_tensors, *ctx.settings, to_spikes, to_means), *[None] * 6)


_NUMBERS = "int steps, int shape, int rule, bool subtract, bool detach, int pool"
_TENSORS = "Tensor current, Tensor threshold, Tensor decay, Tensor gamma"
_fire: Any = _Fire.apply
if hasattr(torch.library, "custom_op"):  # PyTorch 2.4; before that, torch.compile breaks its graph here
    _fire = torch.library.custom_op(
        "neurodeploy::fire", _forward, mutates_args=(), schema=f"({_TENSORS}, {_NUMBERS}) -> (Tensor, Tensor)"
    )
    _fire_back: Any = torch.library.custom_op(
        "neurodeploy::fire_back",
        _backward,
        mutates_args=(),
        schema=f"({_TENSORS}, {_NUMBERS}, Tensor to_spikes, Tensor to_means) -> (Tensor, Tensor, Tensor, Tensor)",
    )

    def _fake(current: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        steps, pool = rest[3], rest[8]
        return _empty(current, steps, _channels_last(current), pool), _state(current).new_empty((steps, 3))

    def _fake_back(current: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
        made = _empty(current, len(current), _channels_last(current))
        return made, *(torch.empty_like(part) for part in rest[:3])

    def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.settings = inputs[4:]

    _fire.register_fake(_fake)
    _fire_back.register_fake(_fake_back)
    _fire.register_autograd(partial(_differentiated, _fire_back), setup_context=_keep)
