"""The torch engine, on the CPU: the reference, spike for spike and voltage for voltage (on a GPU: `tests/gpu`).

What the tests of the engine ask is asked of the torch engine as well: by those tests, with it in the engine's place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from simulate import test_engine, test_engine_chips, test_fixed_point, test_float_neurons, test_noise, test_reference
from simulate.test_engine import (  # noqa: F401
    assert_alike,
    assert_equal,
    test_a_chip_with_all_noises_is_the_same_chip_in_both,
    test_convolutions_beyond_float32_are_exact,
    test_fixed_point_sums_in_the_wrap_range_are_the_references,
    test_sums_beyond_float32_are_exact,
    test_the_engine_is_the_reference,
)
from simulate.test_engine_chips import (  # noqa: F401
    NOISES,
    assert_each_is_the_references,
    population,
    test_counts_past_float32s_exact_range_are_exact,
    test_nominal_deviating_and_noisy_chips_share_one_call,
    test_the_order_of_the_chips_is_the_order_of_the_results,
)
from simulate.test_noise import (  # noqa: F401
    KINDS,
    noises,
    test_a_batch_is_its_samples_one_by_one,
    test_engine_and_reference_agree_on_every_noise,
    test_readout_noise_is_added_once_after_the_last_step,
)
from simulate.test_precision import _settings_of_before  # noqa: F401
from wild_programs import wild_case

from neurodeploy.errors import MissingBackendError, NeurodeployError, UsageError
from neurodeploy.hw_models import chip, random
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import philox, reference, torch_engine
from neurodeploy.simulate.torch_device import find_device
from neurodeploy.simulate.torch_layers import StackedLayer

Case = Callable[..., Any]
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _in_the_engines_place() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (test_engine, test_engine_chips, test_noise):
            patch.setattr(module, "engine", torch_engine)
        yield


@pytest.fixture(scope="module")
def cases(lively_case: Case) -> dict[str, list[tuple[Program, NDArray[Any]]]]:
    """chip -> programs with static and time-varying input, with and without spikes read."""
    return {
        name: [
            lively_case(np.random.default_rng(seed), kind, name, batch=5, static=seed % 2 == 0)[1:]
            for seed, kind in enumerate(KINDS)
        ]
        for name in ("ideal", "loihi2", "mixed-signal")
    }


def _tests_of_a_run() -> list[Any]:
    """Every test there that takes a simulator's `run`, with all values of its other parameters."""
    found = []
    for module in (test_fixed_point, test_float_neurons, test_noise, test_reference):
        for name, test in vars(module).items():
            marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
            if not name.startswith("test_") or all(names != "run" for names, _ in marks):
                continue
            others = [
                [{names: value} if isinstance(names, str) else dict(zip(names, value, strict=True)) for value in values]
                for names, values in marks
                if names != "run"
            ]
            for number, chosen in enumerate(itertools.product(*others)):
                merged = {key: value for one in chosen for key, value in one.items()}
                found.append(pytest.param(test, merged, id=f"{name}-{number}"))
    return found


@pytest.mark.parametrize(("test", "values"), _tests_of_a_run())
def test_what_every_simulator_has_to_do(test: Callable[..., None], values: dict[str, Any]) -> None:
    test(run=torch_engine.run, **values)


def test_the_tests_of_the_others_were_found() -> None:
    assert len(_tests_of_a_run()) > 50


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), fixed_point=st.booleans())
def test_every_property_of_synapses_and_neurons(seed: int, fixed_point: bool) -> None:
    program, inputs = wild_case(np.random.default_rng(seed), fixed_point)
    assert_alike(program, inputs)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), fixed_point=st.booleans())
