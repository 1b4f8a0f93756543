"""A readout that only adds up is computed at once where that gives the same bits, else step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.spiking_rows import INTEGRATES, LayerRow
from neurodeploy.simulate.stages import make_stages

READS = LayerRow._fields.index("reads")
HIDDEN, CLASSES = 40, 3


def network(steps: int, bias: Any = 0.0, decay: float = 1.0, delay: int = 0, weight: int = 100) -> Program:
    """Two hidden layers side by side, both read out, one of them `delay` steps later."""
    rng = np.random.default_rng(0)

    def weights(rows: int, columns: int, largest: int) -> Any:
        return frozen_ints(rng.integers(-largest, largest + 1, (rows, columns)))

    def layer(name: str) -> Layer:
        neurons = FloatNeurons(frozen_floats(0.5), frozen_floats(60.0), frozen_floats(np.zeros(HIDDEN)))
        return Layer(name, (HIDDEN,), (DenseSynapses(f"to {name}", "input", weights(HIDDEN, 20, 30)),), neurons, 1.0)

    reads = (
        DenseSynapses("near", "a", weights(CLASSES, HIDDEN, weight)),
        DenseSynapses("far", "b", weights(CLASSES, HIDDEN, weight), delay=delay),
    )
    last = FloatNeurons(frozen_floats(decay), frozen_floats(1.0), frozen_floats(np.broadcast_to(bias, (CLASSES,))))
    readout = Layer("readout", (CLASSES,), reads, last, 2.0**-6, fires=False)
    return Program("mixed-signal", steps, Input((20,)), (layer("a"), layer("b"), readout), "membrane")


def spikes(steps: int) -> Any:
    return (np.random.default_rng(1).random((steps, 6, 20)) < 0.4).astype(np.uint8)


def at_once(program: Program, inputs: Any) -> bool:
    return bool(make_stages([program], [None], inputs, False)[-1].plan.tables.layers[-1, READS] == INTEGRATES)


def assert_the_reference(program: Program, inputs: Any) -> None:
    expected = reference.run(program, inputs)
    assert all(0.05 < rate < 0.95 for rate in expected.firing_rates().values())
    counts = engine.run_chips([program], inputs)
    np.testing.assert_array_equal(counts.readout[0], expected.readout)
    assert counts.readout.any()
    for name, fired in expected.spikes.items():
        np.testing.assert_array_equal(counts.spike_counts[name][0], fired.sum((0, 1), dtype=int))


@pytest.mark.parametrize("steps", [1, 2, 20, 255])
@pytest.mark.parametrize("delay", [0, 1, 3, 62])
def test_it_is_the_reference(steps: int, delay: int) -> None:
    program, inputs = network(steps, np.float32(0.1), delay=delay), spikes(steps)
    assert at_once(program, inputs)
    if steps > 1:  # at the first step, few fire
        assert_the_reference(program, inputs)
    else:
        np.testing.assert_array_equal(
            engine.run_chips([program], inputs).readout[0], reference.run(program, inputs).readout
        )


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (network(256), "more steps than are counted in a byte"),
        (network(20, 0.1), "0.1 in double precision has 53 bits, so that sums round"),
        (network(20, decay=0.9), "it forgets"),
        (network(200, weight=5000), "200 * 201 / 2 * 80 * 2500, about, is more than 32 bits hold"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_it_could_differ_it_goes_step_by_step(program: Program, why: str) -> None:
    inputs = spikes(program.steps)
    assert not at_once(program, inputs), why
    assert_the_reference(program, inputs)


@pytest.mark.parametrize(("weight", "allowed"), [(17895697, True), (17895698, False)])
def test_the_limit_of_the_sums(weight: int, allowed: bool) -> None:
    """A weight of one neuron that spikes at each of 15 steps: 15 * 16 / 2 * weight has to stay below 2^31."""
    hidden = FloatNeurons(frozen_floats(0.5), frozen_floats(0.5), frozen_floats(np.zeros(1)))
    first = Layer("a", (1,), (DenseSynapses("in", "input", frozen_ints([[1]])),), hidden, 1.0)
    last = FloatNeurons(frozen_floats(1.0), frozen_floats(1.0), frozen_floats(np.zeros(1)))
    read = Layer("readout", (1,), (DenseSynapses("out", "a", frozen_ints([[weight]])),), last, 1.0, fires=False)
    program, inputs = Program("ideal", 15, Input((1,)), (first, read), "membrane"), np.ones((15, 1, 1), dtype=np.uint8)
    assert at_once(program, inputs) == allowed == (120 * weight < 2**31)
    assert engine.run_chips([program], inputs).readout[0].item() == 120 * weight


def test_loihi_s_readout_is_the_reference() -> None:
    float_program, inputs = network(20, delay=2), spikes(20)

    def fixed(layer: Layer) -> Layer:
        neurons = FixedPointNeurons(
            frozen_ints(2048 if layer.fires else 0), frozen_ints(60), frozen_ints(np.full(layer.shape, 3)), 6
        )
        return replace(layer, neurons=neurons)

    program = replace(float_program, chip="loihi2", layers=tuple(fixed(layer) for layer in float_program.layers))
    assert at_once(program, inputs)
    assert_the_reference(program, inputs)
