"""An experiment end to end: one epoch on digits, written, measured once, and resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy import experiment
from neurodeploy.config import DataConfig, ExperimentConfig, load_config
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError
from neurodeploy.experiment import load_data, train_model
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.snn.train import accuracy

SETTINGS = [
    "train.epochs=1",
    "network.channels=[6]",
    "network.hidden=16",
    "network.steps=2",
    "train.learning_rate=0.03",
]


@pytest.fixture(scope="module")
def config() -> ExperimentConfig:
    return load_config(None, SETTINGS)


@pytest.fixture(scope="module")
def trained(config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    path = tmp_path_factory.mktemp("experiment") / "out" / "model.pt"
    return train_model(config, path, progress=False), path


def test_the_file_and_its_checkpoints_lie_side_by_side(trained: tuple[Model, Path]) -> None:
    _, path = trained
    assert sorted(part.name for part in path.parent.iterdir()) == ["model.pt", "model.pt.checkpoints"]
    assert sorted(part.name for part in (path.parent / "model.pt.checkpoints").iterdir()) == [
        "best.ckpt", "last.ckpt", "log.csv"
    ]  # fmt: skip


def test_metrics_say_what_was_measured_on_what(trained: tuple[Model, Path]) -> None:
    metrics = dict(trained[0].metrics)
    assert 0 < metrics.pop("training_seconds") < 600
    assert {name: value for name, value in metrics.items() if not name.endswith("accuracy")} == {
        "data_set": "digits",
        "epoch": 1,
        "epochs": 1,
        "selection": "lowest validation loss",
        "train_images": 1293,
        "validation_images": 144,
        "test_images": 360,
    }
    assert {name for name in metrics if name.endswith("accuracy")} == {"test_accuracy", "validation_accuracy"}


def test_metrics_say_that_the_last_epoch_was_kept(config: ExperimentConfig, tmp_path: Path) -> None:
    last = config.model_copy(update={"train": config.train.model_copy(update={"selection": "last"})})
    assert train_model(last, tmp_path / "model.pt", progress=False).metrics["selection"] == "last epoch"


def test_the_reported_accuracies_are_those_of_the_file(trained: tuple[Model, Path], config: ExperimentConfig) -> None:
    model = load_model(trained[1])
    data = load_data_set(DataConfig(), 4, 0)
    assert model.config == config
    assert model.metrics == trained[0].metrics
    assert accuracy(model.network, data.test) == model.metrics["test_accuracy"] > 0.3
    validation = accuracy(model.network, data.validation)
    assert validation == pytest.approx(model.metrics["validation_accuracy"])
    assert validation == pytest.approx(model.history[0]["validation_accuracy"])
    assert [row["epoch"] for row in model.history] == [1]
    np.testing.assert_array_equal(model.golden.samples, data.test.samples[:32])


def test_the_test_split_is_measured_once_and_after_training(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def recorded(name: str, function: Any) -> Any:
        return lambda *a, **k: (events.append(name), function(*a, **k))[1]

    for name in ("train", "accuracy", "save_model"):
        monkeypatch.setattr(experiment, name, recorded(name, getattr(experiment, name)))
    train_model(config, tmp_path / "model.pt", progress=False)
    assert events == ["train", "accuracy", "save_model"]


def test_the_best_on_test_is_reported_beside_the_test_accuracy_and_says_what_it_is(tmp_path: Path) -> None:
    config = load_config(None, [*SETTINGS, "train.epochs=4", "train.report_best_on_test=true"])
    model = train_model(config, tmp_path / "model.pt", progress=False)
    by_epoch = [row["test_accuracy"] for row in model.history]
    metrics = model.metrics
    assert metrics["best_on_test_accuracy"] == max(by_epoch) == by_epoch[metrics["best_on_test_epoch"] - 1]
    assert "selected on the test set, not a test accuracy" in metrics["best_on_test_selection"]
    assert metrics["test_accuracy"] == pytest.approx(by_epoch[metrics["epoch"] - 1])
    assert load_model(tmp_path / "model.pt").metrics == metrics


@pytest.mark.parametrize("encoding", ["rate", "latency"])
def test_a_model_of_spikes_keeps_the_spikes_it_is_proved_on(encoding: str, tmp_path: Path) -> None:
    config = load_config(None, [*SETTINGS, "network.steps=3", f"data.encoding={encoding}"])
    train_model(config, tmp_path / "model.pt", progress=False)
    model, data = load_model(tmp_path / "model.pt"), load_data(config)
    for split, source, count in ((model.calibration, data.train, 128), (model.golden, data.test, 32)):
        assert split.temporal
        assert split.samples.shape == (count, 3, 1, 8, 8)
        np.testing.assert_array_equal(split.samples, source.take(slice(count)).samples)
        np.testing.assert_array_equal(split.labels, source.labels[:count])
        assert 0.02 < split.samples.mean() < 0.9


def test_resuming_a_finished_experiment_writes_the_same_file(
    trained: tuple[Model, Path], config: ExperimentConfig
) -> None:
    model, path = trained
    again = train_model(config, path, resume=True, progress=False)
    assert again.metrics == model.metrics
    assert again.history == model.history
    for name, part in again.network.state_dict().items():
        np.testing.assert_array_equal(part.numpy(), model.network.state_dict()[name].numpy(), err_msg=name)


@pytest.mark.parametrize("name", [".", "folder"])
def test_a_folder_as_output_is_refused_before_training(name: str, config: ExperimentConfig, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="is a folder; name a file"):
        train_model(config, tmp_path / name if name != "." else Path("."), progress=False)


def test_resuming_what_never_began_is_refused(config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--resume: there is no checkpoint .*model\.pt\.checkpoints/last\.ckpt"):
        train_model(config, tmp_path / "model.pt", resume=True, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_data_are_split_as_for_training(config: ExperimentConfig) -> None:
    data, wanted = load_data(config), load_data_set(DataConfig(), 4, 0)
    np.testing.assert_array_equal(data.train.samples, wanted.train.samples)
    other = load_data(load_config(None, ["seed=4", "data.validation=0.2"]))
    np.testing.assert_array_equal(other.train.samples, load_data_set(DataConfig(validation=0.2), 4, 4).train.samples)


def test_a_root_replaces_the_configured_one(tmp_path: Path) -> None:
    config = load_config(None, ["data.name=mnist", f"data.root={tmp_path}/configured"])
    with pytest.raises(UsageError, match=r"--data-root .*/configured: "):
        load_data(config)
    with pytest.raises(UsageError, match=r"--data-root .*/given: "):
        load_data(config, str(tmp_path / "given"))


def test_in_mixed_precision_both_accuracies_are_those_of_the_saved_model(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = config.model_copy(update={"train": config.train.model_copy(update={"precision": "bf16"})})
    seen = []
    monkeypatch.setattr(experiment, "accuracy", lambda *given: seen.append(accuracy(*given)) or seen[-1])
    metrics = train_model(mixed, tmp_path / "model.pt", progress=False).metrics
    model, data = load_model(tmp_path / "model.pt"), load_data(mixed)
    assert seen == [metrics["test_accuracy"], metrics["validation_accuracy"]]
    assert metrics["validation_accuracy"] == accuracy(model.network, data.validation)  # type: ignore[arg-type]
