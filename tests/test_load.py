"""Computational load, against counting by loops over every output, tap, step and sample of small networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neurodeploy.hw_models import chip
from neurodeploy.ir.arrays import frozen_floats
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    SpikeCountReadout,
)
from neurodeploy.ir.synapses import ConvSynapses
from neurodeploy.load import Load, computational_load, fan_out
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

STEPS, BATCH = 4, 3
Array = np.ndarray[Any, Any]


def _network(seed: int = 0, bits: int = 4, reset: str = "subtract") -> Network:
    """conv (stride, padding) -> a -> pool -> conv (groups, dilation) -> b, plus a's shortcut -> fc -> c, recurrent."""
    rng = np.random.default_rng(seed)
    first = Conv2d(rng.normal(0.05, 0.6, (4, 2, 3, 3)), rng.normal(0.1, 0.1, 4), (2, 1), (1, 1))
    second = Conv2d(rng.normal(0.1, 0.8, (4, 2, 2, 3)), np.array([0.1, 0.0, 0.2, 0.0]), (1, 2), (1, 2), (1, 2), 2)
    weight = rng.normal(0.05, 0.6, (6, 24))
    weight[np.abs(weight) < 0.1] = 0
    nodes = {
        "image": Input((2, 8, 6), 1.0 if bits == 1 else 1 / 15, bits),
        "conv1": first,
        "a": LIF(0.75, 0.5, reset),  # type: ignore[arg-type]
        "pool": AvgPool2d(2),
        "conv2": second,
        "b": LIF(1.0, 0.4, reset),  # type: ignore[arg-type]
        "flat": Flatten(),
        "fc": Linear(weight[:, :24], np.zeros(6)),
        "c": LIF(0.5, 0.3, reset),  # type: ignore[arg-type]
        "back": Linear(rng.normal(0, 0.3, (6, 6)), np.zeros(6)),
        "last": Linear(rng.normal(0, 1, (3, 6)), rng.normal(0, 1, 3)),
        "out": MembraneReadout(0.9),
    }
    names = ["image conv1", "conv1 a", "a pool", "pool conv2", "conv2 b", "b flat", "flat fc", "fc c", "c back"]
    edges = [Edge(*name.split()) for name in (*names, "c last", "last out")]
    return Network(nodes, (*edges, Edge("back", "c", 1)), STEPS)


def _inputs(network: Network, static: bool, seed: int = 1) -> Array:
    shape = (BATCH, *network.input.shape) if static else (STEPS, BATCH, *network.input.shape)
    return np.random.default_rng(seed).integers(0, 2**network.input.bits, shape)


def _run(network: Network, inputs: Array) -> Recording:
    recording = reference.run(quantize(network, chip("mixed-signal")), inputs)
    assert all(0.05 < rate < 0.95 for rate in recording.firing_rates().values()), recording.firing_rates()
    return recording


