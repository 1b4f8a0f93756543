"""Every cause by itself: two sides that differ in one quantity, a difference that can be worked out by hand.

Numbers of the chip are in weight units (64 voltage units) with scale 1, so that the network's unit is the weight unit.
Neuron 0 of the layer is the one at which the sides differ; neuron 1 fires at every other step on both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.compare.definition import define_network
from neurodeploy.compare.result import Explanation, LayerResult, SideComparison
from neurodeploy.compare.sides import Side, network_side, program_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, Conv2d, CubaLIF, Flatten, Input, Linear, SpikeCountReadout, SumPool2d
from neurodeploy.ir.program import INPUT, FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import reference

Array = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """One neuron of a float network and of a chip; the numbers of both sides, in weight units.

    Attributes:
        shown: (T, channels) integers that the input holds.
        decay, kept: of the voltage: the network's fraction, and what the chip keeps of 4096.
    """

    shown: Any
    weights: Any
    stored: Any
    threshold: float
    stored_threshold: int
    bias: float = 0.0
    stored_bias: int = 0  # voltage units
    decay: float = 1.0
    kept: int = 4096
    current_decay: float = 0.0
    current_kept: int = 0
    at_threshold: bool = False
    real: Any = None  # what the network is shown, where that is no integers

    @property
    def inputs(self) -> Array:
        """(T, 1, channels + 1): the last channel is on at every other step, for neuron 1."""
        shown = np.asarray(self.shown)
        return np.concatenate([shown, np.arange(1, len(shown) + 1)[:, None] % 2], axis=1)[:, None]

    @property
    def network(self) -> Network:
        weights = self._with_second(np.asarray(self.weights, dtype=float), 2 * self.threshold + 1)
        node = (
            LIF(self.decay, self.threshold, "zero", self.at_threshold)
            if self.current_decay == 0
            else CubaLIF(self.decay, self.current_decay, self.threshold, "zero", self.at_threshold)
        )
        first = Input((self.inputs.shape[2],), bits=8)
        chain = [("image", first), ("fc", Linear(weights, np.array([self.bias, 0.0]))), ("a", node)]
        return sequential([*chain, ("count", SpikeCountReadout())], len(self.inputs))

    @property
    def program(self) -> Program:
        stored = self._with_second(np.asarray(self.stored), 2 * self.threshold + 1)
        neurons = FixedPointNeurons(
            frozen_ints(4096 - self.kept),
            frozen_ints(self.stored_threshold),
            frozen_ints([self.stored_bias, 0]),
            0,
            frozen_ints(4096 - self.current_kept),
        )
        layer = Layer("a", (2,), (DenseSynapses("fc", INPUT, frozen_ints(stored)),), neurons, 1.0)
        return Program("loihi2", len(self.inputs), Input((self.inputs.shape[2],), bits=8), (layer,), "spike_count")

    def _with_second(self, weights: Array, strong: float) -> Array:
        """Row 1 fires whenever the last channel is on, on both sides alike."""
        whole = np.zeros((2, len(weights) + 1), dtype=weights.dtype)
        whole[0, :-1], whole[1, -1] = weights, int(strong)
        return whole


CONSTANT = np.ones((12, 1), dtype=int)


def pulse(*values: int, steps: int = 8) -> Array:
    """(steps, 1): the values, then nothing."""
    return np.array([*values, *[0] * (steps - len(values))])[:, None]


# 10.4 a step passes 31 at step 3, 10 at step 4
WEIGHT = Setting(CONSTANT, [10.4], [10], 31, 31)
# 140 does not fit into 8 bits
CLIPPED = Setting(CONSTANT, [140.0], [127], 130, 130)
# 0.51 a step passes 5 at step 10 (5.1), 32/64 does not (5.0 is not above)
BIAS = Setting(CONSTANT, [0.0], [0], 5, 5, bias=0.51, stored_bias=32)
# 30.25 is above 30, not above 30.5
THRESHOLD = Setting(CONSTANT, [30.0], [30], 30.5, 30, bias=0.25, stored_bias=16)
# 100 × 128 = 12800, then 0.9 of it and 100 × 13: 12820 against 12818.75 (3686/4096 of it is 11518.75, a whole number
# of voltage units, so that nothing is truncated)
DECAY = Setting(pulse(128, 13), [100.0], [100], 12819, 12819, decay=0.9, kept=3686)
# 171 voltage units (2 weight units and 43), half of it is 85.5: 256.5 is above 4 × 64, 256 is not
TRUNCATION = Setting(CONSTANT, [2.0], [2], 4, 4, bias=43 / 64, stored_bias=43, decay=0.5, kept=2048)
# the current keeps 0.9 or 3686/4096 of 12800: the voltage reaches 24320 or 24318.75
CURRENT_DECAY = Setting(pulse(128), [100.0], [100], 24319, 24319, current_decay=0.9, current_kept=3686)
# 5 × 127 × 255 = 161925 weight units are 10363200 voltage units, past 2^23
WRAP = Setting(np.tile([255] * 5, (6, 1)), [127.0] * 5, [127] * 5, 10000, 10000)
# twice -3 × 125 × 250 are -12000000 voltage units, where the register ends at -8388607; three times 50000 weight units
# later the chip's neuron is above the threshold, the network's still below 0
SINKING = [[250, 0]] * 2 + [[0, 200]] * 6
SATURATION = Setting(SINKING, [-375.0, 250.0], [-375, 250], 10000, 10000)
# 30 is reached at step 3
COMPARISON = Setting(CONSTANT, [10.0], [10], 30, 30, at_threshold=True)
# 10.4 is shown to the network, 10 to the chip
INPUT_ROUNDING = Setting(10 * CONSTANT, [1.0], [1], 31, 31, real=10.4)
# 10.8 a step passes 32 at step 3; 10.4 + 0 and 10 + 0.4 do not
TOGETHER = Setting(CONSTANT, [10.4], [10], 32, 32, bias=0.4)
# 10.8 a step passes 31 at step 3, and so do 10.4 + 0 and 10 + 0.4
EITHER = Setting(CONSTANT, [10.4], [10], 31, 31, bias=0.4)


def compared(setting: Setting, **options: Any) -> SideComparison:
    sides = network_side(define_network(setting.network)), reference_side(setting.program)
    inputs = setting.inputs.astype(float)
    if setting.real is not None:
        inputs[:, 0, 0] = setting.real
    return compare_sides(sides, (inputs, setting.inputs), explained=1, **options)


def reference_side(program: Program, name: str = "reference") -> Side:
    return program_side(program, name, "NumPy reference", reference.run)


def only(result: SideComparison, name: str = "a") -> tuple[LayerResult, Explanation]:
    """A layer that differs and is alive on both sides."""
    layer = next(one for one in result.layers if one.layer == name)
    assert layer.explanation is not None
    for rate in (layer.first_rate, layer.second_rate):
        assert rate is not None
        assert 0.05 < rate < 0.95
    return layer, layer.explanation


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


# --- two Programs --------------------------------------------------------------------------------------------------


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
