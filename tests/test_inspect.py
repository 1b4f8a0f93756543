"""Inspection: what rounding did, by value on a network whose every number is chosen, and what is worth a warning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurodeploy.hw_models import chip
from neurodeploy.inspect import Rounding, rounding, warnings
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, Input, Linear, MembraneReadout
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.quantize import quantize

LOIHI, MIXED = chip("loihi2"), chip("mixed-signal")


def network() -> Network:
    """Weights in units of 1/100 after the input's scale of 1/4; threshold 1, decay 0.7."""
    hidden = Linear(np.array([[4.0, -0.08, 0.004], [12.0, 0.0, -0.3]]), np.array([0.5, -0.25]))
    last = Linear(np.array([[1.0, 2.0]]), np.zeros(1))
    nodes = [("in", Input((3,), 0.25, 4)), ("fc", hidden), ("a", LIF(0.7, 1.0)), ("last", last)]
    return sequential([*nodes, ("out", MembraneReadout(1.0))], 3)


def program() -> Program:
    """Stored in units of 1/100: 4 / 4 is 100, -0.08 / 4 is -2, 0.004 / 4 is 0.1 and lost, 12 / 4 is 300 and clipped."""
    a = Layer(
        "a",
        (2,),
        (DenseSynapses("fc", "input", frozen_ints([[100, -2, 0], [127, 0, -8]])),),
        FixedPointNeurons(np.array(1229), np.array(99), np.array([51, -25]), 6),
        0.01,
    )
    readout = FixedPointNeurons(np.array(0), np.array(131071), np.zeros(1, dtype=int), 6)
    out = Layer("out", (1,), (DenseSynapses("last", "a", frozen_ints([[50, 100]])),), readout, 0.02, fires=False)
    return Program("loihi2", 3, Input((3,), 0.25, 4), (a, out), "membrane")


def rows() -> list[Rounding]:
    return rounding(network(), program(), LOIHI)


def test_a_firing_layers_numbers() -> None:
    row = rows()[0]
    assert (row.layer, row.threshold, row.decay) == ("a", 1.0, 0.7)
    assert row.threshold_error_percent == pytest.approx(-1.0)  # 99 units of 1/100
    assert row.decay_stored == pytest.approx((4096 - 1229) / 4096)
    assert row.decay_error_percent == pytest.approx(100 * ((4096 - 1229) / 4096 / 0.7 - 1))
    assert row.bias_error_percent == pytest.approx(100 * 0.01 / 0.5)  # 51 whole units stand for 0.51
    wanted = np.array([1.0, -0.02, 0.001, 3.0, 0.0, -0.075])
    kept = np.array([1.0, -0.02, 0.0, 1.27, 0.0, -0.08])
    error = np.sqrt(((kept - wanted) ** 2).mean() / (wanted**2).mean())
    assert row.weight_error_rms_percent == pytest.approx(100 * error)
    assert row.weights_clipped_percent == pytest.approx(100 / 6)
    assert row.weights_zero_percent == pytest.approx(100 / 6)  # a weight that was 0 is not lost


def test_a_readout_has_no_threshold_and_sees_spikes_not_integers() -> None:
    row = rows()[1]
    assert (row.threshold, row.threshold_error_percent) == (None, None)
    assert (row.decay, row.decay_stored, row.decay_error_percent) == (1.0, 1.0, 0.0)
    assert row.weight_error_rms_percent == pytest.approx(0.0, abs=1e-12)
    assert (row.bias_error_percent, row.weights_clipped_percent, row.weights_zero_percent) == (0.0, 0.0, 0.0)


def test_a_weight_at_the_end_of_the_range_is_clipped_only_beyond_half_a_unit() -> None:
    for weight, share in ((127.49, 0.0), (127.51, 50.0), (-127.51, 50.0)):
        linear = Linear(np.array([[weight * 0.01, 0.01]]), np.zeros(1))
        nodes = [("in", Input((2,))), ("fc", linear), ("a", LIF(0.5, 1.0)), ("o", Linear(np.ones((1, 1)), np.zeros(1)))]
        exact = sequential([*nodes, ("out", MembraneReadout())], 1)
        stored = np.clip(np.rint([[weight, 1]]), -127, 127).astype(int)
        a, out = quantize(exact, LOIHI).layers
        a = replace(a, synapses=(DenseSynapses("fc", "input", frozen_ints(stored)),), scale=0.01)
        got = rounding(exact, Program("loihi2", 1, Input((2,)), (a, out), "membrane"), LOIHI)
        assert got[0].weights_clipped_percent == share


def test_floating_point_neurons_keep_all_but_the_weights() -> None:
    row = rounding(network(), quantize(network(), MIXED), MIXED)[0]
    errors = (row.threshold_error_percent, row.decay_error_percent, row.bias_error_percent)
    assert errors == (0.0, 0.0, 0.0)
    assert 0 < row.weight_error_rms_percent < 100 / 2**11
    assert row.decay_stored == 0.7


