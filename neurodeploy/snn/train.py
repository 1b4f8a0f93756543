"""Training through Lightning: the loss of Eq. 6, checkpoints every epoch, resume, a validation split, fixed seeds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import RichProgressBar
from torch.multiprocessing.spawn import ProcessRaisedException

from neurodeploy.config import ExperimentConfig, TrainConfig
from neurodeploy.data.dataset import DataSet, Split, check_splits
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.snn import checkpoints, memory
from neurodeploy.snn.checkpoints import Checkpoint, InterruptedTrainingError, Interruption, load_checkpoint
from neurodeploy.snn.determinism import check_products, deterministic
from neurodeploy.snn.fake_quant import FakeQuant
from neurodeploy.snn.losses import check_potential_layers
from neurodeploy.snn.model_file import check_sizes
from neurodeploy.snn.monitor import EpochLog, make_loggers
from neurodeploy.snn.networks import build
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.trained_scales import trained_rounding
from neurodeploy.snn.training_module import TrainingModule, cores


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network: the weights of the epoch that `train.selection` keeps, and the history of all epochs.

    Attributes:
        device: what it was trained on; the network itself is on the CPU.
        rounding: of the chip of `noise.quantize`, with which its validation accuracy was measured; None without.
    """

    network: SpikingNetwork
    history: list[dict[str, float]]
    validation_accuracy: float
    epoch: int
    device: torch.device
    seconds: float
    rounding: FakeQuant | None


def train(
    config: ExperimentConfig, data: DataSet, folder: Path, resume: bool = False, progress: bool = True
) -> Trained:
    """Trains and returns the epoch with the lowest loss on the validation split, or the last (`train.selection`).

    The test set is not looked at, unless `train.report_best_on_test` asks for its accuracy after every epoch, which
    changes nothing of the training.

    Args:
        folder: where checkpoints and log.csv go; each checkpoint is complete before the one before it is removed.
        resume: go on from the last checkpoint in `folder`; on one device to the bit the same as training without a
            break, whatever ended it. Ctrl-C leaves a checkpoint of the batch that it came in, anything else that of the
            last epoch.
        progress: a progress bar on standard error.

    Raises:
        UsageError: for data that cannot be trained on, where another training is in `folder`, where there is nothing to
            resume, where a checkpoint is damaged or belongs to another configuration, network or data, where a layer's
            numbers stop being finite, or where what this process did on a GPU before keeps the training from repeating
            bit by bit.
        InterruptedTrainingError: after Ctrl-C.
    """
    _check(config, data)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    network = build(config.network, data.input, data.classes)
    check_potential_layers(config.train, network)
    loggers = make_loggers(config, folder)
    last = folder / checkpoints.LAST
    try:
        if resume and not folder.is_dir():
            raise checkpoints.nothing_to_resume(last)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o: checkpoints go to {folder}: {error.strerror or error}; name another file") from error
    interruption = Interruption(folder)
    callbacks: list[pl.Callback] = [
        EpochLog(folder),
        interruption,
        Checkpoint(folder / checkpoints.BEST, monitor="validation_loss"),
        Checkpoint(last),
    ]
    if progress:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}, leave=False))
    quietly, threads = _quietly(), _threads(config.train.threads)
    with checkpoints.reserved(folder) as reservation, quietly, threads, memory.kept(), deterministic():
        samples = checkpoints.fingerprint(data)
        if resume:  # nobody else replaces what is looked at
            checkpoints.check_resumable(last, config, network, data, samples)
        trainer = _make_trainer(config.train, [*callbacks, reservation], loggers, progress)
        if trainer.world_size == 1:  # several devices are processes of their own, which computed nothing before
            check_products(trainer.strategy.root_device)
        if not resume:  # those of an earlier training, which stay where this one is refused
            _check_processes(config.train, trainer)
            checkpoints.remove_checkpoints(folder)
        module = TrainingModule(config, network, data, samples)
        listening = interruption.listening() if trainer.world_size == 1 else nullcontext()
        try:
            with listening:
                trainer.fit(module, ckpt_path=str(last) if resume else None, weights_only=True)
        except SystemExit as error:  # Lightning's answer to Ctrl-C with several devices
            raise InterruptedTrainingError("interrupted; --resume goes on from the last finished epoch") from error
        except ProcessRaisedException as error:
            raise _of_a_device(str(error)) from error
        end = load_checkpoint(last)
        kept = end if config.train.selection == "last" else load_checkpoint(folder / checkpoints.BEST)
    chosen = kept["history"][-1]
    network = build(config.network, data.input, data.classes)
    network.load_state_dict({name.removeprefix(checkpoints.PREFIX): part for name, part in kept["state_dict"].items()})
    device, seconds = trainer.strategy.root_device, float(end.get("seconds", 0.0))
    network, chip, rounding = network.eval(), config.noise.quantize, None
    if chip:
        rounding = trained_rounding(network, chip, kept["scales"], module.scaled_on)
    epoch, validation = int(chosen["epoch"]), chosen["validation_accuracy"]
    return Trained(network, end["history"], validation, epoch, device, seconds, rounding)


