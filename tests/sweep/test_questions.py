"""Questions to a study: networks side by side, sensitivity, the reverse question, and chips until it is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep.plan import NoiseAxis, Point
from neurodeploy.sweep.run import Study, measure, sweep
from neurodeploy.sweep.sensitivity import sensitivity
from neurodeploy.sweep.solve import solve
from neurodeploy.sweep.statistics import proportion
from neurodeploy.sweep.store import Store, records

Quiet = Callable[[str, int, int], None]
Rule = Callable[[NoiseModel, int], float]

pytestmark = pytest.mark.parametrize("study", ["loihi2"], indirect=True)


def breaking(chips: int) -> list[float]:
    """Levels at which chips of a population break: normal about 0.4."""
    return [float(level) for level in np.random.default_rng(5).normal(0.4, 0.05, chips)]


@pytest.mark.parametrize("chips", [200, 40])
def test_the_largest_noise_is_found_and_measured_once(
    study: Study, tmp_path: Path, quiet: Quiet, ruled: Callable[[Rule], list[NoiseModel]], chips: int
) -> None:
    breaks = breaking(chips)
    asked = ruled(lambda noise, chip: 0.95 if noise.mismatch <= breaks[chip] else 0.5)
    many, axis = replace(study, chips=chips), NoiseAxis("mismatch", (0.3,))
    with Store(tmp_path / "study.sqlite") as store:
        found = solve(many, axis, 0.95, 0.9, store, False, quiet)
        first = len(asked)
        assert first == found.levels * chips
        again = solve(many, axis, 0.95, 0.9, store, False, quiet)
        assert (again, len(asked)) == (found, first)  # from the study
    good = lambda level: sum(one >= level for one in breaks)  # noqa: E731
    assert found.level is not None
    assert good(found.level) / chips >= 0.95 > good(found.level + found.resolution) / chips
    assert found.resolution == pytest.approx(0.6 / 128)  # 0.3 keeps it, so the search went on to 0.6
    assert found.level_high is not None
    assert proportion(good(found.level_high), chips)[1] < 0.95
    assert proportion(good(found.level_high - found.resolution), chips)[1] >= 0.95
    if chips == 200:
        assert found.level_low is not None
        assert proportion(good(found.level_low), chips)[0] >= 0.95
        assert found.level_low < 0.4 + stats.norm.ppf(0.05) * 0.05 < found.level_high  # the population's own answer
    else:
        assert found.level_low is None  # forty chips cannot prove 95 %, not even forty of forty
    assert found.steady


def test_the_reverse_question_at_its_limits(
    study: Study, tmp_path: Path, quiet: Quiet, ruled: Callable[[Rule], list[NoiseModel]]
) -> None:
    ruled(lambda noise, _: 0.8)
    with Store(tmp_path / "study.sqlite") as store:
        found = solve(study, NoiseAxis("dead_neurons", (0.5,)), 0.5, 0.8, store, False, quiet)
        assert (found.level, found.level_high) == (None, None)  # not even all dead neurons break it
        for share, floor, said in (
            (0.5, 0.85, r"--floor 0.85: without dead_neurons, 0 of 12 chips keep it"),
            (0.0, 0.8, "--yield 0: a fraction above 0"),
            (0.5, 90.0, "--floor 90: a fraction"),
        ):
            with pytest.raises(UsageError, match=said):
                solve(study, NoiseAxis("dead_neurons", (0.5,)), share, floor, store, False, quiet)


@pytest.mark.parametrize(
    ("axis", "breaks", "top"),
    [
        (NoiseAxis("spike_loss", (0.0, 0.3)), 0.98, 1.0),  # 0.6 is kept, and 1.2 is no probability
        (NoiseAxis("spike_loss", (0.01,)), 0.98, 1.0),  # six times doubled it is 0.64
        (NoiseAxis("dead_neurons", (1.0,)), 0.98, 1.0),
        (NoiseAxis("temperature", (100.0,), NoiseModel(temperature_direction="colder")), 290.0, 300.0),
        (NoiseAxis("temperature", (100.0,)), 290.0, 400.0),
        (NoiseAxis("mismatch", (0.5,)), 31.9, 32.0),
    ],
)
def test_the_reverse_question_goes_as_far_as_the_noise(
    study: Study,
    tmp_path: Path,
    quiet: Quiet,
    ruled: Callable[[Rule], list[NoiseModel]],
    axis: NoiseAxis,
    breaks: float,
    top: float,
) -> None:
    ruled(lambda noise, _: 0.95 if getattr(noise, axis.noise) <= breaks else 0.5)
    with Store(tmp_path / "study.sqlite") as store:
        found = solve(study, axis, 0.5, 0.9, store, False, quiet)
    assert found.level == np.floor(breaks / top * 128) / 128 * top
    assert found.resolution == pytest.approx(top / 128)


def test_a_noise_that_is_kept_at_its_limit_has_no_largest_level(
    study: Study, tmp_path: Path, quiet: Quiet, ruled: Callable[[Rule], list[NoiseModel]]
) -> None:
    asked = ruled(lambda *_: 0.95)
    with Store(tmp_path / "study.sqlite") as store:
        found = solve(study, NoiseAxis("spike_loss", (0.3,)), 0.5, 0.9, store, False, quiet)
    assert (found.level, max(noise.spike_loss for noise in asked)) == (None, 1.0)


def test_what_each_layer_costs_by_value(
    study: Study, tmp_path: Path, quiet: Quiet, ruled: Callable[[Rule], list[NoiseModel]]
) -> None:
    """Mismatch costs 0.1 in lif1 and 0.2 in lif2, thermal noise 0.1 in lif1; together they cost 0.1 more."""

    def rule(noise: NoiseModel, chip: int) -> float:
        mismatch = 0.1 * noise.acts_on("lif1") + 0.2 * noise.acts_on("lif2") if noise.mismatch else 0.0
        thermal = 0.1 * noise.acts_on("lif1") if noise.thermal else 0.0
        return 0.9 - mismatch - thermal - (0.1 if mismatch and thermal else 0.0)

    ruled(rule)
    with Store(tmp_path / "study.sqlite") as store:
        found = sensitivity(study, NoiseModel(mismatch=0.2, thermal=0.1), store, False, quiet)
        for wrong, said in ((NoiseModel(), "name noises"), (NoiseModel(mismatch=0.1, layers=("lif1",)), "layers=")):
            with pytest.raises(UsageError, match=said):
                sensitivity(study, wrong, store, False, quiet)
    rows = {(row.noise, row.layer): row for row in found.rows}
    alone = {key: round(row.alone.mean, 6) for key, row in rows.items()}
    spared = {key: round(row.spared.mean, 6) for key, row in rows.items() if row.spared}
    assert alone == {
        ("mismatch", "all layers"): 0.3, ("mismatch", "lif1"): 0.1, ("mismatch", "lif2"): 0.2,
        ("thermal", "all layers"): 0.1, ("thermal", "lif1"): 0.1,
    }  # fmt: skip
    assert spared[("mismatch", "lif2")] == 0.2
    assert spared[("mismatch", "all layers")] == 0.4  # with thermal alone 0.8, with both 0.4
    assert (round(found.together.mean, 6), round(found.interaction.mean, 6)) == (0.5, 0.1)
    assert rows["mismatch", "all layers"].share == pytest.approx(0.6)
    assert [key for key, row in rows.items() if row.weakest] == [("mismatch", "lif2"), ("thermal", "lif1")]
    assert (rows["mismatch", "lif2"].clear, rows["thermal", "lif1"].clear) == (False, False)  # 4 samples of 40
    assert "mismatch: layer lif2 is the weak one, 20.00 points alone" in found.weakest()[0]
    closing = found.as_dicts()[-2:]
    assert [(row["noise"], round(row["alone"], 6)) for row in closing] == [("all noises", 0.5), ("interaction", 0.1)]


@pytest.mark.parametrize(("cost", "clear"), [(0.3, True), (0.1, False), (0.025, False)])  # of 40 samples: 12, 4, 1
def test_a_layer_that_alone_loses_anything_is_clear_where_it_surely_does(
    study: Study, tmp_path: Path, quiet: Quiet, ruled: Callable[[Rule], list[NoiseModel]], cost: float, clear: bool
) -> None:
    ruled(lambda noise, chip: 0.9 - (cost if noise.mismatch and noise.acts_on("lif1") else 0.0))
    with Store(tmp_path / "study.sqlite") as store:
        found = sensitivity(study, NoiseModel(mismatch=0.2), store, False, quiet)
    (row,) = (row for row in found.rows if row.weakest)
    assert (row.layer, round(row.alone.mean, 6), row.clear) == ("lif1", cost, clear)
    assert (row.alone.low > 0) == clear
    assert found.weakest()[0].endswith("not clearly apart from the next") != clear


def test_a_layer_that_gains_is_not_the_next_to_one_that_loses(
    study: Study, tmp_path: Path, quiet: Quiet, ruled: Callable[[Rule], list[NoiseModel]]
) -> None:
    """lif1 loses 2 samples of 40 and lif2 gains 4: clear from lif2, and not from a layer that loses nothing."""
    layers = [layer.name for layer in study.program.layers]
    assert len(layers) == 3

    def rule(noise: NoiseModel, chip: int) -> float:
        if not noise.mismatch or (noise.acts_on("lif1") and noise.acts_on("lif2")):
            return 0.8
        return 0.75 if noise.acts_on("lif1") else 0.9 if noise.acts_on("lif2") else 0.8

    ruled(rule)
    with Store(tmp_path / "study.sqlite") as store:
        found = sensitivity(study, NoiseModel(mismatch=0.2), store, False, quiet)
    rows = {row.layer: row for row in found.rows}
    assert {layer: round(row.alone.mean, 6) for layer, row in rows.items() if layer in layers} == {
        "lif1": 0.05,
        "lif2": -0.1,
    }
    assert (rows["lif1"].weakest, rows["lif1"].clear) == (True, False)


def test_noise_in_one_layer_is_measured_by_its_own_simulation(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        found = sensitivity(study, NoiseModel(mismatch=0.3), store, False, quiet)
        point = Point(NoiseModel(mismatch=0.3, layers=("lif1",)))
        right = store.correct(measure(study, {point: 12}, store, False, quiet)[point].key)
        nothing = store.correct(measure(study, {Point(NoiseModel()): 12}, store, False, quiet)[Point(NoiseModel())].key)
        with pytest.raises(UsageError, match="unknown layer 'lif9'"):
            sweep(study, [Point(NoiseModel(layers=("lif9",)))], store, False, quiet)
    wanted = np.mean([nothing[chip].mean() - right[chip].mean() for chip in range(12)])
    assert {row.layer: row.alone.mean for row in found.rows}["lif1"] == pytest.approx(wanted)
    assert wanted > 0


def test_networks_side_by_side_share_chips_and_samples(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    other = replace(study, program=replace(study.program, steps=3), network="b", beside=("a", "b"))
    one, plan = replace(study, network="a", beside=("a",)), [NoiseAxis("mismatch", (0.3,))]
    with Store(tmp_path / "study.sqlite") as store:
        sweep(one, plan, store, False, quiet)
        with pytest.raises(UsageError, match="holds the network a, not b: name both"):
            sweep(replace(other, beside=("b",)), plan, store, False, quiet)
        changed = replace(other.test, labels=(other.test.labels + 1) % 10)
        with pytest.raises(UsageError, match="test labels"):
            sweep(replace(other, test=changed), plan, store, False, quiet)
        sweep(replace(other, chips=5), plan, store, False, quiet)
        sweep(one, plan, store, True, quiet)
        rows = records(store.table("differences"))
        chips = store.chips()
    assert [(row["first"], row["second"], row["n_chips"]) for row in rows] == [
        ("a", "b", 5),
        ("a", "a, calibrated 4", 12),
    ]
    means = chips[(chips["chip_id"] < 5) & ~chips["calibrated"]].groupby("network")["accuracy"].mean()
    assert rows[0]["difference"] == pytest.approx(means["b"] - means["a"])
    assert rows[0]["ci_low"] <= rows[0]["difference"] <= rows[0]["ci_high"]
