"""What is drawn once per chip: each noise by its equation, at level 0, at its limits, and in its statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from noise_programs import CHIPS, SIDE, biases, dense, program, retained, thresholds, virtual
from numpy.typing import NDArray

from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.hw_models.random import frozen_normals
from neurodeploy.ir.program import Program
from neurodeploy.simulate import reference

N = SIDE**2
SHAPE = (1, SIDE, SIDE)
FROZEN = [name for name, term in NOISE_TERMS.items() if term.where == "program"]
FLOAT = "mixed-signal"


def draw(parameter: str, shape: tuple[int, ...] = SHAPE, layer: str = "a") -> NDArray[Any]:
    return frozen_normals(shape, 0, 17, layer, parameter)


def numbers(realised: Program) -> list[NDArray[Any]]:
    """All that a chip has of its own."""
    found = [thresholds(realised), retained(realised), biases(realised)]
    return found + [one.weight for layer in realised.layers for one in layer.synapses]


def assert_spread(values: NDArray[Any], mean: float, deviation: float) -> None:
    """Within four standard errors, for values that are about normal."""
    assert abs(values.mean() - mean) < 4 * deviation / np.sqrt(values.size)
    assert abs(values.std() - deviation) < 4 * deviation / np.sqrt(2 * values.size)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", FROZEN)
def test_a_noise_changes_what_it_says_and_nothing_else(chip: str, name: str) -> None:
    nominal = program(chip, bias=40)
    realised = virtual(chip, **{name: 0.5 if name == "quantization" else 0.3}).realise(nominal)
    same = [
        np.array_equal(*np.broadcast_arrays(*each)) for each in zip(numbers(realised), numbers(nominal), strict=True)
    ]
    changed = {
        part for part, equal in zip(("threshold", "decay", "bias", "weight", "weight"), same, strict=True) if not equal
    }
    on_weights = {"weight_mismatch": {"weight"}, "dead_synapses": {"weight"}}
    wanted = {
        "mismatch": {"threshold", "decay"},
        "threshold_mismatch": {"threshold"},
        "decay_mismatch": {"decay"},
        "bias_mismatch": {"bias"},
        "gain_mismatch": {"threshold", "bias"},
        "core_mismatch": {"threshold", "decay"},
        "core_gain_mismatch": {"threshold", "bias"},
        "quantization": set(),  # all weights of a connection are alike here
        "stuck_synapses": set(),
        "temperature": {"threshold", "decay"},
        "supply": {"threshold"},
        "drift": {"threshold"},
        "dead_neurons": {"threshold"},
    } | on_weights
    if name == "weight_mismatch" and chip == "loihi2":
        assert changed <= {"weight"}  # 8 bits clip weight 100 at 127
    elif name == "temperature" and chip == "loihi2":
        assert changed <= {"threshold", "decay"}  # 0.3 K are less than the grid of decays
    else:
        assert changed == wanted[name]
    assert virtual(chip, **{name: 0.3}).dynamic_noise(nominal) is None


@pytest.mark.parametrize("name", FROZEN)
def test_an_option_alone_is_no_noise(name: str) -> None:
    nominal = program(FLOAT)
    quiet = {"distribution": "lognormal", "decay_as": "tau", "age": 99.0, "core_size": 7, "correlation_length": 3.0}
    realised = virtual(FLOAT, **quiet, **{name: 0.0}).realise(nominal)
    assert all(one.neurons is other.neurons for one, other in zip(realised.layers, nominal.layers, strict=True))
    assert realised.layers[0].synapses[0] is nominal.layers[0].synapses[0]


@pytest.mark.parametrize("chip", CHIPS)
def test_mismatch_is_that_of_thresholds_and_that_of_decays(chip: str) -> None:
    nominal = program(chip)
    both, threshold, decay, split = (
        virtual(chip, **levels).realise(nominal)
        for levels in (
            {"mismatch": 0.2},
            {"threshold_mismatch": 0.2},
            {"decay_mismatch": 0.2},
            {"mismatch": 0.12, "threshold_mismatch": 0.16},
        )
    )
    np.testing.assert_array_equal(thresholds(both), thresholds(threshold))
    np.testing.assert_array_equal(retained(both), retained(decay))
    np.testing.assert_allclose(thresholds(split), thresholds(both), rtol=1e-12)  # 0.12² + 0.16² = 0.2²


def test_lognormal_factors_have_the_level_as_their_spread_and_never_reach_0() -> None:
    level = 0.5
    realised = virtual(FLOAT, threshold_mismatch=level, distribution="lognormal").realise(program(FLOAT))
    relative = thresholds(realised) / 1000
    sigma = np.sqrt(np.log(1 + level**2))
    np.testing.assert_allclose(relative, np.exp(sigma * draw("threshold") - sigma**2 / 2))
    assert_spread(np.log(relative), -(sigma**2) / 2, sigma)
    assert abs(relative.mean() - 1) < 4 * level / np.sqrt(N)
    assert abs(relative.std() - level) < 0.05
    assert relative.min() > 0
    assert 1.5 < ((relative - relative.mean()) ** 3).mean() / relative.std() ** 3 < 2.4  # 1.75 for this level


def test_a_decay_as_tau_moves_ten_times_less_than_as_eps() -> None:
    nominal, level = program(FLOAT, decay=0.9), 0.02
    eps = retained(virtual(FLOAT, decay_mismatch=level).realise(nominal))
    tau = retained(virtual(FLOAT, decay_mismatch=level, decay_as="tau").realise(nominal))
    factor = 1 + level * draw("decay")
    np.testing.assert_allclose(eps, np.clip(0.9 * factor, 0, 1))
    np.testing.assert_allclose(-1 / np.log(tau), -1 / np.log(0.9) * factor)
    assert 8 < eps.std() / tau.std() < 10.5  # 1 / -ln(0.9) = 9.5
    # Large factors: as tau a decay stays in [0, 1) without being clipped at 1.
    wild = retained(virtual(FLOAT, decay_mismatch=2.0, decay_as="tau").realise(nominal))
    assert wild.max() < 1
    factor = 1 + 2 * draw("decay")
    assert (wild[factor <= 0] == 0).all()
    assert (wild[factor > 1e-3] > 0).all()
    assert (retained(virtual(FLOAT, decay_mismatch=0.3).realise(nominal)) == 1).mean() > 0.3  # the clip of eps


@pytest.mark.parametrize("decay_as", ["eps", "tau"])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_the_ends_of_the_decay(decay_as: str, decay: float) -> None:
    got = retained(virtual(FLOAT, decay_mismatch=0.3, decay_as=decay_as).realise(program(FLOAT, decay=decay)))
    assert np.isfinite(got).all()
    if decay_as == "tau" or decay == 0:
        assert (got == decay).all()  # an infinite time constant stays infinite, and 0 stays 0


def test_fixed_point_decays_as_tau_are_on_their_grid() -> None:
    got = retained(virtual("loihi2", decay_mismatch=0.1, decay_as="tau").realise(program("loihi2", decay=0.75)))
    np.testing.assert_array_equal(got, np.rint(4096 * 0.75 ** (1 / (1 + 0.1 * draw("decay")))) / 4096)


@pytest.mark.parametrize("chip", CHIPS)
def test_biases_deviate_by_their_draw(chip: str) -> None:
    got = biases(virtual(chip, bias_mismatch=0.1).realise(program(chip, bias=400)))
    wanted = 400 * (1 + 0.1 * draw("bias"))
    np.testing.assert_allclose(got, np.rint(wanted) if chip == "loihi2" else wanted)
    wild = biases(virtual(chip, bias_mismatch=30.0).realise(program(chip, bias=400)))
    assert np.abs(wild).max() == 4095 if chip == "loihi2" else np.abs(wild).max() > 20_000


def test_gain_acts_as_stronger_weights_would() -> None:
    """One neuron per gain: a Program with weights · gain fires the same spikes as threshold / gain and bias / gain."""
    nominal = dense(FLOAT, np.full((400, 6), 64))
    layer = nominal.layers[0]
    layer = replace(layer, neurons=replace(layer.neurons, threshold=np.array(0.2), bias=np.full(400, 0.01)))
    nominal = replace(nominal, layers=(layer,), steps=8)
    inputs = np.random.default_rng(0).integers(0, 2, (8, 3, 6))
    realised = virtual(FLOAT, gain_mismatch=0.4).realise(nominal)
    gain = np.maximum(1 + 0.4 * draw("gain", (400,)), 0.01)
    np.testing.assert_allclose(realised.layers[0].neurons.threshold, 0.2 / gain)
    spikes = reference.run(realised, inputs).spikes["a"]
    potential, wanted = np.zeros((3, 400)), np.zeros_like(spikes)
    for step in range(8):
        potential = 0.5 * potential + gain * (inputs[step].sum(1)[:, None] * 64 / 1024) + 0.01
        wanted[step] = potential > 0.2
        potential[wanted[step] == 1] = 0
    assert 0.2 < wanted.mean() < 0.8
    assert (spikes != wanted).mean() < 1e-3  # another order of rounding


def test_two_factors_below_0_do_not_make_a_threshold() -> None:
    nominal = program(FLOAT)
    realised = virtual(FLOAT, threshold_mismatch=2.0, core_mismatch=2.0, core_size=50).realise(nominal)
    one = 1 + 2 * draw("threshold").ravel()
    other = 1 + 2 * np.repeat(draw("core_threshold", (200,)), 50)
    assert ((one < 0) & (other < 0)).any()
    wanted = 1000 * np.maximum(one, 0) * np.maximum(other, 0)
    np.testing.assert_allclose(thresholds(realised).ravel(), wanted)


def test_cores_deviate_as_one_and_from_each_other() -> None:
    nominal, core = program(FLOAT, bias=40), 128
    realised = virtual(FLOAT, core_mismatch=0.1, core_gain_mismatch=0.2, core_size=core).realise(nominal)
    cores = -(-N // core)
    gain = 1 + 0.2 * draw("core_gain", (cores,))
    threshold = 1000 * (1 + 0.1 * draw("core_threshold", (cores,))) / gain
    np.testing.assert_allclose(thresholds(realised).ravel(), np.repeat(threshold, core)[:N])
    np.testing.assert_allclose(biases(realised).ravel(), np.repeat(40 / gain, core)[:N])
    decay = np.clip(0.8 * (1 + 0.1 * draw("core_decay", (cores,))), 0, 1)
    np.testing.assert_allclose(retained(realised).ravel(), np.repeat(decay, core)[:N])
    both = virtual(FLOAT, gain_mismatch=0.1, core_gain_mismatch=0.2, core_size=core).realise(nominal)
    own = np.repeat(gain, core)[:N] * (1 + 0.1 * draw("gain").ravel())
    np.testing.assert_allclose(thresholds(both).ravel(), 1000 / own)
    whole = virtual(FLOAT, core_mismatch=0.1).realise(nominal)
    assert len(np.unique(thresholds(whole))) == 1  # a layer is a core
    assert thresholds(whole).flat[0] != 1000


@pytest.mark.parametrize("length", [2.0, 6.0])
def test_spatial_correlation_falls_as_it_says_and_keeps_the_spread(length: float) -> None:
    chips = [
        thresholds(virtual(FLOAT, chip_id, threshold_mismatch=0.1, correlation_length=length).realise(program(FLOAT)))[
            0
        ]
        for chip_id in range(40)
    ]
    field = (np.stack(chips) / 1000 - 1) / 0.1
    independent = field.size / (4 * np.pi * length**2)
    assert abs(field.mean()) < 4 / np.sqrt(independent)
    assert abs(field.var() - 1) < 4 * np.sqrt(2 / independent)
    for edge in (field[:, 0], field[:, -1], field[:, :, 0], field[:, :, -1]):
        assert abs(edge.var() - 1) < 0.35  # no weaker at the border
    for distance in (1, 3, 6, 20):
        wanted = np.exp(-(distance**2) / (2 * length**2))
        for one, other in (
            (field[:, distance:], field[:, :-distance]),
            (field[:, :, distance:], field[:, :, :-distance]),
        ):
            assert abs((one * other).mean() - wanted) < 4.5 / np.sqrt(independent)
    wrapped = (field[:, 0] * field[:, -1]).mean()
    assert abs(wrapped) < 0.15  # opposite borders are far from each other


def test_cores_are_not_correlated_with_each_other() -> None:
    chip = virtual(FLOAT, threshold_mismatch=0.1, correlation_length=20.0, core_size=100)
    means = thresholds(chip.realise(program(FLOAT))).reshape(100, 100).mean(axis=1)
    within = thresholds(chip.realise(program(FLOAT))).reshape(100, 100).std(axis=1)
    assert within.mean() < 0.3 * means.std()  # one core is one patch
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.4


def test_temperature_by_its_equation_in_both_directions() -> None:
    nominal = program(FLOAT, decay=0.9)
    for direction, kelvin in (("hotter", 30.0), ("colder", -30.0)):
        realised = virtual(FLOAT, temperature=30.0, temperature_direction=direction).realise(nominal)
        wanted = 1000 * (1 - 0.002 * kelvin * (1 + 0.1 * draw("temperature_threshold")))
        np.testing.assert_allclose(thresholds(realised), wanted)
        tau = -1 / np.log(0.9) * (1 + kelvin / 300 * (1 + 0.1 * draw("temperature_tau")))
        np.testing.assert_allclose(-1 / np.log(retained(realised)), tau)
    alike = virtual(FLOAT, temperature=30.0, temperature_spread=0.0, temperature_tau=0.0).realise(nominal)
    np.testing.assert_allclose(thresholds(alike), 940.0)
    np.testing.assert_allclose(retained(alike), 0.9)


def test_supply_moves_all_thresholds_of_a_chip_by_one_factor() -> None:
    factors = []
    for chip_id in range(500):
        got = thresholds(virtual(FLOAT, chip_id, supply=0.05).realise(program(FLOAT)))
        assert len(np.unique(got)) == 1
        factors.append(got.flat[0] / 1000)
    assert_spread(np.array(factors), 1.0, 0.05)
    with_layers = dense(FLOAT, np.full((4, 3), 5))
    pair = replace(with_layers, layers=(with_layers.layers[0], replace(with_layers.layers[0], name="b")))
    one, other = virtual(FLOAT, supply=0.05).realise(pair).layers
    np.testing.assert_array_equal(one.neurons.threshold, other.neurons.threshold)


def test_drift_is_linear_in_time_and_half_common_to_the_chip() -> None:
    nominal = program(FLOAT)
    young, old = (thresholds(virtual(FLOAT, drift=0.01, age=age).realise(nominal)) - 1000 for age in (2.0, 6.0))
    np.testing.assert_allclose(old, 3 * young)
    np.testing.assert_array_equal(thresholds(virtual(FLOAT, drift=0.01, age=0.0).realise(nominal)), 1000)
    slopes = np.stack(
        [thresholds(virtual(FLOAT, chip_id, drift=0.01).realise(nominal)).ravel() / 1000 - 1 for chip_id in range(300)]
    )
    assert_spread((slopes - slopes.mean(axis=1, keepdims=True))[:4], 0.0, 0.01 / np.sqrt(2))
    assert_spread(slopes.mean(axis=1), 0.0, 0.01 / np.sqrt(2))
