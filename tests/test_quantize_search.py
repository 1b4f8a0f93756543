"""The search for scales on calibration data, and floating-point chips against the network itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.hw_models import chip
from neurodeploy.ir.lower import lower
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import LIF, Conv2d, Input, Linear, MembraneReadout, Node
from neurodeploy.ir.program import FloatNeurons, Program
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference

LOIHI = chip("loihi2")
KINDS = ["dense", "conv", "residual", "recurrent", "lateral"]
seeds = st.integers(0, 2**32 - 1)
Case = Callable[..., Any]


def distance(program: Program, name: str, inputs: Any, wanted: tuple[Any, Any]) -> float:
    """How far one layer is from the float network: share of spikes, or mean error of a membrane readout."""
    recording = reference.run(program, inputs)
    spikes, readout = wanted
    if name in recording.spikes:
        return float(np.mean(recording.spikes[name] != spikes[name]))
    return float(np.abs(recording.readout * program.layers[-1].scale / 64 - readout).mean())


@pytest.mark.parametrize("kind", ["dense", "conv", "residual"])
@settings(max_examples=10)
@given(seed=seeds)
def test_no_layer_is_worse_than_at_the_default_scale(
    random_network: Case, random_inputs: Case, torch_run: Case, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, kind)
    inputs = random_inputs(rng, network, batch=6)
    default, searched = quantize(network, LOIHI), quantize(network, LOIHI, inputs)
    wanted = torch_run(network, inputs)
    for i, layer in enumerate(default.layers):
        swapped = replace(searched, layers=(*searched.layers[:i], layer, *searched.layers[i + 1 :]))
        assert distance(searched, layer.name, inputs, wanted) <= distance(swapped, layer.name, inputs, wanted) + 1e-9


def test_the_search_finds_better_scales(random_network: Case, random_inputs: Case, torch_run: Case) -> None:
    gained = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        network = random_network(rng, "dense")
        inputs = random_inputs(rng, network, batch=200)
        wanted = torch_run(network, inputs)
        both = [distance(quantize(network, LOIHI, data), "a", inputs, wanted) for data in (None, inputs)]
        gained.append(both[0] - both[1])
    assert min(gained) >= 0
    assert sum(gain > 0 for gain in gained) >= 3


def test_one_large_weight_does_not_cost_the_others_their_bits(torch_run: Case) -> None:
    """An outlier sets the default scale; the search clips it and counts fewer wrong spikes."""
    rng = np.random.default_rng(1)
    weight = rng.normal(0, 0.1, (20, 30))
    weight[0, 0] = 20.0
    nodes: dict[str, Node] = {"x": Input((30,)), "fc": Linear(weight, np.zeros(20)), "a": LIF(0.9, 0.3)}
    random_head = {"last": Linear(rng.normal(size=(2, 20)), np.zeros(2))}
    network = sequential([*nodes.items(), *random_head.items(), ("out", MembraneReadout())], 10)
    inputs = rng.integers(0, 2, (10, 50, 30))
    wanted = torch_run(network, inputs)
    assert 0.05 < wanted[0]["a"].mean() < 0.95
    default, searched = quantize(network, LOIHI), quantize(network, LOIHI, inputs)
    assert distance(searched, "a", inputs, wanted) < distance(default, "a", inputs, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_serves_static_input_and_every_kind_of_network(
    random_network: Case, random_inputs: Case, kind: str
) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        network = random_network(rng, kind, bits=8)
        inputs = random_inputs(rng, network, static=True)
        first, second = quantize(network, LOIHI, inputs), quantize(network, LOIHI, inputs)
        assert [layer.name for layer in first.layers] == [layer.name for layer in lower(network).layers]
        assert [layer.scale for layer in first.layers] == [layer.scale for layer in second.layers]


def test_a_layer_that_only_later_layers_feed_keeps_the_default_scale() -> None:
    """inhibit comes before a and hears only from it, one step late: when its turn comes there is nothing to compare."""
    rng = np.random.default_rng(0)
    fc, back, out = (Linear(rng.normal(size=(o, i)), np.zeros(o)) for o, i in ((5, 4), (5, 5), (3, 5)))
    nodes: dict[str, Node] = {"x": Input((4,)), "fc": fc, "a": LIF(0.9, 1.0), "inhibit": LIF(0.9, 0.5), "back": back}
    nodes |= {"last": out, "out": MembraneReadout()}
    pairs = [("x", "fc", 0), ("fc", "a", 0), ("a", "inhibit", 1), ("inhibit", "back", 0), ("back", "a", 0)]
    network = Network(nodes, tuple(Edge(*pair) for pair in [*pairs, ("a", "last", 0), ("last", "out", 0)]), 5)
    default, searched = (quantize(network, LOIHI, data) for data in (None, rng.integers(0, 2, (5, 6, 4))))
    assert [layer.name for layer in searched.layers] == ["inhibit", "a", "out"]
    assert searched.layers[0].scale == default.layers[0].scale


@pytest.mark.parametrize("name", ["ideal", "mixed-signal"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(seed=seeds, subtract=st.booleans(), at_threshold=st.booleans(), bits=st.sampled_from([1, 8]))
def test_only_weights_are_rounded_on_float_chips(
    random_network: Case, name: str, kind: str, seed: int, subtract: bool, at_threshold: bool, bits: int
) -> None:
    model = chip(name)
    reset = "subtract" if subtract else "zero"
    network = random_network(np.random.default_rng(seed), kind, reset=reset, at_threshold=at_threshold, bits=bits)
    program = quantize(network, model)
    for layer, wanted in zip(program.layers, lower(network).layers, strict=True):
        neurons = layer.neurons
        assert isinstance(neurons, FloatNeurons)
        assert np.frexp(layer.scale)[0] == 0.5, "not a power of two"
        assert neurons.decay == wanted.neuron.decay
        np.testing.assert_array_equal(neurons.bias, wanted.bias)
        if isinstance(wanted.neuron, LIF):
            assert neurons.threshold == wanted.neuron.threshold
            assert (neurons.reset, neurons.fires_at_threshold) == (reset, at_threshold)
        largest = 0.0
        for got, exact in zip(layer.synapses, wanted.synapses, strict=True):
            meant = exact.weight * (network.input.scale if got.source == "input" else 1.0)
            assert np.abs(got.weight * layer.scale - meant).max() <= layer.scale / 2 * (1 + 1e-9)
            assert np.abs(got.weight).max() <= model.weight_max
            largest = max(largest, float(np.abs(meant).max()))
        assert largest <= model.weight_max * layer.scale, "the scale does not hold the weights"
        assert largest > model.weight_max * layer.scale / 2, "half the scale would hold them"


def on_grid(network: Network, bits: int) -> Network:
    """The network with weights that a chip of that many bits stores exactly, within ±1."""

    def rounded(node: Node) -> Node:
        if isinstance(node, Conv2d | Linear):
            unit = 2.0 ** -(bits - 2)
            return replace(
                node, weight=np.clip(np.rint(node.weight / unit), -(2 ** (bits - 2)), 2 ** (bits - 2)) * unit
            )
        return node

    return replace(network, nodes={name: rounded(node) for name, node in network.nodes.items()})


@pytest.mark.parametrize(("name", "bits"), [("ideal", 32), ("mixed-signal", 9)])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(seed=seeds, subtract=st.booleans(), at_threshold=st.booleans(), static=st.booleans())
def test_a_float_chip_computes_the_network(
    random_network: Case,
    random_inputs: Case,
    torch_run: Case,
    name: str,
    bits: int,
    kind: str,
    seed: int,
    subtract: bool,
    at_threshold: bool,
    static: bool,
) -> None:
    """Against torch, node by node, without lowering. Nine bits leave room for the division of an average pool."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, kind, reset="subtract" if subtract else "zero", at_threshold=at_threshold)
    network = on_grid(network, bits) if bits < 32 else network
    inputs = random_inputs(rng, network, batch=4, static=static)
    recording = reference.run(quantize(network, chip(name)), inputs)
    spikes, readout = torch_run(network, inputs)
    for lif, fired in spikes.items():
        np.testing.assert_array_equal(recording.spikes[lif], fired)
    np.testing.assert_allclose(recording.readout, readout, rtol=1e-6, atol=1e-6)


def test_the_random_networks_fire(random_network: Case, random_inputs: Case, torch_run: Case) -> None:
    rates: dict[str, list[float]] = {}
    for seed in range(20):
        for kind in KINDS:
            rng = np.random.default_rng(seed)
            network = random_network(rng, kind)
            spikes, _ = torch_run(network, random_inputs(rng, network))
            for name, fired in spikes.items():
                rates.setdefault(f"{kind} {name}", []).append(float(fired.mean()))
    assert all(0.05 < np.mean(rate) < 0.95 for rate in rates.values()), rates
