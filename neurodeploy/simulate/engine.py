"""The torch engine: many chips × many samples in one pass, equal to the reference bit for bit.

Sums of integers are exact in float32 while they stay below 2^24 and in float64 below 2^53, whatever the order of
summation; which of the two a layer needs is proved from its weights. Neurons compute in float64, where every operation
of the reference (multiply, add, truncate, compare) is exact or rounds alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.hw_models.dynamic_noise import DynamicNoise, transmitted
from neurodeploy.ir.arrays import IntArray, Shape
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
from neurodeploy.ir.synapses import ConvSynapses, Synapses, extreme_sums
from neurodeploy.simulate.recording import Recording, check_inputs

_UNIT = 2.0**VOLTAGE_UNIT_BITS
_FLOAT32_EXACT = 2.0**24
_CHUNK_VALUES = 2**17  # neuron values of the largest layer per chunk: 1 MB in float64, what a core keeps in its cache


@dataclass(frozen=True, eq=False)
class Counts:
    """What a population of chips decided and how often its neurons fired.

    Attributes:
        readout: (chips, B, classes), summed over time.
        spike_counts: layer -> (chips, *shape), summed over steps and samples.
    """

    readout: NDArray[Any]
    spike_counts: Mapping[str, IntArray]

    @property
    def decisions(self) -> IntArray:
        """(chips, B) the class with the largest readout; the lowest of equals."""
        return np.asarray(self.readout.argmax(axis=-1), dtype=np.int64)


def run(program: Program, inputs: NDArray[Any], noise: DynamicNoise | None = None, first_sample: int = 0) -> Recording:
    """One chip with all spikes and potentials recorded; arguments and errors as `reference.run`."""
    batch, _ = check_inputs(program, inputs)
    stack = _Stack([program], [noise])
    trace = _Trace([], [])
    readout, _ = stack.run(inputs, slice(0, batch), first_sample, trace)
    kind = np.int64 if program.fixed_point else np.float64
    names = [layer.name for layer in program.layers]
    firing = {layer.name for layer in program.layers if layer.fires}
    spikes = {
        name: torch.stack([step[name][0] for step in trace.spikes]).byte().numpy() for name in names if name in firing
    }
    potentials = {
        name: torch.stack([step[name][0] for step in trace.potentials]).numpy().astype(kind) for name in names
    }
    return Recording(spikes, potentials, readout[0].numpy().astype(kind))


def run_chips(
    programs: Sequence[Program], inputs: NDArray[Any], noise: Sequence[DynamicNoise | None] | None = None
) -> Counts:
    """Many chips on the same samples.

    Args:
        programs: one per chip, the same layers and geometry; arrays that are the same object in all are computed once.
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).
        noise: of every chip in this trial, None where a chip has none.
    """
    batch, _ = check_inputs(programs[0], inputs)
    noises = list(noise) if noise is not None else [None] * len(programs)
    widest = max(int(np.prod(layer.shape)) for layer in programs[0].layers)
    samples = max(1, min(batch, _CHUNK_VALUES // widest))
    chips = max(1, _CHUNK_VALUES // (widest * samples))
    readouts = []
    counts: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in programs[0].layers if layer.fires}
    for first_chip in range(0, len(programs), chips):
        part = slice(first_chip, first_chip + chips)
        stack = _Stack(programs[part], noises[part])
        results = [stack.run(inputs, slice(s, min(s + samples, batch)), s) for s in range(0, batch, samples)]
        readouts.append(torch.cat([readout for readout, _ in results], dim=1))
        for name, collected in counts.items():
            collected.append(torch.stack([spikes[name] for _, spikes in results]).sum(dim=0))
    kind = np.int64 if programs[0].fixed_point else np.float64
    return Counts(
        torch.cat(readouts).numpy().astype(kind),
        {name: torch.cat(collected).numpy().astype(np.int64) for name, collected in counts.items()},
    )


_Where = tuple[str, Shape, int, int, int]  # layer, its shape, step, first sample, number of samples


@dataclass
class _Trace:
    spikes: list[dict[str, torch.Tensor]]
    potentials: list[dict[str, torch.Tensor]]


class _Stack:
    """Programs of several chips stacked along a leading axis; tensors are (chips, B, *shape).

    A leading axis of 1 stands for what all chips share: it broadcasts, so that it is computed once.
    """

    def __init__(self, programs: Sequence[Program], noise: Sequence[DynamicNoise | None]) -> None:
        self.program = programs[0]
        self.chips = len(programs)
        self.noise = noise
        self.layers = [
            _StackedLayer([p.layers[i] for p in programs], self.program) for i in range(len(programs[0].layers))
        ]

    def run(
        self, inputs: NDArray[Any], samples: slice, first_sample: int, trace: _Trace | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(readout (chips, B, classes), spike counts (chips, *shape)) of some samples."""
        _, static = check_inputs(self.program, inputs)
        chosen = inputs[samples] if static else inputs[:, samples]
        frames = torch.from_numpy(np.ascontiguousarray(chosen, dtype=np.float32))
        batch = samples.stop - samples.start
        output: dict[str, torch.Tensor] = {}
        state: dict[str, torch.Tensor] = {}
        for layer in self.layers:
            state[layer.name] = torch.zeros((1, batch, *layer.shape), dtype=torch.float64)
            output[layer.name] = torch.zeros((1, batch, *layer.shape), dtype=torch.float32)
        firing = [layer for layer in self.layers if layer.fires]
        output[INPUT] = torch.zeros((1, batch, *self.program.input.shape))
        counts = {layer.name: torch.zeros((self.chips, *layer.shape), dtype=torch.float64) for layer in firing}
        readout = torch.zeros((self.chips, batch, *self.layers[-1].shape), dtype=torch.float64)
        late: dict[str, list[NDArray[np.bool_] | None]] = {}  # layer -> per chip, spikes that arrive a step later
        constant: dict[str, torch.Tensor] = {}  # what a static input brings is computed once
        for step in range(self.program.steps):
            before = dict(output)
            output[INPUT] = (frames if static else frames[step])[None]
            for layer in self.layers:
                driven = constant.get(layer.name)
                if driven is None:
                    driven = layer.drive(output, before)
                    if static and layer.from_input_only:
                        constant[layer.name] = driven
                where = (layer.name, layer.shape, step, first_sample, batch)
                state[layer.name], fired = layer.update(state[layer.name], driven, self._on_input(where))
                output[layer.name] = self._transmit(fired, where, late) if layer.fires else fired
                if layer.fires:
                    counts[layer.name] += output[layer.name].sum(dim=1)
            readout += (output if self.layers[-1].fires else state)[self.layers[-1].name]
            if trace is not None:
                trace.spikes.append({layer.name: output[layer.name] for layer in self.layers if layer.fires})
                trace.potentials.append({layer.name: state[layer.name].clone() for layer in self.layers})
        for chip, noise in enumerate(self.noise):
            if noise is not None:
                readout[chip] = torch.from_numpy(noise.readout(readout[chip].numpy(), first_sample))
        return readout, counts

    def _on_input(self, where: _Where) -> torch.Tensor | None:
        """(chips, B, *shape) what noise adds to a layer's inputs, or None."""
        drawn = [None if noise is None else noise.current(*where) for noise in self.noise]
        if all(one is None for one in drawn):
            return None
        zeros = np.zeros((where[-1], *where[1]))
        return torch.from_numpy(np.stack([zeros if one is None else one for one in drawn]))

    def _transmit(
        self, fired: torch.Tensor, where: _Where, late: dict[str, list[NDArray[np.bool_] | None]]
    ) -> torch.Tensor:
        """The spikes that arrive, (chips or 1, B, *shape); what arrives a step later goes into `late`."""
        masks = [None if noise is None else noise.masks(*where) for noise in self.noise]
        if all(one is None for one in masks):
            return fired
        before = late.get(where[0], [None] * self.chips)
        own = fired.expand(self.chips, *fired.shape[1:]).bool().numpy()
        pairs = [transmitted(*each) for each in zip(own, masks, before, strict=True)]
        late[where[0]] = [held for _, held in pairs]
        return torch.from_numpy(np.stack([arrived for arrived, _ in pairs])).float()


