"""Network: what a graph must be, and that every refusal names the node."""

from __future__ import annotations

import numpy as np
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
    SumPool2d,
)


def linear(out: int, features: int) -> Linear:
    return Linear(np.ones((out, features)), np.zeros(out))


def graph(edges: str, steps: int = 3, **nodes: Node) -> Network:
    """Edges as "a>b b>c", with one more > for a delay of 1."""
    parsed = []
    for text in edges.split():
        source, target = text.replace(">>", ">").split(">")
        parsed.append(Edge(source, target, text.count(">") - 1))
    base: dict[str, Node] = {"x": Input((4,)), "fc": linear(3, 4), "a": LIF(0.5, 1.0), "out": MembraneReadout()}
    return Network(base | nodes, tuple(parsed), steps)


def test_shapes_and_order_follow_the_edges() -> None:
    network = sequential(
        [
            ("x", Input((2, 6, 8), 1 / 255, 8)),
            ("conv", Conv2d(np.ones((3, 2, 3, 3)), np.zeros(3), stride=(1, 2))),
            ("a", LIF(0.5, 1.0)),
            ("pool", SumPool2d(1)),
            ("flat", Flatten()),
            ("fc", linear(5, 36)),
            ("out", MembraneReadout()),
        ],
        4,
    )
    assert dict(network.shapes) == {
        "x": (2, 6, 8),
        "conv": (3, 4, 3),
        "a": (3, 4, 3),
        "pool": (3, 4, 3),
        "flat": (36,),
        "fc": (5,),
        "out": (5,),
    }
    assert network.order == ("x", "conv", "a", "pool", "flat", "fc", "out")
    assert (network.readout, network.input.bits) == ("out", 8)


def test_the_order_does_not_depend_on_how_nodes_are_listed() -> None:
    nodes: dict[str, Node] = {"out": MembraneReadout(), "a": LIF(0.5, 1.0), "fc": linear(3, 4), "x": Input((4,))}
    network = Network(nodes, (Edge("a", "out"), Edge("fc", "a"), Edge("x", "fc")), 1)
    assert network.order == ("x", "fc", "a", "out")


def test_a_network_does_not_see_later_changes_of_the_mapping() -> None:
    nodes: dict[str, Node] = {"x": Input((3,)), "out": MembraneReadout()}
    network = Network(nodes, (Edge("x", "out"),), 1)
    nodes["b"] = Flatten()
    assert set(network.nodes) == {"x", "out"}
    with pytest.raises(TypeError):
        network.nodes["b"] = Flatten()  # type: ignore[index]


def test_an_edge_to_an_unknown_node_is_refused() -> None:
    with pytest.raises(UsageError, match="edge a -> outt: there is no node 'outt'"):
        graph("x>fc fc>a a>outt")


@pytest.mark.parametrize("delay", [-1, 63])
def test_a_delay_other_than_0_to_62_is_refused(delay: int) -> None:
    assert [Edge("a", "b", allowed).delay for allowed in (0, 1, 62)] == [0, 1, 62]
    with pytest.raises(UsageError, match=f"edge a -> b: delay {delay}, allowed are 0 to 62"):
        Edge("a", "b", delay)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps: int) -> None:
    with pytest.raises(UsageError, match=f"steps {steps}"):
        graph("x>fc fc>a a>out", steps)


def test_a_cycle_without_delay_is_refused_and_named() -> None:
    with pytest.raises(UsageError, match=r"a cycle without a delay: .*(a -> rec|rec -> a)"):
        graph("x>fc fc>a a>rec rec>a a>out", rec=linear(3, 3))


@pytest.mark.parametrize("cycle", ["a>rec rec>>a", "a>>rec rec>a", "a>>a"])
def test_a_cycle_with_a_delay_is_allowed_wherever_the_delay_is(cycle: str) -> None:
    nodes: dict[str, Node] = {"rec": linear(3, 3)} if "rec" in cycle else {}
    assert graph(f"x>fc fc>a {cycle} a>out", **nodes).shapes["a"] == (3,)


