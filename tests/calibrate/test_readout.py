"""Level 5 and 6 look at what the chip's own readout says: its synapses may be off as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import virtual_rack
from neurodeploy.calibrate.readout import features, measured_gains, refit
from neurodeploy.calibrate.tuning import tune
from neurodeploy.calibrate.work import CalibrationData, Options, Work, readout_in_weight_units
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import engine

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]
CHIP = "mixed-signal"


def work_of(chips: list[VirtualChip], program: Program, data: CalibrationData, options: Options | None = None) -> Work:
    return Work(Bench(virtual_rack(chips, program), program), data, options or Options())


def test_gains_of_the_readout_are_found() -> None:
    """300 samples of 20 features tell 20 gains per class; a weight of 0 has none, and a dead synapse is held."""
    random = np.random.default_rng(0)
    seen = np.concatenate([random.integers(0, 5, (300, 20)).astype(float), np.ones((300, 1))], axis=1)
    prior = random.normal(size=(21, 3)) * 100
    prior[3, 1] = 0
    gains = np.ones((21, 3))
    gains[:-1] = np.maximum(1 + 0.3 * random.normal(size=(20, 3)), 0.3)
    gains[5, 2] = 0
    told = seen @ (gains * prior)
    got = measured_gains(seen, told, prior)
    wanted = gains.copy()
    wanted[3, 1], wanted[5, 2] = 1, 0.25
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_what_is_as_it_was_written_has_gains_of_exactly_1() -> None:
    random = np.random.default_rng(1)
    seen = random.integers(0, 5, (64, 11)).astype(float)
    prior = random.normal(size=(11, 3))
    exact = seen @ prior
    for noise in (0.0, 0.5):  # noise is nothing that gains foretell
        told = exact + noise * random.normal(size=exact.shape)
        np.testing.assert_array_equal(measured_gains(seen, told, prior), np.ones((11, 3)))
    np.testing.assert_array_equal(measured_gains(0 * seen, exact, prior), np.ones((11, 3)))
    np.testing.assert_array_equal(measured_gains(seen[:2], 2 * exact[:2], prior), np.ones((11, 3)))  # none held out


def test_a_readout_whose_synapses_deviate_says_again_what_was_meant(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """Synapses of the last layer alone are off: written anew, its readouts are nearer to the nominal ones."""
    program = programs[CHIP]
    name = program.layers[-1].name
    chips = [
        VirtualChip(one.model, replace(one.noise, layers=(name,)), one.chip_id)
        for one in population(CHIP, 3, weight_mismatch=0.3)
    ]
    work = work_of(chips, program, data)
    weight = next(knob for knob in chips[0].model.knobs if knob.quantity == "weight")
    settings = refit(work, weight, {}).settings
    meant = engine.run(program, data.selection).readout
    length = np.linalg.norm(meant)
    for before, after in zip(
        work.bench.recordings(data.selection, {}), work.bench.recordings(data.selection, settings), strict=True
    ):
        # Weights that would need more than the highest code shrink all, so that only directions compare.
        off, left = (
            1 - (one.readout * meant).sum() / (length * np.linalg.norm(one.readout)) for one in (before, after)
        )
        assert left < 0.2 * off
        assert (after.decisions == meant.argmax(axis=1)).mean() > (before.decisions == meant.argmax(axis=1)).mean()


def test_the_loop_descends_from_what_the_chip_says(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """The first step of Adam goes against the gradient's sign; for the readout it is Fᵀ (softmax(R) - target)."""
    chips, program = population(CHIP, 1, weight_mismatch=0.5), programs[CHIP]
    some = replace(data, refit=data.measurement)
    work = work_of(chips, program, some, Options(tuning_steps=1, tuning_batch=len(data.measurement)))
    weight = next(knob for knob in chips[0].model.knobs if knob.quantity == "weight")
    last = program.layers[-1]
    key = f"weight/0/{last.name}"
    moved = tune(work, weight, {}).settings[key][0] - last.synapses[0].weight

    def probabilities(readout: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        values = torch.tensor(readout, dtype=torch.float64)
        return torch.softmax(3 * values / values.std(), dim=1).numpy()

    chip = engine.run(chips[0].realise(program), data.measurement)
    target = probabilities(engine.run(program, data.measurement).readout)
    error = probabilities(readout_in_weight_units(last, chip.readout)) - target
    gradient = (features(program, chip, data.measurement)[:, :-1].T @ error).T
    clear = np.abs(gradient) > 0.01 * np.abs(gradient).max()
    assert clear.mean() > 0.3
    np.testing.assert_array_equal(np.sign(moved[clear]), -np.sign(gradient[clear]))