def test_every_property_in_a_noisy_population(seed: int, fixed_point: bool) -> None:
    rng = np.random.default_rng(seed)
    program, inputs = wild_case(rng, fixed_point, bits_of_weights=6, long=False)
    programs, noise = population(program, NOISES[int(rng.integers(4))], [3, 0, 17])
    assert_each_is_the_references([*programs, program], inputs, [*noise, None])


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(chips, samples) of every pass, written when it begins."""
    begun = []
    within = torch_engine._Stack.run

    def run(stack: Any, inputs: NDArray[Any], static: bool, noises: Any, *rest: Any) -> Any:
        begun.append((len(noises), inputs.shape[0 if static else 1]))
        return within(stack, inputs, static, noises, *rest)

    monkeypatch.setattr(torch_engine._Stack, "run", run)
    return begun


@pytest.mark.parametrize("name", ["loihi2", "mixed-signal"])
@pytest.mark.parametrize(
    ("memory", "expected"),  # for the weights of so many chips, and so many samples on a chip
    [
        ((0, 0), [(1, 1)] * 15),
        ((1, 2), [(1, 2), (1, 1)] * 5),
        ((2, 6), [(2, 3), (2, 3), (1, 3)]),
        ((5, 15), [(5, 3)]),
    ],
)
def test_a_chip_is_itself_in_any_company(
    lively_case: Case, monkeypatch: pytest.MonkeyPatch, passes: Any, name: str, memory: tuple[int, int], expected: Any
) -> None:
    """Quiet chips and noisy ones of several kinds, in passes of any size."""
    _, program, inputs = lively_case(np.random.default_rng(0), "lateral", name, batch=3)
    chosen = [noises(name)[-1], NoiseModel(), NoiseModel(mismatch=0.2), NoiseModel(spike_jitter=0.4), noises(name)[-2]]
    chips = [VirtualChip(chip(name), noise, index) for index, noise in enumerate(chosen)]
    programs, noise = [one.realise(program) for one in chips], [one.dynamic_noise(program) for one in chips]
    weights, each = torch_engine._bytes(program, noise)
    monkeypatch.setattr(torch_engine, "_CHUNK_BYTES", memory[0] * weights + memory[1] * each)
    assert_each_is_the_references(programs, inputs, noise)
    assert passes == expected


@pytest.mark.parametrize("chunk", [1, 3000, 2**26])
def test_a_recording_is_the_same_in_any_chunks(lively_case: Case, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    _, program, inputs = lively_case(np.random.default_rng(8), "residual", "loihi2", batch=7)
    (own,), (noise,) = population(program, NOISES[3], [5])
    monkeypatch.setattr(torch_engine, "_CHUNK_BYTES", chunk)
    assert_alike(own, inputs, noise, first_sample=11)


def _sum_of(weights: list[int]) -> Program:
    """One neuron that adds up its inputs and keeps what it has."""
    neurons = FloatNeurons(np.array(1.0), np.array(np.inf), np.zeros(1))
    layer = Layer("a", (1,), (DenseSynapses("fc", "input", frozen_ints([weights])),), neurons, 1.0)
    return Program("ideal", 1, Input((len(weights),)), (layer,), "spike_count")


@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        ([2**24 - 4, 3], torch.float32),  # one below what float32 counts to
        ([2**24 - 3, 3], torch.float64),
        ([2**24 - 2, 3], torch.float64),  # float32 would make it even
        ([-(2**24) + 2, -3], torch.float64),
        ([2**53 - 4, 3], torch.float64),
    ],
)
def test_sums_have_as_many_bits_as_they_need(weights: list[int], kind: torch.dtype) -> None:
    program = _sum_of(weights)
    assert StackedLayer(program.layers, program, CPU).arriving[0].weight.dtype == kind
    recording = torch_engine.run(program, np.ones((1, 2), dtype=int))
    assert int(recording.potentials["a"].item()) == sum(weights)


@pytest.mark.usefixtures("_settings_of_before")
def test_the_callers_autocast_changes_nothing(lively_case: Case) -> None:
    """Half precision keeps 8 bits: 0 to 255 times -127 to 127, added up, would not survive it."""
    _, program, inputs = lively_case(np.random.default_rng(9), "dense", "loihi2", bits=8)
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = torch_engine.run(program, inputs)
    assert_equal(got, reference.run(program, inputs))


@pytest.mark.parametrize("name", ["gpu", "mps", "meta", "", "cuda:x", "cuda:-1", "CUDA", "cpu:0"])
def test_a_device_of_another_name(name: str) -> None:
    message = rf"unknown device '{name}': allowed are cpu, cuda and cuda:N, N the number of a GPU from 0"
    with pytest.raises(UsageError, match=message):
        find_device(name)


@pytest.mark.parametrize(
    ("built", "why"), [("12.8", "no GPU or no driver is found"), (None, "is built for CPUs alone")]
)
@pytest.mark.parametrize("run", ["run", "run_chips"])
def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch, built: str | None, why: str, run: str) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    program = _sum_of([1])
    with pytest.raises(MissingBackendError, match=rf"device 'cuda': .*{why}; use --device cpu, or install"):
        getattr(torch_engine, run)(program if run == "run" else [program], np.ones((1, 1), dtype=int), device="cuda")


def test_a_gpu_of_a_number_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="device 'cuda:2': there are 2 GPUs here; allowed are cuda:0 to cuda:1"):
        find_device("cuda:2")


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[tuple[int, int]]]:
    """(limit) -> what was tried, (chips, samples): more than `limit` chips × samples at once do not fit."""

    def limit(most: int) -> list[tuple[int, int]]:
        tried = []
        fits = torch_engine._Stack.run

        def run(stack: Any, inputs: NDArray[Any], static: bool, noises: Any, *rest: Any) -> Any:
            tried.append((len(noises), inputs.shape[0 if static else 1]))
            if tried[-1][0] * tried[-1][1] > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return fits(stack, inputs, static, noises, *rest)

        monkeypatch.setattr(torch_engine._Stack, "run", run)
        return tried

    return limit


def test_what_does_not_fit_is_done_in_parts(lively_case: Case, short_of_memory: Any) -> None:
    _, program, inputs = lively_case(np.random.default_rng(10), "conv", "loihi2", batch=6)
    programs, noise = population(program, NOISES[3], [1, 2, 4])
    tried = short_of_memory(4)
    assert_each_is_the_references(programs, inputs, noise)
    assert tried[0] == (3, 6)
    assert max(chips * samples for chips, samples in tried[-3:]) <= 4
    assert_equal(torch_engine.run(programs[0], inputs, noise[0]), reference.run(programs[0], inputs, noise[0]))


def test_what_does_not_fit_at_all_is_an_error(lively_case: Case, short_of_memory: Any) -> None:
    _, program, inputs = lively_case(np.random.default_rng(11), "dense", "ideal", batch=6)
    tried = short_of_memory(0)
    with pytest.raises(NeurodeployError, match="device cpu: out of memory with one sample on one chip at a time"):
        torch_engine.run_chips([program], inputs)
    assert tried[-1] == (1, 1)


@given(
    first=st.integers(0, 2**33),
    count=st.integers(1, 5),
    size=st.integers(1, 40),
    names=st.lists(st.tuples(st.integers(0, 2**64), st.text(max_size=3)), min_size=1, max_size=4),
)
def test_streams_side_by_side_are_each_numpys(first: int, count: int, size: int, names: list[tuple[int, str]]) -> None:
    normals = philox.stacked_normals(first, count, size, names)
    integers = philox.stacked_integers(first, count, size, names)
    for index, name in enumerate(names):
        np.testing.assert_array_equal(normals[index].numpy(), random.step_normals(first, count, size, *name))
        np.testing.assert_array_equal(integers[index].numpy(), random.step_integers(first, count, size, *name))
