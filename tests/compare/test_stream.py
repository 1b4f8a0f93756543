"""Counting over chunks: the same numbers whatever the chunk, memory that does not grow, nothing compared in part."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.compare import stream
from neurodeploy.compare.definition import define_network, define_program
from neurodeploy.compare.result import SideComparison
from neurodeploy.compare.sides import Side, network_side, program_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.errors import UsageError
from neurodeploy.ir.network import Network
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]
Case = Callable[..., tuple[Network, Program, Array]]


def reference_side(program: Program, name: str = "reference", run: Any = reference.run) -> Side:
    return program_side(program, name, "NumPy reference", run)


def sides_of(network: Network, program: Program) -> tuple[Side, Side]:
    return network_side(define_network(network)), reference_side(program)


@pytest.fixture
def case(lively_case: Case) -> tuple[Network, Program, Array]:
    """A residual network, quantised; 7 samples, more than one chunk of any size but 7."""
    return lively_case(np.random.default_rng(2), "residual", "loihi2", batch=7)


def same(one: Any, other: Any) -> None:
    """Equal, but for floating point sums in another order."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            same(value, other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for value, wanted in zip(one, other, strict=True):
            same(value, wanted)
    else:
        assert one == (pytest.approx(other, rel=1e-9, abs=1e-12) if isinstance(one, float) else other)


def plain(result: SideComparison) -> Any:
    return json.loads(json.dumps(result.as_dict()))


@pytest.mark.parametrize("kind", ["conv", "recurrent", "residual"])
@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal"])
def test_counts_and_errors_are_those_of_the_whole_arrays(lively_case: Case, kind: str, chip: str) -> None:
    network, program, inputs = lively_case(np.random.default_rng(1), kind, chip, batch=4)
    one, other = network_side(define_network(network)).run(inputs), reference.run(program, inputs)
    result = compare_sides(sides_of(network, program), (inputs, inputs))
    assert [layer.layer for layer in result.layers] == [layer.name for layer in program.layers]
    for layer, own in zip(result.layers, program.layers, strict=True):
        lsb = own.scale / 64 if chip == "loihi2" else own.scale
        units = own.scale / 64 if chip == "loihi2" else 1.0
        error = np.abs(other.potentials[own.name] * units - one.potentials[own.name])
        if own.fires:
            differs = one.spikes[own.name] != other.spikes[own.name]
            assert layer.compared == differs.size
            assert layer.differing_by_step == tuple(differs.reshape(len(differs), -1).sum(axis=1).tolist())
            assert layer.share == differs.mean()
            assert layer.first_rate == one.spikes[own.name].mean()
            assert layer.second_rate == other.spikes[own.name].mean()
            assert layer.either == int((one.spikes[own.name] | other.spikes[own.name]).sum())
            error = np.ma.array(error, mask=differs)
        assert layer.error is not None
        assert layer.error.lsb == lsb
        assert layer.error.mean_lsb == pytest.approx(error.mean() / lsb, rel=1e-12)
        assert layer.error.max_lsb == pytest.approx(error.max() / lsb, rel=1e-12)
        wanted = [step.mean() / lsb for step in error]
        np.testing.assert_allclose(np.array(layer.error.by_step, float), np.ma.filled(wanted, np.nan), rtol=1e-12)
        if own.fires:
            threshold = float(own.neurons.threshold) * (own.scale if chip == "loihi2" else 1.0)
            assert layer.error.mean_thresholds == pytest.approx(error.mean() / threshold, rel=1e-12)
            assert layer.error.max_thresholds == pytest.approx(error.max() / threshold, rel=1e-12)
        else:
            assert layer.error.mean_thresholds is layer.error.max_thresholds is None
    assert result.decisions_differing == int((one.decisions != other.decisions).sum())


