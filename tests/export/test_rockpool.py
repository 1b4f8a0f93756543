"""Rockpool against the reference, by value."""

from __future__ import annotations

import sys
from dataclasses import replace
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

from neurodeploy.compare import compare
from neurodeploy.errors import DesignRuleError
from neurodeploy.export import rockpool, rockpool_json
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.nodes import (
    LIF,
    MembraneReadout,
)
from neurodeploy.ir.program import FloatNeurons
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference

pytestmark = SOURCES_MAY_WARN


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
@pytest.mark.filterwarnings("error")
def test_inputs_that_may_not_be_written_over_run_without_a_warning() -> None:
    """One step of a static input is a view of what the artifact holds."""
    program = replace(quantize(convolutional(LIF(0.7, 1.0), MembraneReadout(1.0), bits=8), CHIP), steps=1)
    inputs = np.random.default_rng(2).integers(0, 256, (4, 2, 8, 8))
    inputs.flags.writeable = False
    assert_equal(program, inputs)


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
