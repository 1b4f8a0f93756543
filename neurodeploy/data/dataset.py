"""What every data set is to the rest of the program: integers, labels, three splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input

DATA_ROOT_VARIABLE = "NEURODEPLOY_DATA"

Samples = NDArray[np.uint8]
Labels = NDArray[np.int64]

_ORDERS = {1: "features", 2: "height, width", 3: "channels, height, width"}


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their labels.

    Attributes:
        samples: integers, (N, *shape) shown at every step, or (N, T, *shape) where `temporal`.
        labels: (N,), 0 to classes - 1.
        temporal: whether samples change over time (recordings, encoded spikes).
    """

    samples: Samples
    labels: Labels
    temporal: bool = False

    def __len__(self) -> int:
        return self.labels.size  # whatever their shape is, before it was checked

    def take(self, chosen: slice | NDArray[np.int64]) -> Split:
        """Some of the samples, by slice or by index."""
        return Split(self.samples[chosen], self.labels[chosen], self.temporal)

    @property
    def inputs(self) -> Samples:
        """The samples as networks and simulators take them: (N, *shape), or time first, (T, N, *shape)."""
        return np.ascontiguousarray(np.moveaxis(self.samples, 1, 0)) if self.temporal else self.samples


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set; `test` is never used for any choice.

    Attributes:
        name: as results are reported: a part of a published data set carries its sizes, as in "n-mnist-1000/100".
    """

    name: str
    input: Input
    classes: int
    train: Split
    validation: Split
    test: Split


def joined(first: Split, second: Split) -> Split:
    """The samples of the first, then those of the second, which have the same shape."""
    samples = np.concatenate([first.samples, second.samples])
    return Split(samples, np.concatenate([first.labels, second.labels]), first.temporal)


def check_splits(name: str, source: Input, classes: int, splits: Mapping[str, Split]) -> None:
    """Whether a data set can be trained and tested on.

    Raises:
        UsageError: naming all that is wrong: empty splits, other shapes than the input's, labels out of range,
            integers that the input cannot hold, splits of different numbers of steps.
    """
    problems = [f"{part}: {text}" for part, split in splits.items() for text in _problems(split, source, classes)]
    steps = {split.samples.shape[1] for split in splits.values() if split.temporal and split.samples.ndim > 1}
    if len(steps) > 1:
        problems.append(f"splits of {' and '.join(map(str, sorted(steps)))} steps; all must have the same number")
    if problems:
        raise UsageError(f"data set {name}: {'; '.join(problems)}")


def _problems(split: Split, source: Input, classes: int) -> Iterator[str]:
    samples, labels = split.samples, split.labels
    shape = samples.shape[2:] if split.temporal else samples.shape[1:]
    order = f"(N, {'T, ' if split.temporal else ''}{_ORDERS.get(len(source.shape), 'features')})"
    if samples.dtype != np.uint8:
        yield f"samples of type {samples.dtype}; uint8 is expected"
    if labels.ndim != 1 or labels.shape != samples.shape[:1]:
        yield f"samples of shape {samples.shape} but labels of shape {labels.shape}; one label per sample is expected"
    if samples.size == 0:
        yield f"no samples (shape {samples.shape}); at least one is needed"
    elif shape != source.shape:
        yield f"samples of shape {shape} where {source.shape} is expected; the order is {order}"
    elif (largest := int(samples.max())) >= 2**source.bits:
        yield f"a sample holds {largest}; {source.bits} bits hold 0 to {2**source.bits - 1}"
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        yield (
            f"label {labels.flat[wrong[0]]} of sample {wrong[0]} ({len(wrong)} such); "
            f"allowed are 0 to {classes - 1} of {classes} classes"
        )
