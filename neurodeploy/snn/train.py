"""Training through Lightning: the loss of Eq. 6, checkpoints every epoch, resume, a validation split, fixed seeds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from torch.utils.data import DataLoader, Dataset, Sampler

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.snn.model_file import read_tensors
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.potential import gaussian_divergence, potential_loss
from neurodeploy.snn.spiking_network import SpikingNetwork

LAST = "last.ckpt"
_BEST = "best"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network: the weights of the epoch with the lowest validation loss, and the history of all epochs."""

    network: SpikingNetwork
    history: list[dict[str, float]]
    validation_accuracy: float
    epoch: int


def train(
    config: ExperimentConfig, data: DataSet, folder: Path, resume: bool = False, progress: bool = True
) -> Trained:
    """Trains and returns the epoch with the lowest loss on the validation split; the test set is not looked at.

    Args:
        folder: where checkpoints go; each epoch's is complete before the one before it is removed.
        resume: go on from the last checkpoint in `folder`; to the bit the same as training without a break.
        progress: a progress bar on standard error.

    Raises:
        UsageError: where there is nothing to resume, a checkpoint is damaged or belongs to another configuration.
    """
    last = folder / LAST
    if resume and not last.is_file():
        raise UsageError(f"--resume: there is no checkpoint {last}")
    if resume:
        _load_checkpoint(last)
    else:
        _remove_checkpoints(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    module = _TrainingModule(config, build(config.network, data.input, data.classes), len(data.train.labels))
    best = _Checkpoints(folder, filename=_BEST, monitor="validation_loss", mode="min", save_last=True)
    callbacks: list[pl.Callback] = [best]
    if progress:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}, leave=False))
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with _threads(config.train.threads), warnings.catch_warnings():
        # Advice for other set-ups: data lies in memory (no loader workers), the folder is ours and may exist.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        # Lightning's own use of what torch has deprecated.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        trainer = pl.Trainer(
            max_epochs=config.train.epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            callbacks=callbacks,
            enable_progress_bar=progress,
            enable_model_summary=False,
            deterministic=True,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            module,
            _loader(data.train, data, config.train.batch_size, config.seed),
            _loader(data.validation, data, 500, None),
            ckpt_path=str(last) if resume else None,
            weights_only=True,
        )
    state = _load_checkpoint(Path(best.best_model_path))
    module.load_state_dict(state["state_dict"])
    chosen = min(module.history, key=lambda row: row["validation_loss"])
    return Trained(module.network.eval(), module.history, chosen["validation_accuracy"], int(chosen["epoch"]))


