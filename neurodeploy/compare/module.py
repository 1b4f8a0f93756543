"""Running the PyTorch network of a model with all its spikes and potentials, freely or on given spikes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from neurodeploy.simulate.recording import Recording
from neurodeploy.snn.integrate import Fired
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork

Array = NDArray[Any]


def in_double(network: SpikingNetwork) -> SpikingNetwork:
    """A copy that computes in double precision."""
    return copy.deepcopy(network).double()


@torch.no_grad()
def run_module(network: SpikingNetwork, inputs: Array, teacher: Mapping[str, Array] | None = None) -> Recording:
    """Spikes and potentials after reset of every layer, in the precision of the network's weights.

    Args:
        inputs: (B, *shape) shown at every step, or (T, B, *shape), in units of the input's integers.
        teacher: layer -> (T, B, *shape) spikes, which layers receive in the place of those that are put out here; of a
            layer that is left out they receive its own.
    """
    network.eval()
    kind = next(network.parameters()).dtype
    values = torch.from_numpy(np.ascontiguousarray(inputs)).to(kind) * network.input.scale
    fired: dict[str, Fired] = {}
    with ExitStack() as hooks:
        for name, layer in network.layers.items():
            if isinstance(layer, LIFNeurons):
                own = None if teacher is None else teacher.get(name)
                given = None if own is None else torch.from_numpy(np.ascontiguousarray(own)).to(kind)
                watch = _Watch(name, given, fired)
                hooks.callback(layer.register_forward_hook(watch.after).remove)
                if given is not None and isinstance(layer, RecurrentLIFNeurons):
                    hooks.callback(layer.register_forward_pre_hook(watch.before, with_kwargs=True).remove)
        output = network(values, record=True)
    spikes, potentials = {}, {}
    last = ""
    for name, layer in network.layers.items():
        if isinstance(layer, LIFNeurons):
            last = name
            result = fired[name]
            assert result.potentials is not None  # recorded
            spikes[name] = result.spikes.byte().numpy()
            potentials[name] = _after_reset(layer, result.spikes, result.potentials).double().numpy()
        elif isinstance(layer, MembraneReadoutNeurons):
            last = name
            potentials[name] = output.per_step.double().numpy()
    readout = (spikes if last in spikes else potentials)[last].sum(axis=0, dtype=np.float64)
    return Recording(spikes, potentials, readout)


class _Watch:
    """Hooks of one layer: keep what it puts out, and hand on the given spikes in its place."""

    def __init__(self, name: str, given: torch.Tensor | None, fired: dict[str, Fired]) -> None:
        self.name, self.given, self.fired = name, given, fired

    def after(self, module: nn.Module, arguments: Any, result: Fired) -> Fired:
        self.fired[self.name] = result
        return result if self.given is None else result._replace(spikes=self.given.to(result.spikes.dtype))

    def before(self, module: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The given spikes of one step before through the recurrent weights, which are then 0 in the layer itself."""
        assert isinstance(module, RecurrentLIFNeurons) and self.given is not None  # where it is registered
        current, *others = arguments
        before = torch.cat([torch.zeros_like(self.given[:1]), self.given[:-1]])
        silent = {"bias": torch.zeros_like(module.recurrent.bias)} if module.recurrent.bias is not None else {}
        brought = functional_call(module.recurrent, silent, (before.flatten(0, 1),)).unflatten(0, before.shape[:2])
        return (current + brought, *others), named | {"weight": torch.zeros_like(module.recurrent.weight)}


def _after_reset(layer: LIFNeurons, spikes: torch.Tensor, potentials: torch.Tensor) -> torch.Tensor:
    if layer.dynamics.reset == "subtract":
        return potentials - layer.threshold.to(potentials.dtype) * spikes
    return potentials.masked_fill(spikes > 0, 0.0)
