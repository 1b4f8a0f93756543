"""Layers of neurons as PyTorch modules; tensors are (T, B, …), or (1, B, …) where nothing changes over time."""

from __future__ import annotations

import math

import torch
from torch import nn

from neurodeploy.snn.integrate import Dynamics, Fired, ResetKind, integrate_and_fire
from neurodeploy.snn.surrogate import Surrogate

SMALLEST_THRESHOLD = 0.05  # no chip stores a threshold of zero or less
SMALLEST_GAMMA = 0.05  # gamma <= 0 would turn the surrogate gradient of Eq. 16 around; the optimiser is kept above
SMALLEST_DECAY = 1e-3  # of a decay that is learned; one that starts at exactly 1 starts at 1 - 10^-3
_PAPER = Surrogate()


class Decay(nn.Module):
    """epsilon = sigmoid(v), learned (PLIF: Fang et al., ICCV 2021); layers that are given the same object share it."""

    def __init__(self, start: float) -> None:
        super().__init__()
        start = min(max(start, SMALLEST_DECAY), 1 - SMALLEST_DECAY)
        self.parameter = nn.Parameter(torch.tensor(math.log(start / (1 - start))))

    def forward(self) -> torch.Tensor:
        """epsilon, scalar."""
        return torch.sigmoid(self.parameter)


class LIFNeurons(nn.Module):
    """LIF neurons with a parametric surrogate gradient, a learnable threshold and, on request, a learnable decay.

    Vth = tanh(w), one w per layer (Wang et al., NeurIPS 2022). By default it is learned where the surrogate is not the
    softplus (convolutional layers). Under the softplus (fully connected layers) it is fixed, as in the authors' own
    earlier code: that surrogate does not vanish far above the threshold, and its gradient drives Vth below zero.

    Attributes:
        gamma: width of the surrogate gradient; learnable as its rule says, kept at or above `SMALLEST_GAMMA`.
        learned_decay: None where the decay is fixed.
    """

    def __init__(
        self,
        steps: int,
        surrogate: Surrogate = _PAPER,
        decay: float | Decay = 0.25,
        threshold: float = math.tanh(0.5),
        gamma: float = 1.0,
        reset: ResetKind = "zero",
        detach_reset: bool = False,
        learn_threshold: bool | None = None,
    ) -> None:
        super().__init__()
        self.dynamics = Dynamics(steps, surrogate, reset, detach_reset)
        learns = surrogate.shape != "softplus" if learn_threshold is None else learn_threshold
        self.threshold_parameter = nn.Parameter(torch.tensor(math.atanh(threshold)), requires_grad=learns)
        self.gamma = nn.Parameter(torch.tensor(float(gamma)), requires_grad=surrogate.learns_gamma)
        self.learned_decay = decay if isinstance(decay, Decay) else None
        self._fixed_decay = 0.0 if isinstance(decay, Decay) else decay

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return self.dynamics.steps

    @property
    def threshold(self) -> torch.Tensor:
        """Vth, scalar."""
        return torch.tanh(self.threshold_parameter)

    @property
    def decay(self) -> torch.Tensor:
        """epsilon of Eq. 2, scalar; double precision where it is fixed, so that it is exactly what was asked for."""
        if self.learned_decay is None:
            return torch.tensor(self._fixed_decay, dtype=torch.float64, device=self.gamma.device)
        learned: torch.Tensor = self.learned_decay()
        return learned

    @property
    def decay_parameter(self) -> nn.Parameter | None:
        """What the decay is learned by; layers that share a decay have the same."""
        return None if self.learned_decay is None else self.learned_decay.parameter

    def forward(
        self,
        current: torch.Tensor,
        pool: int = 1,
        record: bool = False,
        threshold: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
    ) -> Fired:
        """See `integrate_and_fire`; a threshold and a decay that are given replace the layer's own."""
        return integrate_and_fire(
            current,
            self.threshold if threshold is None else threshold,
            self.decay if decay is None else decay,
            self.gamma,
            self.dynamics,
            pool,
            record,
        )

    @torch.no_grad()
    def keep_positive(self) -> None:
        """Keeps gamma and the threshold positive where they learn; to be called after every optimiser step."""
        if self.gamma.requires_grad:
            self.gamma.clamp_(min=SMALLEST_GAMMA)
        if self.threshold_parameter.requires_grad:
            self.threshold_parameter.clamp_(min=math.atanh(SMALLEST_THRESHOLD))


class MembraneReadoutNeurons(nn.Module):
    """Neurons that integrate and never fire; the output is the mean of their potential over time.

    u[t] = decay * u[t-1] + current[t].
    """

    def __init__(self, steps: int, decay: float = 1.0) -> None:
        super().__init__()
        self.steps, self.decay = steps, decay

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """(T, B, classes): the potential at every step, from a current of (T or 1, B, classes)."""
        if current.dtype in (torch.float16, torch.bfloat16):
            current = current.float()  # a membrane adds up many small values
        potential = torch.zeros_like(current[0])
        potentials = []
        for t in range(self.steps):
            potential = self.decay * potential + current[t if len(current) > 1 else 0]
            potentials.append(potential)
        return torch.stack(potentials)


class SpikeCountReadoutNeurons(nn.Module):
    """The output is the mean over time of what the neurons before it put out."""

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        """(T, B, classes): the spikes as they are, in a precision in which their mean is one."""
        return spikes.float() if spikes.dtype in (torch.float16, torch.bfloat16) else spikes
