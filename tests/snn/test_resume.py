"""Training that was stopped, by whatever, goes on to the same bits; what cannot go on is refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.config import ExperimentConfig, load_config
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError
from neurodeploy.experiment import train_model
from neurodeploy.snn.checkpoints import _PARTS, LAST, InterruptedTrainingError
from neurodeploy.snn.model_file import load_model
from neurodeploy.snn.train import Trained, train
from neurodeploy.snn.training_module import TrainingModule

MakeConfig = Callable[..., ExperimentConfig]


def assert_same(one: Trained, other: Trained) -> None:
    first, second = one.network.state_dict(), other.network.state_dict()
    assert first.keys() == second.keys()
    for name, part in first.items():
        np.testing.assert_array_equal(part.numpy(), second[name].numpy(), err_msg=name)
    assert one.history == other.history
    assert (one.validation_accuracy, one.epoch) == (other.validation_accuracy, other.epoch)


def interrupt_at(
    monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int, step: str = "training_step", number: int = signal.SIGINT
) -> list[tuple[int, int]]:
    """A real signal within that step; returns a list that fills with (epoch, batch) of all training steps."""
    real, training, seen = getattr(TrainingModule, step), TrainingModule.training_step, []

    def signalled(module: Any, values: Any, index: int, *rest: Any) -> Any:
        if (module.current_epoch, index) == (epoch, batch):
            os.kill(os.getpid(), number)
        return real(module, values, index, *rest)

    monkeypatch.setattr(TrainingModule, step, signalled)
    if step == "training_step":
        training = signalled
    monkeypatch.setattr(
        TrainingModule, "training_step", lambda m, v, i: (seen.append((m.current_epoch, i)), training(m, v, i))[1]
    )
    return seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_config: MakeConfig, tiny_data: DataSet) -> Trained:
    """Two epochs of three batches without a break."""
    return train(tiny_config(), tiny_data, tmp_path_factory.mktemp("whole"), progress=False)


@pytest.mark.parametrize(
    ("epoch", "batch", "step", "number", "left"),
    [
        (0, 0, "training_step", signal.SIGINT, "after epoch 1, batch 1 of 3"),
        (0, 1, "training_step", signal.SIGTERM, "after epoch 1, batch 2 of 3"),
        (1, 1, "training_step", signal.SIGINT, "after epoch 2, batch 2 of 3"),
        (0, 2, "training_step", signal.SIGINT, "interrupted after epoch 1; --resume goes on"),
        (0, 0, "validation_step", signal.SIGINT, "interrupted after epoch 1; --resume goes on"),
        (1, 2, "training_step", signal.SIGINT, "after the last epoch"),
    ],
)
def test_a_signal_ends_training_after_the_batch_and_resuming_is_the_same_to_the_bit(
    whole: Trained,
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
    batch: int,
    step: str,
    number: int,
    left: str,
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    seen = interrupt_at(monkeypatch, epoch, batch, step, number)
    with pytest.raises(InterruptedTrainingError, match=left) as caught:
        train(tiny_config(), tiny_data, tmp_path, progress=False)
    assert caught.value.exit_code == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    monkeypatch.undo()
    again = interrupt_at(monkeypatch, 99, 99)
    assert_same(train(tiny_config(), tiny_data, tmp_path, resume=True, progress=False), whole)
    assert seen + again == [(epoch, batch) for epoch in range(2) for batch in range(3)]  # none twice, none left out
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_two_interruptions_in_one_epoch(
    whole: Trained, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch in (0, 1):
        interrupt_at(monkeypatch, 1, batch)
        with pytest.raises(InterruptedTrainingError):
            train(tiny_config(), tiny_data, tmp_path, resume=batch > 0, progress=False)
        monkeypatch.undo()
    assert_same(train(tiny_config(), tiny_data, tmp_path, resume=True, progress=False), whole)


def test_a_second_interruption_does_not_wait(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = []

    def twice(module: Any, values: Any, index: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
        reached.append(index)

    monkeypatch.setattr(TrainingModule, "training_step", twice)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(InterruptedTrainingError):
            train(tiny_config(), tiny_data, tmp_path, progress=False)
        assert reached == []
        assert signal.getsignal(signal.SIGINT) == before
    finally:
        signal.signal(signal.SIGINT, before)


STOCHASTIC: dict[str, dict[str, Any]] = {
    "dropout": {"network": {"dropout": 0.3}},
    "augmentation": {"data": {"augment": ["crop", "flip"]}},
    "rate": {"data": {"encoding": "rate"}},
    "noise": {"noise": {"mismatch": 0.2, "thermal": 0.1, "weight_mismatch": 0.1}},
    "quantize": {"noise": {"quantize": "loihi2"}},
    "adversarial": {"noise": {"adversarial": 0.1}},
    "sgd and steps": {
        "train": {"optimizer": "sgd", "schedule": "steps", "milestones": [1], "potential_form": "histogram"}
    },
    "bf16": {"train": {"precision": "bf16"}},
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_what_is_drawn_at_random_is_the_same_after_a_break(
    name: str, tmp_path: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"data": {}, "noise": {}} | STOCHASTIC[name]
    config = tiny_config(**{part: value for part, value in changes.items() if part in ("network", "train")})
    sections = config.model_dump(mode="json")
    sections["data"] |= changes["data"]
    sections["noise"] |= changes["noise"]
    config = ExperimentConfig.model_validate(sections)
    data = load_data_set(config.data, config.network.steps, 0)
    data = replace(data, train=data.train.take(slice(40)), validation=data.validation.take(slice(30)))
    wanted = train(config, data, tmp_path / "whole", progress=False)
    other = load_data_set(tiny_config().data, config.network.steps, 0)
    other = replace(other, train=other.train.take(slice(40)), validation=other.validation.take(slice(30)))
    plain = train(tiny_config(), other, tmp_path / "plain", progress=False)
    assert wanted.history != plain.history  # the option does something
    interrupt_at(monkeypatch, 1, 0)
    with pytest.raises(InterruptedTrainingError):
        train(config, data, tmp_path / "broken", progress=False)
    monkeypatch.undo()
    torch.manual_seed(1234)
    assert_same(train(config, data, tmp_path / "broken", resume=True, progress=False), wanted)


def test_resuming_goes_on_from_the_last_epoch_and_not_from_the_best(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With wrong labels of the validation split the first epochs are the best."""
    wrong = Split(tiny_data.validation.samples, (tiny_data.validation.labels + 1) % 10)
    data, config = replace(tiny_data, validation=wrong), tiny_config(train={"epochs": 7, "learning_rate": 0.05})
    wanted = train(config, data, tmp_path / "whole", progress=False)
    assert wanted.epoch < 5
    interrupt_at(monkeypatch, 5, 2)
    with pytest.raises(InterruptedTrainingError, match="interrupted after epoch 6"):
        train(config, data, tmp_path / "broken", progress=False)
    monkeypatch.undo()
    seen = interrupt_at(monkeypatch, 99, 99)
    assert_same(train(config, data, tmp_path / "broken", resume=True, progress=False), wanted)
    assert seen == [(6, 0), (6, 1), (6, 2)]


