"""Definitions compute what Programs and Networks mean, bit for bit; one neuron computed again is the neuron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.compare.definition import define_network, define_program
from neurodeploy.compare.neuron import column, differing_sources, extract, incoming, replay
from neurodeploy.compare.simulation import run_definition
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import INPUT, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

KINDS = ("dense", "conv", "residual", "recurrent", "lateral")
Array = NDArray[Any]


def equal(one: Recording, other: Recording) -> None:
    assert list(one.potentials) == list(other.potentials)
    assert list(one.spikes) == list(other.spikes)
    for name, values in one.potentials.items():
        np.testing.assert_array_equal(values, other.potentials[name])
    for name, fired in one.spikes.items():
        np.testing.assert_array_equal(fired, other.spikes[name])
    np.testing.assert_array_equal(one.readout, other.readout)


def integers(rng: np.random.Generator, low: int, high: int, *shape: int) -> Any:
    return frozen_ints(rng.integers(low, high, shape))


def extreme_program(seed: int) -> tuple[Program, Array]:
    """Every rule of the fixed-point neuron at once: memory in the current, per neuron, delays, exponents, overflow."""
    rng = np.random.default_rng(seed)

    def neurons(*shape: int) -> FixedPointNeurons:
        return FixedPointNeurons(
            integers(rng, 0, 4097, *shape),
            integers(rng, 0, 60000, *shape),
            integers(rng, -4096, 4096, *shape),
            int(rng.integers(0, 8)),
            integers(rng, 1500, 4097, *shape),
        )

    conv = ConvSynapses(
        "conv", INPUT, integers(rng, -128, 128, 4, 1, 3, 3), (1, 2), (1, 1), (1, 1), groups=2, pool=2, delay=2
    )
    first = Layer("first", (4, 4, 3), (conv,), neurons(4, 4, 3), 0.01)
    dense = DenseSynapses(
        "dense",
        "first",
        integers(rng, -128, 128, 6, 48),
        delays=integers(rng, 0, 4, 6, 48),
        weight_exponent=int(rng.choice([-3, 0, 7])),
    )
    back = DenseSynapses("back", "second", integers(rng, -128, 128, 6, 6), delay=1, weight_exponent=-1)
    direct = DenseSynapses("direct", INPUT, integers(rng, -128, 128, 6, 2 * 2 * 3), pool=4)
    second = Layer("second", (6,), (dense, back, direct), neurons(6), 0.02)
    program = Program("loihi2", 9, Input((2, 8, 12), bits=8), (first, second), "spike_count")
    return program, rng.integers(0, 256, (9, 3, 2, 8, 12))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal"])
def test_a_program_computes_the_references_bits(lively_case: Callable[..., Any], kind: str, chip: str) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        static = seed == 1
        _, program, inputs = lively_case(rng, kind, chip, static=static, bits=8 if seed == 2 else 1)
        equal(reference.run(program, inputs), run_definition(define_program(program), inputs))


@pytest.mark.parametrize("seed", range(6))
def test_overflow_memory_delays_and_exponents_are_the_references(seed: int) -> None:
    program, inputs = extreme_program(seed)
    expected = reference.run(program, inputs)
    assert all(0.05 < rate < 0.95 for rate in expected.firing_rates().values())
    equal(expected, run_definition(define_program(program), inputs))


def test_the_extreme_programs_really_wrap_and_saturate() -> None:
    wrapped = saturated = 0
    for seed in range(6):
        program, inputs = extreme_program(seed)
        expected, definition = reference.run(program, inputs), define_program(program)
        for neuron in range(6):
            history = replay(extract(definition, definition.layers[1], (neuron,), sources(inputs, expected, 0)))
            wrapped += int(history.wrapped.sum())
            saturated += int((history.integrated != history.potential).sum())
    assert wrapped > 10
    assert saturated > 10


def test_the_sums_of_a_convolution_wrap_as_in_the_reference() -> None:
    """127 × 255 over 2 channels × 9 taps × 16 pooled values is 9 326 880, which 24 bits hold as -7 450 336."""
    synapses = ConvSynapses("c", INPUT, frozen_ints(np.full((1, 2, 3, 3), 127)), pool=4)
    neurons = FixedPointNeurons(frozen_ints(4096), frozen_ints(1), frozen_ints(np.zeros((1, 1, 1), dtype=int)), 0)
    program = Program("loihi2", 2, Input((2, 12, 12), bits=8), (Layer("a", (1, 1, 1), (synapses,), neurons, 1.0),),
                      "spike_count")  # fmt: skip
    inputs = np.full((1, 2, 12, 12), 255)
    equal(reference.run(program, inputs), run_definition(define_program(program), inputs))
    definition = define_program(program)
    shown = {INPUT: np.broadcast_to(inputs[0], (2, 2, 12, 12))}
    history = replay(extract(definition, definition.layers[0], (0, 0, 0), shown))
    assert history.wrapped.tolist() == [True, True]
    # -7 450 336 << 6, plus 2^24 once, then cut off at the register of the voltage
    assert history.summed.tolist() == [64.0 * (9_326_880 - 2**24)] * 2
    assert history.current.tolist() == [64.0 * (9_326_880 - 2**24) + 2**24] * 2
    assert history.kept.tolist() == [-(2.0**23) + 1] * 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_network_fires_as_in_torch(
    random_network: Callable[..., Network], random_inputs: Callable[..., Array], torch_run: Any, kind: str, reset: str
) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        network = random_network(rng, kind, reset=reset, at_threshold=seed % 2 == 1, bits=8 if seed == 3 else 1)
        inputs = random_inputs(rng, network)
        spikes, readout = torch_run(network, inputs)
        got = run_definition(define_network(network), inputs)
        for name, fired in got.spikes.items():
            np.testing.assert_array_equal(fired, spikes[name])
        assert sum(fired.sum() for fired in spikes.values()) > 0
        np.testing.assert_allclose(got.readout, readout, rtol=1e-12, atol=1e-12)


def test_a_static_input_behind_a_delay_comes_late() -> None:
    weights = frozen_ints([[30, -5], [10, 20]])
    synapses = DenseSynapses("fc", INPUT, weights, delay=2, delays=frozen_ints([[0, 1], [2, 0]]))
    neurons = FixedPointNeurons(frozen_ints(512), frozen_ints(40), frozen_ints([0, 64]), 0)
    layers = (Layer("a", (2,), (synapses,), neurons, 1.0),)
    program = Program("loihi2", 9, Input((2,), bits=2), layers, "spike_count")
    inputs = np.array([[1, 2], [3, 1]])
    expected = reference.run(program, inputs)
    assert not expected.spikes["a"][:2].any()
    assert 0.05 < expected.firing_rates()["a"] < 0.95
    equal(expected, run_definition(define_program(program), inputs))


def test_sources_differ_only_where_and_when_a_neuron_sees_them() -> None:
    weights = frozen_ints([[30, 0, 7]])
    synapses = DenseSynapses("fc", "below", weights, delay=1, delays=frozen_ints([[0, 0, 3]]))
    neurons = FixedPointNeurons(frozen_ints(0), frozen_ints(40), frozen_ints([0]), 0)
    three = replace(neurons, bias_mantissa=frozen_ints([0, 0, 0]))
    below = Layer("below", (3,), (DenseSynapses("in", INPUT, frozen_ints(np.eye(3, dtype=int))),), three, 1.0)
    layer = Layer("a", (1,), (synapses,), neurons, 1.0)
    program = Program("loihi2", 6, Input((3,)), (below, layer), "spike_count")
    definition = define_program(program)
    silent = np.zeros((6, 3), np.uint8)
    neuron = extract(definition, definition.layers[1], (0,), {"below": silent, INPUT: silent})

    def seen(step: int, place: int, last: int) -> list[str]:
        other = silent.copy()
        other[step, place] = 1
        return differing_sources(neuron, {"below": silent}, {"below": other}, last)

    assert (seen(2, 0, 3), seen(3, 0, 3), seen(4, 0, 3)) == (["below"], [], [])  # one step of delay
    assert (seen(0, 2, 4), seen(0, 2, 3), seen(1, 2, 4)) == (["below"], [], [])  # four
    assert seen(0, 1, 5) == []  # a weight of 0


def test_forced_on_its_own_spikes_nothing_changes() -> None:
    program, inputs = extreme_program(0)
    own = reference.run(program, inputs)
    equal(own, run_definition(define_program(program), inputs, own.spikes))


def test_forced_layers_see_the_given_spikes_only() -> None:
    """Each layer by itself, on spikes of a coin, against the equation written again."""
    rng = np.random.default_rng(3)
    weights = integers(rng, -20, 30, 3, 3)
    neurons = FixedPointNeurons(frozen_ints(1024), frozen_ints(40), frozen_ints([0, 64, -64]), 0)
    layers = (
        Layer("a", (3,), (DenseSynapses("a", INPUT, weights),), neurons, 1.0),
        Layer("b", (3,), (DenseSynapses("b", "a", weights), DenseSynapses("r", "b", weights, delay=1)), neurons, 1.0),
    )
    program = Program("loihi2", 12, Input((3,)), layers, "spike_count")
    inputs, teacher = rng.integers(0, 2, (12, 2, 3)), {n: rng.integers(0, 2, (12, 2, 3)) for n in "ab"}
    got = run_definition(define_program(program), inputs, teacher)
    wanted, potential = [], np.zeros((2, 3), dtype=int)
    for t in range(12):
        before = teacher["b"][t - 1] if t else np.zeros((2, 3), dtype=int)
        driven = 64 * (teacher["a"][t] @ weights.T + before @ weights.T) + [0, 64, -64]
        potential = np.sign(potential) * (abs(potential) * 3072 // 4096) + driven
        wanted.append(potential > 40 * 64)
        potential = np.where(wanted[-1], 0, potential)
    np.testing.assert_array_equal(got.spikes["b"], np.array(wanted))
    assert 0.05 < np.mean(wanted) < 0.95


def sources(inputs: Array, recording: Recording, sample: int) -> dict[str, Array]:
    return {INPUT: inputs[:, sample], **{name: fired[:, sample] for name, fired in recording.spikes.items()}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal"])
def test_every_neuron_computed_again_is_the_neuron(lively_case: Callable[..., Any], kind: str, chip: str) -> None:
    _, program, inputs = lively_case(np.random.default_rng(5), kind, chip)
    every_neuron(program, inputs)


@pytest.mark.parametrize("seed", range(2))
def test_every_neuron_with_overflow_delays_and_exponents_is_the_neuron(seed: int) -> None:
    every_neuron(*extreme_program(seed))


def every_neuron(program: Program, inputs: Array) -> None:
    expected, definition = reference.run(program, inputs), define_program(program)
    for layer in definition.layers:
        for index in np.ndindex(layer.shape):
            history = replay(extract(definition, layer, index, sources(inputs, expected, 1)))
            np.testing.assert_array_equal(history.kept, column(expected.potentials[layer.name][:, 1], index))
            if layer.fires:
                np.testing.assert_array_equal(history.fired, column(expected.spikes[layer.name][:, 1], index))


def test_incoming_synapses_of_a_corner_leave_the_padding_out() -> None:
    weight = frozen_ints(np.arange(2 * 9).reshape(2, 1, 3, 3))
    synapses = ConvSynapses("c", INPUT, weight, stride=(2, 1), padding=(1, 1), dilation=(1, 1), groups=2, delay=3)
    places, weights, delays = incoming(synapses, (1, 0, 0), (2, 4, 5))
    # output (0, 0) of the second channel sees rows 0 and 1, columns 0 and 1 of the second channel (20 values each)
    assert places.ravel().tolist() == [20, 21, 25, 26]
    assert weights.tolist() == [13, 14, 16, 17]
    assert delays.tolist() == [3, 3, 3, 3]


def test_incoming_synapses_of_a_pooled_layer_name_whole_windows() -> None:
    synapses = DenseSynapses("d", INPUT, frozen_ints([[1, 2]]), pool=2, delay=1, delays=frozen_ints([[0, 4]]))
    places, weights, delays = incoming(synapses, (0,), (1, 2, 4))
    assert places.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert (weights.tolist(), delays.tolist()) == ([1, 2], [1, 5])
