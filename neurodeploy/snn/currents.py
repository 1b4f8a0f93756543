"""LIF neurons with synaptic currents, which may fire several times in a step: the neurons of Xylo and DYNAP-SE2.

    i[t] = current_decay * i[t-1] + x[t],    x[t] = current[t] + recurrent(n[t-1])
    u[t] = decay * u[t-1] * (1 - n[t-1]) + i[t]                reset "zero", which fires once
    u[t] = decay * (u[t-1] - Vth * n[t-1]) + i[t]              reset "subtract"
    n[t] = 1[u[t] > Vth]  where `most` is 1, else floor(u[t] / Vth), 0 to `most`

Backward, dn/du is the surrogate's slope at the distance from the nearest of the thresholds Vth, 2 Vth, … most * Vth.
Steps run one after the other and autograd runs through them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from neurodeploy.snn.integrate import Fired, gathered
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.recurrent import Fire, RecurrentLIFNeurons
from neurodeploy.snn.surrogate import Surrogate


class CurrentLIFNeurons(LIFNeurons):
    """LIF neurons with currents.

    Attributes:
        current_decay: fraction of the current that is kept, [0, 1).
        most: spikes of a neuron in a step, at most.
    """

    def __init__(self, current_decay: float, most: int, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.current_decay, self.most = current_decay, most

    def forward(
        self,
        current: torch.Tensor,
        pool: int = 1,
        record: bool = False,
        threshold: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
    ) -> Fired:
        """As `LIFNeurons`; the spikes are counts."""
        return _run(self, None, current, pool, record, threshold, decay)


class RecurrentCurrentLIFNeurons(RecurrentLIFNeurons):
    """The same, with a linear layer from their own spikes of one step before."""

    def __init__(self, current_decay: float, most: int, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.current_decay, self.most = current_decay, most

    def forward(
        self,
        current: torch.Tensor,
        pool: int = 1,
        record: bool = False,
        threshold: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
    ) -> Fired:
        """As `RecurrentLIFNeurons`; the spikes are counts."""
        own = self.recurrent.weight if weight is None else weight
        return _run(self, own, current, pool, record, threshold, decay)


WITH_CURRENTS = (CurrentLIFNeurons, RecurrentCurrentLIFNeurons)


class FireSeveral(torch.autograd.Function):
    """n = floor(u / Vth), 0 to `most`; backward, the slope of the surrogate at the nearest multiple of Vth."""

    @staticmethod
    def forward(
        ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, surrogate: Surrogate, most: int
    ) -> torch.Tensor:
        ctx.save_for_backward(potential, threshold, gamma)
        ctx.surrogate, ctx.most = surrogate, most
        return torch.floor(potential / threshold).clamp_(0, most)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        potential, threshold, gamma = ctx.saved_tensors
        steps = torch.round(potential / threshold).clamp_(1, ctx.most)
        distance = potential - steps * threshold
        slope = ctx.surrogate.slope(distance, gamma)
        gamma_slope = ctx.surrogate.gamma_slope(distance, gamma, slope)
        to_gamma = None if gamma_slope is None else (given * gamma_slope).sum()
        to_potential = given * slope
        return to_potential, -(to_potential * steps).sum_to_size(threshold.shape), to_gamma, None, None


def _run(
    neurons: CurrentLIFNeurons | RecurrentCurrentLIFNeurons,
    weight: torch.Tensor | None,
    current: torch.Tensor,
    pool: int,
    record: bool,
    threshold: torch.Tensor | None,
    decay: torch.Tensor | None,
) -> Fired:
    if current.dtype in (torch.float16, torch.bfloat16):
        current = current.float()  # a membrane adds up many small values
    given = (neurons.threshold if threshold is None else threshold, neurons.decay if decay is None else decay)
    threshold, decay, gamma = (part.to(current.dtype) for part in (*given, neurons.gamma))
    dynamics = neurons.dynamics
    arriving = potential = fired = torch.zeros_like(current[0])
    spikes, potentials = [], []
    for t in range(neurons.steps):
        resetting = fired.detach() if dynamics.detach_reset else fired
        subtract = dynamics.reset == "subtract"
        kept = potential - threshold * resetting if subtract else potential * (1 - resetting)
        x = current[t if len(current) > 1 else 0]
        if isinstance(neurons, RecurrentCurrentLIFNeurons) and weight is not None:
            x = x + functional_call(neurons.recurrent, {"weight": weight}, (fired,))
        arriving = neurons.current_decay * arriving + x
        potential = decay * kept + arriving
        fired = (
            Fire.apply(potential, threshold, gamma, dynamics.surrogate)  # type: ignore[no-untyped-call]
            if neurons.most == 1
            else FireSeveral.apply(potential, threshold, gamma, dynamics.surrogate, neurons.most)  # type: ignore[no-untyped-call]
        )
        spikes.append(fired)
        potentials.append(potential)
    return gathered(torch.stack(spikes), torch.stack(potentials), pool, record)


def with_currents(
    current_decay: float, most: int, recurrent: nn.Linear | nn.Conv2d | None, settings: tuple[Any, ...]
) -> CurrentLIFNeurons | RecurrentCurrentLIFNeurons:
    """The layer with or without a connection to itself; `settings` are those of `LIFNeurons`."""
    if recurrent is None:
        return CurrentLIFNeurons(current_decay, most, *settings)
    return RecurrentCurrentLIFNeurons(current_decay, most, recurrent, *settings)
