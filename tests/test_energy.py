"""Energy: events counted by hand and by showing spikes one by one, and costs multiplied out."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest
from inspected_programs import conv, dense, layer, program

from neurodeploy.energy import SOURCES, Energy, estimate
from neurodeploy.hw_models import chip, chips
from neurodeploy.inspect import place
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.program import Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import reference

LOIHI = chip("loihi2")


def estimated(judged: Program, inputs: Any, on: Any = LOIHI) -> Energy:
    found = estimate(judged, reference.run(judged, inputs), inputs, on)
    assert found is not None
    return found


def by_name(energy: Energy) -> dict[str, tuple[float, float]]:
    return {one.name: one.count for one in energy.events}


def test_a_tiny_network_by_hand() -> None:
    """Two inputs, three neurons, one readout; two samples of two steps.

    Input spikes: sample 0 both at step 1, the first at step 2; sample 1 the second at step 2. Neuron 1 fires with the
    first input (weight 2), neuron 2 with both (1 + 1 > 1), neuron 3 never.
    """
    hidden = layer("a", (3,), dense("input", [[2, 0], [1, 1], [0, 0]]), voltage_decay=4095)
    out = layer("out", (1,), dense("a", [[5, 0, 7]]), fires=False, threshold=131071)
    judged = program(hidden, out, shape=(2,), steps=2)
    inputs = np.array([[[1, 1], [0, 0]], [[1, 0], [0, 1]]])
    energy = estimated(judged, inputs)
    fired = reference.run(judged, inputs).spikes["a"].sum(axis=(0, 1))
    assert fired.tolist() == [2, 1, 0]
    # The first input (2 spikes) has 2 weights that are not zero, the second (2 spikes) has 1, neuron 1 has 1 and
    # neuron 2 none; of all weights every input spike reaches 3, every spike of a neuron 1.
    assert by_name(energy) == {
        "synaptic_operations": ((2 * 2 + 2 * 1 + 2 * 1) / 2, (4 * 3 + 3) / 2),
        "neuron_updates": (8.0, 8.0),
        "spikes": (1.5, 1.5),
        "packets": (3.5, 3.5),
        "hops": (0.0, 0.0),
    }
    assert energy.operations == {"Effective_ACs": 4.0, "Effective_MACs": 0.0}
    low = 4 * 23.6 + 8 * 51.2 + 3.5 * 1.7
    high = 7.5 * 35.5 + 8 * 81 + 1.5 * 69.3 + 3.5 * 76.8
    assert energy.dynamic == pytest.approx((low * 1e-12, high * 1e-12))
    # One chip; two steps from sample to sample, and the readout lies two synapses behind the input.
    assert energy.period == pytest.approx((2 * 152.8e-6, 2 * 182.6e-6))
    assert energy.latency == pytest.approx((4 * 152.8e-6, 4 * 182.6e-6))
    assert energy.static == pytest.approx((0.232 * 2 * 152.8e-6, 0.232 * 2 * 182.6e-6))
    assert (energy.evidence, energy.samples, energy.placement.cores) == ("modelled", 2, 2)


def test_graded_input_that_does_not_change_is_sent_at_every_step() -> None:
    hidden = layer("a", (2,), dense("input", [[1, 0, 3], [1, 1, 0]]), threshold=131071)
    judged = program(hidden, shape=(3,), bits=8, steps=5)
    energy = estimated(judged, np.array([[9, 0, 200]]))
    assert by_name(energy)["synaptic_operations"] == (5 * (2 + 1), 5 * 4)
    assert by_name(energy)["packets"] == (10.0, 10.0)
    assert energy.operations == {"Effective_ACs": 0.0, "Effective_MACs": 15.0}


def test_silence_costs_updates_only() -> None:
    judged = program(layer("a", (4,), dense("input", np.ones((4, 3)))), shape=(3,), steps=3)
    counts = by_name(estimated(judged, np.zeros((2, 3), dtype=int)))
    assert {name for name, count in counts.items() if count != (0, 0)} == {"neuron_updates"}
    assert counts["neuron_updates"] == (12.0, 12.0)


def reached(judged: Program, inputs: Any) -> float:
    """Synaptic operations per sample, counted by showing each event alone to every set of synapses."""
    spikes = reference.run(judged, inputs).spikes | {"input": inputs}
    total = 0
    for one in (synapses for each in judged.layers for synapses in each.synapses):
        unit = replace(one, weight=frozen_ints((one.weight != 0).astype(int)))
        parts = unit.by_delay() if isinstance(unit, DenseSynapses) else [(0, unit.weight)]
        for extra, weight in parts:
            alone = replace(unit, weight=weight, **({"delays": None} if isinstance(unit, DenseSynapses) else {}))
            for step, _, *place_ in np.argwhere(spikes[one.source]):
                if step + one.delay + extra < judged.steps:
                    event = np.zeros((1, *judged.shapes[one.source]), dtype=int)
                    event[(0, *place_)] = 1
                    total += int(reference.current(alone, event).sum())
    return total / inputs.shape[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_operations_are_those_that_single_events_cause(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = layer("a", (3, 2, 3), conv("input", rng.integers(-3, 5, (3, 2, 2, 3)), padding=(0, 1), pool=2), threshold=4)
    spread = dense("a", rng.integers(-2, 3, (4, 18)), delays=rng.integers(0, 3, (4, 18)), delay=1)
    last = layer("b", (4,), spread, dense("b", rng.integers(-2, 3, (4, 4)), "rec", delay=1), threshold=2)
    judged = program(image, last, shape=(2, 6, 6), steps=6)
    inputs = rng.integers(0, 2, (6, 2, 2, 6, 6))
    rates = reference.run(judged, inputs).firing_rates()
    assert all(0.05 < rate < 0.95 for rate in rates.values())
    low, high = by_name(estimated(judged, inputs))["synaptic_operations"]
    assert low == pytest.approx(reached(judged, inputs))
    assert high > low


def test_packets_and_hops_follow_the_placement() -> None:
    """Cores of one neuron, two of them to a router, four routers in two columns: 0 1 | 2 3 over 4 5 | 6 7."""
    assert LOIHI.cores is not None
    tiny = replace(LOIHI, cores=replace(LOIHI.cores, neurons=1, per_chip=8, tiles=(2, 2), per_tile=2))
    first = layer("a", (3,), dense("input", np.full((3, 1), 2)))
    second = layer("b", (2,), dense("a", np.full((2, 3), 2)))
    judged = program(first, second, steps=1)
    placement = place(judged, tiny)
    assert placement is not None
    assert [row.cores for row in placement.layers] == [3, 2]
    energy = estimated(judged, np.array([[1]]), tiny)
    # The input comes in at the first router: cores 0, 1, 2 are 0, 0, 1 away; they send to cores 3 and 4.
    distances = [1, 1, 0, 1, 1, 2]  # (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4)
    assert by_name(energy)["packets"] == (3 + 3 * 2, 9)
    assert by_name(energy)["hops"][0] == pytest.approx(3 * (1 / 3) + 6 * sum(distances) / 6)
    # On chips of four cores the last one is the first of the second chip, and lies at that chip's first router.
    assert tiny.cores is not None
    two = estimated(judged, np.array([[1]]), replace(tiny, cores=replace(tiny.cores, per_chip=4)))
    distances[3:] = [0, 0, 1]
    assert by_name(two)["hops"][0] == pytest.approx(3 * (1 / 3) + 6 * sum(distances) / 6)


def test_each_chip_brings_its_static_power() -> None:
    assert LOIHI.cores is not None
    judged = program(layer("a", (4,), dense("input", np.ones((4, 1)))), steps=4)
    one = estimated(judged, np.array([[1]]))
    three = estimated(judged, np.array([[1]]), replace(LOIHI, cores=replace(LOIHI.cores, neurons=1, per_chip=2)))
    assert three.placement.chips == 2
    assert three.static == pytest.approx(tuple(2 * part for part in one.static))


def test_the_estimate_lies_below_what_was_measured_for_a_network_of_known_size() -> None:
    """PilotNet LIF on Loihi 2 took 1.09 mJ per frame of 16 steps, above idle: updates alone are 12 to 19 % of it."""
    assert LOIHI.costs is not None
    sizes = [
        (3, 66, 200),
        (24, 32, 99),
        (36, 15, 49),
        (48, 7, 24),
        (64, 4, 22),
        (64, 2, 20),
        (100,),
        (50,),
        (10,),
        (1,),
    ]
    neurons = sum(prod(size) for size in sizes)
    assert neurons == 158_509
    low, high = (16 * neurons * cost for cost in LOIHI.costs.neuron_update)
    assert 0.11e-3 < low < high < 0.21e-3 < 1.09e-3


def test_no_estimate_where_nothing_is_known() -> None:
    judged = program(layer("a", (4,), dense("input", np.ones((4, 1)))))
    inputs = np.array([[1]])
    run = reference.run(judged, inputs)
    assert estimate(judged, run, inputs, replace(LOIHI, costs=None)) is None
    assert estimate(judged, run, inputs, replace(LOIHI, cores=None)) is None
    back = layer("a", (1,), dense("input", [[1]]), dense("b", [[1]], "back", delay=1))
    loop = program(back, layer("b", (1,), dense("a", [[1]])))  # has no lag in which all arrives
    assert estimate(loop, reference.run(loop, inputs), inputs, LOIHI) is None


def test_plain_values() -> None:
    judged = program(layer("a", (2,), dense("input", [[1], [0]])))
    plain = estimated(judged, np.array([[1]])).plain()
    assert plain["events"][0] == {
        "event": "synaptic_operations",
        "count_low": 1.0,
        "count_high": 2.0,
        "picojoule_low": pytest.approx(23.6),
        "picojoule_high": pytest.approx(35.5),
        "nanojoule_low": pytest.approx(0.0236),
        "nanojoule_high": pytest.approx(0.071),
    }
    assert set(plain["sources"]) == set(SOURCES)
    assert "Loihi 1" in plain["sources"]["costs"]


@pytest.mark.parametrize("name", sorted(chips()))
def test_costs_come_with_their_sources_and_are_ranges(name: str) -> None:
    model = chip(name)
    if model.costs is None:
        return
    assert set(SOURCES) <= set(model.sources)
    costs = model.costs
    for low, high in (costs.synaptic_operation, costs.neuron_update, costs.spike, costs.packet, costs.hop):
        assert 0 <= low < high < 1e-9
    assert costs.step_seconds == pytest.approx((1 / (408.91 * 16), 1 / (342.29 * 16)), rel=1e-3)
