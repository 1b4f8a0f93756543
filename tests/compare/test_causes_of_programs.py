"""Causes where two Programs differ, and where layers stand behind one another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from cause_settings import (
    WEIGHT,
    Array,
    only,
    reference_side,
)

from neurodeploy.compare.definition import define_network
from neurodeploy.compare.result import SideComparison
from neurodeploy.compare.sides import network_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.hw_models import chip
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Linear, MembraneReadout, SpikeCountReadout, SumPool2d
from neurodeploy.ir.program import INPUT, FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.quantize import quantize


def float_program(delay: int = 0, **rules: Any) -> Program:
    """Weights of 3/4 on a threshold of 2: it is passed at step 3 with a quarter left over; or met exactly by 1/2."""
    neurons = FloatNeurons(frozen_floats(1.0), frozen_floats(2.0), frozen_floats(np.zeros(2)), **rules)
    synapses = DenseSynapses("fc", INPUT, frozen_ints([[3, 0], [0, 2]]), delay=delay)
    return Program("ideal", 9, Input((2,)), (Layer("a", (2,), (synapses,), neurons, 0.25),), "spike_count")


INPUTS = np.ones((9, 1, 2), dtype=int)


def two_programs(first: Program, second: Program, inputs: Array = INPUTS) -> SideComparison:
    return compare_sides((reference_side(first, "one"), reference_side(second, "two")), (inputs, inputs))


def test_the_reset_is_named_at_the_first_voltage_that_it_leaves() -> None:
    layer, explanation = only(two_programs(float_program(), float_program(reset="subtract")))
    assert layer.first is not None
    assert (layer.first.step, layer.first.quantity, layer.first.neuron) == (3, "voltage", (0,))
    assert (layer.first.first, layer.first.second) == (0.0, 0.25)
    assert explanation.causes == ("reset mode",)
    assert layer.differing_voltages


def test_the_comparison_is_named_where_the_threshold_is_met() -> None:
    layer, explanation = only(two_programs(float_program(), float_program(fires_at_threshold=True)))
    assert layer.first is not None
    assert (layer.first.step, layer.first.neuron, layer.first.second) == (4, (1,), 1.0)
    assert explanation.causes == ("comparison with the threshold",)


def test_a_delay_is_named() -> None:
    layer, explanation = only(two_programs(float_program(), float_program(delay=1)))
    assert layer.first is not None
    assert (layer.first.step, layer.first.quantity) == (1, "voltage")
    assert explanation.causes == ("delay",)
    layer, explanation = only(two_programs(float_program(delay=1), float_program(delay=0)))
    assert explanation.causes == ("delay",)


def test_other_numbers_of_two_programs_are_named_without_rounding() -> None:
    first = float_program()
    neurons = first.layers[0].neurons
    assert isinstance(neurons, FloatNeurons)
    for changed, cause in (
        (replace(neurons, threshold=frozen_floats([1.4, 2.0])), "threshold"),
        (replace(neurons, decay=frozen_floats([0.9, 1.0])), "decay"),
        (replace(neurons, bias=frozen_floats([0.1, 0.0])), "bias"),
        (replace(neurons, current_decay=frozen_floats([0.5, 0.0])), "decay of the current"),
    ):
        second = replace(first, layers=(replace(first.layers[0], neurons=changed),))
        assert only(two_programs(first, second))[1].causes == (cause,)
    synapses = replace(first.layers[0].synapses[0], weight=frozen_ints([[4, 0], [0, 2]]))
    second = replace(first, layers=(replace(first.layers[0], synapses=(synapses,)),))
    assert only(two_programs(first, second))[1].causes == ("weights",)


def test_delays_of_single_synapses_are_named() -> None:
    first = float_program()
    late = replace(first.layers[0].synapses[0], delays=frozen_ints([[2, 0], [0, 0]]))
    second = replace(first, layers=(replace(first.layers[0], synapses=(late,)),))
    assert only(two_programs(first, second))[1].causes == ("delay",)


# --- two layers ----------------------------------------------------------------------------------------------------


def stacked(second_weight: float, threshold: float) -> tuple[Network, Program, Array]:
    """WEIGHT's neurons, and behind them a layer b whose weights are exact or not."""
    below = WEIGHT.network
    weights = np.array([[second_weight, 0.0], [0.0, 8.0]])
    nodes = {**below.nodes, "fc2": Linear(weights, np.zeros(2)), "b": LIF(1.0, threshold)}
    chain = [(name, nodes[name]) for name in ("image", "fc", "a", "fc2", "b", "count")]
    network = sequential(chain, below.steps)
    stored = frozen_ints(np.rint(weights).astype(int))
    neurons = FixedPointNeurons(frozen_ints(0), frozen_ints(int(threshold)), frozen_ints([0, 0]), 0)
    layer = Layer("b", (2,), (DenseSynapses("fc2", "a", stored),), neurons, 1.0)
    program = WEIGHT.program
    return network, replace(program, layers=(*program.layers, layer)), WEIGHT.inputs


