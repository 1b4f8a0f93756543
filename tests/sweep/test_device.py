"""`--device`: a study computed by the torch engine is the study computed by the other one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.simulate import torch_engine
from neurodeploy.sweep.executor import Serial, make_executor
from neurodeploy.sweep.plan import NoiseAxis
from neurodeploy.sweep.run import Study, calibrate, sweep
from neurodeploy.sweep.store import Store


def test_a_study_is_the_same_on_another_device(
    study: Study, tmp_path: Path, quiet: Any, contents: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The torch engine computes on the CPU here: to the facade the device is another one, to it the CPU."""
    asked: list[str] = []
    monkeypatch.setattr("neurodeploy.simulate.engine.find_device", lambda name: torch.device(name))
    monkeypatch.setattr(torch_engine, "find_device", lambda name: asked.append(name) or torch.device("cpu"))  # type: ignore[func-returns-value]
    axis = NoiseAxis("mismatch", (0.3,), NoiseModel(thermal=0.1))
    tables = []
    for device in ("cpu", "cuda:1"):
        path = tmp_path / f"{device[:4]}.sqlite"
        with Store(path) as store:
            own = replace(study, chips=3, device=device)
            for compute in (partial(sweep, calibrated=False), calibrate, partial(sweep, calibrated=True)):
                asked.clear()
                compute(own, [axis], store, progress=quiet)
                assert set(asked) == ({device} if device != "cpu" else set())
        tables.append(contents(path))
    for name, table in tables[0].items():
        pd.testing.assert_frame_equal(table, tables[1][name])


def test_a_gpu_is_not_shared_by_processes_and_tasks_are_given_one(study: Study) -> None:
    on_gpu = [replace(study, device="cuda")]
    with pytest.raises(UsageError, match="--jobs 2 with --device cuda: one process keeps a GPU busy"):
        make_executor(on_gpu, jobs=2)
    with pytest.raises(UsageError, match=r"--ray with --device cuda: tasks see no GPU; .* as --gpus-per-task 1"):
        make_executor(on_gpu, ray="auto")
    assert isinstance(make_executor(on_gpu), Serial)
