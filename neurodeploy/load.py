"""Computational load of a network on real samples, beside the same network as an ANN (Table 3 and Fig. 7 of
arXiv:2304.13289), and NeuroBench's names for it.

What is counted, per sample, from the lowered network and the spikes that a simulator recorded:

    A                 connections inside the image: multiply-accumulates of the ANN with the same layers
    r T A             the paper's number of additions, r the mean output of what the weights read (after pooling)
    additions         Σ over spikes of the connections that the spike reaches: borders, strides and pooling as they are
    multiplications   only where values are graded: the input under direct encoding, shown once where it does not change

A pooling is part of the synapses behind it, as on a chip: each of the spikes in a window is an event of its own, so
that behind windows of p x p additions are about p² r T A. A graded frame costs one addition with each multiplication.
Neurons bring lines of their own: a multiplication by the decay (where it is not 1), a bias, and, on reset by
subtraction, the threshold.

NeuroBench (Yik et al., Nat. Commun. 16:1545, 2025; names of neurobench 2.2) counts operations only where weight and
value are not zero, graded frames at every step, no biases and no additions without weights: Effective_ACs of spikes,
Effective_MACs of graded values, Dense of both, zeros included. Its harness sees averages behind a pooling and calls
them graded; here their spikes are events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import IntArray, Shape
from neurodeploy.ir.lower import LoweredLayer, lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import FIRING, Conv2d, CubaLIF, Linear, Node
from neurodeploy.ir.program import INPUT, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses, pooled
from neurodeploy.simulate.recording import Recording

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class WeightsLoad:
    """What one set of weights costs per sample.

    Attributes:
        weights: the node that they come from; the layer of neurons itself where spikes reach it without weights.
        reads, feeds: layers of neurons, or "input".
        connections: A.
        rate: r, the mean of what is read, over steps, samples and places; of spikes a firing rate.
        additions_formula: r T A; for graded values A per frame.
        additions: counted events; for graded values as `multiplications`.
        multiplications: A per frame of graded values; 0 for spikes.
        parameters: weights and biases.
    """

    weights: str
    reads: str
    feeds: str
    connections: int
    rate: float
    additions_formula: float
    additions: float
    multiplications: int
    parameters: int


@dataclass(frozen=True)
class NeuronsLoad:
    """What one layer of neurons costs per sample.

    Attributes:
        firing_rate: share of neuron-steps with a spike; None for a membrane readout.
        leak_multiplications: one per neuron and step, none at a decay of 1; another where a current has memory.
        bias_additions: one per neuron with a bias and step.
        reset_additions: one per spike under reset by subtraction.
        parameters: threshold and decay (and that of a current), one each per layer that fires; the decay of a readout.
    """

    layer: str
    neurons: int
    firing_rate: float | None
    leak_multiplications: int
    bias_additions: int
    reset_additions: float
    parameters: int


@dataclass(frozen=True)
class Load:
    """The load of a network on some samples, everything per sample.

    Attributes:
        neurobench: names and meanings of the NeuroBench harness.
    """

    samples: int
    steps: int
    weights: tuple[WeightsLoad, ...]
    neurons: tuple[NeuronsLoad, ...]
    neurobench: Mapping[str, Any]

    def totals(self) -> list[dict[str, Any]]:
        """Table 3: a row for the spiking network, one for the same network as an ANN, which runs once."""
        parameters = sum(part.parameters for part in self.weights)
        # Rows without parameters are shortcuts, or weights that another row has: an ANN computes those once.
        weighted = sum(part.connections for part in self.weights if part.parameters)
        connections = weighted + sum(part.connections for part in self.weights if part.weights == part.feeds)
        return [
            {
                "network": "SNN",
                "additions_formula": sum(part.additions_formula for part in self.weights),
                "additions": sum(part.additions for part in self.weights),
                "multiplications": sum(part.multiplications for part in self.weights),
                "leak_multiplications": sum(part.leak_multiplications for part in self.neurons),
                "bias_additions": sum(part.bias_additions for part in self.neurons),
                "reset_additions": sum(part.reset_additions for part in self.neurons),
                "parameters": parameters + sum(part.parameters for part in self.neurons),
            },
            {
                "network": "ANN",
                "additions_formula": connections,
                "additions": connections,
                "multiplications": weighted,
                "leak_multiplications": 0,
                "bias_additions": sum(part.bias_additions for part in self.neurons) // self.steps,
                "reset_additions": 0,
                "parameters": parameters,
            },
        ]


def computational_load(
    network: Network,
    recording: Recording,
    inputs: NDArray[Any],
    program: Program | None = None,
    weight_bits: int | None = None,
    execution_rate: float | None = None,
) -> Load:
    """Counts what `recording` cost.

    Args:
        network: the traced network.
        recording: the spikes of `inputs`, by any simulator, of the network or of its `program`.
        inputs: integers, (B, *shape) or (T, B, *shape).
        program: whose zeros among the weights NeuroBench's numbers take; the network's own without it.
        weight_bits: of a stored weight, for the footprint; 32 bits for what has none.
        execution_rate: steps per second of real time, where steps have a duration (NeuroBench's ModelExecutionRate).
    """
    lowered = lower(network)
    stored = {layer.name: layer.synapses for layer in (program or lowered).layers}
    rows: list[WeightsLoad] = []
    effective, counted = {"Effective_MACs": 0.0, "Effective_ACs": 0.0, "Dense": 0.0}, set()
    zeros = total = 0
    for layer in lowered.layers:
        for name, group in _groups(layer, stored[layer.name]).items():
            parts = [_Part(network, layer, exact, kept, recording, inputs) for exact, kept in group]
            node = network.nodes[name]
            first = name not in counted and isinstance(node, Conv2d | Linear)
            counted.add(name)
            parameters = _parameters(node) if first else 0
            rows.append(_weights(name, layer.name, parts, parameters, network.steps))
            if isinstance(node, Conv2d | Linear):
                for part in parts:
                    effective["Effective_MACs" if part.graded else "Effective_ACs"] += part.effective
                    effective["Dense"] += part.dense
            if first:
                zeros += int(np.sum(group[0][1].weight == 0))
                total += group[0][1].weight.size
    neurons = tuple(_neurons(layer, recording, network.steps) for layer in lowered.layers)
    fired = sum(int(spikes.sum()) for spikes in recording.spikes.values())
    places = sum(spikes.size for spikes in recording.spikes.values())
    parameters = sum(row.parameters for row in rows) + sum(row.parameters for row in neurons)
    neurobench = {
        "Footprint": total * (weight_bits or 8 * _FLOAT_BYTES) / 8 + (parameters - total) * _FLOAT_BYTES,
        "ParameterCount": parameters,
        "ConnectionSparsity": zeros / total if total else 0.0,
        "ActivationSparsity": 1 - fired / places if places else 0.0,
        "SynapticOperations": effective,
        "ModelExecutionRate": execution_rate,
    }
    return Load(int(recording.readout.shape[0]), network.steps, tuple(rows), neurons, neurobench)


def fan_out(synapses: Synapses, shape: Shape, present: NDArray[np.bool_]) -> IntArray:
    """How many connections every place of what the weights read has, after pooling.

    Args:
        shape: of the source, before pooling.
        present: the shape of the weights; which of them count.

    Returns:
        The pooled source's shape.
    """
    places = pooled(synapses.name, shape, synapses.pool)
    if not isinstance(synapses, ConvSynapses):
        return np.asarray(present.sum(axis=0), dtype=np.int64).reshape(places)
    channels, height, width = places
    _, high, wide = synapses.output_shape(shape)
    # Kernels that read a channel: (channel, kernel height, kernel width), summed over the outputs of its group.
    taps = present.reshape(synapses.groups, -1, *present.shape[1:]).sum(axis=1).reshape(channels, *present.shape[2:])
    fan = np.zeros(places, dtype=np.int64)
    for row in range(taps.shape[1]):
        for column in range(taps.shape[2]):
            down = np.arange(high) * synapses.stride[0] + row * synapses.dilation[0] - synapses.padding[0]
            right = np.arange(wide) * synapses.stride[1] + column * synapses.dilation[1] - synapses.padding[1]
            down, right = down[(down >= 0) & (down < height)], right[(right >= 0) & (right < width)]
            fan[:, down[:, None], right] += taps[:, row, column][:, None, None]
    return fan


class _Part:
    """One connection of a layer: what arrives at its weights, and what that costs per sample."""

    def __init__(
        self,
        network: Network,
        layer: LoweredLayer,
        exact: Synapses,
        kept: Synapses,
        recording: Recording,
        inputs: NDArray[Any],
    ) -> None:
        self.reads = exact.source
        own = self.reads == INPUT
        source = network.input
        static = own and inputs.ndim == len(source.shape) + 1
        values = (inputs[None] if static else inputs) if own else recording.spikes[self.reads]
        steps = max(network.steps - exact.delay, 0)  # nothing arrives at the first steps where there is a delay
        self.rate = float(values.mean()) * (source.scale if own else 1.0)
        values = values[:steps]
        self.graded, self.frames = own and source.bits > 1, len(values)
        shape, samples, repeats = values.shape[2:], values.shape[1], steps / max(len(values), 1)
        weighted = exact.name != layer.name
        # An identity that is written as a matrix connects where it is not zero.
        fan = fan_out(exact, shape, np.ones(exact.weight.shape, bool) if weighted else exact.weight != 0)
        self.connections = int(fan.sum())
        arriving = _pooled_sums(values, exact.pool)
        arrived = (arriving != 0 if self.graded else arriving).sum(axis=(0, 1)) * (repeats / samples)
        self.events = float((arrived * fan).sum())
        self.effective = float((arrived * fan_out(kept, shape, kept.weight != 0)).sum())
        self.dense = self.connections * steps * (1 if self.graded else exact.pool**2)


def _groups(layer: LoweredLayer, stored: tuple[Synapses, ...]) -> dict[str, list[tuple[Synapses, Synapses]]]:
    """Weights -> the synapses that they make, several where several layers are added up before them."""
    found: dict[str, list[tuple[Synapses, Synapses]]] = {}
    for exact, kept in zip(layer.synapses, stored, strict=True):
        found.setdefault(exact.name, []).append((exact, kept))
    return found


def _weights(name: str, feeds: str, parts: list[_Part], parameters: int, steps: int) -> WeightsLoad:
    spiking, graded = ([part for part in parts if part.graded is kind] for kind in (False, True))
    frames = sum(part.connections * part.frames for part in graded)
    rate = sum(part.rate for part in parts)
    return WeightsLoad(
        name,
        "+".join(dict.fromkeys(part.reads for part in parts)),
        feeds,
        parts[0].connections,
        rate,
        sum(part.rate * steps * part.connections for part in spiking) + frames,
        sum(part.events for part in spiking) + frames,
        frames,
        parameters,
    )


def _neurons(layer: LoweredLayer, recording: Recording, steps: int) -> NeuronsLoad:
    count = int(np.prod(layer.shape))
    neuron = layer.neuron
    spikes = recording.spikes[layer.name] if isinstance(neuron, FIRING) else None
    subtracts = isinstance(neuron, FIRING) and neuron.reset == "subtract"
    decays = [neuron.decay] + ([neuron.current_decay] if isinstance(neuron, CubaLIF) else [])
    leaks = (neuron.decay != 1) + sum(decay not in (0, 1) for decay in decays[1:])
    return NeuronsLoad(
        layer.name,
        count,
        None if spikes is None else float(spikes.mean()),
        count * steps * leaks,
        int(np.count_nonzero(layer.bias)) * steps,
        float(spikes.sum()) / spikes.shape[1] if spikes is not None and subtracts else 0.0,
        len(decays) + (spikes is not None),
    )


def _parameters(node: Node) -> int:
    assert isinstance(node, Conv2d | Linear)
    return int(node.weight.size + (node.bias.size if node.bias.any() else 0))


def _pooled_sums(values: NDArray[Any], pool: int) -> IntArray:
    """(F, B, *pooled shape): the sums over pooling windows."""
    if pool > 1:
        frames, batch, channels, height, width = values.shape
        windows = values.reshape(frames, batch, channels, height // pool, pool, width // pool, pool)
        return np.asarray(windows.sum(axis=(4, 6), dtype=np.int64))
    return values.astype(np.int64)
