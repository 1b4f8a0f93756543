"""Gradients through spikes that a chip has put out: of the neurons that fired, and of sums over squares of spikes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import torch

from neurodeploy.calibrate.work import in_weight_units
from neurodeploy.ir.program import Layer


@dataclass(frozen=True, eq=False)
class Neurons:
    """Of one layer, in weight units; each a scalar or one per neuron."""

    decay: torch.Tensor
    threshold: torch.Tensor
    bias: torch.Tensor
    subtracts: bool


def neurons_of(layer: Layer) -> Neurons:
    """A layer's neurons in weight units."""
    decay, threshold, bias = (torch.tensor(one, dtype=torch.float32) for one in in_weight_units(layer))
    return Neurons(decay, threshold, bias, getattr(layer.neurons, "reset", "zero") == "subtract")


def recorded(currents: torch.Tensor, spikes: torch.Tensor, neurons: Neurons) -> torch.Tensor:
    """(T, B, *shape) the spikes as they are, with the surrogate gradient of currents (1 or T, B, *shape).

    u[t] = decay r[t-1] + I[t], where r is what a spike leaves of a potential: u (1 - o), or u - threshold o;
    dL/dI[t] = dL/do[t] / threshold / (1 + ((u[t] - threshold) / threshold)²) + dL/dI[t+1] decay dr/du[t],
    summed over t where the current is the same at every step. Spikes that reset are constants.
    """
    found: torch.Tensor = _Recorded.apply(currents, spikes, neurons)  # type: ignore[no-untyped-call]
    return found


def pooled(source: torch.Tensor, size: int) -> torch.Tensor:
    """Sums over squares of the last two axes, what no whole square covers left out: `avg_pool2d` of divisor 1.

    o[i, j] = sum over p, q < size of x[size i + p, size j + q].
    """
    found: torch.Tensor = _Pooled.apply(source, size)  # type: ignore[no-untyped-call]
    return found


class _Recorded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: torch.Tensor, spikes: torch.Tensor, neurons: Neurons) -> torch.Tensor:
        silent, potential = 1 - spikes, torch.zeros_like(spikes)
        for step in range(len(spikes)):
            current = currents[step if len(currents) > 1 else 0]
            if step == 0:
                potential[0] = current
            elif neurons.subtracts:
                torch.sub(potential[step - 1], neurons.threshold * spikes[step - 1], out=potential[step])
                potential[step].mul_(neurons.decay).add_(current)
            else:
                torch.mul(potential[step - 1], silent[step - 1], out=potential[step])
                potential[step].mul_(neurons.decay).add_(current)
        distance = potential.sub_(neurons.threshold).div_(neurons.threshold)
        ctx.save_for_backward(distance.square_().add_(1).mul_(neurons.threshold).reciprocal_(), silent)
        ctx.neurons, ctx.static = neurons, len(currents) == 1
        return spikes

    @staticmethod
    def backward(ctx: Any, reaching: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        slopes, silent = ctx.saved_tensors
        reached = reaching * slopes
        for step in range(len(reached) - 2, -1, -1):
            later = reached[step + 1] * ctx.neurons.decay
            reached[step] += later if ctx.neurons.subtracts else later.mul_(silent[step])
        return reached.sum(0, keepdim=True) if ctx.static else reached, None, None


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: torch.Tensor, size: int) -> torch.Tensor:
        ctx.size, ctx.shape = size, source.shape
        height, width = (length // size * size for length in source.shape[-2:])
        rows = _summed(source[..., first:height:size, :width] for first in range(size))
        return _summed(rows[..., first::size] for first in range(size))

    @staticmethod
    def backward(ctx: Any, reaching: torch.Tensor) -> tuple[torch.Tensor, None]:
        height, width = (length * ctx.size for length in reaching.shape[-2:])
        spread = reaching.new_empty(ctx.shape) if (height, width) == ctx.shape[-2:] else reaching.new_zeros(ctx.shape)
        for row, column in product(range(ctx.size), repeat=2):
            spread[..., row : height : ctx.size, column : width : ctx.size] = reaching
        return spread, None


def _summed(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.add, parts)
