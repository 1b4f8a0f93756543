"""The neuron loop of one layer in one pass over memory, for NVIDIA GPUs: `snn.fused` written in Triton.

Each program takes a block of neurons through all steps with its state in registers, in single precision whatever the
type of the current. The backward pass computes the potentials again, into memory that is freed after it. Every sum
that is taken over neurons is taken by block, and over blocks in one order: runs repeat bit by bit. Poolings are left
to PyTorch.
"""

# Triton reads these functions' source; annotations would not be read.
# mypy: ignore-errors
# ruff: noqa: N803, SIM108 — capitals mark what a kernel is compiled for, as is usual in Triton

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl

_BLOCK = 1024
_ROUNDING = {"enable_fp_fusion": False}  # decay u + current is rounded twice, as on a CPU: the same spikes


@triton.jit
def _exp_of_minus(y):
    """exp(-y), finite."""
    return tl.exp(tl.maximum(tl.minimum(-y, 80.0), -80.0))


@triton.jit
def _slope(x, gamma, SHAPE: tl.constexpr, RULE: tl.constexpr):
    """do/du of `snn.surrogate`, shapes and rules in the order in which they are given there."""
    y = gamma * x
    if SHAPE == 0:
        slope = 1.0 / (1.0 + y * y)
        if RULE == 1:
            slope = slope * gamma / 3.141592653589793
    elif SHAPE == 1:
        slope = 1.0 / (1.0 + _exp_of_minus(y))
    elif SHAPE == 2:
        slope = tl.where(tl.abs(y) < 0.5, gamma, 0.0)
    elif SHAPE == 3:
        slope = gamma * tl.maximum(1.0 - tl.abs(y), 0.0)
    elif SHAPE == 4:
        high = 1.0 / (1.0 + _exp_of_minus(y))
        slope = gamma * high * (1.0 - high)
    elif SHAPE == 5:
        base = 1.0 + tl.abs(y)
        slope = 1.0 / (base * base)
    else:  # 1 - tanh(y)^2 = 4 e / (1 + e)^2 with e = exp(-2 |y|), tanh(g / 2) = (1 - e) / (1 + e) with e = exp(-g)
        small = _exp_of_minus(2.0 * tl.abs(y))
        edge = _exp_of_minus(gamma)
        scale = 2.0 * gamma * (1.0 + edge) / (1.0 - edge)
        slope = tl.where(tl.abs(x) <= 0.5, scale * small / ((1.0 + small) * (1.0 + small)), 0.0)
    return slope


@triton.jit
def _gamma_slope(x, gamma, slope, SHAPE: tl.constexpr, RULE: tl.constexpr):
    """do/dgamma where gamma learns and the rule is not the literal one."""
    y = gamma * x
    if SHAPE == 1:
        soft = tl.maximum(y, 0.0) + tl.log(1.0 + _exp_of_minus(tl.abs(y)))
        result = (y * slope - soft) / (gamma * gamma)
    elif RULE == 1:
        result = x * slope / gamma
    else:
        result = 2.0 * y * slope
    return result


@triton.jit
def _next(u, current, keep, limit, SUBTRACT: tl.constexpr):
    """u[t] from u[t-1] before reset."""
    if SUBTRACT:
        u = u * keep - tl.where(u > limit, keep * limit, 0.0)
    else:
        u = tl.where(u > limit, 0.0, u) * keep
    return u + current


@triton.jit
def _parameters(threshold, decay, places, inside, neurons, EACH: tl.constexpr):
    """(Vth, decay): one number, or one per neuron of a sample."""
    if EACH:
        limit = tl.load(threshold + places % neurons, inside, 0.0)
        keep = tl.load(decay + places % neurons, inside, 0.0)
    else:
        limit = tl.load(threshold)
        keep = tl.load(decay)
    return limit, keep


