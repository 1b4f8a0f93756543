"""Layers of neurons as PyTorch modules; tensors are (T, B, …), or (1, B, …) where nothing changes over time."""

from __future__ import annotations

import math

import torch
from torch import nn

from neurodeploy.snn.surrogate import ResetKind, SurrogateKind, integrate_and_fire

SMALLEST_THRESHOLD = 0.05  # no chip stores a threshold of zero or less
SMALLEST_GAMMA = 0.05  # gamma <= 0 would turn the surrogate gradient of Eq. 16 around; the optimiser is kept above


class LIFNeurons(nn.Module):
    """LIF neurons with a parametric surrogate gradient and a learnable threshold.

    Vth = tanh(w), one w per layer (Wang et al., NeurIPS 2022). The threshold is learned where the surrogate is the
    arctangent (convolutional layers). Under the softplus (fully connected layers) it is fixed, as in the authors' own
    earlier code: that surrogate does not vanish far above the threshold, and its gradient drives Vth below zero.

    Attributes:
        gamma: width of the surrogate gradient, learnable, kept at or above `SMALLEST_GAMMA`.
    """

    def __init__(
        self,
        kind: SurrogateKind,
        steps: int,
        decay: float = 0.25,
        threshold: float = math.tanh(0.5),
        gamma: float = 1.0,
        reset: ResetKind = "zero",
        detach_reset: bool = False,
    ) -> None:
        super().__init__()
        self.kind: SurrogateKind = kind
        self.steps, self.decay, self.reset, self.detach_reset = steps, decay, reset, detach_reset
        self.threshold_parameter = nn.Parameter(torch.tensor(math.atanh(threshold)), requires_grad=kind == "arctangent")
        self.gamma = nn.Parameter(torch.tensor(float(gamma)))

    @property
    def threshold(self) -> torch.Tensor:
        """Vth, scalar."""
        return torch.tanh(self.threshold_parameter)

    def forward(self, current: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Spikes and potentials before reset, (T, B, …) each, from a current of (T or 1, B, …)."""
        return integrate_and_fire(
            current, self.threshold, self.gamma, self.decay, self.steps, self.kind, self.reset, self.detach_reset
        )

    @torch.no_grad()
    def keep_positive(self) -> None:
        """Keeps gamma and the threshold positive; to be called after every optimiser step."""
        self.gamma.clamp_(min=SMALLEST_GAMMA)
        self.threshold_parameter.clamp_(min=math.atanh(SMALLEST_THRESHOLD))


class MembraneReadoutNeurons(nn.Module):
    """Neurons that integrate and never fire; the output is the mean of their potential over time.

    u[t] = decay * u[t-1] + current[t].
    """

    def __init__(self, steps: int, decay: float = 1.0) -> None:
        super().__init__()
        self.steps, self.decay = steps, decay

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """(B, classes) from a current of (T or 1, B, classes)."""
        potential = torch.zeros_like(current[0])
        total = torch.zeros_like(current[0])
        for t in range(self.steps):
            potential = self.decay * potential + current[t if len(current) > 1 else 0]
            total = total + potential
        return total / self.steps


class SpikeCountReadoutNeurons(nn.Module):
    """The output is the mean of the spikes over time."""

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """(B, classes) from spikes of (T, B, classes)."""
        return spikes.mean(dim=0)
