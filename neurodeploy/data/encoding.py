"""From values to spikes: rate and latency encoding of static samples."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neurodeploy.data.dataset import Labels, Samples, Split
from neurodeploy.hw_models.random import stream

Encoding = Literal["rate", "latency"]


def rate_spikes(values: NDArray[np.floating], uniform: NDArray[np.floating]) -> Samples:
    """Bernoulli spikes: at every step a value v in [0, 1] spikes with probability v, independently.

    Args:
        values: (*shape,).
        uniform: (T, *shape), drawn from [0, 1): o[t] = 1[uniform[t] < v], so 0 never spikes and 1 always does.
    """
    spikes: Samples = np.less(uniform, values).astype(np.uint8)
    return spikes


def latency_spikes(values: NDArray[np.floating], steps: int) -> Samples:
    """One spike per value v in (0, 1], at step t = floor((1 - v) * (T - 1) + 1/2) of 0 to T - 1; 0 never spikes.

    Args:
        values: (*shape,); the result is (T, *shape).
    """
    step = np.floor((1 - values.astype(np.float64)) * (steps - 1) + 0.5)
    times = np.arange(steps).reshape(-1, *(1,) * values.ndim)
    spikes: Samples = ((times == step) & (values > 0)).astype(np.uint8)
    return spikes


def encode(
    values: NDArray[np.floating], encoding: Encoding, steps: int, generator: np.random.Generator | None
) -> Samples:
    """Spikes (T, *shape) of values (*shape,) in [0, 1]; only "rate" draws from the generator."""
    if encoding == "latency":
        return latency_spikes(values, steps)
    assert generator is not None
    return rate_spikes(values, generator.random((steps, *values.shape), dtype=np.float32))


class EncodedSplit(Split):
    """Static samples that become spikes when they are looked at, so that T steps do not need T-fold memory.

    A sample's spikes depend on (key, the sample's own number) alone: not on which others are taken with it. `samples`
    encodes all of them at each access: take what you need first.

    Attributes:
        values: integers (N, *shape); value = integer * scale, in [0, 1].
        key: of the random numbers, such as (seed, split).
        numbers: (N,), each sample's own.
    """

    def __init__(
        self,
        values: Samples,
        labels: Labels,
        encoding: Encoding,
        steps: int,
        scale: float,
        key: tuple[int | str, ...],
        numbers: NDArray[np.int64] | None = None,
    ) -> None:
        for name, value in {
            "values": values,
            "labels": labels,
            "temporal": True,
            "encoding": encoding,
            "steps": steps,
            "scale": scale,
            "key": key,
            "numbers": np.arange(len(values)) if numbers is None else numbers,
        }.items():
            object.__setattr__(self, name, value)

    values: Samples
    encoding: Encoding
    steps: int
    scale: float
    key: tuple[int | str, ...]
    numbers: NDArray[np.int64]

    def take(self, chosen: slice | NDArray[np.int64]) -> EncodedSplit:
        """Some of the samples, by slice or by index; their spikes stay the same."""
        numbers = self.numbers[chosen]
        return EncodedSplit(
            self.values[chosen], self.labels[chosen], self.encoding, self.steps, self.scale, self.key, numbers
        )

    @property
    def samples(self) -> Samples:
        """Spikes, (N, T, *shape)."""
        return np.ascontiguousarray(np.moveaxis(self.inputs, 0, 1))

    @property
    def inputs(self) -> Samples:
        """Spikes, (T, N, *shape)."""
        values = self.values.astype(np.float32) * np.float32(self.scale)
        if self.encoding == "latency":
            return latency_spikes(values, self.steps)
        spikes = np.empty((self.steps, *values.shape), dtype=np.uint8)
        for place, (number, value) in enumerate(zip(self.numbers, values, strict=True)):
            generator = np.random.Generator(stream("rate", *self.key, int(number)))
            spikes[:, place] = encode(value, "rate", self.steps, generator)
        return spikes
