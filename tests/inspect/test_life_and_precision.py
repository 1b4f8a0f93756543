"""Layers and neurons that decide nothing, and what rounding lost: by value, at each limit and one past it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from inspected_programs import dense, layer, program, single

from neurodeploy.hw_models import chip
from neurodeploy.inspect import Rounding
from neurodeploy.inspect.life import life_findings, rate_findings
from neurodeploy.inspect.observed import Observed, observe
from neurodeploy.inspect.precision import precision_findings, time_constant_error

LOIHI = chip("loihi2")
FINE = Rounding("a", 1.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("rate", "rule", "said"),
    [
        (0.0, "LIFE-LAYER-SILENT", "0.00%"),
        (0.00099, "LIFE-LAYER-SILENT", "0.10%"),
        (0.001, None, None),
        (0.999, None, None),
        (0.9991, "LIFE-LAYER-SATURATED", "99.91%"),
        (1.0, "LIFE-LAYER-SATURATED", "100.00%"),
        (None, None, None),  # a readout
    ],
)
def test_a_layer_that_decides_nothing_is_named(rate: float | None, rule: str | None, said: str | None) -> None:
    found = rate_findings({"a": rate}, ["a", "b"])
    assert [(one.rule, one.layer, one.measured) for one in found] == ([(rule, "a", said)] if rule else [])


@pytest.mark.parametrize(("never", "always", "found"), [
    (90.0, 10.0, []),
    (90.1, 10.0, ["LIFE-NEURONS-NEVER"]),
    (0.0, 10.1, ["LIFE-NEURONS-ALWAYS"]),
    (100.0, 0.0, ["LIFE-NEURONS-NEVER"]),
    (None, None, []),
])  # fmt: skip
def test_too_many_unused_neurons_are_named(never: float | None, always: float | None, found: list[str]) -> None:
    seen = {"a": Observed("a", 0.5, never, always)}
    assert [one.rule for one in life_findings(seen)] == found


def test_neurons_are_counted_over_all_samples_and_steps() -> None:
    """Of five neurons one never fires, one always, one in one sample only, one at one step only, one is in between."""
    weight = [[0, 0], [2, 2], [2, 0], [1, 1], [1, 0]]
    hidden = layer("a", (5,), dense("input", weight), voltage_decay=4095)
    out = layer("out", (1,), dense("a", [[1, 1, 1, 1, 1]]), fires=False, threshold=131071)
    judged = program(hidden, out, shape=(2,), steps=2)
    inputs = np.array([[[1, 0], [0, 1]], [[1, 1], [0, 1]]])  # (T, B, 2)
    spikes = np.array([[[0, 1, 1, 0, 0], [0, 1, 0, 0, 0]], [[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]]])
    seen = observe(judged, inputs)
    assert seen["a"].firing_rate == spikes.mean()
    assert seen["a"].never_percent == 100 * 2 / 5  # the last stays at its threshold, which is not above it
    assert seen["a"].always_percent == 100 * 1 / 5
    assert (seen["out"].firing_rate, seen["out"].never_percent, seen["out"].always_percent) == (None, None, None)
    assert observe(judged, inputs[0])["a"].always_percent == 100 * 1 / 5  # the same at every step


@pytest.mark.parametrize(
    ("changes", "rule", "measured"),
    [
        ({"weights_clipped_percent": 1.0, "weights_zero_percent": 50.0}, None, None),
        ({"weights_clipped_percent": 1.01}, "WEIGHTS-CLIPPED", 1.01),
        ({"weights_zero_percent": 50.1}, "WEIGHTS-ZERO", 50.1),
        ({"threshold_error_percent": 1.0000000000000009}, None, None),
        ({"threshold_error_percent": 1.01}, "THRESHOLD-ROUNDED", 1.01),
        ({"threshold_error_percent": -1.01}, "THRESHOLD-ROUNDED", 1.01),
        ({"threshold_error_percent": None}, None, None),
    ],
)
def test_what_rounding_lost_is_named_beyond_its_limits(changes: Any, rule: str | None, measured: float | None) -> None:
    found = precision_findings([FINE, replace(FINE, layer="b", **changes)], LOIHI)
    expected = [] if rule is None else [(rule, "b", pytest.approx(measured))]
    assert [(one.rule, one.layer, one.measured) for one in found] == expected


@pytest.mark.parametrize(
    ("exact", "stored", "error"),
    [
        (0.5, 0.5, 0.0),
        (1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0),
        (math.exp(-1 / 20), math.exp(-1 / 21), 5.0),  # time constants of 20 and 21 steps
        (math.exp(-1 / 20), math.exp(-1 / 19), 5.0),
        (0.99995, 1.0, math.inf),  # a neuron that should forget, and does not
        (0.0001, 0.0, 100.0),  # one that should remember, and does not
        (0.0, 0.5, math.inf),
    ],
)
def test_a_decay_is_judged_by_its_time_constant(exact: float, stored: float, error: float) -> None:
    assert time_constant_error(exact, stored) == pytest.approx(error)


@pytest.mark.parametrize("field", ["decay", "current_decay"])
def test_a_decay_that_the_grid_cannot_hold_is_named(field: str) -> None:
    def found(exact: float, stored: float) -> list[Any]:
        row = replace(FINE, **{field: exact, f"{field}_stored": stored})
        return [(one.rule, one.measured) for one in precision_findings([row], LOIHI)]

    assert found(math.exp(-1 / 20), math.exp(-1 / 20.99)) == []
    assert found(math.exp(-1 / 20), math.exp(-1 / 21.01)) == [("DECAY-GRID", pytest.approx(5.05))]
    assert found(0.99995, 1.0) == [("DECAY-GRID", "infinite (0.99995 is stored as 1)")]


def test_a_saturated_layer_on_data() -> None:
    seen = observe(single([[5]], steps=3), np.array([[1], [1]]))
    assert [one.rule for one in life_findings(seen)] == ["LIFE-LAYER-SATURATED", "LIFE-NEURONS-ALWAYS"]
    seen = observe(single([[5]], steps=3), np.array([[0], [0]]))
    assert [one.rule for one in life_findings(seen)] == ["LIFE-LAYER-SILENT", "LIFE-NEURONS-NEVER"]
