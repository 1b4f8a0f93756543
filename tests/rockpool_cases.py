"""Networks for Rockpool that are alive, and their comparison with the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.compare import compare
from neurodeploy.export import rockpool
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
    SumPool2d,
)
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

CHIP = hw_models.chip("mixed-signal")
STEPS = 10


def convolutional(neuron: LIF, readout: MembraneReadout | None = None, bits: int = 1) -> Network:
    """Convolution, pooling, a strided grouped convolution, and a dense end."""
    rng = np.random.default_rng(5)
    first = Conv2d(rng.normal(0.1, 0.45, (6, 2, 3, 3)), rng.normal(0, 0.1, 6), padding=(1, 1))
    second = Conv2d(rng.normal(0.1, 0.35, (8, 3, 3, 3)), rng.normal(0, 0.1, 8), (2, 1), (1, 0), groups=2)
    nodes: list[tuple[str, Node]] = [("image", Input((2, 8, 8), 1.0 if bits == 1 else 1 / 255, bits))]
    nodes += [("conv1", first), ("a", neuron), ("pool", SumPool2d(2)), ("conv2", second), ("b", neuron)]
    nodes += [("flat", Flatten()), ("fc", Linear(rng.normal(0.05, 0.4, (5, 32)), rng.normal(0, 0.1, 5)))]
    nodes += [("out", readout)] if readout else [("c", neuron), ("out", SpikeCountReadout())]
    return sequential(nodes, STEPS)


def residual(neuron: LIF) -> Network:
    """A shortcut around a convolution, and a recurrent dense layer that is fed twice, once a step later."""
    rng = np.random.default_rng(6)
    nodes: dict[str, Node] = {"image": Input((2, 6, 6)), "a": neuron, "b": neuron, "c": neuron}
    nodes["conv1"] = Conv2d(rng.normal(0.1, 0.5, (4, 2, 3, 3)), rng.normal(0, 0.1, 4), padding=(1, 1))
    nodes["conv2"] = Conv2d(rng.normal(0.0, 0.3, (4, 4, 3, 3)), rng.normal(-0.2, 0.1, 4), padding=(1, 1))
    nodes |= {"flat": Flatten(), "fc": Linear(rng.normal(0.02, 0.12, (5, 144)), rng.normal(0, 0.1, 5))}
    nodes |= {"lateral": Linear(rng.normal(0, 0.4, (5, 5)), np.zeros(5)), "out": SpikeCountReadout()}
    nodes["late"] = Linear(rng.normal(0, 0.1, (5, 144)), np.zeros(5))
    names = "image conv1, conv1 a, a conv2, conv2 b, a b, b flat, flat fc, fc c, lateral c, late c, c out"
    edges = [Edge(source, target) for source, target in (pair.split() for pair in names.split(", "))]
    return Network(nodes, (*edges, Edge("c", "lateral", 1), Edge("flat", "late", 1)), STEPS)


def frames(shape: tuple[int, ...], samples: int = 5, seed: int = 1) -> NDArray[np.int64]:
    return (np.random.default_rng(seed).random((STEPS, samples, *shape)) < 0.3).astype(np.int64)


def one_layer(neurons: FloatNeurons, weight: list[list[int]], steps: int = STEPS) -> Program:
    synapses = DenseSynapses("fc", "input", frozen_ints(weight))
    layer = Layer("only", (len(weight),), (synapses,), neurons, 1.0)
    return Program(CHIP.name, steps, Input((len(weight[0]),)), (layer,), "spike_count")


def assert_equal(program: Program, inputs: NDArray[Any], lively: bool = True) -> Recording:
    """The reference's recording, after asserting that Rockpool's is the same and that there is something to compare."""
    expected = reference.run(program, inputs)
    rates = expected.firing_rates()
    assert not lively or all(0.05 < rate < 0.95 for rate in rates.values()), rates
    got = rockpool.run(program, inputs)
    result = compare(expected, got)
    assert (result.mismatched_spikes, result.mismatched_voltages) == (0, 0), result.first
    assert {got.potentials[name].dtype for name in got.potentials} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(got.readout, expected.readout)
    return expected
