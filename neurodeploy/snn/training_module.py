"""The LightningModule: what happens in a batch and in an epoch; which batches there are."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.batches import Batches, Indices, Order
from neurodeploy.data.dataset import DataSet
from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.snn.adversarial import adversarial_weights
from neurodeploy.snn.chip_noise import make_perturbation
from neurodeploy.snn.fake_quant import FakeQuant
from neurodeploy.snn.losses import Losses, classification_loss, records, training_losses
from neurodeploy.snn.memory_order import arranged
from neurodeploy.snn.monitor import check_gradients, layer_figures, read_losses
from neurodeploy.snn.optimise import make_optimizer, make_schedule
from neurodeploy.snn.perturb import combine
from neurodeploy.snn.rounding import keep_scales, kept_scales, rounding
from neurodeploy.snn.spiking_network import Output, Perturbation, SpikingNetwork

_DRAWS = 3  # what random numbers of a batch are for; `data.batches` has 1 and 2
_SCALED_ON = 128  # training samples on which the scales of `noise.quantize` are chosen, as many as at export
_TEST = "test_"


class SharedOrder(Sampler[Indices]):
    """The batches of an `Order` that one of several devices trains on, from one of them on.

    A last batch of one sample joins the one before it: a batch norm needs two. Where batches do not go round, the first
    ones are trained on twice.

    Attributes:
        start: how many batches of the next epoch are left out, because they were trained on before a break; the epoch
            after that is whole.
    """

    def __init__(self, order: Order, rank: int = 0, devices: int = 1, start: int = 0) -> None:
        self.order, self.rank, self.devices, self.start = order, rank, devices, start

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose batches come next."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        lonely = self.order.batch_size > 1 and self.order.count % self.order.batch_size == 1
        batches = len(self.order) - int(lonely and len(self.order) > 1)
        return -(-batches // self.devices)

    def __iter__(self) -> Iterator[Indices]:
        batches = list(self.order)
        if len(batches) > 1 and len(batches[-1].samples) == 1 < self.order.batch_size:
            lonely = batches.pop()
            batches[-1] = batches[-1]._replace(samples=torch.cat([batches[-1].samples, lonely.samples]))
        start, self.start = self.start, 0
        for turn in range(start, len(self)):
            yield batches[(turn * self.devices + self.rank) % len(batches)]


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the one that trains still needs this one's batch to end in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class TrainingModule(pl.LightningModule):
    """Trains a network on the loss of `losses.training_losses`, and keeps a row of figures for every epoch.

    Random numbers of a batch (dropout, noise) are drawn from (seed, epoch, batch, device) alone, and so are its samples
    (`data.batches`): nothing has to be remembered of them when training goes on after a break.

    Args:
        samples: `checkpoints.fingerprint(data)`, which goes into every checkpoint.

    Attributes:
        history: one row per epoch: losses, accuracies, rate.*, gamma.*, threshold.* and decay.* of every layer.
        scaled_on: integer inputs on which the scales of `noise.quantize` are chosen; None without it.
    """

    def __init__(self, config: ExperimentConfig, network: SpikingNetwork, data: DataSet, samples: str) -> None:
        super().__init__()
        self.network, self.config, self.data = network, config, data
        self.history: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._start = 0
        self._fingerprint = samples
        self._learning_rate = 0.0
        self._seconds_before, self._clock = 0.0, time.perf_counter()
        self.scaled_on = data.train.take(slice(_SCALED_ON)).inputs if config.noise.quantize else None
        # Not an attribute that is a module, or the state would hold the network twice.
        self._arranged: tuple[Any, ...] = ()
        self._rounding: FakeQuant | None = None

    def configure_model(self) -> None:
        """Memory order, and compilation: before several devices lay out the gradients that they share."""
        self._arranged = (arranged(self.network, self.config.train, self.trainer.strategy.root_device.type),)

    def on_fit_start(self) -> None:
        """The clock."""
        self._clock = time.perf_counter()

    def train_dataloader(self) -> DataLoader[Any]:
        """This device's share of the training batches."""
        batches = self._batches("train", self.config.train.batch_size)
        order = SharedOrder(batches.order, self.trainer.global_rank, self.trainer.world_size, self._start)
        return self._loader(batches, order, min(self.config.train.workers, cores()))

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """The validation split, whole on every device; the test split after it where that is to be reported."""
        names = ["validation", "test"] if self.config.train.report_best_on_test else ["validation"]
        made = [self._batches(name, 2 * self.config.train.batch_size) for name in names]  # no gradients to keep
        return [self._loader(batches, batches.order) for batches in made]

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the configuration."""
        optimizer = make_optimizer(self.network, self.config.train)
        order = SharedOrder(self._batches("train", self.config.train.batch_size).order, 0, self.trainer.world_size)
        schedule = make_schedule(optimizer, self.config.train, len(order))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """The loss of one batch."""
        values, labels = batch
        name = (self.config.seed, self.current_epoch, index, self.global_rank, _DRAWS)
        torch.manual_seed(int(np.random.SeedSequence(name).generate_state(1)[0]))
        try:
            output, losses = self._losses(values, labels, self._perturbation(values, labels, index))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UsageError(
                f"train.batch_size={self.config.train.batch_size}: a batch of {len(labels)}; a batch norm needs at "
                "least 2 samples"
            ) from error
        total, adjustment = read_losses(output, losses, self.config, self._place(index))
        self._learning_rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        for part, value in (("loss", total), ("potential_loss", adjustment), ("samples", 1.0)):
            self._add(f"train_{part}", value, len(labels))
        return losses.total

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Stops before a gradient that is not finite reaches the weights (under float16 Lightning leaves them out)."""
        if self.config.train.precision != "16":
            check_gradients(self.network, self.config, self._place(self.trainer.fit_loop.batch_idx))

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """A step of the optimiser, and back into the allowed range."""
        super().optimizer_step(*args, **options)
        self.network.keep_positive()

    def on_validation_epoch_start(self) -> None:
        """The rounding of `noise.quantize` for the weights that are judged: what would be exported now."""
        chip = self.config.noise.quantize
        self._rounding = rounding(self.network, chip, self.current_epoch, 1, self.scaled_on) if chip else None

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int, dataloader_idx: int = 0) -> None:
        """Adds up what `on_validation_epoch_end` reports."""
        values, labels = batch
        output = self._network(values, False, self._rounding)
        chip = self._rounding
        decided = output.logits.argmax(dim=1) if chip is None else chip.decided(output.per_step)
        correct = (decided == labels).double().mean()
        if dataloader_idx == 1:
            self._add(f"{_TEST}accuracy", float(correct), len(labels))
            self._add(f"{_TEST}samples", 1.0, len(labels))
            return
        loss = classification_loss(output.per_step, labels, self.config.train.loss)
        rates = {f"rate.{layer}": part.mean().double() for layer, part in output.rates.items()}
        figures = {"validation_loss": loss.double(), "validation_accuracy": correct} | rates
        for name, value in zip(figures, torch.stack(list(figures.values())).tolist(), strict=True):
            self._add(name, value, len(labels))
        self._add("validation_samples", 1.0, len(labels))

    def on_validation_epoch_end(self) -> None:
        """The epoch's row."""
        sums = self._gathered()
        row = {"epoch": float(self.current_epoch + 1), "learning_rate": self._learning_rate}
        row["train_loss"] = sums["train_loss"] / sums["train_samples"]
        row["potential_loss"] = sums["train_potential_loss"] / sums["train_samples"]
        for name in ("validation_loss", "validation_accuracy", *(n for n in sums if n.startswith("rate."))):
            row[name] = sums[name] / sums["validation_samples"]
        if f"{_TEST}samples" in sums:
            row["test_accuracy"] = sums[f"{_TEST}accuracy"] / sums[f"{_TEST}samples"]
        row |= dict(layer_figures(self.network))
        self._sums = {}
        self.history.append(row)
        several = self.trainer.world_size > 1
        self.log("validation_loss", row["validation_loss"], logger=False, sync_dist=several)
        # A short name for the bar.
        self.log("accuracy", row["validation_accuracy"], logger=False, prog_bar=True, sync_dist=several)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What Lightning does not know of."""
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        checkpoint["history"] = self.history
        checkpoint["experiment"] = self.config.model_dump_json()
        checkpoint["samples"] = len(self.data.train)
        checkpoint["data"] = self._fingerprint
        checkpoint["seconds"] = self._seconds_before + time.perf_counter() - self._clock
        checkpoint["sums"] = self._sums
        checkpoint["start"] = done % self.trainer.num_training_batches
        checkpoint["scales"] = kept_scales(self.network)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The same back; `checkpoints.check_resumable` has looked at it."""
        self.history, self._sums, self._start = checkpoint["history"], checkpoint["sums"], int(checkpoint["start"])
        self._seconds_before = float(checkpoint.get("seconds", 0.0))
        if self.config.noise.quantize:
            find_chip(self.config.noise.quantize)  # a chip of a user's own is known by its name once its file was read
        keep_scales(self.network, checkpoint["scales"])

    @property
    def _network(self) -> Any:
        return self._arranged[0] if self._arranged else self.network

    def _losses(
        self, values: torch.Tensor, labels: torch.Tensor, perturbation: Perturbation | None
    ) -> tuple[Output, Losses]:
        passes = 1 if self.network.first_dropout is None else 2
        output: Output = self._network(values, records(self.config.train), perturbation, passes)
        return output, training_losses(output, labels, self.config.train)

    def _perturbation(self, values: torch.Tensor, labels: torch.Tensor, index: int) -> Perturbation | None:
        """The noise of this batch; devices see different chips."""
        noise, number = self.config.noise, index * self.trainer.world_size + self.global_rank
        drawn = make_perturbation(noise, self.network, self.config.seed, self.current_epoch, number, self.scaled_on)
        if not noise.adversarial:
            return drawn

        def loss(extra: Perturbation) -> torch.Tensor:
            return self._losses(values, labels, combine(drawn, extra))[1].total

        return combine(drawn, adversarial_weights(self.network, loss, noise.adversarial, noise.adversarial_steps))

    def _batches(self, split: str, batch_size: int) -> Batches:
        data, config = self.data, self.config
        return Batches(getattr(data, split), data.input, config.data, batch_size, config.seed, split == "train")

    def _loader(self, batches: Batches, order: Sampler[Any], workers: int = 0) -> DataLoader[Any]:
        return DataLoader(
            batches,
            sampler=order,
            batch_size=None,
            num_workers=workers,
            # Not forked: a copy of a process with threads, of JAX for one, can wait for ever for a lock that they held.
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_interrupts,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            # A DataLoader draws a number each time it is iterated: not from the generator that training uses.
            generator=torch.Generator().manual_seed(0),
        )

    def _gathered(self) -> dict[str, float]:
        """Sums over all devices."""
        if self.trainer.world_size == 1:
            return self._sums
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, self._sums)
        return {name: sum(part[name] for part in parts) for name in self._sums}

    def _place(self, index: int) -> str:
        return f"epoch {self.current_epoch + 1}, batch {index + 1}"

    def _add(self, name: str, value: float, samples: int) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value * samples
