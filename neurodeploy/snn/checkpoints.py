"""Checkpoints: which are written, what may be resumed, and what Ctrl-C leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.encoding import EncodedSplit
from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.snn.model_file import read_tensors
from neurodeploy.snn.spiking_network import SpikingNetwork

LAST = "last.ckpt"
BEST = "best.ckpt"
_PARTS = {"state_dict", "experiment", "history", "samples", "sums", "start", "scales"}
_HASHED = 64  # samples at a time, of which a copy is made where they do not lie in a row
PREFIX = "network."  # of the network's parts in a checkpoint
# What may differ between a training and its resumption: it changes no number, or says which of them to take in the end.
_WITHOUT_EFFECT = frozenset(
    {"data.root", "data.download", "data.cache", "train.loggers", "train.workers", "train.selection"}
)


class InterruptedTrainingError(NeurodeployError):
    """Training was stopped from outside, and can be resumed (exit code 130, as shells have it)."""

    exit_code = 130


class Checkpoint(ModelCheckpoint):
    """One file, written anew after an epoch: always, or where the epoch is the best so far.

    Two of them do what `save_last` of one does not: it leaves out the epochs that are not the best.
    """

    def __init__(self, path: Path, monitor: str | None = None) -> None:
        super().__init__(path.parent, filename=path.stem, monitor=monitor, mode="min", enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Paths of the folder that it is in now: it may have been moved."""
        here = Path(str(self.dirpath))
        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = str(here / Path(state[name]).name) if state[name] else ""
        state["best_k_models"] = {str(here / Path(name).name): score for name, score in state["best_k_models"].items()}
        super().load_state_dict(state)


