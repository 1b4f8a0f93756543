"""Rockpool: what is refused, what is written and is enough for Rockpool alone, and a backend that is missing."""

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
from rockpool_cases import (
    CHIP,
    STEPS,
    assert_equal,
    convolutional,
    frames,
    one_layer,
    residual,
)
from rockpool_marks import SOURCES_MAY_WARN, needs_rockpool

from neurodeploy import hw_models
from neurodeploy.compare import compare
from neurodeploy.errors import DesignRuleError, MissingBackendError, UsageError
from neurodeploy.export import rockpool, rockpool_json
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.network import sequential
from neurodeploy.ir.nodes import (
    LIF,
    Input,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
)
from neurodeploy.ir.program import FloatNeurons
from neurodeploy.ir.synapses import ConvSynapses
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference

pytestmark = SOURCES_MAY_WARN


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
