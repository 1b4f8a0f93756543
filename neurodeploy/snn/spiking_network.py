"""SpikingNetwork: a graph of PyTorch modules that trains as a module and traces to a Network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import nn
from torch.func import functional_call

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.integrate import Fired
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons

INPUT = "input"
_READOUTS = (MembraneReadoutNeurons, SpikeCountReadoutNeurons)


class Perturbation(Protocol):
    """What a forward pass is disturbed by; each method takes a layer's name and a value, and returns one in its place.

    Names are the network's; tensors that come back may carry gradients.
    """

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weights of a convolution or a linear layer, of the same shape."""
        ...

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """A layer's threshold: a scalar, or one per neuron of (B, *shape)."""
        ...

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """A layer's decay: a scalar, or one per neuron."""
        ...

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        """What a layer of neurons receives: (1 or T, B, …)."""
        ...


@dataclass(frozen=True)
class Output:
    """What a forward pass puts out.

    Attributes:
        per_step: (T, B, classes), the readout at every step.
        moments: layer -> (T, 2), means of u and u^2 before reset over samples and neurons; with gradient.
        rates: layer -> (T,), share of neurons that fire.
        spikes, potentials: layer -> (T, B, …), potentials before reset; empty unless recorded.
    """

    per_step: torch.Tensor
    moments: dict[str, torch.Tensor]
    rates: dict[str, torch.Tensor]
    spikes: dict[str, torch.Tensor]
    potentials: dict[str, torch.Tensor]

    @property
    def logits(self) -> torch.Tensor:
        """(B, classes), the mean of the readout over time."""
        return self.per_step.mean(dim=0)


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
        self._pooled_by = self._find_pools()

    def sources(self, name: str) -> list[str]:
        """The names whose outputs a module receives."""
        return [source for source, target in self.edges if target == name]

    def forward(self, inputs: torch.Tensor, record: bool = False, perturbation: Perturbation | None = None) -> Output:
        """Runs all steps.

        Args:
            inputs: values (integer × scale), (B, *shape) shown at every step or (T, B, *shape).
            record: keep spikes and potentials of all layers.
            perturbation: what is done to weights, thresholds, decays and currents on the way.

        Raises:
            UsageError: where the shape is not the network's, naming both.
        """
        values = {INPUT: self._checked(inputs)}
        output = Output(inputs, {}, {}, {}, {})
        done: set[str] = set()
        result = values[INPUT]
        for name, module in self.layers.items():
            if name in done:  # a pooling that its neurons did on the way
                continue
            arriving = [values[source] for source in self.sources(name)]
            result = arriving[0] if len(arriving) == 1 else torch.stack(torch.broadcast_tensors(*arriving)).sum(dim=0)
            if isinstance(module, LIFNeurons):
                pooling = None if record else self._pooled_by.get(name)
                result = self._fire(name, module, result, pooling, record, perturbation, output)
                if pooling is not None:
                    done.add(pooling[0])
                    name = pooling[0]
            elif isinstance(module, _READOUTS):
                result = module(result)
            else:
                folded = result.flatten(0, 1)
                if perturbation is not None and isinstance(module, nn.Conv2d | nn.Linear):
                    weight = perturbation.weight(name, module.weight)
                    folded = functional_call(module, {"weight": weight}, (folded,))
                else:
                    folded = module(folded)
                result = folded.unflatten(0, result.shape[:2])
            values[name] = result
        return Output(result, output.moments, output.rates, output.spikes, output.potentials)

    def _fire(
        self,
        name: str,
        module: LIFNeurons,
        current: torch.Tensor,
        pooling: tuple[str, int] | None,
        record: bool,
        perturbation: Perturbation | None,
        output: Output,
    ) -> torch.Tensor:
        threshold: torch.Tensor | None = None
        decay: torch.Tensor | None = None
        if perturbation is not None:
            shape = current.shape[2:]
            threshold = perturbation.threshold(name, module.threshold, shape)
            decay = perturbation.decay(name, module.decay, shape)
            current = perturbation.current(name, current, module.threshold, self.steps)
        fired: Fired = module(current, pooling[1] if pooling else 1, record, threshold, decay)
        output.moments[name], output.rates[name] = fired.moments, fired.rates
        if record:
            output.spikes[name], output.potentials[name] = fired.spikes, fired.potentials
        return fired.spikes

    def _checked(self, inputs: torch.Tensor) -> torch.Tensor:
        """(1 or T, B, *shape)."""
        expected = len(self.input.shape) + 1
        if tuple(inputs.shape[-len(self.input.shape) :]) != self.input.shape or inputs.ndim - expected not in (0, 1):
            raise UsageError(
                f"input of shape {tuple(inputs.shape)}: (B, *{self.input.shape}) or (T, B, *{self.input.shape}) is expected"
            )
        if inputs.ndim > expected and len(inputs) != self.steps:
            raise UsageError(f"input has {len(inputs)} steps, the network {self.steps}")
        return inputs if inputs.ndim > expected else inputs[None]

    def _find_pools(self) -> dict[str, tuple[str, int]]:
        """Neurons -> (average pooling that alone reads them, its size)."""
        found: dict[str, tuple[str, int]] = {}
        for name, module in self.layers.items():
            readers = [target for source, target in self.edges if source == name]
            if not isinstance(module, LIFNeurons) or len(readers) != 1 or self.sources(readers[0]) != [name]:
                continue
            pool = self.layers[readers[0]]
            if not isinstance(pool, nn.AvgPool2d) or pool.padding not in (0, (0, 0)) or pool.ceil_mode:
                continue
            sizes = {
                size
                for given in (pool.kernel_size, pool.stride)
                for size in (given if isinstance(given, tuple) else (given,))
            }
            if len(sizes) == 1 and pool.divisor_override is None:
                found[name] = (readers[0], sizes.pop())
        return found


def sequential(input_node: Input, steps: int, modules: Iterable[tuple[str, nn.Module]]) -> SpikingNetwork:
    """The SpikingNetwork in which each module feeds the next."""
    pairs = list(modules)
    names = [INPUT, *(name for name, _ in pairs)]
    return SpikingNetwork(input_node, steps, pairs, pairwise(names))
