"""Comparison: every difference is counted, the first one in time is named, nothing is skipped."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from neurodeploy.compare import compare
from neurodeploy.errors import UsageError
from neurodeploy.simulate.recording import Recording


def recording(**changes: Any) -> Recording:
    """Layers a (2, 2) and b (3,), and a readout that does not fire; 4 steps, 2 samples, all zero."""
    spikes = {"a": np.zeros((4, 2, 2, 2), np.uint8), "b": np.zeros((4, 2, 3), np.uint8)}
    potentials = {"a": np.zeros((4, 2, 2, 2), int), "b": np.zeros((4, 2, 3), int), "out": np.zeros((4, 2, 3), int)}
    return Recording(spikes, potentials, np.zeros((2, 3), int), **changes)


def test_equal_runs_have_no_divergence() -> None:
    result = compare(recording(), recording())
    assert (result.first, result.mismatched_spikes, result.mismatched_voltages) == (None, 0, 0)
    assert (result.samples, result.decisions_differing) == (2, 0)
    assert [(row.layer, row.compared) for row in result.layers] == [("a", 32), ("b", 24), ("out", 24)]
    assert result.spikes_compared == 56
    assert [row.firing_rate for row in result.layers] == [0.0, 0.0, None]


def test_differences_are_counted_per_layer_and_quantity() -> None:
    expected, got = recording(), recording()
    expected.spikes["a"][:, 0, 0, 0] = 1  # a rate of 4 in 32
    got.spikes["a"][:3, 0, 0, 0] = 1
    got.potentials["b"][1:3, :, 0] = 5
    got.potentials["out"][0, 0, 0] = -1
    result = compare(expected, got)
    assert [(r.mismatched_spikes, r.mismatched_voltages) for r in result.layers] == [(1, 0), (0, 4), (0, 1)]
    assert (result.mismatched_spikes, result.mismatched_voltages) == (1, 5)
    assert result.layers[0].firing_rate == 4 / 32


def test_the_first_divergence_says_where_and_what() -> None:
    expected, got = recording(), recording()
    expected.potentials["a"][2, 1, 0, 1] = 640
    got.potentials["a"][2, 1, 0, 1] = 576
    first = compare(expected, got).first
    assert first is not None
    assert str(first) == "first at step 3, layer a, neuron (0, 1), sample 1: voltage 640 expected, 576 got"
    assert (first.step, first.layer, first.sample, first.neuron) == (3, "a", 1, (0, 1))


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        ([("potentials", "a", 3), ("potentials", "out", 1)], (2, "out", "voltage")),  # the step decides first
        ([("potentials", "out", 1), ("spikes", "b", 1), ("potentials", "a", 1)], (2, "a", "voltage")),  # then the layer
        ([("potentials", "b", 1), ("spikes", "b", 1)], (2, "b", "spike")),  # then the spike before the voltage
        ([("spikes", "a", 3), ("potentials", "a", 2)], (3, "a", "voltage")),
    ],
)
def test_the_first_is_by_step_then_layer_then_spike(
    places: list[tuple[str, str, int]], wanted: tuple[Any, ...]
) -> None:
    got = recording()
    for kind, layer, step in places:
        getattr(got, kind)[layer][step, 1] = 1
    first = compare(recording(), got).first
    assert first is not None
    assert (first.step, first.layer, first.quantity) == wanted


def test_the_layers_order_is_the_programs_not_the_alphabets() -> None:
    def run(value: int) -> Recording:
        arrays = {name: np.full((1, 1, 1), value) for name in ("z", "a")}
        return Recording({}, arrays, np.zeros((1, 1)))

    first = compare(run(0), run(1)).first
    assert first is not None
    assert first.layer == "z"


def test_there_is_no_tolerance() -> None:
    expected = Recording({}, {"out": np.ones((1, 1, 1))}, np.ones((1, 1)))
    got = Recording({}, {"out": np.full((1, 1, 1), np.nextafter(1.0, 2.0))}, np.ones((1, 1)))
    assert compare(expected, got).mismatched_voltages == 1


def test_differing_decisions_are_counted_by_sample() -> None:
    expected, got = recording(), recording()
    got.readout[1] = [0, 0, 7]
    result = compare(expected, got)
    assert (result.decisions_differing, result.first) == (1, None)


def test_other_layers_or_shapes_are_refused() -> None:
    fewer = Recording({}, {"a": np.zeros((4, 2, 2, 2))}, np.zeros((2, 3)))
    with pytest.raises(UsageError, match="different layers"):
        compare(recording(), fewer)
    silent = recording()
    del silent.spikes["b"]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="different layers"):
        compare(recording(), silent)
    for kind, quantity in (("spikes", "spikes"), ("potentials", "voltages")):
        other = recording()
        getattr(other, kind)["b"] = np.zeros((3, 2, 3), int)
        with pytest.raises(UsageError, match=rf"layer b: {quantity} of shape \(4, 2, 3\) and \(3, 2, 3\)"):
            compare(recording(), other)


def test_a_comparison_is_plain_json() -> None:
    got = recording()
    got.spikes["b"][2, 0, 1] = 1
    read = json.loads(json.dumps(compare(recording(), got).as_dict()))
    assert (read["mismatched_spikes"], read["spikes_compared"]) == (1, 56)
    assert read["first"] == {
        "step": 3, "layer": "b", "sample": 0, "neuron": [1], "quantity": "spike", "expected": 0.0, "got": 1.0
    }  # fmt: skip
