"""Designs by value: which points, in which order, and that space-filling designs are scipy's and repeat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.study import parse_axes
from neurodeploy.sweep.design import make_points
from neurodeploy.sweep.plan import Point, describe, parse_axis, parse_noise

AXES = parse_axes(["mismatch=0.1,0.4", "thermal=0,0.2"], ["readout=0.05"])


def levels(points: list[Point]) -> list[tuple[float, float]]:
    return [(point.noise.mismatch, point.noise.thermal) for point in points]


def test_one_at_a_time_and_grids_by_value() -> None:
    points = make_points(AXES, "one-at-a-time")
    assert levels(points) == [(0.1, 0.0), (0.4, 0.0), (0.0, 0.0), (0.0, 0.2)]
    assert [(p.axis, p.level) for p in points] == [
        ("mismatch", 0.1), ("mismatch", 0.4), ("thermal", 0.0), ("thermal", 0.2)
    ]  # fmt: skip
    points = make_points(AXES, "grid")
    assert levels(points) == [(0.1, 0.0), (0.1, 0.2), (0.4, 0.0), (0.4, 0.2)]
    assert {p.axis for p in points} == {"mismatch"}
    assert [p.fixed for p in points[:2]] == ["readout=0.05", "thermal=0.2, readout=0.05"]
    assert levels(make_points(AXES, "all-combinations")) == [
        (0.0, 0.0), (0.0, 0.2), (0.1, 0.0), (0.1, 0.2), (0.4, 0.0), (0.4, 0.2)
    ]  # fmt: skip
    assert all(p.noise.readout == 0.05 for design in ("grid", "one-at-a-time") for p in make_points(AXES, design))


@pytest.mark.parametrize("design", ["random", "latin-hypercube", "sobol"])
def test_space_filling_designs_are_seeded_and_within_their_ranges(design: str) -> None:
    points = make_points(AXES, design, 16, 3)
    found = np.array(levels(points))
    generator = np.random.default_rng(3)
    unit = {
        "random": lambda: generator.random((16, 2)),
        "latin-hypercube": lambda: qmc.LatinHypercube(2, seed=generator).random(16),
        "sobol": lambda: qmc.Sobol(2, seed=generator).random(16),
    }[design]()
    np.testing.assert_allclose(found, [0.1, 0] + unit * [0.3, 0.2], atol=1e-11)
    assert points == make_points(AXES, design, 16, 3)
    assert points != make_points(AXES, design, 16, 4)
    assert {(p.axis, p.level) for p in points} == {(None, None)}
    if design != "random":  # one point in each of sixteen strips, along both axes
        strips = np.sort(np.floor((found - [0.1, 0]) / [0.3, 0.2] * 16), axis=0)
        np.testing.assert_array_equal(strips, np.arange(16)[:, None] * [1, 1])


@pytest.mark.parametrize(
    ("noise", "design", "count", "said"),
    [
        ("mismatch", "sobel", None, "unknown design 'sobel': did you mean sobol"),
        ("mismatch", "sobol", None, "--design sobol: needs --points"),
        ("mismatch", "grid", 4, "--design grid: takes no --points"),
        ("mismatch", "sobol", 12, "--points 12: a Sobol design has a power of 2, as 8 or 16"),
        ("mismatch", "random", 0, "--points 0: 1 to 10000"),
        ("mismatch=0.1", "random", 4, "mismatch needs a range"),
        ("mismatch=0:0.9:0.001 thermal=0:1:0.01", "grid", None, "91001 points, at most 10000"),
        ("mismatch mismatch=0.1", "grid", None, "each noise is given once"),
    ],
)
def test_impossible_designs_are_refused(noise: str, design: str, count: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_points(parse_axes(noise.split(), []), design, count)


def test_fixed_noise_takes_options_and_a_preset() -> None:
    found = parse_noise(["buechel-10", "thermal=0.3", "layers=lif1,lif2"])
    assert found == NoiseModel(mismatch=0.1, weight_mismatch=0.1, decay_as="tau", thermal=0.3, layers=("lif1", "lif2"))
    assert describe(found, without="thermal") == ("mismatch=0.1, weight_mismatch=0.1, decay_as=tau, layers=lif1+lif2")
    assert describe(NoiseModel()) == ""
    axis = parse_axes(["mismatch=0.5"], ["buechel-10"])[0]  # an axis moves what a preset set
    assert axis.at(0.5).weight_mismatch == 0.1
    for texts, said in (
        (["buechel-10", "buechel-20"], "one preset at a time"),
        (["decay_as"], "a value is expected"),
        (["decay_as=tao"], "unknown decay_as 'tao': did you mean tau"),
        (["buechel-1=3"], "unknown noise"),
    ):
        with pytest.raises(UsageError, match=said):
            parse_noise(texts)
    with pytest.raises(UsageError, match=r"dead_neurons=1\.5: at most 1"):
        parse_axis("dead_neurons=0:1.5:0.5")
