"""Networks as populations, their float meaning, and where they lie on the chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import LIF, Conv2d, CubaLIF, Flatten, Input, Linear, MembraneReadout, SpikeCountReadout
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.to_populations import LARGEST_MATRIX, to_populations
from neurodeploy.ir.xylo_direct import can_be_direct, directly
from neurodeploy.ir.xylo_layout import exact_dash, latencies, layout, misfits, nearest_dash
from neurodeploy.simulate import populations as simulator


def population(name: str, size: int, **given: Any) -> Population:
    values: dict[str, Any] = {
        "decay": np.full(size, 0.875),
        "current_decay": np.zeros((1, size)),
        "threshold": np.ones(size),
        "bias": np.zeros(size),
    }
    return Population(name, **(values | given))


def chain(rng: np.random.Generator, sizes: tuple[int, ...] = (3, 4, 5, 2), **given: Any) -> PopulationNetwork:
    """input -> a -> b -> out, no delays."""
    names = ["input", "a", "b", "out"]
    populations = tuple(population(name, size, **given) for name, size in zip(names[1:], sizes[1:], strict=True))
    projections = tuple(
        Projection(source, target, rng.normal(0.2, 0.6, (before, after)))
        for source, target, before, after in zip(names, names[1:], sizes, sizes[1:], strict=False)
    )
    return PopulationNetwork(Input((sizes[0],), 0.5, 2), populations, projections, "spike_count", 9)


@pytest.mark.parametrize("kind", ["dense", "conv", "recurrent", "residual"])
def test_populations_compute_what_the_network_does(
    kind: str,
    random_network: Callable[..., Network],
    random_inputs: Callable[..., np.ndarray],
    torch_run: Callable[..., Any],
) -> None:
    """Against PyTorch, node by node: spikes of every layer and the readout, with both resets."""
    rates = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        network = random_network(rng, kind, reset="subtract" if seed % 2 else "zero", bits=1 + seed % 3)
        inputs = random_inputs(rng, network, batch=3)
        spikes, readout = torch_run(network, inputs)
        got = simulator.run(to_populations(network), inputs.reshape(*inputs.shape[:2], -1))
        assert set(got.spikes) == set(spikes)
        for name, wanted in spikes.items():
            assert np.array_equal(got.spikes[name], wanted.reshape(*wanted.shape[:2], -1))
            rates.append(wanted.mean())
        np.testing.assert_allclose(got.readout, readout.reshape(len(readout), -1), rtol=1e-9, atol=1e-9)
    assert 0.05 < np.mean(rates) < 0.95


def test_currents_and_several_spikes_by_hand() -> None:
    """i = 4, 2, 1; u = 4 - 3 = 1 after three spikes; 0.5 + 2 = 2.5 twice; 0.25 + 1 = 1.25 once."""
    one = population("a", 1, decay=np.array([0.5]), current_decay=np.array([[0.5]]), threshold=np.array([1.0]), most=3)
    last = population("out", 1, decay=np.ones(1), threshold=np.array([np.inf]), fires=False)
    network = PopulationNetwork(
        Input((1,), 1.0, 3),
        (one, last),
        (Projection("input", "a", np.ones((1, 1))), Projection("a", "out", np.ones((1, 1)), delay=1)),
        "membrane",
        4,
    )
    got = simulator.run(network, np.array([[[4]], [[0]], [[0]], [[0]]]))
    assert got.spikes["a"][:, 0, 0].tolist() == [3, 2, 1, 0]
    assert got.potentials["out"][:, 0, 0].tolist() == [0, 3, 5, 6]
    assert got.highest["a"].tolist() == [4.0]
    assert got.readout.tolist() == [[14.0]]


def fires_on_ones(network: PopulationNetwork) -> dict[str, list[int]]:
    got = simulator.run(network, np.ones((1, 2), dtype=int))
    return {name: found[:, 0, 0].tolist() for name, found in got.spikes.items()}


@pytest.mark.parametrize("neuron", [LIF, lambda *given: CubaLIF(given[0], 0.0, *given[1:])])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_neurons_that_fire_at_the_threshold_still_do(neuron: Any, reset: str) -> None:
    """1 arrives at every step: u is 1 = threshold at once, and without a spike 1.5 a step later."""

    def made(threshold: float, fires_at_threshold: bool) -> PopulationNetwork:
        nodes = [
            ("in", Input((2,))),
            ("fc", Linear(np.full((1, 2), 0.5), np.zeros(1))),
            ("a", neuron(0.5, threshold, reset, fires_at_threshold)),
            ("readout", SpikeCountReadout()),
        ]
        return to_populations(sequential(nodes, 3))

    assert fires_on_ones(made(1.0, True)) == {"a": [1, 1, 1]}
    assert fires_on_ones(made(np.nextafter(1.0, 2), True)) == fires_on_ones(made(1.0, False))
    assert fires_on_ones(made(1.0, False)) == {"a": [0, 1, 0 if reset == "zero" else 1]}


def test_a_network_with_currents_becomes_populations_with_them() -> None:
    neuron = CubaLIF(0.9, 0.7, 0.5, "subtract")
    nodes = [("in", Input((2,))), ("fc", Linear(np.ones((3, 2)), np.full(3, 0.1))), ("a", neuron)]
    network = sequential([*nodes, ("out", Linear(np.ones((1, 3)), np.zeros(1))), ("readout", MembraneReadout(0.8))], 3)
    first, last = to_populations(network).populations
    assert (first.name, first.decay.tolist(), first.current_decay.tolist()) == ("a", [0.9] * 3, [[0.7] * 3])
    assert (first.bias.tolist(), first.reset, first.most, first.fires) == ([0.1] * 3, "subtract", 1, True)
    assert (last.decay.tolist(), last.fires) == ([0.8], False)


def test_a_matrix_too_large_to_be_written_out_is_refused() -> None:
    side = 65
    assert side**4 > LARGEST_MATRIX
    chain_of = [("in", Input((1, side, side))), ("c", Conv2d(np.ones((1, 1, 1, 1)), np.zeros(1))), ("a", LIF(0.5, 1.0))]
    network = sequential(
        [
            *chain_of,
            ("f", Flatten()),
            ("out", Linear(np.ones((2, side**2)), np.zeros(2))),
            ("n", LIF(0.5, 1.0)),
            ("r", SpikeCountReadout()),
        ],
        2,
    )
    with pytest.raises(UsageError, match="17,850,625 weights written out"):
        to_populations(network)


@pytest.mark.parametrize(
    ("decay", "nearest"), [(0.0, 0), (0.24, 0), (0.26, 1), (0.5, 1), (0.62, 1), (0.63, 2), (0.875, 3), (1.0, 15)]
)
def test_the_nearest_dash(decay: float, nearest: int) -> None:
    assert nearest_dash(np.array([decay]), 0).tolist() == [nearest]
    assert nearest_dash(np.array([decay]), 1).tolist() == [max(nearest, 1)]


def test_the_exact_dash_of_dyadic_decays() -> None:
    assert exact_dash(np.array([0.0, 0.5, 0.75, 1 - 2**-15, 1.0])).tolist() == [0, 1, 2, 15, 15]


def test_layers_of_a_chain_lag_by_one_step_each_and_currents_without_memory_by_one_more() -> None:
    network = chain(np.random.default_rng(0))
    assert dict(latencies(network)) == {"a": 0, "b": 1, "out": 2}
    placed = layout(network)
    assert [(block.name, block.start, block.stop, block.latency) for block in placed.blocks] == [
        ("a", 0, 4, 1),
        ("b", 4, 9, 3),
    ]
    assert placed.latency == 5
    weights = {p.target: p.weight for p in network.projections}
    assert np.array_equal(placed.weights_in[:, :4, 0], weights["a"] * 0.5)
    assert np.array_equal(placed.weights_rec[:4, 4:, 0], weights["b"])
    assert np.array_equal(placed.weights_out[4:], weights["out"])
    assert not placed.weights_in[:, 4:].any()
    assert not placed.weights_rec[4:].any()
    assert not placed.weights_out[:4].any()
    direct = layout(network, frozenset({"a", "b"}))
    assert [block.latency for block in direct.blocks] == [0, 1]
    assert direct.latency == 3


def test_currents_that_the_chip_has_too_do_not_add_to_the_lag() -> None:
    rng = np.random.default_rng(0)
    network = chain(rng)
    slow = tuple(replace(one, current_decay=np.full((1, one.size), 0.75)) for one in network.populations)
    assert layout(replace(network, populations=slow)).latency == 2


def extended(network: PopulationNetwork, *projections: Projection) -> PopulationNetwork:
    return replace(network, projections=(*network.projections, *projections))


def test_everything_that_no_xylo_can_time_or_connect_is_named() -> None:
    network = chain(np.random.default_rng(0))
    assert misfits(network) == []
    skip = extended(network, Projection("a", "out", np.ones((4, 2))))
    assert misfits(skip) == [
        "layer out: what comes from a arrives 1 steps earlier than what comes from b: each connection between hidden "
        "neurons takes one step; use paths of one length, or train with a delay there"
    ]
    feedback = extended(network, Projection("b", "a", np.ones((5, 4)), delay=1))
    assert "layer a: what comes from b arrives 1 steps later than what comes from input" in misfits(feedback)[0]
    assert misfits(extended(network, Projection("b", "a", np.ones((5, 4)), delay=2))) == []
    assert misfits(extended(network, Projection("a", "a", np.eye(4), delay=1))) == []
    wrong = extended(
        replace(
            network,
            populations=(
                replace(network.populations[0], reset="zero"),
                network.populations[1],
                replace(network.populations[2], current_decay=np.zeros((2, 2))),
            ),
        ),
        Projection("out", "a", np.ones((2, 4)), delay=1),
        Projection("input", "out", np.ones((3, 2))),
    )
    found = "\n".join(misfits(wrong))
    for text in (
        "layer a: reset 'zero', Xylo subtracts",
        "layer out: 2 synapses",
        "layer out: feeds a",
        "layer out: reads the input",
    ):
        assert text in found
    alone = replace(network, populations=(population("alone", 2), *network.populations))
    assert misfits(alone) == ["layer alone: nothing leads to it; remove it"]
    fed = extended(alone, Projection("alone", "alone", np.ones((2, 2)), delay=1))
    assert misfits(fed) == ["layer alone: nothing leads from the input to it; remove it"]


def test_a_direct_population_is_one_without_currents_that_has_room_for_a_connection_to_itself() -> None:
    network = chain(np.random.default_rng(0))
    a, b, out = network.populations
    assert [can_be_direct(network, one) for one in (a, b, out)] == [True, True, False]
    assert not can_be_direct(network, replace(a, current_decay=np.full((1, 4), 0.5)))
    assert directly(network, 6) == (network, frozenset({"a", "b"}))
    assert directly(network, 5)[1] == frozenset({"b"})
    recurrent = extended(network, Projection("a", "a", np.ones((4, 4)), delay=1))
    assert directly(recurrent, 9)[1] == frozenset({"a", "b"})  # itself and eight others
    assert directly(recurrent, 8)[1] == frozenset({"b"})


def test_biases_of_direct_populations_come_from_a_clock_that_fires_at_every_step() -> None:
    network = chain(np.random.default_rng(0))
    a, b, out = network.populations
    biased = replace(network, populations=(replace(a, bias=np.array([0.1, 0, -0.2, 0.3])), b, out))
    made, direct = directly(biased, 6)
    clock = made.populations[0]
    assert (clock.name, clock.size, direct) == ("clock", 1, frozenset({"a", "b"}))
    assert not made.population("a").bias.any()
    (beat,) = (p for p in made.projections if p.source == "clock")
    assert (beat.target, beat.weight.tolist()) == ("a", [[0.1, 0, -0.2, 0.3]])
    inputs = np.random.default_rng(1).integers(0, 4, (9, 3, 3))
    wanted, got = simulator.run(biased, inputs), simulator.run(made, inputs)
    assert got.spikes["clock"].min() == got.spikes["clock"].max() == 1
    for name in ("a", "b", "out"):
        assert np.array_equal(wanted.spikes[name], got.spikes[name])
    assert 0.05 < wanted.spikes["a"].mean() < 0.95
    many = replace(biased, populations=(replace(a, bias=np.ones(4)), replace(b, bias=np.ones(5)), out))
    assert [one.size for one in directly(many, 6)[0].populations] == [2, 4, 5, 2]
    named, renaming = replace(a, name="clock"), {"a": "clock"}
    renamed = replace(
        biased,
        populations=(replace(named, bias=np.ones(4)), b, out),
        projections=tuple(
            replace(p, source=renaming.get(p.source, p.source), target=renaming.get(p.target, p.target))
            for p in biased.projections
        ),
    )
    assert [one.name for one in directly(renamed, 6)[0].populations] == ["clock_", "clock", "b", "out"]
    placed = layout(made, direct)
    assert [block.name for block in placed.blocks] == ["a", "clock", "b"]
    assert placed.latency == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decay": np.array([1.1])}, "decay 1.1 to 1.1"),
        ({"current_decay": np.ones((1, 1))}, "current_decay 1.0 to 1.0"),
        ({"decay": np.array([np.nan])}, "a fraction expected"),
        ({"threshold": np.zeros(1)}, "thresholds must be positive"),
        ({"bias": np.array([np.inf])}, "biases finite"),
        ({"bias": np.zeros(2)}, r"bias of shape \(2,\), \(1,\) expected"),
        ({"current_decay": np.zeros((1, 2))}, r"current_decay of shape \(1, 2\)"),
        ({"most": 0}, "at most 0 spikes"),
        ({"reset": "soft"}, "reset 'soft'"),
    ],
)
def test_a_population_that_cannot_be_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        population("a", 1, **change)


def test_networks_of_populations_that_do_not_fit_together_are_refused() -> None:
    network = chain(np.random.default_rng(0))
    for projection, told in (
        (Projection("x", "a", np.ones((3, 4))), "x -> a: known are input, a, b, out"),
        (Projection("b", "a", np.ones((5, 4))), "needs a delay"),
        (Projection("input", "a", np.ones((4, 4))), r"weights \(4, 4\) at synapse 0, \(3, 4\) expected"),
        (Projection("input", "a", np.ones((3, 4)), synapse=1), "synapses 0 to 0"),
    ):
        with pytest.raises(UsageError, match=told):
            extended(network, projection)
    with pytest.raises(UsageError, match="only the last population"):
        replace(network, readout="membrane")
    with pytest.raises(UsageError, match="finite weights"):
        Projection("input", "a", np.full((3, 4), np.nan))
    with pytest.raises(UsageError, match="from 0 on"):
        Projection("input", "a", np.ones((3, 4)), delay=-1)
    with pytest.raises(UsageError, match="8 steps, the network 9"):
        simulator.run(network, np.zeros((8, 1, 3), dtype=int))
    with pytest.raises(UsageError, match=r"input of shape \(9, 1, 4\)"):
        simulator.run(network, np.zeros((9, 1, 4), dtype=int))


def test_edges_with_a_delay_keep_it() -> None:
    nodes = {
        "in": Input((2,)),
        "fc": Linear(np.ones((3, 2)), np.zeros(3)),
        "a": LIF(0.5, 1.0, "subtract"),
        "rec": Linear(np.eye(3), np.zeros(3)),
        "last": Linear(np.ones((1, 3)), np.zeros(1)),
        "readout": MembraneReadout(),
    }
    edges = (
        Edge("in", "fc"),
        Edge("fc", "a"),
        Edge("a", "rec"),
        Edge("rec", "a", 1),
        Edge("a", "last"),
        Edge("last", "readout"),
    )
    made = to_populations(Network(nodes, edges, 4))
    assert {(p.source, p.target): p.delay for p in made.projections} == {
        ("input", "a"): 0,
        ("a", "a"): 1,
        ("a", "readout"): 0,
    }
