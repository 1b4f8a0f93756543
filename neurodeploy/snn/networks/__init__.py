"""The networks that can be trained by name."""

from __future__ import annotations

from collections.abc import Callable

from neurodeploy.config import NetworkConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.networks.plain import convnet, mlp, vgg
from neurodeploy.snn.networks.plan import Plan
from neurodeploy.snn.networks.problems import problems
from neurodeploy.snn.networks.residual import resnet19
from neurodeploy.snn.spiking_network import SpikingNetwork

_KINDS: dict[str, Callable[[Plan], int]] = {"convnet": convnet, "mlp": mlp, "vgg": vgg, "resnet19": resnet19}


def build(config: NetworkConfig, input_node: Input, classes: int) -> SpikingNetwork:
    """The network of `config` for the input's shape: images (C, H, W), or anything for an "mlp".

    Raises:
        UsageError: naming every option that does not suit the kind of network or the shape of the input.
    """
    found = problems(config, input_node.shape)
    if found:
        raise UsageError("; ".join(found))
    plan = Plan(config, input_node)
    features = _KINDS[config.kind](plan)
    plan.classifier(features, classes)
    return SpikingNetwork(input_node, config.steps, plan.modules.items(), plan.edges)