@torch.no_grad()
def accuracy(network: SpikingNetwork, split: Split, batch_size: int = 500) -> float:
    """Fraction of correct decisions of the float network in evaluation mode."""
    network.eval()
    correct = 0
    for start in range(0, len(split.labels), batch_size):
        images = torch.from_numpy(split.samples[start : start + batch_size]).float() * network.input.scale
        labels = torch.from_numpy(split.labels[start : start + batch_size])
        correct += int((network(images).logits.argmax(dim=1) == labels).sum())
    return correct / len(split.labels)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Small layers are faster on one thread, most of all on a machine that does something else as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _TrainingModule(pl.LightningModule):
    """Eq. 6: cross-entropy of the readout, plus beta times the potential loss of Eq. 5."""

    def __init__(self, config: ExperimentConfig, network: SpikingNetwork, images: int) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.steps_in_all = config.train.epochs * -(-images // config.train.batch_size)
        self.history: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}

    def configure_optimizers(self) -> Any:
        gammas = [m.gamma for m in self.network.modules() if isinstance(m, LIFNeurons)]
        special = {id(p) for p in gammas}
        undecayed = [m.threshold_parameter for m in self.network.modules() if isinstance(m, LIFNeurons)]
        undecayed_ids = special | {id(p) for p in undecayed}
        rest = [p for p in self.network.parameters() if id(p) not in undecayed_ids]
        settings = self.config.train
        groups = [
            {"params": rest, "lr": settings.learning_rate, "weight_decay": settings.weight_decay},
            {"params": undecayed, "lr": settings.learning_rate, "weight_decay": 0.0},
            {"params": gammas, "lr": settings.gamma_learning_rate, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [float(group["lr"]) for group in optimizer.param_groups], total_steps=self.steps_in_all
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        images, labels = batch
        output = self.network(images)
        classification = torch.nn.functional.cross_entropy(output.logits, labels)
        adjustment = potential_loss(gaussian_divergence(moments) for moments in output.moments.values())
        loss = classification + self.config.train.potential_weight * adjustment
        self._add("train_loss", loss, len(labels))
        self._add("potential_loss", adjustment, len(labels))
        self._add("train_images", 1.0, len(labels))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        for module in self.network.modules():
            if isinstance(module, LIFNeurons):
                module.keep_positive()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        images, labels = batch
        output = self.network(images)
        self._add("validation_loss", torch.nn.functional.cross_entropy(output.logits, labels), len(labels))
        self._add("validation_accuracy", (output.logits.argmax(dim=1) == labels).float().mean(), len(labels))
        self._add("validation_images", 1.0, len(labels))
        for name, rates in output.rates.items():
            self._add(f"rate.{name}", rates.mean(), len(labels))

    def on_validation_epoch_end(self) -> None:
        row = {"epoch": float(self.current_epoch + 1)}
        for name, total in self._sums.items():
            images = "train_images" if name in ("train_loss", "potential_loss") else "validation_images"
            if name not in ("train_images", "validation_images"):
                row[name] = total / self._sums[images]
        for name, module in self.network.layers.items():
            if isinstance(module, LIFNeurons):
                row[f"gamma.{name}"] = float(module.gamma)
                row[f"threshold.{name}"] = float(module.threshold)
        self._sums = {}
        self.history.append(row)
        self.log("validation_loss", row["validation_loss"])
        self.log("accuracy", row["validation_accuracy"], prog_bar=True)  # a short name for the bar
        if not np.isfinite(row["train_loss"]):
            raise UsageError(f"epoch {row['epoch']:.0f}: the loss is {row['train_loss']}; lower train.learning_rate")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history
        checkpoint["experiment"] = self.config.model_dump_json()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint.get("experiment") != self.config.model_dump_json():
            raise UsageError(
                f"--resume: the checkpoint was made with another configuration ({checkpoint.get('experiment')}); "
                "train into another folder, or with the same options"
            )
        self.history = checkpoint["history"]

    def _add(self, name: str, value: torch.Tensor | float, images: int) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(torch.as_tensor(value).detach()) * images


class _Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Whole batches by their indices; the data lies in memory."""

    def __init__(self, split: Split, scale: float) -> None:
        self.samples, self.labels, self.scale = torch.from_numpy(split.samples), torch.from_numpy(split.labels), scale

    def __getitem__(self, indices: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.samples[indices].float() * self.scale, self.labels[indices]


class _Order(Sampler[Any]):
    """Batches of indices, shuffled by (seed, epoch) alone, so that a resumed epoch sees the same order."""

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        order = np.arange(self.count)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for start in range(0, self.count, self.batch_size):
            yield torch.from_numpy(order[start : start + self.batch_size])


def _loader(split: Split, data: DataSet, batch_size: int, seed: int | None) -> DataLoader[Any]:
    order = _Order(len(split.labels), batch_size, seed)
    return DataLoader(_Batches(split, data.input.scale), sampler=order, batch_size=None)


class _Checkpoints(ModelCheckpoint):
    """Finds the best epoch again where its folder was moved or is reached by another path."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = Path(str(self.dirpath))
        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = str(here / Path(state[name]).name) if state[name] else ""
        state["best_k_models"] = {str(here / Path(name).name): score for name, score in state["best_k_models"].items()}
        super().load_state_dict(state)


def _load_checkpoint(path: Path) -> dict[str, Any]:
    try:
        checkpoint = read_tensors(path)
    except FileFormatError as error:
        raise FileFormatError(f"--resume: {error}; train without --resume") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "experiment", "history"} <= set(checkpoint):
        raise FileFormatError(f"--resume: {path}: not a checkpoint of ours; train without --resume")
    return dict(checkpoint)


def _remove_checkpoints(folder: Path) -> None:
    for checkpoint in folder.glob("*.ckpt"):
        checkpoint.unlink()
