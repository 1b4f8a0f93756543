"""Neurons with a synaptic current, from the float network to a chip: against a second implementation, node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.errors import DesignRuleError
from neurodeploy.ir.lower import lower
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import LIF, CubaLIF, Input, Linear, MembraneReadout, Node, SpikeCountReadout
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons
from neurodeploy.quantize import quantize, threshold_scale
from neurodeploy.simulate import engine, reference

seeds = st.integers(0, 2**32 - 1)
LOIHI = hw_models.chip("loihi2")
Spikes = dict[str, NDArray[Any]]


def linear(rng: np.random.Generator, out: int, features: int) -> Linear:
    weight = rng.normal(0.1, 1.0, (out, features)) / np.sqrt(features)
    return Linear(weight, rng.normal(0.05, 0.1, out))


def delayed_network(rng: np.random.Generator, first: CubaLIF, second: CubaLIF, steps: int = 9) -> Network:
    """x -> a -> b -> readout; a onto itself after one step, a to b once more after three, x to b after five."""
    nodes: dict[str, Node] = {"x": Input((5,)), "in": linear(rng, 6, 5), "a": first, "rec": linear(rng, 6, 6)}
    nodes |= {"fc": linear(rng, 4, 6), "late": linear(rng, 4, 6), "past": linear(rng, 4, 5), "b": second}
    nodes |= {"count": SpikeCountReadout()}
    edges = [Edge("x", "in"), Edge("in", "a"), Edge("a", "rec"), Edge("rec", "a", 1), Edge("a", "fc"), Edge("fc", "b")]
    edges += [Edge("a", "late", 2), Edge("late", "b", 1), Edge("x", "past", 5), Edge("past", "b"), Edge("b", "count")]
    return Network(nodes, tuple(edges), steps)


def by_hand(network: Network, inputs: NDArray[Any]) -> Spikes:
    """Spikes (T, B, n) of `delayed_network`, by the equations of CubaLIF: weights on the current, biases beside it."""
    steps, batch = inputs.shape[:2]
    node = network.nodes
    fired = {"x": list(inputs.astype(float)), "a": [], "b": []}
    into = {"a": [("in", "x", 0), ("rec", "a", 1)], "b": [("fc", "a", 0), ("late", "a", 3), ("past", "x", 5)]}
    current = {name: np.zeros((batch, network.shapes[name][0])) for name in into}
    potential = {name: np.zeros_like(values) for name, values in current.items()}
    for step in range(steps):
        for name, connections in into.items():
            neuron = node[name]
            assert isinstance(neuron, CubaLIF)
            arriving, bias = np.zeros_like(current[name]), np.zeros(current[name].shape[1])
            for weights, source, delay in connections:
                fc = node[weights]
                assert isinstance(fc, Linear)
                bias = bias + fc.bias
                if step >= delay:
                    arriving = arriving + fired[source][step - delay] @ fc.weight.T
            current[name] = neuron.current_decay * current[name] + arriving
            u = neuron.decay * potential[name] + current[name] + bias
            spikes = u >= neuron.threshold if neuron.fires_at_threshold else u > neuron.threshold
            potential[name] = np.where(spikes, u - neuron.threshold if neuron.reset == "subtract" else 0, u)
            fired[name].append(spikes.astype(float))
    return {name: np.stack(fired[name]) for name in into}


def fine(network: Network) -> Network:
    """The network with weights on a grid that 8 bits hold exactly, at a power of two as scale."""
    nodes = {
        name: Linear(np.clip(np.rint(node.weight * 32), -127, 127) / 32, node.bias)
        if isinstance(node, Linear)
        else node
        for name, node in network.nodes.items()
    }
    return Network(nodes, network.edges, network.steps)


@pytest.mark.parametrize("chip", ["ideal", "mixed-signal"])
@settings(max_examples=25)
@given(seed=seeds, reset=st.sampled_from(["zero", "subtract"]), at_threshold=st.booleans())
def test_float_chips_compute_the_network(chip: str, seed: int, reset: Any, at_threshold: bool) -> None:
    rng = np.random.default_rng(seed)
    first, second = (
        CubaLIF(
            float(rng.uniform(0.3, 1)), float(rng.uniform(0, 0.9)), float(rng.uniform(0.5, 1.5)), reset, at_threshold
        )
        for _ in range(2)
    )
    network = fine(delayed_network(rng, first, second))
    program = quantize(network, hw_models.chip(chip))
    for layer in program.layers:
        node = network.nodes[layer.name]
        assert isinstance(layer.neurons, FloatNeurons)
        assert isinstance(node, CubaLIF)
        assert float(layer.neurons.current_decay) == node.current_decay
        assert layer.fires
    inputs = rng.integers(0, 2, (9, 4, 5))
    wanted, got = by_hand(network, inputs), reference.run(program, inputs)
    for name, spikes in wanted.items():
        np.testing.assert_array_equal(got.spikes[name], spikes)
    np.testing.assert_array_equal(got.readout, wanted["b"].sum(axis=0))


def test_those_networks_are_alive() -> None:
    rates = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        neurons = [CubaLIF(float(rng.uniform(0.3, 1)), float(rng.uniform(0, 0.9)), 1.0) for _ in range(2)]
        spikes = by_hand(delayed_network(rng, *neurons), rng.integers(0, 2, (9, 4, 5)))
        rates += [float(values.mean()) for values in spikes.values()]
    assert 0.1 < np.mean(rates) < 0.6


@given(seed=seeds, decay=st.floats(0.01, 1), current=st.floats(0, 1), at_threshold=st.booleans())
def test_every_register_of_loihi_means_what_the_network_says(
    seed: int, decay: float, current: float, at_threshold: bool
) -> None:
    rng = np.random.default_rng(seed)
    network = delayed_network(rng, *(CubaLIF(decay, current, 0.7, fires_at_threshold=at_threshold),) * 2)
    program = quantize(network, LOIHI)
    for layer, exact in zip(program.layers, lower(network).layers, strict=True):
        neurons = layer.neurons
        assert isinstance(neurons, FixedPointNeurons)
        assert abs((4096 - int(neurons.current_decay)) / 4096 - current) <= 1 / 8192
        assert abs((4096 - int(neurons.voltage_decay)) / 4096 - decay) <= 1 / 8192
        assert isinstance(exact.neuron, CubaLIF)
        assert layer.scale == pytest.approx(threshold_scale(exact.neuron, int(neurons.threshold)), rel=1e-13)
        assert [one.delay for one in layer.synapses] == [one.delay for one in exact.synapses]


def test_without_memory_in_the_current_it_is_the_lif() -> None:
    rng = np.random.default_rng(3)
    cuba = delayed_network(rng, CubaLIF(0.75, 0.0, 0.8), CubaLIF(0.5, 0.0, 0.7))
    nodes = dict(cuba.nodes) | {"a": LIF(0.75, 0.8), "b": LIF(0.5, 0.7)}
    inputs = rng.integers(0, 2, (9, 6, 5))
    for chip in ("loihi2", "ideal"):
        with_current, without = (
            engine.run(quantize(network, hw_models.chip(chip)), inputs)
            for network in (cuba, Network(nodes, cuba.edges, 9))
        )
        for name in ("a", "b"):
            np.testing.assert_array_equal(with_current.spikes[name], without.spikes[name])
            np.testing.assert_array_equal(with_current.potentials[name], without.potentials[name])
            assert 0.05 < with_current.spikes[name].mean() < 0.95


def test_a_network_on_the_chips_grid_is_the_chip() -> None:
    """Integers, and decays of 1/2 over 6 steps: a weight unit is 64 voltage units, which halve so often exactly."""
    rng = np.random.default_rng(5)

    def integers(out: int, features: int) -> Linear:
        weight = rng.integers(-127, 128, (out, features)).astype(float)
        weight[0, 0] = 127
        return Linear(weight, rng.integers(-10, 20, out).astype(float))

    nodes: dict[str, Node] = {
        "x": Input((5,)),
        "in": integers(6, 5),
        "a": CubaLIF(0.5, 0.5, 150.0),
        "rec": integers(6, 6),
    }
    nodes |= {"fc": integers(4, 6), "late": integers(4, 6), "past": integers(4, 5), "b": CubaLIF(0.5, 0.5, 200.0)}
    network = Network(
        nodes | {"count": SpikeCountReadout()}, delayed_network(rng, *[CubaLIF(0.5, 0.5, 1.0)] * 2).edges, 6
    )
    program = quantize(network, LOIHI)
    assert [layer.scale for layer in program.layers] == [1.0, 1.0]
    inputs = rng.integers(0, 2, (6, 20, 5))
    wanted, got = by_hand(network, inputs), reference.run(program, inputs)
    for name, spikes in wanted.items():
        np.testing.assert_array_equal(got.spikes[name], spikes)
        assert 0.05 < spikes.mean() < 0.95


def test_scales_are_searched_on_calibration_data() -> None:
    rng = np.random.default_rng(8)
    network = delayed_network(rng, CubaLIF(0.9, 0.4, 0.9), CubaLIF(0.8, 0.3, 0.8))
    inputs = rng.integers(0, 2, (9, 40, 5))
    wanted = by_hand(network, inputs)

    def wrong(calibration: NDArray[Any] | None) -> int:
        got = reference.run(quantize(network, LOIHI, calibration), inputs)
        return sum(int((got.spikes[name] != spikes).sum()) for name, spikes in wanted.items())

    assert wrong(inputs) <= wrong(None) < 0.1 * sum(spikes.size for spikes in wanted.values())
    assert all(0.05 < spikes.mean() < 0.95 for spikes in wanted.values())


def test_a_reset_that_the_chip_lacks_is_refused() -> None:
    nodes: dict[str, Node] = {"x": Input((2,)), "fc": Linear(np.ones((1, 2)), np.zeros(1))}
    nodes |= {"a": CubaLIF(0.5, 0.5, 1.0, "subtract"), "out": MembraneReadout()}
    network = Network(nodes, (Edge("x", "fc"), Edge("fc", "a"), Edge("a", "out")), 2)
    with pytest.raises(DesignRuleError, match="layer a: reset 'subtract'"):
        quantize(network, LOIHI)
    assert quantize(network, hw_models.chip("ideal")).layers[0].neurons.reset == "subtract"  # type: ignore[union-attr]
