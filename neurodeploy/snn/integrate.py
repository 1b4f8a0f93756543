"""A layer of LIF neurons over all time steps as one node of the autograd graph, with BPTT written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d

from neurodeploy.snn import fused
from neurodeploy.snn.surrogate import RULES, SHAPES, Surrogate

ResetKind = Literal["zero", "subtract"]


@dataclass(frozen=True)
class Dynamics:
    """How neurons behave, beside their parameters.

    u[t] = decay * u[t-1] * (1 - o[t-1]) + current[t] (reset "zero"), or decay * (u[t-1] - Vth * o[t-1]) + current[t]
    (reset "subtract"); o[t] = 1[u[t] > Vth]. With `detach_reset` no gradient flows through the reset.
    """

    steps: int
    surrogate: Surrogate = Surrogate()
    reset: ResetKind = "zero"
    detach_reset: bool = False


class Fired(NamedTuple):
    """What a layer of neurons puts out.

    Attributes:
        spikes: (T, B, …), or their means over pooling windows.
        moments: (T, 2), means of u and of u^2 over samples and neurons, before reset; with gradient.
        rates: (T,), share of neurons that fire; without gradient.
        potentials: (T, B, …) before reset, with gradient; None unless recorded.
    """

    spikes: torch.Tensor
    moments: torch.Tensor
    rates: torch.Tensor
    potentials: torch.Tensor | None


def integrate_and_fire(
    current: torch.Tensor,
    threshold: torch.Tensor,
    decay: torch.Tensor,
    gamma: torch.Tensor,
    dynamics: Dynamics,
    pool: int = 1,
    record: bool = False,
) -> Fired:
    """Runs a layer of LIF neurons.

    Args:
        current: (T, B, …), or (1, B, …) where it is the same at every step.
        threshold, decay: scalars, or of a shape that broadcasts to (B, …); they get gradients.
        gamma: scalar, gets a gradient as its rule says.
        pool: average over windows of this size (height and width are the last two dimensions and divisible).
        record: keep the potentials.
    """
    if current.dtype in (torch.float16, torch.bfloat16):
        current = current.float()  # a membrane adds up many small values
    threshold, decay, gamma = (part.to(current.dtype) for part in (threshold, decay, gamma))
    if not record and _can_fuse(current, threshold, decay):
        spikes, moments, rates = _Fused.apply(current, threshold, decay, gamma, dynamics, pool)  # type: ignore[no-untyped-call]
        return Fired(spikes, moments, rates, None)
    spikes, potentials = _StepByStep.apply(current, threshold, decay, gamma, dynamics)  # type: ignore[no-untyped-call]
    values = potentials.flatten(1)
    # E[u^2] in one pass: potentials are of order 1 with a mean near 0, where nothing cancels.
    power = torch.linalg.vector_norm(values, dim=1).square() / values.shape[1]
    moments = torch.stack([values.mean(dim=1), power], dim=1)
    rates = spikes.detach().flatten(1).mean(dim=1)
    if pool > 1:
        spikes = avg_pool2d(spikes.flatten(0, 1), pool).unflatten(0, spikes.shape[:2])
    return Fired(spikes, moments, rates, potentials if record else None)


def _can_fuse(current: torch.Tensor, threshold: torch.Tensor, decay: torch.Tensor) -> bool:
    one_each = threshold.numel() == 1 and decay.numel() == 1
    return current.device.type == "cpu" and one_each and current.numel() > 0 and float(threshold.detach()) > 0


def _flat(tensor: torch.Tensor) -> tuple[torch.Tensor, int, bool]:
    """A (T, B, …) tensor as (T, neurons) in memory order, values side by side in a row, and whether channels are last.

    Convolutions are fastest with channels last; the neuron loop takes memory as it comes.
    """
    if tensor.ndim == 5:
        folded = tensor.flatten(0, 1)
        if folded.is_contiguous(memory_format=torch.channels_last) and not folded.is_contiguous():
            return folded.permute(0, 2, 3, 1).reshape(len(tensor), -1), int(tensor.shape[2]), True
    return tensor.contiguous().reshape(len(tensor), -1), 1, False


def _empty_like(current: torch.Tensor, steps: int, last: bool, pool: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, B, …) to hand out, and the same memory as (T, values)."""
    shape = list(current.shape[1:])
    if pool > 1:
        shape[-2:] = [size // pool for size in shape[-2:]]
    if not last:
        made = current.new_empty((steps, *shape))
        return made, made.view(steps, -1)
    batch, channels, height, width = shape
    memory = current.new_empty((steps, batch, height, width, channels))
    return memory.permute(0, 1, 4, 2, 3), memory.view(steps, -1)


class _Fused(torch.autograd.Function):
    """The loop of `snn.fused`; equal to `_StepByStep` in every potential."""

    @staticmethod
    def forward(
        ctx: Any,
        current: torch.Tensor,
        threshold: torch.Tensor,
        decay: torch.Tensor,
        gamma: torch.Tensor,
        dynamics: Dynamics,
        pool: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        steps = dynamics.steps
        flat, inner, last = _flat(current)
        row = int(current.shape[-1]) * inner if pool > 1 else 1
        block = fused.block_size(row, pool, steps)
        spikes, memory = _empty_like(current, steps, last, pool)
        neurons = flat.shape[1]
        sums = np.empty((-(-neurons // block), steps, 3), flat.numpy().dtype)
        fused.use_threads(torch.get_num_threads())
        scalars = [part.detach().reshape(1).numpy() for part in (decay, threshold)]
        subtract = dynamics.reset == "subtract"
        fused.forward(flat.numpy(), steps, *scalars, subtract, row, inner, pool, block, memory.numpy(), sums)
        means = torch.from_numpy(sums.sum(axis=0, dtype=np.float64) / neurons).to(current.dtype)
        ctx.save_for_backward(current, threshold, decay, gamma)
        ctx.dynamics, ctx.pool, ctx.geometry = dynamics, pool, (row, inner, block, last)
        rates = means[:, 2].clone()
        ctx.mark_non_differentiable(rates)
        return spikes, means[:, :2].clone(), rates

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_spikes: torch.Tensor, to_moments: torch.Tensor, _: torch.Tensor) -> tuple[Any, ...]:
        current, threshold, decay, gamma = ctx.saved_tensors
        dynamics, pool, (row, inner, block, last) = ctx.dynamics, ctx.pool, ctx.geometry
        flat = _flat(current)[0]
        neurons = flat.shape[1]
        given = to_spikes.permute(0, 1, 3, 4, 2) if last else to_spikes
        given = given.contiguous().view(dynamics.steps, -1)
        to_current, memory = _empty_like(current, len(current), last, 1)
        scalars = np.zeros((-(-neurons // block), 3))
        factors = torch.tensor([1.0, 2.0], dtype=torch.float64) / neurons
        fused.use_threads(torch.get_num_threads())
        fused.backward(
            flat.numpy(),
            dynamics.steps,
            *(part.detach().reshape(1).numpy() for part in (decay, threshold, gamma)),
            dynamics.reset == "subtract",
            dynamics.detach_reset,
            SHAPES.index(dynamics.surrogate.shape),
            RULES.index(dynamics.surrogate.rule) if dynamics.surrogate.learns_gamma else RULES.index("frozen"),
            row,
            inner,
            pool,
            block,
            given.numpy(),
            (to_moments.double() * factors).to(current.dtype).numpy(),
            memory.numpy(),
            scalars,
        )
        to_threshold, to_gamma, to_decay = (
            torch.tensor(total, dtype=current.dtype).reshape(part.shape)
            for total, part in zip(scalars.sum(axis=0), (threshold, gamma, decay), strict=True)
        )
        return to_current, to_threshold, to_decay, to_gamma, None, None


class _StepByStep(torch.autograd.Function):
    """The loop in PyTorch: on any device, with parameters per neuron, keeping all potentials."""

    @staticmethod
    def forward(
        ctx: Any,
        current: torch.Tensor,
        threshold: torch.Tensor,
        decay: torch.Tensor,
        gamma: torch.Tensor,
        dynamics: Dynamics,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        static = current.shape[0] == 1 and dynamics.steps > 1
        potentials = current.new_empty((dynamics.steps, *current.shape[1:]))
        spikes = torch.empty_like(potentials)
        potentials[0] = current[0]
        drop = decay * threshold
        for t in range(dynamics.steps):
            if t:
                torch.mul(potentials[t - 1], decay, out=potentials[t])
                if dynamics.reset == "zero":
                    potentials[t].masked_fill_(spikes[t - 1] > 0, 0.0)
                else:
                    potentials[t].sub_(spikes[t - 1] * drop)
                potentials[t].add_(current[0 if static else t])
            torch.gt(potentials[t], threshold, out=spikes[t])
        ctx.save_for_backward(potentials, spikes, threshold, decay, gamma)
        ctx.dynamics, ctx.static = dynamics, static
        return spikes, potentials

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_spikes: torch.Tensor, to_potentials: torch.Tensor) -> tuple[Any, ...]:
        """Eq. 7, 18, 19 and 20 with the temporal and the reset path of BPTT, from the last step to the first."""
        potentials, spikes, threshold, decay, gamma = ctx.saved_tensors
        dynamics: Dynamics = ctx.dynamics
        subtract = dynamics.reset == "subtract"
        to_current = torch.zeros_like(potentials[:1]) if ctx.static else torch.empty_like(potentials)
        to_threshold, to_decay, to_gamma = (torch.zeros_like(part) for part in (threshold, decay, gamma))
        later: torch.Tensor | None = None  # dL/du[t+1]
        for t in reversed(range(dynamics.steps)):
            reaching = to_spikes[t]
            if later is not None and not dynamics.detach_reset:
                reaching = reaching - later * decay * (threshold if subtract else potentials[t])
            distance = potentials[t] - threshold
            slope = dynamics.surrogate.slope(distance, gamma)
            gamma_slope = dynamics.surrogate.gamma_slope(distance, gamma, slope)
            if gamma_slope is not None:
                to_gamma += (reaching * gamma_slope).sum()
            here = slope.mul_(reaching)
            to_threshold -= here.sum_to_size(threshold.shape)
            here = here + to_potentials[t]
            if later is not None:
                if subtract:
                    to_decay += (later * (potentials[t] - threshold * spikes[t])).sum_to_size(decay.shape)
                    to_threshold -= (later * decay * spikes[t]).sum_to_size(threshold.shape)
                    here += later * decay
                else:
                    kept = 1 - spikes[t]
                    to_decay += (later * potentials[t] * kept).sum_to_size(decay.shape)
                    here += later * decay * kept
            if ctx.static:
                to_current[0] += here
            else:
                to_current[t] = here
            later = here
        return to_current, to_threshold, to_decay, to_gamma, None
