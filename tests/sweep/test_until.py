"""Chips until it is enough: how many are asked for, and when more would not help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep import work
from neurodeploy.sweep.bootstrap import components
from neurodeploy.sweep.plan import NoiseAxis, Point
from neurodeploy.sweep.run import Study
from neurodeploy.sweep.store import Store
from neurodeploy.sweep.until import check_until, judge, more, sweep_until

Quiet = Callable[[str, int, int], None]
Rule = Callable[[NoiseModel, int], float]

LOIHI2 = pytest.mark.parametrize("study", ["loihi2"], indirect=True)


@LOIHI2
def test_chips_are_added_until_the_interval_is_narrow(
    study: Study, tmp_path: Path, quiet: Quiet, ruled: Callable[[Rule], list[NoiseModel]]
) -> None:
    spread = np.random.default_rng(1).normal(0, 0.1, 5000)
    asked = ruled(lambda noise, chip: 0.7 + spread[chip] * noise.mismatch)
    plan = [NoiseAxis("mismatch", (0.0, 0.5, 1.0))]
    with Store(tmp_path / "study.sqlite") as store:
        found = sweep_until(study, plan, store, False, quiet, half=0.01, most=900, interval="chips")
        assert [one.narrow for one in found] == [True] * 3
        assert found[0].chips == 12
        assert found[0].chips < found[1].chips < found[2].chips
        for one in found[1:]:
            needed = (1.96 * 0.1 * (one.point.level or 0) / 0.01) ** 2
            assert 0.7 * needed < one.chips < 1.5 * needed + 20
            assert 0.005 < one.half <= 0.01
        assert len(asked) == sum(one.chips for one in found)  # every chip once
        limited = sweep_until(study, plan, store, False, quiet, half=0.001, most=40, interval="chips")
        assert [one.chips for one in limited] == [12, 40, 40]
        assert "±" in limited[2].in_words(0.001)
        assert "--most-chips" in limited[2].in_words(0.001)
        stuck = sweep_until(study, plan, store, False, quiet, half=0.01, most=900)
        assert all(one.chips == 12 and "test samples alone" in one.in_words(0.01) for one in stuck)
    for text, said in (
        ("0", "--until 0:"),
        ("nan", "--until nan"),
        ("wide", "--until wide"),
        ("±100", "between 0 and 100"),
    ):
        with pytest.raises(UsageError, match=said):
            check_until(text, 10, 20)
    with pytest.raises(UsageError, match="--most-chips 5: fewer than the 10"):
        check_until("±0.5", 10, 5)
    assert check_until("±0.5", 10, 20) == check_until("0.5", 10, 20) == 0.005


@LOIHI2
def test_more_chips_do_not_narrow_what_unseen_samples_leave(
    study: Study, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first chip misses one sample, of which V takes nothing for differences between samples."""
    count = len(study.test.labels)

    def measured(study: Study, noise: NoiseModel, block: Sequence[int], codes: Any) -> NDArray[np.bool_]:
        return np.stack([(np.arange(count) > 0) | (chip > 0) for chip in block])

    monkeypatch.setattr(work, "_measure", measured)
    with Store(tmp_path / "study.sqlite") as store:
        (found,) = sweep_until(study, [Point(NoiseModel(mismatch=0.1))], store, False, quiet, half=0.01, most=900)
    assert 12 <= found.chips < 100
    shown = min(900 / found.chips, count)  # the one sample, and as many more per 1 of n chips
    assert found.half >= found.floor == pytest.approx((1 - 0.025 ** (1 / count)) * (1 - (shown / count) ** 2) / 2)
    assert found.drawn < 0.01
    assert "test samples alone" in found.in_words(0.01)


def added(p: NDArray[np.float64], half: float, most: int, seed: int) -> Any:
    """Chips join, of which each misses sample j with probability p[j], until that is enough or cannot be."""
    correct = np.random.default_rng(seed).random((most, len(p))) >= p
    point, chips = Point(NoiseModel(mismatch=0.1)), 20
    while True:
        found = judge(point, correct[:chips], half, most, "two-level")
        if found.narrow or found.floor >= half or chips == most:
            return found
        chips = min(most, more(found, half))


