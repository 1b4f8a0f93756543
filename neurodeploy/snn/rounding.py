"""When quantisation in the loop chooses what: statistics and scales once an epoch, codes at every batch.

At an epoch's first batch the batch norms' statistics become those of the calibration inputs, and each layer's scale the
one that `quantize` finds on some of them; both are kept until the next epoch. Scales are chosen again in between only
where weights have outgrown them.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from neurodeploy import hw_models
from neurodeploy.errors import DesignRuleError
from neurodeploy.snn.fake_quant import FakeQuant, Scales, choose_scales
from neurodeploy.snn.spiking_network import SpikingNetwork

# Of the calibration inputs; the search runs every layer nine times, and spikes of a few samples tell scales apart.
_SEARCHED = 32


class _Chosen(NamedTuple):
    epoch: int
    scales: Scales


_chosen: WeakKeyDictionary[SpikingNetwork, _Chosen] = WeakKeyDictionary()


def rounding(
    network: SpikingNetwork, chip_name: str, epoch: int, batch_index: int, calibration: NDArray[Any] | None = None
) -> FakeQuant:
    """The rounding for a batch; puts the batch norms into evaluation mode. See `chip_noise.make_perturbation`."""
    chip, known = hw_models.chip(chip_name), _chosen.get(network)
    searched = calibration
    if calibration is not None:
        static = calibration.ndim == len(network.input.shape) + 1
        searched = calibration[:_SEARCHED] if static else calibration[:, :_SEARCHED]
    if batch_index == 0 or known is None or known.epoch != epoch or known.scales.chip != chip:
        if calibration is not None:
            settle_norms(network, calibration)
        known = _Chosen(epoch, choose_scales(network, chip, searched))
    freeze_norms(network)
    try:
        made = FakeQuant(network, known.scales)
    except DesignRuleError:
        known = _Chosen(epoch, choose_scales(network, chip, searched))
        made = FakeQuant(network, known.scales)
    _chosen[network] = known
    return made


def kept_scales(network: SpikingNetwork) -> dict[str, Any] | None:
    """What a checkpoint within an epoch has to hold of a network's scales, as plain values; None where it has none."""
    known = _chosen.get(network)
    if known is None:
        return None
    scales = known.scales
    return {
        "epoch": known.epoch,
        "chip": scales.chip.name,
        "thresholds": dict(scales.thresholds),
        "fixed": dict(scales.fixed),
    }


def keep_scales(network: SpikingNetwork, kept: dict[str, Any] | None) -> None:
    """Goes on with the scales of `kept_scales`."""
    _chosen.pop(network, None)
    if kept is not None:
        scales = Scales(hw_models.chip(kept["chip"]), dict(kept["thresholds"]), dict(kept["fixed"]))
        _chosen[network] = _Chosen(int(kept["epoch"]), scales)


def freeze_norms(network: nn.Module) -> None:
    """Batch norms use their running statistics, and leave them alone, until the network is put into training again."""
    for norm in _norms(network):
        norm.eval()


@torch.no_grad()
def settle_norms(network: SpikingNetwork, inputs: NDArray[Any]) -> None:
    """Sets running statistics to those of one forward pass, with every module but the batch norms in evaluation mode.

    Args:
        inputs: integers, (B, *shape) or (T, B, *shape).
    """
    norms = _norms(network)
    modes = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    values = torch.from_numpy(np.ascontiguousarray(inputs)).to(next(network.parameters()))
    network(values * network.input.scale)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training


def _norms(network: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [part for part in network.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
