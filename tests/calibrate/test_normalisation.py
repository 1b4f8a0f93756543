"""Level 1 against its equation written again, on two dense layers behind one whose thresholds deviate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neurodeploy import hw_models
from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import virtual_rack
from neurodeploy.calibrate.normalisation import renormalise
from neurodeploy.calibrate.search import BEYOND, REACHED
from neurodeploy.calibrate.work import CalibrationData, Options, Work
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import engine

STEPS, SCALE, DECAY, THRESHOLD = 5, 2.0**-6, 0.5, 0.75
GENERATOR = np.random.default_rng(5)
INPUTS = GENERATOR.integers(0, 2, (STEPS, 40, 12))
WEIGHTS = {"first": GENERATOR.integers(-12, 40, (9, 12)), "second": GENERATOR.integers(-12, 40, (7, 9))}
BIAS = {"first": GENERATOR.normal(0, 0.05, 9), "second": GENERATOR.normal(0, 0.05, 7)}


def program() -> Program:
    """12 inputs, 9 neurons, 7 neurons, a readout of 3."""
    layers, source = list[Layer](), "input"
    for name, weight in WEIGHTS.items():
        neurons = FloatNeurons(frozen_floats(DECAY), frozen_floats(THRESHOLD), frozen_floats(BIAS[name]))
        synapses = DenseSynapses(f"{name}_weights", source, frozen_ints(weight))
        layers.append(Layer(name, (len(weight),), (synapses,), neurons, SCALE))
        source = name
    nothing = FloatNeurons(frozen_floats(1.0), frozen_floats(1.0), frozen_floats(np.zeros(3)))
    last = DenseSynapses("last", source, frozen_ints(GENERATOR.integers(-9, 9, (3, 7))))
    layers.append(Layer("readout", (3,), (last,), nothing, SCALE, fires=False))
    return Program("mixed-signal", STEPS, Input((12,)), tuple(layers), "membrane")


@pytest.mark.parametrize(("quantity", "span"), [("threshold", 1.0), ("bias", 1.0), ("threshold", 0.02)])
def test_codes_are_those_of_the_equation_and_end_with_the_range(quantity: str, span: float) -> None:
    nominal, knob = program(), Knob(quantity, "neuron", 7, span, source="made for tests")  # type: ignore[arg-type]
    chip = replace(hw_models.chip("mixed-signal"), knobs=(knob,))
    chips = [VirtualChip(chip, NoiseModel(threshold_mismatch=0.4), number) for number in range(3)]
    rack = virtual_rack(chips, nominal)
    data = CalibrationData(INPUTS, INPUTS[:, :5], np.zeros(5, dtype=np.int64))
    found = renormalise(Work(Bench(rack, nominal), data, Options()), knob, {})
    assert set(found.settings) == {knob.key("second")}  # the first layer reads the input alone

    def arriving(spikes: np.ndarray) -> np.ndarray:
        return spikes.reshape(-1, 9) @ WEIGHTS["second"].T.astype(float)

    meant = engine.run(nominal, INPUTS).spikes["first"]
    assert 0.05 < meant.mean() < 0.95
    reach = (1 - DECAY**STEPS) / (1 - DECAY)
    limit, bias = THRESHOLD / SCALE, BIAS["second"] / SCALE
    mu, sigma = arriving(meant).mean(axis=0), arriving(meant).std(axis=0)
    for number, recording in enumerate(rack.record(INPUTS, {})):
        own = arriving(recording.spikes["first"])
        ratio = np.clip(own.std(axis=0) / sigma, 0.5, 2)
        shift = (limit - reach * (mu + bias)) * (ratio - 1) + reach * (own.mean(axis=0) - mu)
        relative = shift / limit if quantity == "threshold" else shift / limit / reach
        exact = np.rint(relative / span * 63)
        assert (exact != 0).any()
        codes, states = found.settings[knob.key("second")][number], found.mask[knob.key("second")][number]
        np.testing.assert_array_equal(codes, np.clip(exact, -63, 63))
        np.testing.assert_array_equal(states, np.where(np.abs(exact) > 63, BEYOND, REACHED))
        assert (np.abs(exact) <= 63).any() or span < 1
        assert (np.abs(exact) > 63).any() or span == 1
