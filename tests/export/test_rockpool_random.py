"""Random networks in Rockpool: every Program to the bit, and the plain form of networks with several synapses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rockpool_marks import SOURCES_MAY_WARN, needs_rockpool
from rockpool_networks import LIVELY, random_populations, random_program

from neurodeploy.compare import compare
from neurodeploy.errors import DesignRuleError, FileFormatError
from neurodeploy.export import rockpool, rockpool_json
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.populations import PopulationNetwork, Projection
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import reference

pytestmark = [needs_rockpool, *SOURCES_MAY_WARN]


@pytest.mark.parametrize("number", range(40))
def test_programs_are_exact(number: int) -> None:
    program, inputs, expected, kind = random_program(np.random.default_rng(100 + number), number)
    rates = expected.firing_rates()
    assert all(LIVELY[0] <= rate <= LIVELY[1] for rate in rates.values())
    assert any(isinstance(one.neurons, FloatNeurons) and one.neurons.current_decay.any() for one in program.layers) == (
        "currents with memory" in kind
    )
    got = rockpool.run(program, inputs)
    found = compare(expected, got)
    assert (found.mismatched_spikes, found.mismatched_voltages) == (0, 0), f"{kind}: {found.first}"
    np.testing.assert_array_equal(got.readout, expected.readout)


@pytest.mark.parametrize("number", range(8))
def test_the_plain_form_fires_alike(number: int) -> None:
    from neurodeploy.export import rockpool_native

    network, inputs, expected, kind = random_populations(np.random.default_rng(200 + number), number)
    got = rockpool_native.run(network, inputs)
    for name, spikes in expected.spikes.items():
        assert LIVELY[0] <= (spikes > 0).mean() <= LIVELY[1]
        np.testing.assert_array_equal(got[name], spikes, err_msg=kind)
    again = rockpool_native.run(network, inputs[:, ::-1])  # state across calls, and the first sample's for all
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(again[name], spikes[:, ::-1])


@pytest.mark.parametrize("number", [1, 3])
def test_rockpools_own_json_comes_back(number: int, tmp_path: Path) -> None:
    from neurodeploy.export import rockpool_native

    network, *_ = random_populations(np.random.default_rng(300 + number), number)
    rockpool_native.save(network, tmp_path / "modules.json")
    assert '"neurons_0"' in (tmp_path / "modules.json").read_text(encoding="utf-8")
    graph = rockpool_native.modules(network).as_graph()  # where Rockpool's mappers start
    assert (len(graph.input_nodes), len(graph.output_nodes)) == (network.input.shape[0], network.output.size)


def test_the_plain_form_refuses_what_it_is_not() -> None:
    from neurodeploy.export import rockpool_native

    network, *_ = random_populations(np.random.default_rng(5), 0)
    first = network.populations[0]
    zero = replace(first, reset="zero", current_decay=np.zeros_like(first.current_decay), decay=np.zeros(first.size))
    late = Projection("input", first.name, np.ones((network.input.shape[0], first.size)), delay=2)
    wrong = PopulationNetwork(
        network.input,
        (zero, *network.populations[1:]),
        (*network.projections, late),
        network.readout,
        network.steps,
    )
    with pytest.raises(DesignRuleError) as refused:
        rockpool_native.run(wrong, np.zeros((network.steps, 1, network.input.shape[0]), dtype=np.int64))
    text = str(refused.value)
    assert "does not fit Rockpool's LIFTorch: 4 violated" in text
    for part in ("reset 'zero'", "a current without memory", "no time constant", "input with a delay of 2"):
        assert part in text


def test_a_current_against_its_equation() -> None:
    """One neuron by hand: i = c i + x, u = d u + i + b, reset by subtraction."""
    neurons = FloatNeurons(np.array(0.7), np.array([1.1]), np.array([0.05]), "subtract", False, np.array(0.6))
    synapses = DenseSynapses("fc", "input", frozen_ints([[3, -2]]))
    program = Program("ideal", 12, Input((2,)), (Layer("only", (1,), (synapses,), neurons, 0.25),), "spike_count")
    inputs = np.random.default_rng(4).integers(0, 2, (12, 6, 2))
    got = rockpool.run(program, inputs)
    i, u, spikes = np.zeros(6), np.zeros(6), []
    for step in inputs:
        i = 0.6 * i + 0.25 * (3 * step[:, 0] - 2 * step[:, 1])
        u = 0.7 * u + (i + 0.05)
        fired = u > 1.1
        u = u - 1.1 * fired
        spikes.append(fired)
    assert 0.05 < np.mean(spikes) < 0.95
    np.testing.assert_array_equal(got.spikes["only"][..., 0], np.array(spikes))
    np.testing.assert_array_equal(got.potentials["only"][-1, :, 0], u)


@pytest.mark.parametrize("number", [4, 14, 24, 17])
def test_the_file_comes_back_as_the_program(number: int, tmp_path: Path) -> None:
    program, inputs, expected, _ = random_program(np.random.default_rng(number), number)
    rockpool.write(program, tmp_path)
    text = (tmp_path / rockpool_json.FILE).read_text(encoding="utf-8")
    again = rockpool_json.read(text, rockpool_json.weights_of(program))
    assert program_hash(again) == program_hash(rockpool_json.spread(program))
    assert compare(expected, reference.run(again, inputs)).first is None


def test_damaged_files_are_refused() -> None:
    program, *_ = random_program(np.random.default_rng(1), 4)
    text, weights = rockpool_json.described(program), rockpool_json.weights_of(program)
    for damaged in (
        text[:-20],
        text.replace('"schema": 2', '"schema": 1'),
        text.replace('"decay"', '"dekay"'),
        text.replace('"fires": true', '"fires": 1'),
        text.replace('"shape": [', '"shape": [-1,'),
        "[]",
        "[" * 100_000,
    ):
        with pytest.raises(FileFormatError, match=r"^here: .*export again$"):
            rockpool_json.read(damaged, weights, "here")
    fewer = {name: values[:-1] for name, values in weights.items()}
    with pytest.raises(FileFormatError, match="damaged, or not of this program"):
        rockpool_json.read(text, fewer)
