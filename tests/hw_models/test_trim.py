"""Trim codes move thresholds or biases by the equations of `Trim`, written out again here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Trim
from neurodeploy.hw_models.trim import code_shape, trimmed
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


FLAT = CODES.ravel()
THRESHOLD, BIAS = (Trim(quantity, "neuron", 7, 0.5) for quantity in ("threshold", "bias"))


def test_the_highest_code_is_symmetric() -> None:
    assert [Trim("bias", "neuron", bits, 1.0).highest_code for bits in (2, 3, 7, 8)] == [1, 3, 63, 127]


def test_a_code_per_neuron_or_one_for_the_layer() -> None:
    layer = program(True).layers[0]
    assert code_shape(THRESHOLD, layer) == (6,)
    assert code_shape(Trim("threshold", "layer", 7, 0.5), layer) == ()


def test_fixed_point_thresholds_by_value() -> None:
    chip = program(True, [90, 95, 100, 105, 110, 120])
    got = trimmed(chip, program(True, 100), THRESHOLD, {"a": FLAT}).layers[0].neurons
    # 100 * 0.5 * code / 63 = -50, -25.4, -0.79, 0, 0.79, 50, rounded and added to what the chip has
    np.testing.assert_array_equal(got.threshold, [40, 70, 99, 105, 111, 170])
    np.testing.assert_array_equal(got.bias_mantissa, chip.layers[0].neurons.bias_mantissa)  # type: ignore[union-attr]


def test_float_thresholds_by_value() -> None:
    own = np.array([0.9, 0.95, 1.0, 1.05, 1.1, 1.2])
    got = trimmed(program(False, own), program(False, 1.0), THRESHOLD, {"a": FLAT}).layers[0].neurons
    np.testing.assert_allclose(got.threshold, own + shift(1.0, FLAT), rtol=1e-15)
    np.testing.assert_array_equal(got.bias, np.arange(6) / 8)


@pytest.mark.parametrize("exponent", [0, 3, 6, 7])
def test_fixed_point_biases_by_value(exponent: int) -> None:
    chip = program(True, 90, exponent=exponent)
    got = trimmed(chip, program(True, 100, exponent=exponent), BIAS, {"a": FLAT}).layers[0].neurons
    assert isinstance(got, FixedPointNeurons)
    exact = np.arange(6) * 2**exponent - 64 * shift(100, FLAT)  # voltage units
    assert np.abs(got.bias - exact).max() <= 2**exponent / 2
    assert (got.bias[0], got.bias[3]) == (64 * 50, 3 * 2**exponent)
    np.testing.assert_array_equal(got.threshold, 90)


def test_float_biases_by_value() -> None:
    got = trimmed(program(False, 0.9), program(False, 1.0), BIAS, {"a": FLAT}).layers[0].neurons
    np.testing.assert_allclose(got.bias, np.arange(6) / 8 - shift(1.0, FLAT), rtol=1e-15)
    np.testing.assert_array_equal(got.threshold, 0.9)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("quantity", ["threshold", "bias"])
def test_one_code_for_a_layer_moves_all_its_neurons_alike(fixed: bool, quantity: Any) -> None:
    nominal = program(fixed, 100)
    layer = trimmed(nominal, nominal, Trim(quantity, "layer", 7, 0.5), {"a": np.array(63)}).layers[0].neurons
    each = trimmed(nominal, nominal, Trim(quantity, "neuron", 7, 0.5), {"a": np.full(6, 63)}).layers[0].neurons
    np.testing.assert_array_equal(np.broadcast_to(layer.threshold, 6), np.broadcast_to(each.threshold, 6))
    np.testing.assert_array_equal(layer.bias, each.bias)


@pytest.mark.parametrize("fixed", [True, False])
def test_thresholds_end_at_0(fixed: bool) -> None:
    chip, nominal = program(fixed, 30), program(fixed, 100)
    codes = {"a": np.array([-63, -38, -37, 0, 1, 63])}  # -50, -30.2, -29.4, ...
    got = trimmed(chip, nominal, THRESHOLD, codes).layers[0].neurons.threshold
    assert list(got[:2]) == [0, 0]
    assert got[2] == pytest.approx(30 - 29.365, abs=0.5)
    assert got[2] > 0


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("trim", [THRESHOLD, BIAS])
def test_code_0_changes_not_a_bit(fixed: bool, trim: Trim) -> None:
    nominal = program(fixed)
    for codes in ({}, {"a": np.zeros(6, dtype=int)}):
        got = trimmed(nominal, nominal, trim, codes)
        assert got.layers[0] is nominal.layers[0]
        assert got.layers[1] is nominal.layers[1]


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("trim", [THRESHOLD, BIAS])
def test_a_zero_among_other_codes_leaves_its_neuron(fixed: bool, trim: Trim) -> None:
    nominal = program(fixed, np.linspace(90, 110, 6).astype(int))
    got = trimmed(nominal, program(fixed, 100), trim, {"a": np.array([5, 0, 0, -5, 0, 0])}).layers[0].neurons
    before = nominal.layers[0].neurons
    for index in (1, 2, 4, 5):
        assert (got.threshold[index], got.bias[index]) == (before.threshold[index], before.bias[index])


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("trim", [THRESHOLD, BIAS])
def test_a_higher_code_fires_less_in_both_simulators(fixed: bool, trim: Trim) -> None:
    nominal = program(fixed, 60)
    inputs = np.random.default_rng(0).integers(0, 16, (20, 4))
    counts = []
    for code in (-63, -20, 0, 20, 63):
        set_up = trimmed(nominal, nominal, trim, {"a": np.full(6, code)})
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
    with pytest.raises(UsageError, match=f"layer a: trim code {abs(code)}, the largest is 63"):
        trimmed(nominal, nominal, THRESHOLD, {"a": codes})
    trimmed(nominal, nominal, THRESHOLD, {"a": np.sign(codes) * 63})


@pytest.mark.parametrize("shape", [(), (5,), (1, 6), (1,)])
def test_codes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    nominal = program(True)
    for code in (0, 1):
        with pytest.raises(UsageError, match=r"layer a: trim codes of shape .*, \(6,\) is expected"):
            trimmed(nominal, nominal, THRESHOLD, {"a": np.full(shape, code)})
    with pytest.raises(UsageError, match=r"layer a: trim codes of shape \(6,\), \(\) is expected"):
        trimmed(nominal, nominal, replace(THRESHOLD, per="layer"), {"a": np.ones(6, dtype=int)})


@pytest.mark.parametrize("name", ["out", "input", "elsewhere"])
def test_codes_of_a_layer_that_does_not_fire_are_refused(name: str) -> None:
    nominal = program(True)
    with pytest.raises(UsageError, match=f"trim codes for '{name}': firing layers are a"):
        trimmed(nominal, nominal, THRESHOLD, {name: np.zeros(3, dtype=int)})


def test_neither_the_chip_nor_the_nominal_program_changes() -> None:
    chip, nominal = program(True, 90), program(True, 100)
    trimmed(chip, nominal, THRESHOLD, {"a": FLAT})
    np.testing.assert_array_equal(chip.layers[0].neurons.threshold, 90)
    np.testing.assert_array_equal(nominal.layers[0].neurons.threshold, 100)
