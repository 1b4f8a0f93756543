"""What every data set is to the rest of the program: integers, labels, three splits."""

from __future__ import annotations

from collections.abc import Iterator
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
        return len(self.labels)

    def take(self, chosen: slice | NDArray[np.int64]) -> Split:
        """Some of the samples, by slice or by index."""
        return Split(self.samples[chosen], self.labels[chosen], self.temporal)

    @property
    def inputs(self) -> Samples:
        """The samples as networks and simulators take them: (N, *shape), or time first, (T, N, *shape)."""
        return np.ascontiguousarray(np.moveaxis(self.samples, 1, 0)) if self.temporal else self.samples

    @property
    def stored(self) -> Samples:
        """The integers that lie in memory: the samples, or what they are encoded from (see `EncodedSplit`)."""
        return self.samples

    @property
    def levels(self) -> int | None:
        """The largest integer that `stored` may hold where that is not for the input to say."""
        return None


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


def check_data_set(data: DataSet) -> DataSet:
    """The data set itself, if it can be trained and tested on.

    Raises:
        UsageError: naming all that is wrong: empty splits, other shapes than the input's, labels out of range,
            integers that the input cannot hold.
    """
    problems = []
    for name in ("train", "validation", "test"):
        split: Split = getattr(data, name)
        problems += [f"{name}: {problem}" for problem in _problems(split, data)]
    steps = {s.samples.shape[1] for s in (data.train, data.validation, data.test) if s.temporal and s.samples.ndim > 1}
    if len(steps) > 1:
        problems.append(f"splits of {' and '.join(map(str, sorted(steps)))} steps; all must have the same number")
    if problems:
        raise UsageError(f"data set {data.name}: {'; '.join(problems)}")
    return data


def _problems(split: Split, data: DataSet) -> Iterator[str]:
    samples, labels = split.stored, split.labels
    recorded = split.temporal and split.levels is None  # encoded splits store one value for all steps
    shape = samples.shape[2:] if recorded else samples.shape[1:]
    order = f"(N, {'T, ' if recorded else ''}{_ORDERS.get(len(data.input.shape), 'features')})"
    if samples.dtype != np.uint8:
        yield f"samples of type {samples.dtype}; uint8 is expected"
    if len(samples) != len(labels) or labels.ndim != 1:
        yield f"samples of shape {samples.shape} but labels of shape {labels.shape}; one label per sample is expected"
    if samples.size == 0:
        yield f"no samples (shape {samples.shape}); at least one is needed"
    elif shape != data.input.shape:
        yield f"samples of shape {shape} where {data.input.shape} is expected; the order is {order}"
    elif (largest := int(samples.max())) > (split.levels or 2**data.input.bits - 1):
        yield f"a sample holds {largest}; {split.levels or 2**data.input.bits - 1} is the most that its bits hold"
    if labels.size and (labels.min() < 0 or labels.max() >= data.classes):
        wrong = np.flatnonzero((labels < 0) | (labels >= data.classes))
        yield (
            f"label {labels[wrong[0]]} of sample {wrong[0]} ({len(wrong)} such); "
            f"allowed are 0 to {data.classes - 1} of {data.classes} classes"
        )
