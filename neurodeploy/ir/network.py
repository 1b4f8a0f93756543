"""Network: the float meaning of a spiking network, a graph of frozen nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.nodes import LIF, READOUTS, Input, Node, SpikeCountReadout


@dataclass(frozen=True)
class Edge:
    """A connection; several edges into one node add up.

    With `delay` 1 the target sees what the source put out one step earlier, which is how recurrence is written.
    """

    source: str
    target: str
    delay: int = 0

    def __post_init__(self) -> None:
        if self.delay not in (0, 1):
            raise UsageError(f"edge {self.source} -> {self.target}: delay {self.delay}, allowed are 0 and 1")


@dataclass(frozen=True, eq=False)
class Network:
    """A graph of nodes with one Input and one readout.

    Attributes:
        nodes: name -> node.
        edges: the connections.
        steps: number of time steps T for which the network was made.
        shapes: name -> output shape, inferred.
        order: the names, each after its sources (edges with delay 1 do not count).

    Raises:
        UsageError: naming the node, where shapes do not fit, a name is unknown, or a cycle has no delay.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    steps: int
    shapes: Mapping[str, Shape] = field(init=False, repr=False)
    order: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))
        object.__setattr__(self, "edges", tuple(self.edges))
        if self.steps < 1:
            raise UsageError(f"steps {self.steps}: must be at least 1")
        for edge in self.edges:
            for name in (edge.source, edge.target):
                if name not in self.nodes:
                    raise UsageError(f"edge {edge.source} -> {edge.target}: there is no node {name!r}")
        self._check_ends()
        object.__setattr__(self, "order", self._topological_order())
        object.__setattr__(self, "shapes", MappingProxyType(self._infer_shapes()))

    def incoming(self, name: str) -> tuple[Edge, ...]:
        """The edges into a node, in the order in which they were given."""
        return tuple(edge for edge in self.edges if edge.target == name)

    @property
    def input(self) -> Input:
        """The one Input node."""
        return next(node for node in self.nodes.values() if isinstance(node, Input))

    @property
    def readout(self) -> str:
        """The name of the readout node."""
        return next(name for name, node in self.nodes.items() if isinstance(node, READOUTS))

    def _check_ends(self) -> None:
        for kind, types in (("Input", Input), ("readout", READOUTS)):
            found = [name for name, node in self.nodes.items() if isinstance(node, types)]
            if len(found) != 1:
                raise UsageError(f"a network has exactly one {kind} node, found {found or 'none'}")
        for name, node in self.nodes.items():
            if isinstance(node, Input) == bool(self.incoming(name)):
                raise UsageError(f"node {name}: an Input has no incoming edges, every other node at least one")
            if isinstance(node, READOUTS) and any(edge.source == name for edge in self.edges):
                raise UsageError(f"node {name}: a readout has no outgoing edges")
            if isinstance(node, SpikeCountReadout):
                sources = [self.nodes[edge.source] for edge in self.incoming(name)]
                if len(sources) != 1 or not isinstance(sources[0], LIF):
                    raise UsageError(f"node {name}: a spike-count readout reads exactly one LIF node")

    def _topological_order(self) -> tuple[str, ...]:
        before = {name: [e.source for e in self.incoming(name) if e.delay == 0] for name in self.nodes}
        try:
            return tuple(TopologicalSorter(before).static_order())
        except CycleError as error:
            raise UsageError(f"a cycle without a delay: {' -> '.join(error.args[1])}") from error

    def _infer_shapes(self) -> dict[str, Shape]:
        """Shapes along edges without delay, then a check that delayed edges bring the same shape."""
        shapes: dict[str, Shape] = {}
        for name in self.order:
            node = self.nodes[name]
            if isinstance(node, Input):
                shapes[name] = node.shape
                continue
            arriving = {edge.source: shapes[edge.source] for edge in self.incoming(name) if edge.source in shapes}
            if len(set(arriving.values())) != 1:
                raise UsageError(f"node {name}: the shapes that arrive must be equal and known, got {arriving}")
            try:
                shapes[name] = node.output_shape(next(iter(arriving.values())))
            except UsageError as error:
                raise UsageError(f"node {name}: {error}") from error
        for edge in self.edges:
            expected = {shapes[other.source] for other in self.incoming(edge.target)}
            if len(expected) != 1:
                raise UsageError(f"node {edge.target}: the shapes that arrive differ: {sorted(expected)}")
        return shapes


def sequential(nodes: Iterable[tuple[str, Node]], steps: int) -> Network:
    """The Network in which each node feeds the next."""
    pairs = list(nodes)
    edges = tuple(Edge(source, target) for (source, _), (target, _) in zip(pairs, pairs[1:], strict=False))
    return Network(dict(pairs), edges, steps)
