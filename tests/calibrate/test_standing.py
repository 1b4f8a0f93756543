"""How chips do on the selection samples, which decides whether they keep a level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from watched_device import Watched

from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import virtual_rack
from neurodeploy.calibrate.ladder import calibrate
from neurodeploy.calibrate.work import CalibrationData, Options, Standing, Work
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import reference

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]


def test_a_chip_that_is_right_as_often_keeps_what_brings_its_readout_nearer() -> None:
    before = Standing(np.array([0.5, 0.5, 0.5, 0.5]), np.array([1.0, 1.0, 1.0, 1.0]))
    after = Standing(np.array([0.6, 0.5, 0.5, 0.4]), np.array([2.0, 0.5, 1.0, 0.1]))
    kept = after.better(before)
    np.testing.assert_array_equal(kept, [True, True, False, False])
    best = after.where(kept, before)
    np.testing.assert_array_equal(best.accuracy, [0.6, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(best.distance, [2.0, 0.5, 1.0, 1.0])


def test_the_standing_of_chips_on_the_selection_by_value(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """Written again, of the reference simulator's readouts."""
    chips, program = population("mixed-signal", 2, mismatch=0.4), programs["mixed-signal"]
    got = Work(Bench(virtual_rack(chips, program), program), data, Options()).standing({})

    def unit(readout: Any) -> Any:
        return readout / np.sqrt((readout**2).sum(axis=1, keepdims=True))

    meant = unit(reference.run(program, data.selection).readout)
    for index, chip in enumerate(chips):
        found = reference.run(chip.realise(program), data.selection)
        assert got.accuracy[index] == (found.decisions == data.labels).mean()
        assert got.distance[index] == pytest.approx(((unit(found.readout) - meant) ** 2).sum(axis=1).mean(), rel=1e-9)
    assert got.distance.min() > 0


@pytest.mark.parametrize("chip", ["loihi1", "mixed-signal"])
def test_chips_keep_a_level_by_their_standing_and_nothing_else(
    programs: Programs, population: Population, data: CalibrationData, chip: str
) -> None:
    """On few selection samples, where chips are right as often before and after; what was proposed is what ran last."""
    few = replace(data, measurement=data.measurement[:24], selection=data.selection[:24], labels=data.labels[:24])
    chips, program = population(chip, 8, mismatch=0.4), programs[chip]
    device = Watched(virtual_rack(chips, program))
    result = calibrate(device, program, few)
    again = Work(Bench(virtual_rack(chips, program), program), few, Options())
    before, after = again.standing({}), again.standing(device.seen[-1][2])
    more, as_often = after.accuracy > before.accuracy, after.accuracy == before.accuracy
    nearer = after.distance < before.distance
    np.testing.assert_array_equal(result.kept, more | (as_often & nearer))
    assert (as_often & nearer).any()
    np.testing.assert_array_equal(result.selection_after, np.maximum(before.accuracy, after.accuracy))
    for name, values in result.settings.items():
        np.testing.assert_array_equal(values[result.kept], device.seen[-1][2][name][result.kept])
        assert not values[~result.kept].any()
