"""Lowering: folded synapses bring what torch computes node by node, and what cannot is refused with reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from neurodeploy.errors import UsageError
from neurodeploy.ir.lower import LoweredLayer, lower
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
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
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses

Pool = type[SumPool2d] | type[AvgPool2d]


def first_layer(*nodes: tuple[str, Node], shape: tuple[int, ...]) -> LoweredLayer:
    """The layer "a" of Input -> nodes -> a -> … -> readout."""
    chain = [("x", Input(shape)), *nodes, ("a", LIF(0.5, 1.0))]
    features = int(np.prod(sequential([*chain, ("f", Flatten()), ("o", MembraneReadout())], 1).shapes["a"]))
    fc = Linear(np.ones((2, features)), np.zeros(2))
    lowered = lower(sequential([*chain, ("f", Flatten()), ("end", fc), ("out", MembraneReadout())], 2))
    return lowered.layers[0]


def currents(layer: LoweredLayer, x: torch.Tensor) -> torch.Tensor:
    """What the layer's only synapses and bias bring, in torch."""
    (s,) = layer.synapses
    if s.pool > 1:
        x = functional.avg_pool2d(x, s.pool, divisor_override=1)
    weight = torch.tensor(s.weight)
    if isinstance(s, ConvSynapses):
        return functional.conv2d(x, weight, None, s.stride, s.padding, s.dilation, s.groups) + torch.tensor(layer.bias)
    return functional.linear(x.flatten(1), weight) + torch.tensor(layer.bias)


def pooled_by_torch(x: torch.Tensor, pools: list[tuple[Pool, int]]) -> torch.Tensor:
    for kind, kernel in pools:
        x = functional.avg_pool2d(x, kernel) * (kernel**2 if kind is SumPool2d else 1)
    return x


pool_lists = st.lists(st.tuples(st.sampled_from([SumPool2d, AvgPool2d]), st.integers(1, 3)), max_size=2)