class _StackedLayer:
    """One layer of all chips of a stack."""

    def __init__(self, layers: Sequence[Layer], program: Program) -> None:
        first = layers[0]
        self.name, self.shape, self.fires = first.name, first.shape, first.fires
        self.fixed_point = program.fixed_point
        self.synapses = [
            _StackedSynapses([layer.synapses[i] for layer in layers], program) for i in range(len(first.synapses))
        ]
        self.from_input_only = all(s.source == INPUT and s.delay == 0 for s in first.synapses)
        self.neurons = first.neurons
        neurons = [layer.neurons for layer in layers]
        dimensions = len(self.shape)
        self.threshold = _stacked([n.threshold for n in neurons], dimensions)
        if self.fixed_point:
            kept = [DECAY_ONE - n.voltage_decay for n in neurons if isinstance(n, FixedPointNeurons)]
            self.retention = _stacked(kept, dimensions) / DECAY_ONE
            self.threshold = self.threshold * _UNIT
        else:
            self.retention = _stacked([n.decay for n in neurons if isinstance(n, FloatNeurons)], dimensions)
        self.bias = _stacked([n.bias for n in neurons], dimensions)
        self.unit = torch.tensor(_UNIT if self.fixed_point else first.scale, dtype=torch.float64)
        # Registers that the weights prove to be wide enough need no wrapping and no clipping.
        reach = sum(synapses.bound for synapses in self.synapses) * _UNIT
        self.wraps = self.fixed_point and reach >= STATE_LIMIT
        self.saturates = (reach + float(self.bias.abs().max())) * program.steps >= STATE_LIMIT

    def drive(self, output: Mapping[str, torch.Tensor], before: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What one step adds to the potential, less noise, (chips or 1, B, *shape) in float64."""
        total = self.synapses[0].current(output, before)
        for synapses in self.synapses[1:]:
            total = total + synapses.current(output, before)
        total = _times(total, self.unit)
        if self.wraps:
            wrapped = torch.where(total > STATE_LIMIT, total - 2 * STATE_LIMIT, total)
            total = torch.where(total <= -STATE_LIMIT, total + 2 * STATE_LIMIT, wrapped)
        return _plus(total, self.bias)

    def update(
        self, state: torch.Tensor, driven: torch.Tensor, noise: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(potential after reset, spikes as float32) of one step; the equations of `reference.update`.

        `state` is overwritten where its shape allows; `driven` and `noise` are not.
        """
        potential = _times(state, self.retention)
        if self.fixed_point:
            potential.trunc_()
            potential = _plus(potential, driven)
            potential = potential if noise is None else _plus(potential, noise)
            if self.saturates or noise is not None:
                potential.clamp_(-(STATE_LIMIT - 1), STATE_LIMIT - 1)
        else:
            potential = _plus(potential, driven if noise is None else driven + noise)
        if not self.fires:
            return potential, torch.zeros((), dtype=torch.float32)
        if isinstance(self.neurons, FloatNeurons) and self.neurons.fires_at_threshold:
            fired = potential >= self.threshold
        else:
            fired = potential > self.threshold
        if isinstance(self.neurons, FloatNeurons) and self.neurons.reset == "subtract":
            return torch.where(fired, potential - self.threshold, potential), fired.float()
        if fired.shape != potential.shape:  # thresholds differ between chips that were alike so far
            return potential.masked_fill(fired, 0.0), fired.float()
        return potential.masked_fill_(fired, 0.0), fired.float()


class _StackedSynapses:
    """The synapses of one connection in all chips of a stack."""

    def __init__(self, synapses: Sequence[Synapses], program: Program) -> None:
        first = synapses[0]
        self.geometry = first
        kept = synapses[:1] if all(one.weight is first.weight for one in synapses) else synapses
        highest = 2**program.input.bits - 1 if first.source == INPUT else 1
        self.bound = max(extreme_sums(one, -highest, highest)[1] for one in kept)
        self.wraps = program.fixed_point and isinstance(first, ConvSynapses) and self.bound >= STATE_LIMIT
        self.dtype = torch.float32 if self.bound < _FLOAT32_EXACT else torch.float64
        self.weights = [torch.from_numpy(one.weight.astype(np.float64)).to(self.dtype) for one in kept]

    def current(self, output: Mapping[str, torch.Tensor], before: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(chips or 1, B, *shape of the target) in float64."""
        source = (before if self.geometry.delay else output)[self.geometry.source].to(self.dtype)
        if len(self.weights) == 1:
            flat = self._weigh(source.flatten(0, 1), self.weights[0])
            result: torch.Tensor = flat.unflatten(0, source.shape[:2])
        else:
            chips = [source[i if len(source) > 1 else 0] for i in range(len(self.weights))]
            result = torch.stack([self._weigh(one, weight) for one, weight in zip(chips, self.weights, strict=True)])
        result = result.double()
        if self.wraps:
            result = torch.remainder(result + STATE_LIMIT, 2.0 * STATE_LIMIT) - STATE_LIMIT
        return result

    def _weigh(self, source: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Pools (B, *shape) and applies one chip's weights."""
        g = self.geometry
        if g.pool > 1:
            source = torch.nn.functional.avg_pool2d(source, g.pool, divisor_override=1)
        if isinstance(g, ConvSynapses):
            return torch.nn.functional.conv2d(source, weight, None, g.stride, g.padding, g.dilation, g.groups)
        return torch.matmul(source.flatten(1), weight.T)


def _times(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left * right, into `left` where the shape allows."""
    return left.mul_(right) if _holds(left, right) else left * right


def _plus(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left + right, into `left` where the shape allows."""
    return left.add_(right) if _holds(left, right) else left + right


def _holds(left: torch.Tensor, right: torch.Tensor) -> bool:
    if right.ndim > left.ndim:
        return False
    return all(r in (1, n) for n, r in zip(reversed(left.shape), reversed(right.shape), strict=False))


def _stacked(arrays: Sequence[NDArray[Any]], dimensions: int) -> torch.Tensor:
    """(chips or 1, 1, *shape) in float64; a leading 1 where all chips share the array."""
    kept = arrays[:1] if all(np.array_equal(array, arrays[0]) for array in arrays) else arrays
    tensor = torch.from_numpy(np.stack(np.broadcast_arrays(*kept)).astype(np.float64))
    if tensor.ndim == 1:
        tensor = tensor.reshape(-1, *[1] * dimensions)
    return tensor.unsqueeze(1)
