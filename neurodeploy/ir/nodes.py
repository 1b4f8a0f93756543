"""The nodes of a Network: each owns its equation, its shape rule, its units and its own checks.

Time is discrete, t = 1 … T. A node's input at step t is the sum over its incoming edges. Shapes leave out time and
batch. Potentials, thresholds and biases share one arbitrary unit (the unit of weight × input); decays are fractions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray, Shape, frozen_floats

Reset = Literal["zero", "subtract"]
RESETS: tuple[Reset, ...] = ("zero", "subtract")


@dataclass(frozen=True, eq=False)
class Input:
    """The network's input: integers on a grid, as a chip receives them.

    value[t] = integer[t] * scale, with integers in [0, 2**bits - 1]. Spikes have scale 1 and one bit; an image of 8
    bits in [0, 1] has scale 1/255.
    """

    shape: Shape
    scale: float = 1.0
    bits: int = 1

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise UsageError(f"input shape {self.shape}: every dimension must be at least 1")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise UsageError(f"input scale {self.scale}: must be finite and positive")
        if not 1 <= self.bits <= 8:
            raise UsageError(f"input bits {self.bits}: allowed are 1 to 8")

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of the input itself."""
        return self.shape


@dataclass(frozen=True, eq=False)
class Conv2d:
    """y[o] = bias[o] + Σ_c weight[o, c] ⋆ x[c], cross-correlation as in PyTorch.

    Attributes:
        weight: shape (out channels, in channels / groups, kernel height, kernel width).
        bias: shape (out channels,).
        stride: steps (vertical, horizontal); padding and dilation likewise.
    """

    weight: FloatArray
    bias: FloatArray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _finite("weight", self.weight, 4))
        object.__setattr__(self, "bias", _finite("bias", self.bias, 1))
        if self.bias.shape[0] != self.weight.shape[0]:
            raise UsageError(f"bias of {self.bias.shape[0]} for {self.weight.shape[0]} output channels")
        check_geometry(self.stride, self.padding, self.dilation, self.groups, self.weight.shape[0])

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) -> (O, H', W') with H' = (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1."""
        return conv_output_shape(shape, self.weight.shape, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True, eq=False)
class Linear:
    """y = weight x + bias.

    Attributes:
        weight: shape (out features, in features).
        bias: shape (out features,).
    """

    weight: FloatArray
    bias: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _finite("weight", self.weight, 2))
        object.__setattr__(self, "bias", _finite("bias", self.bias, 1))
        if self.bias.shape[0] != self.weight.shape[0]:
            raise UsageError(f"bias of {self.bias.shape[0]} for {self.weight.shape[0]} output features")

    def output_shape(self, shape: Shape) -> Shape:
        """(in features,) -> (out features,)."""
        if shape != (self.weight.shape[1],):
            raise UsageError(f"input shape {shape} where ({self.weight.shape[1]},) is expected (is a Flatten missing?)")
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class SumPool2d:
    """y = Σ over non-overlapping kernel × kernel windows of x."""

    kernel: int

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) -> (C, H / kernel, W / kernel); H and W must be divisible."""
        return _pooled_shape(shape, self.kernel)


@dataclass(frozen=True, eq=False)
class AvgPool2d:
    """y = mean over non-overlapping kernel × kernel windows of x."""

    kernel: int

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) -> (C, H / kernel, W / kernel); H and W must be divisible."""
        return _pooled_shape(shape, self.kernel)


@dataclass(frozen=True, eq=False)
class Flatten:
    """y = x in one dimension, row-major."""

    def output_shape(self, shape: Shape) -> Shape:
        """(a, b, …) -> (a * b * …,)."""
        return (int(np.prod(shape)),)


@dataclass(frozen=True, eq=False)
class LIF:
    """Leaky integrate-and-fire neurons (Eq. 2 and 3 of arXiv:2304.13289).

    reset "zero":      u[t] = decay * u[t-1] * (1 - o[t-1]) + x[t];  o[t] = 1 if u[t] > threshold
    reset "subtract":  u[t] = decay * (u[t-1] - threshold * o[t-1]) + x[t]

    with u[0] = o[0] = 0 and decay = exp(-1 / tau), tau in steps. With `fires_at_threshold` the comparison is >=.
    """

    decay: float
    threshold: float
    reset: Reset = "zero"
    fires_at_threshold: bool = False

    def __post_init__(self) -> None:
        _check_decay(self.decay)
        _check_firing(self.threshold, self.reset)

    def output_shape(self, shape: Shape) -> Shape:
        """One neuron per input value."""
        return shape


