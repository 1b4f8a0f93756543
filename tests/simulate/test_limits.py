"""Integers so large that simulators could differ: equal at the limits of a Program, refused one past them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.network import sequential
from neurodeploy.ir.nodes import Input, Linear, MembraneReadout
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.quantize import quantize
from neurodeploy.simulate import engine, reference, torch_engine

STEPS = 5
UNIT = 64


def program(
    synapses: Synapses,
    current_decay: int = 4096,
    threshold: int = 1000,
    bias: int = 0,
    inputs: tuple[int, ...] = (1,),
    exponent: int = 0,
) -> Program:
    """One neuron, or a few."""
    shape = synapses.output_shape(inputs)
    neurons = FixedPointNeurons(
        frozen_ints(700),
        frozen_ints(threshold),
        frozen_ints(np.full(shape, bias)),
        exponent,
        frozen_ints(current_decay),
    )
    return Program("loihi2", STEPS, Input(inputs), (Layer("a", shape, (synapses,), neurons, 1.0),), "spike_count")


def dense(*weights: int, exponent: int = 0) -> DenseSynapses:
    return DenseSynapses("fc", "input", frozen_ints([weights]), weight_exponent=exponent)


def conv(weight: int) -> ConvSynapses:
    return ConvSynapses("conv", "input", frozen_ints([[[[weight]]]]))


def by_hand(weight: int, current_decay: int, given: list[int]) -> list[int]:
    """Potentials of a neuron that never fires, with Python's own integers (lava-nc 0.10.0, lava/proc/lif/models.py)."""
    u = v = 0
    found = []
    for spike in given:
        product = u * (4096 - current_decay)
        u = (abs(product) >> 12) * (1 if product >= 0 else -1) + weight * spike * UNIT
        u = u - 2**24 if u > 2**23 else u + 2**24 if u <= -(2**23) else u
        product = v * (4096 - 700)
        v = (abs(product) >> 12) * (1 if product >= 0 else -1) + u
        v = max(min(v, 2**23 - 1), -(2**23) + 1)
        found.append(v)
    return found


LARGEST = 2**35 - 1  # weight units without memory
KEPT = 2**35 // STEPS  # and with it


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("weight", "current_decay"), [(LARGEST, 4096), (KEPT, 0), (KEPT, 1), (KEPT, 4095), (KEPT - 12345, 1234)]
)
def test_simulators_are_equal_at_the_largest_current(weight: int, current_decay: int, sign: int) -> None:
    given = [1, 1, 0, 1, 0]
    made = program(dense(sign * weight), current_decay, threshold=2**17)
    inputs = np.array(given).reshape(STEPS, 1, 1)
    expected = by_hand(sign * weight, current_decay, given)
    assert all(expected)
    for simulator in (reference, engine, torch_engine):
        found = simulator.run(made, inputs)
        assert found.potentials["a"].ravel().tolist() == expected, simulator.__name__


@pytest.mark.parametrize(
    ("synapses", "options", "match"),
    [
        (dense(LARGEST + 1), {}, r"layer a: its current may reach 2.2e\+12 voltage units; allowed .* below 2\^41"),
        (dense(KEPT + 1), {"current_decay": 4095}, r"layer a: its current may reach"),
        (dense(2**46), {"current_decay": 1}, r"layer a: its current may reach"),
        (dense(2**34, 2**34), {"inputs": (2,)}, r"layer a: its current may reach"),
        (dense(2**28, exponent=7), {}, r"layer a: its current may reach"),
        (dense(-(2**63)), {}, r"layer a: sums of synapses fc may reach 9.22e\+18, .* below 2\^53"),
        (conv(2**53), {"inputs": (1, 2, 2)}, r"layer a: sums of synapses conv may reach 9.01e\+15, .* below 2\^53"),
        (dense(1), {"threshold": 2**34}, r"layer a: threshold of 17179869184; allowed are less than 2\^34"),
        (dense(1), {"bias": -(2**34)}, r"layer a: bias of 17179869184; allowed are less than 2\^34"),
    ],
)
def test_one_past_the_limit_is_refused(synapses: Synapses, options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        program(synapses, **options)


def test_what_the_register_wraps_or_an_exponent_makes_small_is_allowed() -> None:
    """Lava's convolutions wrap to 24 bits before a current is made of their sums; a shift to the right makes small."""
    wide, shifted = program(conv(2**53 - 1), inputs=(1, 1, 1)), program(dense(2**42, exponent=-8))
    for made, shape in ((wide, (1, 1, 1)), (shifted, (1,))):
        inputs = np.ones((STEPS, 1, *shape), dtype=int)
        assert np.array_equal(engine.run(made, inputs).potentials["a"], reference.run(made, inputs).potentials["a"])
    largest = program(dense(1), threshold=2**34 - 1, bias=2**34 - 1, exponent=7)
    inputs = np.ones((STEPS, 1, 1), dtype=int)
    assert engine.run(largest, inputs).potentials["a"].max() == 2**23 - 1
    assert np.array_equal(engine.run(largest, inputs).potentials["a"], reference.run(largest, inputs).potentials["a"])


def sum_of(weights: list[int], highest: int, kind: str = "dense") -> Program:
    """A floating-point neuron that adds up its inputs and keeps what it has."""
    shape = (len(weights),) if kind == "dense" else (len(weights), 1, 1)
    taps = frozen_ints(np.reshape(weights, (1, *shape)))
    synapses = (DenseSynapses if kind == "dense" else ConvSynapses)("fc", "input", taps)
    one = synapses.output_shape(shape)
    neurons = FloatNeurons(np.array(1.0), np.array(np.inf), np.zeros(one))
    bits = highest.bit_length()
    return Program("ideal", 1, Input(shape, 1.0, bits), (Layer("a", one, (synapses,), neurons, 1.0),), "spike_count")


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize(("weights", "highest"), [([2**53 - 4, 3], 1), ([-(2**53) + 4, -3], 1), ([2**45, 1], 255)])
def test_sums_of_floating_point_neurons_are_exact_below_the_limit(weights: list[int], highest: int, kind: str) -> None:
    made = sum_of(weights, highest, kind)
    inputs = np.full((1, *made.input.shape), highest)
    for simulator in (reference, engine, torch_engine):
        assert int(simulator.run(made, inputs).potentials["a"].item()) == sum(weights) * highest, simulator.__name__


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize(
    ("weights", "highest"), [([2**53 - 3, 3], 1), ([2**53, 0], 1), ([-(2**53), 1], 1), ([2**45 * 257 // 255], 255)]
)
def test_sums_of_floating_point_neurons_past_it_are_refused(weights: list[int], highest: int, kind: str) -> None:
    with pytest.raises(UsageError, match=r"layer a: sums of synapses fc may reach 9.*e\+15, .* are sums below 2\^53"):
        sum_of(weights, highest, kind)


def test_a_network_with_many_large_inputs_is_quantised_to_sums_below_it() -> None:
    """40,000 pixels of 8 bits with weights of 31 bits would sum to 1.1e16."""
    nodes = [("in", Input((40000,), 1 / 255, 8)), ("fc", Linear(np.ones((1, 40000)), np.zeros(1)))]
    network = sequential([*nodes, ("out", MembraneReadout())], 1)
    made = quantize(network, chip("ideal"))
    inputs = np.full((1, 40000), 255)
    for simulator in (reference, engine, torch_engine):
        assert simulator.run(made, inputs).readout.item() == pytest.approx(40000, rel=1e-9)
