"""What sparse spikes bring, event by event: equal to a product of matrices and to torch's convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import STATE_LIMIT, FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate.event_sums import add_event_sums
from neurodeploy.simulate.spiking_tables import channels_last

BATCH, STEPS = 19, 3  # more samples than are computed in one piece
OLD = 5  # what is there before


def added(synapses: Synapses, source: Shape, shape: Shape, frames: Any, fixed: bool, bits: int = 1) -> Any:
    """What `add_event_sums` adds, (B, T, *shape)."""
    size = int(np.prod(shape))
    whole = FixedPointNeurons(np.array(0), np.array(1), np.zeros(shape, np.int64), 0)
    neurons = whole if fixed else FloatNeurons(np.array(1.0), np.array(1.0), np.zeros(shape))
    layer = Layer("a", shape, (synapses,), neurons, 1.0)
    program = Program("loihi2" if fixed else "ideal", STEPS, Input(source, bits=bits), (layer,), "spike_count")
    target = np.full((BATCH, STEPS, size + 7), OLD, dtype=np.int64)
    add_event_sums(program, synapses, shape, frames, target[:, :, :size])
    assert (target[:, :, size:] == OLD).all()
    return target[:, :, :size] - OLD


def events(source: Shape, bits: int = 1, rate: float = 0.2) -> Any:
    rng = np.random.default_rng(0)
    values = rng.integers(1, 2**bits, (BATCH, STEPS, *source))
    return np.where(rng.random((BATCH, STEPS, *source)) < rate, values, 0).astype(np.uint8)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 40])
@pytest.mark.parametrize(("sources", "bits"), [(1, 1), (8, 1), (37, 1), (37, 8)])
@pytest.mark.parametrize("most", [100, 30_000, 2**33])
def test_dense(size: int, sources: int, bits: int, most: int) -> None:
    """Weights of 8, 16 and more bits."""
    weight = frozen_ints(np.random.default_rng(size).integers(-most, most + 1, (size, sources)))
    frames = events((sources,), bits)
    got = added(DenseSynapses("fc", "input", weight), (sources,), (size,), frames, False, bits)
    expected = frames.astype(np.int64) @ weight.T
    assert expected.any()
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("exponent", [-8, -1, 0, 1, 7])
def test_a_weight_exponent_shifts_the_sum(exponent: int) -> None:
    weight = frozen_ints(np.random.default_rng(0).integers(-127, 128, (5, 30)))
    frames = events((30,))
    synapses = DenseSynapses("fc", "input", weight, weight_exponent=exponent)
    total = frames.astype(np.int64) @ weight.T
    expected = np.floor(total * 2.0**exponent).astype(np.int64)
    assert (expected != 0).mean() > 0.2
    np.testing.assert_array_equal(added(synapses, (30,), (5,), frames, True), expected)


@pytest.mark.parametrize("high", [100, 2**22])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("fixed", [False, True])
def test_convolutions_and_how_the_chip_wraps_them(high: int, stride: int, fixed: bool) -> None:
    weight = frozen_ints(np.random.default_rng(1).integers(-high, high, (4, 2, 3, 3)))
    synapses = ConvSynapses("conv", "input", weight, stride=(stride, stride), padding=(1, 1))
    frames, shape = events((2, 6, 6), rate=0.5), synapses.output_shape((2, 6, 6))
    flat = torch.from_numpy(frames.reshape(-1, 2, 6, 6)).double()
    found = torch.nn.functional.conv2d(flat, torch.from_numpy(weight.copy()).double(), None, stride, 1)
    total = found.numpy().astype(np.int64).reshape(BATCH, STEPS, *shape)
    wrapped = (total + STATE_LIMIT) % (2 * STATE_LIMIT) - STATE_LIMIT
    assert (wrapped != total).any() == (high > 100)
    expected = channels_last(wrapped if fixed else total, shape)
    np.testing.assert_array_equal(added(synapses, (2, 6, 6), shape, frames, fixed), expected)


def test_no_events_bring_nothing() -> None:
    weight = frozen_ints(np.arange(1, 61).reshape(6, 10))
    assert not added(DenseSynapses("fc", "input", weight), (10,), (6,), events((10,), rate=0.0), False).any()
