"""A layer of LIF neurons over all time steps as one node of the autograd graph, with BPTT written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d

from neurodeploy.snn import fused_layer
from neurodeploy.snn.surrogate import RULES, SHAPES, Surrogate

ResetKind = Literal["zero", "subtract"]
_PAPER = Surrogate()


@dataclass(frozen=True)
class Dynamics:
    """How neurons behave, beside their parameters.

    u[t] = decay * u[t-1] * (1 - o[t-1]) + current[t] (reset "zero"), or decay * (u[t-1] - Vth * o[t-1]) + current[t]
    (reset "subtract"); o[t] = 1[u[t] > Vth]. With `detach_reset` no gradient flows through the reset.
    """

    steps: int
    surrogate: Surrogate = _PAPER
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
    given = current.dtype
    if given in (torch.float16, torch.bfloat16) and (record or current.device.type == "cpu"):
        current = current.float()  # a membrane adds up many small values; a GPU's kernel does so by itself
    working = torch.float64 if current.dtype == torch.float64 else torch.float32
    threshold, decay, gamma = (part.to(working) for part in (threshold, decay, gamma))
    if not record and fused_layer.available(current):
        rule = dynamics.surrogate.rule if dynamics.surrogate.learns_gamma else "frozen"
        numbers = SHAPES.index(dynamics.surrogate.shape), RULES.index(rule)
        settings = fused_layer.Settings(dynamics.steps, *numbers, dynamics.reset == "subtract", dynamics.detach_reset)
        spikes, means = fused_layer.fire(current, threshold, decay, gamma, settings, pool)
        return Fired(spikes.to(given), means[:, :2], means[:, 2].detach(), None)
    spikes, potentials = _StepByStep.apply(current.to(working), threshold, decay, gamma, dynamics)  # type: ignore[no-untyped-call]
    return gathered(spikes.to(given), potentials, pool, record)


def gathered(spikes: torch.Tensor, potentials: torch.Tensor, pool: int, record: bool) -> Fired:
    """What a layer puts out, from the spikes and potentials of all its steps, (T, B, …)."""
    values = potentials.flatten(1)
    # E[u^2] in one pass: potentials are of order 1 with a mean near 0, where nothing cancels.
    power = torch.linalg.vector_norm(values, dim=1).square() / values.shape[1]
    moments = torch.stack([values.mean(dim=1), power], dim=1)
    rates = spikes.detach().flatten(1).to(values.dtype).mean(dim=1)
    if pool > 1:
        spikes = avg_pool2d(spikes.flatten(0, 1), pool).unflatten(0, spikes.shape[:2])
    return Fired(spikes, moments, rates, potentials if record else None)


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
