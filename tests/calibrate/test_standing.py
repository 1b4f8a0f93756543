"""How chips do on the selection samples, which decides whether they keep a level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import virtual_rack
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
