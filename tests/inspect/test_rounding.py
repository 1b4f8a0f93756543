"""What rounding did, by value on a network whose every number is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neurodeploy.hw_models import chip
from neurodeploy.inspect import Rounding, inspect_program, rounding
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, Input, Linear, MembraneReadout, SpikeCountReadout
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
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
    assert row.weights_clipped_percent == pytest.approx(100 / 5)
    assert row.weights_zero_percent == pytest.approx(100 / 5)  # a weight that was 0 is not lost, and not counted
    assert (row.current_decay, row.current_decay_stored) == (0.0, 0.0)


@pytest.mark.parametrize(("small", "share", "warned"), [(39, 97.5, True), (2, 200 / 3, True), (1, 50.0, False)])
def test_the_zeros_of_a_sparse_layer_hide_no_lost_weights(small: int, share: float, warned: bool) -> None:
    """One weight of 1 sets the scale, at which weights of 0.003 are lost; the others were zero."""
    weight = np.concatenate([[1.0], np.full(small, 0.003), np.zeros(99 - small)])
    nodes = [("in", Input((100,))), ("fc", Linear(weight[None], np.zeros(1))), ("a", LIF(0.9, 1.0))]
    sparse = sequential([*nodes, ("out", SpikeCountReadout())], 4)
    found = inspect_program(sparse, quantize(sparse, LOIHI), LOIHI)
    assert found.rounding[0].weights_zero_percent == pytest.approx(share)
    assert ("WEIGHTS-ZERO" in [one.rule for one in found.findings]) is warned


def test_a_readout_has_no_threshold_and_sees_spikes_not_integers() -> None:
    row = rows()[1]
    assert (row.threshold, row.threshold_error_percent) == (None, None)
    assert (row.decay, row.decay_stored, row.decay_error_percent) == (1.0, 1.0, 0.0)
    assert row.weight_error_rms_percent == pytest.approx(0.0, abs=1e-12)
    assert (row.bias_error_percent, row.weights_clipped_percent, row.weights_zero_percent) == (0.0, 0.0, 0.0)


def test_a_weight_exponent_is_part_of_the_weight() -> None:
    stored = program()
    halved = DenseSynapses("last", "a", frozen_ints([[100, 200]]), weight_exponent=-1)
    layers = (stored.layers[0], replace(stored.layers[1], synapses=(halved,)))
    row = rounding(network(), replace(stored, layers=layers), LOIHI)[1]
    assert row.weight_error_rms_percent == pytest.approx(0.0, abs=1e-12)
    assert row.weights_clipped_percent == 50.0  # of units of 1/100 the range has 127.5: 1.0 fits, 2.0 does not
    large = DenseSynapses("last", "a", frozen_ints([[100, 127]]), weight_exponent=-2)
    layers = (stored.layers[0], replace(stored.layers[1], synapses=(large,)))
    assert rounding(network(), replace(stored, layers=layers), LOIHI)[1].weights_clipped_percent == 100.0


def test_the_currents_memory_is_what_the_chip_computes_with() -> None:
    stored = program()
    neurons = replace(stored.layers[0].neurons, current_decay=np.array(1024))
    layers = (replace(stored.layers[0], neurons=neurons), stored.layers[1])
    assert rounding(network(), replace(stored, layers=layers), LOIHI)[0].current_decay_stored == 0.75


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
