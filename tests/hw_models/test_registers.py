"""Trims of fixed-point neurons end where the registers do: thresholds of 17 bits, biases of 13 bits with sign."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.knobs import adjusted, bias_room, weight_key, written
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses

WIDE = Knob("bias", "neuron", 8, 1.0)  # 127 codes either way: a code is the nominal threshold divided by 127


def program(threshold: list[int], bias: list[int]) -> Program:
    size = len(threshold)
    one = DenseSynapses("fc", "input", frozen_ints(np.ones((size, 1), dtype=int)))
    neurons = FixedPointNeurons(np.array(0), np.array(threshold), np.array(bias), 6)
    return Program("any", 1, Input((1,), bits=1), (Layer("a", (size,), (one,), neurons, 1.0),), "spike_count")


def after(own: Program, nominal: Program, knob: Knob, codes: list[int]) -> FixedPointNeurons:
    got = adjusted(own, nominal, (knob,), {knob.key("a"): np.array(codes)}).layers[0].neurons
    assert isinstance(got, FixedPointNeurons)
    return got


def test_biases_end_at_the_register_and_one_before_it_they_do_not() -> None:
    nominal = program([127] * 6, [0] * 6)  # a code is a unit of the mantissa
    own = program([127] * 6, [4094, 4094, 4095, -4095, -4095, -4096])
    got = after(own, nominal, WIDE, [-1, -2, -1, 1, 2, 1]).bias_mantissa
    np.testing.assert_array_equal(got, [4095, 4095, 4095, -4096, -4096, -4096])
    free = after(program([127] * 2, [4000, -4000]), program([127] * 2, [0, 0]), WIDE, [-94, 95]).bias_mantissa
    np.testing.assert_array_equal(free, [4094, -4095])


def test_a_bias_beyond_the_register_goes_no_further_and_may_come_back() -> None:
    own = program([127] * 3, [5000, 5000, -5000])
    got = after(own, program([127] * 3, [0] * 3), WIDE, [-3, 3, -3]).bias_mantissa
    np.testing.assert_array_equal(got, [5000, 4997, -4997])


def test_thresholds_end_at_the_register_and_the_dead_stay_dead() -> None:
    knob = Knob("threshold", "neuron", 8, 1.0)
    own = program([131000, 131000, 131072, 50], [0] * 4)
    got = after(own, program([127] * 4, [0] * 4), knob, [71, 72, -1, -127]).threshold
    np.testing.assert_array_equal(got, [131071, 131071, 131071, 0])
    np.testing.assert_array_equal(after(own, program([127] * 4, [0] * 4), knob, [0, 0, 5, 0]).threshold[2], 131072)


def test_gains_end_there_too() -> None:
    knob = Knob("gain", "neuron", 8, 0.5)
    own = program([100000, 80000], [3000, -2600])
    got = after(own, own, knob, [127, 127])
    np.testing.assert_array_equal(got.threshold, [131071, 120000])
    np.testing.assert_array_equal(got.bias_mantissa, [4095, -3900])


@pytest.mark.parametrize(
    ("added", "wanted"), [([95, -96], [4095, -4096]), ([96, -97], [4095, -4096]), ([94, -95], [4094, -4095])]
)
def test_what_is_added_to_biases_beside_weights_ends_there(added: list[int], wanted: list[int]) -> None:
    nominal = program([10, 10], [4000, -4000])
    low, high = bias_room(nominal.layers[0])
    np.testing.assert_array_equal(low, [-8096, -96])
    np.testing.assert_array_equal(high, [95, 8095])
    settings = {weight_key("a", "bias"): np.array(added), weight_key("a", 0): np.ones((2, 1), dtype=int)}
    got = written(nominal, (Knob("weight", "synapse", 8),), settings).layers[0].neurons
    np.testing.assert_array_equal(got.bias_mantissa, wanted)  # type: ignore[union-attr]


def test_floating_point_biases_have_no_end() -> None:
    layer = program([10], [0]).layers[0]
    free: NDArray[np.float64] = np.zeros(1)
    floats = Layer("a", (1,), layer.synapses, FloatNeurons(np.array(0.5), np.array(1.0), free), 1.0)
    low, high = bias_room(floats)
    assert (low[0], high[0]) == (-np.inf, np.inf)
