"""Chips calibrated here, in Lava: thresholds, leaks and biases that are set are what Lava computes with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from neurodeploy.calibrate.device import of_chip, virtual_rack
from neurodeploy.calibrate.ladder import calibrate
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.compare import compare
from neurodeploy.export import lava
from neurodeploy.hw_models.knobs import adjusted
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import FixedPointNeurons, Program
from neurodeploy.simulate import engine

pytestmark = pytest.mark.lava


@pytest.mark.parametrize("chip", ["loihi1", "loihi2"])
def test_a_calibrated_chip_is_the_same_in_lava(
    programs: dict[str, Program], population: Callable[..., list[VirtualChip]], data: CalibrationData, chip: str
) -> None:
    """A mismatch of 0.8, so that decays of the chip and as they are set reach the end of the register."""
    if lava.TARGET.backend().version is None:
        pytest.fail(lava.TARGET.backend().detail, pytrace=False)
    program, chips = programs[chip], population(chip, 1, mismatch=0.8)
    few = replace(data, measurement=data.measurement[:24])
    found = calibrate(virtual_rack(chips, program), program, few)
    assert found.kept.all()
    own = adjusted(chips[0].realise(program), program, chips[0].model.knobs, of_chip(found.settings, 0))
    neurons = own.layers[0].neurons
    assert isinstance(neurons, FixedPointNeurons)
    assert neurons.voltage_decay.max() == 4095
    assert lava.violations(own) == []
    inputs = data.selection[:8]
    wanted = engine.run(own, inputs)
    assert all(0.05 < rate < 0.95 for rate in wanted.firing_rates().values())
    same = compare(wanted, lava.run(own, inputs))
    assert (same.mismatched_spikes, same.mismatched_voltages) == (0, 0), str(same.first)
    assert compare(wanted, engine.run(chips[0].realise(program), inputs)).mismatched_spikes > 0
    assert np.any(neurons.bias_mantissa != program.layers[0].neurons.bias_mantissa)  # type: ignore[union-attr]
