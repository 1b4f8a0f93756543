"""Trims of leaks: found by when neurons fire, in turns with those of thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from watched_device import Watched

from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import RackSettings, of_chip, virtual_rack
from neurodeploy.calibrate.ladder import calibrate
from neurodeploy.calibrate.leak import TURNS, Timing, kept
from neurodeploy.calibrate.search import match_neurons
from neurodeploy.calibrate.work import CalibrationData, Options, Work
from neurodeploy.hw_models.knobs import adjusted
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Layer, Program
from neurodeploy.simulate import engine, reference

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]
CHIP = "mixed-signal-leak"


def work_of(chips: list[VirtualChip], program: Program, data: CalibrationData) -> Work:
    return Work(Bench(virtual_rack(chips, program), program), data, Options())


def errors(chips: list[VirtualChip], program: Program, settings: RackSettings, layer: Layer, name: str) -> Any:
    """(chips,) mean of how far a quantity of a layer's neurons is from nominal, relative to it."""
    found = []
    for index, chip in enumerate(chips):
        own = adjusted(chip.realise(program), program, chip.model.knobs, of_chip(settings, index))
        mine = next(one.neurons for one in own.layers if one.name == layer.name)
        meant = getattr(layer.neurons, name)
        found.append(np.abs(getattr(mine, name) - meant).mean() / np.mean(meant))
    return np.array(found)


def test_the_excess_is_the_equation(programs: Programs, population: Population, data: CalibrationData) -> None:
    """Written again with loops, of the reference simulator's spikes and potentials."""
    chips, program = population(CHIP, 2, mismatch=0.4), programs[CHIP]
    layer = program.layers[0]
    meant = reference.run(program, data.measurement)
    threshold = float(np.mean(layer.neurons.threshold))
    wanted = np.zeros((2, *layer.shape))
    for index, chip in enumerate(chips):
        own = reference.run(chip.realise(program), data.measurement)
        for step in range(1, program.steps):
            carried = layer.neurons.decay * meant.potentials[layer.name][step - 1] / threshold  # type: ignore[union-attr]
            differs = own.spikes[layer.name][step].astype(int) - meant.spikes[layer.name][step]
            wanted[index] += (differs * carried).sum(axis=0)
    got = Timing(work_of(chips, program, data), layer).excess({})
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(wanted).max() > 1


def test_nothing_is_kept_before_the_first_step(programs: Programs, data: CalibrationData) -> None:
    program = programs[CHIP]
    layer = program.layers[0]
    carried = kept(layer, engine.run(program, data.measurement).potentials[layer.name])
    assert not carried[0].any()
    assert carried[1:].any()


def test_decays_and_thresholds_come_nearer_to_what_was_meant(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """The first layer, whose input is as it was meant to be; thresholds alone cannot tell a decay from a threshold."""
    assert data.refit is not None
    data = replace(data, measurement=data.refit)
    chips, program = population(CHIP, 3, mismatch=0.3), programs[CHIP]
    layer = program.layers[0]
    both = match_neurons(work_of(chips, program, data), chips[0].model.knobs[0], {}).settings
    plain = population("mixed-signal", 3, mismatch=0.3)
    alone = match_neurons(work_of(plain, program, data), plain[0].model.knobs[0], {}).settings
    assert not any(name.startswith("leak") for name in alone)
    for name in ("threshold", "decay"):
        before, one, two = (
            errors(of, program, settings, layer, name) for of, settings in ((chips, {}), (plain, alone), (chips, both))
        )
        assert (two < 0.8 * before).all(), name
        assert (two < one).all(), name


def test_without_noise_no_code_moves(programs: Programs, population: Population, data: CalibrationData) -> None:
    program = programs[CHIP]
    found = match_neurons(work_of(population(CHIP, 1), program, data), population(CHIP, 1)[0].model.knobs[0], {})
    assert {name.split("/")[0] for name in found.settings} == {"threshold", "leak"}
    assert not any(codes.any() for codes in found.settings.values())
    assert not any(states.any() for states in found.mask.values())


def test_what_turns_cost(programs: Programs, population: Population, data: CalibrationData) -> None:
    """A run per bit and search, and one more where a search starts from what another found."""
    device = Watched(virtual_rack(population(CHIP, 2, mismatch=0.3), programs[CHIP]))
    result = calibrate(device, programs[CHIP], data)
    a_layer = ["run"] * 7 + ["record"] * 7 + (["run"] * 8 + ["record"] * 8) * (TURNS - 1) + ["run"] * 8
    assert [kind for kind, _, _ in device.seen] == ["run", *(2 * a_layer), "run"]
    assert result.cost.chip_runs == len(device.seen)
    assert result.kept[result.steps[0].after > result.selection_before].all()


@pytest.mark.parametrize("measure", ["curve", "rates"])
def test_trims_of_leaks_bring_accuracy_back(
    programs: Programs, population: Population, data: CalibrationData, measure: str
) -> None:
    chips, program = population(CHIP, 4, mismatch=0.5), programs[CHIP]
    result = calibrate(virtual_rack(chips, program), program, data, (4,), Options(measure=measure))
    assert result.selection_after.mean() > result.selection_before.mean() + 0.01
