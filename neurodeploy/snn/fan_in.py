"""Fully connected layers whose neurons read a few inputs each, for chips with a limited number of synapses."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from neurodeploy.hw_models.random import stream
from neurodeploy.ir.arrays import IntArray


class FanInLinear(nn.Linear):
    """y = (mask * W) x, without a bias: every row of the mask has `fan_in` ones, the same for the same sizes.

    Weights outside the mask are 0 from the start, and `keep_sparse` after every optimiser step keeps them there, so
    that `weight` is what is traced. The weights that there are start uniformly in ± sqrt(gain / fan_in).

    Attributes:
        mask: (out features, in features), 0 or 1; part of the state.
    """

    mask: torch.Tensor

    def __init__(self, in_features: int, out_features: int, fan_in: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        chosen = torch.zeros(out_features, in_features)
        chosen.scatter_(1, torch.from_numpy(inputs_of(in_features, out_features, min(fan_in, in_features))), 1.0)
        self.register_buffer("mask", chosen)
        with torch.no_grad():
            self.weight *= (in_features / min(fan_in, in_features)) ** 0.5  # nn.Linear spread them for all inputs
        self.keep_sparse()

    @torch.no_grad()
    def keep_sparse(self) -> None:
        """Sets the weights outside the mask to 0."""
        self.weight.mul_(self.mask.to(self.weight.dtype))


def inputs_of(in_features: int, out_features: int, fan_in: int) -> IntArray:
    """(out features, fan_in) inputs, all different in a row; every input is read about equally often.

    Each neuron takes those that have been read least so far, in a random order fixed by the three sizes.
    """
    generator = np.random.Generator(stream(0, "fan-in", in_features, out_features, fan_in))
    read, rows = np.zeros(in_features), []
    for _ in range(out_features):
        row = np.argsort(read + generator.random(in_features) / 2)[:fan_in]
        read[row] += 1
        rows.append(np.sort(row))
    return np.asarray(rows, dtype=np.int64)