class Interruption(pl.Callback):
    """Ends training at the next safe place after SIGINT or SIGTERM; at a second SIGINT at once.

    Within an epoch the place is after the batch that is being trained, and a checkpoint is written there. With several
    devices nothing listens, and what the last epoch left is left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the two signals meanwhile; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Writes a checkpoint and ends, unless the epoch is over anyway."""
        if self.asked and batch_idx + 1 < trainer.num_training_batches:
            trainer.save_checkpoint(self.folder / LAST)
            where = f"epoch {trainer.current_epoch + 1}, batch {batch_idx + 1} of {trainer.num_training_batches}"
            raise InterruptedTrainingError(f"interrupted after {where}; --resume goes on from there")

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Ends between epochs, where the checkpoint is written already."""
        if self.asked:
            raise InterruptedTrainingError(
                f"interrupted after epoch {trainer.current_epoch}; --resume goes on from there"
            )

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Ends after the last epoch."""
        if self.asked:
            raise InterruptedTrainingError("interrupted after the last epoch; --resume measures and writes the model")

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours, read as plain tensors and values.

    Raises:
        FileFormatError: where it is damaged or foreign.
    """
    try:
        checkpoint = read_tensors(path)
    except FileFormatError as error:
        raise FileFormatError(f"--resume: {error}; train without --resume") from error
    if not isinstance(checkpoint, dict) or not set(checkpoint) >= _PARTS:
        raise FileFormatError(f"--resume: {path}: not a checkpoint of ours; train without --resume")
    return dict(checkpoint)


def fingerprint(data: DataSet) -> str:
    """SHA-256 of the training and validation samples and their labels, as they are before encoding."""
    digest = hashlib.sha256()
    for split in (data.train, data.validation):
        samples = split.values if isinstance(split, EncodedSplit) else split.samples
        for array in (samples, split.labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for first in range(0, len(array), _HASHED):
                digest.update(np.ascontiguousarray(array[first : first + _HASHED]).data)
    return digest.hexdigest()


def nothing_to_resume(path: Path) -> UsageError:
    """The error where there is no checkpoint."""
    return UsageError(f"--resume: there is no checkpoint {path}")


def check_resumable(path: Path, config: ExperimentConfig, network: SpikingNetwork, data: DataSet, samples: str) -> None:
    """Whether the training that a checkpoint is of can go on.

    Args:
        samples: `fingerprint(data)`.

    Raises:
        UsageError: naming the entries of the configuration that changed, the tensors of another shape, or the other
            number of training samples; or where the samples are others.
    """
    if not path.is_file():
        raise nothing_to_resume(path)
    checkpoint = load_checkpoint(path)
    advice = "train into another folder, or with what it was made with"
    try:
        there, here = _entries(json.loads(str(checkpoint["experiment"]))), _entries(config.model_dump(mode="json"))
    except (ValueError, AttributeError) as error:
        raise FileFormatError(f"--resume: {path}: not a checkpoint of ours; train without --resume") from error
    changed = [
        f"{name} was {there.get(name, 'not there')}, is {here.get(name, 'not there')}"
        for name in sorted((there.keys() | here.keys()) - _WITHOUT_EFFECT)
        if there.get(name) != here.get(name)
    ]
    if changed:
        raise UsageError(f"--resume: {path} was made with another configuration: {'; '.join(changed)}; {advice}")
    state = checkpoint["state_dict"]
    found = {name.removeprefix(PREFIX): tuple(part.shape) for name, part in state.items()}
    wanted = {name: tuple(part.shape) for name, part in network.state_dict().items()}
    differ = [
        f"{name} is {found.get(name, 'not there')}, the network's {wanted.get(name, 'not there')}"
        for name in (*wanted, *(found.keys() - wanted.keys()))
        if found.get(name) != wanted.get(name)
    ]
    if differ:
        rest = f"; and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise UsageError(f"--resume: {path} holds another network: {'; '.join(differ[:3])}{rest}; {advice}")
    was, now = checkpoint["samples"], len(data.train)
    if was != now:
        raise UsageError(f"--resume: {path} was trained on {was} samples, there are {now} now; {advice}")
    if checkpoint.get("data", samples) != samples:
        raise UsageError(
            f"--resume: {path} was trained on other samples or labels than data set {data.name} holds now; {advice}"
        )


class Reservation(pl.Callback):
    """Takes the processes of several devices into `reserved`, by being handed to them with the trainer.

    The lock belongs to the open folder (flock(2)), which they hold open as well: it is free when the last of them has
    ended, also where the process that started them was killed and they were not.

    Attributes:
        opened: the folder's file descriptor; None where the system has no such locks.
    """

    def __init__(self, opened: int | None) -> None:
        self.opened = opened

    def __copy__(self) -> Reservation:
        return self  # in this process one is enough, and a second descriptor would outlast `reserved`

    def __deepcopy__(self, memo: dict[int, Any]) -> Reservation:
        return self

    def __getstate__(self) -> dict[str, Any]:
        if self.opened is None:
            return {"opened": None}
        from multiprocessing.reduction import DupFd  # not on Windows

        return {"opened": DupFd(self.opened)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.opened = None if state["opened"] is None else state["opened"].detach()


@contextmanager
def reserved(folder: Path) -> Iterator[Reservation]:
    """Keeps other trainings out of a folder meanwhile; the system ends that with the processes, however they end.

    Raises:
        UsageError: where another training is in it: each would take what the other wrote last for its own; or where the
            folder cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # no such locks here, as on Windows
        yield Reservation(None)
        return
    try:
        opened = os.open(os.path.join(folder, "."), os.O_RDONLY)  # fails where nothing in it may be read
    except OSError as error:
        raise UsageError(f"-o: checkpoints go to {folder}: {error.strerror or error}; name another file") from error
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{folder}: another training writes there now; name another file with -o, or wait for its end"
            ) from error
        except OSError as error:  # a file system without locks
            warnings.warn(f"{folder}: not locked ({error.strerror}); start no second training there", stacklevel=2)
        yield Reservation(opened)
    finally:
        os.close(opened)


def remove_checkpoints(folder: Path) -> None:
    """Leaves none that a training from the start could be taken for."""
    for checkpoint in folder.glob("*.ckpt"):
        checkpoint.unlink()


def _entries(config: dict[str, Any]) -> dict[str, Any]:
    """Dotted names -> values."""
    flat: dict[str, Any] = {}
    for section, values in config.items():
        if isinstance(values, dict):
            flat |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            flat[section] = values
    return flat
