"""Surrogate gradients: parametric ones (PSG, Eq. 11, 12, 16 and 17 of arXiv:2304.13289), their variants, and others.

The forward pass is the step function, o = 1[u > Vth]. Backward, with x = u - Vth and a width gamma, do/du is replaced
by a slope, and do/dgamma by what `GammaRule` says:

    shape          do/du
    arctangent     1 / (1 + (gamma x)^2)                                  (Eq. 11; convolutional layers)
    softplus       1 / (1 + exp(-gamma x))                                (Eq. 16; fully connected layers)
    rectangle      gamma where |x| < 1 / (2 gamma), else 0                (Wu et al. 2018)
    triangle       gamma max(0, 1 - gamma |x|)                            (Esser et al. 2016)
    sigmoid        gamma s (1 - s), s = 1 / (1 + exp(-gamma x))           (Zenke & Ganguli 2018, among others)
    fast_sigmoid   1 / (1 + gamma |x|)^2                                  (Zenke & Ganguli 2018)
    dspike         gamma (1 - tanh(gamma x)^2) / (2 tanh(gamma / 2)) where |x| <= 1/2, else 0      (Li et al. 2021)

The paper rescales both of its derivatives to a maximum of 1, and with that drops the factor x from do/dgamma. Since
gamma does not enter the forward pass, no choice is the true gradient; four are offered:

    rule         do/dgamma
    literal      the slope itself (Eq. 12 and 17): gamma is pushed like a bias, dL/dgamma = -dL/dVth
    principled   the derivative of one function f with do/du = df/dx, do/dgamma = df/dgamma:
                   arctangent  f = arctan(gamma x) / pi + 1/2, the relaxation of the step; so do/du is
                               gamma / (pi (1 + (gamma x)^2)) here and do/dgamma = x / (pi (1 + (gamma x)^2))
                   softplus    f = log(1 + exp(gamma x)) / gamma, do/dgamma = (gamma x s - gamma f) / gamma^2
    odd          arctangent: Eq. 10 rescaled to a maximum of 1 with its sign, 2 gamma x / (1 + (gamma x)^2); softplus:
                 as principled (Eq. 15 is unbounded, no rescaling bounds it)
    frozen       none
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch.nn.functional import softplus

from neurodeploy.config import SurrogateShape
from neurodeploy.errors import unknown_name

GammaRule = Literal["literal", "principled", "odd", "frozen"]
SHAPES: tuple[str, ...] = get_args(SurrogateShape)
RULES: tuple[str, ...] = get_args(GammaRule)


@dataclass(frozen=True)
class Surrogate:
    """A surrogate gradient by name; see the table above.

    Raises:
        UsageError: for a name that is not in the tables.
    """

    shape: SurrogateShape = "arctangent"
    rule: GammaRule = "literal"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise unknown_name("surrogate", self.shape, SHAPES)
        if self.rule not in RULES:
            raise unknown_name("gamma rule", self.rule, RULES)

    @property
    def learns_gamma(self) -> bool:
        """Whether gamma gets a gradient: only in the paper's two shapes, unless frozen."""
        return self.rule != "frozen" and self.shape in ("arctangent", "softplus")

    def slope(self, distance: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        """do/du at distance = u - Vth, any shape; gamma is a positive scalar."""
        if self.shape == "arctangent":
            slope = (distance * gamma).square_().add_(1.0).reciprocal_()
            return slope.mul_(gamma / math.pi) if self.rule == "principled" else slope
        if self.shape == "softplus":
            return torch.sigmoid(distance * gamma)
        if self.shape == "rectangle":
            return (distance.abs() * gamma < 0.5).to(distance.dtype) * gamma
        if self.shape == "triangle":
            return (1 - (distance * gamma).abs_()).clamp_(min=0).mul_(gamma)
        if self.shape == "sigmoid":
            high = torch.sigmoid(distance * gamma)
            return gamma * high * (1 - high)
        if self.shape == "fast_sigmoid":
            return (distance * gamma).abs_().add_(1.0).square_().reciprocal_()
        inside = (distance.abs() <= 0.5).to(distance.dtype)
        return inside * (1 - torch.tanh(distance * gamma).square()) * (gamma / (2 * torch.tanh(gamma / 2)))

    def gamma_slope(self, distance: torch.Tensor, gamma: torch.Tensor, slope: torch.Tensor) -> torch.Tensor | None:
        """do/dgamma at distance = u - Vth, given the slope there; None where gamma does not learn."""
        if not self.learns_gamma:
            return None
        if self.rule == "literal":
            return slope
        if self.shape == "softplus":
            scaled = distance * gamma
            return (scaled * slope - softplus(scaled)) / gamma.square()
        if self.rule == "principled":
            return distance * slope / gamma
        return 2 * gamma * distance * slope
