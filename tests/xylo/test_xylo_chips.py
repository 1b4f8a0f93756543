"""The chips of the family as data, and their limits: at them, one past them, all at once."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.xylo import XYLO_CHIPS, xylo_chip
from neurodeploy.hw_models.xylo_core import XyloChip
from neurodeploy.hw_models.xylo_rules import Demand, demand, demand_of_populations, exceeded, violations
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.xylo import Block, XyloNetwork

A2 = xylo_chip("xylo-a2")


def test_the_published_table_of_the_family() -> None:
    """rockpool.ai/devices/xylo-overview.html; totals are 32 targets (IMU: 64) for each hidden neuron."""
    table = {
        name: (c.inputs, c.hidden, c.outputs, c.synapses, c.fan_out, c.fan_out_total, c.input_targets, c.output_sources)
        for name, c in XYLO_CHIPS.items()
    }
    assert table == {
        "xylo-a2": (16, 1000, 8, 2, 64, 32 * 1000, 1000, 1000),
        "xylo-a3": (16, 992, 32, 2, 1024, 32 * 992, 128, 128),
        "xylo-imu": (16, 496, 16, 1, 512, 64 * 496, 128, 128),
    }


@pytest.mark.parametrize("chip", XYLO_CHIPS.values(), ids=list(XYLO_CHIPS))
def test_a_chip_says_where_its_numbers_come_from(chip: XyloChip) -> None:
    assert {"weights", "states", "decay", "threshold", "bias", "events", "weight_shift", "size"} <= set(chip.sources)
    assert all(len(text) > 20 for text in chip.sources.values())
    assert "inferred" in chip.sources["bias"]
    assert chip.evidence == "bit-exact-sim"
    assert chip.rockpool.startswith("rockpool.devices.xylo.syns6")


def test_an_unknown_chip_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown Xylo chip 'xylo-a1': did you mean xylo-"):
        xylo_chip("xylo-a1")


def needs(**given: Any) -> Demand:
    values: dict[str, Any] = {
        "inputs": 16,
        "layers": {"a": 600, "b": 400},
        "outputs": 8,
        "synapses": 2,
        "fan_out": {"a": np.array([64] * 500 + [0] * 100), "b": np.zeros(400, dtype=int)},
        "input_end": 1000,
        "output_start": 1000,
    }
    return Demand(**(values | given))


def test_everything_at_its_limit_fits() -> None:
    assert exceeded(needs(), A2) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": 17}, "layer input: 17 channels, xylo-a2 has 16; feed the data over time"),
        ({"layers": {"a": 600, "b": 401}}, r"layers a \(600\), b \(401\): 1001 hidden neurons, xylo-a2 has 1000"),
        ({"outputs": 9}, "layer output: 9 neurons, xylo-a2 has 8; use xylo-a3 or xylo-imu, or fewer classes"),
        ({"outputs": 33}, r"33 neurons, xylo-a2 has 8; use fewer classes \(data\.classes=8\)"),
        ({"synapses": 3}, "3 synapses per neuron, xylo-a2 has 2"),
        ({"layers": {}, "fan_out": {}}, "no hidden layer"),
        (
            {"fan_out": {"a": np.array([65, 65, 3]), "b": np.array([64])}},
            "layer a: 2 neurons reach up to 65 hidden neurons, at most 64 on xylo-a2",
        ),
        (
            {"fan_out": {"a": np.full(500, 64), "b": np.array([1])}},
            "layer a: 32,001 connections between hidden neurons, 32,000 of them from this layer, xylo-a2 stores 32,000",
        ),
    ],
)
def test_one_past_a_limit_is_named_with_the_change(change: dict[str, Any], told: str) -> None:
    (found,) = exceeded(needs(**change), A2)
    assert re.search(told, found), found


def test_the_first_and_the_last_hidden_neurons_are_those_of_inputs_and_outputs_on_newer_chips() -> None:
    a3 = xylo_chip("xylo-a3")
    fits = needs(layers={"a": 128, "b": 128}, fan_out={}, input_end=128, output_start=128)
    assert exceeded(fits, a3) == []
    found = exceeded(replace(fits, input_end=129, output_start=130), a3)
    assert len(found) == 2
    assert "layer a: inputs reach hidden neuron 129, on xylo-a3 only the first 128" in found[0]
    assert "layer b: outputs read the last 130 hidden neurons, on xylo-a3 at most 128" in found[1]


def test_all_violated_limits_are_listed_at_once() -> None:
    found = exceeded(
        needs(inputs=64, outputs=10, synapses=3, layers={"a": 2000}, fan_out={"a": np.full(2000, 100)}), A2
    )
    assert [text.split(":")[0] for text in found] == [
        "layer input",
        "layers a (2000)",
        "layer output",
        "hidden layers",
        "layer a",
        "layer a",
    ]


def network(**given: Any) -> XyloNetwork:
    hidden = 6
    values: dict[str, Any] = {
        "chip": "xylo-a2",
        "steps": 3,
        "input": Input((2,), 1.0, 1),
        "weights_in": np.zeros((2, hidden, 2), dtype=int),
        "weights_rec": np.zeros((hidden, hidden, 2), dtype=int),
        "weights_out": np.zeros((hidden, 3), dtype=int),
        "dash_syn": np.ones((hidden, 2), dtype=int),
        "aliases": np.full(hidden, -1),
        **{name: np.ones(hidden, dtype=int) for name in ("dash_mem", "threshold", "bias")},
        **{f"{name}_out": np.ones(3, dtype=int) for name in ("dash_mem", "dash_syn", "threshold", "bias")},
        "blocks": (Block("a", 0, 4), Block("b", 4, 6, 1)),
    }
    return XyloNetwork(**(values | given))


def test_the_demand_of_a_quantised_network() -> None:
    made = network()
    into, among, out = (np.array(part) for part in (made.weights_in, made.weights_rec, made.weights_out))
    into[1, 2, 1] = 5
    among[0, 1, 0] = among[0, 1, 1] = among[0, 5, 0] = 1  # a pair with both synapses counts once
    among[4, 4, 1] = -1
    out[3, 0] = out[5, 2] = 1
    got = demand(replace(made, weights_in=into, weights_rec=among, weights_out=out))
    assert (got.inputs, dict(got.layers), got.outputs, got.synapses) == (2, {"a": 4, "b": 2}, 3, 2)
    assert {name: counts.tolist() for name, counts in got.fan_out.items()} == {"a": [2, 0, 0, 0], "b": [1, 0]}
    assert (got.input_end, got.output_start) == (3, 3)
    assert violations(made, A2) == []
    assert demand(made).input_end == demand(made).output_start == 0


def test_the_demand_of_a_float_network() -> None:
    def population(name: str, size: int, synapses: int = 1) -> Population:
        return Population(name, np.full(size, 0.5), np.zeros((synapses, size)), np.ones(size), np.zeros(size))

    weight = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    made = PopulationNetwork(
        Input((2,), 1.0, 1),
        (population("a", 3, 2), population("b", 2), population("out", 4)),
        (
            Projection("input", "a", np.ones((2, 3))),
            Projection("a", "b", weight),
            Projection("a", "a", np.eye(3), synapse=0, delay=1),
            Projection("a", "a", np.eye(3), synapse=1, delay=1),
            Projection("b", "out", np.ones((2, 4))),
        ),
        "spike_count",
        3,
    )
    got = demand_of_populations(made)
    assert (got.inputs, dict(got.layers), got.outputs, got.synapses) == (2, {"a": 3, "b": 2}, 4, 2)
    assert {name: counts.tolist() for name, counts in got.fan_out.items()} == {"a": [2, 3, 1], "b": [0, 0]}
    assert (got.input_end, got.output_start) == (3, 2)
