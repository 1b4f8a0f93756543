"""Training: reproducible, resumable to the bit, chosen by validation, blind to the test split."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.errors import UsageError
from neurodeploy.snn.checkpoints import LAST
from neurodeploy.snn.neurons import SMALLEST_GAMMA, SMALLEST_THRESHOLD
from neurodeploy.snn.train import Trained, accuracy, train
from neurodeploy.snn.training_module import TrainingModule

MakeConfig = Callable[..., ExperimentConfig]


class Killed(Exception):  # noqa: N818
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_config: MakeConfig, tiny_data: DataSet) -> Trained:
    """Three epochs without a break."""
    config = tiny_config(train={"epochs": 3})
    return train(config, tiny_data, tmp_path_factory.mktemp("whole"), progress=False)


def kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == epoch:
            raise Killed

    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", on_train_epoch_start)


def assert_same(one: Trained, other: Trained) -> None:
    first, second = one.network.state_dict(), other.network.state_dict()
    assert first.keys() == second.keys()
    for name, part in first.items():
        np.testing.assert_array_equal(part.numpy(), second[name].numpy(), err_msg=name)
    assert one.history == other.history
    assert (one.validation_accuracy, one.epoch) == (other.validation_accuracy, other.epoch)


def test_the_same_seed_gives_the_same_weights(
    whole: Trained, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    torch.manual_seed(99)  # whatever was drawn before
    assert_same(train(tiny_config(train={"epochs": 3}), tiny_data, tmp_path, progress=False), whole)


def test_another_seed_gives_other_weights(
    whole: Trained, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    other = train(tiny_config(train={"epochs": 1}, seed=1), tiny_data, tmp_path, progress=False)
    assert not torch.equal(other.network.layers["conv1"].weight, whole.network.layers["conv1"].weight)
    assert other.history[0]["train_loss"] != whole.history[0]["train_loss"]


@pytest.mark.parametrize("moved", [False, True])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    whole: Trained,
    moved: bool,
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed at the start of the second and again of the third epoch; also where the folder was moved in between."""
    config, folder = tiny_config(train={"epochs": 3}), tmp_path / "run"
    for epoch in (1, 2):
        kill_at(monkeypatch, epoch)
        with pytest.raises(Killed):
            train(config, tiny_data, folder, resume=epoch > 1, progress=False)
        assert (folder / LAST).is_file()
        if moved:
            shutil.move(folder, tmp_path / f"moved{epoch}")
            folder = tmp_path / f"moved{epoch}"
    monkeypatch.undo()
    epochs = []
    step = TrainingModule.training_step
    monkeypatch.setattr(TrainingModule, "training_step", lambda s, *a: (epochs.append(s.current_epoch), step(s, *a))[1])
    assert_same(train(config, tiny_data, folder, resume=True, progress=False), whole)
    assert set(epochs) == {2}


