"""Synapses: how the output of one layer becomes the input current of another.

Used with float weights (a lowered Network) and with integer weights (a Program); the geometry is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.nodes import check_geometry, conv_output_shape

Weights = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ConvSynapses:
    """current = conv2d(sum_pool(x, pool), weight), x of shape (C, H, W).

    Attributes:
        name: the node that the weights come from, for messages.
        source: the layer (or "input") that x comes from.
        weight: shape (out channels, in channels / groups, kernel height, kernel width).
        pool: edge of the non-overlapping windows summed before the convolution (1: none).
        delay: 1 where x is the source's output of the step before (recurrence).
    """

    name: str
    source: str
    weight: Weights
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pool: int = 1
    delay: int = 0

    def __post_init__(self) -> None:
        _check_weight(self.name, self.weight, 4)
        check_geometry(self.stride, self.padding, self.dilation, self.groups, self.weight.shape[0])

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) -> (O, H', W'); raises UsageError where the input does not fit."""
        shape = pooled(self.name, shape, self.pool)
        return conv_output_shape(shape, self.weight.shape, self.stride, self.padding, self.dilation, self.groups)

    def expanded(self) -> ConvSynapses:
        """The same currents without pooling: conv(sum_pool_p(x), k) = conv(x, k ⊗ 1[p×p]) with stride and padding × p.

        A dilated kernel is written out first, because its taps would otherwise spread between the windows.
        """
        if self.pool == 1:
            return self
        p = self.pool
        weight = np.kron(_undilated(self.weight, self.dilation), np.ones((1, 1, p, p), dtype=self.weight.dtype))
        weight.setflags(write=False)
        return replace(
            self,
            weight=weight,
            stride=(self.stride[0] * p, self.stride[1] * p),
            padding=(self.padding[0] * p, self.padding[1] * p),
            dilation=(1, 1),
            pool=1,
        )


@dataclass(frozen=True, eq=False)
class DenseSynapses:
    """current = weight · flatten(sum_pool(x, pool)).

    Attributes:
        name: the node that the weights come from, for messages.
        source: the layer (or "input") that x comes from.
        weight: shape (out features, in features).
        pool: edge of the non-overlapping windows summed before flattening (1: none).
        delay: 1 where x is the source's output of the step before (recurrence).
    """

    name: str
    source: str
    weight: Weights
    pool: int = 1
    delay: int = 0

    def __post_init__(self) -> None:
        _check_weight(self.name, self.weight, 2)

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) or (n,) -> (out features,); raises UsageError where the input does not fit."""
        features = int(np.prod(pooled(self.name, shape, self.pool)))
        if features != self.weight.shape[1]:
            raise UsageError(f"{self.name}: {features} values arrive where {self.weight.shape[1]} are expected")
        return (self.weight.shape[0],)

    def expanded(self, source_shape: Shape) -> DenseSynapses:
        """The same currents without pooling: every weight repeated over its window of the source."""
        if self.pool == 1:
            return self
        channels, height, width = pooled(self.name, source_shape, self.pool)
        maps = self.weight.reshape(-1, channels, height, width)
        maps = maps.repeat(self.pool, axis=2).repeat(self.pool, axis=3)
        weight = np.ascontiguousarray(maps.reshape(len(maps), -1))
        weight.setflags(write=False)
        return replace(self, weight=weight, pool=1)


Synapses = ConvSynapses | DenseSynapses


def pooled(name: str, shape: Shape, pool: int) -> Shape:
    """The shape after sum pooling; raises UsageError naming the synapses where it does not divide."""
    if pool == 1:
        return shape
    if pool < 1 or len(shape) != 3 or shape[1] % pool or shape[2] % pool:
        raise UsageError(f"{name}: cannot pool {shape} by {pool}: height and width must be divisible")
    return (shape[0], shape[1] // pool, shape[2] // pool)


def extreme_sums(synapses: Synapses, low: int, high: int) -> tuple[float, float]:
    """Bounds of the summed weight × input over all neurons, for inputs in [low, high] at every tap.

    A sum-pooled tap holds the sum of pool² inputs. Padding holds zeros, so 0 is always within the bounds.
    """
    rows = synapses.weight.reshape(synapses.weight.shape[0], -1).astype(np.float64)
    positive = np.maximum(rows, 0).sum(axis=1)
    negative = np.minimum(rows, 0).sum(axis=1)
    window = synapses.pool**2
    upper = float((positive * high + negative * low).max()) * window
    lower = float((positive * low + negative * high).min()) * window
    return min(lower, 0.0), max(upper, 0.0)


def _undilated(weight: Weights, dilation: tuple[int, int]) -> Weights:
    if dilation == (1, 1):
        return weight
    out, inside, height, width = weight.shape
    full = np.zeros((out, inside, (height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1), dtype=weight.dtype)
    full[:, :, :: dilation[0], :: dilation[1]] = weight
    return full


def _check_weight(name: str, weight: Weights, dimensions: int) -> None:
    if weight.ndim != dimensions or weight.size == 0:
        raise UsageError(f"{name}: weight of shape {weight.shape}, {dimensions} non-empty dimensions are expected")
    if weight.flags.writeable:
        raise TypeError(f"{name}: weights of frozen synapses must be read-only")