def test_the_first_difference_is_the_first_in_time(case: tuple[Network, Program, Array]) -> None:
    network, program, inputs = case
    one, other = network_side(define_network(network)).run(inputs), reference.run(program, inputs)
    result = compare_sides(sides_of(network, program), (inputs, inputs))
    firsts = []
    for layer in result.layers:
        if layer.compared:
            places = np.argwhere(one.spikes[layer.layer] != other.spikes[layer.layer])
            assert (layer.first is None) == (len(places) == 0)
            if layer.first is not None:
                found = (layer.first.step - 1, layer.first.sample, *layer.first.neuron)
                assert found == tuple(places[0].tolist())  # by step, sample, neuron
                firsts.append((layer.first.step, layer.layer))
    assert len(firsts) > 1
    assert result.first_difference is not None
    assert result.first_difference.layer == min(firsts, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("forced", [False, True])
def test_chunks_change_nothing(lively_case: Case, static: bool, forced: bool) -> None:
    network, program, inputs = lively_case(np.random.default_rng(2), "residual", "loihi2", batch=7, static=static)
    labels = np.arange(7) % 3
    found = []
    neurons = sum(int(np.prod(layer.shape)) for layer in program.layers)
    per_sample = 2 * stream._BYTES * neurons * program.steps
    for held in (1, 3, 7, 100):
        result = compare_sides(
            sides_of(network, program), (inputs, inputs), labels, forced, explained=3, memory=held * per_sample
        )
        assert result.chunk == min(held, 7)
        found.append(plain(replace(result, chunk=0)))
    for other in found[1:]:
        same(other, found[0])
    assert found[0]["first"]["correct"] == int((network_decisions(network, inputs) == labels).sum())


def network_decisions(network: Network, inputs: Array) -> Array:
    return network_side(define_network(network)).run(inputs).decisions


def test_memory_does_not_grow_with_the_samples(lively_case: Case) -> None:
    network, program, inputs = lively_case(np.random.default_rng(0), "conv", "loihi2", batch=4)
    sides = sides_of(network, program)
    memory = 2**19

    def peak(samples: int) -> int:
        many = np.tile(inputs, (1, samples // 4, *[1] * (inputs.ndim - 2))).astype(np.uint8)
        tracemalloc.start()
        try:
            compare_sides(sides, (many, many), memory=memory)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(4)  # what is imported and cached once
    few, many = peak(80), peak(1600)
    assert many < 1.5 * few
    assert many < 8 * memory


def test_layers_fed_the_first_sides_spikes_err_by_themselves(case: tuple[Network, Program, Array]) -> None:
    """Layer by layer: a Program of the layer alone, on the network's spikes as its input, in the reference."""
    network, program, inputs = case
    one = network_side(define_network(network)).run(inputs)
    result = compare_sides(sides_of(network, program), (inputs, inputs), teacher_forced=True)
    assert result.teacher_forced
    checked = 0
    for layer, found in zip(program.layers, result.layers, strict=True):
        if len(layer.synapses) > 1 or layer.synapses[0].source == "input":
            continue
        (synapses,) = layer.synapses
        alone = replace(layer, synapses=(replace(synapses, source="input"),))
        shape = program.shapes[synapses.source]
        readout = "spike_count" if layer.fires else "membrane"
        single = Program("loihi2", program.steps, replace(program.input, shape=shape, bits=1), (alone,), readout)
        other = reference.run(single, one.spikes[synapses.source])
        if layer.fires:
            assert found.differing_spikes == int((one.spikes[layer.name] != other.spikes[layer.name]).sum())
        else:
            error = np.abs(other.potentials[layer.name] * layer.scale / 64 - one.potentials[layer.name])
            assert found.error is not None
            assert found.error.max_lsb == pytest.approx(error.max() / (layer.scale / 64), rel=1e-12)
        checked += 1
    assert checked
    inherited = [layer.explanation.kind for layer in result.layers if layer.explanation is not None]
    assert "inherited" not in inherited


def test_the_engine_equals_the_reference_and_voltages_count(case: tuple[Network, Program, Array]) -> None:
    _, program, inputs = case
    sides = reference_side(program), reference_side(program, "engine", engine.run)
    result = compare_sides(sides, (inputs, inputs))
    assert (result.by_value, result.first_difference, result.excess()) == (True, None, [])
    assert [layer.differing_voltages for layer in result.layers] == [0] * len(program.layers)


def bent(program: Program, name: str, place: tuple[int, ...]) -> Side:
    """The reference with one voltage of one layer a unit higher."""

    def run(given: Program, inputs: Array) -> Recording:
        own = reference.run(given, inputs)
        changed = own.potentials[name].copy()
        changed[place] += 1
        return Recording(own.spikes, {**own.potentials, name: changed}, own.readout)

    return program_side(program, "bent", "bent reference", run)


def test_one_voltage_off_by_one_unit_is_found(case: tuple[Network, Program, Array]) -> None:
    _, program, inputs = case
    name = program.layers[1].name
    place = (2, 5, *[1] * len(program.layers[1].shape))
    result = compare_sides((reference_side(program), bent(program, name, place)), (inputs, inputs))
    layer = result.first_difference
    assert layer is not None
    assert (layer.layer, layer.differing_voltages, layer.differing_spikes) == (name, 1, 0)
    assert layer.first is not None
    assert (layer.first.step, layer.first.sample, layer.first.quantity) == (3, 5, "voltage")
    assert layer.first.second == layer.first.first + 1
    assert layer.explanation is not None
    assert layer.explanation.kind == "departure"
    assert "bent does not compute what its Program says" in layer.explanation.sentence
    assert result.excess() == ["1 voltages differ"]
    assert result.excess(spikes=0.0) == []


def test_what_is_allowed_is_a_share_of_the_worst_layer(case: tuple[Network, Program, Array]) -> None:
    network, program, inputs = case
    result = compare_sides(sides_of(network, program), (inputs, inputs))
    worst = max(layer.differing_spikes / layer.compared for layer in result.layers if layer.compared)
    assert 0 < worst < 1
    assert result.worst_share == worst
    assert any("spikes differ" in text for text in result.excess(spikes=np.nextafter(worst, 0)))
    assert not any("spikes differ" in text for text in result.excess(spikes=worst))
    other = replace(result, decisions_differing=2, samples=8)
    assert not any("decisions" in text for text in other.excess(1.0, 0.25))
    assert other.excess(1.0, 0.2499) == ["2 of 8 decisions differ (allowed are 25 %)"]
    assert other.excess(1.0) == ["2 of 8 decisions differ (allowed are 0 %)"]


def test_sides_of_other_layers_steps_or_samples_are_refused(lively_case: Case, case: tuple[Any, ...]) -> None:
    _, program, inputs = case
    side = reference_side(program)
    other_network, *_ = lively_case(np.random.default_rng(0), "dense", "loihi2")
    with pytest.raises(UsageError, match="reference and network have different layers: a "):
        compare_sides((side, network_side(define_network(other_network))), (inputs, inputs))
    longer = replace(program, steps=program.steps + 1)
    with pytest.raises(UsageError, match=rf"reference runs {program.steps} steps"):
        compare_sides((side, reference_side(longer)), (inputs, inputs))
    with pytest.raises(UsageError, match="as many samples, at least one"):
        compare_sides((side, side), (inputs, inputs[:, :3]))
    with pytest.raises(UsageError, match="as many samples, at least one"):
        compare_sides((side, side), (inputs[:, :0], inputs[:, :0]))

    def short(given: Program, shown: Array) -> Recording:
        own = reference.run(given, shown)
        return Recording({name: fired[1:] for name, fired in own.spikes.items()}, own.potentials, own.readout)

    with pytest.raises(UsageError, match="short: spikes of layer a of shape"):
        compare_sides((side, program_side(program, "short", "short", short)), (inputs, inputs))

    def nothing(given: Program, shown: Array) -> Recording:
        return Recording({}, {}, reference.run(given, shown).readout)

    with pytest.raises(UsageError, match="no layer has spikes or potentials on both sides"):
        compare_sides((side, program_side(program, "empty", "empty", nothing)), (inputs, inputs))


def test_teacher_forcing_is_refused_where_layers_are_not_ours(case: tuple[Network, Program, Array]) -> None:
    _, program, inputs = case
    vendor = replace(reference_side(program, "lava"), forced=None)
    with pytest.raises(UsageError, match=r"lava is a vendor's simulator, .* put it first: lava reference"):
        compare_sides((reference_side(program), vendor), (inputs, inputs), teacher_forced=True)
    compare_sides((vendor, reference_side(program)), (inputs, inputs), teacher_forced=True)
    with pytest.raises(UsageError) as refused:
        compare_sides((vendor, vendor), (inputs, inputs), teacher_forced=True)
    assert "put it first" not in str(refused.value)


def test_voltages_are_held_to_equality_only_in_the_same_units(case: tuple[Network, Program, Array]) -> None:
    network, program, inputs = case
    finer = quantize(network, hw_models.chip("loihi2"), inputs)
    assert [layer.scale for layer in finer.layers] != [layer.scale for layer in program.layers]
    result = compare_sides((reference_side(program), reference_side(finer, "finer")), (inputs, inputs))
    assert (result.by_value, result.differing_voltages) == (False, 0)
    assert all(layer.differing_voltages is None for layer in result.layers)
    assert define_program(program).layers[0].lsb == program.layers[0].scale / 64
