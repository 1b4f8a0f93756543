"""Where floats differ: rounding is named where running in double precision proves it, and excuses nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from compare.departures import Array, program_and_inputs, recorded
from torch import nn

from neurodeploy.compare.definition import define_network, define_program
from neurodeploy.compare.sides import Side, network_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.ir.network import sequential
from neurodeploy.ir.nodes import LIF, Input, Linear, SpikeCountReadout
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording
from neurodeploy.snn.neurons import LIFNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.spiking_network import sequential as modules


def tie(steps: int = 8) -> tuple[Any, Array]:
    """Thirds that add up to the threshold of 0.6, or to the number above it, by their order."""
    weights = np.array([[0.1, 0.2, 0.3], [0.7, 0.0, 0.0]])
    chain = [("image", Input((3,))), ("fc", Linear(weights, np.zeros(2))), ("a", LIF(1.0, 0.6))]
    network = sequential([*chain, ("count", SpikeCountReadout())], steps)
    inputs = np.ones((steps, 1, 3), dtype=int)
    inputs[1::2, 0] = 0
    return network, inputs


def flipped(side: Side, place: tuple[int, ...], name: str = "other") -> Side:
    """A double-precision side that decides otherwise in one place."""

    def run(inputs: Array) -> Recording:
        own = side.run(inputs)
        spikes = own.spikes["a"].copy()
        spikes[place] ^= 1
        return Recording({"a": spikes}, own.potentials, own.readout)

    return replace(side, name=name, run=run)


def test_a_tie_that_the_order_of_adding_decides_is_double_precision() -> None:
    network, inputs = tie()
    side = network_side(define_network(network))
    result = compare_sides((side, flipped(side, (0, 0, 0))), (inputs, inputs))
    explanation = result.layers[0].explanation
    assert explanation is not None
    assert (explanation.kind, explanation.causes) == ("precision", ("double precision",))


def test_a_neuron_far_from_its_threshold_is_not_excused_by_rounding() -> None:
    network, inputs = tie()
    side = network_side(define_network(network))
    result = compare_sides((side, flipped(side, (0, 0, 1))), (inputs, inputs))
    explanation = result.layers[0].explanation
    assert explanation is not None
    assert (explanation.kind, explanation.causes, explanation.consistent_with) == ("departure", (), ())
    assert "other does not compute what its Network says" in explanation.sentence


def module_at_a_tie() -> tuple[SpikingNetwork, Array]:
    """A layer whose threshold lies between a neuron's potential in single and in double precision."""
    torch.manual_seed(0)
    linear, neurons = nn.Linear(50, 40, bias=False), LIFNeurons(4, decay=0.9, threshold=0.5)
    chain = [("fc", linear), ("a", neurons), ("out", SpikeCountReadoutNeurons())]
    network = modules(Input((50,)), 4, chain).eval()
    inputs = np.random.default_rng(0).integers(0, 2, (4, 5, 50))
    values = torch.from_numpy(inputs)
    single = (values.float() @ linear.weight.detach().T).numpy()[0]
    double = (values.double() @ linear.weight.detach().double().T).numpy()[0]
    below = np.nextafter(single, np.float32(-1))
    found = np.argwhere((double <= below.astype(np.float64)) & (single > 0.2) & (single < 0.6))
    threshold = float(below[tuple(found[0])])
    start = np.float32(np.arctanh(threshold))
    for candidate in start + np.arange(-20, 21, dtype=np.float32) * np.spacing(start):
        if float(torch.tanh(torch.tensor(candidate))) == threshold:
            neurons.threshold_parameter.data = torch.tensor(candidate)
            return network, inputs
    raise AssertionError("no parameter gives this threshold")


def test_single_precision_of_a_module_is_proved_by_running_it_in_double() -> None:
    from neurodeploy.compare.module import in_double, run_module
    from neurodeploy.snn.trace import trace

    module, inputs = module_at_a_tie()
    definition = define_network(trace(module))
    side = Side(
        "float",
        "PyTorch network",
        definition,
        lambda given: run_module(module, given),
        lambda given, teacher: run_module(module, given, teacher),
        lambda given, teacher: run_module(in_double(module), given, teacher),
        precision="single",
    )
    result = compare_sides((side, network_side(definition)), (inputs, inputs))
    layer = result.layers[0]
    assert layer.first is not None
    assert (layer.first.step, layer.first.first, layer.first.second) == (1, 1.0, 0.0)
    assert layer.explanation is not None
    assert (layer.explanation.kind, layer.explanation.causes) == ("precision", ("single precision",))
    lying = replace(side, exact=side.forced)  # one that does the same in double precision is not excused
    result = compare_sides((lying, network_side(definition)), (inputs, inputs))
    assert result.layers[0].explanation is not None
    assert result.layers[0].explanation.kind == "departure"


def test_definitions_of_programs_know_their_precision() -> None:
    program, _ = program_and_inputs()
    assert define_program(program).stored
    assert recorded(program, reference.run(*program_and_inputs())).forced is None
