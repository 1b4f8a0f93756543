"""LIF neurons that receive their own spikes of one step before, through weights; and what all neurons share whose steps
run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from neurodeploy.snn.integrate import Fired, gathered
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.surrogate import Surrogate


class RecurrentLIFNeurons(LIFNeurons):
    """LIF neurons with x[t] = current[t] + recurrent(o[t-1]), o[0] = 0, in the place of the current alone.

    A linear layer makes a recurrent fully connected layer; a depthwise 5 x 5 convolution without bias makes the lateral
    interactions of LISNN (Cheng et al., IJCAI 2020). Steps run one after the other and autograd runs through them.

    Attributes:
        recurrent: a linear layer or a convolution from the layer's spikes to a current of the same shape.
    """

    def __init__(self, recurrent: nn.Linear | nn.Conv2d, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.recurrent = recurrent

    def forward(
        self,
        current: torch.Tensor,
        pool: int = 1,
        record: bool = False,
        threshold: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
    ) -> Fired:
        """As `LIFNeurons`; a recurrent weight that is given replaces the layer's own."""
        weights = {"weight": self.recurrent.weight if weight is None else weight}

        def arriving(x: torch.Tensor, fired: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            own: torch.Tensor = functional_call(self.recurrent, weights, (fired,))
            return x + own

        return step_by_step(self, arriving, current, pool, record, threshold, decay)


def step_by_step(
    neurons: LIFNeurons,
    arriving: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    current: torch.Tensor,
    pool: int,
    record: bool,
    threshold: torch.Tensor | None,
    decay: torch.Tensor | None,
    most: int = 1,
    noise: torch.Tensor | None = None,
) -> Fired:
    """Integrates and fires one step after the other; autograd runs through all of them.

    Args:
        arriving: (current of the step, spikes of the step before, what arrived then) -> what arrives at the potential.
        threshold, decay: in the place of the layer's own, where given.
        most: spikes of a neuron in a step, at most.
        noise: (T, B, …), what the potential gets beside what arrives.
    """
    if current.dtype in (torch.float16, torch.bfloat16):
        current = current.float()  # a membrane adds up many small values
    given = (neurons.threshold if threshold is None else threshold, neurons.decay if decay is None else decay)
    threshold, decay, gamma = (part.to(current.dtype) for part in (*given, neurons.gamma))
    dynamics = neurons.dynamics
    arrived = potential = fired = torch.zeros_like(current[0])
    spikes, potentials = [], []
    for t in range(neurons.steps):
        resetting = fired.detach() if dynamics.detach_reset else fired
        subtract = dynamics.reset == "subtract"
        kept = potential - threshold * resetting if subtract else potential * (1 - resetting)
        arrived = arriving(current[t if len(current) > 1 else 0], fired, arrived)
        potential = decay * kept + (arrived if noise is None else arrived + noise[t].to(arrived.dtype))
        fired = (
            Fire.apply(potential, threshold, gamma, dynamics.surrogate)  # type: ignore[no-untyped-call]
            if most == 1
            else FireSeveral.apply(potential, threshold, gamma, dynamics.surrogate, most)  # type: ignore[no-untyped-call]
        )
        spikes.append(fired)
        potentials.append(potential)
    return gathered(torch.stack(spikes), torch.stack(potentials), pool, record)


class Fire(torch.autograd.Function):
    """o = 1[u > Vth] of one step; backward, the slopes of the surrogate."""

    @staticmethod
    def forward(
        ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, surrogate: Surrogate
    ) -> torch.Tensor:
        ctx.save_for_backward(potential, threshold, gamma)
        ctx.surrogate = surrogate
        return (potential > threshold).to(potential.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        potential, threshold, gamma = ctx.saved_tensors
        return (*surrogate_gradients(ctx.surrogate, potential, threshold, gamma, given), None)


class FireSeveral(torch.autograd.Function):
    """n = floor(u / Vth), 0 to `most`; backward, the slope of the surrogate at the nearest multiple of Vth."""

    @staticmethod
    def forward(
        ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, surrogate: Surrogate, most: int
    ) -> torch.Tensor:
        ctx.save_for_backward(potential, threshold, gamma)
        ctx.surrogate, ctx.most = surrogate, most
        return torch.floor(potential / _divisor(threshold)).clamp_(0, most)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        potential, threshold, gamma = ctx.saved_tensors
        steps = torch.round(potential / _divisor(threshold)).clamp_(1, ctx.most)
        distance = potential - steps * threshold
        slope = ctx.surrogate.slope(distance, gamma)
        gamma_slope = ctx.surrogate.gamma_slope(distance, gamma, slope)
        to_gamma = None if gamma_slope is None else (given * gamma_slope).sum()
        to_potential = given * slope
        return to_potential, -(to_potential * steps).sum_to_size(threshold.shape), to_gamma, None, None


def _divisor(threshold: torch.Tensor) -> torch.Tensor:
    """The threshold, or where it is 0 what is next to it: a potential of 0 fires no spike there, one above `most`."""
    return threshold.clamp(min=torch.finfo(threshold.dtype).tiny)


def surrogate_gradients(
    surrogate: Surrogate, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, given: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The gradients of potential, threshold and gamma, from that of an output with the surrogate's slopes."""
    distance = potential - threshold
    slope = surrogate.slope(distance, gamma)
    gamma_slope = surrogate.gamma_slope(distance, gamma, slope)
    to_gamma = None if gamma_slope is None else (given * gamma_slope).sum()
    to_potential = given * slope
    return to_potential, -to_potential.sum_to_size(threshold.shape), to_gamma