def _pool(values: Array, size: int) -> Array:
    """(…, C, H, W): sums over windows, by loops."""
    out = np.zeros((*values.shape[:-2], values.shape[-2] // size, values.shape[-1] // size), dtype=int)
    for y in range(out.shape[-2]):
        for x in range(out.shape[-1]):
            for down in range(size):
                for right in range(size):
                    out[..., y, x] += values[..., y * size + down, x * size + right]
    return out


def _convolved(node: Conv2d, values: Array, present: Array) -> tuple[int, int]:
    """(connections, Σ values over connections) of one frame (C, H, W), output by output and tap by tap."""
    outputs, per_group, high, wide = node.weight.shape
    connections = events = 0
    _, rows, columns = node.output_shape(values.shape)
    for output in range(outputs):
        group = output // (outputs // node.groups)
        for row in range(rows):
            for column in range(columns):
                for channel in range(per_group):
                    for down in range(high):
                        for right in range(wide):
                            y = row * node.stride[0] - node.padding[0] + down * node.dilation[0]
                            x = column * node.stride[1] - node.padding[1] + right * node.dilation[1]
                            inside = 0 <= y < values.shape[1] and 0 <= x < values.shape[2]
                            if inside and present[output, channel, down, right]:
                                connections += 1
                                events += int(values[group * per_group + channel, y, x])
    return connections, events


def _connected(weight: Array, values: Array, present: Array) -> tuple[int, int]:
    connections = events = 0
    for output in range(weight.shape[0]):
        for feature in range(weight.shape[1]):
            if present[output, feature]:
                connections += 1
                events += int(values[feature])
    return connections, events


def _counted(node: Conv2d | Linear, frames: Array, present: Array | None = None) -> tuple[int, float]:
    """(connections, events per sample) of frames (F, B, …)."""
    shown = np.ones(node.weight.shape, bool) if present is None else present
    connections, events = 0, 0
    for step in range(frames.shape[0]):
        for sample in range(frames.shape[1]):
            if isinstance(node, Conv2d):
                connections, more = _convolved(node, frames[step, sample], shown)
            else:
                connections, more = _connected(node.weight, frames[step, sample].ravel(), shown)
            events += more
    return connections, events / frames.shape[1]


@pytest.fixture(scope="module")
def case() -> tuple[Network, Array, Recording, Load]:
    network = _network()
    inputs = _inputs(network, static=True)
    recording = _run(network, inputs)
    return network, inputs, recording, computational_load(network, recording, inputs)


def test_every_connection_and_event_is_counted(case: tuple[Network, Array, Recording, Load]) -> None:
    network, inputs, recording, load = case
    rows = {row.weights: row for row in load.weights}
    assert list(rows) == ["conv1", "conv2", "fc", "back", "last"]
    nodes, spikes = network.nodes, {name: values.astype(int) for name, values in recording.spikes.items()}
    reads = {
        "conv2": ("a", "b", _pool(spikes["a"], 2)),
        "fc": ("b", "c", spikes["b"]),
        "back": ("c", "c", spikes["c"][:-1]),  # the last step's spikes arrive nowhere
        "last": ("c", "out", spikes["c"]),
    }
    for name, (source, target, frames) in reads.items():
        node = nodes[name]
        assert isinstance(node, Conv2d | Linear)
        connections, events = _counted(node, frames)
        row = rows[name]
        assert (row.reads, row.feeds, row.connections, row.multiplications) == (source, target, connections, 0), name
        assert row.additions == pytest.approx(events, rel=1e-12), name
        rate = spikes[source].mean()
        assert row.rate == pytest.approx(rate, rel=1e-12), name
        assert row.additions_formula == pytest.approx(rate * STEPS * connections, rel=1e-12), name
    # Borders: a convolution's formula with full kernels everywhere would count more.
    full = 4 * 3 * 3 * 2 * 4 * 6
    first = nodes["conv1"]
    assert isinstance(first, Conv2d)
    connections, _ = _counted(first, inputs[None])
    assert connections < full
    row = rows["conv1"]
    assert (row.reads, row.connections, row.multiplications) == ("input", connections, connections)
    assert (row.additions, row.additions_formula) == (connections, connections)
    assert row.rate == pytest.approx(inputs.mean() / 15)


def test_neurons_and_parameters(case: tuple[Network, Array, Recording, Load]) -> None:
    network, _, recording, load = case
    rows = {row.layer: row for row in load.neurons}
    assert {name: row.neurons for name, row in rows.items()} == {"a": 96, "b": 24, "c": 6, "out": 3}
    assert {name: row.leak_multiplications for name, row in rows.items()} == {
        "a": 96 * STEPS,
        "b": 0,  # a decay of 1
        "c": 6 * STEPS,
        "out": 3 * STEPS,
    }
    assert {name: row.bias_additions for name, row in rows.items()} == {
        "a": 96 * STEPS,
        "b": 12 * STEPS,  # two of four channels
        "c": 0,
        "out": 3 * STEPS,
    }
    for name, row in rows.items():
        if name != "out":
            assert row.firing_rate == recording.firing_rates()[name]
            assert row.reset_additions == pytest.approx(recording.spikes[name].sum() / BATCH)
    assert (rows["out"].firing_rate, rows["out"].reset_additions) == (None, 0.0)
    sizes = {name: getattr(network.nodes[name], "weight", np.zeros(0)).size for name in network.nodes}
    assert {row.weights: row.parameters for row in load.weights} == {
        "conv1": sizes["conv1"] + 4,
        "conv2": sizes["conv2"] + 4,
        "fc": sizes["fc"],
        "back": sizes["back"],
        "last": sizes["last"] + 3,
    }
    assert [row.parameters for row in load.neurons] == [2, 2, 2, 1]


def test_totals_are_sums_and_the_ann_runs_once(case: tuple[Network, Array, Recording, Load]) -> None:
    _, _, _, load = case
    spiking, ann = load.totals()
    connections = sum(row.connections for row in load.weights)
    weights = sum(row.parameters for row in load.weights)
    assert spiking == {
        "network": "SNN",
        "additions_formula": sum(row.additions_formula for row in load.weights),
        "additions": sum(row.additions for row in load.weights),
        "multiplications": load.weights[0].connections,
        "leak_multiplications": (96 + 6 + 3) * STEPS,
        "bias_additions": (96 + 12 + 3) * STEPS,
        "reset_additions": sum(row.reset_additions for row in load.neurons),
        "parameters": weights + 7,
    }
    assert ann == {
        "network": "ANN",
        "additions_formula": connections,
        "additions": connections,
        "multiplications": connections,
        "leak_multiplications": 0,
        "bias_additions": 96 + 12 + 3,
        "reset_additions": 0,
        "parameters": weights,
    }
    assert (load.samples, load.steps) == (BATCH, STEPS)


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_neurobench_counts_what_is_not_zero(static: bool, stored: bool) -> None:
    network = _network(5)
    inputs = _inputs(network, static)
    recording = _run(network, inputs)
    program = quantize(network, chip("mixed-signal@4")) if stored else None
    load = computational_load(network, recording, inputs, program, 4 if stored else None, 20.0)
    kept = {one.name: one.weight for layer in program.layers for one in layer.synapses} if program else {}
    shown = np.broadcast_to(inputs, (STEPS, *inputs.shape)) if static else inputs
    spikes = {name: values.astype(int) for name, values in recording.spikes.items()}
    reads = {"conv2": _pool(spikes["a"], 2), "fc": spikes["b"], "back": spikes["c"][:-1], "last": spikes["c"]}
    nodes: dict[str, Any] = dict(network.nodes)
    present = {name: kept.get(name, nodes[name].weight) != 0 for name in ("conv1", *reads)}
    found = load.neurobench["SynapticOperations"]
    zeros, total = sum(int((~mask).sum()) for mask in present.values()), sum(mask.size for mask in present.values())
    assert zeros > (20 if stored else 5)
    graded = _counted(nodes["conv1"], (shown > 0).astype(int), present["conv1"])[1]
    assert found["Effective_MACs"] == pytest.approx(graded, rel=1e-12)
    events = sum(_counted(nodes[name], frames, present[name])[1] for name, frames in reads.items())
    assert found["Effective_ACs"] == pytest.approx(events, rel=1e-12)
    ones = {name: np.ones((1, 1, *frames.shape[2:]), int) for name, frames in reads.items()}
    dense = {name: _counted(nodes[name], one)[1] * len(reads[name]) for name, one in ones.items()}
    dense["conv2"] *= 4  # every spike of a window
    dense["conv1"] = _counted(nodes["conv1"], np.ones((1, 1, 2, 8, 6), int))[1] * STEPS
    assert found["Dense"] == pytest.approx(sum(dense.values()))
    assert found["Effective_ACs"] + found["Effective_MACs"] < found["Dense"]
    assert load.neurobench["ConnectionSparsity"] == pytest.approx(zeros / total)
    fired = sum(int(values.sum()) for values in spikes.values()) / sum(values.size for values in spikes.values())
    assert load.neurobench["ActivationSparsity"] == pytest.approx(1 - fired)
    assert load.neurobench["ParameterCount"] == total + 4 + 4 + 3 + 7
    assert load.neurobench["Footprint"] == total * (0.5 if stored else 4) + (4 + 4 + 3 + 7) * 4
    assert load.neurobench["ModelExecutionRate"] == 20.0
    row = load.weights[0]
    assert row.multiplications == row.connections * (1 if static else STEPS)  # a still frame is weighed once


def test_spikes_that_come_in_are_added() -> None:
    network = _network(0, bits=1)
    inputs = _inputs(network, static=False)
    load = computational_load(network, _run(network, inputs), inputs)
    row, node = load.weights[0], network.nodes["conv1"]
    assert isinstance(node, Conv2d)
    connections, events = _counted(node, inputs)
    assert (row.multiplications, row.connections) == (0, connections)
    assert row.additions == pytest.approx(events, rel=1e-12)
    assert row.additions_formula == pytest.approx(inputs.mean() * STEPS * connections)
    assert load.neurobench["SynapticOperations"]["Effective_MACs"] == 0


def test_a_still_frame_of_spikes_arrives_at_every_step() -> None:
    network = _network(0, bits=1)
    still = _inputs(network, static=True)
    moving = np.broadcast_to(still, (STEPS, *still.shape))
    recording = _run(network, still)
    assert (
        computational_load(network, recording, still).weights[0]
        == (computational_load(network, recording, moving).weights[0])
    )


def test_a_reset_to_zero_adds_nothing() -> None:
    network = _network(0, reset="zero")
    inputs = _inputs(network, static=True)
    load = computational_load(network, _run(network, inputs), inputs)
    assert [row.reset_additions for row in load.neurons] == [0.0] * 4


def _added_up() -> Network:
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
    network = _added_up()
    inputs = _inputs(network, static=False, seed=3)
    recording = _run(network, inputs)
    load = computational_load(network, recording, inputs)
    rows = {row.weights: row for row in load.weights}
    node, spikes = network.nodes["conv"], {name: part.astype(int) for name, part in recording.spikes.items()}
    assert isinstance(node, Conv2d)
    connections, events = _counted(node, spikes["a"] + spikes["b"])
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
    inputs = _inputs(network, static=False)
    recording = _run(network, inputs)
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
    inputs = _inputs(network, static=True)
    recording = _run(network, inputs)
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
