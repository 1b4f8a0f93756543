"""Batches, threads and devices of a training, and what is refused before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.snn.train import _check, _of_a_device, train
from neurodeploy.snn.training_module import TrainingModule

MakeConfig = Callable[..., ExperimentConfig]


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image carries its number in two pixels."""
    images = tiny_data.train.samples.copy()
    images[:, 0, 0, :2] = np.stack(np.divmod(np.arange(len(images)), 8), 1)
    seen: dict[int, list[int]] = {}
    step = TrainingModule.training_step

    def recorded(module: Any, batch: Any, index: int) -> Any:
        corners = (batch[0][:, 0, 0, :2] / tiny_data.input.scale).round().int()
        numbers = (8 * corners[:, 0] + corners[:, 1]).tolist()
        seen.setdefault(module.current_epoch, []).extend(numbers)
        return step(module, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", recorded)
    data = replace(tiny_data, train=Split(images, tiny_data.train.labels))
    train(tiny_config(train={"epochs": 2}), data, tmp_path, progress=False)
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(40))
    assert seen[0] != seen[1]
    assert seen[0] != sorted(seen[0])


def test_batches_are_the_same_whoever_prepares_them(tmp_path: Path, tiny_config: Any, tiny_data: DataSet) -> None:
    """Two workers, which augment, and none: the same weights to the bit, epoch after epoch."""
    trained = []
    for workers in (0, 2):
        config = tiny_config(train={"workers": workers}, data={"augment": ["crop", "flip"]})
        trained.append(train(config, tiny_data, tmp_path / str(workers), progress=False))
    assert trained[0].history == trained[1].history
    first, second = (one.network.state_dict() for one in trained)
    for name, part in first.items():
        np.testing.assert_array_equal(part.numpy(), second[name].numpy(), err_msg=name)
    plain = train(tiny_config(), tiny_data, tmp_path / "plain", progress=False)
    assert plain.history != trained[0].history  # the augmentation did something


def test_workers_are_started_anew_for_training_batches_alone(
    tmp_path: Path, tiny_config: Any, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forked copy of a process with threads can hang; more than one for each core only wait."""
    made: list[tuple[int, str | None]] = []
    real = TrainingModule._loader

    def watched(self: Any, *arguments: Any) -> Any:
        loader = real(self, *arguments)
        context = loader.multiprocessing_context
        made.append((loader.num_workers, context.get_start_method() if context else None))
        return loader

    monkeypatch.setattr(TrainingModule, "_loader", watched)
    monkeypatch.setattr("neurodeploy.snn.training_module.cores", lambda: 1)
    train(tiny_config(train={"epochs": 1, "workers": 5}), tiny_data, tmp_path, progress=False)
    assert sorted(made, key=str) == [(0, None), (1, "spawn")]


@pytest.mark.parametrize(("asked", "seen"), [(2, 2), (None, 1)])
def test_training_takes_the_threads_it_is_given_and_gives_them_back(
    asked: int | None,
    seen: int,
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert torch.get_num_threads() == 1  # of all tests
    during: list[int] = []
    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", lambda self: during.append(torch.get_num_threads()))
    train(tiny_config(train={"epochs": 1, "threads": asked}), tiny_data, tmp_path, progress=False)
    assert during == [seen]
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("last", "kind", "told"),
    [
        ("neurodeploy.errors.UsageError: epoch 1, batch 2: layer lif1: not finite", UsageError, "epoch 1, batch 2: "),
        ("RuntimeError: out of memory", NeurodeployError, "training on several devices: RuntimeError: out of memory"),
    ],
)
def test_the_error_of_one_of_several_devices_keeps_its_kind(last: str, kind: type, told: str) -> None:
    error = _of_a_device(f"\n\n-- Process 1 terminated with the following error:\nTraceback\n  File\n{last}\n")
    assert type(error) is kind
    assert str(error).startswith(told)


@pytest.mark.parametrize(("classes", "allowed"), [(1, False), (2, True), (10**5, True), (10**5 + 1, False)])
def test_what_no_model_file_could_hold_is_refused_before_training(
    classes: int, allowed: bool, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    labels = np.zeros(40, dtype=np.int64)
    split = Split(tiny_data.train.samples, labels)
    data = replace(tiny_data, classes=classes, train=split, validation=split)
    if allowed:
        _check(tiny_config(), data)
    else:
        with pytest.raises(UsageError, match=rf"data set digits: {classes} classes, .*: out of range; .* 2 to 100000"):
            _check(tiny_config(), data)
