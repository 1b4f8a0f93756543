"""Chips with several knobs per neuron: which one a level turns, and in which order level 4 sets them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from watched_device import Watched

from neurodeploy.calibrate.device import virtual_rack
from neurodeploy.calibrate.ladder import LEVELS, calibrate
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]


def test_level_4_sets_coarse_thresholds_before_leaks_and_biases(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """A run per bit of the few thresholds, then biases and leaks in turns; biases are the knob that is named."""
    program = programs["loihi1"]
    device = Watched(virtual_rack(population("loihi1", 2, mismatch=0.3), program))
    result = calibrate(device, program, data)
    a_layer = ["run"] * (3 + 7) + ["record"] * 5 + ["run"] * 8 + ["record"] * 6 + ["run"] * 8
    assert [kind for kind, _, _ in device.seen] == ["run", *(2 * a_layer), "run"]
    first, settled = device.seen[1:4], device.seen[4 : 1 + len(a_layer)]
    assert all(list(settings) == ["threshold/neuron/lif1"] for _, _, settings in first)
    for _, _, settings in settled:
        np.testing.assert_array_equal(settings["threshold/neuron/lif1"], settled[0][2]["threshold/neuron/lif1"])
        assert "bias/neuron/lif1" in settings
    assert {name.split("/")[0] for name in result.settings} == {"threshold", "leak", "bias"}
    assert all(np.any(codes) for codes in result.settings.values())
    assert result.steps[0].knob == "bias per neuron"
    assert {name.split("/")[0] for name in result.steps[0].mask} == {"leak", "bias"}


def test_of_several_knobs_a_level_turns_the_finest() -> None:
    coarse, fine = Knob("threshold", "neuron", 3, 1.0), Knob("bias", "neuron", 7, 1.0)
    assert LEVELS[4].knob((coarse, fine)) is LEVELS[1].knob((fine, coarse)) is fine
    assert LEVELS[4].knob((replace(fine, span=0.5), replace(coarse, bits=6, span=0.2))) == replace(
        coarse, bits=6, span=0.2
    )
    alike = replace(fine, quantity="threshold")
    assert LEVELS[4].knob((fine, alike)) is LEVELS[4].knob((alike, fine)) is alike
