"""The simulators of DYNAP-SE2: the equations written again, and Rockpool's DynapSim, trace by trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dynapse2_networks import again, chip_network, events, fires
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.export import dynapse2
from neurodeploy.hw_models.dynapse2 import LAYOUT
from neurodeploy.hw_models.dynapse2_mismatch import Realised, nominal, preset, realise
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.simulate import dynapse2 as reference
from neurodeploy.simulate import dynapse2_engine as engine
from neurodeploy.simulate.dynapse2 import SCALE, Dynapse2Recording, Thermal, rheobase_weight, thermal_currents

MEMBRANE_ERROR = 5e-4  # relative, up to the first spike that differs: float32 in two orders of operations
SIZES = (30, 24, 6)  # of the networks that DynapSim runs: one compilation
SPIKES = 1e-3  # share of neuron-steps that may differ


def check_alike(one: Dynapse2Recording, other: Dynapse2Recording) -> int:
    """Compares spikes, and membranes and synaptic currents up to the first spike that differs; returns how many do."""
    differs = one.spikes != other.spikes
    before = np.cumsum(differs.any(axis=2), axis=0) == 0
    assert before.mean() > 0.5
    for name in ("membranes", "synapses"):
        mine, theirs = (getattr(part, name)[before].astype(np.float64) for part in (one, other))
        assert np.abs(mine / theirs - 1).max() < MEMBRANE_ERROR
    assert differs.mean() < SPIKES
    return int(differs.sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("recurrent", [False, True])
def test_reference_and_engine_compute_the_equations(seed: int, recurrent: bool) -> None:
    network = chip_network(seed, recurrent=recurrent, substeps=1 + seed % 2, steps=10)
    shown = events(network, samples=3)
    chip = nominal(network) if seed else realise(network, preset("rockpool").mismatch, 3)
    spikes, membranes = again(chip, shown)
    assert fires(spikes)
    for got in (reference.run(chip, shown), engine.run(chip, shown)):
        differs = spikes != got.spikes
        before = np.cumsum(differs.any(axis=2), axis=0) == 0
        # 1 - exp(-t_pulse / tau_syn) keeps four digits in float32.
        assert np.abs(got.membranes[before] / membranes[before] - 1).max() < 5e-3
        assert differs.mean() < 5e-3


@pytest.mark.parametrize("seed", range(8))
def test_the_engine_is_the_reference(seed: int) -> None:
    network = chip_network(seed, recurrent=seed % 3 == 0, substeps=1 + seed % 2)
    shown, thermal = events(network), Thermal(0.05 * (seed % 2), chip_id=seed)
    chip = realise(network, preset("dynap-se").mismatch, seed)
    expected, got = reference.run(chip, shown, thermal=thermal), engine.run(chip, shown, thermal=thermal)
    assert fires(expected.spikes)
    check_alike(expected, got)
    assert np.array_equal(got.readout, engine.run(chip, shown, thermal=thermal, record=False).readout)


@pytest.mark.parametrize("seed", range(6))
def test_the_engine_is_dynapsim(seed: int) -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    network = chip_network(seed, recurrent=seed % 3 == 0, sizes=SIZES)
    shown = events(network)
    chips: list[Realised | Dynapse2Network] = [network]
    chips += [realise(network, preset(name).mismatch, seed) for name in ("rockpool", "dynap-se", "buechel-20")]
    for chip in chips:
        got = engine.run(chip, shown)
        assert fires(got.spikes)
        check_alike(dynapse2.run(chip, shown, limits=False), got)


def test_noise_is_the_same_in_dynapsim() -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    network = chip_network(1, sizes=SIZES)
    shown, thermal = events(network), Thermal(0.1, chip_id=4, seed=2)
    quiet, noisy = engine.run(network, shown), engine.run(network, shown, thermal=thermal)
    assert (quiet.spikes != noisy.spikes).mean() > 0.01
    check_alike(dynapse2.run(network, shown, thermal=thermal, limits=False), noisy)


def test_dynapsim_names_numbers_that_are_not_finite() -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    network = chip_network(0, sizes=SIZES)
    chip = nominal(network)
    broken = np.array(chip.values["Ispkthr"])
    broken[2] = 0
    with (
        np.errstate(all="ignore"),
        pytest.raises(NeurodeployError, match=r"not finite from step 1 on, first in neurons 2;"),
    ):
        dynapse2.run(replace(chip, values={**chip.values, "Ispkthr": broken}), events(network), limits=False)


def test_more_neurons_than_a_core() -> None:
    """The engine has parameters of 256 neurons side by side, wherever cores begin."""
    network = chip_network(6, sizes=(40, 300, 250), steps=8)
    shown = events(network, samples=3)
    chip = realise(network, preset("dynap-se").mismatch, 1)
    expected = reference.run(chip, shown)
    assert fires(expected.spikes[..., :300])
    assert fires(expected.spikes[..., 300:])
    check_alike(expected, engine.run(chip, shown))


def test_samples_do_not_depend_on_each_other_nor_on_threads() -> None:
    network = chip_network(2)
    shown, thermal = events(network, samples=9), Thermal(0.1)
    whole = engine.run(network, shown, thermal=thermal)
    for other in (
        engine.run(network, shown, thermal=thermal, threads=2),
        engine.run(network, shown[:, :4], thermal=thermal),
    ):
        count = other.spikes.shape[1]
        assert np.array_equal(whole.spikes[:, :count], other.spikes)
        assert np.array_equal(whole.membranes[:, :count], other.membranes)


def test_static_input_is_shown_at_every_step() -> None:
    network = chip_network(3)
    still = events(network)[0]
    moving = np.broadcast_to(still, (network.steps, *still.shape))
    assert np.array_equal(engine.run(network, still).spikes, engine.run(network, moving).spikes)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_refractory_neuron_is_silent_for_as_many_steps(steps: int) -> None:
    """A neuron that fires whenever it may: one spike, then `steps` without, whichever side of the grid."""
    network = chip_network(0, substeps=1, steps=24)
    for share in (-0.9, -0.5, -0.1):
        seconds = (steps + share) * network.dt
        biases = dict(network.biases) | {"Iref": np.full(2, LAYOUT.pulse(seconds, LAYOUT.c_ref))}
        biases["Itau_syn"] = np.full(2, LAYOUT.leak(1e-4, LAYOUT.c_syn))
        strong = replace(
            network, biases=biases, codes_in=np.where(network.codes_in != 0, 15, 0), base=network.base * 30
        )
        got = engine.run(strong, np.ones((24, 1, network.input.shape[0]), dtype=np.uint8))
        fired = np.flatnonzero(got.spikes[:24, 0, 0])
        assert set(np.diff(fired).tolist()) == {steps + 1}


def test_inhibition_takes_away_excitation_of_the_same_step_only() -> None:
    network = chip_network(0, substeps=1)
    codes = np.zeros_like(network.codes_in)
    codes[0, 0], codes[1, 0] = 15, -15
    network = replace(network, codes_in=codes, codes_rec=np.zeros_like(network.codes_rec))
    shown = np.zeros((network.steps, 3, network.input.shape[0]), dtype=np.uint8)
    shown[:, 0, :2] = 1  # both at once
    shown[0::2, 1, 0], shown[1::2, 1, 1] = 1, 1  # in turns
    shown[0::2, 2, 0] = 1  # excitation alone
    got = engine.run(network, shown).membranes[..., 0]
    assert np.allclose(got[:, 0], LAYOUT.io, rtol=1e-3)
    assert got[:, 1].max() > 2 * LAYOUT.io
    assert np.array_equal(got[:, 1], got[:, 2])


def test_a_neuron_fires_above_its_threshold_and_not_at_it() -> None:
    network = chip_network(0)
    shown = events(network, samples=1)
    highest = engine.run(network, shown).membranes[0, 0, 0]
    for threshold, expected in ((highest, 0), (np.nextafter(highest, np.float32(0)), 1)):
        chip = nominal(network)
        own = np.array(chip.values["Ispkthr"])
        own[0] = threshold
        got = engine.run(replace(chip, values={**chip.values, "Ispkthr": own}), shown)
        assert got.spikes[0, 0, 0] == expected


@pytest.mark.parametrize(("ratio", "count"), [(1.01, 1), (2.7, 1), (2.73, 2), (7.3, 2), (7.5, 3)])
def test_spikes_of_a_step_are_the_logarithm_of_the_overshoot(ratio: float, count: int) -> None:
    network = chip_network(0)
    shown = events(network, samples=1)
    chip = nominal(network)
    own = np.array(chip.values["Ispkthr"])
    own[:] = engine.run(network, shown).membranes[0, 0, 0] / ratio
    assert engine.run(replace(chip, values={**chip.values, "Ispkthr": own}), shown).spikes[0, 0, 0] == count
    assert count == np.ceil(np.log(ratio))


def test_thermal_noise_has_the_size_it_says() -> None:
    network = chip_network(4)
    drawn = thermal_currents(network, Thermal(0.2), 0, 400)
    expected = 0.2 * rheobase_weight(nominal(network)) / SCALE
    assert np.allclose(drawn.std(axis=(0, 1)) / expected, 1, atol=0.05)
    assert np.abs(drawn.mean(axis=(0, 1)) / expected).max() < 0.05


def test_the_weight_of_a_threshold_lifts_a_membrane_by_it() -> None:
    """From a membrane far above Igain_mem, without feedback: dt / tau_mem Igain / Itau I_syn = Ispkthr."""
    network = chip_network(5)
    chip = nominal(network)
    v = chip.values
    tau_syn = v["c_syn"] * v["ut"] / (LAYOUT.kappa * v["Itau_syn"])
    tau_mem = v["c_mem"] * v["ut"] / (LAYOUT.kappa * v["Itau_mem"])
    charge = 1 - np.exp(-v["vth"] * v["c_pulse"] / v["Ipulse"] / tau_syn)
    current = charge * v["Igain_syn"] / v["Itau_syn"] * rheobase_weight(chip)
    assert np.allclose(network.dt / tau_mem * v["Igain_mem"] / v["Itau_mem"] * current, v["Ispkthr"], rtol=1e-3)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (np.zeros((3, 2, 2), np.uint8), "input of shape"),
        (np.zeros((15, 1, 9), np.float64), "whole numbers of events"),
        (np.full((2, 9), 256), "from 0 to 255"),
        (np.full((2, 9), -1), "from 0 to 255"),
        (np.zeros((2, 1, 9), np.uint8), "input has 2 steps"),
        (np.zeros((0, 9), np.uint8), "input of shape"),
    ],
)
def test_input_that_does_not_suit(shown: NDArray[Any], message: str) -> None:
    network = chip_network(0)
    shown = np.resize(shown, (*shown.shape[:-1], network.input.shape[0])) if shown.shape[-1] == 9 else shown
    with pytest.raises(UsageError, match=message):
        engine.run(network, shown)


@pytest.mark.parametrize("level", [-0.1, float("nan"), float("inf")])
def test_noise_of_no_size(level: float) -> None:
    with pytest.raises(UsageError, match="thermal noise"):
        Thermal(level)
