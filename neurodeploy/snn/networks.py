"""The networks that can be trained by name."""

from __future__ import annotations

from torch import nn

from neurodeploy.config import NetworkConfig, SurrogateShape
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential
from neurodeploy.snn.surrogate import Surrogate


def build(config: NetworkConfig, input_node: Input, classes: int) -> SpikingNetwork:
    """The small convolutional network of `NetworkConfig` for images of shape (C, H, W).

    Raises:
        UsageError: where the image is too small for that many poolings by two.
    """
    channels, height, width = input_node.shape
    factor = 2 ** len(config.channels)
    if height % factor or width % factor:
        raise UsageError(
            f"network.channels: {len(config.channels)} poolings by two need images whose height and width are "
            f"divisible by {factor}, these are {height} x {width}"
        )
    modules: list[tuple[str, nn.Module]] = []
    for number, width_out in enumerate(config.channels, start=1):
        modules += [
            (f"conv{number}", nn.Conv2d(channels, width_out, 3, padding=1, bias=False)),
            (f"norm{number}", nn.BatchNorm2d(width_out)),
            (f"lif{number}", _neurons(config, config.surrogate)),
            (f"pool{number}", nn.AvgPool2d(2)),
        ]
        channels = width_out
    features = channels * (height // factor) * (width // factor)
    hidden = len(config.channels) + 1
    modules += [
        ("flatten", nn.Flatten()),
        (f"linear{hidden}", nn.Linear(features, config.hidden[0], bias=False)),
        (f"norm{hidden}", nn.BatchNorm1d(config.hidden[0])),
        (f"lif{hidden}", _neurons(config, config.surrogate_linear)),
        (f"linear{hidden + 1}", nn.Linear(config.hidden[0], classes)),
    ]
    if config.readout == "membrane":
        modules.append(("readout", MembraneReadoutNeurons(config.steps, config.readout_decay)))
    else:
        modules += [
            (f"lif{hidden + 1}", _neurons(config, config.surrogate_linear)),
            ("readout", SpikeCountReadoutNeurons()),
        ]
    return sequential(input_node, config.steps, modules)


def _neurons(config: NetworkConfig, shape: SurrogateShape) -> LIFNeurons:
    return LIFNeurons(
        config.steps,
        Surrogate(shape, config.gamma_rule),
        config.decay,
        config.threshold,
        config.gamma,
        config.reset,
        config.detach_reset,
        None if config.learn_threshold else False,
        config.learn_decay,
    )
