"""Axes as typed: levels, ranges that include their last, and errors that say what is allowed."""

from __future__ import annotations

import pytest

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.study import parse_axes, parse_noises
from neurodeploy.sweep.plan import NoiseAxis, parse_axis, parse_noise


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("mismatch", (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)),
        ("mismatch=0.3", (0.3,)),
        ("mismatch=0,0.1, 0.25", (0.0, 0.1, 0.25)),
        ("mismatch=1e-3", (0.001,)),
        ("mismatch=0:0.5:0.1", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),  # 0.1 added five times is not 0.5 in binary
        ("mismatch=0:0.3:0.1", (0.0, 0.1, 0.2, 0.3)),
        ("mismatch=0.1:0.7:0.2", (0.1, 0.3, 0.5, 0.7)),
        ("mismatch=0:1:0.3", (0.0, 0.3, 0.6, 0.9)),  # no level beyond the last
        ("mismatch=0.2:0.2:0.1", (0.2,)),
        ("mismatch=0:0.99:1", (0.0,)),
    ],
)
def test_levels_by_value(text: str, levels: tuple[float, ...]) -> None:
    axis = parse_axis(text)
    assert axis.noise == "mismatch"
    assert axis.levels == levels


def test_a_range_holds_a_thousand_levels_and_not_one_more() -> None:
    assert len(parse_axis("thermal=0:0.999:0.001").levels) == 1000
    with pytest.raises(UsageError, match="1001 levels, at most 1000"):
        parse_axis("thermal=0:1:0.001")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mismach", "unknown noise 'mismach': did you mean mismatch"),
        ("", "unknown noise ''"),
        ("mismatch =0.1", "unknown noise"),
        ("mismatch=", "mismatch=: levels are written"),
        ("mismatch=a", "levels are written 0,0.1,0.3 or FIRST:LAST:STEP"),
        ("mismatch=0,,0.1", "levels are written"),
        ("mismatch=0:0.5", "levels are written"),
        ("mismatch=0:0.5:0.1:0.2", "levels are written"),
        ("mismatch=-0.1", "level -0.1 must be finite and not negative"),
        ("mismatch=0.1,nan", "level nan"),
        ("mismatch=inf", "level inf"),
        ("mismatch=1e999", "level inf"),
        ("mismatch=-0.2:0.2:0.1", "level -0.2"),
        ("mismatch=0:0.5:0", "STEP > 0"),
        ("mismatch=0:0.5:-0.1", "STEP > 0"),
        ("mismatch=0.5:0:0.1", "LAST >= FIRST"),
        ("mismatch=0:inf:1", "finite"),
        ("mismatch=0:nan:1", "finite"),
        ("mismatch=0:1e300:1e-300", "levels are written"),  # more steps than a number holds
        ("mismatch=0:1:1e-9", "at most 1000"),
    ],
)
def test_what_is_not_an_axis_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_axis(text)


def test_an_axis_moves_one_noise_and_keeps_the_others() -> None:
    axis = NoiseAxis("mismatch", (0.1, 0.2), NoiseModel(thermal=0.3, weight_mismatch=0.4))
    assert axis.at(0.2) == NoiseModel(mismatch=0.2, thermal=0.3, weight_mismatch=0.4)
    assert axis.base.mismatch == 0
    assert NoiseAxis("thermal", (0.0,)).at(0.0) == NoiseModel()


def test_fixed_noise() -> None:
    assert parse_noise([]) == NoiseModel()
    assert parse_noise(["mismatch=0.2", "thermal=0.1"]) == NoiseModel(mismatch=0.2, thermal=0.1)
    for text in ("mismatch", "mismatch=0.1,0.2", "mismatch=0:1:0.5", "mismatch="):
        with pytest.raises(UsageError, match=f"^{text}: "):
            parse_noise([text])


def test_the_same_fixed_noise_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"thermal=0.2: thermal is given twice"):
        parse_noise(["thermal=0.1", "mismatch=0.1", "thermal=0.2"])


def test_axes_stand_on_the_fixed_noise_but_not_on_themselves() -> None:
    axes = parse_axes(["mismatch=0.1", "weight_mismatch=0.2"], ["thermal=0.3"])
    assert [axis.at(axis.levels[0]) for axis in axes] == [
        NoiseModel(mismatch=0.1, thermal=0.3),
        NoiseModel(weight_mismatch=0.2, thermal=0.3),
    ]
    with pytest.raises(UsageError, match="--with mismatch: is an axis of this sweep already"):
        parse_axes(["mismatch"], ["mismatch=0.1"])
    assert parse_axes(["mismatch=0.1"], ["mismatch=0"])[0].at(0.1) == NoiseModel(mismatch=0.1)


def test_a_preset_does_not_take_the_place_of_what_is_fixed() -> None:
    base = parse_noise(["thermal=0.1", "layers=lif1"])
    with pytest.raises(UsageError, match=r"^buechel-10: .* beside which thermal=0.1, layers=lif1 would be lost"):
        parse_noise(["buechel-10"], base)
    assert parse_noise(["buechel-10"], NoiseModel()) == parse_noise(["buechel-10"])


def test_noises_to_take_apart_stand_on_the_fixed_noise_but_not_on_themselves() -> None:
    assert parse_noises(["mismatch=0.2", "thermal=0.1"], []) == NoiseModel(mismatch=0.2, thermal=0.1)
    assert parse_noises(["mismatch=0.2"], ["decay_as=tau", "thermal=0.1", "mismatch=0"]) == NoiseModel(
        mismatch=0.2, thermal=0.1, decay_as="tau"
    )
    assert parse_noises(["mismatch=0.2"], ["buechel-10"]) == NoiseModel(
        mismatch=0.2, weight_mismatch=0.1, decay_as="tau"
    )  # a preset is moved, as by an axis
    assert parse_noises(["buechel-10", "thermal=0.1"], []).active == ("mismatch", "weight_mismatch", "thermal")
    for noise, fixed, said in (
        (["mismatch=0.2"], ["mismatch=0.1"], "^--with mismatch: is given by --noise already"),
        (["mismatch=0.2", "decay_as=eps"], ["decay_as=tau"], "^--with decay_as: is given by --noise already"),
        (["buechel-10"], ["thermal=0.1"], "thermal=0.1 would be lost"),
        (["buechel-10"], ["buechel-20"], "would be lost"),
    ):
        with pytest.raises(UsageError, match=said):
            parse_noises(noise, fixed)
