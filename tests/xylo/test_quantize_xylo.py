"""Quantisation for Xylo: numbers by hand, equality in step with the float network, survival, refusals."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from xylo.quantized_networks import A2, IMU, SAMPLES, STEPS, cuba, events, likeness, network

from neurodeploy import quantize_xylo_build
from neurodeploy.errors import DesignRuleError
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import LIF, CubaLIF, Input, Linear, MembraneReadout, Node, SpikeCountReadout
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.to_populations import to_populations
from neurodeploy.ir.xylo_direct import directly
from neurodeploy.ir.xylo_layout import layout
from neurodeploy.quantize_xylo import quantize_xylo, troubles
from neurodeploy.quantize_xylo_build import Setting, Shifts, area, build
from neurodeploy.quantize_xylo_search import case_of, differences, smoothed
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate import xylo_engine


def test_the_area_of_a_current_by_hand() -> None:
    """Dash 1 keeps 1/2: 1/2 + 1/4 + … = 1, as a current without memory; dash 2 brings 3, one of 3/4 brings 4."""
    assert area(np.array([1]), np.array([0.0])).tolist() == [1.0]
    assert area(np.array([2]), np.array([0.0])).tolist() == pytest.approx([1 / 3])
    assert area(np.array([2]), np.array([0.75])).tolist() == pytest.approx([4 / 3])
    for dash, decay in ((1, 0.0), (2, 0.6), (5, 0.9)):
        weight = float(area(np.array([dash]), np.array([decay]))[0])
        current, total, meant = 0.0, 0.0, 1 / (1 - decay)
        for step in range(2000):
            current = (1 - 2.0**-dash) * (current + (weight if step == 0 else 0.0))
            total += current
        assert total == pytest.approx(meant)


def test_the_integers_of_one_neuron_by_hand() -> None:
    """Largest weight 2 at 127: s = 2/127. Threshold 3 times 1.2: 3.6 / s = 228.6. Bias: 31.75. Shift 1: s halves."""
    a = Population("a", np.array([0.75]), np.array([[0.5]]), np.array([3.0]), np.array([0.5]))
    out = Population("out", np.array([0.5]), np.zeros((1, 1)), np.array([1.0]), np.zeros(1))
    net = PopulationNetwork(
        Input((2,), 0.5, 2),
        (a, out),
        (Projection("input", "a", np.array([[2.0], [-1.0]])), Projection("a", "out", np.array([[0.25]]))),
        "spike_count",
        5,
    )
    ones = np.ones(1)
    settings = {
        "a": Setting(np.array([2]), np.array([[1]]), np.array([1.2])),
        "out": Setting(np.array([1]), np.array([[1]]), ones),
    }
    highest = {"a": ones, "out": ones}
    placed = layout(net)
    for shift in (0, 1):
        made = build(placed, settings, Shifts(shift, 0, 0), highest, "xylo-a2")
        scale = 2 / 127 / 2**shift  # weight 2 * scale 0.5 * area (1 - 0.5) / (0.5 (1 - 0.5)) = 2
        assert made.weights_in[:, 0, 0].tolist() == [127, -64]
        assert made.threshold.tolist() == [int(3.6 / scale) + 1]  # one above: fires past its threshold, not at it
        assert made.bias.tolist() == [round(0.5 / scale)]
        assert (made.dash_mem.tolist(), made.dash_syn.tolist(), made.weight_shift_in) == ([2], [[1]], shift)
        assert (made.weights_out.tolist(), made.threshold_out.tolist()) == ([[127]], [509])
        assert (made.dash_mem_out.tolist(), made.dash_syn_out.tolist()) == ([1], [1])
    full = build(placed, settings, Shifts(7, 0, 0), {"a": ones * 200, "out": ones}, "xylo-a2")
    assert full.threshold.tolist() == [int(3.6 * 32767 / 400) + 1]  # the state may reach twice 200
    assert full.weights_in[0, 0, 0] == round(2 * 32767 / 400 / 128)


def test_a_network_with_the_chip_s_own_decays_survives_almost_unchanged() -> None:
    rng = np.random.default_rng(1)
    net = network(rng, CubaLIF(0.875, 0.5, 0.9, "subtract"), (12,))
    made = quantize_xylo(net, A2, events(rng, 6))
    assert set(made.dash_mem.tolist()) == {3}
    assert set(made.dash_syn.ravel().tolist()) == {1}
    assert made.latency == 1
    assert likeness(net, made, events(rng, 6)) > 0.97


@pytest.mark.parametrize("hidden", [(12,), (10, 8)])
def test_a_network_without_currents_is_laid_out_directly_where_that_is_nearer(hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    net = network(rng, LIF(0.75, 1.2, "subtract"), hidden, MembraneReadout(1.0))
    made = quantize_xylo(net, A2, events(rng, 6))
    assert "clock" in {block.name for block in made.blocks}
    places = {block.name: slice(block.start, block.stop) for block in made.blocks}
    part = places["lif0"]
    assert set(made.dash_mem[part].tolist()) == {0}
    assert set(made.dash_syn[part].ravel().tolist()) == {2}
    assert (np.diag(made.weights_rec[part, part, 0]) < 0).all()
    assert made.latency == len(hidden)
    assert likeness(net, made, events(rng, 6)) > 0.9


def test_a_direct_layer_fires_when_the_float_layer_does() -> None:
    """Weights on the grid of the chip, no bias, potentials below two thresholds: spike for spike but for rounding."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-40, 60, (10, 6)) / 127
    nodes: list[tuple[str, Node]] = [
        ("in", Input((6,), 1.0, 1)),
        ("fc", Linear(weight, np.zeros(10))),
        ("lif", LIF(0.75, 1.5, "subtract")),
        ("last", Linear(rng.normal(0, 1, (3, 10)), np.zeros(3))),
        ("readout", MembraneReadout(1.0)),
    ]
    net = to_populations(sequential(nodes, 40))
    inputs = (rng.random((40, 30, 6)) < 0.6).astype(int)
    wanted = float_simulator.run(net, inputs)
    assert wanted.highest["lif"].max() < 2 * 1.5
    assert 0.05 < wanted.spikes["lif"].mean() < 0.95
    placed = layout(*directly(net, 64))
    zeros, ones = np.zeros(10, dtype=int), np.ones(10)
    settings = {
        "lif": Setting(zeros, np.full((1, 10), 2), ones),
        "readout": Setting(np.zeros(3, dtype=int), np.full((1, 3), 15), np.ones(3)),
    }
    made = build(placed, settings, Shifts(5, 6, 3), wanted.highest, "xylo-a2")
    got = xylo_engine.run(made, inputs)
    assert made.latency == 1
    assert (got.spikes[:40] != wanted.spikes["lif"]).mean() < 0.01
    assert np.corrcoef(got.readout.ravel(), wanted.readout.ravel())[0, 1] > 0.999