SMALL = [
    "train.epochs=12", "network.channels=[4]", "network.hidden=8", "network.steps=2", "train.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of digits, trained without a break."""
    path = tmp_path_factory.mktemp("unbroken") / "model.pt"
    train_model(load_config(None, SMALL), path, progress=False)
    return path


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_from_outside_goes_on(
    unbroken: Path, tmp_path: Path, number: int, workers: int
) -> None:
    """The signal comes as soon as there is something to go on from; Ctrl-C reaches workers as well."""
    path = tmp_path / "model.pt"
    words = [word for setting in (*SMALL, f"train.workers={workers}") for word in ("--set", setting)]
    command = [sys.executable, "-m", "neurodeploy", "-q", "train", *words, "-o", str(path)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        log, limit = tmp_path / "model.pt.checkpoints" / "log.csv", time.monotonic() + 100
        while not log.with_name(LAST).is_file() and time.monotonic() < limit:
            time.sleep(0.01)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert not path.exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said.startswith("error: interrupted")
        assert said.count("\n") == 1
        assert "--resume goes on" in said
    assert 1 <= len(log.read_text().splitlines()) - 1 < 12
    train_model(load_config(None, SMALL), path, resume=True, progress=False)
    one, other = load_model(path), load_model(unbroken)
    figures = [{**model.metrics, "training_seconds": None} for model in (one, other)]
    assert (figures[0], one.history) == (figures[1], other.history)
    for name, part in one.network.state_dict().items():
        np.testing.assert_array_equal(part.numpy(), other.network.state_dict()[name].numpy(), err_msg=name)
    epochs = [float(row["epoch"]) for row in csv.DictReader(log.read_text().splitlines())]
    assert epochs == list(range(1, 13))  # none twice, none left out
    assert log.read_bytes() == (unbroken.parent / "model.pt.checkpoints" / "log.csv").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: MakeConfig, tiny_data: DataSet) -> Path:
    """A folder with the checkpoints of one epoch."""
    folder = tmp_path_factory.mktemp("finished")
    train(tiny_config(train={"epochs": 1}), tiny_data, folder, progress=False)
    return folder


def test_all_that_changed_in_the_configuration_is_named(
    finished: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    config = tiny_config(train={"epochs": 1, "learning_rate": 0.5}, network={"steps": 3}, seed=4)
    before = (finished / LAST).read_bytes()
    said = (
        r"--resume: .*last\.ckpt was made with another configuration: network\.steps was 2, is 3; seed was 0, is 4; "
        r"train\.learning_rate was 0\.02, is 0\.5; train into another folder"
    )
    with pytest.raises(UsageError, match=said):
        train(config, tiny_data, finished, resume=True, progress=False)
    assert (finished / LAST).read_bytes() == before


def test_where_data_lie_and_what_is_logged_may_change(
    finished: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    config = tiny_config(train={"epochs": 1})
    config = config.model_copy(update={"data": config.data.model_copy(update={"root": "/elsewhere", "cache": "c"})})
    assert len(train(config, tiny_data, finished, resume=True, progress=False).history) == 1


def test_a_checkpoint_of_another_architecture_is_refused_with_both_shapes(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """The same configuration, and a checkpoint whose tensors are another network's."""
    config = tiny_config(train={"epochs": 1})
    train(config, tiny_data, tmp_path, progress=False)
    content = torch.load(tmp_path / LAST, weights_only=True)
    content["state_dict"]["network.layers.conv1.weight"] = torch.zeros(9, 1, 3, 3)
    del content["state_dict"]["network.layers.lif1.gamma"]
    torch.save(content, tmp_path / LAST)
    said = (
        r"holds another network: layers\.conv1\.weight is \(9, 1, 3, 3\), the network's \(4, 1, 3, 3\); "
        r"layers\.lif1\.gamma is not there, the network's \(\)"
    )
    with pytest.raises(UsageError, match=said):
        train(config, tiny_data, tmp_path, resume=True, progress=False)


def test_another_number_of_samples_is_refused(finished: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    fewer = replace(tiny_data, train=tiny_data.train.take(slice(39)))
    with pytest.raises(UsageError, match="was trained on 40 samples, there are 39 now"):
        train(tiny_config(train={"epochs": 1}), fewer, finished, resume=True, progress=False)


@pytest.mark.parametrize("content", ["{", "[]", "5"])
def test_a_checkpoint_with_a_broken_configuration_is_refused(
    content: str, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    torch.save({name: {} for name in _PARTS} | {"experiment": content}, tmp_path / LAST)
    with pytest.raises(UsageError, match="--resume: "):
        train(tiny_config(), tiny_data, tmp_path, resume=True, progress=False)
    assert json.loads(tiny_config().model_dump_json())["seed"] == 0
