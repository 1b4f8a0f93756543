"""LIF neurons that put out their potential where it is above threshold: the paper's fully connected layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from neurodeploy.errors import UsageError
from neurodeploy.snn.integrate import Fired, integrate_and_fire
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.recurrent import Fire
from neurodeploy.snn.surrogate import Surrogate


class GradedLIFNeurons(LIFNeurons):
    """o[t] = u[t] 1[u[t] > Vth], with the potential of `LIFNeurons`; no chip carries such values.

    arXiv:2304.13289 calls it "potentials as output" in fully connected layers (section 4); the authors' earlier code
    (LTMD, NeurIPS 2022) has this form. Backward, do/du is Eq. 16, 1 / (1 + exp(-gamma (u - Vth))), the smooth version
    of that code's step at Vth - 1/2: the softplus is what relaxes this output. The reset is a comparison, through
    which, as there, no gradient flows.

    Raises:
        UsageError: for another surrogate than the softplus, all of which vanish far above the threshold.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if self.dynamics.surrogate.shape != "softplus":
            raise UsageError(
                f"surrogate {self.dynamics.surrogate.shape!r}: graded potentials need 'softplus', whose slope stays 1 "
                "far above the threshold"
            )
        self.dynamics = replace(self.dynamics, detach_reset=True)

    def forward(
        self,
        current: torch.Tensor,
        pool: int = 1,
        record: bool = False,
        threshold: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
    ) -> Fired:
        """As `LIFNeurons`, without pooling; `spikes` are the graded values, `rates` those of the spikes."""
        if pool != 1:
            raise UsageError("graded potentials of fully connected neurons are not pooled")
        given = self.threshold if threshold is None else threshold
        fired = integrate_and_fire(
            current, given, self.decay if decay is None else decay, self.gamma, self.dynamics, record=True
        )
        potentials = fired.potentials
        assert potentials is not None  # recorded
        limit, gamma = given.to(potentials.dtype), self.gamma.to(potentials.dtype)
        graded = _Graded.apply(potentials, limit, gamma, self.dynamics.surrogate)  # type: ignore[no-untyped-call]
        return Fired(graded, fired.moments, fired.rates, potentials if record else None)


class _Graded(Fire):
    """o = u 1[u > Vth]; backward, the slopes of the surrogate."""

    @staticmethod
    def forward(
        ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, surrogate: Surrogate
    ) -> torch.Tensor:
        return potential * Fire.forward(ctx, potential, threshold, gamma, surrogate)
