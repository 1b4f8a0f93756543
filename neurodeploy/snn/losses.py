"""Losses: what an output is worth against its labels, and Eq. 6 of arXiv:2304.13289 as the sum that is minimised."""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch.nn.functional import cross_entropy, one_hot

from neurodeploy.config import TrainConfig
from neurodeploy.errors import UsageError
from neurodeploy.snn.layers import moderate_dropout_loss
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.potential import Target, gaussian_divergence, histogram_divergence, potential_loss
from neurodeploy.snn.spiking_network import Output, SpikingNetwork

Kind = Literal["cross_entropy", "mse", "tet"]


class Losses(NamedTuple):
    """Scalars: total = classification + beta * adjustment (Eq. 6)."""

    total: torch.Tensor
    classification: torch.Tensor
    adjustment: torch.Tensor


def classification_loss(
    per_step: torch.Tensor, labels: torch.Tensor, kind: Kind = "cross_entropy", smoothing: float = 0.0
) -> torch.Tensor:
    """A scalar, from the readout at every step.

    With z[t] the readout, z its mean over T steps, K classes, and targets y = (1 - s) * onehot + s / K:

        cross_entropy   mean over samples of -Σ_k y_k log softmax(z)_k
        mse             mean over samples and classes of (z_k - y_k)^2
        tet             mean over steps of the cross-entropy of z[t]      (Deng et al. 2022, without their second term)

    Args:
        per_step: (T, B, classes).
        labels: (B,).
        smoothing: s.
    """
    per_step = per_step.float()
    if kind == "tet":
        steps, _, classes = per_step.shape
        return cross_entropy(per_step.reshape(-1, classes), labels.repeat(steps), label_smoothing=smoothing)
    logits = per_step.mean(dim=0)
    if kind == "cross_entropy":
        return cross_entropy(logits, labels, label_smoothing=smoothing)
    classes = logits.shape[-1]
    wanted = one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
    return (logits - wanted).square().mean()


def training_losses(output: Output, labels: torch.Tensor, config: TrainConfig) -> Losses:
    """What one batch is trained on; of two passes with dropout as `moderate_dropout_loss` says.

    The histogram form needs an output with recorded potentials (see `records`).
    """
    classification = partial(classification_loss, kind=config.loss, smoothing=config.label_smoothing)
    if output.passes == 2:
        first, second = output.by_pass
        classified = moderate_dropout_loss(first, second, labels, classification)
    else:
        classified = classification(output.per_step, labels)
    adjustment = _adjustment(output, config)
    return Losses(classified + config.potential_weight * adjustment, classified, adjustment)


def records(config: TrainConfig) -> bool:
    """Whether the adjustment needs every potential, not their moments alone."""
    return config.potential_form == "histogram" and config.potential_weight > 0


def check_potential_layers(config: TrainConfig, network: SpikingNetwork) -> None:
    """Raises UsageError where a layer that is to be adjusted is none."""
    known = [name for name, module in network.layers.items() if isinstance(module, LIFNeurons)]
    unknown = [name for name in config.potential_layers if name not in known]
    if unknown:
        raise UsageError(
            f"train.potential_layers: no layer {', '.join(unknown)}; layers of neurons are {', '.join(known)}"
        )


def _adjustment(output: Output, config: TrainConfig) -> torch.Tensor:
    target = Target(config.potential_mean, config.potential_deviation)
    names = config.potential_layers or tuple(output.moments)
    if not names:
        return output.per_step.new_zeros(())
    if records(config):
        return potential_loss(histogram_divergence(output.potentials[name], target) for name in names)
    return potential_loss(gaussian_divergence(output.moments[name], target) for name in names)
