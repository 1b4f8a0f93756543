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
    drive: list[float],
    decay: float,
    threshold: float,
    reset: str,
    at_threshold: bool,
    current_decay: float = 0.0,
    bias: float = 0.0,
) -> tuple[list[float], list[int]]:
    """(potential after reset, spikes) of one neuron, by the equations of the CubaLIF node."""
    u, o, current = 0.0, 0, 0.0
    after, spikes = [], []
    held = 0.0  # what the reset leaves of u
    for x in drive:
        current = current_decay * current + x
        u = decay * held + (current + bias)
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
    remembers=st.booleans(),
)
def test_every_spike_and_potential_is_the_scalar_neurons(
    run: Run, seed: int, reset: Reset, at_threshold: bool, per_neuron: bool, dyadic: bool, remembers: bool
) -> None:
    """Dyadic numbers meet the threshold exactly, often."""
    rng = np.random.default_rng(seed)
    steps, neurons, shape = 12, 4, (4,) if per_neuron else ()
    weight = rng.integers(-3, 8, (neurons, 3))
    scale = 0.125
    decay = rng.choice([0.0, 0.5, 1.0], shape) if dyadic else rng.uniform(0, 1, shape)
    threshold = rng.integers(1, 8, shape) * 0.25 if dyadic else rng.uniform(0.2, 2, shape)
    bias = rng.integers(-2, 3, neurons) * 0.125 if dyadic else rng.normal(0, 0.2, neurons)
    current_decay = rng.choice([0.25, 0.5, 1.0], shape) if dyadic else rng.uniform(0, 1, shape)
    current_decay = current_decay * remembers
    inputs = rng.integers(0, 3, (steps, 2, 3))
    made = program(weight, FloatNeurons(decay, threshold, bias, reset, at_threshold, current_decay), scale, steps)
    recording = run(made, inputs)
    for b in range(2):
        for n in range(neurons):
            drive = [0.125 * sum(int(w) * int(x) for w, x in zip(weight[n], row[b], strict=True)) for row in inputs]
            expected = scalar_neuron(
                drive,
                float(np.broadcast_to(decay, neurons)[n]),
                float(np.broadcast_to(threshold, neurons)[n]),
                reset,
                at_threshold,
                float(np.broadcast_to(current_decay, neurons)[n]),
                float(bias[n]),
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


@RUNS
def test_a_current_with_memory_by_hand(run: Run) -> None:
    """Drive 1 at step 1, current decay 1/2, decay 1/4, bias 1/8 on the potential: i = 1, 1/2, 1/4; threshold 1."""
    neurons = FloatNeurons(np.array(0.25), np.array(1.0), np.array([0.125]), current_decay=np.array(0.5))
    inputs = np.array([1, 0, 0]).reshape(3, 1, 1)
    recording = run(program([[1]], neurons, 1.0, 3), inputs)
    assert recording.spikes["a"].ravel().tolist() == [1, 0, 0]  # 1.125; the spike leaves the current
    assert recording.potentials["a"].ravel().tolist() == [0.0, 0.625, 0.625 * 0.25 + 0.375]


@RUNS
def test_a_spike_subtracts_from_the_potential_only(run: Run) -> None:
    neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(1), "subtract", True, np.array(0.5))
    recording = run(program([[2]], neurons, 1.0, 3), np.array([1, 0, 0]).reshape(3, 1, 1))
    assert recording.spikes["a"].ravel().tolist() == [1, 1, 0]  # 2; 1/2 + 1; 1/4 + 1/2
    assert recording.potentials["a"].ravel().tolist() == [1.0, 0.5, 0.75]


@RUNS
@pytest.mark.parametrize("delay", [0, 1, 5, 62])
def test_delays_of_floating_point_neurons(run: Run, delay: int) -> None:
    delays = frozen_ints([[0, 2]])
    synapses = DenseSynapses("w", "input", frozen_ints([[1, 4]]), delay=delay, delays=delays)
    neurons = FloatNeurons(np.array(0.0), np.array(9.0), np.zeros(1))
    made = Program("ideal", 70, Input((2,)), (Layer("a", (1,), (synapses,), neurons, 0.5),), "spike_count")
    inputs = np.zeros((70, 1, 2), dtype=int)
    inputs[0] = 1
    wanted = [0.0] * 70
    wanted[delay], wanted[delay + 2] = 0.5, 2.0
    assert run(made, inputs).potentials["a"].ravel().tolist() == wanted
