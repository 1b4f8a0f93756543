"""The engine is the reference, spike for spike and voltage for voltage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Neurons, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses, extreme_sums
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.recording import Recording

CHIPS = ("ideal", "loihi2", "mixed-signal")
Case = Callable[..., Any]


def assert_equal(got: Recording, expected: Recording) -> None:
    """Bit for bit, types included."""
    assert list(got.potentials) == list(expected.potentials)
    assert list(got.spikes) == list(expected.spikes)
    pairs = [(got.spikes[name], expected.spikes[name]) for name in expected.spikes]
    pairs += [(got.potentials[name], expected.potentials[name]) for name in expected.potentials]
    for mine, theirs in [*pairs, (got.readout, expected.readout)]:
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def assert_alike(program: Program, inputs: NDArray[Any], *noise: Any, first_sample: int = 0) -> Recording:
    """What the reference records, after asserting that a run with potentials, and one of spikes alone, are the same."""
    expected = reference.run(program, inputs, *noise, first_sample=first_sample)
    for potentials in (True, False):
        got = engine.run(program, inputs, *noise, first_sample=first_sample, potentials=potentials)
        assert_equal(got, expected if potentials else replace(expected, potentials={}))
    return expected


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("kind", ["dense", "conv", "residual", "recurrent", "lateral"])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), static=st.booleans(), bits=st.sampled_from([1, 8]), subtract=st.booleans())
def test_the_engine_is_the_reference(
    lively_case: Case, name: str, kind: str, seed: int, static: bool, bits: int, subtract: bool
) -> None:
    reset = "subtract" if subtract and name != "loihi2" else "zero"
    rng = np.random.default_rng(seed)
    at_threshold = bool(rng.random() < 0.5)
    _, program, inputs = lively_case(rng, kind, name, static=static, bits=bits, reset=reset, at_threshold=at_threshold)
    assert_alike(program, inputs)


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_with_all_noises_is_the_same_chip_in_both(lively_case: Case, name: str) -> None:
    model = chip(name)
    for seed, kind in enumerate(("conv", "residual", "lateral")):
        _, program, inputs = lively_case(np.random.default_rng(seed), kind, name)
        virtual = VirtualChip(model, NoiseModel(0.2, 0.1, 0.1), chip_id=seed)
        realised, thermal = virtual.realise(program), virtual.dynamic_noise(program)
        assert thermal is not None
        expected = assert_alike(realised, inputs, thermal, first_sample=5)
        nominal = reference.run(program, inputs)
        assert any((expected.potentials[n] != nominal.potentials[n]).any() for n in nominal.potentials)


def layer(name: str, shape: tuple[int, ...], synapses: Synapses, neurons: Neurons, scale: float = 1.0) -> Layer:
    return Layer(name, shape, (synapses,), neurons, scale)


def test_sums_beyond_float32_are_exact() -> None:
    """Weights of 24 bits: float32 would lose the lowest bits, on which the comparison depends."""
    rng = np.random.default_rng(0)
    weight = frozen_ints(rng.integers(-(2**24), 2**24, (40, 60)))
    synapses = DenseSynapses("fc", "input", weight)
    assert extreme_sums(synapses, 0, 1)[1] > 2**24
    neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(40))
    program = Program("ideal", 5, Input((60,)), (layer("a", (40,), synapses, neurons, 2.0**-26),), "spike_count")
    inputs = rng.integers(0, 2, (5, 7, 60))
    expected = assert_alike(program, inputs)
    assert 0.05 < expected.firing_rates()["a"] < 0.95
    single = torch.tensor(inputs).float() @ torch.tensor(weight.T.copy()).float()
    assert (single.double().numpy() != inputs @ weight.T).any(), "float32 would have done: the test proves nothing"


@pytest.mark.parametrize("pool", [1, 2])
def test_convolutions_beyond_float32_are_exact(pool: int) -> None:
    rng = np.random.default_rng(1)
    weight = frozen_ints(rng.integers(-(2**22), 2**22, (4, 2, 3, 3)))
    synapses = ConvSynapses("conv", "input", weight, padding=(1, 1), pool=pool)
    neurons = FloatNeurons(np.array(0.9), np.array(100.0), np.zeros((4, 4, 4)), "subtract")
    program = Program(
        "ideal",
        4,
        Input((2, 4 * pool, 4 * pool), bits=8),
        (layer("a", (4, 4, 4), synapses, neurons, 2.0**-22),),
        "spike_count",
    )
    inputs = rng.integers(0, 256, (4, 3, 2, 4 * pool, 4 * pool))
    expected = assert_alike(program, inputs)
    assert 0.05 < expected.firing_rates()["a"] < 0.95


@pytest.mark.parametrize("convolution", [False, True])
def test_fixed_point_sums_in_the_wrap_range_are_the_references(convolution: bool) -> None:
    """Sums from far below 2^17 to past 2^24 weight units: the current wraps, a convolution's sums wrap too."""
    rng = np.random.default_rng(2)
    high = 2**20
    inputs = rng.integers(0, 256, (6, 4, 3)) * (rng.random((6, 4, 3)) < 0.5)
    weight = rng.integers(-high, high, (12, 3)) // 2 ** rng.integers(0, 14, (12, 1))
    neurons = FixedPointNeurons(
        rng.integers(0, 4097, 12), rng.integers(0, 131072, 12), rng.integers(-4095, 4096, 12), 5
    )
    synapses: Synapses = DenseSynapses("fc", "input", frozen_ints(weight))
    shape: tuple[int, ...] = (12,)
    if convolution:
        inputs, shape = inputs.reshape(6, 4, 3, 1, 1), (12, 1, 1)
        synapses = ConvSynapses("conv", "input", frozen_ints(weight.reshape(12, 3, 1, 1)))
        neurons = FixedPointNeurons(
            neurons.voltage_decay.reshape(shape),
            neurons.threshold.reshape(shape),
            neurons.bias_mantissa.reshape(shape),
            5,
        )
    program = Program(
        "loihi2", 6, Input(inputs.shape[2:], bits=8), (layer("a", shape, synapses, neurons),), "spike_count"
    )
    sums = np.abs(inputs.reshape(6, 4, 3) @ weight.T)
    assert min((sums < 2**17).sum(), (sums > 2**17).sum(), (sums > 2**23).sum()) >= 4
    expected = assert_alike(program, inputs)
    assert 0.05 < expected.firing_rates()["a"] < 0.95


