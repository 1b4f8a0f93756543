"""Parametric surrogate gradients (PSG): Eq. 11, 12, 16 and 17 of arXiv:2304.13289, and the neuron that uses them.

The forward pass is the step function, o = 1[u > Vth]. Backward, with x = u - Vth and a learnable gamma per layer:

    convolutional layers    do/du = do/dgamma = 1 / (1 + (gamma x)^2)       (Eq. 11, 12; from an arctangent)
    fully connected layers  do/du = do/dgamma = 1 / (1 + exp(-gamma x))     (Eq. 16, 17; from a softplus)

The paper rescales both derivatives to a maximum of 1, and with that drops the factor x from do/dgamma; this is its
literal form.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.autograd.function import once_differentiable

SurrogateKind = Literal["arctangent", "softplus"]
ResetKind = Literal["zero", "subtract"]


def surrogate_slope(kind: SurrogateKind, distance: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """do/du, and in the paper's rescaled form also do/dgamma.

    Args:
        kind: "arctangent" (Eq. 11) or "softplus" (Eq. 16).
        distance: u - Vth, any shape.
        gamma: scalar, positive.
    """
    if kind == "arctangent":
        return (distance * gamma).square_().add_(1.0).reciprocal_()
    return torch.sigmoid(distance * gamma)


def integrate_and_fire(
    current: torch.Tensor,
    threshold: torch.Tensor,
    gamma: torch.Tensor,
    decay: float,
    steps: int,
    kind: SurrogateKind,
    reset: ResetKind = "zero",
    detach_reset: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer of LIF neurons over all time steps, one node of the autograd graph with BPTT written out.

    u[t] = decay * u[t-1] * (1 - o[t-1]) + current[t] (reset "zero"), or decay * (u[t-1] - Vth * o[t-1]) + current[t]
    (reset "subtract"); o[t] = 1[u[t] > Vth].

    Args:
        current: (T, B, …), or (1, B, …) where it is the same at every step.
        threshold: scalar Vth, gets a gradient.
        gamma: scalar, gets a gradient.
        detach_reset: no gradient through the reset path.

    Returns:
        Spikes and potentials before reset, both (T, B, …).
    """
    layer = _IntegrateAndFire.apply(  # type: ignore[no-untyped-call]
        current, threshold, gamma, decay, steps, kind, reset, detach_reset
    )
    spikes, potentials = layer
    return spikes, potentials


class _IntegrateAndFire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: torch.Tensor,
        threshold: torch.Tensor,
        gamma: torch.Tensor,
        decay: float,
        steps: int,
        kind: SurrogateKind,
        reset: ResetKind,
        detach_reset: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        static = current.shape[0] == 1 and steps > 1
        potentials = current.new_empty((steps, *current.shape[1:]))
        spikes = torch.empty_like(potentials)
        potentials[0] = current[0]
        for t in range(steps):
            if t:
                torch.mul(potentials[t - 1], decay, out=potentials[t])
                if reset == "zero":
                    potentials[t].masked_fill_(spikes[t - 1] > 0, 0.0)
                else:
                    potentials[t].sub_(spikes[t - 1] * (decay * threshold))
                potentials[t].add_(current[0 if static else t])
            torch.gt(potentials[t], threshold, out=spikes[t])
        ctx.save_for_backward(potentials, spikes, threshold, gamma)
        ctx.settings = (decay, kind, reset, detach_reset, static)
        return spikes, potentials

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: torch.Tensor, grad_potentials: torch.Tensor) -> tuple[Any, ...]:
        """Eq. 7, 18, 19 and 20 with the temporal and the reset path of BPTT, from the last step to the first."""
        potentials, spikes, threshold, gamma = ctx.saved_tensors
        decay, kind, reset, detach_reset, static = ctx.settings
        grad_current = torch.zeros_like(potentials[:1]) if static else torch.empty_like(potentials)
        grad_threshold = torch.zeros_like(threshold)
        grad_gamma = torch.zeros_like(gamma)
        later: torch.Tensor | None = None  # dL/du[t+1]
        for t in reversed(range(len(potentials))):
            to_spike = grad_spikes[t]
            if later is not None and not detach_reset:
                reset_path = potentials[t] if reset == "zero" else threshold
                to_spike = torch.addcmul(to_spike, later, reset_path, value=-decay)
            slope = surrogate_slope(kind, potentials[t] - threshold, gamma).mul_(to_spike)
            total = slope.sum()
            grad_threshold -= total
            grad_gamma += total
            here = slope.add_(grad_potentials[t])
            if later is not None:
                if reset == "zero":
                    here.addcmul_(later, 1 - spikes[t], value=decay)
                else:
                    here.add_(later, alpha=decay)
                    grad_threshold -= decay * (later * spikes[t]).sum()
            if static:
                grad_current[0] += here
            else:
                grad_current[t] = here
            later = here
        return grad_current, grad_threshold, grad_gamma, None, None, None, None, None
