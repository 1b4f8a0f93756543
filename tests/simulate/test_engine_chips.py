"""Many chips at once: each is itself, whatever the chunks, the order and the company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neurodeploy.hw_models import chip
from neurodeploy.hw_models.dynamic_noise import DynamicNoise
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import engine, reference

CHIPS = ("ideal", "loihi2", "mixed-signal")
NOISES = [NoiseModel(mismatch=0.2), NoiseModel(weight_mismatch=0.3), NoiseModel(thermal=0.3), NoiseModel(0.1, 0.1, 0.1)]
Case = Callable[..., Any]


def assert_each_is_the_references(
    programs: Sequence[Program], inputs: NDArray[Any], thermal: Sequence[DynamicNoise | None]
) -> None:
    counts = engine.run_chips(programs, inputs, thermal)
    for index, (program, noise) in enumerate(zip(programs, thermal, strict=True)):
        expected = reference.run(program, inputs, noise)
        np.testing.assert_array_equal(counts.readout[index], expected.readout)
        np.testing.assert_array_equal(counts.decisions[index], expected.decisions)
        for name, spikes in expected.spikes.items():
            np.testing.assert_array_equal(counts.spike_counts[name][index], spikes.sum(axis=(0, 1), dtype=np.int64))
    assert counts.readout.dtype == (np.int64 if programs[0].fixed_point else np.float64)


def population(
    program: Program, noise: NoiseModel, ids: Sequence[int]
) -> tuple[list[Program], list[DynamicNoise | None]]:
    virtual = [VirtualChip(chip(program.chip), noise, chip_id) for chip_id in ids]
    return [one.realise(program) for one in virtual], [one.dynamic_noise(program) for one in virtual]


@pytest.fixture(scope="module")
def cases(lively_case: Case) -> dict[str, list[tuple[Program, NDArray[Any]]]]:
    """chip -> programs with static and time-varying input."""
    kinds = [("residual", True), ("lateral", False)]
    return {
        name: [lively_case(np.random.default_rng(0), kind, name, batch=5, static=static)[1:] for kind, static in kinds]
        for name in CHIPS
    }


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("noise", NOISES, ids=["mismatch", "weights", "thermal", "all"])
@pytest.mark.parametrize("chunk", [1, 200, 2**19])
def test_a_population_is_its_chips(
    cases: Any, monkeypatch: pytest.MonkeyPatch, name: str, noise: NoiseModel, chunk: int
) -> None:
    monkeypatch.setattr(engine, "_CHUNK_BYTES", chunk)
    for program, inputs in cases[name]:
        programs, thermal = population(program, noise, [3, 0, 17])
        assert_each_is_the_references(programs, inputs, thermal)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    chunk=st.integers(1, 400),
    ids=st.lists(st.integers(0, 2**40), min_size=1, max_size=5),
)
def test_any_chunks_and_any_chips(lively_case: Case, seed: int, chunk: int, ids: list[int]) -> None:
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["dense", "conv", "residual", "recurrent", "lateral"]))
    _, program, inputs = lively_case(rng, kind, str(rng.choice(CHIPS)), batch=4, bits=int(rng.choice([1, 8])))
    programs, thermal = population(program, NOISES[int(rng.integers(4))], ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_CHUNK_BYTES", chunk)
        assert_each_is_the_references(programs, inputs, thermal)


@pytest.mark.parametrize("name", CHIPS)
def test_nominal_deviating_and_noisy_chips_share_one_call(lively_case: Case, name: str) -> None:
    """Thresholds that are scalars on one chip and differ by neuron on another; noise on some only."""
    _, program, inputs = lively_case(np.random.default_rng(5), "residual", name, batch=4)
    deviating, thermal = population(program, NoiseModel(0.2, 0.0, 0.2), [1, 2])
    assert_each_is_the_references([program, *deviating, program], inputs, [None, None, thermal[1], thermal[0]])


def test_the_order_of_the_chips_is_the_order_of_the_results(lively_case: Case) -> None:
    _, program, inputs = lively_case(np.random.default_rng(6), "dense", "mixed-signal", batch=20)
    programs, thermal = population(program, NOISES[3], range(6))
    forward = engine.run_chips(programs, inputs, thermal)
    backward = engine.run_chips(programs[::-1], inputs, thermal[::-1])
    np.testing.assert_array_equal(forward.readout, backward.readout[::-1])
    assert len(np.unique(forward.readout.reshape(6, -1), axis=0)) > 1


def test_no_thermal_noise_is_the_default(lively_case: Case) -> None:
    _, program, inputs = lively_case(np.random.default_rng(7), "conv", "loihi2")
    with_none = engine.run_chips([program, program], inputs, [None, None])
    np.testing.assert_array_equal(engine.run_chips([program, program], inputs).readout, with_none.readout)


def test_decisions_are_the_lowest_of_the_largest() -> None:
    counts = engine.Counts(np.array([[[1, 3, 3], [0, 0, 0]]]), {})
    assert counts.decisions.tolist() == [[1, 0]]


def test_counts_past_float32s_exact_range_are_exact() -> None:
    """4097 × 4097 spikes: one more than float32 can count to."""
    neurons = FixedPointNeurons(np.array(0), np.array(0), np.ones(1, dtype=int), 0)
    layer = Layer("a", (1,), (DenseSynapses("fc", "input", frozen_ints([[0]])),), neurons, 1.0)
    program = Program("loihi2", 4097, Input((1,)), (layer,), "spike_count")
    counts = engine.run_chips([program], np.zeros((4097, 1), dtype=np.uint8))
    assert counts.spike_counts["a"].tolist() == [[4097 * 4097]]
