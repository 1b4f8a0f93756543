"""Layers between neurons: lateral interactions along features, and moderate dropout with its loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import log_softmax

_TAPS = 5


class FeatureLateral(nn.Module):
    """y[i] = x[i] + Σ_k w[k] x[i + k - 2], k = 0 … 4: neighbours among fully connected neurons share their current.

    The form of the authors' earlier code (LTMD, NeurIPS 2022): along the features of one step's current, zeros past
    the ends. It is linear, y = (1 + L) x, so that tracing folds it into the weights: W' = (1 + L) W, b' = (1 + L) b.

    Attributes:
        taps: Conv1d with the five weights w.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.Conv1d(1, 1, _TAPS, padding=_TAPS // 2, bias=False)

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """(samples, features) -> the same shape."""
        lateral: torch.Tensor = self.taps(current[:, None])[:, 0]
        return current + lateral


class ModerateDropout(nn.Module):
    """Dropout that spares active neurons (Wang et al., NeurIPS 2022); in evaluation mode nothing happens.

    With d the mean of a neuron's output over time and n = (d - min d) / (max d - min d) over the batch's samples and
    neurons, a neuron is kept with probability p = clamp(1 - (1 - n) rate / (1 - mean n), 0, 1), which is 1 - rate on
    average where nothing is clamped, and divided by p. One mask holds for all steps; it carries no gradient.
    """

    def __init__(self, rate: float = 0.2) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(T, B, …) -> the same shape."""
        return values * self.factors(values).to(values.dtype) if self.training else values

    @torch.no_grad()
    def factors(self, values: torch.Tensor) -> torch.Tensor:
        """(B, …) for values (T, B, …): 1 / p where a neuron is kept, else 0."""
        keep = self.keep(values)
        kept = torch.rand_like(keep) < keep
        return torch.where(kept, 1 / keep, torch.zeros_like(keep))

    @torch.no_grad()
    def keep(self, values: torch.Tensor) -> torch.Tensor:
        """(B, …): p for values (T, B, …)."""
        activity = values.mean(dim=0, dtype=torch.promote_types(values.dtype, torch.float32))
        spread = activity.max() - activity.min()
        share = (activity - activity.min()) / torch.where(spread > 0, spread, torch.ones_like(spread))
        return (1 - (1 - share) * self.rate / (1 - share.mean())).clamp_(0, 1)


def moderate_dropout_loss(
    first: torch.Tensor,
    second: torch.Tensor,
    labels: torch.Tensor,
    classification: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """(c1 + c2) / 2 + s / 2, for two passes with different masks.

    c is the classification loss of a pass; s = [KL(p1 || p2) + KL(p2 || p1)] / 2 with p the softmax of a pass's logits,
    as a mean over samples and classes, which is what the authors' code has (a mean over samples alone would be as many
    times larger as there are classes).

    Args:
        first, second: (B, classes) logits, or (T, B, classes) per step, whichever `classification` takes.
        labels: (B,), as `classification` takes them.
        classification: (first or second, labels) -> a scalar.
    """
    classified = (classification(first, labels) + classification(second, labels)) / 2
    logits = (part.mean(dim=0) if part.ndim == 3 else part for part in (first, second))
    one, other = (log_softmax(part, dim=-1) for part in logits)
    divergence = ((one.exp() - other.exp()) * (one - other)).mean() / 2
    return classified + divergence / 2