@given(
    seed=st.integers(0, 2**32 - 1),
    pools=pool_lists,
    stride=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 1)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.integers(1, 2),
)
def test_pooling_before_a_convolution_folds_into_it(
    seed: int,
    pools: list[tuple[Pool, int]],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    rng = np.random.default_rng(seed)
    total = int(np.prod([kernel for _, kernel in pools]))
    shape = (2, 3 * total, 4 * total)
    conv = Conv2d(rng.normal(size=(4, 2 // groups, 2, 2)), rng.normal(size=4), stride, padding, dilation, groups)
    layer = first_layer(*[(f"p{i}", kind(k)) for i, (kind, k) in enumerate(pools)], ("conv", conv), shape=shape)
    x = torch.tensor(rng.normal(size=(3, *shape)))
    pooled = pooled_by_torch(x, pools)
    expected = functional.conv2d(
        pooled, torch.tensor(conv.weight), torch.tensor(conv.bias), stride, padding, dilation, groups
    )
    torch.testing.assert_close(currents(layer, x), expected, rtol=1e-12, atol=1e-12)
    assert (layer.synapses[0].name, layer.synapses[0].source, layer.synapses[0].pool) == ("conv", "input", total)


@given(seed=st.integers(0, 2**32 - 1), pools=pool_lists)
def test_pooling_and_flattening_fold_into_a_linear(seed: int, pools: list[tuple[Pool, int]]) -> None:
    rng = np.random.default_rng(seed)
    total = int(np.prod([kernel for _, kernel in pools]))
    shape = (3, 2 * total, total)
    fc = Linear(rng.normal(size=(5, 6)), rng.normal(size=5))
    nodes = [*[(f"p{i}", kind(k)) for i, (kind, k) in enumerate(pools)], ("flat", Flatten()), ("fc", fc)]
    layer = first_layer(*nodes, shape=shape)
    x = torch.tensor(rng.normal(size=(4, *shape)))
    expected = functional.linear(pooled_by_torch(x, pools).flatten(1), torch.tensor(fc.weight), torch.tensor(fc.bias))
    torch.testing.assert_close(currents(layer, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("pool", [None, SumPool2d(2), AvgPool2d(2)])
def test_a_connection_without_weights_is_an_identity(flat: bool, pool: Node | None) -> None:
    nodes: list[tuple[str, Node]] = [("pool", pool)] if pool is not None else []
    layer = first_layer(*nodes, *([("flat", Flatten())] if flat else []), shape=(3, 4, 2))
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 2)))
    expected = x if pool is None else pooled_by_torch(x, [(type(pool), 2)])  # type: ignore[list-item]
    torch.testing.assert_close(currents(layer, x), expected.flatten(1) if flat else expected)
    assert isinstance(layer.synapses[0], DenseSynapses if flat else ConvSynapses)


def test_an_identity_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"x -> a: shape \(3, 4\), allowed are \(C, H, W\) and \(n,\)"):
        first_layer(shape=(3, 4))


def network(edges: str, **nodes: Node) -> Network:
    """Edges as "a>b b>c", with one more > for a delay of 1, and an Input x of 4 values."""
    parsed = []
    for text in edges.split():
        source, target = text.replace(">>", ">").split(">")
        parsed.append(Edge(source, target, text.count(">") - 1))
    return Network({"x": Input((4,))} | nodes, tuple(parsed), 3)


def linear(out: int, features: int, seed: int = 0) -> Linear:
    rng = np.random.default_rng(seed)
    return Linear(rng.normal(size=(out, features)), rng.normal(size=out))


def test_residual_branches_become_synapses_that_add_up_with_their_biases() -> None:
    one, two = linear(3, 4, 1), linear(3, 4, 2)
    lowered = lower(
        network("x>one one>a x>two two>a a>out a>b b>out", one=one, two=two, a=LIF(0.5, 1.0), b=LIF(0.25, 2.0),
                out=MembraneReadout())
    )  # fmt: skip
    a, b, out = lowered.layers
    assert [s.name for s in a.synapses] == ["one", "two"]
    np.testing.assert_array_equal(a.bias, one.bias + two.bias)
    np.testing.assert_array_equal(a.synapses[1].weight, two.weight)
    assert [(s.source, s.delay) for s in out.synapses] == [("a", 0), ("b", 0)]
    np.testing.assert_array_equal(out.synapses[0].weight, np.eye(3))
    assert (b.neuron.decay, b.bias.tolist()) == (0.25, [0, 0, 0])


def test_two_convolutional_branches_add_their_biases_per_channel() -> None:
    rng = np.random.default_rng(0)
    one, two = (Conv2d(rng.normal(size=(2, 1, 1, 1)), rng.normal(size=2)) for _ in range(2))
    nodes: dict[str, Node] = {"x": Input((1, 2, 3)), "one": one, "two": two, "a": LIF(0.5, 1.0)}
    nodes |= {"flat": Flatten(), "out": MembraneReadout()}
    edges = [
        Edge("x", "one"),
        Edge("one", "a"),
        Edge("x", "two"),
        Edge("two", "a"),
        Edge("a", "flat"),
        Edge("flat", "out"),
    ]
    layer = lower(Network(nodes, tuple(edges), 1)).layers[0]
    np.testing.assert_array_equal(layer.bias, np.broadcast_to((one.bias + two.bias)[:, None, None], (2, 2, 3)))


def test_weights_that_several_neurons_feed_bring_their_bias_once() -> None:
    fc, join = linear(3, 4), linear(2, 3, 1)
    nodes: dict[str, Node] = {"fc": fc, "a": LIF(0.5, 1.0), "b": LIF(0.5, 1.0), "join": join, "c": LIF(0.5, 1.0)}
    layer = lower(network("x>fc fc>a a>b a>join b>join join>c c>out", **nodes, out=MembraneReadout())).layers[2]
    assert [(s.name, s.source) for s in layer.synapses] == [("join", "a"), ("join", "b")]
    np.testing.assert_array_equal(layer.bias, join.bias)
    for synapses in layer.synapses:
        np.testing.assert_array_equal(synapses.weight, join.weight)


def test_weights_that_reach_neurons_twice_bring_their_bias_twice() -> None:
    fc = linear(3, 4)
    layer = lower(network("x>fc fc>a fc>a a>out", fc=fc, a=LIF(0.5, 1.0), out=MembraneReadout())).layers[0]
    assert [s.name for s in layer.synapses] == ["fc", "fc"]
    np.testing.assert_array_equal(layer.bias, 2 * fc.bias)


def test_a_bias_passes_a_flatten() -> None:
    fc = linear(3, 4)
    nodes: dict[str, Node] = {"fc": fc, "flat": Flatten(), "a": LIF(0.5, 1.0), "out": MembraneReadout()}
    layer = lower(network("x>fc fc>flat flat>a a>out", **nodes)).layers[0]
    np.testing.assert_array_equal(layer.bias, fc.bias)


@pytest.mark.parametrize("loop", ["a>rec rec>>a", "a>>rec rec>a"])
def test_recurrence_has_delay_1_wherever_the_delay_is_written(loop: str) -> None:
    nodes: dict[str, Node] = {"fc": linear(3, 4), "a": LIF(0.5, 1.0), "rec": linear(3, 3), "out": MembraneReadout()}
    layer = lower(network(f"x>fc fc>a {loop} a>out", **nodes)).layers[0]
    assert [(s.name, s.source, s.delay) for s in layer.synapses] == [("fc", "input", 0), ("rec", "a", 1)]


def test_the_readout_is_the_last_layer_even_where_others_feed_back() -> None:
    nodes: dict[str, Node] = {"fc": linear(3, 4), "a": LIF(0.5, 1.0), "out": MembraneReadout()}
    nodes |= {"k": linear(3, 3), "inhibit": LIF(0.5, 1.0), "back": linear(3, 3)}
    lowered = lower(network("x>fc fc>a a>out a>k k>inhibit inhibit>back back>>a", **nodes))
    assert [layer.name for layer in lowered.layers] == ["a", "inhibit", "out"]
    assert lowered.readout == "membrane"


def test_the_counted_layer_is_moved_to_the_end() -> None:
    nodes: dict[str, Node] = {"fc": linear(3, 4), "a": LIF(0.5, 1.0), "b": LIF(0.5, 1.0), "out": SpikeCountReadout()}
    lowered = lower(network("x>fc fc>a a>out fc>b b>>a a>>b", **nodes))
    assert [layer.name for layer in lowered.layers] == ["b", "a"]
    assert lowered.readout == "spike_count"
    with pytest.raises(UsageError, match="node a: the layer that is counted must be the last one"):
        lower(network("x>fc fc>a a>out a>b", **nodes))


def refused(match: str, edges: str, **nodes: Node) -> None:
    base: dict[str, Node] = {"fc": linear(4, 4), "a": LIF(0.5, 1.0), "out": MembraneReadout()}
    with pytest.raises(UsageError, match=match):
        lower(network(edges, **{name: node for name, node in (base | nodes).items() if name in edges}))


def test_two_weights_without_neurons_between_are_refused() -> None:
    refused("x -> fc -> fc2 -> a: fc2 follows fc without neurons", "x>fc fc>fc2 fc2>a a>out", fc2=linear(3, 4))


def test_pooling_after_a_convolution_is_refused() -> None:
    conv = Conv2d(np.ones((1, 1, 1, 1)), np.zeros(1))
    nodes: dict[str, Any] = {"x": Input((1, 2, 2)), "conv": conv, "pool": AvgPool2d(2), "flat": Flatten()}
    refused("pool follows conv without neurons", "x>conv conv>pool pool>a a>flat flat>out", **nodes)


def test_flattening_after_a_convolution_is_refused() -> None:
    conv = Conv2d(np.ones((1, 1, 1, 1)), np.zeros(1))
    nodes: dict[str, Any] = {"x": Input((1, 2, 2)), "conv": conv, "flat": Flatten()}
    refused("a Flatten after the convolution conv", "x>conv conv>flat flat>a a>out", **nodes)


def test_delays_along_a_chain_add_up_to_62_and_no_further() -> None:
    nodes: dict[str, Node] = {"x": Input((4,)), "fc": linear(3, 4), "a": LIF(0.5, 1.0), "rec": linear(3, 3)}
    nodes |= {"out": MembraneReadout()}

    def lowered(first: int, second: int) -> LoweredLayer:
        edges = [Edge("x", "fc"), Edge("fc", "a"), Edge("a", "rec", first), Edge("rec", "a", second), Edge("a", "out")]
        return lower(Network(nodes, tuple(edges), 3)).layers[0]

    for first, second in [(0, 1), (1, 1), (2, 60), (62, 0)]:
        assert [(s.source, s.delay) for s in lowered(first, second).synapses] == [("input", 0), ("a", first + second)]
    with pytest.raises(UsageError, match="a -> rec -> a: 63 steps of delay, at most 62"):
        lowered(1, 62)


def test_neurons_with_a_current_are_layers_and_their_bias_stays_beside_the_weights() -> None:
    fc, cuba = linear(3, 4), CubaLIF(0.5, 0.25, 1.0, "subtract", True)
    layer, last = lower(network("x>fc fc>a a>out", fc=fc, a=cuba, out=MembraneReadout())).layers
    assert (layer.name, layer.neuron) == ("a", cuba)
    np.testing.assert_array_equal(layer.synapses[0].weight, fc.weight)
    np.testing.assert_array_equal(layer.bias, fc.bias)
    assert last.synapses[0].source == "a"


def test_a_flatten_after_a_linear_changes_nothing() -> None:
    fc = linear(3, 4)
    layer = first_layer(("fc", fc), ("flat", Flatten()), shape=(4,))
    np.testing.assert_array_equal(layer.synapses[0].weight, fc.weight)
