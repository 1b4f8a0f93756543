"""Headroom of current and voltage: by hand for the worst input, and on data against the equations written again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from inspected_programs import conv, dense, layer, program, single

from neurodeploy.inspect.headroom import headroom, headroom_findings, worst_case
from neurodeploy.inspect.observed import observe
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.simulate import reference

LIMIT = 2**23


def rules(judged: Program, inputs: Any = None) -> list[tuple[str, Any]]:
    seen = {} if inputs is None else observe(judged, np.array(inputs))
    return [(row.rule, row.measured) for row in headroom_findings(judged, seen)]


def test_the_worst_case_by_hand() -> None:
    """Input of 2 bits: sums of -6·3 to (4 + 10)·3; current keeps 1/2, voltage 3/4; bias -3·64 to 5·64; 3 steps."""
    judged = single(
        [[4, -6, 10], [1, 1, 1]],
        bits=2,
        steps=3,
        fires=False,
        current_decay=2048,
        voltage_decay=1024,
        bias_mantissa=[-3, 5],
        threshold=131071,
    )
    low, high = -18 * 64, 42 * 64
    u = [(low * f, high * f) for f in (1, 1.5, 1.75)]
    v_low = v_high = 0.0
    for down, up in u:
        v_low, v_high = 0.75 * v_low + down - 192, 0.75 * v_high + up + 320
    reach = worst_case(judged.layers[0], judged)
    assert reach.current == u[-1]
    assert reach.voltage == pytest.approx((v_low, v_high))
    row = headroom(judged, {})[0]
    assert (row.current_worst, row.current_worst_bits) == (4704.0, pytest.approx(np.log2(LIMIT / 4704)))
    assert row.voltage_worst_bits == pytest.approx(np.log2((LIMIT - 1) / v_high))
    assert (row.current_measured, row.voltage_measured_bits) == (None, None)


def test_a_neuron_that_fires_is_reset_above_its_threshold() -> None:
    judged = single([[100]], steps=1000, threshold=10, voltage_decay=2048)
    assert worst_case(judged.layers[0], judged).voltage == (0.0, 10 * 64 * 0.5 + 6400)
    low = single([[-100]], steps=3, threshold=10)
    assert worst_case(low.layers[0], low).voltage == (-3 * 6400.0, 0.0)


def test_headroom_of_a_register_that_is_half_full_is_one_bit() -> None:
    row = headroom(single([[2**16]]), {})[0]
    assert (row.current_worst, row.current_worst_bits) == (2.0**22, 1.0)
    silent = headroom(single([[0]]), {})[0]
    assert (silent.current_worst, silent.current_worst_bits) == (0.0, None)


@pytest.mark.parametrize(
    ("weights", "wraps"),
    [
        ([2**16, 2**16], False),  # 2^23 itself is held
        ([2**16, 2**16 + 1], True),
        ([-(2**16), -(2**16) + 1], False),
        ([-(2**16), -(2**16)], True),  # -2^23 is not
        ([2**16, -(2**16)], False),
    ],
)
def test_the_current_wraps_one_past_its_register(weights: list[int], wraps: bool) -> None:
    judged = single([weights])
    largest = 64 * max(sum(w for w in weights if w > 0), -sum(w for w in weights if w < 0))
    worst = [("L2-CURRENT-WRAP", largest)] if wraps else []
    assert [one for one in rules(judged) if one[0] == "L2-CURRENT-WRAP"] == worst
    on_data = [one for one in rules(judged, [[1, 1], [0, 1]]) if one[0] == "L2-CURRENT-WRAP-DATA"]
    assert on_data == ([("L2-CURRENT-WRAP-DATA", 1)] if wraps else [])


def test_graded_inputs_pooling_and_several_synapses_count() -> None:
    for weight, count in ((514, 0), (515, 1)):  # × 255: 131070 and 131325 of 131072 weight units
        assert [name for name, _ in rules(single([[weight]], bits=8))].count("L2-CURRENT-WRAP") == count
    for weight, count in ((2**15, 0), (2**15 + 1, 1)):  # a window of 4 pixels
        pooled = layer("a", (1, 1, 1), conv("input", [[[[weight]]]], pool=2))
        assert [n for n, _ in rules(program(pooled, shape=(1, 2, 2)))].count("L2-CURRENT-WRAP") == count
    for weight, count in ((2**16, 0), (2**16 + 1, 1)):
        twice = layer("a", (1,), dense("input", [[weight]]), dense("input", [[weight]], "other"))
        assert [n for n, _ in rules(program(twice))].count("L2-CURRENT-WRAP") == count


def test_a_current_with_memory_adds_up_over_steps() -> None:
    for steps, count in ((4, 0), (5, 1)):  # 4 · 2^15 weight units are 2^23 voltage units
        judged = single([[2**15]], steps=steps, current_decay=0)
        assert [name for name, _ in rules(judged)].count("L2-CURRENT-WRAP") == count
        ones = [name for name, _ in rules(judged, np.ones((2, 1), dtype=int))]
        assert ones.count("L2-CURRENT-WRAP-DATA") == count
        assert "L2-CURRENT-WRAP-DATA" not in [name for name, _ in rules(judged, np.zeros((2, 1), dtype=int))]


@pytest.mark.parametrize(("threshold", "name"), [(1023, "L2-READOUT-FIRES"), (1024, None)])
def test_a_readout_must_not_reach_its_threshold(threshold: int, name: str | None) -> None:
    judged = single([[1024, -5000]], fires=False, threshold=threshold)
    assert rules(judged) == ([] if name is None else [(name, 1024.0 * 64)])
    assert rules(single([[1024, -5000]], threshold=threshold)) == []  # a neuron that fires may


@pytest.mark.parametrize(("smallest", "fires"), [(-(2**16), True), (-(2**16) + 1, False)])
def test_a_readout_whose_current_turns_positive_fires(smallest: int, fires: bool) -> None:
    """At -2^23 the current becomes +2^23, and the voltage all that its register holds."""
    judged = single([[-(2**16), smallest]], fires=False, threshold=131071)
    assert ("L2-READOUT-FIRES" in dict(rules(judged))) is fires
    (voltage,) = reference.run(judged, np.ones((1, 2), dtype=int)).potentials["a"].ravel().tolist()
    assert voltage == (LIMIT - 1 if fires else -LIMIT + 64)
    if fires:
        assert dict(rules(judged))["L2-READOUT-FIRES"] == LIMIT - 1


@pytest.mark.parametrize(("steps", "fires"), [(4, True), (3, False)])
def test_a_readout_whose_current_adds_up_to_a_wrap_fires(steps: int, fires: bool) -> None:
    judged = single([[-(2**15)]], steps=steps, fires=False, threshold=131071, current_decay=0)
    assert ("L2-READOUT-FIRES" in dict(rules(judged))) is fires


def test_a_voltage_saturates_one_past_its_register() -> None:
    """131070 · 64 and a bias of 127 are 2^23 - 1; below zero, where no spike resets it."""
    for bias, count in ((-127, 0), (-128, 1)):
        judged = single([[-131070]], bias_mantissa=[bias], bias_exponent=0)
        found = rules(judged, [[1], [0], [1]])
        worst = [("L2-VOLTAGE-SATURATES", 2.0**23), ("L2-VOLTAGE-SATURATES-DATA", 2)]
        assert found == (worst if count else [])
    by_severity = {row.rule: row.severity for row in headroom_findings(judged, observe(judged, np.array([[1]])))}
    assert by_severity == {"L2-VOLTAGE-SATURATES": "note", "L2-VOLTAGE-SATURATES-DATA": "warning"}


@pytest.mark.parametrize(
    ("weight", "exponent", "rule"),
    [
        ([[2**24]], 0, "L2-SUM-INT32"),  # not of 8 bits: as it is, 2^24 · 255 = 2^32 - 2^24
        ([[2**23 - 1]], -8, None),  # (2^23 - 1) · 255 < 2^31, before it is shifted
        ([[127] * 33156], 0, "L2-SUM-INT32"),  # doubled: 2 · 127 · 255 · 33156 = 2^31 + 30472
        ([[127] * 33155], 0, None),
    ],
)
def test_32_bit_sums(weight: Any, exponent: int, rule: str | None) -> None:
    synapses = dense("input", weight, weight_exponent=exponent)
    judged = program(layer("a", (1,), synapses), shape=(synapses.weight.shape[1],), bits=8)
    assert [name for name, _ in rules(judged) if name == "L2-SUM-INT32"] == ([rule] if rule else [])


@pytest.mark.parametrize(("weight", "fires"), [(2**25 - 1, False), (2**25, True)])
def test_32_bit_currents(weight: int, fires: bool) -> None:
    assert ("L2-CURRENT-INT32" in dict(rules(single([[weight]])))) is fires


def test_a_convolutions_sums_wrap_before_they_become_a_current() -> None:
    image = layer("a", (1, 1, 1), conv("input", [[[[2**26]]]]))
    assert "L2-CURRENT-INT32" not in dict(rules(program(image, shape=(1, 1, 1))))


def lively(seed: int) -> tuple[Program, Any]:
    """Two layers with delays, memory in current and voltage, and currents that wrap at some steps only."""
    rng = np.random.default_rng(seed)
    hidden = layer(
        "a",
        (6,),
        dense("input", rng.integers(-40000, 60000, (6, 5)), delays=rng.integers(0, 3, (6, 5))),
        dense("a", rng.integers(-9000, 9000, (6, 6)), "rec", delay=1),
        voltage_decay=500,
        current_decay=2000,
        threshold=60000,
        bias_mantissa=rng.integers(-90, 90, 6),
    )
    out = layer("out", (3,), dense("a", rng.integers(-99, 99, (3, 6))), fires=False, threshold=131071)
    return program(hidden, out, shape=(5,), steps=12), rng.integers(0, 2, (12, 4, 5))


def written_again(judged: Program, inputs: Any) -> tuple[list[float], int, int]:
    """([lowest and highest current, lowest and highest voltage], wraps, saturations) of the first layer."""
    first: Layer = judged.layers[0]
    n: Any = first.neurons
    into, back = first.synapses
    delays = into.delays  # type: ignore[union-attr]
    assert delays is not None
    extremes, wraps, saturations = [0.0] * 4, 0, 0
    for sample in range(inputs.shape[1]):
        u = v = np.zeros(6, dtype=np.int64)
        fired = [np.zeros(6, dtype=np.int64)]
        for t in range(judged.steps):
            a = np.zeros(6, dtype=np.int64)
            for i in range(6):
                for j in range(5):
                    if t >= delays[i, j]:
                        a[i] += into.weight[i, j] * inputs[t - delays[i, j], sample, j]
                a[i] += sum(back.weight[i, j] * fired[-1][j] for j in range(6))
            c = np.fix(u * (4096 - n.current_decay) / 4096).astype(np.int64) + 64 * a
            wraps += int(((c > LIMIT) | (c <= -LIMIT)).sum())
            u = np.where(c > LIMIT, c - 2 * LIMIT, np.where(c <= -LIMIT, c + 2 * LIMIT, c))
            w = np.fix(v * (4096 - n.voltage_decay) / 4096).astype(np.int64) + u + n.bias_mantissa * 64
            saturations += int((np.abs(w) > LIMIT - 1).sum())
            extremes = [
                min(extremes[0], c.min()),
                max(extremes[1], c.max()),
                min(extremes[2], w.min()),
                max(extremes[3], w.max()),
            ]
            v = np.clip(w, -LIMIT + 1, LIMIT - 1)
            spikes = v > 64 * n.threshold
            v = np.where(spikes, 0, v)
            fired.append(spikes.astype(np.int64))
    return extremes, wraps, saturations


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_measured_on_data_is_the_equations(seed: int) -> None:
    judged, inputs = lively(seed)
    seen = observe(judged, inputs)
    extremes, wraps, saturations = written_again(judged, inputs)
    first = seen["a"]
    assert first.firing_rate is not None
    assert 0.05 < first.firing_rate < 0.95
    assert wraps > 0
    assert first.reach is not None
    assert (*first.reach.current, *first.reach.voltage) == tuple(extremes)
    assert (first.wraps, first.saturations) == (wraps, saturations)
    row = headroom(judged, seen)[0]
    assert row.current_measured == max(-extremes[0], extremes[1])
    assert row.current_measured_bits == pytest.approx(np.log2(LIMIT / row.current_measured))
    assert row.current_measured_bits < 0  # passed


def test_floating_point_neurons_have_no_such_registers() -> None:
    floating = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(1))
    synapses = dense("input", [[2**40]])
    judged = Program(
        "mixed-signal", 1, single([[1]]).input, (Layer("a", (1,), (synapses,), floating, 1.0),), "spike_count"
    )
    assert headroom(judged, {}) == []
    assert rules(judged, [[1]]) == []
    assert observe(judged, np.array([[1]]))["a"].reach is None
