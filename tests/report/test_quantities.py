"""Axes of charts carry the unit of their noise."""

from __future__ import annotations

import pytest

from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.report.quantities import quantity_of


@pytest.mark.parametrize(
    ("noise", "unit", "factor", "short"),
    [
        ("mismatch", "standard deviation, % of nominal", 100, "\u00a0%"),
        ("thermal", "standard deviation, % of threshold", 100, "\u00a0%"),
        ("dead_neurons", "% of neurons", 100, "\u00a0%"),
        ("quantization", "% of the largest weight", 100, "\u00a0%"),
        ("background_spikes", "% per neuron and step", 100, "\u00a0%"),
        ("spike_loss", "%", 100, "\u00a0%"),
        ("temperature", "K", 1, "\u00a0K"),
        ("ktc", "multiple of the physical noise", 1, "\u00a0multiple of the physical noise"),
    ],
)
def test_unit_and_factor(noise: str, unit: str, factor: float, short: str) -> None:
    found = quantity_of(noise)
    assert (found.title, found.unit, found.factor, found.short) == (NOISE_TERMS[noise].title, unit, factor, short)


def test_every_noise_has_an_axis_and_an_unknown_one_keeps_its_name() -> None:
    assert {quantity_of(noise).title for noise in NOISE_TERMS} == {term.title for term in NOISE_TERMS.values()}
    assert quantity_of("point_number").title == "point number"
