"""Layers of several chips side by side, in torch: tensors are (chips, B, *shape), on any device.

A leading axis of 1 stands for what all chips share: it broadcasts, so that it is computed once. Sums and fixed-point
neurons are int64, as in `simulate.reference`; floating-point neurons are float64. There every operation is one of
torch's own and rounds once, on a GPU as on a CPU. None is fused with another (`addcmul`, `lerp`, a compiled graph): two
operations would round as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    STATE_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    FloatNeurons,
    Layer,
    Program,
)
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses, Weights, largest_sum

_FLOAT32_EXACT = 2.0**24
Outputs = Mapping[tuple[str, int], torch.Tensor]  # (source, step) -> (chips or 1, B, *shape)


class State(NamedTuple):
    """What neurons remember; see `reference.State`. No current where it has no memory."""

    current: torch.Tensor | None
    potential: torch.Tensor


class StackedLayer:
    """One layer of several chips.

    Args:
        layers: one per chip, the same geometry; arrays that are the same object in all are held once.

    Raises:
        UsageError: where sums may be too large to be exact in float64.
    """

    def __init__(self, layers: Sequence[Layer], program: Program, device: torch.device) -> None:
        first = layers[0]
        self.name, self.shape, self.fires = first.name, first.shape, first.fires
        scales = torch.tensor([layer.scale for layer in layers], dtype=torch.float64, device=device)
        self.scale = scales.reshape(-1, *[1] * (1 + len(first.shape)))
        self.arriving = [
            part
            for index in range(len(first.synapses))
            for part in _stacked_synapses([layer.synapses[index] for layer in layers], first.name, program, device)
        ]
        neurons = [layer.neurons for layer in layers]
        self.neurons = first.neurons

        def stacked(arrays: Sequence[NDArray[Any]]) -> torch.Tensor:
            return _stacked(arrays, len(first.shape), device)

        self.bias = stacked([one.bias for one in neurons])
        self.threshold = stacked([one.threshold for one in neurons])
        if isinstance(first.neurons, FixedPointNeurons):
            fixed_point = [one for one in neurons if isinstance(one, FixedPointNeurons)]
            self.threshold = self.threshold << VOLTAGE_UNIT_BITS
            self.kept = stacked([DECAY_ONE - one.voltage_decay for one in fixed_point])
            self.kept_current = stacked([DECAY_ONE - one.current_decay for one in fixed_point])
        else:
            floating = [one for one in neurons if isinstance(one, FloatNeurons)]
            self.kept = stacked([one.decay for one in floating])
            self.kept_current = stacked([one.current_decay for one in floating])
        self.keeps_current = bool(self.kept_current.any())

    def at_rest(self, batch: int) -> State:
        """The neurons before the first step."""
        zeros = torch.zeros((1, batch, *self.shape), dtype=self.kept.dtype, device=self.kept.device)
        return State(zeros if self.keeps_current else None, zeros)

    def weighted(
        self, output: Outputs, step: int, unchanging: str | None, known: dict[int, torch.Tensor]
    ) -> torch.Tensor:
        """The integer sum of all weighted inputs of a step, (chips or 1, B, *shape).

        Args:
            output: what sources put out at this step and before.
            unchanging: a source that puts out the same at every step.
            known: what it brings, by number of the synapses; written here.
        """
        total: torch.Tensor | None = None
        for number, synapses in enumerate(self.arriving):
            source = output.get((synapses.source, step - synapses.delay))
            if source is None:  # before the first step nothing is put out
                continue
            brought = known.get(number)
            if brought is None:
                brought = synapses.sums(source)
                if synapses.source == unchanging:
                    known[number] = brought
            total = brought if total is None else total + brought
        if total is not None:
            return total
        batch = output[INPUT, step].shape[1]
        return torch.zeros((1, batch, *self.shape), dtype=torch.int64, device=self.kept.device)

    def update(
        self, state: State, weighted: torch.Tensor, noise: torch.Tensor | None
    ) -> tuple[State, torch.Tensor | None]:
        """(state after reset, spikes as booleans or None where it never fires): the equations of `reference.update`."""
        if isinstance(self.neurons, FixedPointNeurons):
            current, potential = self._fixed_point(state, weighted, noise)
        else:
            current, potential = self._floating(state, weighted, noise)
        kept = current if self.keeps_current else None
        if not self.fires:
            return State(kept, potential), None
        at_threshold = isinstance(self.neurons, FloatNeurons) and self.neurons.fires_at_threshold
        fired = potential >= self.threshold if at_threshold else potential > self.threshold
        if isinstance(self.neurons, FloatNeurons) and self.neurons.reset == "subtract":
            return State(kept, torch.where(fired, potential - self.threshold, potential)), fired
        return State(kept, potential.masked_fill(fired, 0)), fired

    def _fixed_point(
        self, state: State, weighted: torch.Tensor, noise: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        summed = weighted << VOLTAGE_UNIT_BITS
        if state.current is not None:
            summed = _decayed(state.current, self.kept_current) + summed
        current = torch.where(summed > STATE_LIMIT, summed - 2 * STATE_LIMIT, summed)
        current = torch.where(current <= -STATE_LIMIT, summed + 2 * STATE_LIMIT, current)
        potential = _decayed(state.potential, self.kept) + current + self.bias
        if noise is not None:
            potential = potential + noise.to(torch.int64)
        return current, potential.clamp(-(STATE_LIMIT - 1), STATE_LIMIT - 1)

    def _floating(
        self, state: State, weighted: torch.Tensor, noise: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        current = weighted.double() * self.scale
        if state.current is not None:
            current = self.kept_current * state.current + current
        driven = current + self.bias
        if noise is not None:
            driven = driven + noise
        return current, self.kept * state.potential + driven


class StackedSynapses:
    """Synapses of one connection and one delay in several chips.

    Attributes:
        weight: (chips or 1, groups, taps, outputs of a group), float32 where that is proved exact, else float64.
        geometry: the connection of the first chip.
        wraps: whether sums are wrapped to 24 bits, as Lava's Conv does.
    """

    def __init__(self, geometry: Synapses, delay: int, weight: torch.Tensor, wraps: bool) -> None:
        self.geometry, self.source, self.delay, self.weight, self.wraps = (
            geometry,
            geometry.source,
            delay,
            weight,
            wraps,
        )

    def sums(self, source: torch.Tensor) -> torch.Tensor:
        """(chips or 1, B, *shape of the source) -> (chips or 1, B, *shape of the target), int64.

        A matrix product adds up products of integers, exact in any order while every partial sum is below 2^24 in
        float32 and 2^53 in float64. Convolutions are matrix products too: cuDNN may choose Winograd's or Fourier's
        algorithm, whose transforms multiply by fractions and round.
        """
        geometry = self.geometry
        source = source.to(self.weight.dtype)
        if geometry.pool > 1:
            pooled = torch.nn.functional.avg_pool2d(source.flatten(0, 1), geometry.pool, divisor_override=1)
            source = pooled.unflatten(0, source.shape[:2])
        if isinstance(geometry, DenseSynapses):
            result = self._product(source.flatten(2).unsqueeze(1)).squeeze(1)
        else:
            windows = _windows(source, geometry)
            chips, groups, batch, height, width = windows.shape[:5]
            found = self._product(windows.reshape(chips, groups, batch * height * width, -1))
            found = found.unflatten(2, (batch, height, width)).permute(0, 2, 1, 5, 3, 4)
            result = found.flatten(2, 3)
        total = result.to(torch.int64, memory_format=torch.contiguous_format)
        if self.wraps:
            return ((total + STATE_LIMIT) & (2 * STATE_LIMIT - 1)) - STATE_LIMIT
        exponent = geometry.weight_exponent if isinstance(geometry, DenseSynapses) else 0
        if exponent == 0:
            return total
        return total << exponent if exponent > 0 else total >> -exponent

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        """(chips or 1, groups, rows, taps) -> (chips or 1, groups, rows, outputs); what is 1 is not copied."""
        return torch.einsum("cgrt,cgto->cgro", rows, self.weight)


def _windows(source: torch.Tensor, geometry: ConvSynapses) -> torch.Tensor:
    """What a kernel sees at every place: (chips, B, C, H, W) -> a view (chips, groups, B, H', W', C / groups, h, w)."""
    (high, wide), (down, right) = geometry.padding, geometry.stride
    below, beside = geometry.dilation
    height, width = ((size - 1) * d + 1 for size, d in zip(geometry.weight.shape[2:], (below, beside), strict=True))
    padded = torch.nn.functional.pad(source, (wide, wide, high, high)).unflatten(2, (geometry.groups, -1))
    windows: torch.Tensor = padded.unfold(4, height, down).unfold(5, width, right)[..., ::below, ::beside]
    return windows.permute(0, 2, 1, 4, 5, 3, 6, 7)


def _stacked_synapses(
    synapses: Sequence[Synapses], layer: str, program: Program, device: torch.device
) -> list[StackedSynapses]:
    """One connection of several chips, one part for every delay that occurs in it."""
    first = synapses[0]
    kept = synapses[:1] if all(one.weight is first.weight for one in synapses) else synapses
    highest = 2**program.input.bits - 1 if first.source == INPUT else 1
    largest = max(largest_sum(one, highest) for one in kept)
    kind = torch.float32 if largest < _FLOAT32_EXACT else torch.float64
    wraps = program.fixed_point and isinstance(first, ConvSynapses) and largest >= STATE_LIMIT
    parts = []
    for of_chips in zip(*(_by_delay(one) for one in kept), strict=True):
        stacked = np.stack([_as_matrix(weight, one) for one, (_, weight) in zip(kept, of_chips, strict=True)])
        extra = of_chips[0][0]
        parts.append(StackedSynapses(first, first.delay + extra, torch.from_numpy(stacked).to(device, kind), wraps))
    return parts


def _by_delay(synapses: Synapses) -> list[tuple[int, Weights]]:
    return [(0, synapses.weight)] if isinstance(synapses, ConvSynapses) else list(synapses.by_delay())


def _as_matrix(weight: Weights, synapses: Synapses) -> Weights:
    """(groups, taps, outputs of a group)"""
    groups = synapses.groups if isinstance(synapses, ConvSynapses) else 1
    return weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)


def _decayed(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    return torch.div(values * kept, DECAY_ONE, rounding_mode="trunc")


def _stacked(arrays: Sequence[NDArray[Any]], dimensions: int, device: torch.device) -> torch.Tensor:
    """(chips or 1, 1, *shape); a leading 1 where all chips share the array."""
    kept = arrays[:1] if all(np.array_equal(array, arrays[0]) for array in arrays) else arrays
    tensor = torch.from_numpy(np.stack(np.broadcast_arrays(*kept))).to(device)
    if tensor.ndim == 1:
        tensor = tensor.reshape(-1, *[1] * dimensions)
    return tensor.unsqueeze(1)
