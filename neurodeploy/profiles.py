"""One chip's profile: made by calibrating it, and used on an artifact's program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neurodeploy.calibrate.bench import Cost
from neurodeploy.calibrate.device import RackSettings, virtual_rack
from neurodeploy.calibrate.drift import Change, Drift, changed, check_amounts, check_points, drift
from neurodeploy.calibrate.ladder import calibrate
from neurodeploy.calibrate.profile import Profile, check_profile, kelvin, make_profile
from neurodeploy.calibrate.profile_file import load_profile, save_profile
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.knobs import adjusted, written
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.sweep.plan import parameters
from neurodeploy.sweep.run import Study

_TEST_TRIAL = 0
_FIRST_TRIAL = 1000  # noise during calibration is never that of the test
_LOOKING_TRIAL = 9000


@dataclass(frozen=True, eq=False)
class Made:
    """A profile that was made, and what it brings.

    Attributes:
        test_before, test_after: accuracy on the study's test samples, which took no part.
        drift: how it does later, where that was asked for.
        curve: what was spent and how accurate the chip was by then on the selection samples, after every measurement,
            where that was asked for; looking is not counted.
    """

    profile: Profile
    test_before: float
    test_after: float
    drift: Drift | None
    curve: tuple[Mapping[str, Any], ...]


def calibrate_chip(
    study: Study,
    noise: NoiseModel,
    chip_id: int,
    hours: float,
    changes: tuple[Change, tuple[float, ...]] | None,
    points: float,
    folder: Path,
    watched: bool = False,
) -> Made:
    """Calibrates one virtual chip of a study by its ladder, and writes its profile.

    Args:
        hours: for which the profile is good; fewer where it ages faster (`changes`).
        changes: ("age" or "temperature", amounts) at which it is measured again.
        points: of accuracy that it may lose.
        watched: also measure the curve.

    Raises:
        UsageError: where the study has no samples for it, or the chip no knob.
        NeurodeployError: where the disk fails.
    """
    if study.measurement is None or study.selection is None:
        raise UsageError("calibration needs samples for measurement and for selection")
    if changes is not None:
        check_amounts(changes[1])
        check_points(points)
    chip = VirtualChip(study.chip, noise, chip_id, study.seed)
    data = CalibrationData(study.measurement, study.selection.inputs, study.selection.labels, study.refit)
    device = virtual_rack([chip], study.program, _FIRST_TRIAL, study.device)
    onlooker = virtual_rack([chip], study.program, _LOOKING_TRIAL, study.device)
    curve: list[Mapping[str, Any]] = []

    def look(cost: Cost, settings: RackSettings) -> None:
        right = (onlooker.run(data.selection, settings).decisions == data.labels).mean()
        curve.append(asdict(cost) | {"accuracy": float(right)})

    found = calibrate(device, study.program, data, study.ladder, study.options, look if watched else None)

    def right(settings: RackSettings) -> float:
        fresh = virtual_rack([chip], study.program, _TEST_TRIAL, study.device)
        return float((fresh.run(study.test.inputs, settings).decisions == study.test.labels).mean())

    later = None
    if changes is not None:
        change, amounts = changes
        later = drift(
            [chip],
            study.program,
            found.settings,
            study.test.inputs,
            study.test.labels,
            change,
            amounts,
        )
        lasts = later.lasts(points)
        if change == "age" and lasts is not None:
            hours = min(hours, max(lasts, 1 / 60))
    profile = make_profile(chip, study.program, found, parameters(noise), datetime.now(UTC), hours)
    save_profile(profile, folder)
    return Made(profile, right({}), right(found.settings), later, tuple(curve))


def with_profile(
    program: Program, folder: Path, now: datetime | None = None, temperature: float | None = None
) -> tuple[Program, Profile]:
    """The Program that the chip of a profile computes, calibrated, from the one that it was meant to be.

    Args:
        temperature: of the chip now, kelvin; None for that of the calibration.

    Raises:
        UsageError: where the profile is damaged, foreign, stale or expired.
    """
    profile = load_profile(folder)
    model, noise = find_chip(program.chip), profile.virtual_chip_noise
    if temperature is not None:
        noise = changed(noise, "temperature", temperature - kelvin(noise))
    check_profile(profile, model, program, now or datetime.now(UTC), kelvin(noise))
    chip = VirtualChip(model, noise, profile.chip_id, profile.seed)
    own = chip.realise(written(program, model.knobs, profile.settings))
    return adjusted(own, program, model.knobs, profile.settings), profile
