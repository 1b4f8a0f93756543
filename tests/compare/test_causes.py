"""Every cause by itself: two sides that differ in one quantity, a difference that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from cause_settings import (
    BIAS,
    CLIPPED,
    COMPARISON,
    CURRENT_DECAY,
    DECAY,
    EITHER,
    INPUT_ROUNDING,
    SATURATION,
    THRESHOLD,
    TOGETHER,
    TRUNCATION,
    WEIGHT,
    WRAP,
    Setting,
    compared,
    only,
    reference_side,
)

from neurodeploy.compare.definition import define_network
from neurodeploy.compare.sides import network_side
from neurodeploy.compare.stream import compare_sides


def by_hand(setting: Setting) -> tuple[list[int], list[int]]:
    """Spikes of neuron 0 on both sides, the equations written again in plain Python."""
    network, chip = [], []
    i = v = 0.0
    current = voltage = 0
    for t, row in enumerate(np.asarray(setting.shown).tolist()):
        real = row if setting.real is None else [setting.real]
        i = setting.current_decay * i + sum(w * x for w, x in zip(setting.weights, real, strict=True))
        v = setting.decay * v + i + setting.bias
        network.append(int(v >= setting.threshold if setting.at_threshold else v > setting.threshold))
        v = 0.0 if network[t] else v
        current = int(current * setting.current_kept / 4096)
        current += 64 * sum(w * x for w, x in zip(setting.stored, row, strict=True))
        current = current - 2**24 if current > 2**23 else current + 2**24 if current <= -(2**23) else current
        voltage = int(voltage * setting.kept / 4096) + current + setting.stored_bias
        voltage = max(-(2**23) + 1, min(2**23 - 1, voltage))
        chip.append(int(voltage > 64 * setting.stored_threshold))
        voltage = 0 if chip[t] else voltage
    return network, chip


@pytest.mark.parametrize(
    ("setting", "cause", "step"),
    [
        (WEIGHT, "weight rounding", 3),
        (CLIPPED, "weight clipping", 1),
        (BIAS, "bias rounding", 10),
        (THRESHOLD, "threshold rounding", 1),
        (DECAY, "decay rounding", 2),
        (TRUNCATION, "truncation to whole units", 2),
        (CURRENT_DECAY, "rounding of the current's decay", 2),
        (WRAP, "wrap of the current", 1),
        (SATURATION, "saturation of the voltage", 5),
        (COMPARISON, "comparison with the threshold", 3),
        (INPUT_ROUNDING, "input rounding", 3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_one_cause_is_named(setting: Setting, cause: str, step: int) -> None:
    layer, explanation = only(compared(setting))
    network, chip = by_hand(setting)
    assert (explanation.kind, explanation.causes) == ("cause", (cause,))
    assert layer.first is not None
    assert (layer.first.step, layer.first.neuron, layer.first.sample) == (step, (0,), 0)
    assert (layer.first.first, layer.first.second) == (network[step - 1], chip[step - 1])
    assert network[: step - 1] == chip[: step - 1]
    assert layer.causes == {cause: 1}
    assert cause in explanation.sentence
    assert explanation.trace is not None
    assert (list(explanation.trace.first_spikes or ()), list(explanation.trace.second_spikes or ())) == (network, chip)
    differing = [int(one != other) for one, other in zip(network, chip, strict=True)]
    assert list(layer.differing_by_step[:step]) == differing[:step]  # later neuron 1 may differ, too


def test_register_limits_are_told_with_the_unbounded_value() -> None:
    _, explanation = only(compared(WRAP))
    assert explanation.registers == (f"reference: the current wrapped at step 1: 10363200 became {10363200 - 2**24}",)
    _, explanation = only(compared(SATURATION))
    assert explanation.registers == ("reference: the voltage saturated at step 2: -12000000 became -8388607",)
    _, explanation = only(compared(WEIGHT))
    assert explanation.registers == ()


def test_only_what_differs_is_tried_and_limits_only_where_they_are_reached() -> None:
    tried = {one.quantity: (one.in_first, one.in_second) for one in only(compared(WEIGHT))[1].tried}
    assert tried == {"weight rounding": (True, True), "truncation to whole units": (False, False)}
    tried = {one.quantity: (one.in_first, one.in_second) for one in only(compared(WRAP))[1].tried}
    assert tried == {"wrap of the current": (True, True), "truncation to whole units": (False, False)}


def test_two_that_act_together_are_named_together() -> None:
    layer, explanation = only(compared(TOGETHER))
    assert by_hand(TOGETHER)[0][:3] == [0, 0, 1]
    assert by_hand(TOGETHER)[1][:3] == [0, 0, 0]
    assert (explanation.kind, explanation.causes) == ("together", ("weight rounding", "bias rounding"))
    assert explanation.sentence.startswith("weight rounding and bias rounding together")
    assert layer.causes == {"weight rounding and bias rounding together": 1}
    tried = {one.quantity: (one.in_first, one.in_second) for one in explanation.tried}
    assert tried["weight rounding"] == tried["bias rounding"] == (True, False)


def test_two_of_which_any_one_would_do_are_both_named() -> None:
    layer, explanation = only(compared(EITHER))
    assert (explanation.kind, explanation.causes) == ("cause", ("weight rounding", "bias rounding"))
    assert layer.causes == {"weight rounding or bias rounding": 1}
    tried = {one.quantity: (one.in_first, one.in_second) for one in explanation.tried}
    assert tried["weight rounding"] == tried["bias rounding"] == (False, True)


def test_the_order_of_the_sides_does_not_change_the_cause() -> None:
    for setting, causes in ((TOGETHER, ("weight rounding", "bias rounding")), (DECAY, ("decay rounding",))):
        sides = reference_side(setting.program), network_side(define_network(setting.network))
        result = compare_sides(sides, (setting.inputs, setting.inputs))
        assert only(result)[1].causes == causes
        assert "reference does as network" in only(result)[1].sentence
