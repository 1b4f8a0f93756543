"""Floating-point neurons against a scalar loop: both resets, both comparisons, thresholds met exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input, Reset
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import engine, reference

Run = Callable[[Program, np.ndarray[Any, Any]], Any]
RUNS = pytest.mark.parametrize("run", [reference.run, engine.run], ids=["reference", "engine"])


def scalar_neuron(
    drive: list[float], decay: float, threshold: float, reset: str, at_threshold: bool
) -> tuple[list[float], list[int]]:
    """(potential after reset, spikes) of one neuron, by the equations of the LIF node."""
    u, o = 0.0, 0
    after, spikes = [], []
    held = 0.0  # what the reset leaves of u
    for x in drive:
        u = decay * held + x
        o = int(u >= threshold) if at_threshold else int(u > threshold)
        held = u - threshold * o if reset == "subtract" else u * (1 - o)
        after.append(held)
        spikes.append(o)
    return after, spikes


def program(weight: Any, neurons: FloatNeurons, scale: float, steps: int, fires: bool = True) -> Program:
    synapses = DenseSynapses("w", "input", frozen_ints(weight))
    layer = Layer("a", (synapses.weight.shape[0],), (synapses,), neurons, scale, fires)
    readout = "spike_count" if fires else "membrane"
    return Program("ideal", steps, Input((synapses.weight.shape[1],), bits=8), (layer,), readout)


@RUNS
@given(
    seed=st.integers(0, 2**32 - 1),
    reset=st.sampled_from(["zero", "subtract"]),
    at_threshold=st.booleans(),
    per_neuron=st.booleans(),
    dyadic=st.booleans(),
)
def test_every_spike_and_potential_is_the_scalar_neurons(
    run: Run, seed: int, reset: Reset, at_threshold: bool, per_neuron: bool, dyadic: bool
) -> None:
    """Dyadic numbers meet the threshold exactly, often."""
    rng = np.random.default_rng(seed)
    steps, neurons, shape = 12, 4, (4,) if per_neuron else ()
    weight = rng.integers(-3, 8, (neurons, 3))
    scale = 0.125
    decay = rng.choice([0.0, 0.5, 1.0], shape) if dyadic else rng.uniform(0, 1, shape)
    threshold = rng.integers(1, 8, shape) * 0.25 if dyadic else rng.uniform(0.2, 2, shape)
    bias = rng.integers(-2, 3, neurons) * 0.125 if dyadic else rng.normal(0, 0.2, neurons)
    inputs = rng.integers(0, 3, (steps, 2, 3))
    made = program(weight, FloatNeurons(decay, threshold, bias, reset, at_threshold), scale, steps)
    recording = run(made, inputs)
    for b in range(2):
        for n in range(neurons):
            drive = [
                0.125 * sum(int(w) * int(x) for w, x in zip(weight[n], row[b], strict=True)) + bias[n] for row in inputs
            ]
            expected = scalar_neuron(
                drive,
                float(np.broadcast_to(decay, neurons)[n]),
                float(np.broadcast_to(threshold, neurons)[n]),
                reset,
                at_threshold,
            )
            assert recording.potentials["a"][:, b, n].tolist() == expected[0]
            assert recording.spikes["a"][:, b, n].tolist() == expected[1]
    np.testing.assert_array_equal(recording.readout, recording.spikes["a"].sum(axis=0))


def test_scalar_neurons_fire_now_and_then() -> None:
    """The drive of the test above, so that it cannot pass on silence."""
    rng = np.random.default_rng(0)
    drives = 0.125 * (rng.integers(0, 3, (50, 12, 3)) * rng.integers(-3, 8, (50, 1, 3))).sum(axis=2)
    spikes = [scalar_neuron(drive.tolist(), rng.uniform(), rng.uniform(0.2, 2), "zero", False)[1] for drive in drives]
    assert 0.05 < np.mean(spikes) < 0.95


@RUNS
@pytest.mark.parametrize(
    ("reset", "at_threshold", "spikes", "potentials"),
    [
        ("zero", False, [0, 1, 0, 1], [1.0, 0.0, 1.0, 0.0]),
        ("zero", True, [1, 1, 1, 1], [0.0, 0.0, 0.0, 0.0]),
        ("subtract", False, [0, 1, 1, 1], [1.0, 0.5, 0.25, 0.125]),
        ("subtract", True, [1, 1, 1, 1], [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_a_threshold_met_exactly(
    run: Run, reset: Reset, at_threshold: bool, spikes: list[int], potentials: list[float]
) -> None:
    """x = 1 at every step, threshold 1, decay 1/2."""
    neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(1), reset, at_threshold)
    recording = run(program([[2]], neurons, 0.5, 4), np.ones((1, 1), dtype=int))
    assert recording.spikes["a"].ravel().tolist() == spikes
    assert recording.potentials["a"].ravel().tolist() == potentials


@RUNS
def test_a_threshold_of_zero_fires_on_zero_only_with_greater_or_equal(run: Run) -> None:
    for at_threshold in (False, True):
        neurons = FloatNeurons(np.array(0.5), np.array(0.0), np.zeros(1), "zero", at_threshold)
        recording = run(program([[1]], neurons, 1.0, 2), np.zeros((1, 1), dtype=int))
        assert recording.spikes["a"].ravel().tolist() == [int(at_threshold)] * 2


@RUNS
def test_a_membrane_readout_sums_its_potential_over_time(run: Run) -> None:
    """Drive 1 plus bias 1/4 and decay 1/2: 1.25, 1.875, 2.1875."""
    neurons = FloatNeurons(np.array(0.5), np.array(np.inf), np.array([0.25]))
    recording = run(program([[4]], neurons, 0.25, 3, fires=False), np.ones((1, 1), dtype=int))
    assert recording.potentials["a"].ravel().tolist() == [1.25, 1.875, 2.1875]
    assert recording.readout.tolist() == [[5.3125]]
    assert recording.spikes == {}
    assert recording.readout.dtype == np.float64
