"""The reference that layers of neurons are tested against: formulas written again, and a loop that autograd sees."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch


def slope(shape: str, rule: str, x: Any, gamma: float) -> Any:
    """do/du at x = u - Vth; Eq. 11 for the arctangent, Eq. 16 for the softplus."""
    with np.errstate(over="ignore"):
        if shape == "arctangent":
            eq_11 = 1 / (1 + gamma**2 * x**2)
            return eq_11 * gamma / math.pi if rule == "principled" else eq_11
        if shape == "softplus":
            return 1 / (1 + np.exp(-gamma * x))
        if shape == "rectangle":
            return np.where(np.abs(x) < 1 / (2 * gamma), gamma, 0.0)
        if shape == "triangle":
            return gamma * np.maximum(0, 1 - gamma * np.abs(x))
        if shape == "sigmoid":
            return gamma / (np.exp(gamma * x / 2) + np.exp(-gamma * x / 2)) ** 2
        if shape == "fast_sigmoid":
            return (1 + gamma * np.abs(x)) ** -2.0
        inside = np.where(np.abs(x) <= 0.5, 1.0, 0.0)
        return inside * gamma / (2 * math.tanh(gamma / 2)) / np.cosh(np.clip(gamma * x, -300, 300)) ** 2


def gamma_slope(shape: str, rule: str, x: Any, gamma: float) -> Any:
    """do/dgamma at x = u - Vth; Eq. 12 and 17 where the rule is literal."""
    if shape not in ("arctangent", "softplus") or rule == "frozen":
        return np.zeros_like(x)
    if rule == "literal":
        return slope(shape, rule, x, gamma)
    if shape == "arctangent":
        odd = x / (1 + (gamma * x) ** 2)
        return odd / math.pi if rule == "principled" else 2 * gamma * odd
    return x * slope(shape, rule, x, gamma) / gamma - np.logaddexp(0, gamma * x) / gamma**2


class _OneStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor, shape: str, rule: str) -> Any:
        ctx.save_for_backward(u, threshold, gamma)
        ctx.names = shape, rule
        return (u > threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, to_spikes: torch.Tensor) -> Any:
        u, threshold, gamma = ctx.saved_tensors
        x, width = (u - threshold).double().numpy(), float(gamma)
        by_u, by_gamma = (torch.from_numpy(f(*ctx.names, x, width)).to(u.dtype) for f in (slope, gamma_slope))
        to_u = to_spikes * by_u
        return to_u, -to_u.sum_to_size(threshold.shape), (to_spikes * by_gamma).sum().reshape(gamma.shape), None, None


def loop(
    current: torch.Tensor,
    threshold: torch.Tensor,
    decay: torch.Tensor,
    gamma: torch.Tensor,
    steps: int,
    shape: str = "arctangent",
    rule: str = "literal",
    reset: str = "zero",
    detach: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eq. 2 and 3, one step after the other, differentiated by autograd: spikes and potentials before reset."""
    spikes, potentials = [], []
    for t in range(steps):
        potential = current[t if len(current) > 1 else 0]
        if t:
            before, fired = potentials[-1], spikes[-1].detach() if detach else spikes[-1]
            if reset == "zero":
                potential = decay * (before * (1 - fired)) + potential
            else:
                potential = (decay * before - decay * threshold * fired) + potential
        potentials.append(potential)
        spikes.append(_OneStep.apply(potential, threshold, gamma, shape, rule))
    return torch.stack(spikes), torch.stack(potentials)
