"""Quantisation for fixed-point chips: what is exact is exact, what is rounded is half a step off, limits hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neurodeploy.errors import DesignRuleError
from neurodeploy.hw_models import chip
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.ir.lower import lower
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, Input, Linear, MembraneReadout, SpikeCountReadout
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference

LOIHI = chip("loihi2")
ALL_EXPONENTS = replace(LOIHI, bias_exponents=(0, 7))
KINDS = ["dense", "conv", "residual", "recurrent", "lateral"]
seeds = st.integers(0, 2**32 - 1)
Case = Callable[..., Any]


def fixed(layer: Layer) -> FixedPointNeurons:
    assert isinstance(layer.neurons, FixedPointNeurons)
    return layer.neurons


def chain(lif: LIF, weight: Any = ((1.0,),), bias: Any = (0.0,), steps: int = 4) -> Network:
    fc = Linear(np.array(weight, dtype=float), np.array(bias, dtype=float))
    return sequential(
        [("x", Input((fc.weight.shape[1],))), ("fc", fc), ("a", lif), ("out", SpikeCountReadout())], steps
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(
    seed=seeds,
    at_threshold=st.booleans(),
    bits=st.sampled_from([1, 8]),
    calibrated=st.booleans(),
    exponents=st.sampled_from([(6, 6), (0, 7)]),
)
def test_every_register_means_what_the_network_says(
    random_network: Case,
    random_inputs: Case,
    kind: str,
    seed: int,
    at_threshold: bool,
    bits: int,
    calibrated: bool,
    exponents: tuple[int, int],
) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, kind, at_threshold=at_threshold, bits=bits)
    chosen = replace(LOIHI, bias_exponents=exponents)
    program = quantize(network, chosen, random_inputs(rng, network) if calibrated else None)
    lowered = lower(network)
    assert (program.chip, program.steps, program.readout) == ("loihi2", network.steps, lowered.readout)
    for layer, wanted in zip(program.layers, lowered.layers, strict=True):
        neurons, scale = fixed(layer), layer.scale
        assert (layer.name, layer.fires) == (wanted.name, isinstance(wanted.neuron, LIF))
        if isinstance(wanted.neuron, LIF):  # the threshold is exact
            lowest_firing = 64 * int(neurons.threshold) + (1 if at_threshold else 0)
            assert scale * lowest_firing / 64 == pytest.approx(wanted.neuron.threshold, rel=1e-13)
            assert 1 <= neurons.threshold <= 131071
        else:
            assert neurons.threshold == 131071
        assert abs((4096 - int(neurons.voltage_decay)) / 4096 - wanted.neuron.decay) <= 1 / 8192
        assert np.abs(neurons.bias_mantissa).max() <= 4095
        step = 2**neurons.bias_exponent * scale / 64
        assert np.abs(neurons.bias * scale / 64 - wanted.bias).max() <= step / 2 * (1 + 1e-9)
        assert exponents[0] <= neurons.bias_exponent <= exponents[1]
        assert neurons.bias_exponent == exponents[0] or np.abs(wanted.bias).max() > 4095 * step / 2
        for got, exact in zip(layer.synapses, wanted.synapses, strict=True):
            unit = scale / (network.input.scale if got.source == "input" else 1.0)
            assert np.abs(got.weight).max() <= 127
            error = np.abs(got.weight * unit - exact.weight)
            clipped = (np.abs(got.weight) == 127) & (np.abs(exact.weight) > 127 * unit)
            assert error[~clipped].max(initial=0) <= unit / 2 * (1 + 1e-9)
            assert calibrated or not clipped.any() or np.abs(exact.weight).max() < 128 * unit


@pytest.mark.parametrize("threshold", [0.011, 0.3, 1.0, 7.3, 1e6])
def test_a_greater_or_equal_neuron_decides_as_64_q_plus_1_says(threshold: float) -> None:
    layer = quantize(chain(LIF(0.5, threshold, fires_at_threshold=True)), LOIHI).layers[0]
    q = int(fixed(layer).threshold)
    voltages = np.arange(64 * q - 70, 64 * q + 70)
    meant = voltages * (layer.scale / 64) >= threshold * (1 - 1e-12)
    np.testing.assert_array_equal(meant, voltages > 64 * q)


def test_a_network_on_the_chips_grid_is_the_chip(torch_run: Case) -> None:
    """Integer weights up to 127, thresholds and biases, decays of 1 and 1/2: nothing is rounded on the way."""
    rng = np.random.default_rng(0)
    for decay in (1.0, 0.5):
        first, last = rng.integers(-127, 128, (9, 6)).astype(float), rng.integers(-127, 128, (3, 9)).astype(float)
        first[0, 0] = last[0, 0] = 127
        network = sequential(
            [
                ("x", Input((6,))),
                ("fc", Linear(first, rng.integers(-20, 60, 9))),
                ("a", LIF(decay, 100.0)),
                ("last", Linear(last, rng.integers(-20, 60, 3))),
                ("b", LIF(decay, 60.0)),
                ("out", SpikeCountReadout()),
            ],
            6,
        )
        inputs = rng.integers(0, 2, (6, 20, 6))
        program = quantize(network, LOIHI)
        assert [layer.scale for layer in program.layers] == [1.0, 1.0]
        recording = reference.run(program, inputs)
        spikes, readout = torch_run(network, inputs)
        for name in ("a", "b"):
            np.testing.assert_array_equal(recording.spikes[name], spikes[name])
            assert 0.05 < spikes[name].mean() < 0.95
        np.testing.assert_array_equal(recording.readout, readout)


@pytest.mark.parametrize(("model", "largest", "at_threshold"), [(LOIHI, 4095, 4032), (ALL_EXPONENTS, 8190, 8064)])
def test_the_bias_register_at_its_limit_and_past_it(model: ChipModel, largest: int, at_threshold: int) -> None:
    """4095 << 6 voltage units are 4095 times the smallest threshold, 4095 << 7 are 8190 times."""
    layer = quantize(chain(LIF(0.5, 1.0), bias=(float(largest),)), model).layers[0]
    assert (fixed(layer).bias.tolist(), fixed(layer).threshold) == ([largest * 64], 1)
    with pytest.raises(DesignRuleError, match=f"bias up to {largest + 1} with threshold 1: the bias register"):
        quantize(chain(LIF(0.5, 1.0), bias=(largest + 1.0,)), model)
    with pytest.raises(DesignRuleError, match=f"holds at most {at_threshold} times the smallest threshold"):
        quantize(chain(LIF(0.5, 1.0, fires_at_threshold=True), bias=(at_threshold + 1.0,)), model)


@pytest.mark.parametrize("bias", [8064.0, 8000.0, 4090.0, 4000.3, 1999.9, 63.98, 31.99, 1.0, -7999.0])
@pytest.mark.parametrize("at_threshold", [False, True])
def test_a_large_bias_is_rounded_not_clipped(bias: float, at_threshold: bool) -> None:
    layer = quantize(chain(LIF(0.5, 1.0, fires_at_threshold=at_threshold), bias=(bias,)), ALL_EXPONENTS).layers[0]
    step = 2 ** fixed(layer).bias_exponent * layer.scale / 64
    assert abs(fixed(layer).bias[0] * layer.scale / 64 - bias) <= step / 2 * (1 + 1e-9)


def test_every_violation_of_every_layer_is_named_at_once() -> None:
    huge = Linear(np.ones((2, 2)), np.array([0.0, 1e6]))
    nodes = [("x", Input((2,))), ("fc", huge), ("a", LIF(0.5, 1.0, "subtract")), ("fc2", huge), ("b", LIF(0.5, 2.0))]
    with pytest.raises(DesignRuleError) as caught:
        quantize(sequential([*nodes, ("out", SpikeCountReadout())], 3), LOIHI)
    assert caught.value.exit_code == 3
    assert caught.value.target == "loihi2"
    assert [text.split(":")[0] for text in caught.value.violations] == ["layer a", "layer a", "layer b"]
    assert "reset 'subtract': loihi2 has 'zero'" in caught.value.violations[0]
    assert all(text in str(caught.value) for text in caught.value.violations)


def test_a_reset_that_the_chip_lacks_is_refused_and_one_it_has_is_kept() -> None:
    network = chain(LIF(0.5, 1.0, "subtract"))
    with pytest.raises(DesignRuleError, match="layer a: reset 'subtract'"):
        quantize(network, LOIHI)
    for name in ("ideal", "mixed-signal"):
        assert quantize(network, chip(name)).layers[0].neurons.reset == "subtract"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["ideal", "loihi2", "mixed-signal"])
def test_all_zero_weights_are_quantised_and_silent(name: str) -> None:
    program = quantize(chain(LIF(0.5, 1.0), np.zeros((2, 3)), np.zeros(2)), chip(name))
    assert (program.layers[0].synapses[0].weight == 0).all()
    assert reference.run(program, np.ones((2, 3), dtype=int)).readout.max() == 0


def worst_case(program: Program) -> int:
    """The largest |voltage| of a readout fed by the Input alone, by running the worst inputs of its classes."""
    weight, high = program.layers[0].synapses[0].weight, 2**program.input.bits - 1
    inputs = np.concatenate([weight > 0, weight < 0]) * high
    return int(np.abs(reference.run(program, inputs).potentials["out"]).max())


@settings(max_examples=60)
@example(seed=0, features=3000, steps=77, decay=1.0, alike=True, bits=1, bias=0.0)  # weights of half a unit round up
@example(seed=0, features=3, steps=5000, decay=0.9999, alike=True, bits=1, bias=0.0)  # the decay rounds up to 1
@given(
    seed=seeds,
    features=st.sampled_from([1, 10, 500, 5000]),
    steps=st.sampled_from([1, 7, 64, 400]),
    decay=st.sampled_from([1.0, 0.9, 0.99999]),
    alike=st.booleans(),
    bits=st.sampled_from([1, 8]),
    bias=st.sampled_from([0.0, 0.01, -50.0]),
)
def test_a_readout_never_reaches_the_threshold(
    seed: int, features: int, steps: int, decay: float, alike: bool, bits: int, bias: float
) -> None:
    rng = np.random.default_rng(seed)
    weight = np.full((2, features), rng.uniform(0.1, 1)) if alike else rng.normal(size=(2, features))
    first = Input((features,), 1.0 if bits == 1 else 1 / 255, bits)
    fc = Linear(weight, np.array([bias, 0.0]))
    program = quantize(sequential([("x", first), ("fc", fc), ("out", MembraneReadout(decay))], steps), LOIHI)
    assert worst_case(program) < 131071 << 6
