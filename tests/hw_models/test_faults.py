"""Faults, weights of fewer bits, noise in some layers only, and the same chip in another process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from noise_programs import CHIPS, SIDE, dense, program, thresholds, virtual
from numpy.typing import NDArray

from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.hw_models.random import frozen_uniforms
from neurodeploy.simulate import reference

N = SIDE**2
SHAPE = (1, SIDE, SIDE)
FROZEN = [name for name, term in NOISE_TERMS.items() if term.where == "program"]
FLOAT = "mixed-signal"


@pytest.mark.parametrize("chip", CHIPS)
def test_dead_neurons_never_fire_and_stay_dead_at_higher_levels(chip: str) -> None:
    nominal = program(chip, threshold=10)
    few, many = (virtual(chip, dead_neurons=level).realise(nominal) for level in (0.1, 0.3))
    dead_few, dead_many = (~np.isin(thresholds(one), 10) for one in (few, many))
    np.testing.assert_array_equal(dead_few, frozen_uniforms(SHAPE, 0, 17, "a", "dead_neurons") < 0.1)
    assert (dead_few <= dead_many).all()
    for dead, level in ((dead_few, 0.1), (dead_many, 0.3)):
        assert abs(dead.mean() - level) < 4 * np.sqrt(level * (1 - level) / N)
    spikes = reference.run(few, np.ones((1, *SHAPE), dtype=int)).spikes["a"]
    assert spikes[:, :, dead_few].sum() == 0
    assert spikes[:, :, ~dead_few].mean() == 1
    assert (
        reference.run(virtual(chip, dead_neurons=1.0).realise(nominal), np.ones((1, *SHAPE), dtype=int))
        .spikes["a"]
        .sum()
        == 0
    )


def test_a_dead_fixed_point_neuron_is_silent_even_at_the_register_s_end() -> None:
    nominal = replace(dense("loihi2", np.full((3, 1000), 127)), steps=3)
    dead = virtual("loihi2", dead_neurons=1.0).realise(nominal)
    recording = reference.run(dead, np.ones((1, 1000), dtype=int))
    assert recording.potentials["a"].max() == 2**23 - 1
    assert recording.spikes["a"].sum() == 0


@pytest.mark.parametrize("chip", CHIPS)
def test_faulty_synapses(chip: str) -> None:
    rng = np.random.default_rng(0)
    weight = rng.choice([-50, -3, 2, 100], (100, 200))
    nominal, n = dense(chip, weight), weight.size

    def realised(**levels: float) -> NDArray[Any]:
        return virtual(chip, **levels).realise(nominal).layers[0].synapses[0].weight

    dead, stuck = realised(dead_synapses=0.2), realised(stuck_synapses=0.1)
    hit = frozen_uniforms(weight.shape, 0, 17, "a", "dead:fc:input") < 0.2
    np.testing.assert_array_equal(dead, np.where(hit, 0, weight))
    assert abs(hit.mean() - 0.2) < 4 * np.sqrt(0.16 / n)
    moved = frozen_uniforms(weight.shape, 0, 17, "a", "stuck:fc:input") < 0.1
    np.testing.assert_array_equal(stuck, np.where(moved, np.sign(weight) * 100, weight))
    assert not np.array_equal(moved, hit)
    assert not realised(dead_synapses=1.0, stuck_synapses=1.0).any()
    assert set(np.unique(realised(stuck_synapses=1.0, weight_mismatch=0.5))) == {-100, 100}


@pytest.mark.parametrize(("bits", "values"), [(2, 3), (4, 15), (6, 63)])
def test_weights_are_rounded_to_as_many_bits_as_are_left(bits: int, values: int) -> None:
    weight = np.arange(-2047, 2048).reshape(5, 819)
    level = 1 / (2 ** (bits - 1) - 1)
    got = virtual(FLOAT, quantization=level).realise(dense(FLOAT, weight)).layers[0].synapses[0].weight
    assert len(np.unique(got)) == values
    assert np.abs(got - weight).max() <= 2047 * level / 2 + 1
    assert (got.min(), got.max()) == (-2047, 2047)
    np.testing.assert_array_equal(got.ravel(), -got.ravel()[::-1])
    other = virtual(FLOAT, 3, quantization=level).realise(dense(FLOAT, weight)).layers[0].synapses[0].weight
    np.testing.assert_array_equal(got, other)  # no chip rounds otherwise
    nothing = virtual(FLOAT, quantization=0.5).realise(dense(FLOAT, np.zeros((2, 2), dtype=int)))
    assert not nothing.layers[0].synapses[0].weight.any()


@pytest.mark.parametrize("chip", CHIPS)
def test_noise_in_some_layers_leaves_the_others(chip: str) -> None:
    nominal = program(chip)
    levels = {"mismatch": 0.2, "weight_mismatch": 0.2, "thermal": 0.1, "readout": 0.1}
    everywhere = virtual(chip, **levels).realise(nominal).layers
    only_a, only_out = (virtual(chip, **levels, layers=(name,)).realise(nominal).layers for name in ("a", "out"))
    assert only_a[1] is nominal.layers[1]
    assert only_out[0] is nominal.layers[0]
    np.testing.assert_array_equal(only_a[0].neurons.threshold, everywhere[0].neurons.threshold)  # the same chip
    np.testing.assert_array_equal(only_out[1].synapses[0].weight, everywhere[1].synapses[0].weight)
    dynamic = [virtual(chip, **levels, layers=(name,)).dynamic_noise(nominal) for name in ("a", "out")]
    assert dynamic[0] is not None
    assert dynamic[1] is not None
    assert (set(dynamic[0].deviations), dynamic[0].readout_level) == ({"a"}, 0.0)
    assert (set(dynamic[1].deviations), dynamic[1].readout_level) == (set(), 0.1)


ALL_FROZEN: dict[str, Any] = dict.fromkeys(FROZEN, 0.1) | {"core_size": 64, "decay_as": "tau"}


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("options", [{}, {"correlation_length": 2.0, "distribution": "lognormal"}])
def test_a_chip_is_the_same_in_another_process(chip: str, options: dict[str, Any]) -> None:
    """Other workers, with another hash seed, draw the same bits."""
    code = (
        "import hashlib, sys; sys.path.insert(0, 'tests'); from noise_programs import *\n"
        f"realised = virtual({chip!r}, 5, 3, **{ALL_FROZEN | options!r}).realise(program({chip!r}, bias=40))\n"
        "digest = hashlib.sha256()\n"
        "for layer in realised.layers:\n"
        "    kept = [layer.neurons.threshold, layer.neurons.bias, *(one.weight for one in layer.synapses)]\n"
        "    [digest.update(one.tobytes()) for one in kept]\n"
        "digest.update(retained(realised).tobytes())\n"
        "print(digest.hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