@pytest.mark.parametrize(("decay", "tolerated"), [(0.5, 0.02), (0.75, 0.0)])
@pytest.mark.parametrize("weight", [1.0, 1 + 1 / 64])
@pytest.mark.parametrize("at_threshold", [False, True])
def test_a_neuron_fires_past_its_threshold_and_not_at_it_unless_it_is_to(
    decay: float, tolerated: float, weight: float, at_threshold: bool
) -> None:
    """One input each brings the threshold, or a little more; 16 bits of a halved state end before doubles do."""
    neuron = LIF(decay, 1.0, "subtract", at_threshold)
    nodes: list[tuple[str, Node]] = [
        ("in", Input((8,), 1.0, 1)),
        ("fc", Linear(np.eye(8) * weight, np.zeros(8))),
        ("lif", neuron),
        ("last", Linear(np.eye(8) * 0.9, np.zeros(8))),
        ("out", neuron),
        ("readout", SpikeCountReadout()),
    ]
    net = to_populations(sequential(nodes, 16))
    inputs = (np.random.default_rng(3).random((16, 128, 8)) < 0.4).astype(np.uint8)
    wanted = float_simulator.run(net, inputs).spikes["lif"]
    made = quantize_xylo(net, A2, inputs)
    (block,) = made.blocks
    got = xylo_engine.run(made, inputs).spikes[block.latency : block.latency + 16]
    assert 0.2 < wanted.mean() < 0.8
    assert (got != wanted).sum() <= tolerated * wanted.sum()


@pytest.mark.parametrize(
    ("changes", "whole", "between"),
    [({}, 401, 401), ({"fires_at_threshold": True}, 400, 401), ({"most": 31}, 400, 400)],
)
def test_the_least_state_at_which_a_neuron_fires(changes: dict[str, Any], whole: int, between: int) -> None:
    """A threshold of 400 units, one that differs from it by rounding alone, and one of 400.3."""
    one = Population("a", np.zeros(4), np.zeros((1, 4)), np.ones(4), np.zeros(4), **changes)
    meant = np.array([400.0, 400 * (1 - 1e-13), 400 * (1 + 1e-13), 400.3])
    assert quantize_xylo_build._threshold(one, meant).tolist() == [whole, whole, whole, between]
    ends = np.array([0.2, 32766.5, 32767.0, np.inf])
    assert quantize_xylo_build._threshold(one, ends).tolist()[2:] == [32767, 32767]
    assert quantize_xylo_build._threshold(one, ends).min() >= 1


