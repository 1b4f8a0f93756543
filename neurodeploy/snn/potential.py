"""Membrane-potential distribution adjustment (PDA): Eq. 4 and 5 of arXiv:2304.13289.

The paper compares each layer's potentials at each step with the standard normal distribution by the symmetric
divergence KL(P || N) + KL(N || P) over a discrete distribution, and says neither how potentials are binned nor how a
gradient passes a histogram. Two forms are offered, with a target N(mu, sigma^2):

gaussian     P is taken as Gaussian with the layer's own mean m and variance v, for which the divergence has a closed
             form; with m' = (m - mu) / sigma, v' = v / sigma^2 it is (v' + m'^2 + (1 + m'^2) / v' - 2) / 2.
histogram    P is the histogram of (u - mu) / sigma on 64 bins over [-4, 4]; each value is shared linearly between the
             two nearest bin centres (values outside go to the outermost), which has a gradient almost everywhere, and
             10^-6 is added to every bin of both distributions, which are then normalised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

_SMALLEST_VARIANCE = 1e-4  # a layer whose potentials are all equal would otherwise divide by zero
_BINS, _REACH, _FLOOR = 64, 4.0, 1e-6

Form = Literal["gaussian", "histogram"]


@dataclass(frozen=True)
class Target:
    """The distribution that potentials are drawn to: N(mean, deviation^2)."""

    mean: float = 0.0
    deviation: float = 1.0


def gaussian_divergence(moments: torch.Tensor, target: Target = Target()) -> torch.Tensor:
    """(T,): KL in both directions between Gaussians, from (T, 2): means of u and of u^2."""
    variance = (moments[:, 1] - moments[:, 0].square()) / target.deviation**2
    variance = variance.clamp_min(_SMALLEST_VARIANCE)
    mean_squared = ((moments[:, 0] - target.mean) / target.deviation).square()
    divergence: torch.Tensor = (variance + mean_squared + (1 + mean_squared) / variance - 2) / 2
    return divergence


def histogram_divergence(potentials: torch.Tensor, target: Target = Target()) -> torch.Tensor:
    """(T,): KL in both directions between the binned potentials, (T, B, …), and the binned target."""
    width = 2 * _REACH / _BINS
    values = (potentials.flatten(1) - target.mean) / target.deviation
    place = ((values + _REACH) / width - 0.5).clamp(0, _BINS - 1)  # 0 is the centre of the first bin
    left = place.detach().floor().clamp(max=_BINS - 2)
    share = place - left
    index = left.long()
    counts = values.new_zeros(len(values), _BINS)
    counts = counts.scatter_add(1, index, 1 - share).scatter_add(1, index + 1, share)
    found = counts / values.shape[1] + _FLOOR
    found = found / found.sum(dim=1, keepdim=True)
    edges = torch.linspace(-_REACH, _REACH, _BINS + 1, dtype=torch.float64)
    cumulative = torch.special.ndtr(edges)
    cumulative[0], cumulative[-1] = 0.0, 1.0  # the outermost bins hold the tails, as they do for the potentials
    wanted = cumulative.diff() + _FLOOR
    wanted = (wanted / wanted.sum()).to(found)
    divergence: torch.Tensor = ((found - wanted) * (found.log() - wanted.log())).sum(dim=1)
    return divergence


def potential_loss(divergences: Iterable[torch.Tensor]) -> torch.Tensor:
    """Eq. 5: L_PD = 1 / (2 T N) Σ_t Σ_n [KL(P || N) + KL(N || P)], from (T,) of each of N layers."""
    return torch.stack([layer.mean() for layer in divergences]).mean() / 2