def test_a_run_of_one_sample_is_the_sample_in_the_batch(lively_case: Case) -> None:
    _, program, inputs = lively_case(np.random.default_rng(3), "residual", "loihi2", batch=4)
    whole = engine.run(program, inputs)
    for sample in range(4):
        alone = engine.run(program, inputs[:, sample : sample + 1])
        np.testing.assert_array_equal(alone.potentials["b"][:, 0], whole.potentials["b"][:, sample])


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_the_callers_autocast_changes_nothing(kind: str) -> None:
    """127 * 253 + 1 = 32132 has 15 bits, of which bfloat16 keeps 8."""
    taps = np.array([127, 1, 0])
    shape, weight = ((3,), taps[None]) if kind == "dense" else ((1, 1, 3), taps.reshape(1, 1, 1, 3))
    synapses: Synapses = (ConvSynapses if kind == "conv" else DenseSynapses)("w", "input", frozen_ints(weight))
    one = synapses.output_shape(shape)
    inputs = np.array([253, 1, 0]).reshape(1, *shape)
    for threshold, fires in ((32131, 1), (32132, 0)):
        neurons = FixedPointNeurons(frozen_ints(0), frozen_ints(threshold), frozen_ints(np.zeros(one, dtype=int)), 0)
        made = Program("loihi2", 1, Input(shape, 1.0, 8), (Layer("a", one, (synapses,), neurons, 1.0),), "spike_count")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            expected = assert_alike(made, inputs)
            counted = engine.run_chips([made], inputs)
        assert expected.spikes["a"].sum() == counted.spike_counts["a"].sum() == fires
        assert expected.potentials["a"].sum() == (0 if fires else 32132 * 64)
