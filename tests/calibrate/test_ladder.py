"""The ladder on virtual chips: what it may see, what it may set, and that no chip ends worse than it began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from watched_device import Watched

from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import RackSettings, of_chip, virtual_rack
from neurodeploy.calibrate.ladder import calibrate, parse_ladder
from neurodeploy.calibrate.work import CalibrationData, Options
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.knobs import adjusted, unset
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate.engine import run_chips

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]
QUICK = Options(tuning_steps=3, tuning_batch=16)
CLIMBABLE = {"loihi1": "1+4", "loihi2": "1-6", "mixed-signal": "1-6", "mixed-signal-leak": "3-4", "by-core": "2-3+5-6"}


def rate_errors(chips: list[VirtualChip], program: Program, data: CalibrationData, settings: RackSettings) -> Any:
    """layer -> (chips,) Σ over neurons of |spikes - spikes wanted|, simulated without a rack."""
    wanted = run_chips([program], data.measurement).spike_counts
    knobs = chips[0].model.knobs
    own = [
        adjusted(chip.realise(program), program, knobs, of_chip(settings, index)) for index, chip in enumerate(chips)
    ]
    got = run_chips(own, data.measurement).spike_counts
    return {name: np.abs(got[name] - wanted[name]).reshape(len(chips), -1).sum(axis=1) for name in wanted}


@pytest.mark.parametrize("chip", ["loihi1", "loihi2", "mixed-signal"])
@pytest.mark.parametrize("noise", [{"mismatch": 0.5}, {"mismatch": 0.3, "thermal": 0.05}, {"weight_mismatch": 0.4}])
def test_level_4_brings_spike_counts_nearer_in_every_layer(
    programs: Programs, population: Population, data: CalibrationData, chip: str, noise: dict[str, float]
) -> None:
    chips, program = population(chip, **noise), programs[chip]
    result = calibrate(virtual_rack(chips, program), program, data)
    assert result.kept.sum() >= 1
    before, after = (rate_errors(chips, program, data, one) for one in ({}, result.settings))
    assert list(before) == ["lif1", "lif2"]
    for name in before:
        assert (after[name][result.kept] < before[name][result.kept]).all(), name
        np.testing.assert_array_equal(after[name][~result.kept], before[name][~result.kept])


@pytest.mark.parametrize("chip", list(CLIMBABLE))
@pytest.mark.parametrize("noise", [{"mismatch": 0.5}, {"thermal": 0.3}, {"weight_mismatch": 0.3, "mismatch": 0.2}])
def test_no_level_leaves_a_chip_worse_on_the_selection(
    programs: Programs, population: Population, data: CalibrationData, chip: str, noise: dict[str, float]
) -> None:
    chips, program = population(chip, 3, **noise), programs[chip]
    result = calibrate(virtual_rack(chips, program), program, data, parse_ladder(CLIMBABLE[chip]), QUICK)
    accuracy = result.selection_before
    for step in result.steps:
        assert step.refused == ""
        np.testing.assert_array_equal(step.before, accuracy)
        assert step.kept[step.after > step.before].all()
        assert (step.after >= step.before).all()
        accuracy = step.after
    np.testing.assert_array_equal(result.selection_after, accuracy)
    for name, values in result.settings.items():  # a chip that kept nothing is as it was
        wanted = np.broadcast_to(unset(program, name), values.shape)
        np.testing.assert_array_equal(values[~result.kept], wanted[~result.kept])
    if "thermal" not in noise:  # then chips repeat themselves
        again = virtual_rack(chips, program)
        for settings, wanted in (({}, result.selection_before), (result.settings, result.selection_after)):
            decisions = again.run(data.selection, settings).decisions
            np.testing.assert_array_equal((decisions == data.labels).mean(axis=1), wanted)


@pytest.mark.parametrize(("level", "chip"), [(1, "mixed-signal"), (3, "loihi2"), (4, "mixed-signal"), (5, "by-core")])
def test_levels_bring_accuracy_back(
    programs: Programs, population: Population, data: CalibrationData, level: int, chip: str
) -> None:
    chips, program = population(chip, mismatch=0.5), programs[chip]
    result = calibrate(virtual_rack(chips, program), program, data, (level,))
    assert result.selection_after.mean() > result.selection_before.mean() + 0.01
    assert result.kept.mean() >= 0.5


def test_tuning_in_the_loop_mends_weights_that_no_trim_reaches(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    chips, program = population("mixed-signal", 2, weight_mismatch=0.6), programs["mixed-signal"]
    options = Options(tuning_steps=20, tuning_batch=64)
    result = calibrate(virtual_rack(chips, program), program, data, (6,), options)
    assert (result.selection_after > result.selection_before + 0.03).all()


def test_the_readout_is_the_ridge_solution_in_codes(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """A refit of a chip that is as it was meant to be leaves its weights, since they are the solution."""
    program = programs["mixed-signal"]
    last = program.layers[-1]
    chips = population("mixed-signal", 1)
    device = Watched(virtual_rack(chips, program))
    calibrate(device, program, data, (5,))
    proposed = device.seen[-1][2]
    np.testing.assert_array_equal(proposed[f"weight/0/{last.name}"][0], last.synapses[0].weight)
    assert not proposed[f"weight/bias/{last.name}"].any()


def test_without_noise_nothing_is_set(programs: Programs, population: Population, data: CalibrationData) -> None:
    for chip in ("loihi2", "mixed-signal"):
        device = virtual_rack(population(chip, 2), programs[chip])
        result = calibrate(device, programs[chip], data, parse_ladder("1-5"))
        assert not result.kept.any()
        for name, values in result.settings.items():
            np.testing.assert_array_equal(values, np.broadcast_to(unset(programs[chip], name), values.shape))


@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal"])
def test_the_ledger_counts_what_a_wrapper_counts(
    programs: Programs, population: Population, data: CalibrationData, chip: str
) -> None:
    program = programs[chip]
    device = Watched(virtual_rack(population(chip, 3, mismatch=0.3), program))
    result = calibrate(device, program, data, parse_ladder("1-6"), QUICK)
    assert result.cost.chip_runs == len(device.seen)
    assert result.cost.samples == sum(samples for _, samples, _ in device.seen)
    there = {f"weight/{i}/{layer.name}": one.weight for layer in program.layers for i, one in enumerate(layer.synapses)}
    changes, last = np.zeros(3), dict[str, Any]()
    for _, _, settings in device.seen:
        for name in {*settings, *last}:  # weights that a chip has already are not written again, those that go back are
            now, before = (of.get(name, there.get(name, 0)) for of in (settings, last))
            changes += (np.asarray(now) != before).reshape(3, -1).sum(axis=1)
        last = settings
    np.testing.assert_array_equal(result.written, changes)
    if chip == "loihi2":  # the only chip of which the time of a step is known
        assert result.cost.seconds is not None
        steps = result.cost.samples * program.steps
        np.testing.assert_allclose(result.cost.seconds, (steps * 152.8e-6, steps * 182.6e-6))
    else:
        assert result.cost.seconds is None
    costs = [step.cost.chip_runs for step in result.steps]
    assert costs == sorted(costs)
    assert costs[-1] == result.cost.chip_runs


def test_level_4_costs_a_run_per_bit_and_layer(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    device = Watched(virtual_rack(population("mixed-signal", 2, mismatch=0.3), programs["mixed-signal"]))
    result = calibrate(device, programs["mixed-signal"], data)
    assert [(kind, samples) for kind, samples, _ in device.seen] == [("run", 144), *[("run", 48)] * 14, ("run", 144)]
    first, second = device.seen[1:8], device.seen[8:15]
    key = "threshold/neuron/lif"
    assert not any(f"{key}2" in settings for _, _, settings in first)
    for _, _, settings in second:
        np.testing.assert_array_equal(settings[f"{key}1"], device.seen[-1][2][f"{key}1"])
    assert result.cost.samples == 2 * 144 + 14 * 48


@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal"])
def test_a_chip_is_calibrated_alike_in_any_company(
    programs: Programs, population: Population, data: CalibrationData, chip: str
) -> None:
    few = replace(data, measurement=data.measurement[:8], refit=data.refit[:48])  # type: ignore[index]
    chips, program = population(chip, 3, mismatch=0.3, thermal=0.1), programs[chip]
    ladder = parse_ladder("1-6")
    together = calibrate(virtual_rack(chips, program), program, few, ladder, QUICK)
    alone = calibrate(virtual_rack(chips[1:2], program), program, few, ladder, QUICK)
    for name, values in alone.settings.items():
        np.testing.assert_array_equal(values[0], together.settings[name][1])
    assert alone.selection_before[0] == together.selection_before[1]
    assert alone.selection_after[0] == together.selection_after[1]


@pytest.mark.parametrize("measure", ["curve", "readout"])
def test_other_measures_bring_accuracy_back_too(
    programs: Programs, population: Population, data: CalibrationData, measure: str
) -> None:
    chips, program = population("mixed-signal", core_mismatch=0.5), programs["mixed-signal"]
    options = Options("spsa" if measure == "readout" else "bisection", measure)
    result = calibrate(virtual_rack(chips, program), program, data, (3,), options)
    assert result.selection_after.mean() > result.selection_before.mean() + 0.02
    assert result.cost.chip_runs == 2 + (25 if measure == "readout" else 4 * 7 * 2)
    if measure == "readout":
        with pytest.raises(UsageError, match="level 4 with algorithm spsa"):
            calibrate(virtual_rack(chips, program), program, data, (3, 4), options)


def test_codes_of_cores_are_found_core_by_core(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    program, chips = programs["by-core"], population("by-core", 3, core_mismatch=0.4, core_size=64)
    result = calibrate(virtual_rack(chips, program), program, data, (3,))
    codes = result.settings["gain/core/lif1"]
    assert codes.shape == (3, 4)
    assert result.kept.any()
    own = np.stack([chip.realise(program).layers[0].neurons.threshold.reshape(4, 64)[:, 0] for chip in chips])
    nominal = program.layers[0].neurons.threshold
    # Where the core's threshold is high the gain's code must be low, and the other way round.
    assert np.corrcoef((own / nominal)[result.kept].ravel(), codes[result.kept].ravel())[0, 1] < -0.7


def test_going_back_to_what_was_there_is_written_too(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    program = programs["mixed-signal"]
    last, trims = program.layers[-1], np.zeros((2, *program.layers[0].shape), dtype=int)
    bench = Bench(virtual_rack(population("mixed-signal", 2), program), program)
    key, own = f"weight/0/{last.name}", np.stack([last.synapses[0].weight] * 2)
    other = own.copy()
    other[0, 0, :3] = 7 - own[0, 0, :3]
    trims[1].flat[:5] = 2
    expected = np.zeros(2)
    steps = (
        ({key: own}, [0, 0]),
        ({key: other}, [3, 0]),
        ({}, [3, 0]),
        ({f"threshold/neuron/{program.layers[0].name}": trims}, [0, 5]),
        ({}, [0, 5]),
    )
    for settings, more in steps:
        bench.counts(data.measurement[:2], settings)
        expected += more
        np.testing.assert_array_equal(bench.written, expected)


def test_the_observer_sees_what_is_best_by_then(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    seen: list[tuple[int, RackSettings]] = []
    program = programs["mixed-signal"]
    device = virtual_rack(population("mixed-signal", 2, mismatch=0.4), program)
    result = calibrate(device, program, data, (3, 4), observer=lambda cost, now: seen.append((cost.chip_runs, now)))
    runs = [spent for spent, _ in seen]
    assert runs == sorted(runs)
    assert runs[-1] == result.cost.chip_runs == 1 + (14 + 1) + (16 + 1)
    for name, values in result.settings.items():
        np.testing.assert_array_equal(seen[-1][1][name], values)


def test_samples_that_change_over_time_are_measured_alike(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """(T, B, …) that show the same at every step give what (B, …) gives, at every level."""
    program = programs["mixed-signal"]
    assert data.refit is not None
    parts = [np.repeat(one[None], program.steps, axis=0) for one in (data.measurement, data.selection, data.refit)]
    over_time = CalibrationData(parts[0], parts[1], data.labels, parts[2])
    for options in (QUICK, Options(measure="curve", tuning_steps=2, tuning_batch=8)):
        found = [
            calibrate(
                virtual_rack(population("mixed-signal", 2, mismatch=0.4), program),
                program,
                one,
                parse_ladder("1-6"),
                options,
            )
            for one in (data, over_time)
        ]
        np.testing.assert_array_equal(found[0].selection_after, found[1].selection_after)
        for name, values in found[0].settings.items():
            np.testing.assert_array_equal(found[1].settings[name], values, err_msg=name)
