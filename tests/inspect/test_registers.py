"""Register widths: each rule is silent at its limit and fires one past it, with the value that it names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from inspected_programs import conv, dense, layer, program, single

from neurodeploy.hw_models import chip
from neurodeploy.inspect.registers import register_findings
from neurodeploy.ir.program import Program

LOIHI = chip("loihi2")


def found(judged: Program) -> list[tuple[Any, ...]]:
    """(rule, layer, measured, limit) of everything but odd weights, which nearly every program has."""
    rows = register_findings(judged, LOIHI)
    return [(r.rule, r.layer, r.measured, r.limit) for r in rows if "ODD" not in r.rule]


@pytest.mark.parametrize(
    ("changes", "rule", "measured", "limit"),
    [
        ({"threshold": 131071}, None, None, None),
        ({"threshold": 131072}, "L2-THR-17BIT", 131072, 131071),
        ({"threshold": 0}, None, None, None),
        ({"voltage_decay": 4095}, None, None, None),
        ({"voltage_decay": 4096}, "L2-DECAY-12BIT", 4096, 4095),
        ({"current_decay": 1}, None, None, None),
        ({"current_decay": 4096}, None, None, None),
        ({"current_decay": 0}, "L2-CURRENT-DECAY-12BIT", 0, "1 to 4096"),
        ({"bias_mantissa": [4095, -4096]}, None, None, None),
        ({"bias_mantissa": [4096, 0]}, "L2-BIAS-13BIT", "0 to 4096", "-4096 to 4095"),
        ({"bias_mantissa": [-4097, 0]}, "L2-BIAS-13BIT", "-4097 to 0", "-4096 to 4095"),
        ({"bias_mantissa": [32767, -32768]}, "L2-BIAS-13BIT", "-32768 to 32767", "-4096 to 4095"),
        ({"bias_mantissa": [32768, 0]}, "L2-BIAS-INT16", "0 to 32768", "-32768 to 32767"),
        ({"bias_mantissa": [-32769, 0]}, "L2-BIAS-INT16", "-32769 to 0", "-32768 to 32767"),
        ({"bias_mantissa": [1, 1], "bias_exponent": 6}, None, None, None),
        ({"bias_mantissa": [1, 1], "bias_exponent": 5}, "L2-BIAS-EXPONENT", 5, "6"),
        ({"bias_mantissa": [1, 1], "bias_exponent": 7}, "L2-BIAS-EXPONENT", 7, "6"),
        ({"bias_mantissa": [0, 0], "bias_exponent": 7}, None, None, None),
        ({"threshold": [5, 5]}, None, None, None),
        ({"threshold": [5, 6]}, "L2-THR-SHARED", 2, 1),
        ({"voltage_decay": [7, 7]}, None, None, None),
        ({"voltage_decay": [7, 8]}, "L2-DECAY-SHARED", 2, 1),
        ({"current_decay": [7, 8]}, "L2-DECAY-SHARED", 2, 1),
    ],
)
def test_a_neurons_register(changes: dict[str, Any], rule: str | None, measured: Any, limit: Any) -> None:
    expected = [] if rule is None else [(rule, "a", measured, limit)]
    assert found(single([[2], [2]], **changes)) == expected


WEIGHT = ("L2-WEIGHT-8BIT", "a")


@pytest.mark.parametrize(
    ("weight", "exponent", "measured"),
    [
        ([[-128, 127]], 0, None),
        ([[-129, 127]], 0, "fc: -129 to 127"),
        ([[-128, 129]], 0, "fc: -128 to 129"),
        ([[-128, 128]], 0, None),  # even numbers
        ([[-256, 254]], 0, None),
        ([[-258, 254]], 0, "fc: -258 to 254"),
        ([[-256, 256]], 0, "fc: -256 to 256"),
        ([[0, 255]], 0, None),  # one sign only
        ([[0, 256]], 0, "fc: 0 to 256"),
        ([[-255, 0]], 0, None),
        ([[-257, 0]], 0, "fc: -257 to 0"),
        ([[-128, 127]], -7, None),
        ([[-127, 127]], -8, "fc: -127 to 127"),  # no exponent is one lower
        ([[-128, 126]], -8, None),
    ],
)
def test_weights_of_dense_synapses(weight: Any, exponent: int, measured: str | None) -> None:
    judged = program(layer("a", (1,), dense("input", weight, weight_exponent=exponent)), shape=(2,))
    assert found(judged) == ([] if measured is None else [(*WEIGHT, measured, "-128 to 127")])


@pytest.mark.parametrize(
    ("low", "high", "fits"),
    [(-128, 127, True), (-129, 127, False), (-128, 129, False), (-256, 254, True), (-256, 256, False)],
)
def test_weights_of_a_convolution(low: int, high: int, fits: bool) -> None:
    judged = program(layer("a", (1, 1, 1), conv("input", [[[[low, high]]]])), shape=(1, 1, 2))
    assert found(judged) == ([] if fits else [(*WEIGHT, f"conv: {low} to {high}", "-128 to 127")])


def test_odd_weights_are_counted_per_kind() -> None:
    image = layer("a", (1, 1, 1), conv("input", [[[[2, 3, -4, -1]]]]))
    last = layer("b", (1,), dense("a", [[1]]), dense("a", [[2]], "other"))
    rows = {r.rule: r for r in register_findings(program(image, last, shape=(1, 1, 4)), LOIHI)}
    assert set(rows) == {"L2-WEIGHT-ODD-CONV", "L2-WEIGHT-ODD-DENSE"}
    assert [(r.layer, r.measured, r.severity) for r in rows.values()] == [("a", 50.0, "note"), ("b", 50.0, "note")]
    assert register_findings(single([[2, -4, 0]]), LOIHI) == []


def test_every_violated_register_of_every_layer_is_named_at_once() -> None:
    bad = {"threshold": 200000, "voltage_decay": 4096, "bias_mantissa": np.array([5000])}
    both = program(layer("a", (1,), dense("input", [[2]]), **bad), layer("b", (1,), dense("a", [[301]]), **bad))
    rules = ["L2-THR-17BIT", "L2-DECAY-12BIT", "L2-BIAS-13BIT"]
    assert [(rule, name) for rule, name, *_ in found(both)] == [
        *((rule, "a") for rule in rules),
        *((rule, "b") for rule in rules),
        ("L2-WEIGHT-8BIT", "b"),
    ]
