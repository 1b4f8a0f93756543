"""The same chip in the engine and in Rockpool's simulator: the same trims, the same accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rockpool_marks import SOURCES_MAY_WARN

from neurodeploy.calibrate.device import of_chip, simulated_rack, virtual_rack
from neurodeploy.calibrate.ladder import calibrate, parse_ladder
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.export import rockpool
from neurodeploy.hw_models.knobs import adjusted, written
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import engine

pytestmark = SOURCES_MAY_WARN


@pytest.mark.parametrize(("chip", "levels"), [("mixed-signal", "3-5"), ("mixed-signal-leak", "4")])
def test_a_chip_is_calibrated_alike_in_rockpool(
    programs: dict[str, Program],
    population: Callable[..., list[VirtualChip]],
    data: CalibrationData,
    chip: str,
    levels: str,
) -> None:
    if rockpool.backend().version is None:
        pytest.fail(rockpool.backend().detail)
    program, chips = programs[chip], population(chip, 2, mismatch=0.4)
    knobs, ladder = chips[0].model.knobs, parse_ladder(levels)
    few = replace(data, selection=data.selection[:72], labels=data.labels[:72])
    ours = calibrate(virtual_rack(chips, program), program, few, ladder)
    rack = simulated_rack([one.realise for one in chips], program, knobs, rockpool.run)
    theirs = calibrate(rack, program, few, ladder)
    assert ours.kept.any()
    for name, values in ours.settings.items():
        np.testing.assert_array_equal(theirs.settings[name], values)
    np.testing.assert_array_equal(theirs.selection_before, ours.selection_before)
    np.testing.assert_array_equal(theirs.selection_after, ours.selection_after)
    for index, one in enumerate(chips):
        mine = of_chip(ours.settings, index)
        set_up = adjusted(one.realise(written(program, knobs, mine)), program, knobs, mine)
        got, wanted = rockpool.run(set_up, few.selection), engine.run(set_up, few.selection)
        np.testing.assert_array_equal(got.readout, wanted.readout)