def test_a_layer_without_weights_divides_by_nothing() -> None:
    nodes = [("in", Input((2,))), ("fc", Linear(np.zeros((1, 2)), np.zeros(1))), ("a", LIF(0.5, 1.0))]
    silent = sequential([*nodes, ("o", Linear(np.ones((1, 1)), np.zeros(1))), ("out", MembraneReadout())], 1)
    row = rounding(silent, quantize(silent, LOIHI), LOIHI)[0]
    assert (row.weight_error_rms_percent, row.weights_zero_percent, row.bias_error_percent) == (0.0, 0.0, 0.0)


def test_a_sound_layer_gives_no_warning() -> None:
    fine = [replace(row, weights_clipped_percent=1.0, weights_zero_percent=50.0) for row in rows()]
    assert warnings(program(), LOIHI, {"a": 0.5}, fine) == []


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (0.0, "silent, mean firing rate 0.00%"),
        (0.00099, "silent, mean firing rate 0.10%"),
        (0.001, None),
        (0.999, None),
        (0.9991, "saturated, mean firing rate 99.91%"),
        (1.0, "saturated, mean firing rate 100.00%"),
    ],
)
def test_a_layer_that_decides_nothing_is_named(rate: float, said: str | None) -> None:
    found = warnings(program(), LOIHI, {"a": rate}, [])
    assert [text.partition(";")[0] for text in found] == ([f"layer a: {said}"] if said else [])


@pytest.mark.parametrize(
    ("clipped", "zero", "count"), [(1.0, 50.0, 0), (1.01, 50.0, 1), (1.0, 50.1, 1), (90.0, 90.0, 2)]
)
def test_clipped_and_lost_weights_are_named_beyond_their_limits(clipped: float, zero: float, count: int) -> None:
    row = replace(rows()[0], weights_clipped_percent=clipped, weights_zero_percent=zero)
    found = warnings(program(), LOIHI, {}, [row])
    assert len(found) == count
    if clipped > 1:
        assert f"layer a: {clipped:.1f} % of its weights lie beyond 8 bits and were clipped" in found[0]
    if zero > 50:
        assert f"layer a: {zero:.0f} % of its weights became zero at 8 bits" in found[-1]


def wide(weights: Any, bits: int = 8, sign: int = 1) -> Program:
    """One layer whose worst input brings Σ|weights| × (2^bits - 1) weight units."""
    synapses = DenseSynapses("fc", "input", frozen_ints([[sign * int(weight) for weight in weights]]))
    neurons = FixedPointNeurons(np.array(0), np.array(1), np.zeros(1, dtype=int), 6)
    return Program(
        "loihi2", 1, Input((len(weights),), 1.0, bits), (Layer("a", (1,), (synapses,), neurons, 1.0),), "spike_count"
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_current_that_may_wrap_is_named_from_2_to_the_23rd(sign: int) -> None:
    """2^23 voltage units are 2^17 weight units."""
    assert warnings(wide([2**16, 2**16 - 1], bits=1, sign=sign), LOIHI, {}, []) == []
    found = warnings(wide([2**16, 2**16], bits=1, sign=sign), LOIHI, {}, [])
    assert len(found) == 1
    assert (
        "layer a: the current could reach 1.0 times its 24-bit register for the worst input, and would wrap" in found[0]
    )
    assert "1.5 times" in warnings(wide([2**16, 2**17], bits=1, sign=sign), LOIHI, {}, [])[0]
    assert len(warnings(wide([514], bits=8, sign=sign), LOIHI, {}, [])) == 0  # × 255 is 2 units below
    assert len(warnings(wide([515], bits=8, sign=sign), LOIHI, {}, [])) == 1


def test_the_worst_current_counts_pooled_inputs_and_every_synapse() -> None:
    conv = ConvSynapses("conv", "input", frozen_ints([[[[2**13]]]]), pool=2)  # 4 pixels of 1
    for weight, count in ((2**13, 0), (2**14, 0), (2**15, 1)):
        one = replace(conv, weight=frozen_ints([[[[weight]]]]))
        neurons = FixedPointNeurons(np.array(0), np.array(1), np.zeros((1, 1, 1), dtype=int), 6)
        layer = Layer("a", (1, 1, 1), (one,), neurons, 1.0)
        assert len(warnings(Program("loihi2", 1, Input((1, 2, 2)), (layer,), "spike_count"), LOIHI, {}, [])) == count
        twice = replace(layer, synapses=(one, replace(one, name="other")))
        both = Program("loihi2", 1, Input((1, 2, 2)), (twice,), "spike_count")
        assert len(warnings(both, LOIHI, {}, [])) == (weight >= 2**14)


def test_floating_point_neurons_do_not_wrap() -> None:
    nominal = wide([2**30] * 4)
    neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(1))
    layers = (replace(nominal.layers[0], neurons=neurons),)
    assert warnings(replace(nominal, layers=layers), MIXED, {"a": 0.5}, []) == []
