"""Sides that do not compute what they are meant to: recorded runs with other rules, and rounding of floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compare.departures import SAMPLES, SIZE, STEPS, Array, program_and_inputs, recorded

from neurodeploy.compare.result import SideComparison
from neurodeploy.compare.sides import program_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import INPUT, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording


def simulated(program: Program, inputs: Array, rule: Callable[..., Any] | None = None, **other: Any) -> Recording:
    """The fixed-point neuron written again in plain NumPy, with one rule at a time that is not the Program's."""
    layer = program.layers[0]
    neurons, weight = layer.neurons, other.get("weight", layer.synapses[0].weight)
    assert isinstance(neurons, FixedPointNeurons)
    decay = other.get("voltage_decay", 1024)
    delay, bias = other.get("delay", 1), other.get("bias", neurons.bias)
    current = voltage = np.zeros((SAMPLES, SIZE), dtype=int)
    spikes, potentials = [], []
    halved = rule or (lambda state, kept: np.sign(state) * (abs(state) * kept // 4096))
    for t in range(STEPS):
        shown = inputs[t - delay] if t >= delay else np.zeros((SAMPLES, SIZE), dtype=int)
        current = halved(current, 4096 - other.get("current_decay", 3000)) + 64 * (shown @ weight.T)
        voltage = halved(voltage, 4096 - decay) + current + bias
        fired = voltage >= 40 * 64 if other.get("at_threshold") else voltage > 40 * 64
        left = voltage - 40 * 64 if other.get("subtract") else voltage if other.get("no_reset") else 0
        voltage = np.where(fired, left, voltage)
        spikes.append(fired.astype(np.uint8))
        potentials.append(voltage)
    return Recording({"a": np.array(spikes)}, {"a": np.array(potentials)}, np.array(spikes).sum(axis=0, dtype=int))


def against_the_reference(program: Program, inputs: Array, got: Recording) -> SideComparison:
    expected = reference.run(program, inputs)
    for fired in (expected.spikes["a"], got.spikes.get("a")):
        assert fired is None or 0.05 < fired.mean() < 0.95
    first = program_side(program, "reference", "NumPy reference", reference.run)
    return compare_sides((first, recorded(program, got)), (inputs, inputs))


def test_the_plain_equations_are_the_references() -> None:
    program, inputs = program_and_inputs()
    result = against_the_reference(program, inputs, simulated(program, inputs))
    assert (result.first_difference, result.by_value, result.second.evidence) == (None, True, "measured-silicon")
    assert result.excess() == []


def floored(state: Array, kept: int) -> Array:
    return np.floor_divide(state * kept, 4096)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"subtract": True}, "reset by subtraction"),
        ({"no_reset": True}, "no reset"),
        ({"rule": floored}, "decayed states rounded down"),
        ({"bias": 0}, "no bias"),
        ({"voltage_decay": 0}, "no decay of the voltage"),
        ({"voltage_decay": 4096}, "no memory in the voltage"),
        ({"current_decay": 3001}, "current that loses 1/4096 more (an offset of 1 in its decay)"),
        ({"current_decay": 2999}, "current that loses 1/4096 less (an offset of 1 in its decay)"),
        ({"delay": 2}, "synapses that take a step more"),
        ({"delay": 0}, "synapses that take a step less"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recorded_run_by_another_rule_is_consistent_with_that_rule(change: dict[str, Any], name: str) -> None:
    program, inputs = program_and_inputs()
    result = against_the_reference(program, inputs, simulated(program, inputs, **change))
    layer = result.layers[0]
    assert layer.explanation is not None
    assert (layer.explanation.kind, layer.explanation.causes) == ("departure", ())
    assert name in layer.explanation.consistent_with
    assert "chip does not compute what its Program says" in layer.explanation.sentence
    assert layer.explanation.trace is not None
    assert layer.first is not None
    got = simulated(program, inputs, **change).potentials["a"][:, layer.first.sample, layer.first.neuron[0]]
    assert layer.explanation.trace.second_potential == tuple(got * 0.125 / 64)


def test_without_potentials_the_spikes_decide() -> None:
    program, inputs = program_and_inputs()
    got = simulated(program, inputs, subtract=True)
    result = against_the_reference(program, inputs, Recording(got.spikes, {}, got.readout))
    layer = result.layers[0]
    assert layer.explanation is not None
    assert layer.explanation.consistent_with == ("reset by subtraction",)
    assert (layer.missing, layer.error, layer.differing_voltages) == (("run:chip has no potentials",), None, None)
    assert layer.explanation.trace is not None
    assert layer.explanation.trace.second_potential is None


def test_comparison_at_the_threshold_and_lost_weight_bits_are_recognised() -> None:
    program, inputs = program_and_inputs()
    neurons = replace(program.layers[0].neurons, current_decay=frozen_ints(4096), voltage_decay=frozen_ints(0))  # type: ignore[arg-type]
    weights = frozen_ints(np.random.default_rng(1).integers(1, 5, (SIZE, SIZE)) * 5)  # the threshold 40 is met often
    synapses = replace(program.layers[0].synapses[0], weight=weights)
    layer = replace(program.layers[0], neurons=replace(neurons, bias_mantissa=frozen_ints([0] * SIZE)))
    program = replace(program, layers=(replace(layer, synapses=(synapses,)),))
    given = {"bias": 0, "voltage_decay": 0, "current_decay": 4096}
    for change, name in (
        ({"at_threshold": True}, ">= in the comparison"),
        ({"weight": weights // 2 * 2}, "weights without their lowest bit (odd ones rounded down)"),
    ):
        got = simulated(program, inputs, **given, **change)
        explanation = against_the_reference(program, inputs, got).layers[0].explanation
        assert explanation is not None
        assert explanation.consistent_with == (name,)


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        # 161925 weight units are 10363200 voltage units, which a current without limits would hold
        ([[255, 0]] * 4, "no wrap of the current"),
        # -93750 twice, then up by 50165: a voltage without limits comes up later
        ([[0, 250]] * 2 + [[79, 0]] * 6, "no saturation of the voltage"),
    ],
)
def test_registers_without_limits_are_recognised(shown: list[list[int]], name: str) -> None:
    weights = frozen_ints([[635, -375], [0, 0]])
    neurons = FixedPointNeurons(frozen_ints(0), frozen_ints(10000), frozen_ints([0, 400000]), 0)
    layer = Layer("a", (2,), (DenseSynapses("fc", INPUT, weights),), neurons, 1.0)
    program = Program("loihi2", len(shown), Input((2,), bits=8), (layer,), "spike_count")
    inputs = np.array(shown)[:, None]
    voltage, spikes = [0, 0], []
    limit = 10**12 if "saturation" in name else 2**23 - 1
    for one, other in shown:  # integers of any size
        voltage = [voltage[0] + 64 * (635 * one - 375 * other), voltage[1] + 400000]
        voltage = [max(-limit, min(limit, value)) for value in voltage]
        spikes.append([int(value > 640000) for value in voltage])
        voltage = [0 if fired else value for fired, value in zip(spikes[-1], voltage, strict=True)]
    got = np.array(spikes, np.uint8)[:, None]
    result = against_the_reference(program, inputs, Recording({"a": got}, {}, got.sum(axis=0, dtype=int)))
    explanation = result.layers[0].explanation
    assert explanation is not None
    assert name in explanation.consistent_with
    assert explanation.registers[0].startswith("reference: the ")


@pytest.mark.parametrize(("shift", "name"), [(1, "1 step late"), (2, "2 steps late"), (-1, "1 step early")])
def test_spikes_that_were_recorded_at_another_step_are_recognised(shift: int, name: str) -> None:
    program, inputs = program_and_inputs()
    spikes = np.zeros((STEPS, SAMPLES, SIZE), np.uint8)
    own = simulated(program, inputs).spikes["a"]
    if shift > 0:
        spikes[shift:] = own[:-shift]
    else:
        spikes[:shift] = own[-shift:]
    result = against_the_reference(program, inputs, Recording({"a": spikes}, {}, spikes.sum(axis=0, dtype=int)))
    assert result.layers[0].explanation is not None
    assert f"spikes recorded {name}" in result.layers[0].explanation.consistent_with


def test_a_shifted_recording_with_something_before_it_is_no_shift() -> None:
    program, inputs = program_and_inputs()
    spikes = np.zeros((STEPS, SAMPLES, SIZE), np.uint8)
    spikes[1:] = simulated(program, inputs).spikes["a"][:-1]
    spikes[0, 0] = 1  # before anything could have arrived; in the sample of the first difference
    result = against_the_reference(program, inputs, Recording({"a": spikes}, {}, spikes.sum(axis=0, dtype=int)))
    assert result.layers[0].explanation is not None
    assert result.layers[0].explanation.consistent_with == ()


@pytest.mark.parametrize(("steps", "names"), [(1, ()), (2, ("spikes recorded 1 step early",))])
def test_a_shift_by_all_steps_there_are_is_none(steps: int, names: tuple[str, ...]) -> None:
    """Neuron 0 should fire in the first step and is silent: of two steps the second came early, of one none is left."""
    neurons = FixedPointNeurons(frozen_ints(0), frozen_ints(10), frozen_ints([0, 0, 0]), 0)
    synapses = DenseSynapses("fc", INPUT, frozen_ints(np.diag([11, 11, 0])))
    layer = Layer("a", (3,), (synapses,), neurons, 1.0)
    program = Program("loihi2", steps, Input((3,)), (layer,), "spike_count")
    inputs = np.array([[[1, 1, 1]], [[0, 1, 1]]])[:steps]
    spikes = np.array([[[0, 1, 0]]] * steps, np.uint8)
    result = against_the_reference(program, inputs, Recording({"a": spikes}, {}, spikes.sum(axis=0, dtype=int)))
    assert result.layers[0].explanation is not None
    shifts = [one for one in result.layers[0].explanation.consistent_with if "recorded" in one]
    assert tuple(shifts) == names


@pytest.mark.parametrize(("shift", "name"), [(1, "1 step late"), (-2, "2 steps early")])
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_recording_that_is_late_as_a_whole(shift: int, name: str, wrong: int) -> None:
    program, inputs = program_and_inputs()
    own = reference.run(program, inputs)
    spikes, potentials = np.roll(own.spikes["a"], shift, axis=0), np.roll(own.potentials["a"], shift, axis=0)
    vacant = slice(None, shift) if shift > 0 else slice(shift, None)
    spikes[vacant], potentials[vacant] = 0, 0
    potentials[STEPS // 2] += wrong
    got = Recording({"a": spikes}, {"a": potentials}, spikes.sum(axis=0, dtype=int))
    (layer,) = against_the_reference(program, inputs, got).layers
    assert layer.explanation is not None
    assert layer.explanation.consistent_with == (() if wrong else (f"spikes recorded {name}",))


@pytest.mark.parametrize("wrong", [0, 1])
def test_shifted_spikes_beside_potentials_that_are_wrong_are_no_shift(wrong: int) -> None:
    program, inputs = program_and_inputs()
    own = reference.run(program, inputs)
    spikes = np.concatenate([np.zeros_like(own.spikes["a"][:1]), own.spikes["a"][:-1]])
    potentials = own.potentials["a"] + wrong
    got = Recording({"a": spikes}, {"a": potentials}, spikes.sum(axis=0, dtype=int))
    (layer,) = against_the_reference(program, inputs, got).layers
    assert layer.explanation is not None
    assert layer.explanation.consistent_with == (() if wrong else ("spikes recorded 1 step late",))


def test_a_single_flipped_spike_is_explained_by_nothing() -> None:
    program, inputs = program_and_inputs()
    own = simulated(program, inputs)
    spikes = own.spikes["a"].copy()
    spikes[7, 1, 3] ^= 1
    result = against_the_reference(program, inputs, Recording({"a": spikes}, {}, spikes.sum(axis=0, dtype=int)))
    layer = result.layers[0]
    assert layer.first is not None
    assert (layer.first.step, layer.first.sample, layer.first.neuron, layer.differing_spikes) == (8, 1, (3,), 1)
    assert layer.explanation is not None
    assert (layer.explanation.kind, layer.explanation.causes) == ("departure", ())
    assert layer.explanation.consistent_with == ()
    assert "no single change that is known here" in layer.explanation.sentence


def test_what_feeds_a_layer_and_was_not_recorded_leaves_the_cause_open() -> None:
    program, inputs = program_and_inputs()
    second = replace(program.layers[0], name="b", synapses=(replace(program.layers[0].synapses[0], source="a"),))
    program = replace(program, layers=(program.layers[0], second))
    own = reference.run(program, inputs)
    spikes = own.spikes["b"].copy()
    spikes[9, 0, 0] ^= 1
    got = Recording({"b": spikes}, {}, spikes.sum(axis=0, dtype=int))
    first = program_side(program, "reference", "NumPy reference", reference.run)
    result = compare_sides((first, recorded(program, got)), (inputs, inputs))
    above, below = result.layers
    assert (above.compared, above.first) == (0, None)
    assert above.missing == ("run:chip has no spikes and no potentials",)
    assert below.explanation is not None
    assert below.explanation.kind == "unknown"
    assert "run:chip lacks the spikes of layer a" in below.explanation.sentence
