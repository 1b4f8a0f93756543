"""Computational load, against counting by loops over every output, tap, step and sample of small networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from load_by_loops import BATCH, STEPS, Array, counted, random_inputs, run_floats, small_network

from neurodeploy.hw_models import chip
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import (
    Conv2d,
    Linear,
)
from neurodeploy.load import Load, computational_load
from neurodeploy.quantize import quantize
from neurodeploy.simulate.recording import Recording


def pooled(values: Array, size: int) -> Array:
    """(…, C, H, W): sums over windows, by loops."""
    out = np.zeros((*values.shape[:-2], values.shape[-2] // size, values.shape[-1] // size), dtype=int)
    for y in range(out.shape[-2]):
        for x in range(out.shape[-1]):
            for down in range(size):
                for right in range(size):
                    out[..., y, x] += values[..., y * size + down, x * size + right]
    return out


@pytest.fixture(scope="module")
def case() -> tuple[Network, Array, Recording, Load]:
    network = small_network()
    inputs = random_inputs(network, static=True)
    recording = run_floats(network, inputs)
    return network, inputs, recording, computational_load(network, recording, inputs)


def test_every_connection_and_event_is_counted(case: tuple[Network, Array, Recording, Load]) -> None:
    network, inputs, recording, load = case
    rows = {row.weights: row for row in load.weights}
    assert list(rows) == ["conv1", "conv2", "fc", "back", "last"]
    nodes, spikes = network.nodes, {name: values.astype(int) for name, values in recording.spikes.items()}
    reads = {
        "conv2": ("a", "b", pooled(spikes["a"], 2)),
        "fc": ("b", "c", spikes["b"]),
        "back": ("c", "c", spikes["c"][:-1]),  # the last step's spikes arrive nowhere
        "last": ("c", "out", spikes["c"]),
    }
    for name, (source, target, frames) in reads.items():
        node = nodes[name]
        assert isinstance(node, Conv2d | Linear)
        connections, events = counted(node, frames)
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
    connections, _ = counted(first, inputs[None])
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
    network = small_network(5)
    inputs = random_inputs(network, static)
    recording = run_floats(network, inputs)
    program = quantize(network, chip("mixed-signal@4")) if stored else None
    load = computational_load(network, recording, inputs, program, 4 if stored else None, 20.0)
    kept = {one.name: one.weight for layer in program.layers for one in layer.synapses} if program else {}
    shown = np.broadcast_to(inputs, (STEPS, *inputs.shape)) if static else inputs
    spikes = {name: values.astype(int) for name, values in recording.spikes.items()}
    reads = {"conv2": pooled(spikes["a"], 2), "fc": spikes["b"], "back": spikes["c"][:-1], "last": spikes["c"]}
    nodes: dict[str, Any] = dict(network.nodes)
    present = {name: kept.get(name, nodes[name].weight) != 0 for name in ("conv1", *reads)}
    found = load.neurobench["SynapticOperations"]
    zeros, total = sum(int((~mask).sum()) for mask in present.values()), sum(mask.size for mask in present.values())
    assert zeros > (20 if stored else 5)
    graded = counted(nodes["conv1"], (shown > 0).astype(int), present["conv1"])[1]
    assert found["Effective_MACs"] == pytest.approx(graded, rel=1e-12)
    events = sum(counted(nodes[name], frames, present[name])[1] for name, frames in reads.items())
    assert found["Effective_ACs"] == pytest.approx(events, rel=1e-12)
    ones = {name: np.ones((1, 1, *frames.shape[2:]), int) for name, frames in reads.items()}
    dense = {name: counted(nodes[name], one)[1] * len(reads[name]) for name, one in ones.items()}
    dense["conv2"] *= 4  # every spike of a window
    dense["conv1"] = counted(nodes["conv1"], np.ones((1, 1, 2, 8, 6), int))[1] * STEPS
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
