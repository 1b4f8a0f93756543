"""Codes of knobs move thresholds, biases and gains by the equations of `Knob`, written out again here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.knobs import adjusted, check_settings, code_shape, weight_key, written
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import engine, reference

CODES = np.array([[-63, -32, -1], [0, 1, 63]])


def program(fixed: bool, threshold: Any = 100, *, exponent: int = 6) -> Program:
    """A hidden layer of 2 × 3 neurons (in a map of one channel) and a readout that does not fire."""

    def neurons(shape: tuple[int, ...], level: Any) -> FixedPointNeurons | FloatNeurons:
        bias = np.arange(np.prod(shape)).reshape(shape)
        if fixed:
            return FixedPointNeurons(np.array(1000), np.asarray(level), bias, exponent)
        return FloatNeurons(np.array(0.75), np.asarray(level, dtype=float), bias / 8)

    hidden = DenseSynapses("fc", "input", frozen_ints(np.arange(24).reshape(6, 4) - 12))
    last = DenseSynapses("last", "a", frozen_ints(np.ones((3, 6), dtype=int)))
    layers = (
        Layer("a", (6,), (hidden,), neurons((6,), threshold), 1.0),
        Layer("out", (3,), (last,), neurons((3,), 131071), 1.0, fires=False),
    )
    return Program("any", 4, Input((4,), bits=4), layers, "membrane")


def shift(nominal: float, code: NDArray[Any], span: float = 0.5) -> NDArray[Any]:
    return nominal * span * code / 63


def moved(own: Program, nominal: Program, knob: Knob, codes: Mapping[str, NDArray[Any]]) -> Program:
    return adjusted(own, nominal, (knob,), {knob.key(layer): code for layer, code in codes.items()})


FLAT = CODES.ravel()
THRESHOLD, BIAS = (Knob(quantity, "neuron", 7, 0.5) for quantity in ("threshold", "bias"))


def test_the_highest_code_is_symmetric() -> None:
    assert [Knob("bias", "neuron", bits, 1.0).highest_code for bits in (2, 3, 7, 8)] == [1, 3, 63, 127]


def test_a_code_per_neuron_or_one_for_the_layer() -> None:
    layer = program(True).layers[0]
    assert code_shape(THRESHOLD, layer) == (6,)
    assert code_shape(Knob("threshold", "layer", 7, 0.5), layer) == ()


def test_fixed_point_thresholds_by_value() -> None:
    chip = program(True, [90, 95, 100, 105, 110, 120])
    got = moved(chip, program(True, 100), THRESHOLD, {"a": FLAT}).layers[0].neurons
    # 100 * 0.5 * code / 63 = -50, -25.4, -0.79, 0, 0.79, 50, rounded and added to what the chip has
    np.testing.assert_array_equal(got.threshold, [40, 70, 99, 105, 111, 170])
    np.testing.assert_array_equal(got.bias_mantissa, chip.layers[0].neurons.bias_mantissa)  # type: ignore[union-attr]


def test_float_thresholds_by_value() -> None:
    own = np.array([0.9, 0.95, 1.0, 1.05, 1.1, 1.2])
    got = moved(program(False, own), program(False, 1.0), THRESHOLD, {"a": FLAT}).layers[0].neurons
    np.testing.assert_allclose(got.threshold, own + shift(1.0, FLAT), rtol=1e-15)
    np.testing.assert_array_equal(got.bias, np.arange(6) / 8)


@pytest.mark.parametrize("exponent", [0, 3, 6, 7])
def test_fixed_point_biases_by_value(exponent: int) -> None:
    chip = program(True, 90, exponent=exponent)
    got = moved(chip, program(True, 100, exponent=exponent), BIAS, {"a": FLAT}).layers[0].neurons
    assert isinstance(got, FixedPointNeurons)
    exact = np.arange(6) * 2**exponent - 64 * shift(100, FLAT)  # voltage units
    assert np.abs(got.bias - exact).max() <= 2**exponent / 2
    assert (got.bias[0], got.bias[3]) == (64 * 50, 3 * 2**exponent)
    np.testing.assert_array_equal(got.threshold, 90)


def test_float_biases_by_value() -> None:
    got = moved(program(False, 0.9), program(False, 1.0), BIAS, {"a": FLAT}).layers[0].neurons
    np.testing.assert_allclose(got.bias, np.arange(6) / 8 - shift(1.0, FLAT), rtol=1e-15)
    np.testing.assert_array_equal(got.threshold, 0.9)


def test_leaks_by_value_and_end_at_0_and_1() -> None:
    chip, leak = program(False), Knob("leak", "neuron", 7, 1.0)
    own = replace(chip.layers[0].neurons, decay=np.array([0.75, 0.75, 0.3, 0.9, 0.75, 0.5]))
    chip = replace(chip, layers=(replace(chip.layers[0], neurons=own), chip.layers[1]))
    codes = np.array([0, 21, 63, -63, -21, -20])
    got = moved(chip, program(False), leak, {"a": codes}).layers[0].neurons
    # of the nominal 0.75 a third is 0.25; 0.3 - 0.75 and 0.9 + 0.75 lie outside; 0.75 + 0.25 is 1
    wanted = [0.75, 0.5, 0.0, 1.0, 1.0, 0.5 + 0.75 * 20 / 63]
    np.testing.assert_allclose(got.decay, wanted, rtol=1e-15)  # type: ignore[union-attr]
    np.testing.assert_array_equal(got.threshold, own.threshold)
    np.testing.assert_array_equal(got.bias, own.bias)  # type: ignore[union-attr]


def test_fixed_point_leaks_by_value_and_end_at_the_register() -> None:
    chip, leak = program(True), Knob("leak", "neuron", 5, 1.0)
    own = replace(chip.layers[0].neurons, voltage_decay=np.array([1000, 4096, 3000, 400, 1000, 2048]))
    chip = replace(chip, layers=(replace(chip.layers[0], neurons=own), chip.layers[1]))
    codes = np.array([0, 5, 15, -15, -5, -4])
    got = moved(chip, program(True), leak, {"a": codes}).layers[0].neurons
    # The nominal neurons keep 3096 of 4096, and 3096 * code / 15 is 0, 1032, 3096, -3096, -1032, -825.6; the register
    # ends at 4095.
    np.testing.assert_array_equal(got.voltage_decay, [1000, 4096, 4095, 0, 0, 1222])  # type: ignore[union-attr]
    np.testing.assert_array_equal(got.threshold, own.threshold)
    np.testing.assert_array_equal(got.bias, own.bias)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("quantity", ["threshold", "bias"])
def test_one_code_for_a_layer_moves_all_its_neurons_alike(fixed: bool, quantity: Any) -> None:
    nominal = program(fixed, 100)
    layer = moved(nominal, nominal, Knob(quantity, "layer", 7, 0.5), {"a": np.array(63)}).layers[0].neurons
    each = moved(nominal, nominal, Knob(quantity, "neuron", 7, 0.5), {"a": np.full(6, 63)}).layers[0].neurons
    np.testing.assert_array_equal(np.broadcast_to(layer.threshold, 6), np.broadcast_to(each.threshold, 6))
    np.testing.assert_array_equal(layer.bias, each.bias)


@pytest.mark.parametrize("fixed", [True, False])
def test_thresholds_end_at_0(fixed: bool) -> None:
    chip, nominal = program(fixed, 30), program(fixed, 100)
    codes = {"a": np.array([-63, -38, -37, 0, 1, 63])}  # -50, -30.2, -29.4, ...
    got = moved(chip, nominal, THRESHOLD, codes).layers[0].neurons.threshold
    assert list(got[:2]) == [0, 0]
    assert got[2] == pytest.approx(30 - 29.365, abs=0.5)
    assert got[2] > 0


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("trim", [THRESHOLD, BIAS])
def test_code_0_changes_not_a_bit(fixed: bool, trim: Knob) -> None:
    nominal = program(fixed)
    for codes in ({}, {"a": np.zeros(6, dtype=int)}):
        got = moved(nominal, nominal, trim, codes)
        assert got.layers[0] is nominal.layers[0]
        assert got.layers[1] is nominal.layers[1]


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("trim", [THRESHOLD, BIAS])
def test_a_zero_among_other_codes_leaves_its_neuron(fixed: bool, trim: Knob) -> None:
    nominal = program(fixed, np.linspace(90, 110, 6).astype(int))
    got = moved(nominal, program(fixed, 100), trim, {"a": np.array([5, 0, 0, -5, 0, 0])}).layers[0].neurons
    before = nominal.layers[0].neurons
    for index in (1, 2, 4, 5):
        assert (got.threshold[index], got.bias[index]) == (before.threshold[index], before.bias[index])


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("trim", [THRESHOLD, BIAS])
def test_a_higher_code_fires_less_in_both_simulators(fixed: bool, trim: Knob) -> None:
    nominal = program(fixed, 60)
    inputs = np.random.default_rng(0).integers(0, 16, (20, 4))
    counts = []
    for code in (-63, -20, 0, 20, 63):
        set_up = moved(nominal, nominal, trim, {"a": np.full(6, code)})
        runs = [run(set_up, inputs).spikes["a"] for run in (reference.run, engine.run)]
        np.testing.assert_array_equal(*runs)
        counts.append(int(runs[0].sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > counts[4]


@pytest.mark.parametrize("code", [64, -64, 1000])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_code_one_past_the_end_is_refused(fixed: bool, code: int) -> None:
    nominal = program(fixed)
    codes = np.array([0, 0, 0, 0, 0, code])
    with pytest.raises(UsageError, match=f"layer a: code {abs(code)} of threshold per neuron, the largest is 63"):
        moved(nominal, nominal, THRESHOLD, {"a": codes})
    moved(nominal, nominal, THRESHOLD, {"a": np.sign(codes) * 63})


@pytest.mark.parametrize("shape", [(), (5,), (1, 6), (1,)])
def test_codes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    nominal = program(True)
    for code in (0, 1):
        with pytest.raises(
            UsageError, match=r"layer a: codes of shape .* for threshold per neuron, \(6,\) is expected"
        ):
            moved(nominal, nominal, THRESHOLD, {"a": np.full(shape, code)})
    with pytest.raises(UsageError, match=r"layer a: codes of shape \(6,\) for threshold per layer, \(\) is expected"):
        moved(nominal, nominal, replace(THRESHOLD, per="layer"), {"a": np.ones(6, dtype=int)})


@pytest.mark.parametrize("name", ["out", "input", "elsewhere"])
def test_codes_of_a_layer_that_does_not_fire_are_refused(name: str) -> None:
    nominal = program(True)
    with pytest.raises(UsageError, match=f"codes for '{name}': firing layers are a"):
        moved(nominal, nominal, THRESHOLD, {name: np.zeros(3, dtype=int)})


def test_neither_the_chip_nor_the_nominal_program_changes() -> None:
    chip, nominal = program(True, 90), program(True, 100)
    moved(chip, nominal, THRESHOLD, {"a": FLAT})
    np.testing.assert_array_equal(chip.layers[0].neurons.threshold, 90)
    np.testing.assert_array_equal(nominal.layers[0].neurons.threshold, 100)


@pytest.mark.parametrize("fixed", [True, False])
def test_a_gain_divides_all_input(fixed: bool) -> None:
    """threshold (1 + x) and bias (1 + x), with x = 0.9 code / 127: the spikes of input divided by 1 + x."""
    knob = Knob("gain", "core", 8, 0.9, core_size=4)
    own = program(fixed, [900, 950, 1000, 1050, 1100, 1200])
    got = moved(own, program(fixed, 1000), knob, {"a": np.array([-127, 64])}).layers[0].neurons
    factors = np.repeat(1 + 0.9 * np.array([-127, 64]) / 127, 4)[:6]
    wanted = np.array([900, 950, 1000, 1050, 1100, 1200]) * factors
    np.testing.assert_allclose(got.threshold, np.rint(wanted) if fixed else wanted, rtol=1e-12)
    wanted = np.arange(6) * factors
    np.testing.assert_allclose(got.bias * (1 / 64 if fixed else 8), np.rint(wanted) if fixed else wanted, atol=1e-12)
    with pytest.raises(UsageError, match=r"codes of shape \(6,\) for gain per core, \(2,\) is expected"):
        moved(own, own, knob, {"a": FLAT})


def test_several_knobs_act_one_after_the_other() -> None:
    knobs = (Knob("threshold", "layer", 7, 0.5), Knob("bias", "neuron", 7, 0.5))
    nominal = program(False, 1.0)
    settings = {knobs[0].key("a"): np.array(-21), knobs[1].key("a"): FLAT}
    got = adjusted(nominal, nominal, knobs, settings).layers[0].neurons
    np.testing.assert_allclose(got.threshold, 1 + shift(1.0, np.array(-21)))
    np.testing.assert_allclose(got.bias, np.arange(6) / 8 - shift(1.0, FLAT))


def test_a_chip_knob_has_one_code_for_all_layers() -> None:
    knob = Knob("threshold", "chip", 5, 0.5)
    one = program(False, 1.0)
    second = replace(one.layers[0], name="b")
    two = replace(one, layers=(one.layers[0], second, one.layers[1]))
    check_settings(two, (knob,), {knob.key("a"): np.array(3), knob.key("b"): np.array(3)})
    with pytest.raises(UsageError, match="layer b: threshold per chip is one knob"):
        check_settings(two, (knob,), {knob.key("a"): np.array(3), knob.key("b"): np.array(4)})


@pytest.mark.parametrize("fixed", [True, False])
def test_weights_are_written_as_they_are(fixed: bool) -> None:
    nominal, knobs = program(fixed), (Knob("weight", "synapse", 8),)
    weights, bias = np.full((3, 6), -127), np.array([1, -2, 3])
    settings = {weight_key("out", 0): weights, weight_key("out", "bias"): bias}
    got = written(replace(nominal, layers=(nominal.layers[0], replace(nominal.layers[1], scale=0.25))), knobs, settings)
    assert got.layers[0] is nominal.layers[0]
    np.testing.assert_array_equal(got.layers[1].synapses[0].weight, weights)
    before = nominal.layers[1].neurons.bias
    np.testing.assert_array_equal(got.layers[1].neurons.bias, before + bias * (64 if fixed else 0.25))
    assert written(nominal, knobs, {}) is nominal


@pytest.mark.parametrize(
    ("knobs", "settings", "said"),
    [
        ((), {"weight/0/out": np.ones((3, 6), int)}, "layer out: its weights cannot be written, the chip has none"),
        ((Knob("readout", "synapse", 8),), {"weight/0/a": np.ones((6, 4), int)}, "layer a: its weights cannot be"),
        ((Knob("weight", "synapse", 8),), {"weight/0/out": np.ones((3, 5), int)}, r"weights of shape \(3, 5\), \(3, 6"),
        ((Knob("weight", "synapse", 8),), {"weight/0/out": np.full((3, 6), 128)}, "weight 128, the largest is 127"),
        ((Knob("weight", "synapse", 8),), {"weight/0/out": np.ones((3, 6))}, "weights of shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(knobs: Any, settings: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        written(program(True), knobs, settings)


@pytest.mark.parametrize("key", ["gain/layer/a", "weight/1/out", "weight/0/nowhere", "nonsense"])
def test_settings_that_the_chip_has_not_are_refused(key: str) -> None:
    with pytest.raises(
        UsageError, match=r"setting .*: the chip has threshold per neuron \(7 bits\)|weights . of layer"
    ):
        check_settings(program(True), (THRESHOLD,), {key: np.array(1)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bits": 1}, "1 bits, span 1.0: at least 2"),
        ({"span": 0.0}, "span 0.0: at least 2 and above 0"),
        ({"quantity": "gain"}, "a gain of 1 \\+ span"),
        ({"per": "core"}, "core_size 0"),
        ({"core_size": 4}, "core_size 4"),
        ({"per": "synapse"}, "weights are set per synapse"),
        ({"quantity": "weight"}, "weights are set per synapse"),
    ],
)
def test_an_impossible_knob_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(Knob("threshold", "neuron", 7, 1.0), **change)
