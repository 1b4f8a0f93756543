"""Numbers that stop being finite are found where they do, and log.csv has a row for every epoch."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.errors import MissingBackendError, UsageError
from neurodeploy.snn import train as training
from neurodeploy.snn.losses import Losses
from neurodeploy.snn.monitor import check_gradients, make_loggers, read_losses
from neurodeploy.snn.networks import build
from neurodeploy.snn.spiking_network import Output
from neurodeploy.snn.train import train
from neurodeploy.snn.training_module import TrainingModule

MakeConfig = Callable[..., ExperimentConfig]
NAN, INF = math.nan, math.inf


def make_output(**wrong: Any) -> Output:
    moments = {name: torch.tensor([[0.5, 1.0], [0.5, 1.0]]) for name in ("a", "b", "c")}
    for name, value in wrong.items():
        if name != "readout":
            moments[name][1, 1] = value
    return Output(torch.full((2, 3, 4), wrong.get("readout", 0.0)), moments, {}, {}, {})


def make_losses(total: float = 1.0, classification: float = 0.75, adjustment: float = 0.25) -> Losses:
    return Losses(*(torch.tensor(value) for value in (total, classification, adjustment)))


def test_finite_losses_are_read() -> None:
    assert read_losses(make_output(), make_losses(), ExperimentConfig(), "here") == (1.0, 0.25)


@pytest.mark.parametrize(
    ("output", "losses", "said"),
    [
        (make_output(b=NAN), make_losses(), r"layer b: potentials are not finite \(at step 2: mean 0\.5, .* nan\)"),
        (make_output(c=INF, b=-INF), make_losses(NAN), r"layer b: .* -inf\)"),  # the first of them
        (make_output(readout=NAN), make_losses(NAN, NAN), "the readout is not finite"),
        (make_output(), make_losses(INF, 1.0, INF), "the potential loss is not finite"),
        (make_output(), make_losses(NAN, NAN), "the loss is not finite"),
    ],
)
def test_the_first_layer_that_is_not_finite_is_named(output: Output, losses: Losses, said: str) -> None:
    config = ExperimentConfig()
    with pytest.raises(UsageError, match=rf"^epoch 2, batch 7: {said}; lower train\.learning_rate=0\.003 or train\."):
        read_losses(output, losses, config, "epoch 2, batch 7")


def test_the_advice_names_what_is_in_use(tiny_config: MakeConfig) -> None:
    for train_options, said in (
        ({"potential_weight": 0.0}, r"lower train\.learning_rate=0\.02$"),
        ({"potential_weight": 2.0}, r"lower train\.learning_rate=0\.02 or train\.potential_weight=2$"),
        ({"precision": "bf16"}, r"train\.potential_weight=1, or use train\.precision=32$"),
    ):
        with pytest.raises(UsageError, match=said):
            read_losses(make_output(a=NAN), make_losses(), tiny_config(train=train_options), "here")


def test_the_last_layer_with_a_gradient_that_is_not_finite_is_named(
    tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """It is where the trouble starts on the way back."""
    config = tiny_config()
    network = build(config.network, tiny_data.input, tiny_data.classes)
    check_gradients(network, config, "here")  # none yet
    for part in network.parameters():
        part.grad = torch.ones_like(part)
    check_gradients(network, config, "here")
    network.layers["conv1"].weight.grad[0, 0, 0, 0] = NAN
    network.layers["lif1"].gamma.grad = torch.tensor(INF)
    with pytest.raises(UsageError, match=r"^here: layer lif1: the gradient of its gamma is not finite; lower"):
        check_gradients(network, config, "here")


def test_training_stops_at_the_batch_and_names_the_layer(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TrainingModule.training_step

    def broken(module: Any, batch: Any, index: int) -> Any:
        if (module.current_epoch, index) == (1, 2):
            with torch.no_grad():
                module.network.layers["linear2"].weight[3] = INF
        return step(module, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", broken)
    with pytest.raises(UsageError, match=r"^epoch 2, batch 3: layer lif2: potentials are not finite"):
        train(tiny_config(), tiny_data, tmp_path, progress=False)
    assert len(list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))) == 1


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = []

    def broken(module: Any) -> None:
        modules.append(module)
        if len(modules) == 2:
            module.network.layers["conv1"].weight.grad[:] = NAN

    monkeypatch.setattr(TrainingModule, "on_after_backward", broken)
    with pytest.raises(UsageError, match=r"^epoch 1, batch 2: layer conv1: the gradient of its weight is not finite"):
        train(tiny_config(), tiny_data, tmp_path, progress=False)
    assert all(bool(part.isfinite().all()) for part in modules[0].network.parameters())


def test_log_csv_is_the_history(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    got = train(tiny_config(train={"epochs": 3}), tiny_data, tmp_path, progress=False)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == got.history
    assert list(rows[0])[:4] == ["epoch", "learning_rate", "train_loss", "potential_loss"]
    train(tiny_config(train={"epochs": 1}), tiny_data, tmp_path, progress=False)  # anew
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_a_row_is_in_log_csv_as_soon_as_its_epoch_is_over(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[int] = []

    def look(module: Any) -> None:
        lines.append(len((tmp_path / "log.csv").read_text().splitlines()))

    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", look)
    train(tiny_config(train={"epochs": 3}), tiny_data, tmp_path, progress=False)
    assert lines == [0, 2, 3]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_logger_that_is_not_installed_is_named_with_the_command(
    name: str, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    kind = {"tensorboard": "TensorBoardLogger", "mlflow": "MLFlowLogger"}[name]
    monkeypatch.setattr(f"pytorch_lightning.loggers.{kind}", missing)
    with pytest.raises(MissingBackendError, match=f"train.loggers: {name} is not installed: pip install {name}$"):
        train(tiny_config(train={"loggers": [name]}), tiny_data, tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_where_the_loggers_write(tmp_path: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for kind in ("TensorBoardLogger", "MLFlowLogger"):
        monkeypatch.setattr(f"pytorch_lightning.loggers.{kind}", lambda *a, **k: made.append((a, k)))
    config = tiny_config(train={"loggers": ["tensorboard", "mlflow"]})
    make_loggers(config, tmp_path)
    assert made[0] == ((str(tmp_path),), {"name": "tensorboard", "version": ""})
    assert made[1][1]["tracking_uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there")
    make_loggers(config, tmp_path)
    assert made[3][1]["tracking_uri"] == "http://there"
    assert make_loggers(tiny_config(), tmp_path) == []


def test_loggers_get_the_rows(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_lightning.loggers import CSVLogger

    class Kept(CSVLogger):
        rows: dict[int, dict[str, float]] = {}  # noqa: RUF012
        parameters: Any = None

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            self.rows[step or 0] = metrics

        def log_hyperparams(self, params: Any = None) -> None:
            type(self).parameters = params

    monkeypatch.setattr(training, "make_loggers", lambda config, folder: [Kept(str(folder))])
    config = tiny_config()
    got = train(config, tiny_data, tmp_path, progress=False)
    assert Kept.rows == dict(enumerate(got.history, start=1))
    assert Kept.parameters == config.model_dump(mode="json")
