"""How long a calibration lasts, by value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from neurodeploy.calibrate.device import virtual_rack
from neurodeploy.calibrate.drift import Drift, changed, drift
from neurodeploy.calibrate.ladder import calibrate
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program

Population = Callable[..., list[VirtualChip]]


def test_chips_lose_with_age_what_calibration_brought(
    programs: dict[str, Program], population: Population, data: CalibrationData
) -> None:
    program, chips = programs["mixed-signal"], population("mixed-signal", 4, mismatch=0.4, drift=0.01, age=0.0)
    settings = calibrate(virtual_rack(chips, program), program, data).settings
    amounts = (0.0, 20.0, 60.0)
    found = drift(chips, program, settings, data.selection, data.labels, "age", amounts)
    assert found.accuracy.shape == (3, 4)
    mean = found.accuracy.mean(axis=1)
    assert mean[0] > mean[2] + 0.02
    aged = population("mixed-signal", 4, mismatch=0.4, drift=0.01, age=20.0)
    decisions = virtual_rack(aged, program).run(data.selection, settings).decisions
    np.testing.assert_array_equal(found.accuracy[1], (decisions == data.labels).mean(axis=1))


def test_where_it_crosses_is_interpolated() -> None:
    accuracy = np.array([[0.90, 0.92], [0.90, 0.91], [0.86, 0.88], [0.90, 0.90]])
    found = Drift("age", (0.0, 10.0, 20.0, 30.0), accuracy)  # means 0.91, 0.905, 0.87, 0.90
    assert found.lasts(0.5) == pytest.approx(10.0)
    assert found.lasts(1.0) == pytest.approx(10 + 10 * 0.005 / 0.035)
    assert found.lasts(4.0) == pytest.approx(20.0)
    assert found.lasts(4.1) is None


@pytest.mark.parametrize("samples", [100, 1000, 10000])
def test_a_fall_by_exactly_the_points_counts(samples: int) -> None:
    """Whatever the division rounds; a sample less is no fall of a point."""
    point = samples // 100
    for right in range(point, samples + 1):
        accuracy = np.array([[right], [right], [right - point]]) / samples
        assert Drift("age", (0.0, 10.0, 20.0), accuracy).lasts(1.0) == pytest.approx(20.0), right
        accuracy[2] = (right - point + 1) / samples
        assert Drift("age", (0.0, 10.0, 20.0), accuracy).lasts(1.0) is None, right


@pytest.mark.parametrize(
    ("before", "amount", "kelvin", "direction"),
    [
        ({}, 15.0, 15.0, "hotter"),
        ({}, -15.0, 15.0, "colder"),
        ({"temperature": 10.0}, -25.0, 15.0, "colder"),
        ({"temperature": 10.0, "temperature_direction": "colder"}, 25.0, 15.0, "hotter"),
        ({"temperature": 10.0}, -10.0, 0.0, "hotter"),
    ],
)
def test_temperature_has_a_sign(before: dict[str, float], amount: float, kelvin: float, direction: str) -> None:
    got = changed(NoiseModel(**before), "temperature", amount)  # type: ignore[arg-type]
    assert (got.temperature, got.temperature_direction) == (kelvin, direction)


def test_what_cannot_be_is_refused(programs: dict[str, Program], population: Population, data: CalibrationData) -> None:
    program, chips = programs["mixed-signal"], population("mixed-signal", 1, mismatch=0.1)
    for change, amounts, said in (
        ("age", (0.0, 1.0), "chips that do not drift do not age"),
        ("temperature", (0.0, -301.0), "below 0 K"),
        ("temperature", (1.0, 2.0), "0 first"),
        ("temperature", (0.0,), "at least one more"),
        ("pressure", (0.0, 1.0), "age and temperature change"),
        ("temperature", (0.0, 20.0, 10.0), "in order and each once"),
        ("temperature", (0.0, 10.0, 10.0), "in order and each once"),
    ):
        with pytest.raises(UsageError, match=said):
            drift(chips, program, {}, data.selection, data.labels, change, amounts)  # type: ignore[arg-type]


@pytest.mark.parametrize("points", [0.0, -1.0, float("nan"), 100.1])
def test_a_fall_that_is_none_is_refused(points: float) -> None:
    flat = Drift("temperature", (0.0, -10.0), np.full((2, 1), 0.9))
    with pytest.raises(UsageError, match="above 0 and at most 100"):
        flat.lasts(points)
    for points in (0.01, 1e-10, 1e-11, 5e-324):  # less than rounding takes, too
        assert flat.lasts(points) is None
    falls = Drift("age", (0.0, 10.0, 20.0), np.array([[0.5], [0.5], [0.25]]))
    for points in (1e-10, 1e-11, 5e-324):
        assert falls.lasts(points) == pytest.approx(10.0)
    assert flat.lasts(100.0) is None