def test_what_comes_from_the_layer_before_is_inherited() -> None:
    network, program, inputs = stacked(8.0, 7.0)  # each spike of a is one of b
    sides = network_side(define_network(network)), reference_side(program)
    result = compare_sides(sides, (inputs, inputs), explained=1)
    assert only(result)[1].causes == ("weight rounding",)
    layer, explanation = only(result, "b")
    assert (explanation.kind, explanation.inherited_from, explanation.causes) == ("inherited", ("a",), ())
    assert layer.causes == {"inherited from a": 1}
    assert "on network's spikes of it, reference does as network" in explanation.sentence
    assert result.first_difference is result.layers[0]


def test_teacher_forcing_leaves_nothing_to_inherit() -> None:
    network, program, inputs = stacked(8.0, 7.0)
    sides = network_side(define_network(network)), reference_side(program)
    result = compare_sides(sides, (inputs, inputs), teacher_forced=True)
    assert [layer.differing_spikes > 0 for layer in result.layers] == [True, False]
    assert result.layers[1].first is None


def test_an_error_of_its_own_is_told_beside_what_is_inherited() -> None:
    network, program, inputs = stacked(7.6, 7.8)  # 7.6 is stored as 8, above 7: it fires at once, at a spike fewer
    program = replace(program, layers=(program.layers[0], _threshold(program.layers[1], 7)))
    sides = network_side(define_network(network)), reference_side(program)
    result = compare_sides(sides, (inputs, inputs))
    layer, explanation = only(result, "b")
    assert layer.first is not None
    # a fires at 3 in the network and at 4 on the chip; b at a's second spike (step 6), and at a's first (step 4)
    assert (layer.first.step, layer.first.first, layer.first.second) == (4, 0.0, 1.0)
    assert explanation.inherited_from == ("a",)
    assert explanation.kind in ("cause", "together")
    assert explanation.sentence.startswith("the spikes of layer a differ, and on the same spikes it still differs: ")


def test_a_neuron_that_sees_nothing_but_padding_is_explained() -> None:
    """A bias of 0.1, in a corner without an input; 832/64 units of 1/127 are 0.1024, past 1 one step earlier."""
    chain = [
        ("image", Input((1, 2, 2))),
        ("conv", Conv2d(np.ones((1, 1, 1, 1)), np.array([0.1]), padding=(1, 1))),
        ("a", LIF(1.0, 1.0)),
        ("flat", Flatten()),
        ("out", Linear(np.ones((2, 16)), np.zeros(2))),
        ("readout", MembraneReadout(1.0)),
    ]
    network = sequential(chain, 12)
    inputs = np.zeros((1, 1, 2, 2), dtype=int)
    sides = network_side(define_network(network)), reference_side(quantize(network, chip("loihi2")))
    layer = compare_sides(sides, (inputs, inputs)).layers[0]
    assert layer.first is not None
    assert layer.first.neuron == (0, 0, 0)
    assert layer.explanation is not None
    assert layer.explanation.causes == ("bias rounding",)


def _threshold(layer: Layer, value: int) -> Layer:
    assert isinstance(layer.neurons, FixedPointNeurons)
    return replace(layer, neurons=replace(layer.neurons, threshold=frozen_ints(value)))


def test_causes_are_found_behind_convolutions_and_pools() -> None:
    """The same rounding of a weight, 10.4 stored as 10, in a kernel behind a sum pool with padding and groups."""
    rng = np.random.default_rng(0)
    weights = np.rint(rng.integers(-6, 9, (4, 1, 3, 3))).astype(float)
    exact, rounded = weights.copy(), weights.copy()
    exact[2, 0, 1, 1], rounded[2, 0, 1, 1] = 10.4, 10.0
    chain = [
        ("image", Input((2, 8, 8))),
        ("pool", SumPool2d(2)),
        ("conv", Conv2d(exact, np.zeros(4), (1, 1), (1, 1), groups=2)),
        ("a", LIF(1.0, 31.0)),
        ("flat", Flatten()),
        ("out", Linear(np.ones((2, 64)), np.zeros(2))),
        ("b", LIF(1.0, 20.0)),
        ("count", SpikeCountReadout()),
    ]
    network = sequential(chain, 6)
    synapses = ConvSynapses("conv", INPUT, frozen_ints(rounded.astype(int)), (1, 1), (1, 1), groups=2, pool=2)
    neurons = FixedPointNeurons(frozen_ints(0), frozen_ints(31), frozen_ints(np.zeros((4, 4, 4), dtype=int)), 0)
    last = DenseSynapses("out", "a", frozen_ints(np.ones((2, 64), dtype=int)))
    counting = FixedPointNeurons(frozen_ints(0), frozen_ints(20), frozen_ints([0, 0]), 0)
    layers = Layer("a", (4, 4, 4), (synapses,), neurons, 1.0), Layer("b", (2,), (last,), counting, 1.0)
    program = Program("loihi2", 6, Input((2, 8, 8)), layers, "spike_count")
    inputs = rng.integers(0, 2, (6, 4, 2, 8, 8))
    sides = network_side(define_network(network)), reference_side(program)
    layer, explanation = only(compare_sides(sides, (inputs, inputs), explained=4))
    assert layer.first is not None
    assert layer.first.neuron[0] == 2
    assert explanation.causes == ("weight rounding",)
    assert set(layer.causes) == {"weight rounding"}