@dataclass(frozen=True, eq=False)
class CubaLIF:
    """Leaky integrate-and-fire neurons with a synaptic current (current-based, CUBA).

    What arrives is x[t] = s[t] + b: b is what the nodes before put out while all neurons and inputs are silent (their
    biases), s[t] the rest. The current filters s only, as chips do: a bias acts on the potential (Lava's bias_mant, and
    how lava-dl's netx reads a bias).

        i[t] = current_decay * i[t-1] + s[t]
        reset "zero":      u[t] = decay * u[t-1] * (1 - o[t-1]) + i[t] + b;  o[t] = 1 if u[t] > threshold
        reset "subtract":  u[t] = decay * (u[t-1] - threshold * o[t-1]) + i[t] + b

    with i[0] = u[0] = o[0] = 0. A spike leaves the current as it is. With `current_decay` 0 it is the node `LIF`.

    Where `most_spikes` is above 1, a neuron fires as often as the threshold goes into its potential, at most so many
    times a step, o[t] = floor(u[t] / threshold); each takes off a threshold. Xylo does that, no other chip here.
    """

    decay: float
    current_decay: float
    threshold: float
    reset: Reset = "zero"
    fires_at_threshold: bool = False
    most_spikes: int = 1

    def __post_init__(self) -> None:
        if self.most_spikes < 1 or (self.most_spikes > 1 and self.reset != "subtract"):
            raise UsageError(f"at most {self.most_spikes} spikes a step: 1, or more with reset 'subtract'")
        _check_decay(self.decay)
        if not 0 <= self.current_decay <= 1:  # NaN fails too
            raise UsageError(f"current decay {self.current_decay}: must lie in [0, 1]")
        _check_firing(self.threshold, self.reset)

    def output_shape(self, shape: Shape) -> Shape:
        """One neuron per input value."""
        return shape


@dataclass(frozen=True, eq=False)
class MembraneReadout:
    """Neurons that integrate and never fire: u[t] = decay * u[t-1] + x[t]; the readout is the mean of u over time."""

    decay: float = 1.0

    def __post_init__(self) -> None:
        _check_decay(self.decay)

    def output_shape(self, shape: Shape) -> Shape:
        """One neuron per class: (classes,) -> (classes,)."""
        return _class_shape(shape)


@dataclass(frozen=True, eq=False)
class SpikeCountReadout:
    """The readout is the mean over time of its input, which must be spikes."""

    def output_shape(self, shape: Shape) -> Shape:
        """One count per class: (classes,) -> (classes,)."""
        return _class_shape(shape)


Node = Input | Conv2d | Linear | SumPool2d | AvgPool2d | Flatten | LIF | CubaLIF | MembraneReadout | SpikeCountReadout
FIRING = (LIF, CubaLIF)
READOUTS = (MembraneReadout, SpikeCountReadout)


def check_geometry(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int, channels: int
) -> None:
    """Raises UsageError where the geometry of a convolution is impossible."""
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise UsageError(f"stride {stride}, dilation {dilation} must be >= 1 and padding {padding} >= 0")
    if groups < 1 or channels % groups:
        raise UsageError(f"groups {groups} must divide the {channels} output channels")


def conv_output_shape(
    shape: Shape,
    weight_shape: Shape,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Shape:
    """The shape rule of a two-dimensional convolution; raises UsageError where the input does not fit."""
    out_channels, in_channels = weight_shape[0], weight_shape[1] * groups
    if len(shape) != 3 or shape[0] != in_channels:
        raise UsageError(f"input shape {shape} where ({in_channels}, height, width) is expected")
    size = [
        (shape[1 + axis] + 2 * padding[axis] - dilation[axis] * (weight_shape[2 + axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    ]
    if min(size) < 1:
        raise UsageError(f"input shape {shape} is smaller than the kernel {weight_shape[2:]}")
    return (out_channels, *size)


def _finite(what: str, values: FloatArray, dimensions: int) -> FloatArray:
    array = frozen_floats(values)
    if array.ndim != dimensions or array.size == 0:
        raise UsageError(f"{what} of shape {array.shape}: {dimensions} non-empty dimensions are expected")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(int(index) for index in bad[0])
        raise UsageError(f"{what}{list(where)} is {array[where]} ({len(bad)} such values): must be finite")
    return array


def _check_decay(decay: float) -> None:
    if not 0 < decay <= 1:  # NaN fails too
        raise UsageError(f"decay {decay}: must lie in (0, 1]")


def _check_firing(threshold: float, reset: str) -> None:
    if not (np.isfinite(threshold) and threshold > 0):
        raise UsageError(f"threshold {threshold}: must be finite and positive")
    if reset not in RESETS:
        raise UsageError(f"reset {reset!r}: allowed are {', '.join(RESETS)}")


def _pooled_shape(shape: Shape, kernel: int) -> Shape:
    if kernel < 1:
        raise UsageError(f"pooling kernel {kernel}: must be at least 1")
    if len(shape) != 3 or shape[1] % kernel or shape[2] % kernel:
        raise UsageError(f"input shape {shape}: height and width must be divisible by the pooling kernel {kernel}")
    return (shape[0], shape[1] // kernel, shape[2] // kernel)


def _class_shape(shape: Shape) -> Shape:
    if len(shape) != 1:
        raise UsageError(f"input shape {shape} where (classes,) is expected")
    return shape
