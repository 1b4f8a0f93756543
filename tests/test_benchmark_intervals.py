"""The intervals that committed results carry (benchmarks/common.py): their formulas written again, and by trial."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest
from benchmark_scripts import script

T_975_OF_3 = 3.182446305  # Student's t, 0.975, 3 degrees of freedom, from a printed table


@pytest.fixture(scope="module")
def common() -> ModuleType:
    return script("common")


def test_the_interval_of_a_mean(common: ModuleType) -> None:
    deviation = math.sqrt((2.25 + 0.25 + 0.25 + 2.25) / 3)
    mean, low, high = common.mean_interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert (high - low) / 2 == pytest.approx(T_975_OF_3 * deviation / 2, rel=1e-9)
    assert (high + low) / 2 == pytest.approx(2.5)


def test_one_value_has_no_interval(common: ModuleType) -> None:
    mean, low, high = common.mean_interval([0.25])
    assert mean == 0.25
    assert math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(common.ratio_interval([1.0], [2.0])[1])


def test_the_interval_of_a_ratio_by_hand(common: ModuleType) -> None:
    parts, wholes = [1.0, 2.0, 2.0, 5.0], [2.0, 2.0, 4.0, 8.0]  # 10 of 16: residuals -0.25, 0.75, -0.5, 0
    spread = math.sqrt((0.25**2 + 0.75**2 + 0.5**2) / 3) / 4
    ratio, low, high = common.ratio_interval(parts, wholes)
    assert ratio == 10 / 16
    assert (high - low) / 2 == pytest.approx(T_975_OF_3 * spread / 2, rel=1e-9)
    assert (high + low) / 2 == pytest.approx(10 / 16)


def test_a_constant_share_is_certain(common: ModuleType) -> None:
    assert common.ratio_interval([0.5, 1.0, 4.0], [1.0, 2.0, 8.0]) == (0.5, 0.5, 0.5)


def test_nineteen_of_twenty_studies_cover_the_true_share(common: ModuleType) -> None:
    """12 networks that lose 1 to 5 points and win back nine tenths of it, each its own share; 2,000 such studies."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        wholes = generator.uniform(0.01, 0.05, 12)
        parts = wholes * 0.9 + generator.normal(0, 0.004, 12)
        _, low, high = common.ratio_interval(parts, wholes)
        covered += low <= 0.9 <= high
    assert 0.93 < covered / 2000 < 0.97
