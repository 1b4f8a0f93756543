"""Layers whose input is known take all steps at once: each neuron is the reference's, whatever lies beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import DECAY_ONE, FixedPointNeurons, FloatNeurons, Layer, Neurons, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.neuron_steps import LANES
from neurodeploy.simulate.recording import Recording
from neurodeploy.simulate.spiking_layers import given
from neurodeploy.simulate.stages import make_stages

CHIPS, SAMPLES, CHANNELS = 3, 4, 12
SIZES = [1, LANES - 1, LANES, LANES + 1, 3 * LANES - 7]
MIXED = {"zero": (False, False), "subtract": (True, False), "at threshold": (False, True), "both": (True, True)}


def floating(rng: Any, size: int, kind: str) -> Neurons:
    """Retentions, thresholds and biases of each neuron its own; thresholds on the grid of the sums, so that some are
    met exactly."""
    subtract, at_threshold = MIXED[kind]
    decay = rng.choice([0.0, 0.5, 1.0, 0.9], size)
    threshold, bias = rng.integers(1, 12, size) / 4, rng.integers(-2, 3, size) / 4
    reset: Any = "subtract" if subtract else "zero"
    return FloatNeurons(frozen_floats(decay), frozen_floats(threshold), frozen_floats(bias), reset, at_threshold)


def fixed_point(rng: Any, size: int, _: str) -> Neurons:
    decay, threshold = rng.choice([0, 1, 400, DECAY_ONE], size), rng.integers(0, 60, size)
    return FixedPointNeurons(frozen_ints(decay), frozen_ints(threshold), frozen_ints(rng.integers(-300, 300, size)), 2)


def population(draw: Any, size: int, steps: int, kind: str) -> list[Program]:
    """Chips with neurons of their own behind the same weights; their spikes are read out."""
    rng = np.random.default_rng(size)
    synapses = DenseSynapses("fc", "input", frozen_ints(rng.integers(-9, 14, (size, CHANNELS))))
    chip, scale = ("loihi2", 1.0) if draw is fixed_point else ("mixed-signal", 0.25)
    layers = [Layer("a", (size,), (synapses,), draw(rng, size, kind), scale) for _ in range(CHIPS)]
    return [Program(chip, steps, Input((CHANNELS,)), (layer,), "spike_count") for layer in layers]


def assert_the_reference(programs: list[Program], inputs: Any, lively: bool = True) -> list[Recording]:
    stages = make_stages(programs, [None] * len(programs), inputs, inputs.ndim == 2)
    assert given.py_func(stages[-1].plan.tables.layers, 0), "steps are taken one by one: the test proves nothing"
    counts = engine.run_chips(programs, inputs)
    expected = [reference.run(program, inputs) for program in programs]
    for chip, one in enumerate(expected):
        fired = one.spikes["a"].sum(axis=0, dtype=np.int64)
        np.testing.assert_array_equal(counts.readout[chip], fired)
        np.testing.assert_array_equal(counts.spike_counts["a"][chip], fired.sum(axis=0))
        assert not lively or 0.05 < one.firing_rates()["a"] < 0.95
    return expected


def spikes(*shape: int) -> Any:
    return (np.random.default_rng(1).random(shape) < 0.4).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("draw", "kind"), [*((floating, kind) for kind in MIXED), (fixed_point, "zero")], ids=[*MIXED, "fixed point"]
)
def test_every_kind_of_neuron_beside_few_and_many(draw: Any, kind: str, size: int) -> None:
    programs = population(draw, size, 9, kind)
    assert_the_reference(programs, spikes(9, SAMPLES, CHANNELS), lively=size > 1)
    assert_the_reference(programs, spikes(SAMPLES, CHANNELS), lively=False)  # the same at every step


@pytest.mark.parametrize("steps", [1, 2, 255, 256, 300])
def test_few_and_many_steps(steps: int) -> None:
    """Past 255 steps, counts no longer fit a byte."""
    for draw in (floating, fixed_point):
        programs = population(draw, 40, steps, "subtract")
        found = assert_the_reference(programs, spikes(steps, SAMPLES, CHANNELS), lively=steps > 1)
        if steps > 255 and draw is floating:
            assert max(one.spikes["a"].sum(axis=0, dtype=np.int64).max() for one in found) > 255


def test_sums_wider_than_32_bits() -> None:
    size, wide = 40, 2**31
    rng = np.random.default_rng(0)
    synapses = DenseSynapses("fc", "input", frozen_ints(rng.integers(-wide, 2 * wide, (size, CHANNELS))))
    programs = [
        Program(
            "mixed-signal", 7, Input((CHANNELS,)), (Layer("a", (size,), (synapses,), neurons, 2.0**-31),), "spike_count"
        )
        for neurons in (floating(rng, size, "zero"), floating(rng, size, "zero"))
    ]
    assert make_stages(programs, [None] * 2, spikes(7, SAMPLES, CHANNELS), False)[-1].plan.sums is np.int64
    assert_the_reference(programs, spikes(7, SAMPLES, CHANNELS))


def test_a_dead_neuron_never_fires_and_its_neighbours_do() -> None:
    (program, *_) = population(floating, LANES, 9, "at threshold")
    neurons = program.layers[0].neurons
    assert isinstance(neurons, FloatNeurons)
    limits = np.where(np.arange(LANES) % 2, neurons.threshold, np.inf)
    dead = FloatNeurons(neurons.decay, frozen_floats(limits), neurons.bias, neurons.reset, neurons.fires_at_threshold)
    layer = Layer("a", (LANES,), program.layers[0].synapses, dead, 0.25)
    programs = [program, Program(program.chip, 9, program.input, (layer,), "spike_count")]
    _, found = assert_the_reference(programs, spikes(9, SAMPLES, CHANNELS))
    fired = found.spikes["a"].any(axis=(0, 1))
    assert not fired[::2].any()
    assert fired[1::2].mean() > 0.5