def test_a_node_that_only_a_delayed_edge_feeds_gets_its_shape() -> None:
    network = graph("x>fc fc>a a>>b b>out", b=LIF(0.5, 1.0))
    assert network.shapes["b"] == (3,)
    assert network.shapes["out"] == (3,)


def test_a_cycle_that_nothing_feeds_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing leads from the Input to"):
        graph("x>fc fc>a a>out b>>c c>>b", b=LIF(0.5, 1.0), c=LIF(0.5, 1.0))


def test_residual_shapes_must_be_equal() -> None:
    with pytest.raises(UsageError, match=r"node out: the shapes that arrive .*'a': \(3,\).*'b': \(2,\)"):
        graph("x>fc fc>a a>out x>fc2 fc2>b b>out", fc2=linear(2, 4), b=LIF(0.5, 1.0))
    with pytest.raises(UsageError, match="node a: the shapes that arrive differ"):
        graph("x>fc fc>a a>rec rec>>a a>out", rec=linear(2, 3))


def test_shapes_that_do_not_fit_name_the_node() -> None:
    with pytest.raises(UsageError, match=r"node fc: input shape \(4,\) where \(5,\) is expected"):
        graph("x>fc fc>a a>out", fc=linear(3, 5))


def test_there_is_exactly_one_input_and_one_readout() -> None:
    with pytest.raises(UsageError, match=r"exactly one readout node, found \['out', 'out2'\]"):
        graph("x>fc fc>a a>out a>out2", out2=SpikeCountReadout())
    with pytest.raises(UsageError, match=r"exactly one Input node, found \['x', 'y'\]"):
        graph("x>fc y>fc fc>a a>out", y=Input((4,)))
    with pytest.raises(UsageError, match="exactly one readout node, found none"):
        Network({"x": Input((4,)), "a": LIF(0.5, 1.0)}, (Edge("x", "a"),), 1)


def test_the_input_is_fed_by_nothing_and_every_other_node_by_something() -> None:
    for edges, node in [("x>fc fc>a a>out a>x", "x"), ("x>fc fc>a a>out b>a", "b")]:
        with pytest.raises(UsageError, match=f"node {node}: an Input has no incoming edges"):
            graph(edges, **({"b": LIF(0.5, 1.0)} if node == "b" else {}))


def test_a_readout_feeds_nothing() -> None:
    with pytest.raises(UsageError, match="node out: a readout has no outgoing edges"):
        graph("x>fc fc>a a>out out>>a")


@pytest.mark.parametrize("edges", ["x>fc fc>a fc>out", "x>fc fc>a a>out x>b b>out", "x>fc fc>a a>>out"])
def test_a_spike_count_reads_exactly_one_lif_without_delay(edges: str) -> None:
    nodes: dict[str, Node] = {"b": LIF(0.5, 1.0)} if "b" in edges else {}
    with pytest.raises(UsageError, match="node out: a spike-count readout reads exactly one LIF or CubaLIF node"):
        graph(edges, out=SpikeCountReadout(), **nodes)


def test_a_spike_count_reads_neurons_with_a_current_too() -> None:
    assert graph("x>fc fc>a a>out", out=SpikeCountReadout(), a=CubaLIF(0.5, 0.5, 1.0)).readout == "out"


def test_a_chain_with_a_repeated_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"node names must differ: \['x', 'a', 'a'\]"):
        sequential([("x", Input((4,))), ("a", LIF(0.5, 1.0)), ("a", MembraneReadout())], 1)


def test_edges_that_meet_add_up_in_the_order_given() -> None:
    network = graph("x>fc fc>a x>fc2 fc2>a a>out", fc2=linear(3, 4))
    assert [edge.source for edge in network.incoming("a")] == ["fc", "fc2"]
