"""One neuron by itself: its synapses, what reaches them in one sample, and its history computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.definition import Definition, LayerDefinition, State, shifted, step, wrapped_sums
from neurodeploy.ir.arrays import FloatArray, IntArray, Shape, frozen_floats
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses, pooled

_EPSILON = 2.0**-53  # largest relative error of one operation in double precision


@dataclass(frozen=True, eq=False)
class Row:
    """The synapses of one connection that end at the neuron.

    Attributes:
        places: (n, window) places in the flattened source that each weight acts on the sum of.
        values: (T, n) what each weight is multiplied with, before delays.
        weights, delays: (n,).
        convolution: whether the sum goes through a convolution's register.
    """

    source: str
    places: IntArray
    values: FloatArray
    weights: FloatArray
    delays: IntArray
    exponent: int
    convolution: bool


@dataclass(frozen=True, eq=False)
class Neuron:
    """A neuron as one side defines it, with what reaches it.

    Attributes:
        layer: the layer's definition with the parameters of this neuron, scalars.
        input_scale: of the values that come from the input.
    """

    layer: LayerDefinition
    rows: tuple[Row, ...]
    input_scale: float


class History(NamedTuple):
    """All steps of a neuron, each (T,); potentials in the layer's unit.

    Attributes:
        summed, current: before and after the current register wraps.
        integrated, potential: before and after the voltage register saturates, both before the reset.
        kept: after the reset.
        wrapped: where a register of the current wrapped, a convolution's sums included.
        bound: how far rounding in double precision can have moved the potential.
    """

    summed: FloatArray
    current: FloatArray
    integrated: FloatArray
    potential: FloatArray
    kept: FloatArray
    fired: NDArray[np.bool_]
    wrapped: NDArray[np.bool_]
    bound: FloatArray


def extract(
    definition: Definition, layer: LayerDefinition, index: tuple[int, ...], sources: Mapping[str, NDArray[Any]]
) -> Neuron:
    """The neuron at an index of a layer.

    Args:
        sources: source -> (T, *shape) its output in one sample; the input's in units of its integers.
    """
    rows = []
    for synapses in layer.synapses:
        places, weights, delays = incoming(synapses, index, definition.shape(synapses.source))
        flat = sources[synapses.source].reshape(definition.steps, -1).astype(np.float64)
        values = flat[:, places].sum(axis=2)
        convolution = isinstance(synapses, ConvSynapses)
        exponent = synapses.weight_exponent if isinstance(synapses, DenseSynapses) else 0
        rows.append(Row(synapses.source, places, values, weights, delays, exponent, convolution))
    own: dict[str, Any] = {
        name: frozen_floats(np.broadcast_to(getattr(layer, name), layer.shape)[index])
        for name in ("bias", "decay", "current_decay", "threshold")
    }
    return Neuron(replace(layer, shape=(), synapses=(), **own), tuple(rows), definition.input.scale)


def column(values: NDArray[Any], index: tuple[int, ...]) -> NDArray[Any]:
    """(T,) of one neuron, from (T, *shape)."""
    return np.asarray(values.reshape(len(values), -1)[:, np.ravel_multi_index(index, values.shape[1:])])


def incoming(synapses: Synapses, index: tuple[int, ...], shape: Shape) -> tuple[IntArray, FloatArray, IntArray]:
    """(places (n, window) in the flattened source, weights (n,), delays (n,)) of the synapses that end at a neuron."""
    p = synapses.pool
    numbered = np.arange(int(np.prod(shape)), dtype=np.int64)
    if p > 1:
        channels, height, width = pooled(synapses.name, shape, p)
        windows = numbered.reshape(channels, height, p, width, p).transpose(0, 1, 3, 2, 4)
        places = windows.reshape(channels, height, width, p * p)
    else:
        places = numbered.reshape(*shape, 1)
    if isinstance(synapses, DenseSynapses):
        (row,) = index
        extra = np.zeros_like(synapses.weight[row], dtype=np.int64) if synapses.delays is None else synapses.delays[row]
        return places.reshape(-1, places.shape[-1]), synapses.weight[row], synapses.delay + extra
    channel, top, left = index
    out, inside, tall, broad = synapses.weight.shape
    group = channel // (out // synapses.groups)
    part = places[group * inside : (group + 1) * inside]
    rows = top * synapses.stride[0] - synapses.padding[0] + np.arange(tall) * synapses.dilation[0]
    columns = left * synapses.stride[1] - synapses.padding[1] + np.arange(broad) * synapses.dilation[1]
    there = ((rows >= 0) & (rows < part.shape[1]))[:, None] & ((columns >= 0) & (columns < part.shape[2]))[None]
    taken = part[:, np.clip(rows, 0, part.shape[1] - 1)][:, :, np.clip(columns, 0, part.shape[2] - 1)]
    weights = synapses.weight[channel][:, there]  # none, where the kernel lies in the padding
    return (
        taken[:, there].reshape(weights.size, p * p),
        weights.ravel(),
        np.full(weights.size, synapses.delay, dtype=np.int64),
    )


def replay(neuron: Neuron) -> History:
    """The neuron's history from what reaches it."""
    layer = neuron.layer
    steps = len(neuron.rows[0].values)
    arriving, size, wrapped = np.zeros(steps), np.zeros(steps), np.zeros(steps, dtype=bool)
    for row in neuron.rows:
        for delay in np.unique(row.delays).tolist():
            chosen = row.delays == delay
            values = np.zeros((steps, int(chosen.sum())))
            values[delay:] = row.values[: max(0, steps - delay), chosen]
            sums = shifted(layer, values @ row.weights[chosen], row.exponent)
            if row.convolution:
                unlimited, sums = sums, wrapped_sums(layer, sums)
                wrapped |= sums != unlimited
            arriving += sums
            size += np.abs(values) @ np.abs(row.weights[chosen])
    done, state = [], State(np.zeros(()), np.zeros(()))
    for t in range(steps):
        done.append(step(layer, state, arriving[t]))
        state = done[-1].state
    summed, current, integrated, potential, kept, fired = (np.array([one[i] for one in done]) for i in range(6))
    inputs = sum(len(row.weights) for row in neuron.rows)
    terms = layer.gain * size + np.abs(summed) + np.abs(integrated) + float(np.abs(layer.bias))
    bound = _EPSILON * (inputs + 8) * np.cumsum(terms)
    wrapped |= current != summed
    return History(summed, current, integrated, potential, kept, fired, wrapped, bound)


def differing_sources(
    neuron: Neuron, first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]], last: int
) -> list[str]:
    """The sources, the input left out, whose outputs differ where the neuron sees them up to step `last` (from 0)."""
    found = []
    for row in neuron.rows:
        if row.source == INPUT or row.source in found:
            continue
        one, other = (values[row.source].reshape(len(values[row.source]), -1) for values in (first, second))
        differs = (one != other)[:, row.places].any(axis=2)  # (T, n)
        seen = np.arange(len(differs))[:, None] + row.delays <= last
        if (differs & seen & (row.weights != 0)).any():
            found.append(row.source)
    return found