def _of_a_device(trace: str) -> NeurodeployError:
    """The error of one of several devices, of which only its printed trace is left."""
    last = trace.strip().splitlines()[-1]
    kind, _, told = last.partition(": ")
    if kind == f"{UsageError.__module__}.{UsageError.__name__}":
        return UsageError(told)
    return NeurodeployError(f"training on several devices: {last}")


@torch.no_grad()
def accuracy(
    network: SpikingNetwork,
    split: Split,
    batch_size: int = 500,
    device: torch.device | None = None,
    rounding: FakeQuant | None = None,
) -> float:
    """Fraction of correct decisions in evaluation mode, as float or rounded; computed on `device`, or where it is."""
    home = next(network.parameters()).device
    device = device or home
    network.eval().to(device)
    correct = 0
    for start in range(0, len(split), batch_size):
        part = split.take(slice(start, start + batch_size))
        inputs, labels = (np.require(array, requirements="W") for array in (part.inputs, part.labels))  # or torch warns
        values = torch.from_numpy(inputs).to(device).float() * network.input.scale
        output = network(values, perturbation=rounding)
        decided = output.logits.argmax(dim=1) if rounding is None else rounding.decided(output.per_step)
        correct += int((decided == torch.from_numpy(labels).to(device)).sum())
    network.to(home)
    return correct / len(split)


def _check(config: ExperimentConfig, data: DataSet) -> None:
    """All that can be known to be wrong before the first step; the test split is not read."""
    splits = {"train": data.train, "validation": data.validation}
    check_splits(data.name, data.input, data.classes, splits)
    try:
        check_sizes(data.classes, data.input)
    except UsageError as error:
        raise UsageError(f"data set {data.name}: {error}") from error
    for name, split in splits.items():
        steps = len(split.take(slice(0, 1)).inputs)
        if split.temporal and steps != config.network.steps:
            found, expected = (tuple(map(str, (t, "B", *data.input.shape))) for t in (steps, config.network.steps))
            raise UsageError(
                f"data set {data.name}, {name}: batches of ({', '.join(found)}), while network.steps="
                f"{config.network.steps} expects ({', '.join(expected)}); the order is (T, B, ...)"
            )


def _make_trainer(config: TrainConfig, callbacks: list[pl.Callback], loggers: list[Any], progress: bool) -> pl.Trainer:
    options: dict[str, Any] = {
        "max_epochs": config.epochs,
        "accelerator": config.accelerator,
        "devices": config.devices,
        "precision": {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[config.precision],
        "logger": loggers or False,
        "log_every_n_steps": 1,
        "callbacks": callbacks,
        "enable_progress_bar": progress,
        "enable_model_summary": False,
        "deterministic": True,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # training_module shares out batches itself
    }
    try:
        trainer = pl.Trainer(**options)
        if trainer.num_devices > 1:
            # Processes that run the training alone, not the whole command again.
            trainer = pl.Trainer(**options, strategy="ddp_spawn")
    except (ValueError, MisconfigurationException, RuntimeError) as error:
        raise UsageError(
            f"train.accelerator={config.accelerator}, train.devices={config.devices}: {' '.join(str(error).split())}"
        ) from error
    if config.precision == "16" and trainer.strategy.root_device.type == "cpu":
        raise UsageError("train.precision=16: half precision needs a GPU; bf16 and 32 are for CPUs as well")
    return trainer


def _check_processes(config: TrainConfig, trainer: pl.Trainer) -> None:
    """Raises UsageError for more processes than cores, which wait for each other; what was begun so may go on."""
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > cores():
        raise UsageError(
            f"train.devices={config.devices}: a process for each, and there are {cores()} CPU cores here; "
            f"allowed are 1 to {cores()}"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Lightning's advice for other set-ups, and its own use of what torch has deprecated."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Data lie in memory (no loader workers), the folder is ours and may exist, loaders start where they stopped,
        # and a GPU that is there and not asked for is left alone.
        for advice in (
            ".*does not have many workers.*",
            ".*Checkpoint directory .* exists and is not empty.*",
            ".*your dataloader is not resumable.*",
            ".*available but not used.*",
            ".*LeafSpec.*",
            ".*AMP with fp16 is not supported on CPU.*",  # an error of ours, in better words
        ):
            warnings.filterwarnings("ignore", message=advice)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Small layers are faster on one thread, most of all on a machine that does something else as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
