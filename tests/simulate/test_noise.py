"""Dynamic noise in both simulators: the same bits, in any company, and what the vocabulary says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from noise_programs import dense, program, virtual
from numpy.typing import NDArray
from simulate.test_engine import assert_alike

from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NOISES, NoiseModel
from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import engine, reference

Case = Callable[..., Any]
CHIPS = ("loihi2", "mixed-signal")
KINDS = ("residual", "lateral", "recurrent", "conv")
LEVELS = dict.fromkeys(NOISES, 0.2) | {"ktc": 300.0, "quantization": 1 / 7, "temperature": 40.0, "drift": 0.1}


def noises(name: str) -> list[NoiseModel]:
    """Every noise alone, then all at once in two ways."""
    possible = {noise: level for noise, level in LEVELS.items() if noise != "ktc" or name == "mixed-signal"}
    together: dict[str, Any] = {noise: level / 4 for noise, level in possible.items()}
    return [
        *(NoiseModel(**{noise: level}) for noise, level in possible.items()),
        NoiseModel(**together),
        NoiseModel(**together, distribution="lognormal", decay_as="tau", correlation_length=1.5, core_size=5),
    ]


@pytest.fixture(scope="module")
def cases(lively_case: Case) -> dict[str, list[tuple[Program, NDArray[Any]]]]:
    """chip -> programs with static and time-varying input, with and without spikes read."""
    return {
        name: [
            lively_case(np.random.default_rng(seed), kind, name, batch=5, static=seed % 2 == 0)[1:]
            for seed, kind in enumerate(KINDS)
        ]
        for name in CHIPS
    }


@pytest.mark.parametrize("name", CHIPS)
def test_engine_and_reference_agree_on_every_noise(cases: Any, name: str) -> None:
    moved = set()
    for nominal, inputs in cases[name]:
        quiet = reference.run(nominal, inputs)
        for noise in noises(name):
            one = VirtualChip(chip(name), noise, 17)
            own, running = one.realise(nominal), one.dynamic_noise(nominal, 2)
            expected = assert_alike(own, inputs, running, first_sample=3)
            for spikes in expected.spikes.values():
                assert spikes.dtype == np.uint8
                assert spikes.max() <= 1
            if not np.array_equal(expected.readout, quiet.readout):
                moved |= set(noise.active)
    missing = set(LEVELS) - moved - ({"ktc"} if name == "loihi2" else set())
    assert not missing, "these noises changed nothing anywhere: their agreement says nothing"


def test_chips_with_finer_weights_run_beside_others(cases: Any) -> None:
    """Where weights of few bits deviate, a chip's unit is finer than that of a chip whose weights do not."""
    few = chip("mixed-signal@8")
    chips = [VirtualChip(few, NoiseModel(weight_mismatch=level), index) for index, level in enumerate((0.0, 0.3))]
    for nominal, inputs in cases["mixed-signal"]:
        programs = [one.realise(nominal) for one in chips]
        assert [one.layers[0].scale for one in programs] == [nominal.layers[0].scale, nominal.layers[0].scale / 16]
        counts = engine.run_chips(programs, inputs, [None, None])
        for index, own in enumerate(programs):
            expected = reference.run(own, inputs)
            np.testing.assert_array_equal(counts.readout[index], expected.readout)
            for layer, spikes in expected.spikes.items():
                np.testing.assert_array_equal(counts.spike_counts[layer][index], spikes.sum((0, 1), dtype=int))


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("chunk", [1, 60, 2**19])
def test_a_chip_is_itself_in_any_chunk_and_company(
    cases: Any, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int
) -> None:
    """A population in one call, in chunks of any size, chips with and without dynamic noise side by side."""
    monkeypatch.setattr(engine, "_CHUNK_BYTES", chunk)
    chosen = [noises(name)[-1], NoiseModel(), NoiseModel(mismatch=0.2), NoiseModel(spike_jitter=0.4), noises(name)[-2]]
    chips = [VirtualChip(chip(name), noise, index) for index, noise in enumerate(chosen)]
    for nominal, inputs in cases[name]:
        programs = [one.realise(nominal) for one in chips]
        running = [one.dynamic_noise(nominal) for one in chips]
        counts = engine.run_chips(programs, inputs, running)
        for index, (own, noise) in enumerate(zip(programs, running, strict=True)):
            expected = reference.run(own, inputs, noise)
            np.testing.assert_array_equal(counts.readout[index], expected.readout)
            for layer, spikes in expected.spikes.items():
                np.testing.assert_array_equal(counts.spike_counts[layer][index], spikes.sum((0, 1), dtype=int))


