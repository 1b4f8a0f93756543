"""Where a network lies on DYNAP-SE2: cores, chips, tags and destinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.dynapse2 import Dynapse2Chip
from neurodeploy.ir.arrays import IntArray, frozen_ints
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT


@dataclass(frozen=True, eq=False)
class Placement:
    """Which core each neuron lies on.

    A core belongs to one layer, because its neurons share all parameters; a layer that is larger than a core gets
    several, filled evenly.

    Attributes:
        core: (neurons,), from 0 on, in the order of layers.
        layer_of: core -> layer.
        latency: layer -> steps of the chip by which it lags behind the input's layer.
    """

    core: IntArray
    layer_of: tuple[str, ...]
    latency: Mapping[str, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "core", frozen_ints(self.core))

    @property
    def cores(self) -> int:
        """Cores that are used."""
        return len(self.layer_of)

    def chips(self, chip: Dynapse2Chip) -> int:
        """Chips that are used."""
        return -(-self.cores // chip.cores)


@dataclass(frozen=True)
class Destination:
    """An SRAM entry: the cores of one chip, as a mask, where the neuron's tag is announced.

    Attributes:
        hops: chips to the right (negative: to the left).
    """

    chip: int
    hops: int
    cores: tuple[bool, ...]
    tag: int


def place(network: PopulationNetwork, chip: Dynapse2Chip) -> Placement:
    """Cores of a network, without regard to how many there are."""
    cores: list[IntArray] = []
    layers: list[str] = []
    for one in network.populations:
        count = -(-one.size // chip.neurons)
        cores.append(len(layers) + np.arange(one.size) * count // one.size)
        layers += [one.name] * count
    return Placement(np.concatenate(cores), tuple(layers), latencies(network))


def latencies(network: PopulationNetwork) -> dict[str, int]:
    """Layer -> the longest way from the input to it, in connections between neurons; recurrent ones do not count."""
    found: dict[str, int] = {}
    for one in network.populations:
        before = [found[p.source] + 1 for p in network.into(one.name) if p.source != INPUT and p.source in found]
        found[one.name] = max(before, default=0)
    return found


def uneven(network: PopulationNetwork) -> list[tuple[str, str, int]]:
    """(source, target, steps too early) of connections that skip layers."""
    late = latencies(network)
    found = []
    for one in network.projections:
        arrives = 0 if one.source == INPUT else late[one.source] + 1
        if one.delay == 0 and arrives != late[one.target]:
            found.append((one.source, one.target, late[one.target] - arrives))
    return found


def target_chips(codes_rec: IntArray, core: IntArray, chip: Dynapse2Chip) -> IntArray:
    """(neurons,) how many chips a neuron's spikes go to."""
    chips = core // chip.cores
    reached = np.stack([(codes_rec[:, chips == one] != 0).any(axis=1) for one in np.unique(chips)])
    return np.asarray(reached.sum(axis=0), dtype=np.int64)


def destinations(codes_rec: IntArray, core: IntArray, inputs: int, chip: Dynapse2Chip) -> list[list[Destination]]:
    """The SRAM entries of each neuron, without the monitor's.

    A neuron's tag is its number behind the inputs', the same on every chip that it reaches.
    """
    chips, found = core // chip.cores, []
    for neuron, row in enumerate(codes_rec):
        own: list[Destination] = []
        for there in np.unique(chips[row != 0]).tolist():
            reached = set((core[(row != 0) & (chips == there)] % chip.cores).tolist())
            mask = tuple(one in reached for one in range(chip.cores))
            own.append(Destination(there, there - int(chips[neuron]), mask, inputs + neuron))
        found.append(own)
    return found


def split_layer(network: PopulationNetwork, name: str, parts: int) -> PopulationNetwork:
    """A layer as `parts` copies, each of which feeds a share of what the layer fed.

    Copies receive the same and fire alike, so that the network computes the same; each reaches fewer chips. A layer
    that feeds itself, or that is read out, cannot be split so.

    Raises:
        UsageError: for such a layer, and an unknown one.
    """
    if name not in {one.name for one in network.hidden} or parts < 2:
        raise UsageError(f"layer {name!r} into {parts}: a hidden layer and at least 2 parts are expected")
    if any(one.source == name == one.target for one in network.projections):
        raise UsageError(f"layer {name}: feeds itself; a copy would need the spikes of all parts")
    names = [f"{name}.{part + 1}" for part in range(parts)]
    populations: list[Population] = []
    for one in network.populations:
        populations += [replace(one, name=copy) for copy in names] if one.name == name else [one]
    projections: list[Projection] = []
    for link in network.projections:
        if link.target == name:
            projections += [replace(link, target=copy) for copy in names]
        elif link.source == name:
            edges = np.linspace(0, link.weight.shape[1], parts + 1).astype(int)
            for copy, (low, high) in zip(names, pairwise(edges), strict=True):
                kept = np.zeros(link.weight.shape)
                kept[:, low:high] = link.weight[:, low:high]
                projections.append(replace(link, source=copy, weight=kept))
        else:
            projections.append(link)
    return PopulationNetwork(network.input, tuple(populations), tuple(projections), network.readout, network.steps)
