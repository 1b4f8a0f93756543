"""The reference's integer sums against torch in float64, and what inputs it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.recording import Recording

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    seed=st.integers(0, 2**32 - 1),
    pool=st.integers(1, 2),
    windows=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    dilation=pairs,
    groups=st.sampled_from([1, 2, 4]),
)
def test_current_is_torchs_convolution(
    seed: int,
    pool: int,
    windows: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    assume(all(w + 2 * p >= d * (k - 1) + 1 for w, p, d, k in zip(windows, padding, dilation, kernel, strict=True)))
    rng = np.random.default_rng(seed)
    weight = frozen_ints(rng.integers(-127, 128, (8, 4 // groups, *kernel)))
    synapses = ConvSynapses("conv", "input", weight, stride, padding, dilation, groups, pool)
    source = rng.integers(0, 256, (2, 4, windows[0] * pool, windows[1] * pool))
    pooled = torch.nn.functional.avg_pool2d(torch.tensor(source, dtype=torch.float64), pool, divisor_override=1)
    expected = torch.nn.functional.conv2d(
        pooled, torch.tensor(weight, dtype=torch.float64), None, stride, padding, dilation, groups
    )
    got = reference.current(synapses, source)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, expected.numpy())


def test_dense_current_by_hand() -> None:
    synapses = DenseSynapses("fc", "input", frozen_ints([[1, 2], [-3, 4]]), pool=2)
    source = np.array([[[[1, 0], [1, 1]], [[0, 0], [0, 1]]]])  # windows hold 3 and 1
    assert reference.current(synapses, source).tolist() == [[5, -5]]


def small(bits: int = 2, steps: int = 3) -> Program:
    weight = frozen_ints(np.ones((2, 12), dtype=int))
    neurons = FixedPointNeurons(np.array(0), np.array(9), np.zeros(2, dtype=int), 0)
    layer = Layer("a", (2,), (DenseSynapses("fc", "input", weight),), neurons, 1.0)
    return Program("loihi2", steps, Input((3, 2, 2), bits=bits), (layer,), "spike_count")


Run = Callable[[Program, np.ndarray[Any, Any]], Any]
RUNS = [reference.run, engine.run, lambda program, inputs: engine.run_chips([program], inputs)]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (np.zeros((3, 5, 12), int), "is expected"),
        (np.zeros((3, 2, 2), int), "is expected"),
        (np.zeros((1, 3, 5, 3, 2, 2), int), "is expected"),
        (np.zeros((5, 3, 2, 3), int), "is expected"),
        (np.zeros((5, 3, 2, 2)), "input of type float64: integers are expected"),
        (np.zeros((4, 5, 3, 2, 2), int), "input has 4 steps, the program 3"),
        (np.full((5, 3, 2, 2), 4), "input values 4 to 4: allowed are 0 to 3"),
        (np.full((5, 3, 2, 2), -1), "input values -1 to -1: allowed are 0 to 3"),
        (np.zeros((0, 3, 2, 2), int), "at least one sample is needed"),
        (np.zeros((3, 0, 3, 2, 2), int), "at least one sample is needed"),
    ],
)
def test_every_simulator_refuses_what_does_not_suit_the_program(
    run: Run, inputs: np.ndarray[Any, Any], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        run(small(), inputs)


@pytest.mark.parametrize("run", [reference.run, engine.run])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
def test_any_integer_type_gives_the_same_run(run: Run, dtype: type) -> None:
    inputs = np.random.default_rng(0).integers(0, 2, (5, 3, 2, 2))
    got, expected = run(small(), inputs.astype(dtype)), reference.run(small(), inputs)
    np.testing.assert_array_equal(got.potentials["a"], expected.potentials["a"])
    assert got.spikes["a"].dtype == np.uint8
    assert got.potentials["a"].dtype == got.readout.dtype == np.int64


@pytest.mark.parametrize("run", [reference.run, engine.run])
def test_a_static_input_is_the_same_frame_at_every_step(run: Run) -> None:
    frame = np.random.default_rng(1).integers(0, 4, (5, 3, 2, 2))
    static, repeated = run(small(), frame), run(small(), np.stack([frame] * 3))
    np.testing.assert_array_equal(static.potentials["a"], repeated.potentials["a"])
    assert static.potentials["a"].shape == (3, 5, 2)


@pytest.mark.parametrize("run", [reference.run, engine.run])
def test_a_delayed_connection_brings_the_step_before(run: Run) -> None:
    """Input at step 1 only; b and c see a's spike at step 1 and 2, and c's own connection to itself at 3."""
    neurons = FixedPointNeurons(np.array(4096), np.array(0), np.zeros(1, dtype=int), 0)
    one = frozen_ints([[1]])
    layers = (
        Layer("a", (1,), (DenseSynapses("fc", "input", one),), neurons, 1.0),
        Layer("b", (1,), (DenseSynapses("b", "a", one),), neurons, 1.0),
        Layer("c", (1,), (DenseSynapses("c", "a", one, delay=1), DenseSynapses("c", "d", one, delay=1)), neurons, 1.0),
        Layer("d", (1,), (DenseSynapses("d", "c", one),), neurons, 1.0),
    )
    program = Program("loihi2", 4, Input((1,)), layers, "spike_count")
    recording = run(program, np.array([1, 0, 0, 0]).reshape(4, 1, 1))
    got = {name: spikes[:, 0, 0].tolist() for name, spikes in recording.spikes.items()}
    assert got == {"a": [1, 0, 0, 0], "b": [1, 0, 0, 0], "c": [0, 1, 1, 1], "d": [0, 1, 1, 1]}
    assert recording.readout.tolist() == [[3]]


@pytest.mark.parametrize("run", [reference.run, engine.run])
@pytest.mark.parametrize("static", [False, True])
def test_a_delayed_connection_from_the_input_brings_nothing_at_first(run: Run, static: bool) -> None:
    """Weight 1 now and 2 one step late, no memory: the sums are x[t] + 2 x[t-1] with x[0] = 0."""
    neurons = FixedPointNeurons(np.array(4096), np.array(100), np.zeros(1, dtype=int), 0)
    now, late = (DenseSynapses("fc", "input", frozen_ints([[weight]]), delay=weight - 1) for weight in (1, 2))
    program = Program("loihi2", 3, Input((1,), bits=8), (Layer("a", (1,), (now, late), neurons, 1.0),), "spike_count")
    inputs = np.array([[5]]) if static else np.array([5, 0, 7]).reshape(3, 1, 1)
    sums = [5, 15, 15] if static else [5, 10, 7]
    assert run(program, inputs).potentials["a"].ravel().tolist() == [64 * value for value in sums]


def test_decisions_are_the_lowest_of_the_largest() -> None:
    recording = Recording({}, {}, np.array([[1, 3, 3], [0, 0, 0], [-2, -1, -3]]))
    assert recording.decisions.tolist() == [1, 0, 1]


def test_firing_rates_are_fractions_of_neuron_steps() -> None:
    recording = Recording({"a": np.array([[[1, 0]], [[0, 0]]], dtype=np.uint8)}, {}, np.zeros((1, 2)))
    assert recording.firing_rates() == {"a": 0.25}


def test_a_run_leaves_program_and_input_as_they_were() -> None:
    program, inputs = small(), np.ones((5, 3, 2, 2), dtype=np.int64)
    before = inputs.copy()
    first = reference.run(program, inputs)
    second = reference.run(replace(program), inputs)
    np.testing.assert_array_equal(inputs, before)
    np.testing.assert_array_equal(first.readout, second.readout)
