"""Noise: nothing at level 0, the same chip at every level, and the statistics that it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from noise_programs import CHIPS, SIDE, program, retained, thresholds, virtual

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NOISES, NoiseModel
from neurodeploy.hw_models.random import frozen_normals
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import engine, reference


@pytest.mark.parametrize("level", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", NOISES)
def test_an_impossible_level_is_refused_by_name(name: str, level: float) -> None:
    with pytest.raises(UsageError, match=f"noise {name}={level}"):
        NoiseModel(**{name: level})


@pytest.mark.parametrize("name", CHIPS)
def test_level_0_is_no_noise_bit_for_bit(name: str) -> None:
    nominal = program(name)
    ideal = virtual(name)
    assert ideal.dynamic_noise(nominal) is None
    for got, wanted in zip(ideal.realise(nominal).layers, nominal.layers, strict=True):
        assert got.neurons is wanted.neurons
        assert all(one.weight is other.weight for one, other in zip(got.synapses, wanted.synapses, strict=True))
    inputs = np.random.default_rng(0).integers(0, 2, (2, 1, SIDE, SIDE))
    np.testing.assert_array_equal(
        reference.run(ideal.realise(nominal), inputs).potentials["a"], reference.run(nominal, inputs).potentials["a"]
    )


@pytest.mark.parametrize("name", CHIPS)
def test_mismatch_has_the_mean_and_spread_it_says(name: str) -> None:
    n, level = SIDE**2, 0.1
    realised = virtual(name, mismatch=level).realise(program(name, decay=0.5))
    for values, nominal in ((thresholds(realised), 1000.0), (retained(realised), 0.5)):
        assert values.shape == (1, SIDE, SIDE)
        relative = values / nominal - 1
        assert abs(relative.mean()) < 4 * level / np.sqrt(n)
        assert abs(relative.std() - level) < 4 * level / np.sqrt(2 * n)


def test_thresholds_and_decays_deviate_independently() -> None:
    realised = virtual("mixed-signal", mismatch=0.05).realise(program("mixed-signal"))
    correlation = np.corrcoef(thresholds(realised).ravel(), retained(realised).ravel())[0, 1]
    assert abs(correlation) < 4 / SIDE


def test_a_deviation_is_level_times_the_draw_of_its_name() -> None:
    realised = virtual("mixed-signal", chip_id=4, seed=9, mismatch=0.1).realise(program("mixed-signal"))
    shape = (1, SIDE, SIDE)
    np.testing.assert_allclose(thresholds(realised), 1000 * (1 + 0.1 * frozen_normals(shape, 9, 4, "a", "threshold")))
    np.testing.assert_allclose(
        retained(realised), np.minimum(0.8 * (1 + 0.1 * frozen_normals(shape, 9, 4, "a", "decay")), 1)
    )


@pytest.mark.parametrize("name", CHIPS)
def test_at_twice_the_level_a_chip_is_twice_as_far_from_nominal(name: str) -> None:
    near, far = (virtual(name, mismatch=level).realise(program(name, decay=0.5)) for level in (0.1, 0.2))
    rounding = {"loihi2": (1.5, 1.5 / 4096), "mixed-signal": (1e-9, 1e-12)}[name]
    for read, nominal, tolerance in ((thresholds, 1000.0, rounding[0]), (retained, 0.5, rounding[1])):
        free = (read(far) > 0) & ((read(far) < 1) | (nominal == 1000))
        assert free.mean() > 0.99
        np.testing.assert_allclose(
            (read(far) - nominal)[free], 2 * (read(near) - nominal)[free], rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("name", CHIPS)
def test_large_deviations_are_clipped_to_what_can_be_stored(name: str) -> None:
    realised = virtual(name, mismatch=2.0).realise(program(name))
    assert thresholds(realised).min() == 0
    least = {"loihi2": 1 / 4096, "mixed-signal": 0}[name]  # Loihi's register of decays ends at 4095
    assert (retained(realised).min(), retained(realised).max()) == (least, 1)
    assert 0.28 < (thresholds(realised) == 0).mean() < 0.34  # P(z < -1/2) = 0.309


@pytest.mark.parametrize("name", CHIPS)
def test_what_does_not_fire_keeps_its_neurons(name: str) -> None:
    nominal = program(name)
    assert virtual(name, mismatch=0.5).realise(nominal).layers[1].neurons is nominal.layers[1].neurons
    thermal = virtual(name, thermal=0.5).dynamic_noise(nominal)
    assert thermal is not None
    assert set(thermal.deviations) == {"a"}


def test_weights_deviate_by_the_level_and_stay_on_the_grid() -> None:
    level, n = 0.1, 40_000
    weight = frozen_ints(np.full((4, n // 4), 1000))
    neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(4))
    layer = Layer("a", (4,), (DenseSynapses("fc", "input", weight),), neurons, 2.0**-10)
    nominal = Program("mixed-signal", 1, Input((n // 4,)), (layer,), "spike_count")
    got = virtual("mixed-signal", weight_mismatch=level).realise(nominal).layers[0].synapses[0].weight
    relative = got / 1000 - 1
    assert got.dtype == np.int64
    assert abs(relative.mean()) < 4 * level / np.sqrt(n)
    assert abs(relative.std() - level) < 4 * level / np.sqrt(2 * n)
    wild = virtual("mixed-signal", weight_mismatch=3.0).realise(nominal).layers[0].synapses[0].weight
    assert (wild.min(), wild.max()) == (-2047, 2047)


def test_a_weight_of_zero_stays_zero_and_a_kernel_deviates_as_one() -> None:
    nominal = program("mixed-signal")
    got = virtual("mixed-signal", weight_mismatch=0.3).realise(nominal).layers
    assert got[0].synapses[0].weight.shape == (1, 1, 1, 1)
    zero = replace(nominal.layers[0], synapses=(ConvSynapses("conv", "input", frozen_ints([[[[0]]]])),))
    silent = replace(nominal, layers=(zero, nominal.layers[1]))
    assert virtual("mixed-signal", weight_mismatch=0.3).realise(silent).layers[0].synapses[0].weight.item() == 0


def test_two_connections_of_one_layer_deviate_each_in_its_own_way() -> None:
    weight = frozen_ints(np.full((3, 3), 1000))
    neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(3))
    pair = (DenseSynapses("one", "input", weight), DenseSynapses("two", "input", weight))
    nominal = Program("mixed-signal", 1, Input((3,)), (Layer("a", (3,), pair, neurons, 1.0),), "spike_count")
    one, two = virtual("mixed-signal", weight_mismatch=0.1).realise(nominal).layers[0].synapses
    assert (one.weight != two.weight).all()


@pytest.mark.parametrize("name", CHIPS)
def test_chip_17_is_chip_17_in_any_order_and_company(name: str) -> None:
    nominal = program(name)
    first = {i: thresholds(virtual(name, i, mismatch=0.1).realise(nominal)) for i in (3, 17, 5)}
    second = {i: thresholds(virtual(name, i, mismatch=0.1).realise(nominal)) for i in (17, 3)}
    np.testing.assert_array_equal(first[17], second[17])
    correlation = np.corrcoef([values.ravel() for values in first.values()])
    assert np.abs(correlation - np.eye(3)).max() < 4.5 / SIDE
    other_seed = thresholds(virtual(name, 17, seed=1, mismatch=0.1).realise(nominal))
    assert abs(np.corrcoef(first[17].ravel(), other_seed.ravel())[0, 1]) < 4.5 / SIDE


def test_realise_leaves_the_nominal_program_as_it_was() -> None:
    nominal = program("loihi2")
    weight, neurons = nominal.layers[0].synapses[0].weight.copy(), nominal.layers[0].neurons
    virtual("loihi2", mismatch=0.5, weight_mismatch=0.5).realise(nominal)
    assert nominal.layers[0].neurons is neurons
    np.testing.assert_array_equal(nominal.layers[0].synapses[0].weight, weight)


@pytest.mark.parametrize("run", [reference.run, engine.run])
@pytest.mark.parametrize("name", CHIPS)
def test_thermal_noise_has_level_times_threshold_on_every_step(run: Any, name: str) -> None:
    """Neurons without memory or input: the potential is the noise. Nothing fires at 6 σ."""
    nominal = program(name, decay=0.0, threshold=1000)
    thermal = virtual(name, thermal=1 / 6).dynamic_noise(nominal)
    recording = run(nominal, np.zeros((4, 1, SIDE, SIDE), dtype=int), thermal)
    unit = 64 if name == "loihi2" else 1
    noise = recording.potentials["a"].astype(np.float64) / (1000 * unit)
    n = noise.size
    assert abs(noise.mean()) < 4 / 6 / np.sqrt(n)
    assert abs(noise.std() - 1 / 6) < 4 / 6 / np.sqrt(2 * n)
    flat = noise.reshape(12, -1)  # steps × samples
    assert np.abs(np.corrcoef(flat) - np.eye(12)).max() < 5 / SIDE
    assert recording.spikes["a"].sum() == 0


def test_thermal_noise_follows_the_nominal_threshold_and_the_trial() -> None:
    nominal = program("mixed-signal")
    one = virtual("mixed-signal", mismatch=0.3, thermal=0.1)
    thermal = one.dynamic_noise(nominal)
    again, other = one.dynamic_noise(nominal, trial=0), one.dynamic_noise(nominal, trial=1)
    assert thermal is not None
    assert again is not None
    assert other is not None
    assert thermal.deviations == {"a": {"thermal": 100.0}}
    draws = [noise.current("a", (2, 3), 0, 0, 4) for noise in (thermal, again, other)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).all()
    assert draws[0].shape == (4, 2, 3)


def test_thermal_noise_at_twice_the_level_is_the_same_noise_doubled() -> None:
    near, far = (virtual("mixed-signal", thermal=level).dynamic_noise(program("mixed-signal")) for level in (0.1, 0.2))
    assert near is not None
    assert far is not None
    np.testing.assert_array_equal(far.current("a", (50,), 2, 7, 3), 2 * near.current("a", (50,), 2, 7, 3))


def test_fixed_point_noise_is_whole_and_a_sample_keeps_its_noise() -> None:
    thermal = virtual("loihi2", thermal=0.1).dynamic_noise(program("loihi2"))
    assert thermal is not None
    assert thermal.deviations == {"a": {"thermal": pytest.approx(6400.0)}}
    whole = thermal.current("a", (3, 7), 1, 0, 10)
    np.testing.assert_array_equal(whole, np.rint(whole))
    np.testing.assert_array_equal(thermal.current("a", (3, 7), 1, 4, 2), whole[4:6])
    assert (thermal.current("a", (3, 7), 2, 0, 10) != whole).mean() > 0.99
