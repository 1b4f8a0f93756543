"""SpikingNetwork: a graph of PyTorch modules that trains as a module and traces to a Network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons

INPUT = "input"


@dataclass(frozen=True)
class Output:
    """What a forward pass puts out.

    Attributes:
        logits: (B, classes).
        spikes, potentials: layer -> (T, B, …); potentials before reset.
    """

    logits: torch.Tensor
    spikes: dict[str, torch.Tensor]
    potentials: dict[str, torch.Tensor]


class SpikingNetwork(nn.Module):
    """Modules joined by edges; several edges into one module add up.

    Plain PyTorch modules (Conv2d, Linear, BatchNorm, AvgPool2d, Flatten) see time folded into the batch, so that a
    batch norm takes its statistics over samples, steps and places.

    Attributes:
        input: shape, scale and bits of what comes in.
        steps: number of time steps T.
        edges: (source, target) names, "input" being the input; modules are given in an order in which each comes
            after its sources, and the last one is the readout.
    """

    def __init__(
        self, input_node: Input, steps: int, modules: Iterable[tuple[str, nn.Module]], edges: Iterable[tuple[str, str]]
    ) -> None:
        super().__init__()
        self.input, self.steps, self.edges = input_node, steps, tuple(edges)
        self.layers = nn.ModuleDict(dict(modules))
        seen = {INPUT}
        for edge in self.edges:
            if not set(edge) <= {INPUT, *self.layers}:
                raise UsageError(f"edge {edge[0]} -> {edge[1]}: there is no such module")
        for name, module in self.layers.items():
            if name == INPUT:
                raise UsageError(f"module {name}: the name is taken by the input")
            if isinstance(module, LIFNeurons | MembraneReadoutNeurons) and module.steps != steps:
                raise UsageError(f"module {name}: runs {module.steps} steps, the network {steps}")
            sources = self.sources(name)
            if not sources or not set(sources) <= seen:
                raise UsageError(f"module {name}: its sources {sources} must be given before it")
            seen.add(name)

    def sources(self, name: str) -> list[str]:
        """The names whose outputs a module receives."""
        return [source for source, target in self.edges if target == name]

    def forward(self, inputs: torch.Tensor) -> Output:
        """Runs all steps.

        Args:
            inputs: values (integer × scale), (B, *shape) shown at every step or (T, B, *shape).
        """
        static = inputs.ndim == len(self.input.shape) + 1
        if not static and len(inputs) != self.steps:
            raise UsageError(f"input has {len(inputs)} steps, the network {self.steps}")
        values = {INPUT: inputs[None] if static else inputs}
        spikes: dict[str, torch.Tensor] = {}
        potentials: dict[str, torch.Tensor] = {}
        result = values[INPUT]
        for name, module in self.layers.items():
            arriving = [values[source] for source in self.sources(name)]
            result = arriving[0] if len(arriving) == 1 else torch.stack(torch.broadcast_tensors(*arriving)).sum(dim=0)
            if isinstance(module, LIFNeurons):
                result, potentials[name] = module(result)
                spikes[name] = result
            elif isinstance(module, MembraneReadoutNeurons | SpikeCountReadoutNeurons):
                result = module(result)
            else:
                result = module(result.flatten(0, 1)).unflatten(0, result.shape[:2])
            values[name] = result
        return Output(result, spikes, potentials)


def sequential(input_node: Input, steps: int, modules: Iterable[tuple[str, nn.Module]]) -> SpikingNetwork:
    """The SpikingNetwork in which each module feeds the next."""
    pairs = list(modules)
    names = [INPUT, *(name for name, _ in pairs)]
    return SpikingNetwork(input_node, steps, pairs, pairwise(names))
