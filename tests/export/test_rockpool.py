"""Rockpool against the reference, by value."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.compare import compare
from neurodeploy.errors import DesignRuleError, MissingBackendError, UsageError
from neurodeploy.export import rockpool, rockpool_json
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
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
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

needs_rockpool = pytest.mark.usefixtures("rockpool_is_installed")  # a comparison that is left out proves nothing


@pytest.fixture(scope="session")
def rockpool_is_installed() -> None:
    if rockpool.backend().version is None:
        pytest.fail(rockpool.backend().detail)


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*invalid escape sequence:DeprecationWarning"),  # Rockpool's sources, when
    pytest.mark.filterwarnings("ignore:.*invalid escape sequence:SyntaxWarning"),  # they are compiled
]
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


@needs_rockpool
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("build", [convolutional, residual])
def test_networks_are_spike_exact(build: Any, reset: Any) -> None:
    program = quantize(build(LIF(0.9, 1.0, reset)), CHIP)
    assert_equal(program, frames(program.input.shape))


@needs_rockpool
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("build", [convolutional, residual])
def test_a_virtual_chip_is_spike_exact(build: Any, reset: Any) -> None:
    nominal = quantize(build(LIF(0.45, 1.0, reset)), CHIP)
    program = VirtualChip(CHIP, NoiseModel(mismatch=0.3, weight_mismatch=0.1), chip_id=17).realise(nominal)
    neurons = [layer.neurons for layer in program.layers if isinstance(layer.neurons, FloatNeurons)]
    assert all(len(np.unique(one.decay)) > 1 and len(np.unique(one.threshold)) > 1 for one in neurons)
    assert any(rockpool_json.membrane_time_constants(one.decay) is None for one in neurons)  # LIFTorch takes over
    assert_equal(program, frames(program.input.shape))


@needs_rockpool
@pytest.mark.parametrize("decay", [1.0, 0.8])
@pytest.mark.parametrize("static", [True, False])
def test_membrane_readout_and_graded_input(decay: float, static: bool) -> None:
    program = quantize(convolutional(LIF(0.7, 1.0), MembraneReadout(decay), bits=8), CHIP)
    inputs = np.random.default_rng(2).integers(0, 256, (*(() if static else (STEPS,)), 4, 2, 8, 8))
    expected = assert_equal(program, inputs)
    assert set(expected.spikes) == {"a", "b"}
    assert len(np.unique(expected.readout)) == expected.readout.size


@needs_rockpool
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_readout_does_not_fire_whatever_its_threshold(reset: Any) -> None:
    program = one_layer(FloatNeurons(np.array(0.9), np.array(1.0), np.array([0.1, 0.2]), reset), [[2, 1], [1, 3]])
    program = replace(program, layers=(replace(program.layers[0], fires=False),), readout="membrane")
    expected = assert_equal(program, frames((2,)))
    assert expected.potentials["only"].max() > 1


@needs_rockpool
@pytest.mark.parametrize("decay", [1.0, 0.5, 0.1, 0.05, 1e-300, 0.0])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_decays_of_every_size(decay: float, reset: Any) -> None:
    neurons = FloatNeurons(np.array(decay), np.array(2.0), np.array([0.25, 0.1, 0.0]), reset)
    program = one_layer(neurons, [[2, 1, -1], [1, 3, 1], [3, -1, 1]])
    assert_equal(program, frames((3,), samples=20))


@needs_rockpool
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("decay", [1.0, 0.1])
def test_potentials_that_meet_the_threshold(decay: float, reset: Any) -> None:
    strict = FloatNeurons(np.array(decay), np.array([2.0, 1.0]), np.zeros(2), reset)
    inputs = frames((2,), samples=10)
    counts = []
    for neurons in (strict, replace(strict, fires_at_threshold=True)):
        expected = assert_equal(one_layer(neurons, [[1, 2], [1, 1]]), inputs)
        counts.append(int(expected.spikes["only"].sum()))
    assert counts[0] < counts[1]


@needs_rockpool
@pytest.mark.parametrize("at_threshold", [True, False])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_thresholds_of_zero_and_infinity(reset: Any, at_threshold: bool) -> None:
    neurons = FloatNeurons(np.array(0.1), np.array([0.0, np.inf, 1.0]), np.zeros(3), reset, at_threshold)
    expected = assert_equal(one_layer(neurons, [[1, -1]] * 3), frames((2,)), lively=False)
    undriven = ~frames((2,))[0].any(axis=-1)
    assert undriven.any()
    assert (expected.spikes["only"][0, undriven, 0] == at_threshold).all()
    assert not expected.spikes["only"][..., 1].any()


@needs_rockpool
def test_one_spike_however_far_above_the_threshold() -> None:
    neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(2), "subtract")
    expected = assert_equal(one_layer(neurons, [[7, 0], [0, 5]]), frames((2,)))
    assert expected.potentials["only"].max() > 5


@needs_rockpool
def test_runs_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from neurodeploy.export import rockpool_modules

    program = quantize(convolutional(LIF(0.9, 1.0)), CHIP)
    inputs = frames(program.input.shape)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = rockpool.run(program, inputs)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32
    assert "samna" not in sys.modules
    again = rockpool.run(program, inputs)
    monkeypatch.setattr(rockpool_modules, "_CHUNK_VALUES", 1)  # one sample at a time
    alone = rockpool.run(program, inputs)
    for other in (again, alone):
        assert compare(first, other).first is None
        np.testing.assert_array_equal(first.readout, other.readout)


@needs_rockpool
@pytest.mark.parametrize("build", [convolutional, residual])
@pytest.mark.parametrize("decay", [0.9, 0.1])
def test_the_subtractive_variant_is_what_it_says(build: Any, decay: float) -> None:
    program = quantize(build(LIF(decay, 1.0)), CHIP)
    inputs = frames(program.input.shape)
    _, variant = rockpool.TARGET.variants["subtractive"]
    got = variant(program, inputs)
    layers = []
    for layer in program.layers:
        assert isinstance(layer.neurons, FloatNeurons)
        layers.append(replace(layer, neurons=replace(layer.neurons, reset="subtract", fires_at_threshold=True)))
    subtractive = reference.run(replace(program, layers=tuple(layers)), inputs)
    assert compare(subtractive, got).first is None
    assert all(0.05 < rate < 0.95 for rate in got.firing_rates().values())
    assert compare(reference.run(program, inputs), got).mismatched_spikes > 0


@needs_rockpool
def test_the_subtractive_variant_refuses_a_threshold_of_zero() -> None:
    program = one_layer(FloatNeurons(np.array(0.5), np.array([0.0]), np.zeros(1)), [[1]])
    with pytest.raises(DesignRuleError, match="layer only: a threshold of 0"):
        rockpool.run_subtractive(program, frames((1,)))


def test_violations_come_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = quantize(convolutional(LIF(0.9, 1.0)), hw_models.chip("loihi2"))
    monkeypatch.setattr(rockpool, "UNROLLED_LIMIT", 1000)
    found = rockpool.violations(fixed)
    assert [text.split(":")[0] for text in found] == ["layer a", "layer b", "layer c", "layer a"]
    assert "fixed-point neurons" in found[0]
    assert "10,304 weights (about 0.0 GB), 6,912 of them in this layer; at most 1,000" in found[3]
    odd = one_layer(FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(1)), [[1]])
    odd = replace(odd, layers=(replace(odd.layers[0], scale=0.3),))
    assert [text for text in rockpool.violations(odd) if "scale 0.3 is not a power of two" in text]
    with pytest.raises(DesignRuleError, match="does not fit Rockpool: 4 violated"):
        rockpool.run(fixed, frames(fixed.input.shape))


@needs_rockpool
def test_wrong_inputs_are_refused() -> None:
    program = one_layer(FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(1)), [[1]])
    with pytest.raises(UsageError, match="integers are expected"):
        rockpool.run(program, np.zeros((1, 1)))


def test_membrane_time_constants_are_exact() -> None:
    decays = frozen_floats(np.random.default_rng(0).uniform(0.62, 1.0, (7, 11)))
    constants = rockpool_json.membrane_time_constants(decays)
    assert constants is not None
    assert constants.shape == (7, 11)
    again = torch.exp(-rockpool_json.TIME_STEP / torch.from_numpy(constants.reshape(-1).copy())).numpy()
    np.testing.assert_array_equal(again.reshape(7, 11), decays)
    ends = rockpool_json.membrane_time_constants(frozen_floats([0.0, 1.0]))
    assert ends is not None
    assert ends.tolist() == [0.0, np.inf]
    assert rockpool_json.membrane_time_constants(frozen_floats(0.9)) is not None
    assert rockpool_json.membrane_time_constants(frozen_floats(0.1)) is None


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("geometry", [{}, {"stride": (2, 1), "padding": (1, 2)}, {"dilation": (1, 2), "groups": 2}])
def test_unrolled_convolutions(pool: int, geometry: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    groups = geometry.get("groups", 1)
    weight = frozen_ints(rng.integers(-9, 10, (4, 2 // groups, 2, 3)))
    synapses = ConvSynapses("conv", "input", weight, pool=pool, **geometry)
    inputs = rng.integers(0, 9, (3, 2, 8, 12))
    matrix = rockpool.unroll(synapses, (2, 8, 12))
    expected = reference.current(synapses, inputs)
    np.testing.assert_array_equal((matrix @ inputs.reshape(3, -1).T).T.reshape(expected.shape), expected)


@pytest.mark.parametrize("realised", [False, True])
@pytest.mark.parametrize("kind", ["count", "membrane", "graph"])
def test_what_is_written_is_the_program(kind: str, realised: bool, tmp_path: Path) -> None:
    neuron = LIF(0.9, 1.0)
    network = {
        "count": convolutional(neuron, bits=8),
        "membrane": convolutional(neuron, MembraneReadout(0.1)),
        "graph": residual(LIF(0.1, 1.0, "subtract", fires_at_threshold=True)),
    }[kind]
    program = quantize(network, CHIP)
    if realised:
        program = VirtualChip(CHIP, NoiseModel(mismatch=0.2), chip_id=1).realise(program)
    left_out = rockpool.write(program, tmp_path)
    assert len(left_out) == 1
    assert "writes them with --target xylo and --target dynapse2" in left_out[0]
    inputs, written = frames(program.input.shape), (tmp_path / "rockpool.json").read_text(encoding="utf-8")
    again = reference.run(rockpool_json.read(written, rockpool_json.weights_of(program)), inputs)
    assert compare(reference.run(program, inputs), again).first is None
    if not realised:  # small: one number stands for all equal ones
        assert (tmp_path / "rockpool.json").stat().st_size < 5000


def test_nothing_is_written_that_is_not_true(tmp_path: Path) -> None:
    left_out = rockpool.write(quantize(convolutional(LIF(0.9, 1.0)), hw_models.chip("loihi2")), tmp_path)
    assert len(left_out) == 3
    assert all("fixed-point" in text for text in left_out)
    assert not list(tmp_path.iterdir())


@needs_rockpool
def test_the_file_is_enough_for_rockpool_alone(tmp_path: Path) -> None:
    """A dense chain from `rockpool.json` and the weights, without our modules, with Rockpool's own spike function."""
    from rockpool.nn.modules.torch import LIFNeuronTorch

    rng = np.random.default_rng(8)
    nodes: list[tuple[str, Node]] = [("image", Input((12,)))]
    for name, (out, features) in {"a": (9, 12), "b": (4, 9)}.items():
        nodes += [("fc" + name, Linear(rng.normal(0.1, 0.6, (out, features)), rng.normal(0, 0.1, out)))]
        nodes += [(name, LIF(0.9, 1.0, "subtract", fires_at_threshold=True))]
    program = quantize(sequential([*nodes, ("out", SpikeCountReadout())], STEPS), CHIP)
    rockpool.write(program, tmp_path)
    told = json.loads((tmp_path / "rockpool.json").read_text(encoding="utf-8"))
    inputs = frames((12,))
    expected = assert_equal(program, inputs)
    weights = rockpool_json.weights_of(program)
    x = torch.from_numpy(inputs.swapaxes(0, 1)).double()
    for layer in told["layers"]:
        weight = torch.from_numpy(weights[layer["name"]][0] * layer["weight_scale"])
        neurons = LIFNeuronTorch(
            shape=tuple(layer["shape"]), dt=told["dt"], max_spikes_per_dt=torch.tensor(1.0)
        ).double()
        neurons.tau_mem.data = torch.tensor(layer["tau_mem"], dtype=torch.float64)
        neurons.threshold.data = torch.tensor(layer["threshold"], dtype=torch.float64)
        with torch.no_grad():
            x, _, _ = neurons(x @ weight.T + torch.tensor(layer["bias"], dtype=torch.float64))
        x = x.double()
        np.testing.assert_array_equal(x.numpy().swapaxes(0, 1), expected.spikes[layer["name"]])
        with pytest.raises(NotImplementedError):  # what `write` says of Xylo and DYNAP-SE2
            neurons.as_graph()


def test_the_backend_is_found_without_importing_it() -> None:
    code = (
        "import sys; from neurodeploy.export.rockpool import TARGET; found = TARGET.backend();"
        "assert found.detail and not {'rockpool', 'torch', 'samna'} & set(sys.modules);"
        "sys.stdout.write(str(found.version))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == str(rockpool.backend().version)


def test_a_missing_rockpool_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert rockpool.backend().version is None
    program = one_layer(FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(1)), [[1]])
    for run in (rockpool.run, rockpool.run_subtractive):
        with pytest.raises(MissingBackendError, match=r"pip install 'rockpool>=3\.1,<3\.2'"):
            run(program, frames((1,)))


def test_another_version_is_not_taken_for_3_1(monkeypatch: pytest.MonkeyPatch) -> None:
    class Newer:
        version = "3.10.0"

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Newer())
    found = rockpool.backend()
    assert found.version is None
    assert "3.10.0 is installed" in found.detail
