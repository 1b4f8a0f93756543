"""Membrane-potential distribution adjustment (PDA): Eq. 4 and 5 of arXiv:2304.13289.

Each layer's potentials at each step are taken as Gaussian with their own mean m and variance v, for which the
symmetric divergence of Eq. 5 from the standard normal distribution has a closed form:

    KL(N(m, v) || N(0, 1)) + KL(N(0, 1) || N(m, v)) = (v + m^2 + (1 + m^2) / v - 2) / 2
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_SMALLEST_VARIANCE = 1e-4  # a layer whose potentials are all equal would otherwise divide by zero


def symmetric_divergence(potentials: torch.Tensor) -> torch.Tensor:
    """(T,): KL in both directions between a layer's potentials and N(0, 1), at every step.

    Args:
        potentials: (T, B, …) before reset; mean and variance are taken over samples and neurons.
    """
    values = potentials.flatten(1)
    mean_squared = values.mean(dim=1).square()
    # E[u^2] - m^2 in one pass: potentials are of order 1 with a mean near 0, where nothing cancels.
    power = torch.linalg.vector_norm(values, dim=1).square() / values.shape[1]
    variance = (power - mean_squared).clamp_min(_SMALLEST_VARIANCE)
    divergence: torch.Tensor = (variance + mean_squared + (1 + mean_squared) / variance - 2) / 2
    return divergence


def potential_loss(potentials: Iterable[torch.Tensor]) -> torch.Tensor:
    """Eq. 5: L_PD = 1 / (2 T N) Σ_t Σ_n [KL(P || N) + KL(N || P)] over N layers and T steps."""
    per_layer = [symmetric_divergence(layer).mean() for layer in potentials]
    return torch.stack(per_layer).mean() / 2