@pytest.mark.parametrize("name", CHIPS)
def test_a_batch_is_its_samples_one_by_one(cases: Any, name: str) -> None:
    for nominal, inputs in cases[name]:
        one = VirtualChip(chip(name), noises(name)[-2], 4)
        own, running = one.realise(nominal), one.dynamic_noise(nominal)
        whole = reference.run(own, inputs, running)
        static = inputs.ndim == len(nominal.input.shape) + 1
        for sample in (3, 0):
            alone = inputs[sample : sample + 1] if static else inputs[:, sample : sample + 1]
            for run in (reference.run, engine.run):
                got = run(own, alone, running, first_sample=sample)
                np.testing.assert_array_equal(got.readout[0], whole.readout[sample])
                for layer, spikes in whole.spikes.items():
                    np.testing.assert_array_equal(got.spikes[layer][:, 0], spikes[:, sample])


@pytest.mark.parametrize("run", [reference.run, engine.run])
def test_jitter_moves_spikes_by_one_step_and_merges_them(run: Any) -> None:
    """Neurons that fire at every step: what arrives is what was not late, or was late the step before."""
    nominal = program("mixed-signal", threshold=10, steps=6)
    noise = virtual("mixed-signal", spike_jitter=0.3).dynamic_noise(nominal)
    assert noise is not None
    shape = (1, 100, 100)
    inputs = np.ones((2, *shape), dtype=int)
    recording = run(nominal, inputs, noise)
    late = []
    for step in range(6):
        masks = noise.masks("a", shape, step, 0, 2)
        assert masks is not None
        late.append(masks.late)
    for step in range(6):
        before = late[step - 1] if step else np.zeros_like(late[0])
        np.testing.assert_array_equal(recording.spikes["a"][step] == 1, ~late[step] | before)
    assert (recording.potentials["a"] == 0).all()  # reset when they fired, not when the spike arrived
    always = virtual("mixed-signal", spike_jitter=1.0).dynamic_noise(nominal)
    spikes = run(nominal, inputs, always).spikes["a"]
    assert spikes[0].sum() == 0
    assert spikes[1:].all()


@pytest.mark.parametrize("run", [reference.run, engine.run])
def test_a_lost_spike_reaches_nobody_and_resets_its_neuron(run: Any) -> None:
    nominal = program("loihi2", threshold=10, steps=3)
    inputs = np.ones((2, 1, 100, 100), dtype=int)
    gone = run(nominal, inputs, virtual("loihi2", spike_loss=1.0).dynamic_noise(nominal))
    assert gone.spikes["a"].sum() == 0
    assert not gone.potentials["a"].any()
    assert not gone.readout.any()
    half = run(nominal, inputs, virtual("loihi2", spike_loss=0.5).dynamic_noise(nominal)).spikes["a"]
    assert abs(half.mean() - 0.5) < 4 * 0.5 / np.sqrt(half.size)


@pytest.mark.parametrize("run", [reference.run, engine.run])
def test_background_and_stuck_neurons_fire_without_input(run: Any) -> None:
    nominal = program("mixed-signal", steps=4)
    dark = np.zeros((3, 1, 100, 100), dtype=int)
    extra = run(nominal, dark, virtual("mixed-signal", background_spikes=0.1).dynamic_noise(nominal))
    assert abs(extra.spikes["a"].mean() - 0.1) < 4 * 0.3 / np.sqrt(extra.spikes["a"].size)
    assert extra.readout.any()  # they reach the next layer
    stuck = run(nominal, dark, virtual("mixed-signal", stuck_neurons=0.05).dynamic_noise(nominal)).spikes["a"]
    assert np.array_equal(stuck.min(axis=(0, 1)), stuck.max(axis=(0, 1)))
    assert abs(stuck[0, 0].mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 10_000)


@pytest.mark.parametrize("name", CHIPS)
def test_readout_noise_is_added_once_after_the_last_step(name: str) -> None:
    weight = np.random.default_rng(0).integers(-90, 100, (10, 30))
    nominal = dense(name, weight if name == "loihi2" else 10 * weight)
    inputs = np.random.default_rng(1).integers(0, 2, (40, 30))
    quiet = reference.run(nominal, inputs)
    assert 0.1 < quiet.spikes["a"].mean() < 0.9
    noise = virtual(name, readout=1.5).dynamic_noise(nominal)
    assert noise is not None
    for run in (reference.run, engine.run):
        got = run(nominal, inputs, noise, first_sample=2)
        np.testing.assert_array_equal(got.readout, noise.readout(quiet.readout, 2).astype(quiet.readout.dtype))
        np.testing.assert_array_equal(got.spikes["a"], quiet.spikes["a"])
    assert not np.array_equal(got.readout, quiet.readout)


def test_every_noise_of_the_vocabulary_is_tried_here() -> None:
    assert set(LEVELS) == set(NOISE_TERMS)
