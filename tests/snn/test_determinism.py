"""The flags that training runs under: Lightning's own, gone afterwards; what a GPU used too early is answered with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.errors import UsageError
from neurodeploy.snn import determinism
from neurodeploy.snn.determinism import check_products, deterministic
from neurodeploy.snn.train import train
from neurodeploy.snn.training_module import TrainingModule

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
# As PyTorch words it: aten/src/ATen/Context.cpp.
REFUSAL = (
    "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or [...], but this "
    "operation is not deterministic because it uses CuBLAS and you have CUDA >= 10.2. To enable deterministic behavior "
    f"in this case, you must set an environment variable before running your PyTorch application: {VARIABLE}=:4096:8"
)


def flags() -> tuple[Any, ...]:
    enabled, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    return enabled, warned, torch.backends.cudnn.benchmark


@pytest.fixture(params=[(False, False, False), (False, False, True), (True, True, True)])
def before(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, ...]]:
    """Flags of a process that trains; what they were is there again after the test."""
    were = flags()
    monkeypatch.delenv(VARIABLE, raising=False)
    torch.use_deterministic_algorithms(request.param[0], warn_only=request.param[1])
    torch.backends.cudnn.benchmark = request.param[2]
    yield request.param
    torch.use_deterministic_algorithms(were[0], warn_only=were[1])
    torch.backends.cudnn.benchmark = were[2]


def test_the_flags_are_those_that_lightning_sets(before: tuple[Any, ...]) -> None:
    with deterministic():
        mine = (*flags(), os.environ[VARIABLE])
        pl.Trainer(deterministic=True, accelerator="cpu", logger=False, enable_progress_bar=False)
        assert (*flags(), os.environ[VARIABLE]) == mine == (True, False, False, ":4096:8")
    assert flags() == before


def test_training_runs_under_them_and_leaves_none_behind(
    before: tuple[Any, ...],
    tiny_config: Callable[..., ExperimentConfig],
    tiny_data: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    step = TrainingModule.training_step
    monkeypatch.setattr(TrainingModule, "training_step", lambda *given: seen.append(flags()) or step(*given))  # type: ignore[func-returns-value]
    train(tiny_config(train={"epochs": 1}), tiny_data, tmp_path, progress=False)
    assert set(seen) == {(True, False, False)}
    assert flags() == before


def test_they_come_back_after_an_error_too(before: tuple[Any, ...]) -> None:
    with pytest.raises(KeyboardInterrupt), deterministic():
        raise KeyboardInterrupt
    assert flags() == before


def test_a_cpu_has_no_products_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "mm", None)
    check_products(torch.device("cpu"))


def on_a_gpu(monkeypatch: pytest.MonkeyPatch, product: Callable[..., Any]) -> None:
    monkeypatch.setattr(determinism.torch, "ones", lambda *shape, device: torch.zeros(shape))
    monkeypatch.setattr(determinism.torch, "mm", product)


def test_a_gpu_that_was_used_before_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise RuntimeError(REFUSAL)

    on_a_gpu(monkeypatch, refused)
    with pytest.raises(UsageError, match=re.escape(f"set {VARIABLE}=:4096:8 in the environment before it starts")):
        check_products(torch.device("cuda"))


def test_other_errors_of_a_gpu_are_told_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    on_a_gpu(monkeypatch, broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        check_products(torch.device("cuda"))
    on_a_gpu(monkeypatch, lambda *_: None)
    check_products(torch.device("cuda"))


def test_arrays_that_cannot_be_written_to_are_judged_without_a_warning(tiny_config: Callable[..., Any]) -> None:
    from neurodeploy.data.dataset import Split
    from neurodeploy.ir.nodes import Input
    from neurodeploy.snn.networks import build
    from neurodeploy.snn.train import accuracy

    torch.manual_seed(0)
    network = build(tiny_config().network, Input((1, 4, 4), 1.0, 8), 3)
    samples = torch.arange(160, dtype=torch.uint8).numpy().reshape(10, 1, 4, 4)
    labels = torch.zeros(10, dtype=torch.int64).numpy()
    wanted = accuracy(network, Split(samples, labels))
    samples, labels = samples.copy(), labels.copy()
    samples.flags.writeable = labels.flags.writeable = False
    assert accuracy(network, Split(samples, labels)) == wanted
