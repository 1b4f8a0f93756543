"""Trims on virtual chips: rates come nearer, no chip ends worse, and the chip shows nothing but what it puts out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.calibrate.device import Device, RackCodes, virtual_rack
from neurodeploy.calibrate.trims import calibrate_trims
from neurodeploy.config import DataConfig
from neurodeploy.data.sources import load_data_set
from neurodeploy.deployment import prepare
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.trim import trimmed
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import reference
from neurodeploy.simulate.engine import Counts, run_chips
from neurodeploy.snn.model_file import Model

CHIPS = {"loihi2": "lava", "mixed-signal": "rockpool"}
COUNT = 6
DATA = load_data_set(DataConfig(), 4, 0)
MEASUREMENT, SELECTION = DATA.train.samples[:48], DATA.validation.samples
LABELS = DATA.validation.labels


@pytest.fixture(scope="module", params=list(CHIPS))
def program(request: pytest.FixtureRequest, model: Model) -> Program:
    return prepare(model, CHIPS[request.param]).program


def population(program: Program, **levels: float) -> list[VirtualChip]:
    model = hw_models.chip(program.chip)
    return [VirtualChip(model, NoiseModel(**levels), chip_id) for chip_id in range(COUNT)]


def errors(chips: list[VirtualChip], program: Program, codes: RackCodes) -> dict[str, NDArray[Any]]:
    """layer -> (chips,) Σ over neurons of |spikes - spikes wanted|, simulated without a rack."""
    trim = chips[0].model.trim
    assert trim is not None
    wanted = run_chips([program], MEASUREMENT).spike_counts
    own = [
        trimmed(chip.realise(program), program, trim, {name: one[index] for name, one in codes.items()})
        for index, chip in enumerate(chips)
    ]
    got = run_chips(own, MEASUREMENT).spike_counts
    return {name: np.abs(got[name] - wanted[name]).reshape(len(chips), -1).sum(axis=1) for name in wanted}


@pytest.mark.parametrize("noise", [{"mismatch": 0.5}, {"mismatch": 0.3, "thermal": 0.05}, {"weight_mismatch": 0.4}])
def test_spike_counts_come_nearer_in_every_layer(program: Program, noise: dict[str, float]) -> None:
    chips = population(program, **noise)
    result = calibrate_trims(virtual_rack(chips, program), program, MEASUREMENT, SELECTION, LABELS)
    assert result.kept.sum() >= 1
    before, after = (errors(chips, program, codes) for codes in ({}, result.codes))
    assert list(before) == ["lif1", "lif2"]
    for name in before:
        assert (after[name][result.kept] < before[name][result.kept]).all(), name
        np.testing.assert_array_equal(after[name][~result.kept], before[name][~result.kept])


@pytest.mark.parametrize("noise", [{"mismatch": 0.05}, {"mismatch": 0.5}, {"thermal": 0.3}, {"weight_mismatch": 0.2}])
def test_no_chip_ends_worse_on_the_selection(program: Program, noise: dict[str, float]) -> None:
    chips = population(program, **noise)
    result = calibrate_trims(virtual_rack(chips, program), program, MEASUREMENT, SELECTION, LABELS)
    assert (result.validation_after >= result.validation_before).all()
    np.testing.assert_array_equal(result.kept, result.validation_after > result.validation_before)
    for codes in result.codes.values():
        assert not codes[~result.kept].any()
    if noise.get("thermal") is None:  # then the chips repeat themselves, and the accuracies can be measured again
        device = virtual_rack(chips, program)
        untouched = {name: np.zeros_like(codes) for name, codes in result.codes.items()}
        for codes, wanted in ((untouched, result.validation_before), (result.codes, result.validation_after)):
            decisions = device.run(SELECTION, codes).decisions
            np.testing.assert_array_equal((decisions == LABELS).mean(axis=1), wanted)


def test_without_noise_nothing_is_trimmed_and_nothing_kept(program: Program) -> None:
    chips = population(program)
    result = calibrate_trims(virtual_rack(chips, program), program, MEASUREMENT, SELECTION, LABELS)
    assert not result.kept.any()
    assert {name: codes.any() for name, codes in result.codes.items()} == {"lif1": False, "lif2": False}
    np.testing.assert_array_equal(result.validation_after, result.validation_before)


def test_the_ledger_counts_what_a_wrapper_counts(program: Program) -> None:
    class Counting:
        def __init__(self, device: Device) -> None:
            self.device, self.seen = device, list[int]()
            self.chips, self.trim = device.chips, device.trim

        def run(self, inputs: NDArray[Any], codes: RackCodes) -> Counts:
            self.seen.append(inputs.shape[-4])
            return self.device.run(inputs, codes)

    for measurement in (MEASUREMENT, np.repeat(MEASUREMENT[None], program.steps, axis=0)):
        device = Counting(virtual_rack(population(program, mismatch=0.3), program))
        if measurement.ndim == 5:
            device.seen.clear()
        result = calibrate_trims(device, program, measurement, SELECTION, LABELS)
        assert (result.chip_runs, result.samples) == (len(device.seen), sum(_samples(device.seen, measurement)))


def _samples(seen: list[int], measurement: NDArray[Any]) -> list[int]:
    """(T, B, C, H, W)[-4] is B, and so is (B, C, H, W)[-4]."""
    assert set(seen) == {measurement.shape[-4], len(LABELS)}
    return seen


def test_a_chip_is_trimmed_alike_in_any_company(program: Program) -> None:
    """Also where noise is so weak that some chips are settled long before others."""
    few = MEASUREMENT[:8]
    for noise in ({"mismatch": 0.3, "thermal": 0.1}, {"thermal": 0.003}):
        chips = population(program, **noise)
        together = calibrate_trims(virtual_rack(chips, program), program, few, SELECTION, LABELS)
        for index in range(COUNT):
            alone = calibrate_trims(virtual_rack([chips[index]], program), program, few, SELECTION, LABELS)
            for name, codes in alone.codes.items():
                np.testing.assert_array_equal(codes[0], together.codes[name][index])
            assert alone.validation_before[0] == together.validation_before[index]
            assert alone.validation_after[0] == together.validation_after[index]


def test_layers_are_trimmed_from_the_input_on_each_behind_those_before_it(program: Program) -> None:
    device = virtual_rack(population(program, mismatch=0.5), program)
    real, seen = device.run, list[RackCodes]()

    class Watched:
        chips, trim = device.chips, device.trim

        def run(self, inputs: NDArray[Any], codes: RackCodes) -> Counts:
            seen.append({name: one.copy() for name, one in codes.items()})
            return real(inputs, codes)

    result = calibrate_trims(Watched(), program, MEASUREMENT, SELECTION, LABELS)
    bits = device.trim.bits
    first, second, (before, after) = seen[:bits], seen[bits : 2 * bits], seen[2 * bits :]
    assert not any(codes["lif2"].any() for codes in first)
    assert after["lif1"].any()
    for codes in second:
        np.testing.assert_array_equal(codes["lif1"], after["lif1"])
    assert not any(one.any() for one in before.values())
    for name, codes in after.items():
        np.testing.assert_array_equal(codes[result.kept], result.codes[name][result.kept])


def test_a_run_is_what_the_chips_compute_with_the_thermal_noise_of_its_turn(program: Program) -> None:
    chips = population(program, mismatch=0.2, thermal=0.1)[:2]
    trim = chips[0].model.trim
    assert trim is not None
    codes = {"lif2": np.arange(64).reshape(2, 32) - 32}
    device = virtual_rack(chips, program, first_trial=5)
    for trial in (5, 6):
        got = device.run(MEASUREMENT, codes)
        for index, chip in enumerate(chips):
            own = trimmed(chip.realise(program), program, trim, {"lif2": codes["lif2"][index]})
            wanted = reference.run(own, MEASUREMENT, chip.dynamic_noise(program, trial))
            np.testing.assert_array_equal(got.readout[index], wanted.readout)
            for name, spikes in wanted.spikes.items():
                np.testing.assert_array_equal(got.spike_counts[name][index], spikes.sum(axis=(0, 1), dtype=int))


def reachable(value: Any, seen: set[int]) -> list[Any]:
    """Everything that public attributes lead to."""
    if id(value) in seen or isinstance(value, int | str | float | type | type(np)):
        return []
    seen.add(id(value))
    inner = [getattr(value, name) for name in dir(value) if not name.startswith("_")]
    return [value, *(other for one in inner for other in reachable(one, seen))]


def test_the_rack_leads_to_no_hidden_parameters(program: Program) -> None:
    device = virtual_rack(population(program, mismatch=0.3), program)
    found = reachable(device, set())
    assert any(one is device.trim for one in found)
    assert not [one for one in found if isinstance(one, Program | VirtualChip | NoiseModel | np.ndarray)]
    assert {name for name in dir(device) if not name.startswith("_")} == {"chips", "trim", "run"}
    assert device.chips == COUNT


def test_a_chip_without_a_knob_is_refused(program: Program) -> None:
    ideal = VirtualChip(hw_models.chip("ideal"), NoiseModel(mismatch=0.1), 0)
    with pytest.raises(UsageError, match="chip ideal has no knob"):
        virtual_rack([ideal], program)
