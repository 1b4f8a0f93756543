"""Batches for torch: order, augmentation and rate encoding drawn from (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from neurodeploy.config import DataConfig
from neurodeploy.data.augment import Augmentation
from neurodeploy.data.dataset import Split
from neurodeploy.data.encoding import EncodedSplit, encode
from neurodeploy.ir.nodes import Input

_AUGMENT, _ENCODE = 1, 2  # what random numbers of a batch are for


class Indices(NamedTuple):
    """Which samples make up a batch, and which batch of which epoch it is."""

    epoch: int
    number: int
    samples: torch.Tensor


class Order(Sampler[Indices]):
    """Batches of indices, shuffled by (seed, epoch) alone, so that a resumed epoch sees the same order.

    Lightning calls `set_epoch`; without a shuffle all epochs are alike.
    """

    def __init__(self, count: int, batch_size: int, seed: int, shuffle: bool) -> None:
        self.count, self.batch_size, self.seed, self.shuffle, self.epoch = count, batch_size, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose batches come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Indices]:
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for number, start in enumerate(range(0, self.count, self.batch_size)):
            yield Indices(self.epoch, number, torch.from_numpy(order[start : start + self.batch_size]))


class Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Whole batches of a split that lies in memory as bytes: (values, labels).

    values: float32, integer * scale, (B, *shape), or time first, (T, B, *shape), where the split is temporal. Where
    `train` is set they are augmented, then no longer on the input's grid, and spikes of "rate" are drawn anew each
    epoch; else every sample looks the same each time. What is drawn depends on (seed, epoch, batch) alone; no global
    generator is touched.
    """

    def __init__(
        self, split: Split, source: Input, config: DataConfig, batch_size: int, seed: int, train: bool
    ) -> None:
        self.split, self.source, self.seed = split, source, seed
        self.order = Order(len(split), batch_size, seed, shuffle=train)
        self.labels = torch.from_numpy(split.labels)
        self.encoded = split if isinstance(split, EncodedSplit) else None
        # Encoded values are augmented as the images they still are, then encoded.
        self.recorded = split.temporal and self.encoded is None
        self.anew = self.encoded if train else None
        self.augmentation = Augmentation(config.augment, source.shape, self.recorded) if train else None
        stored = split.samples if self.encoded is None else self.encoded.values
        self.stored = torch.from_numpy(stored if stored.flags.writeable else stored.copy())

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, indices: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        labels = self.labels[indices.samples]
        if self.encoded is not None and self.anew is None:
            return torch.from_numpy(self.encoded.take(indices.samples.numpy()).inputs).float(), labels
        integers = self.stored[indices.samples]
        if self.recorded:
            integers = integers.movedim(1, 0)
        scale = self.source.scale if self.encoded is None else self.encoded.scale
        values = integers.to(torch.float32, memory_format=torch.contiguous_format) * scale
        if self.augmentation is not None and self.augmentation.names:
            values = self.augmentation(values, self._seed(indices, _AUGMENT))
        if self.anew is not None:
            generator = np.random.default_rng(self._seed(indices, _ENCODE))
            spikes = encode(values.numpy(), self.anew.encoding, self.anew.steps, generator)
            values = torch.from_numpy(spikes).float()
        return values, labels

    def _seed(self, indices: Indices, purpose: int) -> int:
        return int(np.random.SeedSequence((self.seed, indices.epoch, indices.number, purpose)).generate_state(1)[0])


def loader(split: Split, source: Input, config: DataConfig, batch_size: int, seed: int, train: bool) -> DataLoader[Any]:
    """A DataLoader of `Batches`; its sampler has Lightning's `set_epoch`."""
    batches = Batches(split, source, config, batch_size, seed, train)
    # A DataLoader draws a number each time it is iterated: not from the generator that the trainer uses.
    return DataLoader(batches, sampler=batches.order, batch_size=None, generator=torch.Generator().manual_seed(seed))
