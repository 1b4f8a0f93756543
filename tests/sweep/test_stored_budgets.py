"""A sensitivity analysis read back from its study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep import work
from neurodeploy.sweep.plan import Point
from neurodeploy.sweep.run import Study, measure
from neurodeploy.sweep.sensitivity import sensitivity, stored_budgets
from neurodeploy.sweep.store import Store

Quiet = Callable[[str, int, int], None]

pytestmark = pytest.mark.parametrize("study", ["loihi2"], indirect=True)


@pytest.fixture(autouse=True)
def _ruled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mismatch costs 0.1 in the first layer; each chip fails on samples of its own."""

    def measured(study: Study, noise: NoiseModel, block: Sequence[int], codes: Any) -> NDArray[np.bool_]:
        count = len(study.test.labels)
        lost = 0.1 * bool(noise.mismatch and noise.acts_on("lif1")) + 0.2 * bool(noise.thermal)
        order = [np.random.default_rng(chip).permutation(count) for chip in block]
        return np.stack([one < round(count * (0.9 - lost)) for one in order])

    monkeypatch.setattr(work, "_measure", measured)


def test_a_study_tells_the_analyses_that_it_holds(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    both = NoiseModel(mismatch=0.2, thermal=0.1, decay_as="tau")
    with Store(tmp_path / "study.sqlite") as store:
        asked = sensitivity(study, both, store, False, quiet)
        other = sensitivity(study, NoiseModel(mismatch=0.4), store, False, quiet)
        measure(study, {Point(NoiseModel(mismatch=0.3)): 3}, store, False, quiet)  # a population of no analysis
        told = stored_budgets(store)
    assert [budget.as_dicts() for _, budget in told] == [asked.as_dicts(), other.as_dicts()]
    assert {(named["network"], named["chip"], named["calibrated"]) for named, _ in told} == {("model", "loihi2", False)}
    assert [named["options"] for named, _ in told] == ["decay_as=tau", ""]
    assert asked.together.mean == pytest.approx(0.3)  # the rule, on forty samples


def test_chips_that_all_populations_have_are_compared(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        asked = sensitivity(replace(study, chips=5), NoiseModel(mismatch=0.2), store, False, quiet)
        measure(study, {Point(NoiseModel(mismatch=0.2)): 12}, store, False, quiet)  # more chips of one of them
        ((_, told),) = stored_budgets(store)
    assert told.as_dicts() == asked.as_dicts()
    assert told.together.n_chips == 5


def test_populations_that_nobody_analysed_are_no_analysis(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    names = [layer.name for layer in study.program.layers]
    models = [NoiseModel(), NoiseModel(mismatch=0.2), *(NoiseModel(mismatch=0.2, layers=(name,)) for name in names[:2])]
    with Store(tmp_path / "study.sqlite") as store:
        measure(study, {Point(model): 3 for model in models}, store, False, quiet)
        assert stored_budgets(store) == []
