"""A chip's profile: the settings that a calibration found for it, with all that says for which chip and how long.

A profile of another chip, another program, or past its date is refused with the reason. `profile_file` has its folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from neurodeploy.calibrate.device import of_chip
from neurodeploy.calibrate.ladder import Calibration
from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.hw_models.knobs import Settings, check_settings, written
from neurodeploy.hw_models.noise import NOMINAL_TEMPERATURE, NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.program import Program

_HOURS = 24.0 * 7


@dataclass(frozen=True, eq=False)
class Profile:
    """What a profile holds.

    Attributes:
        chip: name of the chip model.
        chip_id, seed, noise: which virtual chip it is.
        program: hash of the Program that the chip was meant to be (`ir.identity`).
        knobs: of the chip model when the profile was made, as plain values.
        settings: key -> codes, as `hw_models.knobs.Settings`.
        temperature: of the chip during calibration, kelvin.
        made, expires: with time zone.
        steps: level by level, as `ladder.Step.of_chip`.
        selection_before, selection_after: accuracy on the selection samples.
        cost: chip_runs, samples, seconds, written.
        evidence: what its figures rest on.
    """

    chip: str
    chip_id: int
    seed: int
    noise: Mapping[str, Any]
    program: str
    knobs: tuple[Mapping[str, Any], ...]
    settings: Settings
    temperature: float
    made: datetime
    expires: datetime
    steps: tuple[Mapping[str, Any], ...]
    selection_before: float
    selection_after: float
    cost: Mapping[str, Any]
    evidence: str

    @property
    def virtual_chip_noise(self) -> NoiseModel:
        """The noise of the virtual chip; raises FileFormatError where it is none."""
        try:
            given: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in self.noise.items()
            }
            return NoiseModel(**given)
        except (TypeError, NeurodeployError) as error:
            raise FileFormatError(f"profile: its noise is not one of ours ({error})") from error


def make_profile(
    chip: VirtualChip,
    program: Program,
    calibration: Calibration,
    noise: Mapping[str, Any],
    now: datetime,
    hours: float = _HOURS,
) -> Profile:
    """The profile of a calibrated virtual chip, the only one of its rack.

    Args:
        noise: the chip's, as `sweep.plan.parameters` gives it.
        now: with time zone.
        hours: for which it is good.
    """
    if not (math.isfinite(hours) and hours > 0):
        raise UsageError(f"a profile is good for {hours} hours: a positive number is expected")
    return Profile(
        chip.model.name,
        chip.chip_id,
        chip.seed,
        noise,
        program_hash(program),
        tuple(asdict(knob) for knob in chip.model.knobs),
        of_chip(calibration.settings, 0),
        kelvin(chip.noise),
        now,
        now + timedelta(hours=min(hours, 1e6)),
        tuple(step.of_chip(0) for step in calibration.steps),
        float(calibration.selection_before[0]),
        float(calibration.selection_after[0]),
        asdict(calibration.cost),
        "statistical-sim" if chip.noise.active else chip.model.evidence,
    )


def kelvin(noise: NoiseModel) -> float:
    """The temperature of a chip with that noise."""
    return NOMINAL_TEMPERATURE + (noise.temperature if noise.temperature_direction == "hotter" else -noise.temperature)


def check_profile(profile: Profile, chip: ChipModel, program: Program, now: datetime, temperature: float) -> None:
    """Whether a profile is for this program on this chip, now.

    Args:
        temperature: of the chip, kelvin.

    Raises:
        UsageError: naming every reason against it.
    """
    against = []
    if profile.chip != chip.name:
        against.append(f"foreign: it is of a {profile.chip}, this is a {chip.name}")
    elif [dict(one) for one in profile.knobs] != [asdict(knob) for knob in chip.knobs]:
        against.append(f"stale: the knobs of {chip.name} were described otherwise when it was made")
    if profile.program != program_hash(program):
        against.append("stale: it is of another program (network, quantisation or steps); calibrate again")
    if now >= profile.expires:
        against.append(f"expired: {profile.expires.isoformat(timespec='minutes')}; calibrate again")
    if now < profile.made - timedelta(hours=1):
        against.append(f"made in the future, {profile.made.isoformat(timespec='minutes')}; check the clock")
    if abs(temperature - profile.temperature) > TOLERATED_KELVIN:
        against.append(
            f"stale: made at {profile.temperature:g} K, the chip is at {temperature:g} K, and at most "
            f"{TOLERATED_KELVIN:g} K between them are accepted"
        )
    if against:
        raise UsageError(f"profile refused: {'; '.join(against)}")
    check_settings(program, chip.knobs, profile.settings)
    written(program, chip.knobs, profile.settings)


TOLERATED_KELVIN = 10.0
"""How far a chip may be from its calibration's temperature: at 0.2 % per kelvin (`noise_terms`) 2 % of a threshold."""
