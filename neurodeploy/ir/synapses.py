"""Synapses: how the output of one layer becomes the input current of another.

Used with float weights (a lowered Network) and with integer weights (a Program); the geometry is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import IntArray, Shape, frozen_ints
from neurodeploy.ir.nodes import check_geometry, conv_output_shape

Weights = NDArray[Any]
DELAY_MAX = 62  # Loihi's delays hold 6 bits, of which lava-dl's netx takes 0 to 62
WEIGHT_EXPONENTS = (-8, 7)  # Loihi's weight exponent: 4 bits with sign


class _Weighted:
    weight: Weights

    @cached_property  # once per object: every Program with these synapses asks, as those of all chips may be
    def largest_row(self) -> float:
        """The largest sum of |weights| of a neuron (a convolution's: of a channel)."""
        rows = np.abs(self.weight.reshape(len(self.weight), -1).astype(np.float64)).sum(axis=1)
        return float(rows.max())


@dataclass(frozen=True, eq=False)
class ConvSynapses(_Weighted):
    """current = conv2d(sum_pool(x, pool), weight), x of shape (C, H, W).

    Attributes:
        name: the node that the weights come from, for messages.
        source: the layer (or "input") that x comes from.
        weight: shape (out channels, in channels / groups, kernel height, kernel width).
        pool: edge of the non-overlapping windows summed before the convolution (1: none).
        delay: x is the source's output so many steps before, 0 to 62; before the first step it is 0.
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
        _check_delay(self.name, self.delay)
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
class DenseSynapses(_Weighted):
    """current = Σ_d (weight[delays = d] · x[d]) << weight_exponent, x[d] = flatten(sum_pool(output, pool)).

    Here weight[delays = d] holds the weights with that delay and zeros elsewhere, and x[d] the source's output
    `delay` + d steps before (0 before the first step). A negative exponent shifts to the right and rounds down. It acts
    on the sum, and where delays differ on the sum of each delay, as Lava's Dense and DelayDense compute it
    (lava/proc/dense/models.py).

    Attributes:
        name: the node that the weights come from, for messages.
        source: the layer (or "input") that x comes from.
        weight: shape (out features, in features).
        pool: edge of the non-overlapping windows summed before flattening (1: none).
        delay: steps of all synapses together, 0 to 62.
        delays: further steps of each synapse, integers of the weight's shape, 0 to 62, or None.
        weight_exponent: -8 to 7; other than 0 in Programs with fixed-point neurons only.
    """

    name: str
    source: str
    weight: Weights
    pool: int = 1
    delay: int = 0
    delays: IntArray | None = None
    weight_exponent: int = 0

    def __post_init__(self) -> None:
        _check_weight(self.name, self.weight, 2)
        _check_delay(self.name, self.delay)
        low, high = WEIGHT_EXPONENTS
        if not low <= self.weight_exponent <= high:
            raise UsageError(f"{self.name}: weight exponent {self.weight_exponent}: allowed are {low} to {high}")
        if self.delays is not None:
            object.__setattr__(self, "delays", frozen_ints(self.delays))
            if self.delays.shape != self.weight.shape:
                raise UsageError(
                    f"{self.name}: delays of shape {self.delays.shape} for weights of shape {self.weight.shape}"
                )
            if self.delays.min() < 0 or self.delays.max() > DELAY_MAX:
                raise UsageError(
                    f"{self.name}: delays {self.delays.min()} to {self.delays.max()}: allowed are 0 to {DELAY_MAX}"
                )

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) or (n,) -> (out features,); raises UsageError where the input does not fit."""
        features = int(np.prod(pooled(self.name, shape, self.pool)))
        if features != self.weight.shape[1]:
            raise UsageError(f"{self.name}: {features} values arrive where {self.weight.shape[1]} are expected")
        return (self.weight.shape[0],)

    def expanded(self, source_shape: Shape) -> DenseSynapses:
        """The same currents without pooling: every weight (and its delay) repeated over its window of the source."""
        if self.pool == 1:
            return self
        channels, height, width = pooled(self.name, source_shape, self.pool)

        def repeated(values: Weights) -> Weights:
            maps = values.reshape(-1, channels, height, width)
            maps = maps.repeat(self.pool, axis=2).repeat(self.pool, axis=3)
            flat = np.ascontiguousarray(maps.reshape(len(maps), -1))
            flat.setflags(write=False)
            return flat

        delays = None if self.delays is None else repeated(self.delays)
        return replace(self, weight=repeated(self.weight), delays=delays, pool=1)

    def by_delay(self) -> Iterator[tuple[int, Weights]]:
        """(further delay, the weights that have it and zeros elsewhere), shortest first."""
        if self.delays is None:
            yield 0, self.weight
            return
        for steps in np.unique(self.delays).tolist():
            weight = np.where(self.delays == steps, self.weight, 0)
            weight.setflags(write=False)
            yield steps, weight


Synapses = ConvSynapses | DenseSynapses


def longest_delay(synapses: Synapses) -> int:
    """Steps by which the oldest output that the synapses use lies behind."""
    extra = 0 if isinstance(synapses, ConvSynapses) or synapses.delays is None else int(synapses.delays.max())
    return synapses.delay + extra


def pooled(name: str, shape: Shape, pool: int) -> Shape:
    """The shape after sum pooling; raises UsageError naming the synapses where it does not divide."""
    if pool == 1:
        return shape
    if pool < 1 or len(shape) != 3 or shape[1] % pool or shape[2] % pool:
        raise UsageError(f"{name}: cannot pool {shape} by {pool}: height and width must be divisible")
    return (shape[0], shape[1] // pool, shape[2] // pool)


def extreme_sums(synapses: Synapses, low: int, high: int) -> tuple[float, float]:
    """Bounds of the current over all neurons, the weight exponent included, for inputs in [low, high] at every tap.

    A sum-pooled tap holds the sum of pool² inputs. Padding holds zeros, so 0 is always within the bounds.
    """
    window = synapses.pool**2
    parts = [(0, synapses.weight)] if isinstance(synapses, ConvSynapses) else list(synapses.by_delay())
    exponent = 0 if isinstance(synapses, ConvSynapses) else synapses.weight_exponent
    lower = upper = np.zeros(synapses.weight.shape[0])
    for _, weight in parts:
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        positive = np.maximum(rows, 0).sum(axis=1)
        negative = np.minimum(rows, 0).sum(axis=1)
        upper = upper + _shifted((positive * high + negative * low) * window, exponent)
        lower = lower + _shifted((positive * low + negative * high) * window, exponent)
    return min(float(lower.min()), 0.0), max(float(upper.max()), 0.0)


def largest_sum(synapses: Synapses, highest: int) -> float:
    """Bound of the sums over inputs up to `highest`, and of every sum on the way to them, before a weight exponent."""
    return synapses.largest_row * highest * synapses.pool**2


def _shifted(sums: Weights, exponent: int) -> Weights:
    return sums if exponent == 0 else np.floor(sums * 2.0**exponent)


def _undilated(weight: Weights, dilation: tuple[int, int]) -> Weights:
    if dilation == (1, 1):
        return weight
    out, inside, height, width = weight.shape
    full = np.zeros((out, inside, (height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1), dtype=weight.dtype)
    full[:, :, :: dilation[0], :: dilation[1]] = weight
    return full


def _check_delay(name: str, delay: int) -> None:
    if not 0 <= delay <= DELAY_MAX:
        raise UsageError(f"{name}: delay {delay}: allowed are 0 to {DELAY_MAX} steps")


def _check_weight(name: str, weight: Weights, dimensions: int) -> None:
    if weight.ndim != dimensions or weight.size == 0:
        raise UsageError(f"{name}: weight of shape {weight.shape}, {dimensions} non-empty dimensions are expected")
    if weight.flags.writeable:
        raise TypeError(f"{name}: weights of frozen synapses must be read-only")
