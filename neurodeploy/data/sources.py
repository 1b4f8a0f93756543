"""Data sets by name: read, split, encoded, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from neurodeploy.config import DataConfig
from neurodeploy.data.augment import check_augmentation
from neurodeploy.data.dataset import DataSet, Split, check_splits
from neurodeploy.data.encoding import EncodedSplit
from neurodeploy.data.images import load_cifar, load_digits, load_idx_set
from neurodeploy.data.own import load_npz
from neurodeploy.data.places import Loaded
from neurodeploy.data.recordings import RECORDINGS, load_recordings
from neurodeploy.data.scanning import frames_for, scanned
from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.ir.nodes import Input

_ORDER_SEED = 0  # never another: which samples come first is a part of the data set

SOURCES: Mapping[str, Callable[[DataConfig, int], Loaded]] = {
    "digits": load_digits,
    "mnist": lambda config, steps: load_idx_set("mnist", config),
    "fashion-mnist": lambda config, steps: load_idx_set("fashion-mnist", config),
    "cifar-10": lambda config, steps: load_cifar(10, config),
    "cifar-100": lambda config, steps: load_cifar(100, config),
} | {name: partial(load_recordings, name) for name in RECORDINGS}


def load_data_set(config: DataConfig, steps: int, seed: int) -> DataSet:
    """The data set of a configuration, ready to train on.

    Args:
        steps: T, the steps of a network: of recordings as many frames, of encoded values as many steps.
        seed: of the split into training and validation, and of the spikes of "rate".

    Raises:
        UsageError: for an unknown name, missing files, options that do not suit the data, or data that cannot be
            trained on; FileFormatError naming damaged files; MissingBackendError where recordings need tonic.
    """
    if config.name in SOURCES:
        loaded = SOURCES[config.name](config, frames_for(config, steps))
    elif Path(config.name).suffix == ".npz":
        loaded = load_npz(config, frames_for(config, steps))
    else:
        raise unknown_name("data set", config.name, [*SOURCES, "the path of a .npz"])
    check_augmentation(config.augment, loaded.input.shape, loaded.train.temporal)
    _check(loaded)
    if config.classes not in (None, loaded.classes):
        loaded = _first_classes(loaded, config.classes)
        _check(loaded)
    train, validation = _parts(loaded, config, seed)
    source = loaded.input
    if loaded.train.temporal and (config.unit_range or config.scan != "none"):
        source = replace(source, scale=1 / (2**source.bits - 1))
    data = DataSet(loaded.reported_name, source, loaded.classes, train, validation, _mixed(loaded.test))
    if config.scan != "none":
        return scanned(data, config, steps)
    return data if config.encoding == "direct" else _encoded(data, config, steps, seed)


def _check(loaded: Loaded) -> None:
    splits = {"train": loaded.train, "test": loaded.test}
    if loaded.validation is not None:
        splits["validation"] = loaded.validation
    check_splits(loaded.reported_name, loaded.input, loaded.classes, splits)


def _first_classes(loaded: Loaded, classes: int) -> Loaded:
    """The samples of classes 0 to `classes` - 1, under a name that says so: accuracies are not comparable."""
    if classes > loaded.classes:
        raise UsageError(f"data.classes={classes}: {loaded.reported_name} has {loaded.classes}; fewer are allowed")

    def kept(split: Split) -> Split:
        return split.take(np.flatnonzero(split.labels < classes))

    return replace(
        loaded,
        name=f"{loaded.reported_name}, classes 0 to {classes - 1}",
        classes=classes,
        train=kept(loaded.train),
        test=kept(loaded.test),
        validation=None if loaded.validation is None else kept(loaded.validation),
        official=None,
    )


def _parts(loaded: Loaded, config: DataConfig, seed: int) -> tuple[Split, Split]:
    """What is trained on, and what is held out: the data set's own, or a part of what is trained on by seed."""
    if loaded.validation is None:
        return _held_out(loaded, config, seed)
    return _mixed(loaded.train), _mixed(loaded.validation)


def _mixed(split: Split) -> Split:
    """Samples that lie class by class in an order of chance, the same each time; others as they are.

    Sweeps, proofs and calibration take the first samples of a split: those would be of one class. So lie recordings in
    folders by class. In an order of chance neighbours differ n - sum over classes of n_c² / n times; here, less than
    half as often.
    """
    changes, sizes = np.count_nonzero(np.diff(split.labels)), np.unique(split.labels, return_counts=True)[1]
    if 2 * changes >= len(split) - np.square(sizes, dtype=float).sum() / len(split):
        return split
    return split.take(np.random.default_rng(_ORDER_SEED).permutation(len(split)))


def _held_out(loaded: Loaded, config: DataConfig, seed: int) -> tuple[Split, Split]:
    count = max(1, round(config.validation * len(loaded.train)))
    if count >= len(loaded.train):
        raise UsageError(
            f"data.validation={config.validation}: leaves none of {len(loaded.train)} samples of "
            f"{loaded.reported_name} for training"
        )
    order = np.random.default_rng(seed).permutation(len(loaded.train))
    return loaded.train.take(order[count:]), loaded.train.take(order[:count])


def _encoded(data: DataSet, config: DataConfig, steps: int, seed: int) -> DataSet:
    if data.train.temporal:
        raise UsageError(
            f"data.encoding={config.encoding}: {data.name} changes over time already; only direct is allowed"
        )
    splits = [
        EncodedSplit(split.samples, split.labels, config.encoding, steps, data.input.scale, (seed, name))  # type: ignore[arg-type]
        for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test))
    ]
    return DataSet(data.name, Input(data.input.shape), data.classes, *splits)
