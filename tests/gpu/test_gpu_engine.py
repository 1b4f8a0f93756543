"""The torch engine on a GPU against the reference, bit for bit; skipped where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from simulate import test_engine_chips
from simulate.test_engine import assert_equal
from simulate.test_engine_chips import NOISES, assert_each_is_the_references, population
from simulate.test_noise import noises
from wild_programs import wild_case

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses
from neurodeploy.simulate import engine, reference, torch_engine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

Case = Callable[..., Any]
run = partial(torch_engine.run, device="cuda")


@pytest.fixture(scope="module", autouse=True)
def _on_the_gpu() -> Iterator[None]:
    on_gpu = SimpleNamespace(run_chips=partial(engine.run_chips, device="cuda"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_engine_chips, "engine", on_gpu)
        yield


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("fixed_point", [False, True])
def test_every_property_of_synapses_and_neurons(seed: int, fixed_point: bool) -> None:
    program, inputs = wild_case(np.random.default_rng(seed), fixed_point)
    assert_equal(run(program, inputs), reference.run(program, inputs))


@pytest.mark.parametrize("name", ["loihi2", "mixed-signal"])
@pytest.mark.parametrize("kind", ["residual", "lateral", "recurrent", "conv"])
def test_every_noise(lively_case: Case, name: str, kind: str) -> None:
    _, program, inputs = lively_case(np.random.default_rng(0), kind, name, batch=5)
    chips = [VirtualChip(chip(name), noise, index) for index, noise in enumerate(noises(name))]
    programs = [one.realise(program) for one in chips]
    assert_each_is_the_references(programs, inputs, [one.dynamic_noise(program, 2) for one in chips])


def _large(channels: int) -> tuple[Program, Any]:
    """A convolution of the kind that libraries have special algorithms for, on 8-bit images."""
    rng = np.random.default_rng(1)
    shape = (32, 24, 24)
    synapses = ConvSynapses("conv", "input", frozen_ints(rng.integers(-127, 128, (32, channels, 3, 3))), padding=(1, 1))
    neurons = FixedPointNeurons(np.array(1000), np.array(100_000), np.zeros(shape, dtype=int), 0)
    layer = Layer("a", shape, (synapses,), neurons, 1.0)
    return Program("loihi2", 4, Input((channels, 24, 24), bits=8), (layer,), "spike_count"), rng.integers(
        0, 256, (4, 16, channels, 24, 24)
    )


@pytest.mark.parametrize("channels", [32, 64])  # sums fit float32, and need float64
def test_low_precision_of_the_caller_changes_nothing(channels: int) -> None:
    program, inputs = _large(channels)
    expected = reference.run(program, inputs)
    assert 0.05 < expected.firing_rates()["a"] < 0.95
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        if torch.cuda.get_device_capability() >= (8, 0):  # these have TF32: without care the sums would be wrong
            rows = torch.from_numpy(inputs[0].reshape(16, -1)).float().cuda()
            weight = torch.randint(-127, 128, (rows.shape[1], 64), device="cuda")
            assert not torch.equal((rows @ weight.float()).double(), rows.double() @ weight.double())
        with torch.autocast("cuda"):
            assert_equal(run(program, inputs), expected)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_pass_takes_no_more_memory_than_was_estimated(lively_case: Case) -> None:
    for kind, noise in (("conv", NOISES[3]), ("lateral", NOISES[0]), ("residual", NOISES[1])):
        _, program, inputs = lively_case(np.random.default_rng(2), kind, "loihi2", batch=256)
        programs, dynamic = population(program, noise, range(20))
        engine.run_chips(programs[:1], inputs[:, :1], dynamic[:1], "cuda")  # cuBLAS takes its workspace
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        engine.run_chips(programs, inputs, dynamic, "cuda")
        weights, each = torch_engine._bytes(program, dynamic)
        assert torch.cuda.max_memory_allocated() - before <= 20 * (weights + 256 * each)


def test_what_does_not_fit_is_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 samples take more than 100 MB; a quarter of them, with the 32 MB that cuBLAS works in, less than 80."""
    program, inputs = _large(32)
    expected = reference.run(program, inputs)
    monkeypatch.setattr(torch_engine, "_memory", lambda device: 2**28)
    tried = []
    within = torch_engine._Stack.run

    def counted(stack: Any, frames: Any, *rest: Any) -> Any:
        tried.append(frames.shape[1])
        return within(stack, frames, *rest)

    monkeypatch.setattr(torch_engine._Stack, "run", counted)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 80 * 2**20) / total)
    try:
        counts = engine.run_chips([program], np.concatenate([inputs] * 4, axis=1), device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert tried[0] == 64 > tried[-1]
    np.testing.assert_array_equal(counts.readout[0], np.concatenate([expected.readout] * 4))
    np.testing.assert_array_equal(counts.spike_counts["a"][0], 4 * expected.spikes["a"].sum((0, 1), dtype=int))


def test_a_gpu_that_is_not_here() -> None:
    count = torch.cuda.device_count()
    program, inputs = _large(32)
    with pytest.raises(UsageError, match=f"device 'cuda:{count}': there are {count} GPUs here"):
        engine.run_chips([program], inputs, device=f"cuda:{count}")
