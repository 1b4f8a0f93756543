"""Network: the float meaning of a spiking network, a graph of frozen nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from types import MappingProxyType

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.nodes import FIRING, READOUTS, Input, Node, SpikeCountReadout
from neurodeploy.ir.synapses import DELAY_MAX


@dataclass(frozen=True)
class Edge:
    """A connection; several edges into one node add up.

    With `delay` d, 0 to 62, the target sees what the source put out d steps earlier; recurrence is written with delay 1
    (or more). Before the first step all neurons put out 0, and weights act on that: a bias on the way is there from
    step 1 on.
    """

    source: str
    target: str
    delay: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.delay <= DELAY_MAX:
            raise UsageError(f"edge {self.source} -> {self.target}: delay {self.delay}, allowed are 0 to {DELAY_MAX}")


@dataclass(frozen=True, eq=False)
class Network:
    """A graph of nodes with one Input and one readout.

    Attributes:
        nodes: name -> node.
        edges: the connections.
        steps: number of time steps T for which the network was made.
        shapes: name -> output shape, inferred.
        order: the names, each after its sources (edges with a delay do not count).

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
                arriving = self.incoming(name)
                if len(arriving) != 1 or arriving[0].delay or not isinstance(self.nodes[arriving[0].source], FIRING):
                    raise UsageError(
                        f"node {name}: a spike-count readout reads exactly one LIF or CubaLIF node, without delay"
                    )

    def _topological_order(self) -> tuple[str, ...]:
        before = {name: [e.source for e in self.incoming(name) if e.delay == 0] for name in self.nodes}
        try:
            return tuple(TopologicalSorter(before).static_order())
        except CycleError as error:
            raise UsageError(f"a cycle without a delay: {' -> '.join(error.args[1])}") from error

    def _infer_shapes(self) -> dict[str, Shape]:
        """Each node's shape from the sources that are known, then a check that all edges into a node bring the same.

        A node that only delayed edges feed waits until its source, later in the order, is known.
        """
        shapes: dict[str, Shape] = {}
        waiting = list(self.order)
        while waiting:
            for name in tuple(waiting):
                node = self.nodes[name]
                arriving = {edge.source: shapes[edge.source] for edge in self.incoming(name) if edge.source in shapes}
                if len(set(arriving.values())) > 1:
                    raise UsageError(f"node {name}: the shapes that arrive must be equal, got {arriving}")
                if not arriving and not isinstance(node, Input):
                    continue
                try:
                    shapes[name] = node.output_shape(next(iter(arriving.values()), ()))
                except UsageError as error:
                    raise UsageError(f"node {name}: {error}") from error
                waiting.remove(name)
            if waiting and not shapes.keys() & {edge.source for name in waiting for edge in self.incoming(name)}:
                raise UsageError(f"nothing leads from the Input to {', '.join(waiting)}")
        for edge in self.edges:
            expected = {shapes[other.source] for other in self.incoming(edge.target)}
            if len(expected) != 1:
                raise UsageError(f"node {edge.target}: the shapes that arrive differ: {sorted(expected)}")
        return shapes


def sequential(nodes: Iterable[tuple[str, Node]], steps: int) -> Network:
    """The Network in which each node feeds the next."""
    pairs = list(nodes)
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise UsageError(f"node names must differ: {names}")
    edges = tuple(Edge(source, target) for (source, _), (target, _) in pairwise(pairs))
    return Network(dict(pairs), edges, steps)
