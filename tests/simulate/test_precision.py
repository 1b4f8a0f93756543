"""PyTorch's global precision: under the engine products are exact, and the settings are as before after it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.torch_device import exact_arithmetic

CPU = torch.device("cpu")


def _precision() -> tuple[str, ...]:
    places = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    return tuple(place.fp32_precision for place in places)


@pytest.fixture
def _settings_of_before() -> Iterator[None]:
    overall, before = torch.get_float32_matmul_precision(), _precision()
    yield
    torch.set_float32_matmul_precision(overall)
    torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = before[:2]
    torch.backends.mkldnn.conv.fp32_precision = before[2]


@pytest.mark.usefixtures("_settings_of_before")
@pytest.mark.parametrize("set_by", ["overall", "medium", "each"])
def test_low_precision_is_off_within_and_as_before_after(set_by: str) -> None:
    if set_by == "each":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
    else:
        torch.set_float32_matmul_precision("high" if set_by == "overall" else "medium")
    before = _precision()
    assert "tf32" in before
    with exact_arithmetic(CPU):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert _precision() == ("ieee", "ieee", "ieee")
        assert not torch.is_grad_enabled()
    assert _precision() == before
    with pytest.raises(KeyError), exact_arithmetic(CPU):
        raise KeyError
    assert _precision() == before
    if set_by != "each":
        assert torch.get_float32_matmul_precision() == ("high" if set_by == "overall" else "medium")


@pytest.mark.usefixtures("_settings_of_before")
def test_chips_in_several_threads_leave_the_callers_precision_as_it_was() -> None:
    """Weights that deviate are summed in every thread; the settings are one for all of them."""
    program = Program("mixed-signal", 2, Input((64,), bits=8), (_wide_layer(),), "spike_count")
    chips = [VirtualChip(chip("mixed-signal"), NoiseModel(weight_mismatch=0.1), number) for number in range(24)]
    own, inputs = [one.realise(program) for one in chips], np.full((2, 64), 255)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for _ in range(5):
            torch.set_float32_matmul_precision("medium")
            torch.backends.mkldnn.conv.fp32_precision = "bf16"
            before = _precision()
            counts = engine.run_chips(own, inputs)
            assert _precision() == before
            assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_num_threads(threads)
    for number, one in enumerate(own):
        expected = reference.run(one, inputs)
        np.testing.assert_array_equal(counts.spike_counts["a"][number], expected.spikes["a"].sum(axis=(0, 1)))


def _wide_layer() -> Layer:
    weight = np.random.default_rng(8).integers(-99, 100, (32, 64))
    neurons = FloatNeurons(np.array(0.5), np.array(4000.0), np.zeros(32))
    return Layer("a", (32,), (DenseSynapses("w", "input", frozen_ints(weight)),), neurons, 1.0)
