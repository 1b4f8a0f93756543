"""The chips, as data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip, chips
from neurodeploy.hw_models.chip import ChipModel, Knob


def test_every_chip_is_known_by_its_name() -> None:
    assert {"ideal", "loihi2", "mixed-signal"} <= set(chips())
    assert all(chip(name) is model and model.name == name for name, model in chips().items())


def test_an_unknown_chip_names_the_nearest_and_all() -> None:
    with pytest.raises(
        UsageError,
        match=r"unknown chip 'loihi': did you mean loihi2 or loihi1\? known: .*ideal, loihi1, loihi2, mixed-signal",
    ):
        chip("loihi")


@pytest.mark.parametrize("name", sorted(chips()))
def test_a_chip_says_where_its_numbers_come_from(name: str) -> None:
    model = chip(name)
    assert "weights" in model.sources
    assert all(len(text) > 20 for text in model.sources.values())
    assert all(len(knob.source) > 20 for knob in model.knobs)


@pytest.mark.parametrize("name", sorted(chips()))
def test_register_limits_belong_to_fixed_point_chips(name: str) -> None:
    model = chip(name)
    limits = (model.threshold_max, model.bias_mantissa_max, model.bias_exponents)
    assert all((limit is not None) == model.fixed_point for limit in limits)


def test_loihi_2_has_the_documented_widths() -> None:
    model = chip("loihi2")
    assert (model.weight_max, model.threshold_max) == (127, 2**17 - 1)
    assert (model.bias_mantissa_max, model.bias_exponents) == (2**12 - 1, (6, 6))
    assert (model.resets, model.evidence) == (("zero",), "bit-exact-sim")


@pytest.mark.parametrize(("bits", "highest"), [(2, 1), (7, 63), (8, 127)])
def test_weights_and_codes_are_symmetric(bits: int, highest: int) -> None:
    assert Knob("threshold", "neuron", bits, 1.0).highest_code == highest
    assert ChipModel("x", "x", False, bits, ("zero",), "modelled").weight_max == highest


def test_the_catalogue_cannot_be_written_to() -> None:
    with pytest.raises(TypeError):
        chips()["mine"] = chip("ideal")  # type: ignore[index]


@pytest.mark.parametrize("name", ["loihi2@4", "mixed-signal@2", "dynapse2@3"])
def test_weights_of_fewer_bits_are_rewritten_with_as_many(name: str) -> None:
    narrow, whole = chip(name), chip(name.partition("@")[0])
    assert [knob.bits for knob in narrow.knobs if knob.per == "synapse"] == [narrow.weight_bits]
    assert [knob for knob in narrow.knobs if knob.per != "synapse"] == [k for k in whole.knobs if k.per != "synapse"]
    with pytest.raises(UsageError, match=rf"chip {name}: weight per synapse of {whole.weight_bits} bits: weights have"):
        replace(narrow, knobs=whole.knobs)
