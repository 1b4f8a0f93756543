"""Random networks for Rockpool that are alive: Programs, and networks of populations with several synapses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
    SumPool2d,
)
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import FloatNeurons, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.simulate.populations import PopulationRecording
from neurodeploy.simulate.populations import run as run_populations
from neurodeploy.simulate.recording import Recording

KINDS = ("dense", "convolution", "residual", "recurrent", "delays")
RESETS = ("zero", "subtract")
LIVELY = (0.05, 0.95)
_ATTEMPTS = 200


def random_program(rng: np.random.Generator, number: int) -> tuple[Program, NDArray[np.int64], Recording, str]:
    """A Program, inputs, what the reference makes of them, and what it is.

    Kinds, resets, and currents with memory take turns by `number`; every layer fires in 5 to 95 % of its neuron-steps.
    """
    kind, reset = KINDS[number % 5], RESETS[number // 5 % 2]
    currents, unequal = number // 10 % 2 == 1, number // 20 % 2 == 1
    for _ in range(_ATTEMPTS):
        program = quantize(_network(rng, kind, reset, currents), hw_models.chip("mixed-signal"))
        if unequal:
            program = _every_neuron_its_own(rng, program)
        if kind == "delays":
            program = _delayed(rng, program)
        inputs = rng.integers(0, 2**program.input.bits, (program.steps, 3, *program.input.shape))
        if program.input.bits == 1:
            inputs &= rng.random(inputs.shape) < 0.6
        expected = reference.run(program, inputs)
        if all(LIVELY[0] <= rate <= LIVELY[1] for rate in expected.firing_rates().values()):
            described = [kind, reset, "currents with memory" if currents else "no currents"]
            return program, inputs, expected, ", ".join([*described, *(["every neuron its own"] if unequal else [])])
    raise AssertionError(f"no lively network of kind {kind}, reset {reset}")


def random_populations(
    rng: np.random.Generator, number: int
) -> tuple[PopulationNetwork, NDArray[np.int64], PopulationRecording, str]:
    """A chain of populations with one or two synapses per neuron, half of them recurrent; inputs and spikes."""
    synapses, recurrent = 1 + number % 2, number // 2 % 2 == 1
    for _ in range(_ATTEMPTS):
        network = _populations(rng, synapses, recurrent)
        inputs = rng.poisson(0.5, (network.steps, 3, network.input.shape[0])).clip(0, 15)
        expected = run_populations(network, inputs)
        if all(LIVELY[0] <= (spikes > 0).mean() <= LIVELY[1] for spikes in expected.spikes.values()):
            return network, inputs, expected, f"{synapses} synapses{', recurrent' if recurrent else ''}"
    raise AssertionError("no lively network")


def _network(rng: np.random.Generator, kind: str, reset: Any, currents: bool) -> Network:
    at_threshold = bool(rng.random() < 0.5)

    def neuron() -> Node:
        decay = float(rng.choice([1.0, 0.5, rng.uniform(0.2, 0.99), rng.uniform(0.7, 0.99)]))
        threshold = float(rng.uniform(0.3, 1.5))
        if not currents:
            return LIF(decay, threshold, reset, at_threshold)
        return CubaLIF(decay, float(rng.uniform(0.1, 0.9)), threshold, reset, at_threshold)

    def linear(out: int, features: int) -> Linear:
        return Linear(rng.normal(0.03, 0.9 / np.sqrt(features), (out, features)), rng.normal(0, 0.1, out))

    def conv(out: int, inside: int, **geometry: Any) -> Conv2d:
        weight = rng.normal(0.03, 0.3, (out, inside, 3, 3))
        return Conv2d(weight, rng.normal(0, 0.1, out), **geometry)

    bits, steps = int(rng.choice([1, 4])), int(rng.integers(6, 14))
    flat = kind in ("dense", "recurrent", "delays")
    shape = (int(rng.integers(6, 14)),) if flat else (2, 6, 8)
    nodes: dict[str, Node] = {"image": Input(shape, 1.0 if bits == 1 else 2.0 / (2**bits - 1), bits), "a": neuron()}
    if flat:
        nodes |= {"fc": linear(9, shape[0]), "direct": linear(7, shape[0]), "on": linear(7, 9), "b": neuron()}
        # two synapses of "b": one from "a", one from the input beside it
        names, features = "image fc, fc a, a on, on b, image direct, direct b", 7
    else:
        nodes |= {"conv1": conv(4, 2, padding=(1, 1)), "pool": SumPool2d(2), "b": neuron(), "flat": Flatten()}
        nodes["conv2"] = conv(4, 2, padding=(1, 1), groups=2)
        names, features = "image conv1, conv1 a, a pool, pool conv2, conv2 b, b flat", 48
        if kind == "residual":
            names += ", pool b"
    edges = [Edge(*pair.split()) for pair in names.split(", ")]
    if kind == "recurrent":
        nodes |= {"loop": linear(9, 9), "back": linear(9, 7)}
        edges += [Edge("a", "loop"), Edge("loop", "a", 1), Edge("b", "back", 1), Edge("back", "a")]
    last = [("out", linear(5, features))]
    last += [("readout", MembraneReadout(0.9))] if rng.random() < 0.3 else [("c", neuron()), ("n", SpikeCountReadout())]
    before = "b" if flat else "flat"
    for name, node in last:
        nodes[name] = node
        edges.append(Edge(before, name))
        before = name
    return Network(nodes, tuple(edges), steps)


def _every_neuron_its_own(rng: np.random.Generator, program: Program) -> Program:
    layers = []
    for layer in program.layers:
        neurons = layer.neurons
        assert isinstance(neurons, FloatNeurons)
        changed = {"decay": frozen_floats(np.clip(neurons.decay * rng.uniform(0.7, 1.2, layer.shape), 0, 1))}
        if layer.fires:
            changed["threshold"] = frozen_floats(neurons.threshold * rng.uniform(0.7, 1.3, layer.shape))
        if neurons.current_decay.any():
            changed["current_decay"] = frozen_floats(neurons.current_decay * rng.uniform(0.5, 1.0, layer.shape))
        layers.append(replace(layer, neurons=replace(neurons, **changed)))
    return replace(program, layers=tuple(layers))


def _delayed(rng: np.random.Generator, program: Program) -> Program:
    """Delays of whole connections, and of single synapses."""
    layers = []
    for layer in program.layers:
        synapses = []
        for one in layer.synapses:
            assert isinstance(one, DenseSynapses)
            delays = frozen_ints(rng.integers(0, 4, one.weight.shape)) if rng.random() < 0.5 else None
            synapses.append(replace(one, delay=int(rng.integers(0, 3)), delays=delays))
        layers.append(replace(layer, synapses=tuple(synapses)))
    return replace(program, layers=tuple(layers))


def _populations(rng: np.random.Generator, synapses: int, recurrent: bool) -> PopulationNetwork:
    sizes = [int(rng.integers(5, 13)) for _ in range(int(rng.integers(1, 4)))]
    channels = int(rng.integers(4, 10))
    populations: list[Population] = []
    projections: list[Projection] = []
    before, width = "input", channels
    for index, size in enumerate(sizes):
        name, most = f"layer{index}", int(rng.choice([2, 31, 2**16]))
        values = (rng.uniform(0.5, 0.98, size), rng.uniform(0.2, 0.95, (synapses, size)))
        populations.append(Population(name, *values, rng.uniform(0.5, 1.5, size), rng.normal(0, 0.05, size), most))
        for synapse in range(synapses):
            gain = 0.5 / np.sqrt(width)
            projections.append(Projection(before, name, rng.normal(0.03, gain, (width, size)), synapse))
            if recurrent:
                weight = rng.normal(0, 0.3 / np.sqrt(size), (size, size))
                projections.append(Projection(name, name, weight, synapse, delay=1))
        before, width = name, size
    first = Input((channels,), 1.0, 4)
    return PopulationNetwork(first, tuple(populations), tuple(projections), "spike_count", int(rng.integers(10, 25)))