@pytest.mark.parametrize(("hard", "others"), [(0.15, 0.01), (0.3, 0.02)])
def test_a_hard_sample_among_easy_ones_is_no_reason_for_thousands_of_chips(hard: float, others: float) -> None:
    """One sample of 360 tells little of how hard samples may be: ±0.51 points are left, however many chips join."""
    for seed in range(3):
        found = added(np.r_[hard, np.full(359, others)], 0.005, 2000, seed)
        assert found.chips <= 160
        assert found.floor == pytest.approx(0.0051, abs=0.0001)
        assert "test samples alone leave ±0.51" in found.in_words(0.005)


def test_samples_that_are_missed_alike_are_known_with_enough_chips() -> None:
    for seed in range(3):
        found = added(np.full(360, 0.02), 0.003, 2000, seed)
        assert found.narrow
        assert 80 <= found.chips <= 1000


def test_few_chips_do_not_give_up_what_more_can_reach() -> None:
    """All samples alike, missed by half of the chips: ten chips may make samples look as if they differed."""
    for seed in range(12):
        found = added(np.full(300, 0.5), 0.0025, 1000, seed)
        assert found.narrow, found.in_words(0.0025)


def test_the_parts_of_an_interval() -> None:
    """What V says falls with the chips but for the samples' part; where it is narrow enough, chips are doubled."""
    rng = np.random.default_rng(0)
    correct = 1.5 + rng.normal(0, 0.3, (20, 1)) + rng.normal(0, 1, (1, 100)) + rng.normal(size=(20, 100)) > 0
    parts = components(correct)
    found = judge(Point(NoiseModel(mismatch=0.1)), correct, 0.03, 500, "two-level")
    assert found.fixed == pytest.approx(found.drawn * np.sqrt(parts.samples / parts.total))
    assert found.half >= found.drawn > found.fixed > 0
    half = (found.drawn + found.fixed) / 2
    needed = (found.drawn**2 - found.fixed**2) * 20 / (half**2 - found.fixed**2)
    assert needed <= more(found, half) < needed + 10 or more(found, half) == 40
    assert more(found, found.drawn) == 40
    assert more(found, 0.999 * found.drawn) == 30  # one more than there are, in whole blocks


def test_what_is_sure_of_the_samples_part() -> None:
    """By loops: MS_B over the 97.5 % point of F with 19 and 9 * 19 degrees of freedom, less the rest."""
    rng = np.random.default_rng(1)
    correct = 0.8 + rng.normal(0, 1, (1, 20)) + rng.normal(size=(10, 20)) > 0
    x = correct.astype(float)
    column, row, grand = x.mean(axis=0), x.mean(axis=1), x.mean()
    ms_b = 10 * sum((column - grand) ** 2) / 19
    ms_e = sum((x[i, j] - row[i] - column[j] + grand) ** 2 for i in range(10) for j in range(20)) / (9 * 19)
    least = (ms_b / stats.f.ppf(0.975, 19, 9 * 19) - ms_e) / (10 * 20)
    found = judge(Point(NoiseModel(mismatch=0.1)), correct, 0.01, 10, "two-level")
    assert found.floor == pytest.approx(found.drawn * np.sqrt(least / components(x).total))
    assert 0 < found.floor < found.fixed
    half = (found.floor + found.fixed) / 2  # neither sure nor likely
    assert "most of it of the test samples: take more --samples, or" in found.in_words(half)


def test_what_is_said_where_the_most_chips_are_reached() -> None:
    """60 chips: V says ±0.2 points or so, and samples of other kinds may make it ±0.5."""
    few = added(np.full(360, 0.02), 0.003, 60, 0)
    assert (few.chips, few.narrow) == (60, False)
    assert 0.001 < few.drawn < 0.003 < few.half
    assert few.in_words(0.003).endswith(
        f"±{100 * few.drawn:.2f} without the kinds of samples that so few may lack: take more --samples, or a larger "
        "--most-chips"
    )
    fewer = np.random.default_rng(0).random((20, 360)) >= 0.02
    for most, said in ((400, "more need a larger --most-chips"), (20, "leave ±0.45 even with 20 chips: take ")):
        found = judge(few.point, fewer, 0.003, most, "two-level")
        assert found.drawn > 0.003
        assert said in found.in_words(0.003)
    assert added(np.full(360, 0.02), 0.003, 2000, 0).in_words(0.003) == ""