def test_a_recurrent_network_with_currents_survives() -> None:
    rng = np.random.default_rng(4)
    neuron = CubaLIF(0.75, 0.75, 1.0, "subtract")
    nodes: dict[str, Node] = {
        "in": Input((6,), 1.0, 2),
        "fc": Linear(rng.normal(0.03, 0.1, (14, 6)), np.zeros(14)),
        "a": neuron,
        "rec": Linear(rng.normal(0, 0.08, (14, 14)), np.zeros(14)),
        "last": Linear(rng.normal(0.02, 0.15, (4, 14)), np.zeros(4)),
        "out": neuron,
        "readout": SpikeCountReadout(),
    }
    names = ("in fc", "fc a", "a rec", "a last", "last out", "out readout")
    net = Network(nodes, (*(Edge(*name.split()) for name in names), Edge("rec", "a", 1)), STEPS)
    made = quantize_xylo(net, A2, events(rng, 6))
    assert made.weights_rec[..., 0].any()
    assert likeness(net, made, events(rng, 6)) > 0.9


@pytest.mark.parametrize("ratio", [1.05, 1.35, 1.5, 3.0])
def test_synapses_faster_than_the_root_of_two_steps_conduct(ratio: float) -> None:
    """Rounding log2(tau / dt) gives 0 below a ratio of 1.414, through which nothing passes."""
    rng = np.random.default_rng(5)
    net = cuba(rng, ratio)
    made = quantize_xylo(net, A2, events(rng, 6))
    assert made.dash_syn.min() >= 1
    assert made.dash_syn_out.min() >= 1
    got = xylo_engine.run(made, events(rng, 6))
    wanted = float_simulator.run(net, events(np.random.default_rng(6), 6))
    assert 0.5 < got.spikes.mean() / wanted.spikes["a"].mean() < 2
    assert troubles(made, got) == []


def test_two_synapses_of_a_neuron_keep_their_own_dashes() -> None:
    rng = np.random.default_rng(7)
    net = cuba(rng, 4.0, synapses=2)
    made = quantize_xylo(net, A2, events(rng, 6))
    assert made.synapses == 2
    assert made.weights_in[..., 0].any()
    assert made.weights_in[..., 1].any()
    with pytest.raises(DesignRuleError, match="2 synapses per neuron, xylo-imu has 1"):
        quantize_xylo(net, IMU, events(rng, 6))


def test_quantising_twice_gives_the_same_integers() -> None:
    rng = np.random.default_rng(12)
    net, inputs = network(rng, LIF(0.8, 1.0, "subtract")), events(rng, 6)
    first, second = quantize_xylo(net, A2, inputs), quantize_xylo(net, A2, inputs)
    for name in (
        "weights_in",
        "weights_rec",
        "weights_out",
        "threshold",
        "bias",
        "dash_mem",
        "dash_syn",
        "threshold_out",
    ):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(("steps", "compared"), [(10, [10, 10, 9, 8]), (1, [1, 1, 0, 0])])
def test_layers_that_lag_more_than_the_outputs_are_compared_while_the_chip_runs(
    steps: int, compared: list[int]
) -> None:
    """in -> a -> out, and a -> b -> c -> d -> a with a delay; outputs lag by 1, b to d by 1 to 3."""
    rng, size = np.random.default_rng(0), 3
    names = ["a", "b", "c", "d"]
    nodes: dict[str, Node] = {"in": Input((size,)), "back": Linear(np.full((size, size), -0.1), np.zeros(size))}
    edges = [Edge("in", "to_a"), Edge("d", "back", 4), Edge("back", "a")]
    edges += [Edge(source, f"to_{target}") for source, target in (*pairwise(names), ("a", "out"))]
    for name in (*names, "out"):
        outputs = 2 if name == "out" else size
        nodes |= {f"to_{name}": Linear(rng.random((outputs, size)), np.zeros(outputs))}
        nodes |= {name: CubaLIF(0.75, 0.5, 0.7, "subtract")}
        edges.append(Edge(f"to_{name}", name))
    net = Network({**nodes, "readout": SpikeCountReadout()}, (*edges, Edge("out", "readout")), steps)
    inputs = rng.integers(0, 2, (steps, SAMPLES, size))
    made = quantize_xylo(net, A2, inputs, allow_dead=True)
    assert made.latency == 1
    assert [(block.name, block.latency) for block in made.blocks] == [(name, lag) for lag, name in enumerate(names)]
    case = case_of(to_populations(net), frozenset(), made.chip, inputs)
    found, got = differences(case, made), xylo_engine.run(made, inputs).spikes
    for block, count in zip(made.blocks, compared, strict=True):
        seen = got[block.latency : block.latency + steps, :, block.start : block.stop]
        assert len(seen) == count
        wanted = smoothed(case.wanted.spikes[block.name][:count])
        expected = np.abs(smoothed(seen) - wanted).mean() / (wanted.mean() or 1.0) if count else 0.0
        assert found[block.name] == pytest.approx(float(expected))
