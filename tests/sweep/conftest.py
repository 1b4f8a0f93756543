"""A study that is measured in a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.snn.model_file import Model
from neurodeploy.study import make_studies
from neurodeploy.sweep import work
from neurodeploy.sweep.run import Samples, Study
from neurodeploy.sweep.store import Store

Rule = Callable[[NoiseModel, int], float]
CHIPS = 12  # two blocks: of ten and of two


@pytest.fixture(autouse=True)
def _blocks_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that a small sweep has several."""
    monkeypatch.setattr("neurodeploy.sweep.run.CHIPS_AT_ONCE", 10)


def ignore(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="session", params=["loihi2", "mixed-signal"])
def study(request: pytest.FixtureRequest, model: Model) -> Study:
    """Twelve chips on forty images, with few samples for calibration."""
    whole = make_studies(model, [request.param], CHIPS, 40, 0, None)[0]
    assert whole.measurement is not None
    assert whole.selection is not None
    selection = Samples(whole.selection.inputs[:50], whole.selection.labels[:50])
    return replace(whole, measurement=whole.measurement[:24], selection=selection)


@pytest.fixture(scope="session")
def quiet() -> Callable[[str, int, int], None]:
    return ignore


@pytest.fixture
def contents() -> Callable[[Path], dict[str, pd.DataFrame]]:
    """Every row of every table of a study file, in a fixed order."""

    def read(path: Path) -> dict[str, Any]:
        with Store(path) as store:
            return {
                table: pd.read_sql_query(f"SELECT * FROM {table} ORDER BY 1, 2", store._connection)
                for table in ("cell", "place", "result", "calibration")
            } | {"curves": store.curves()}

    return read


@pytest.fixture
def ruled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Rule], list[NoiseModel]]:
    """(noise, chip id) -> accuracy, in place of simulation; returns the noises that are measured from then on."""

    def set_up(rule: Rule) -> list[NoiseModel]:
        asked: list[NoiseModel] = []

        def measured(study: Study, noise: NoiseModel, block: Sequence[int], codes: Any) -> NDArray[np.bool_]:
            asked.extend([noise] * len(block))
            count = len(study.test.labels)
            return np.stack([np.arange(count) < round(count * rule(noise, chip)) for chip in block])

        monkeypatch.setattr(work, "_measure", measured)
        return asked

    return set_up
