"""Currents that decay, delays and weight exponents of fixed-point neurons, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate import engine, reference

Run = Callable[[Program, np.ndarray[Any, Any]], Any]
RUNS = pytest.mark.parametrize("run", [reference.run, engine.run], ids=["reference", "engine"])
TOP = 2**23 - 1


def one_neuron(synapses: Synapses, shape: tuple[int, ...], steps: int, **changes: int) -> Program:
    values = {"voltage_decay": 0, "threshold": 131071, "bias_mantissa": 0, "bias_exponent": 0} | changes
    neurons = FixedPointNeurons(**{k: v if k == "bias_exponent" else np.array(v) for k, v in values.items()})
    layer = Layer("a", shape, (synapses,), neurons, 1.0)
    return Program("loihi2", steps, Input((1,) * len(shape), bits=8), (layer,), "spike_count")


def impulse(run: Run, synapses: Synapses, steps: int, frames: dict[int, int], **neurons: Any) -> Any:
    """The recording of one neuron whose input is 0 but at the steps of `frames`."""
    inputs = np.zeros((steps, 1, 1), dtype=int)
    for step, value in frames.items():
        inputs[step] = value
    return run(one_neuron(synapses, (1,), steps, **neurons), inputs)


@RUNS
@pytest.mark.parametrize(
    ("current_decay", "weight", "currents"),
    [
        (4096, 3, [192, 0, 0, 0, 0, 0, 0, 0]),
        (2048, 1, [64, 32, 16, 8, 4, 2, 1, 0]),
        (2048, -1, [-64, -32, -16, -8, -4, -2, -1, 0]),  # toward 0
        (1, -1, [-64, -63, -62, -61, -60, -59, -58, -57]),
        (0, 2, [128] * 8),
        (4095, 127, [8128, 1, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_the_current_decays_toward_zero(run: Run, current_decay: int, weight: int, currents: list[int]) -> None:
    """A voltage without memory is the current of the step."""
    synapses = DenseSynapses("w", "input", frozen_ints([[weight]]))
    neurons = {"voltage_decay": 4096, "current_decay": current_decay}
    assert impulse(run, synapses, 8, {0: 1}, **neurons).potentials["a"].ravel().tolist() == currents


@RUNS
def test_a_spike_leaves_the_current_as_it_is(run: Run) -> None:
    synapses = DenseSynapses("w", "input", frozen_ints([[8]]))
    recording = impulse(run, synapses, 5, {0: 1}, current_decay=2048, threshold=5)
    assert recording.spikes["a"].ravel().tolist() == [1, 0, 1, 0, 0]  # 512, then 256, and 256 + 128 > 320
    assert recording.potentials["a"].ravel().tolist() == [0, 256, 0, 64, 96]


@RUNS
@pytest.mark.parametrize(
    ("weight", "currents"),
    [
        (131072, [2**23, 0, 2**23, 0]),  # 2^23 stays; twice of it is 2^24, which wraps to 0
        (-131072, [2**23, 0, 2**23, 0]),  # -2^23 comes back as 2^23, to which -2^23 is added
        (100000, [6400000, 12800000 - 2**24, 6400000 * 3 - 2**24, 6400000 * 4 - 2 * 2**24]),
        (262144 + 131072, [2**23, 2**24, 2**24 + 2**23, 2**25]),  # wraps once only, and so leaves the register
    ],
)
def test_the_current_wraps_once_with_what_it_remembers(run: Run, weight: int, currents: list[int]) -> None:
    """Seen through a bias that keeps the voltage from saturating: v = u + bias, without memory."""
    synapses = DenseSynapses("w", "input", frozen_ints([[weight]]))
    neurons = {"voltage_decay": 4096, "current_decay": 0, "bias_mantissa": -4095, "bias_exponent": 7}
    got = impulse(run, synapses, 4, dict.fromkeys(range(4), 1), **neurons)
    above = [current - 524160 > 131071 << 6 for current in currents]
    assert got.spikes["a"].ravel().tolist() == above
    wanted = [0 if fired else max(current - 524160, -TOP) for current, fired in zip(currents, above, strict=True)]
    assert got.potentials["a"].ravel().tolist() == wanted


@RUNS
@pytest.mark.parametrize("delay", [0, 1, 2, 62])
@pytest.mark.parametrize("own", [None, 0, 3, 62])
def test_a_delay_brings_what_was_so_many_steps_before(run: Run, delay: int, own: int | None) -> None:
    delays = None if own is None else frozen_ints([[own]])
    synapses = DenseSynapses("w", "input", frozen_ints([[5]]), delay=delay, delays=delays)
    late = delay + (own or 0)
    wanted = [0] * 130
    wanted[late], wanted[late + 2] = 320, 640
    got = impulse(run, synapses, 130, {0: 1, 2: 2}, voltage_decay=4096)
    assert got.potentials["a"].ravel().tolist() == wanted


@RUNS
def test_a_convolution_is_delayed_too(run: Run) -> None:
    program = one_neuron(ConvSynapses("w", "input", frozen_ints([[[[5]]]]), delay=3), (1, 1, 1), 5, voltage_decay=4096)
    inputs = np.array([1, 0, 2, 0, 0]).reshape(5, 1, 1, 1, 1)
    assert run(program, inputs).potentials["a"].ravel().tolist() == [0, 0, 0, 320, 0]


@RUNS
@pytest.mark.parametrize(
    ("exponent", "weight", "summed"),
    [(0, -3, -3), (7, -3, -384), (-1, 3, 1), (-1, -3, -2), (-8, 255, 0), (-8, 256, 1), (-8, -1, -1), (-8, -257, -2)],
)
def test_the_weight_exponent_shifts_the_sum_and_rounds_down(run: Run, exponent: int, weight: int, summed: int) -> None:
    synapses = DenseSynapses("w", "input", frozen_ints([[weight]]), weight_exponent=exponent)
    assert impulse(run, synapses, 1, {0: 1}).potentials["a"].ravel().tolist() == [64 * summed]


@RUNS
def test_sums_are_shifted_once_for_every_delay(run: Run) -> None:
    """Two weights of 1, halved: 1 together where they arrive from one step, 0 where from two."""
    neurons = FixedPointNeurons(np.array(4096), np.array(100), np.zeros(1, dtype=int), 0)
    for delays, wanted in (([[1, 1]], [0, 64, 64]), ([[0, 1]], [0, 0, 0])):
        synapses = DenseSynapses("w", "input", frozen_ints([[1, 1]]), delays=frozen_ints(delays), weight_exponent=-1)
        layer = Layer("a", (1,), (synapses,), neurons, 1.0)
        program = Program("loihi2", 3, Input((2,)), (layer,), "spike_count")
        assert run(program, np.ones((3, 1, 2), dtype=int)).potentials["a"].ravel().tolist() == wanted
