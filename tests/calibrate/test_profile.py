"""Profiles: what is written comes back, and what is stale, foreign, expired, damaged or hostile is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from neurodeploy import hw_models
from neurodeploy.calibrate.device import virtual_rack
from neurodeploy.calibrate.ladder import calibrate, parse_ladder
from neurodeploy.calibrate.profile import Profile, check_profile, make_profile
from neurodeploy.calibrate.profile_file import ARRAYS, FILE, load_profile, save_profile
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.program import Program
from neurodeploy.profiles import with_profile
from neurodeploy.simulate import engine

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
NOISE = {"mismatch": 0.5, "temperature": 20.0}


@pytest.fixture(scope="module")
def made(
    programs: dict[str, Program], population: Callable[..., list[VirtualChip]], data: CalibrationData
) -> tuple[Profile, dict[str, Any]]:
    """The profile of a chip of Loihi 2, whose settings have scalars, vectors and weights; and its rack settings."""
    program = programs["loihi2"]
    for chip in population("loihi2", 32, **NOISE):
        found = calibrate(virtual_rack([chip], program), program, data, parse_ladder("3-5"))
        if all(step.kept.all() for step in found.steps[1:]):
            return make_profile(chip, program, found, NOISE, NOW, 24), found.settings
    raise AssertionError("none of 32 chips is the better for levels 4 and 5")


def test_a_profile_comes_back_as_it_was(
    made: tuple[Profile, Any], programs: dict[str, Program], tmp_path: Path
) -> None:
    profile, settings = made
    save_profile(profile, tmp_path / "chip")
    got = load_profile(tmp_path / "chip")
    assert {path.name for path in (tmp_path / "chip").iterdir()} == {FILE, ARRAYS}
    assert set(got.settings) == set(settings)
    for name, values in got.settings.items():
        np.testing.assert_array_equal(values, settings[name][0])
        assert values.shape == settings[name][0].shape
    assert (got.chip, got.chip_id, got.seed, got.noise) == ("loihi2", profile.chip_id, 0, NOISE)
    assert (got.made, got.expires, got.temperature) == (NOW, NOW + timedelta(hours=24), 320.0)
    assert got.program == program_hash(programs["loihi2"])
    assert (got.selection_before, got.selection_after) == (profile.selection_before, profile.selection_after)
    assert got.selection_after > got.selection_before
    assert [step["level"] for step in got.steps] == [3, 4, 5]
    assert got.evidence == "statistical-sim"
    save_profile(got, tmp_path / "chip")  # ours may be replaced
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").write_text("x")
    with pytest.raises(UsageError, match="is not a profile of ours"):
        save_profile(got, tmp_path / "other")


def test_the_chip_of_a_profile_computes_what_the_rack_computed(
    made: tuple[Profile, Any], programs: dict[str, Program], population: Any, data: CalibrationData, tmp_path: Path
) -> None:
    profile, settings = made
    save_profile(profile, tmp_path / "chip")
    own, _ = with_profile(programs["loihi2"], tmp_path / "chip", NOW)
    rack = virtual_rack(population("loihi2", 32, **NOISE)[profile.chip_id :][:1], programs["loihi2"])
    got, wanted = engine.run(own, data.selection), rack.run(data.selection, settings)
    np.testing.assert_array_equal(got.readout, wanted.readout[0])
    assert (got.decisions == data.labels).mean() == pytest.approx(profile.selection_after)


def test_every_reason_against_a_profile_is_named(made: tuple[Profile, Any], programs: dict[str, Program]) -> None:
    profile, chip, program = made[0], hw_models.chip("loihi2"), programs["loihi2"]

    def refused(said: str, **change: Any) -> None:
        known: dict[str, Any] = {"chip": chip, "program": program, "now": NOW, "temperature": 320.0}
        with pytest.raises(UsageError, match=f"^profile refused: .*{said}"):
            check_profile(profile, **(known | change))

    check_profile(profile, chip, program, NOW, 320.0)
    check_profile(profile, chip, program, NOW + timedelta(hours=23.99), 310.0)
    refused("expired: 2026-05-18T12:00", now=NOW + timedelta(hours=24))
    refused("made in the future", now=NOW - timedelta(hours=2))
    refused("foreign: it is of a loihi2, this is a mixed-signal", chip=hw_models.chip("mixed-signal"))
    refused("stale: it is of another program", program=replace(program, steps=5))
    refused("stale: made at 320 K, the chip is at 309.9 K", temperature=309.9)
    other = replace(chip, knobs=(chip.knobs[0], Knob("bias", "neuron", 6, 1.0), *chip.knobs[2:]))
    refused("stale: the knobs of loihi2", chip=other)
    refused("expired.*stale: made at 320 K", now=NOW + timedelta(days=9), temperature=0.0)


def change_json(sealed: bool = True, **values: Any) -> Callable[[Path], None]:
    """Other values, with the hash that makes them look right, or without."""

    def change(folder: Path) -> None:
        content = json.loads((folder / FILE).read_text()) | values
        del content["content_sha256"]
        seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        (folder / FILE).write_text(json.dumps(content | ({"content_sha256": seal} if sealed else {})))

    return change


def rewrite(before: str, after: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / FILE).read_text()
        assert before in text
        (folder / FILE).write_text(text.replace(before, after))

    return change


def with_arrays(**arrays: Any) -> Callable[[Path], None]:
    """Other settings, with the hash that makes them look right."""

    def change(folder: Path) -> None:
        raw = save(arrays)
        (folder / ARRAYS).write_bytes(raw)
        change_json(sha256=hashlib.sha256(raw).hexdigest(), scalars=[])(folder)

    return change


def truncate(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-20])

    return change


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated json": (truncate(FILE), "truncated or damaged"),
    "truncated arrays": (truncate(ARRAYS), "SHA-256 differs"),
    "no json": (lambda folder: (folder / FILE).unlink(), "No such file"),
    "no arrays": (lambda folder: (folder / ARRAYS).unlink(), "No such file"),
    "not ours": (lambda folder: (folder / FILE).write_text("{}"), "not a profile of ours"),
    "a list": (lambda folder: (folder / FILE).write_text("[1]"), "not a profile of ours"),
    "deep": (lambda folder: (folder / FILE).write_text("[" * 10**5), "truncated or damaged"),
    "nearly too deep": (rewrite('"steps": [', f'"steps": [{"[" * 985}{"]" * 985}, '), "profile.json: "),
    "version": (change_json(version=2), "version 2, this program reads 3; calibrate again"),
    "another chip id": (rewrite('"chip_id": ', '"chip_id": 1'), "changed since it was written"),
    "a longer life": (rewrite('"expires": "2026', '"expires": "2999'), "changed since it was written"),
    "no hash": (change_json(sealed=False), "changed since it was written"),
    "chip id": (change_json(chip_id=-1), "a number from 0 on"),
    "chip id of a kind": (change_json(chip_id=True), "a number from 0 on"),
    "no time zone": (change_json(made="2026-05-17T12:00:00"), "with time zone"),
    "before it was made": (change_json(expires="2020-01-01T00:00:00+00:00"), "one after the other"),
    "no date": (change_json(expires="soon"), "not a valid profile"),
    "temperature": (change_json(temperature=float("nan")), "a finite number"),
    "steps": (change_json(steps=3), "a list is expected"),
    "scalars": (change_json(scalars=[["x"]]), "a str is expected"),
    "floats": (with_arrays(**{"bias/neuron/lif1": np.zeros(3)}), "is no setting"),
    "a strange name": (with_arrays(x=np.zeros(3, int)), "is no setting"),
    "no safetensors": (
        lambda folder: (
            (folder / ARRAYS).write_bytes(b"\xff" * 99),
            change_json(sha256=hashlib.sha256(b"\xff" * 99).hexdigest())(folder),
        ),  # type: ignore[dict-item]
        "damaged",
    ),
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_a_damaged_or_hostile_profile_is_refused(made: tuple[Profile, Any], tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "chip"
    save_profile(made[0], folder)
    change, said = HOSTILE[kind]
    change(folder)
    with pytest.raises(FileFormatError, match=rf"^{folder}.*{said}"):
        load_profile(folder)


USELESS: dict[str, tuple[Callable[[Path], None], str]] = {
    "unknown noise": (change_json(noise={"magic": 1.0}), "its noise is not one of ours"),
    "wrong noise": (change_json(noise={"mismatch": "much"}), "its noise is not one of ours"),
    "code out of range": (with_arrays(**{"bias/neuron/lif1": np.full((4, 8, 8), 64)}), "code 64 of bias per neuron"),
    "shape": (with_arrays(**{"bias/neuron/lif1": np.zeros((2**20,), int)}), "codes of shape"),
    "knob": (with_arrays(**{"gain/chip/lif1": np.zeros((1,), int)}), "the chip has threshold per layer"),
    "layer": (with_arrays(**{"bias/neuron/lif9": np.zeros((1,), int)}), "codes for 'lif9'"),
    "weights": (with_arrays(**{"weight/0/lif2": np.full((32, 64), 128)}), "the largest is 127"),
}


@pytest.mark.parametrize("kind", sorted(USELESS))
def test_settings_that_are_not_the_chips_are_refused(
    made: tuple[Profile, Any], programs: dict[str, Program], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "chip"
    save_profile(made[0], folder)
    change, said = USELESS[kind]
    change(folder)
    with pytest.raises(NeurodeployError, match=said):
        with_profile(programs["loihi2"], folder, NOW)


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), float("inf")])
def test_a_profile_is_good_for_a_while(made: tuple[Profile, Any], programs: dict[str, Program], hours: float) -> None:
    chip = VirtualChip(hw_models.chip("loihi2"), made[0].virtual_chip_noise, 4)
    with pytest.raises(UsageError, match="a positive number is expected"):
        make_profile(chip, programs["loihi2"], None, {}, NOW, hours)  # type: ignore[arg-type]