@triton.jit
def _forward_kernel(
    current, threshold, decay, spikes, sums, size, neurons, steps,
    STATIC: tl.constexpr, EACH: tl.constexpr, SUBTRACT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    places = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < size
    limit, keep = _parameters(threshold, decay, places, inside, neurons, EACH)
    u = tl.load(current + places, inside, 0.0).to(tl.float32)
    arriving = u
    here = places  # at step t, in 64 bits: all steps together may have more values than 32 bits count
    for t in range(steps):
        if t > 0:
            if not STATIC:
                arriving = tl.load(current + here, inside, 0.0).to(tl.float32)
            u = _next(u, arriving, keep, limit, SUBTRACT)
        fired = tl.where(u > limit, 1.0, 0.0)
        tl.store(spikes + here, fired.to(spikes.dtype.element_ty), inside)
        counted = tl.where(inside, u, 0.0)
        row = sums + (program * steps + t) * 3
        tl.store(row, tl.sum(counted))
        tl.store(row + 1, tl.sum(counted * counted))
        tl.store(row + 2, tl.sum(tl.where(inside, fired, 0.0)))
        here += size


@triton.jit
def _backward_kernel(
    current, threshold, decay, gamma, potentials, to_spikes, factors, to_current, to_threshold, to_decay, sums,
    size, neurons, steps,
    STATIC: tl.constexpr, EACH: tl.constexpr, SUBTRACT: tl.constexpr, DETACH: tl.constexpr, SHAPE: tl.constexpr,
    RULE: tl.constexpr, LEARNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    places = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < size
    limit, keep = _parameters(threshold, decay, places, inside, neurons, EACH)
    width = tl.load(gamma)
    u = tl.load(current + places, inside, 0.0).to(tl.float32)
    arriving = u
    tl.store(potentials + places, u, inside)
    here = places + size  # as in the forward kernel
    for _ in range(1, steps):
        if not STATIC:
            arriving = tl.load(current + here, inside, 0.0).to(tl.float32)
        u = _next(u, arriving, keep, limit, SUBTRACT)
        tl.store(potentials + here, u, inside)
        here += size
    later = tl.zeros([BLOCK], tl.float32)
    by_threshold = tl.zeros([BLOCK], tl.float32)
    by_decay = tl.zeros([BLOCK], tl.float32)
    by_gamma = tl.zeros([BLOCK], tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for back in range(steps):
        t = steps - 1 - back
        here -= size
        u = tl.load(potentials + here, inside, 0.0)
        reaching = tl.load(to_spikes + here, inside, 0.0).to(tl.float32)
        fired = u > limit
        x = u - limit
        slope = _slope(x, width, SHAPE, RULE)
        passed = later * keep
        if not DETACH:
            if SUBTRACT:
                reaching -= passed * limit
            else:
                reaching -= passed * u
        direct = reaching * slope
        if LEARNS:
            if RULE == 0:
                by_gamma += direct
            else:
                by_gamma += reaching * _gamma_slope(x, width, slope, SHAPE, RULE)
        by_threshold -= direct
        if SUBTRACT:
            by_threshold -= tl.where(fired, passed, 0.0)
            by_decay += later * tl.where(fired, u - limit, u)
        else:
            by_decay += tl.where(fired, 0.0, later * u)
            passed = tl.where(fired, 0.0, passed)
        later = direct + passed + tl.load(factors + 2 * t) + tl.load(factors + 2 * t + 1) * u
        if STATIC:
            total += later
        else:
            tl.store(to_current + here, later.to(to_current.dtype.element_ty), inside)
    if STATIC:
        tl.store(to_current + places, total.to(to_current.dtype.element_ty), inside)
    tl.store(sums + program * 3 + 2, tl.sum(tl.where(inside, by_gamma, 0.0)))
    if EACH:
        tl.store(to_threshold + places, by_threshold, inside)
        tl.store(to_decay + places, by_decay, inside)
    else:
        tl.store(sums + program * 3, tl.sum(tl.where(inside, by_threshold, 0.0)))
        tl.store(sums + program * 3 + 1, tl.sum(tl.where(inside, by_decay, 0.0)))


def forward(current, threshold, decay, steps, subtract, spikes):
    """Writes the spikes of all steps, and returns (T, 3): the means of u, of u^2 and of o.

    Args:
        current: (1 or T, samples, neurons), contiguous.
        threshold, decay: (1,) or (neurons,), single precision.
        spikes: (T, samples, neurons), contiguous, written.
    """
    size, each = current[0].numel(), len(threshold) > 1
    programs = triton.cdiv(size, _BLOCK)
    sums = torch.empty((programs, steps, 3), dtype=torch.float32, device=current.device)
    with _on(current):
        _forward_kernel[(programs,)](
            current, threshold.contiguous(), decay.contiguous(), spikes, sums, size, current.shape[2], steps,
            STATIC=len(current) == 1, EACH=each, SUBTRACT=subtract, BLOCK=_BLOCK, **_ROUNDING,
        )  # fmt: skip
    return (sums.sum(dim=0, dtype=torch.float64) / size).float()


def backward(
    current, threshold, decay, gamma, steps, subtract, detach, shape, rule, to_spikes, factors, to_current
):  # fmt: skip
    """Writes `to_current`, and returns the gradients of threshold, decay and gamma.

    Args:
        to_spikes: (T, samples, neurons), contiguous.
        factors: (T, 2), dL/du[t] is factors[t, 0] + factors[t, 1] u[t] in addition.
    """
    size, each = current[0].numel(), len(threshold) > 1
    programs = triton.cdiv(size, _BLOCK)
    empty = current.new_empty
    potentials = empty((steps, size), dtype=torch.float32)
    sums = torch.zeros((programs, 3), dtype=torch.float32, device=current.device)
    parts = empty((2, size if each else 1), dtype=torch.float32)
    with _on(current):
        _backward_kernel[(programs,)](
            current, threshold.contiguous(), decay.contiguous(), gamma.contiguous(), potentials, to_spikes,
            factors.float().contiguous(), to_current, parts[0], parts[1], sums, size, current.shape[2], steps,
            STATIC=len(current) == 1, EACH=each, SUBTRACT=subtract, DETACH=detach, SHAPE=shape, RULE=rule,
            LEARNS=rule != 3, BLOCK=_BLOCK, **_ROUNDING,
        )  # fmt: skip
    total = sums.sum(dim=0, dtype=torch.float64).float()
    if each:
        to_threshold, to_decay = parts.view(2, -1, current.shape[2]).sum(dim=1)
    else:
        to_threshold, to_decay = total[:1], total[1:2]
    return to_threshold.clone(), to_decay.clone(), total[2].reshape(gamma.shape).clone()


def _on(tensor):
    """Kernels start on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else contextlib.nullcontext()
