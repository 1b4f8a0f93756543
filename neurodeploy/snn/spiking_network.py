"""SpikingNetwork: a graph of PyTorch modules that trains as a module and traces to a Network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import nn
from torch.func import functional_call

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn import adjacent
from neurodeploy.snn.currents import WITH_CURRENTS
from neurodeploy.snn.fan_in import FanInLinear
from neurodeploy.snn.integrate import Fired
from neurodeploy.snn.layers import ModerateDropout
from neurodeploy.snn.memory_order import flattened
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons

INPUT = "input"
# Modules that see (T, B, …).
_TAKING_TIME = (MembraneReadoutNeurons, SpikeCountReadoutNeurons, ModerateDropout)


class Perturbation(Protocol):
    """What a forward pass is disturbed by; each method takes a layer's name and a value, and returns one in its place.

    Names are the network's; tensors that come back may carry gradients.
    """

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weights of a convolution or a linear layer, or the recurrent ones of a layer "a" as "a.recurrent"."""
        ...

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """A layer's threshold: a scalar, or one per neuron of (B, *shape)."""
        ...

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """A layer's decay: a scalar, or one per neuron."""
        ...

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        """What a layer of neurons without synaptic currents receives: (1 or T, B, …)."""
        ...

    def noise(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor | None:
        """What the potentials of a layer with synaptic currents get beside those: (T, B, …), or None for nothing.

        `current` is what the layer receives, (1 or T, B, …), as synapses bring it.
        """
        ...

    def readout(self, name: str, current: torch.Tensor, steps: int) -> torch.Tensor:
        """What a membrane readout receives: (1 or T, B, classes)."""
        ...

    def arriving(self, source: str, name: str, value: torch.Tensor) -> torch.Tensor:
        """What a layer of neurons or a membrane readout receives from one module, before it is added to the rest."""
        ...


@dataclass(frozen=True)
class Output:
    """What a forward pass puts out.

    Attributes:
        per_step: (T, B, classes), the readout at every step; (T, passes × B, classes) of several passes.
        moments: layer -> (T, 2), means of u and u^2 before reset over samples and neurons; with gradient.
        rates: layer -> (T,), share of neurons that fire.
        spikes, potentials: layer -> (T, B, …), outputs, and potentials before reset; empty unless recorded.
        passes: how often the part behind the first dropout ran.
    """

    per_step: torch.Tensor
    moments: dict[str, torch.Tensor]
    rates: dict[str, torch.Tensor]
    spikes: dict[str, torch.Tensor]
    potentials: dict[str, torch.Tensor]
    passes: int = 1

    @property
    def logits(self) -> torch.Tensor:
        """(passes × B, classes), the mean of the readout over time."""
        return self.per_step.mean(dim=0)

    @property
    def by_pass(self) -> tuple[torch.Tensor, ...]:
        """(T, B, classes) of each pass."""
        return self.per_step.chunk(self.passes, dim=1)


class ParameterGroups(NamedTuple):
    """The parameters of a network by what an optimiser does with them; each is in one group, once.

    Attributes:
        weights: of convolutions, linear layers, batch norms, lateral and recurrent connections.
        neurons: of which thresholds and decays are made; no weight decay.
        gammas: widths of surrogate gradients; no weight decay, a learning rate of their own.
    """

    weights: list[nn.Parameter]
    neurons: list[nn.Parameter]
    gammas: list[nn.Parameter]


class SpikingNetwork(nn.Module):
    """Modules joined by edges; several edges into one module add up.

    Plain PyTorch modules (Conv2d, Linear, BatchNorm, AvgPool2d, Flatten) see time folded into the batch, so that a
    batch norm takes its statistics over samples, steps and places.

    Training with moderate dropout takes two passes through what comes after the first dropout, with different masks,
    behind one pass through what comes before it:

        output = network(inputs, passes=2 if network.first_dropout else 1)
        if output.passes == 2:
            first, second = output.by_pass  # (T, B, classes) each
            loss = moderate_dropout_loss(first, second, labels, classification)  # of snn.layers
        else:
            loss = classification(output.per_step, labels)

    After every optimiser step, `keep_positive` is to be called; `parameter_groups` sorts the parameters.

    Attributes:
        input: shape, scale and bits of what comes in.
        steps: number of time steps T.
        edges: (source, target) names, "input" being the input; modules are given in an order in which each comes
            after its sources, and the last one is the readout.
        first_dropout: the name of the first moderate dropout, or None.
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
        self.first_dropout = next((n for n, part in self.layers.items() if isinstance(part, ModerateDropout)), None)
        self._pooled_by = adjacent.pools(self.layers, self.edges)
        self._flattened_by = adjacent.flattens(self.layers, self.edges)

    def sources(self, name: str) -> list[str]:
        """The names whose outputs a module receives."""
        return [source for source, target in self.edges if target == name]

    def parameter_groups(self) -> ParameterGroups:
        """All parameters, learned or not, sorted for an optimiser."""
        layers = [module for module in self.modules() if isinstance(module, LIFNeurons)]
        gammas = [layer.gamma for layer in layers]
        own = [part for layer in layers for part in (layer.threshold_parameter, layer.decay_parameter)]
        neurons = list(dict.fromkeys(part for part in own if part is not None))  # a shared decay comes once
        special = {id(part) for part in (*gammas, *neurons)}
        return ParameterGroups([part for part in self.parameters() if id(part) not in special], neurons, gammas)

    def keep_positive(self) -> None:
        """Keeps gammas and thresholds positive, and unused weights 0; to be called after every optimiser step."""
        for module in self.modules():
            if isinstance(module, LIFNeurons):
                module.keep_positive()
            elif isinstance(module, FanInLinear):
                module.keep_sparse()

    def forward(
        self,
        inputs: torch.Tensor,
        record: bool = False,
        perturbation: Perturbation | None = None,
        passes: int = 1,
    ) -> Output:
        """Runs all steps.

        Args:
            inputs: values (integer × scale), (B, *shape) shown at every step or (T, B, *shape).
            record: keep spikes and potentials of all layers.
            perturbation: what is done to weights, thresholds, decays and currents on the way.
            passes: the batch is repeated so often before the first dropout; see `Output.by_pass`.

        Raises:
            UsageError: where the shape is not the network's, naming both, or several passes meet no dropout.
        """
        if passes != 1 and (passes < 1 or self.first_dropout is None):
            raise UsageError(f"{passes} passes: at least 1, and more than 1 needs a network with dropout")
        values = {INPUT: self._checked(inputs)}
        output = Output(inputs, {}, {}, {}, {})
        done: set[str] = set()
        result = values[INPUT]
        for name, module in self.layers.items():
            if name in done:  # a pooling that its neurons did on the way
                continue
            if passes > 1 and name == self.first_dropout:
                values = self._repeated(values, passes)
            arriving = [values[source] for source in self.sources(name)]
            if perturbation is not None and isinstance(module, LIFNeurons | MembraneReadoutNeurons):
                arriving = [
                    perturbation.arriving(source, name, value)
                    for source, value in zip(self.sources(name), arriving, strict=True)
                ]
            result = reduce(torch.add, arriving)
            if isinstance(module, LIFNeurons):
                pooling = None if record else self._pooled_by.get(name)
                result = self._fire(name, module, result, pooling, record, perturbation, output)
                if pooling is not None:
                    done.add(pooling[0])
                    name = pooling[0]
            elif isinstance(module, _TAKING_TIME):
                if perturbation is not None and isinstance(module, MembraneReadoutNeurons):
                    result = perturbation.readout(name, result, self.steps)
                result = module(result)
            elif name not in self._flattened_by.values():  # a linear layer flattens by itself
                result = self._weigh(name, module, result.flatten(0, 1), perturbation).unflatten(0, result.shape[:2])
            values[name] = result
        return Output(result, output.moments, output.rates, output.spikes, output.potentials, passes)

    def _weigh(
        self, name: str, module: nn.Module, folded: torch.Tensor, perturbation: Perturbation | None
    ) -> torch.Tensor:
        """A module that sees time folded into the batch."""
        if not isinstance(module, nn.Conv2d | nn.Linear):
            done: torch.Tensor = module(folded)
            return done
        weight = module.weight if perturbation is None else perturbation.weight(name, module.weight)
        if name in self._flattened_by:
            folded, weight = flattened(folded, weight)
        given: torch.Tensor = (
            module(folded) if weight is module.weight else functional_call(module, {"weight": weight}, (folded,))
        )
        return given

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
        replaced: dict[str, torch.Tensor | None] = {}
        if perturbation is not None:
            shape = current.shape[2:]
            replaced["threshold"] = perturbation.threshold(name, module.threshold, shape)
            replaced["decay"] = perturbation.decay(name, module.decay, shape)
            if isinstance(module, RecurrentLIFNeurons):
                replaced["weight"] = perturbation.weight(f"{name}.recurrent", module.recurrent.weight)
            if isinstance(module, WITH_CURRENTS):
                replaced["noise"] = perturbation.noise(name, current, module.threshold, self.steps)
            else:
                current = perturbation.current(name, current, module.threshold, self.steps)
        fired: Fired = module(current, pooling[1] if pooling else 1, record, **replaced)
        output.moments[name], output.rates[name] = fired.moments, fired.rates
        if fired.potentials is not None:
            output.spikes[name], output.potentials[name] = fired.spikes, fired.potentials
        return fired.spikes

    def _repeated(self, values: dict[str, torch.Tensor], passes: int) -> dict[str, torch.Tensor]:
        """The values that a module from the first dropout on reads, with the batch repeated."""
        names = list(self.layers)
        behind = set(names[names.index(str(self.first_dropout)) :])
        read = {source for source, target in self.edges if target in behind and source in values}
        return {name: torch.cat([values[name]] * passes, dim=1) for name in read}

    def _checked(self, inputs: torch.Tensor) -> torch.Tensor:
        """(1 or T, B, *shape)."""
        expected = len(self.input.shape) + 1
        if tuple(inputs.shape[-len(self.input.shape) :]) != self.input.shape or inputs.ndim - expected not in (0, 1):
            raise UsageError(
                f"input of shape {tuple(inputs.shape)}: (B, *{self.input.shape}) or (T, B, *{self.input.shape}) is "
                "expected"
            )
        if inputs.ndim > expected and len(inputs) != self.steps:
            raise UsageError(f"input has {len(inputs)} steps, the network {self.steps}")
        return inputs if inputs.ndim > expected else inputs[None]


def sequential(input_node: Input, steps: int, modules: Iterable[tuple[str, nn.Module]]) -> SpikingNetwork:
    """The SpikingNetwork in which each module feeds the next."""
    pairs = list(modules)
    names = [INPUT, *(name for name, _ in pairs)]
    return SpikingNetwork(input_node, steps, pairs, pairwise(names))
