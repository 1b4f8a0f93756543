"""What is watched while a network trains: numbers that stop being finite, and a row of figures for every epoch."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from neurodeploy.config import ExperimentConfig
from neurodeploy.errors import MissingBackendError, UsageError
from neurodeploy.snn.losses import Losses
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.spiking_network import Output, SpikingNetwork

LOG = "log.csv"


def read_losses(output: Output, losses: Losses, config: ExperimentConfig, place: str) -> tuple[float, float]:
    """(total, adjustment) as numbers, if all is finite; one read from the device.

    Raises:
        UsageError: naming the first layer whose potentials are not finite, else the part of the loss that is not.
    """
    watched = torch.cat(
        [losses.total.detach().reshape(1), *(part.detach().flatten() for part in output.moments.values())]
    )
    parts = [losses.total.detach(), losses.adjustment.detach(), watched.isfinite().all().to(losses.total.dtype)]
    total, adjustment, finite = torch.stack(parts).tolist()
    if finite:
        return total, adjustment
    raise UsageError(f"{place}: {_first_fault(output, losses)}; {_advice(config)}")


def check_gradients(network: SpikingNetwork, config: ExperimentConfig, place: str) -> None:
    """Raises UsageError naming the last layer whose gradient is not finite: gradients come from the last layer on."""
    gradients = {name: part.grad for name, part in network.named_parameters() if part.grad is not None}
    if not gradients or bool(torch.stack([part.abs().amax() for part in gradients.values()]).isfinite().all()):
        return
    wrong = [name for name, part in gradients.items() if not bool(part.isfinite().all())]
    order = list(network.layers)
    layer, _, part = max(
        (name.removeprefix("layers.").rpartition(".") for name in wrong), key=lambda n: order.index(n[0].split(".")[0])
    )
    raise UsageError(f"{place}: layer {layer}: the gradient of its {part} is not finite; {_advice(config)}")


def layer_figures(network: SpikingNetwork) -> Iterator[tuple[str, float]]:
    """gamma.*, threshold.* and decay.* of every layer of neurons."""
    for name, module in network.layers.items():
        if isinstance(module, LIFNeurons):
            for figure in ("gamma", "threshold", "decay"):
                yield f"{figure}.{name}", float(getattr(module, figure))


def make_loggers(config: ExperimentConfig, folder: Path) -> list[Any]:
    """Lightning's loggers that the configuration asks for.

    TensorBoard writes into folder/tensorboard; MLflow to MLFLOW_TRACKING_URI where that is set, else to
    folder/mlflow.db (its plain files are no longer supported).

    Raises:
        MissingBackendError: where the package is not installed, with the command.
    """
    made: list[Any] = []
    for name in config.train.loggers:
        try:
            if name == "tensorboard":
                from pytorch_lightning.loggers import TensorBoardLogger

                made.append(TensorBoardLogger(str(folder), name="tensorboard", version=""))
            else:
                from pytorch_lightning.loggers import MLFlowLogger

                place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
                kept = None if os.environ.get("MLFLOW_TRACKING_URI") else str(folder.resolve() / "mlflow")
                made.append(
                    MLFlowLogger("neurodeploy", run_name=folder.name, tracking_uri=place, artifact_location=kept)
                )
        except ModuleNotFoundError as error:
            raise MissingBackendError(f"train.loggers: {name} is not installed: pip install {name}") from error
    return made


class EpochLog(pl.Callback):
    """log.csv, a row for every epoch as soon as it is over, and the same rows for all loggers.

    A training that goes on writes the file again from the epochs that it goes on from, so that no epoch is in it twice.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The epochs so far."""
        for logger in trainer.loggers:
            logger.log_hyperparams(pl_module.config.model_dump(mode="json"))
        if trainer.is_global_zero:
            partial = self.path.with_suffix(".partial")
            with partial.open("w", encoding="utf-8", newline="") as file:
                self._write(file, pl_module.history, header=True)
            partial.replace(self.path)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """One more."""
        row = pl_module.history[-1]
        for logger in trainer.loggers:
            logger.log_metrics(row, step=int(row["epoch"]))
        if trainer.is_global_zero:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                self._write(file, [row], header=len(pl_module.history) == 1)

    def _write(self, file: Any, rows: list[dict[str, float]], header: bool) -> None:
        if rows:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            if header:
                writer.writeheader()
            writer.writerows(rows)


def _first_fault(output: Output, losses: Losses) -> str:
    for name, moments in output.moments.items():
        if not bool(moments.isfinite().all()):
            step = int((~moments.detach().isfinite().all(dim=1)).nonzero()[0])
            mean, square = moments.detach()[step].tolist()
            figures = f"mean {mean:.3g}, mean of squares {square:.3g}"
            return f"layer {name}: potentials are not finite (at step {step + 1}: {figures})"
    if not bool(output.per_step.isfinite().all()):
        return "the readout is not finite"
    name = "loss" if bool(losses.adjustment.isfinite()) else "potential loss"
    return f"the {name} is not finite"


def _advice(config: ExperimentConfig) -> str:
    train = config.train
    words = [f"lower train.learning_rate={train.learning_rate:g}"]
    if train.potential_weight:
        words.append(f"train.potential_weight={train.potential_weight:g}")
    advice = " or ".join(words)
    return f"{advice}, or use train.precision=32" if train.precision != "32" else advice
