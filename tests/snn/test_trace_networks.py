"""Tracing: the Network computes what the module computes, spike for spike, in every kind of network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy import hw_models
from neurodeploy.config import NetworkConfig
from neurodeploy.ir.nodes import Input
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential
from neurodeploy.snn.trace import trace

STEPS = 5
IMAGE = Input((2, 8, 8), scale=1 / 31, bits=5)


def lif(**settings: Any) -> LIFNeurons:
    return LIFNeurons(STEPS, **settings)


def configured(**settings: Any) -> SpikingNetwork:
    return build(NetworkConfig(steps=STEPS, **settings), IMAGE, 3)


def residual() -> SpikingNetwork:
    """A static shortcut into a layer that a strided, grouped, dilated convolution feeds."""
    modules = {
        "stem": nn.Conv2d(2, 4, 3, padding=1),
        "stem_norm": nn.BatchNorm2d(4),
        "a": lif(decay=0.6),
        "conv": nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=2, bias=False),
        "conv_norm": nn.BatchNorm2d(4),
        "short": nn.Conv2d(2, 4, 1, stride=2),
        "b": lif(reset="subtract"),
        "pool": nn.AvgPool2d((2, 2)),
        "flat": nn.Flatten(),
        "head": nn.Linear(16, 3),
        "readout": MembraneReadoutNeurons(STEPS, 0.9),
    }
    names = "input stem,stem stem_norm,stem_norm a,a conv,conv conv_norm,conv_norm b,input short,short b"
    edges = [tuple(edge.split()) for edge in f"{names},b pool,pool flat,flat head,head readout".split(",")]
    return SpikingNetwork(IMAGE, STEPS, modules.items(), edges)  # type: ignore[arg-type]


def twice_read() -> SpikingNetwork:
    """Two layers' spikes, added, through one convolution and one linear layer; both have biases."""
    modules = {
        "stem": nn.Conv2d(2, 4, 3, padding=1),
        "a": lif(),
        "conv": nn.Conv2d(4, 4, 3, padding=1),
        "b": lif(decay=0.6, threshold=0.15),
        "next": nn.Conv2d(4, 4, 3, padding=1),
        "c": lif(threshold=0.3),
        "pool": nn.AvgPool2d(2),
        "flat": nn.Flatten(),
        "head": nn.Linear(64, 3),
        "readout": MembraneReadoutNeurons(STEPS, 0.9),
    }
    names = "input stem,stem a,a conv,conv b,a next,b next,next c,a pool,b pool,c pool,pool flat,flat head,head readout"
    return SpikingNetwork(IMAGE, STEPS, modules.items(), [tuple(edge.split()) for edge in names.split(",")])  # type: ignore[misc]


def recurrent_with_bias() -> SpikingNetwork:
    """A bias on the way back is there from the first step on."""
    neurons = RecurrentLIFNeurons(nn.Linear(15, 15), STEPS, threshold=0.1)
    parts = [("flat", nn.Flatten()), ("fc", nn.Linear(128, 15)), ("a", neurons), ("fc2", nn.Linear(15, 3))]
    return sequential(IMAGE, STEPS, [*parts, ("readout", MembraneReadoutNeurons(STEPS))])


RESNET: dict[str, Any] = {"kind": "resnet19", "width": 0.03, "hidden": (12,)}
MODULES = {
    "membrane": lambda: configured(channels=(4, 6), hidden=(12,)),
    "leaky membrane, subtract": lambda: configured(
        channels=(4,), hidden=(12,), reset="subtract", readout_decay=0.8, decay=0.9
    ),
    "spike count": lambda: configured(channels=(4,), hidden=(12,), readout="spike_count", threshold=0.2),
    "sum pools, dropout": lambda: configured(channels=(4,), hidden=(12, 9), pool="sum", dropout=0.2),
    "tdbn, learned decay": lambda: configured(channels=(4,), hidden=(12,), norm="threshold", decay_rule="layer"),
    "no norm": lambda: configured(channels=(6,), hidden=(), norm="none", threshold=0.1, decay=0.8),
    "mlp": lambda: configured(kind="mlp", hidden=(20, 15)),
    "recurrent mlp": lambda: configured(kind="mlp", hidden=(20, 15), recurrent=True),
    "recurrent mlp, subtract": lambda: configured(kind="mlp", hidden=(20,), recurrent=True, reset="subtract"),
    "recurrent with bias": recurrent_with_bias,
    "feature lateral": lambda: configured(
        channels=(4,), hidden=(12,), lateral="feature", readout="spike_count", threshold=0.1
    ),
    "channel lateral": lambda: configured(channels=(4, 6), hidden=(12,), lateral="channel", threshold=0.3),
    "vgg": lambda: build(
        NetworkConfig(kind="vgg", width=0.06, hidden=(12,), steps=STEPS), Input((2, 16, 16), 1 / 31, 5), 3
    ),
    "resnet": lambda: configured(**RESNET),
    "resnet, lateral": lambda: configured(**RESNET, lateral="channel"),
    "resnet, spikes added after": lambda: configured(**RESNET, residual="sew", decay_rule="shared", decay=0.5),
    "resnet, norms in the classifier": lambda: configured(**RESNET, residual="sew", classifier_norm=True),
    "residual": residual,
    "spikes of two layers through one convolution": twice_read,
}


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_the_network_computes_what_the_module_computes(
    name: str, static: bool, torch_run: Any, shuffle_statistics: Any
) -> None:
    torch.manual_seed(11)
    module = MODULES[name]()
    shuffle_statistics(module, 5)
    network = trace(module)
    double = copy.deepcopy(module).double().eval()
    shape = (6, *module.input.shape) if static else (STEPS, 6, *module.input.shape)
    integers = np.random.default_rng(2).integers(0, 32, shape)
    with torch.no_grad():
        output = double(torch.from_numpy(integers).double() * module.input.scale, record=True)
    recording = reference.run(quantize(network, hw_models.chip("ideal")), integers)
    by_node, readout = torch_run(network, integers)  # without lowering
    assert set(recording.spikes) == set(output.spikes) == set(by_node)
    for layer, spikes in output.spikes.items():
        assert 0.05 < float(spikes.mean()) < 0.95, layer
        np.testing.assert_array_equal(recording.spikes[layer], spikes.numpy(), err_msg=layer)
        np.testing.assert_array_equal(by_node[layer], spikes.numpy(), err_msg=layer)
    np.testing.assert_allclose(recording.readout / STEPS, output.logits.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(readout / STEPS, output.logits.numpy(), rtol=0, atol=1e-6)
    assert float(output.logits.std()) > 0.01
