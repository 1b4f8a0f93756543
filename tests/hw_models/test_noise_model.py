"""The vocabulary: names, limits, options, presets, and the page that is made from it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from noise_programs import program, virtual

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NOISES, OPTIONS, NoiseModel, parse_option
from neurodeploy.hw_models.noise_listing import markdown, noise_rows, preset_rows
from neurodeploy.hw_models.noise_presets import PRESETS, preset
from neurodeploy.hw_models.noise_terms import NOISE_TERMS

PAGE = Path(__file__).parents[2] / "docs" / "noise.md"
LIMITED = {
    "quantization": 1.0,
    "dead_neurons": 1.0,
    "stuck_neurons": 1.0,
    "dead_synapses": 1.0,
    "stuck_synapses": 1.0,
    "spike_loss": 1.0,
    "spike_jitter": 1.0,
    "background_spikes": 1.0,
}


def test_every_magnitude_is_a_term_and_0_by_default() -> None:
    names = [one.name for one in fields(NoiseModel)]
    assert (*NOISES, *OPTIONS) == tuple(names)
    assert set(NOISE_TERMS) == set(NOISES)
    assert all(getattr(NoiseModel(), name) == 0 for name in NOISES)
    assert NOISES[:3] == ("mismatch", "weight_mismatch", "thermal")  # NoiseModel(0.1, 0.2, 0.3) keeps its meaning


@pytest.mark.parametrize("name", NOISES)
def test_a_term_says_all_that_is_asked_of_it(name: str) -> None:
    term = NOISE_TERMS[name]
    assert all([term.title, term.acts_on, term.equation, term.unit, term.source, term.validity])
    assert 0 < term.valid_to <= (term.limit or np.inf)
    assert (term.drawn in ("step", "trial")) <= (term.where != "program")


@pytest.mark.parametrize(("name", "limit"), LIMITED.items())
def test_a_probability_ends_at_1(name: str, limit: float) -> None:
    assert getattr(NoiseModel(**{name: limit}), name) == limit
    with pytest.raises(UsageError, match=rf"noise {name}=1.0001: at most 1"):
        NoiseModel(**{name: 1.0001})


def test_what_has_no_limit_is_computed_at_any_level() -> None:
    assert {name for name, term in NOISE_TERMS.items() if term.limit is not None} == set(LIMITED)
    NoiseModel(**{name: 7.0 for name in NOISES if name not in LIMITED})


def test_active_names_what_is_above_0() -> None:
    assert NoiseModel(distribution="lognormal", age=3.0).active == ()
    assert NoiseModel(readout=0.1, mismatch=0.2).active == ("mismatch", "readout")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"distribution": "log-normal"}, "unknown distribution 'log-normal': did you mean lognormal"),
        ({"decay_as": "decay"}, "unknown decay_as 'decay'"),
        ({"temperature_direction": "up"}, "known: colder, hotter"),
        ({"correlation_length": -1.0}, "correlation_length=-1.0: finite and not negative"),
        ({"correlation_length": float("inf")}, "correlation_length=inf"),
        ({"correlation_length": 0.999}, "correlation_length=0.999: 1 or more, or 0"),
        ({"age": float("nan")}, "age=nan"),
        ({"core_size": -5}, "core_size=-5"),
        ({"core_size": 2.5}, "core_size=2.5: a whole number"),
        ({"temperature_tau": float("inf")}, "temperature_tau=inf: a finite number"),
        ({"temperature_spread": -0.1}, "temperature_spread=-0.1"),
        ({"temperature": 301.0, "temperature_direction": "colder"}, "temperature=301.0"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        NoiseModel(**options)


def test_an_unknown_layer_names_the_nearest() -> None:
    chip = virtual("mixed-signal", mismatch=0.1, thermal=0.1, layers=("uot",))
    for use in (chip.realise, chip.dynamic_noise):
        with pytest.raises(UsageError, match=r"unknown layer 'uot': did you mean out\? known: a, out"):
            use(program("mixed-signal"))


def test_one_layer_may_be_named_without_a_tuple() -> None:
    assert NoiseModel(layers="conv1").layers == ("conv1",)  # type: ignore[arg-type]
    assert NoiseModel(layers=["a", "b"]).layers == ("a", "b")  # type: ignore[arg-type]
    assert NoiseModel(layers=frozenset({"a"})).layers == ("a",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("distribution", "lognormal", "lognormal"),
        ("decay_as", "tau", "tau"),
        ("core_size", "256", 256),
        ("age", "1e3", 1000.0),
        ("temperature_threshold", "-0.003", -0.003),
        ("layers", "conv1,fc", ("conv1", "fc")),
        ("layers", "conv1 + fc", ("conv1", "fc")),
        ("layers", "", ()),
    ],
)
def test_options_as_typed(name: str, text: str, value: Any) -> None:
    parsed = parse_option(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("core_size", "2.5", "core_size=2.5: a whole number is expected"),
        ("age", "old", "age=old: a number is expected"),
        ("distribution", "normal", "unknown distribution 'normal'"),
        ("corelation_length", "3", "unknown noise option 'corelation_length': did you mean correlation_length"),
    ],
)
def test_options_that_are_none_are_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_option(name, text)


def test_presets_by_value() -> None:
    """The published figures, written again."""
    lognormal = {"decay_as": "tau", "distribution": "lognormal"}
    assert preset("dynap-se").noise == NoiseModel(decay_mismatch=0.125, weight_mismatch=0.29, **lognormal)  # type: ignore[arg-type]
    assert preset("dynap-se-slow").noise.weight_mismatch == 0.16
    assert preset("dynap-se-core").noise == replace(preset("dynap-se").noise, decay_mismatch=0.071, weight_mismatch=0.2)
    assert preset("rockpool").noise == NoiseModel(mismatch=0.1, decay_as="tau")
    for percent in (5, 10, 20, 30):
        noise = preset(f"buechel-{percent:02}").noise
        assert noise == NoiseModel(mismatch=percent / 100, weight_mismatch=percent / 100, decay_as="tau")
    assert preset("psg-pda").noise.decay_as == "eps"
    assert all(len(one.source) > 20 and one.leaves_out and one.title for one in PRESETS.values())
    with pytest.raises(UsageError, match="unknown noise preset 'dynapse': did you mean dynap-se"):
        preset("dynapse")
    assert not set(PRESETS) & {*NOISES, *OPTIONS}


def test_the_page_holds_the_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert markdown(noise_rows()) in page
    assert markdown(preset_rows()) in page
    for name in OPTIONS:
        assert f"`{name}`" in page


def test_the_listing_is_sorted_by_when_a_noise_is_drawn() -> None:
    rows = noise_rows()
    assert [row["noise"] for row in rows if row["drawn"] == "trial"] == ["readout"]
    order = ["never", "chip", "trial", "step"]
    assert [order.index(row["drawn"]) for row in rows] == sorted(order.index(row["drawn"]) for row in rows)
    exported = {row["noise"] for row in rows if row["exported"] == "with the chip"}
    assert exported == {name for name, term in NOISE_TERMS.items() if term.where == "program"}
    assert "stuck_neurons" not in exported


@pytest.mark.parametrize("layers", [[[1]], [1], 5, None, {"a": 1}, ("a", None)])
def test_layers_are_names(layers: Any) -> None:
    with pytest.raises(UsageError, match=r"noise option layers=.*: names of layers are expected"):
        NoiseModel(layers=layers)


@pytest.mark.parametrize("name", ["mismatch", "temperature_tau", "age"])
@pytest.mark.parametrize("value", ["1", [1], None, True, 10**400])
def test_levels_and_options_are_numbers(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name}="):
        NoiseModel(**{name: value})


@pytest.mark.parametrize("direction", ["hotter", "colder"])
@pytest.mark.parametrize("name", NOISES)
def test_the_limit_of_a_noise_is_the_last_level_that_is_taken(name: str, direction: Any) -> None:
    base = NoiseModel(temperature_direction=direction)
    limit = base.limit(name)
    if np.isinf(limit):
        assert getattr(replace(base, **{name: 1e6}), name) == 1e6
        return
    assert getattr(replace(base, **{name: limit}), name) == limit
    with pytest.raises(UsageError, match=f"noise {name}="):
        replace(base, **{name: np.nextafter(limit, np.inf)})


def test_what_is_outside_of_a_program_is_what_is_not_exported() -> None:
    every = NoiseModel(**dict.fromkeys(NOISES, 0.1))
    assert every.outside_program == (
        "thermal",
        "stuck_neurons",
        "ktc",
        "flicker",
        "spike_loss",
        "spike_jitter",
        "background_spikes",
        "readout",
    )
    assert NoiseModel(mismatch=0.3, dead_neurons=0.1, drift=0.1).outside_program == ()
