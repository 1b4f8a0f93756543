"""LIF neurons with synaptic currents, which may fire several times in a step: the neurons of Xylo and DYNAP-SE2.

    i[t] = current_decay * i[t-1] + x[t],    x[t] = current[t] + recurrent(n[t-1])
    u[t] = decay * u[t-1] * (1 - n[t-1]) + i[t] + noise[t]     reset "zero", which fires once
    u[t] = decay * (u[t-1] - Vth * n[t-1]) + i[t] + noise[t]   reset "subtract"
    n[t] = 1[u[t] > Vth]  where `most` is 1, else floor(u[t] / Vth), 0 to `most`

Backward, dn/du is the surrogate's slope at the distance from the nearest of the thresholds Vth, 2 Vth, … most * Vth.
Steps run one after the other and autograd runs through them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from neurodeploy.snn.integrate import Fired
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons, step_by_step


class _WithCurrents(LIFNeurons):
    """Currents of any LIF neurons.

    Attributes:
        current_decay: fraction of the current that is kept, [0, 1).
        most: spikes of a neuron in a step, at most.
    """

    def __init__(self, current_decay: float, most: int, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.current_decay, self.most = current_decay, most


class CurrentLIFNeurons(_WithCurrents):
    """LIF neurons with currents."""

    def forward(
        self,
        current: torch.Tensor,
        pool: int = 1,
        record: bool = False,
        threshold: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> Fired:
        """As `LIFNeurons`; the spikes are counts, and noise, (T, B, …), joins the potentials beside the currents."""

        def arriving(x: torch.Tensor, _: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
            return self.current_decay * before + x

        return step_by_step(self, arriving, current, pool, record, threshold, decay, self.most, noise)


class RecurrentCurrentLIFNeurons(_WithCurrents, RecurrentLIFNeurons):
    """The same, with a linear layer from their own spikes of one step before."""

    def forward(
        self,
        current: torch.Tensor,
        pool: int = 1,
        record: bool = False,
        threshold: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> Fired:
        """As `RecurrentLIFNeurons`; the spikes are counts, and the noise is as of `CurrentLIFNeurons`."""
        weights = {"weight": self.recurrent.weight if weight is None else weight}

        def arriving(x: torch.Tensor, fired: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
            own: torch.Tensor = functional_call(self.recurrent, weights, (fired,))
            return self.current_decay * before + (x + own)

        return step_by_step(self, arriving, current, pool, record, threshold, decay, self.most, noise)


WITH_CURRENTS = (CurrentLIFNeurons, RecurrentCurrentLIFNeurons)


def with_currents(
    current_decay: float, most: int, recurrent: nn.Linear | nn.Conv2d | None, settings: tuple[Any, ...]
) -> CurrentLIFNeurons | RecurrentCurrentLIFNeurons:
    """The layer with or without a connection to itself; `settings` are those of `LIFNeurons`."""
    if recurrent is None:
        return CurrentLIFNeurons(current_decay, most, *settings)
    return RecurrentCurrentLIFNeurons(current_decay, most, recurrent, *settings)
