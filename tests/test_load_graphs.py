"""Computational load of graphs: events that come in, sums before a layer, shortcuts, currents and delays, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from load_by_loops import BATCH, STEPS, counted, random_inputs, run_floats, small_network

from neurodeploy.hw_models import chip
from neurodeploy.ir.arrays import frozen_floats
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    SpikeCountReadout,
)
from neurodeploy.ir.synapses import ConvSynapses
from neurodeploy.load import computational_load, fan_out
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference


def test_spikes_that_come_in_are_added() -> None:
    network = small_network(0, bits=1)
    inputs = random_inputs(network, static=False)
    load = computational_load(network, run_floats(network, inputs), inputs)
    row, node = load.weights[0], network.nodes["conv1"]
    assert isinstance(node, Conv2d)
    connections, events = counted(node, inputs)
    assert (row.multiplications, row.connections) == (0, connections)
    assert row.additions == pytest.approx(events, rel=1e-12)
    assert row.additions_formula == pytest.approx(inputs.mean() * STEPS * connections)
    assert load.neurobench["SynapticOperations"]["Effective_MACs"] == 0


def test_a_still_frame_of_spikes_arrives_at_every_step() -> None:
    network = small_network(0, bits=1)
    still = random_inputs(network, static=True)
    moving = np.broadcast_to(still, (STEPS, *still.shape))
    recording = run_floats(network, still)
    assert (
        computational_load(network, recording, still).weights[0]
        == (computational_load(network, recording, moving).weights[0])
    )


def test_a_reset_to_zero_adds_nothing() -> None:
    network = small_network(0, reset="zero")
    inputs = random_inputs(network, static=True)
    load = computational_load(network, run_floats(network, inputs), inputs)
    assert [row.reset_additions for row in load.neurons] == [0.0] * 4


def added_up() -> Network:
    """a and b are added before the same convolution, whose current a joins without weights; c is counted."""
    rng = np.random.default_rng(2)
    conv = Conv2d(rng.normal(0.1, 0.5, (2, 2, 3, 3)), np.zeros(2), padding=(1, 1))
    nodes = {
        "image": Input((2, 4, 4)),
        "first": Conv2d(rng.normal(0.3, 0.5, (2, 2, 1, 1)), np.zeros(2)),
        "a": LIF(0.5, 0.4),
        "second": Conv2d(rng.normal(0.3, 0.5, (2, 2, 1, 1)), np.zeros(2)),
        "b": LIF(0.5, 0.4),
        "conv": conv,
        "c": LIF(0.5, 0.6),
        "flat": Flatten(),
        "last": Linear(rng.normal(0.02, 0.2, (3, 32)), np.zeros(3)),
        "d": LIF(0.5, 0.3),
        "out": SpikeCountReadout(),
    }
    names = ["image first", "first a", "image second", "second b", "a conv", "b conv", "conv c", "a c", "c flat"]
    return Network(nodes, tuple(Edge(*name.split()) for name in (*names, "flat last", "last d", "d out")), STEPS)


def test_what_is_added_up_shares_its_weights_and_a_shortcut_has_none() -> None:
    network = added_up()
    inputs = random_inputs(network, static=False, seed=3)
    recording = run_floats(network, inputs)
    load = computational_load(network, recording, inputs)
    rows = {row.weights: row for row in load.weights}
    node, spikes = network.nodes["conv"], {name: part.astype(int) for name, part in recording.spikes.items()}
    assert isinstance(node, Conv2d)
    connections, events = counted(node, spikes["a"] + spikes["b"])
    assert (rows["conv"].reads, rows["conv"].connections, rows["conv"].parameters) == ("a+b", connections, 36)
    assert rows["conv"].additions == pytest.approx(events, rel=1e-12)
    assert rows["conv"].rate == pytest.approx(spikes["a"].mean() + spikes["b"].mean())
    shortcut = rows["c"]
    assert (shortcut.reads, shortcut.feeds, shortcut.connections, shortcut.parameters) == ("a", "c", 32, 0)
    assert shortcut.additions == pytest.approx(spikes["a"].sum() / BATCH)
    spiking, ann = load.totals()
    assert ann["additions"] - ann["multiplications"] == 32  # the ANN adds the shortcut, too
    weighted = sum(row.additions for row in load.weights if row.weights != "c")
    assert load.neurobench["SynapticOperations"]["Effective_ACs"] == pytest.approx(weighted)
    assert spiking["parameters"] == 4 + 4 + 36 + 96 + 2 * 4


def test_weights_of_two_layers_are_stored_once_and_a_shortcut_of_vectors_is_no_matrix() -> None:
    rng = np.random.default_rng(4)
    nodes = {
        "in": Input((5,)),
        "fc": Linear(rng.normal(0.3, 0.6, (6, 5)), np.zeros(6)),
        "a": LIF(0.5, 0.4),
        "b": LIF(0.5, 0.9),
        "last": Linear(rng.normal(0, 1, (3, 6)), np.zeros(3)),
        "out": MembraneReadout(),
    }
    edges = [Edge(*name.split()) for name in ("in fc", "fc a", "fc b", "a b", "b last", "last out")]
    network = Network(nodes, tuple(edges), STEPS)
    inputs = random_inputs(network, static=False)
    recording = run_floats(network, inputs)
    load = computational_load(network, recording, inputs)
    found = [(row.weights, row.feeds, row.connections, row.parameters) for row in load.weights]
    assert found == [("fc", "a", 30, 30), ("fc", "b", 30, 0), ("b", "b", 6, 0), ("last", "out", 18, 18)]
    assert load.weights[2].additions == pytest.approx(recording.spikes["a"].sum() / BATCH)
    ann = load.totals()[1]  # weighs once what both layers read, and adds the shortcut
    assert (ann["multiplications"], ann["additions"]) == (30 + 18, 30 + 18 + 6)
    assert load.neurobench["ParameterCount"] == 48 + 2 + 2 + 1
    assert load.neurobench["Footprint"] == 4 * 53


def test_fan_out_of_one_place_by_hand() -> None:
    """A 3 x 3 kernel at stride 2 with a border of 1 on 4 x 4: a corner is read once, (1, 1) four times."""
    synapses = ConvSynapses("c", "a", frozen_floats(np.ones((1, 1, 3, 3))), (2, 2), (1, 1))
    fan = fan_out(synapses, (1, 4, 4), np.ones((1, 1, 3, 3), bool))
    assert fan[0].tolist() == [[1, 2, 1, 1], [2, 4, 2, 2], [1, 2, 1, 1], [1, 2, 1, 1]]


def test_neurons_with_a_current_fire_and_leak_twice() -> None:
    rng = np.random.default_rng(4)
    nodes = {
        "image": Input((6,), 1 / 15, 4),
        "fc": Linear(rng.normal(0.3, 0.5, (5, 6)), np.zeros(5)),
        "a": CubaLIF(0.75, 0.5, 0.9),
        "last": Linear(rng.normal(0, 1, (3, 5)), np.zeros(3)),
        "b": CubaLIF(1.0, 0.0, 0.4),
        "count": SpikeCountReadout(),
    }
    edges = [Edge(*name.split()) for name in ("image fc", "fc a", "a last", "last b", "b count")]
    network = Network(nodes, tuple(edges), STEPS)
    inputs = random_inputs(network, static=True)
    recording = run_floats(network, inputs)
    load = computational_load(network, recording, inputs)
    rates = {"a": recording.spikes["a"].mean(), "b": recording.spikes["b"].mean()}
    assert {row.layer: row.firing_rate for row in load.neurons} == pytest.approx(rates)
    # Potential and current of "a" are multiplied; of "b" neither is, for one keeps everything and the other nothing.
    assert [row.leak_multiplications for row in load.neurons] == [2 * 5 * STEPS, 0]
    assert [row.parameters for row in load.neurons] == [3, 3]


@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize(("delay", "arriving"), [(4, 1), (5, 0), (7, 0)])
def test_what_comes_after_the_last_step_costs_nothing(delay: int, arriving: int, static: bool, bits: int) -> None:
    """Five steps: with a delay of 4 the first step's outputs arrive in the last one."""
    nodes = {
        "in": Input((4,), 1.0, bits),
        "late": Linear(np.ones((3, 4)), np.zeros(3)),
        "now": Linear(np.ones((3, 4)), np.zeros(3)),
        "a": LIF(0.9, 0.5),
        "behind": Linear(np.ones((2, 3)), np.zeros(2)),
        "b": LIF(0.9, 0.5),
        "out": SpikeCountReadout(),
    }
    edges = [Edge("in", "late", delay), Edge("in", "now"), Edge("late", "a"), Edge("now", "a")]
    edges += [Edge("a", "behind", delay), Edge("behind", "b"), Edge("b", "out")]
    network = Network(nodes, tuple(edges), 5)
    program = quantize(network, chip("loihi2"))
    inputs = np.ones((2, 4) if static else (5, 2, 4), dtype=int)
    recording = reference.run(program, inputs)
    assert recording.spikes["a"].all()
    late, now, behind = computational_load(network, recording, inputs, program).weights
    assert (late.weights, now.weights, behind.weights) == ("late", "now", "behind")
    assert (late.additions, behind.additions) == (12 * arriving, 6 * arriving)
    assert now.additions == 12 * (1 if static and bits > 1 else 5)
    assert late.multiplications == (12 * arriving if bits > 1 else 0)
