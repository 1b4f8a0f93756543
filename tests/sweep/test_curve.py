"""A curve in a few numbers: by hand, and on curves whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from neurodeploy.sweep.curve import fallen, summarise_curve


@pytest.mark.parametrize(
    ("means", "points", "level"),
    [
        ([0.9, 0.8, 0.6], 0.05, 0.05),  # half way to 0.1
        ([0.9, 0.8, 0.6], 0.1, 0.1),
        ([0.9, 0.8, 0.6], 0.2, 0.15),
        ([0.9, 0.8, 0.6], 0.4, np.inf),
        ([0.9, 0.95, 0.9], 0.01, np.inf),  # better is no fall
        ([0.9, 0.8, 0.95], 0.1, 0.1),  # the first time counts
    ],
)
def test_where_a_curve_has_fallen(means: list[float], points: float, level: float) -> None:
    assert fallen(np.array([0.0, 0.1, 0.2]), np.array(means), points) == pytest.approx(level)


def test_a_curve_by_hand() -> None:
    """Ten samples, of which 9, 8 and 4 are right, the same on every chip; levels that are not evenly spaced."""
    cells = {level: np.tile(np.arange(10) < right, (3, 1)) for level, right in ((0.0, 9), (0.1, 8), (0.4, 4))}
    found = summarise_curve(cells)
    assert found.area == pytest.approx((0.1 * 0.85 + 0.3 * 0.6) / 0.4)
    assert found.area_low < found.area < found.area_high
    assert [fall.level for fall in found.falls] == [pytest.approx(0.01), pytest.approx(0.05), pytest.approx(0.1)]
    assert (found.lowest, found.highest, found.n_chips) == (0.0, 0.4, 3)
    with pytest.raises(ValueError, match="two levels or more"):
        summarise_curve({0.1: cells[0.1]})


def test_the_interval_of_a_fall_covers_it() -> None:
    """Chips lose 0.5 of accuracy per level, at rates of their own; a fall of 0.1 is at level 0.2. 200 repetitions."""
    rng, hits, levels = np.random.default_rng(0), 0, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    for _ in range(200):
        rates = rng.normal(0.5, 0.15, (30, 1))
        draws = rng.random((30, 200))
        fall = summarise_curve({level: draws < 0.95 - rates * level for level in levels}).falls[2]
        assert fall.low is not None
        hits += fall.low <= 0.2 <= (fall.high or np.inf)
    assert 0.92 <= hits / 200 <= 1