def test_resuming_what_is_finished_returns_it(
    whole: Trained, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(train={"epochs": 3})
    train(config, tiny_data, tmp_path, progress=False)
    kill_at(monkeypatch, 0)
    assert_same(train(config, tiny_data, tmp_path, resume=True, progress=False), whole)


def test_without_resume_training_starts_anew(
    whole: Trained, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    train(tiny_config(train={"epochs": 1}, seed=7), tiny_data, tmp_path, progress=False)
    assert_same(train(tiny_config(train={"epochs": 3}), tiny_data, tmp_path, progress=False), whole)


def test_nothing_to_resume_is_refused(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    with pytest.raises(UsageError, match=r"--resume: there is no checkpoint .*none/last\.ckpt"):
        train(tiny_config(), tiny_data, tmp_path / "none", resume=True, progress=False)
    assert not (tmp_path / "none").exists()


def test_resuming_with_another_configuration_is_refused(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    train(tiny_config(train={"epochs": 1}), tiny_data, tmp_path, progress=False)
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(
        UsageError, match=r"another configuration: train\.epochs was 1, is 2; train into another folder"
    ):
        train(tiny_config(), tiny_data, tmp_path, resume=True, progress=False)
    assert (tmp_path / LAST).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "truncated", "foreign"])
def test_a_damaged_checkpoint_is_refused(
    content: bytes | str, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    last = tmp_path / LAST
    if content == "truncated":
        train(tiny_config(train={"epochs": 1}), tiny_data, tmp_path, progress=False)
        content = last.read_bytes()[:2000]
    elif content == "foreign":
        torch.save({"state_dict": {}}, last)
        content = last.read_bytes()
    assert isinstance(content, bytes)
    last.write_bytes(content)
    with pytest.raises(UsageError, match=r"--resume: .*last\.ckpt: .*; train without --resume"):
        train(tiny_config(train={"epochs": 1}), tiny_data, tmp_path, resume=True, progress=False)


def test_the_epoch_with_the_lowest_validation_loss_is_returned(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """Labels of the validation split are wrong, so that it gets worse while training gets better."""
    wrong = Split(tiny_data.validation.samples, (tiny_data.validation.labels + 1) % 10)
    data = replace(tiny_data, validation=wrong)
    got = train(tiny_config(train={"epochs": 6}), data, tmp_path, progress=False)
    losses = [row["validation_loss"] for row in got.history]
    assert got.epoch == 1 + int(np.argmin(losses)) < 6
    assert got.history[-1]["train_loss"] < got.history[0]["train_loss"]
    assert not got.network.training
    with torch.no_grad():
        logits = got.network(torch.from_numpy(wrong.samples).float() * data.input.scale).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(wrong.labels))
    assert float(loss) == pytest.approx(min(losses), rel=1e-5)
    assert accuracy(got.network, wrong) == pytest.approx(got.validation_accuracy)


def test_the_last_epoch_is_returned_where_that_is_asked_for(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """Labels of the validation split are wrong: its loss would choose an earlier epoch."""
    wrong = Split(tiny_data.validation.samples, (tiny_data.validation.labels + 1) % 10)
    data = replace(tiny_data, validation=wrong)
    assert train(tiny_config(train={"epochs": 6}), data, tmp_path, progress=False).epoch < 6
    config = tiny_config(train={"epochs": 6, "selection": "last"})
    got = train(config, data, tmp_path, resume=True, progress=False)  # the same training, asked for its other end
    losses = [row["validation_loss"] for row in got.history]
    assert 1 + int(np.argmin(losses)) < got.epoch == 6
    with torch.no_grad():
        logits = got.network(torch.from_numpy(wrong.samples).float() * tiny_data.input.scale).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(wrong.labels))
    assert float(loss) == pytest.approx(losses[-1], rel=1e-5)
    assert accuracy(got.network, wrong) == pytest.approx(got.validation_accuracy)


def test_history_has_one_row_per_epoch_with_these_columns(whole: Trained) -> None:
    columns = {"epoch", "learning_rate", "train_loss", "potential_loss", "validation_loss", "validation_accuracy"}
    columns |= {f"{value}.{layer}" for value in ("rate", "gamma", "threshold", "decay") for layer in ("lif1", "lif2")}
    assert [row["epoch"] for row in whole.history] == [1, 2, 3]
    assert whole.epoch == 1 + int(np.argmin([row["validation_loss"] for row in whole.history])) > 1
    assert whole.validation_accuracy == whole.history[whole.epoch - 1]["validation_accuracy"]
    for row in whole.history:
        assert set(row) == columns
        assert all(type(value) is float and np.isfinite(value) for value in row.values())
        assert 0 <= row["validation_accuracy"] <= 1
        assert row["potential_loss"] > 0
    assert all(0.05 < whole.history[-1][f"rate.{layer}"] < 0.95 for layer in ("lif1", "lif2"))


def test_gammas_and_convolutional_thresholds_learn_and_the_other_threshold_stays(whole: Trained) -> None:
    first, last = whole.history[0], whole.history[-1]
    assert first["gamma.lif1"] != last["gamma.lif1"]
    assert first["gamma.lif2"] != last["gamma.lif2"]
    assert first["threshold.lif1"] != last["threshold.lif1"]
    assert first["threshold.lif2"] == last["threshold.lif2"] == pytest.approx(0.2)


def test_gamma_and_threshold_stay_positive_under_a_violent_optimiser(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """Every step of Adam is about as long as the learning rate; which way the layers go is seen in `touched`."""
    config = tiny_config(train={"epochs": 2, "learning_rate": 3.0, "gamma_learning_rate": 3.0})
    got = train(config, tiny_data, tmp_path, progress=False)
    touched = {}
    for row in got.history:
        for name, value in row.items():
            if name.startswith(("gamma.", "threshold.")):
                low = SMALLEST_GAMMA if name.startswith("gamma.") else SMALLEST_THRESHOLD
                assert value >= low * (1 - 1e-5), name
                touched[name] = touched.get(name, False) or value == pytest.approx(low)
    assert any(touched.values())


def test_the_loss_is_cross_entropy_plus_beta_times_the_potential_loss(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """One batch, one epoch: what is reported was computed before the first step, on the same network."""
    rows = {}
    for beta in (0.0, 1.0, 3.0):
        config = tiny_config(train={"epochs": 1, "batch_size": 40, "potential_weight": beta})
        rows[beta] = train(config, tiny_data, tmp_path / str(beta), progress=False).history[0]
    assert rows[0.0]["potential_loss"] == rows[3.0]["potential_loss"] > 0.001
    for beta in (1.0, 3.0):
        expected = rows[0.0]["train_loss"] + beta * rows[0.0]["potential_loss"]
        assert rows[beta]["train_loss"] == pytest.approx(expected, rel=1e-6)


def test_a_learnable_problem_is_learned(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    got = train(tiny_config(train={"epochs": 12}), tiny_data, tmp_path, progress=False)
    assert got.history[-1]["train_loss"] < 0.5 * got.history[0]["train_loss"]
    assert accuracy(got.network, tiny_data.train) > 0.8


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    config = tiny_config(train={"learning_rate": 1e20})
    with pytest.raises(UsageError, match=r"epoch 1, batch 2: .*lif1.* not finite.*; lower train\.learning_rate=1e\+20"):
        train(config, tiny_data, tmp_path, progress=False)


def test_accuracy_counts_over_all_batches(whole: Trained, tiny_data: DataSet) -> None:
    """Batches of 7 leave a remainder; a decision is the largest logit."""
    split = tiny_data.train
    with torch.no_grad():
        decided = whole.network(torch.from_numpy(split.samples).float() * tiny_data.input.scale).logits.argmax(dim=1)
    expected = float((decided.numpy() == split.labels).mean())
    assert accuracy(whole.network, split) == accuracy(whole.network.train(), split, batch_size=7) == expected
    assert 0 < expected < 1
