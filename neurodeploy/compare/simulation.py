"""Running a definition: all layers on their own spikes, or each on given ones (teacher-forced), in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.definition import Definition, LayerDefinition, State, shifted, step, wrapped_sums
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.synapses import ConvSynapses, Synapses, longest_delay
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]


def run_definition(definition: Definition, inputs: Array, teacher: Mapping[str, Array] | None = None) -> Recording:
    """Spikes and potentials of every layer; potentials in the layer's own unit, in double precision.

    Args:
        inputs: (B, *shape) shown at every step, or (T, B, *shape), in units of the input's integers; a Network takes
            what is no integer, too.
        teacher: layer -> (T, B, *shape) spikes, which layers receive in the place of those that layers put out here,
            their own included. Where it is given, sources need not be among the layers.
    """
    static = inputs.ndim == len(definition.input.shape) + 1
    batch = inputs.shape[0 if static else 1]
    state = {}
    for layer in definition.layers:
        zeros = np.zeros((batch, *layer.shape))
        state[layer.name] = State(zeros, zeros)
    synapses = [one for layer in definition.layers for one in layer.synapses]
    sources = {one.source for one in synapses}
    past: list[dict[str, FloatArray]] = []  # past[d]: the outputs of d steps before; shorter before step d
    constant: dict[int, FloatArray] = {}  # what a static input brings, once it has arrived
    spikes: dict[str, list[Array]] = {layer.name: [] for layer in definition.layers if layer.fires}
    potentials: dict[str, list[Array]] = {layer.name: [] for layer in definition.layers}
    oldest = max(longest_delay(one) for one in synapses)
    for t in range(definition.steps):
        now: dict[str, FloatArray] = {INPUT: np.asarray(inputs if static else inputs[t], dtype=np.float64)}
        if teacher is not None:
            now |= {name: teacher[name][t].astype(np.float64) for name in sources - {INPUT}}
        past = [now, *past[:oldest]]
        for layer in definition.layers:
            arriving = np.zeros((batch, *layer.shape))
            for one in layer.synapses:
                key = id(one) if static and one.source == INPUT and t >= longest_delay(one) else None
                brought = constant.get(key) if key is not None else None
                if brought is None:
                    brought = _arriving(one, past, layer, batch)
                if key is not None:
                    constant[key] = brought
                arriving = arriving + brought
            done = step(layer, state[layer.name], arriving)
            state[layer.name] = done.state
            potentials[layer.name].append(done.kept)
            if layer.fires:
                spikes[layer.name].append(done.fired.astype(np.uint8))
                if teacher is None:
                    now[layer.name] = done.fired.astype(np.float64)
    last = definition.layers[-1]
    readout = np.zeros_like(potentials[last.name][0])
    for summand in spikes[last.name] if last.fires else potentials[last.name]:
        readout = readout + summand  # one step after the other, as the reference rounds
    return Recording(
        {name: np.stack(values) for name, values in spikes.items()},
        {name: np.stack(values) for name, values in potentials.items()},
        readout,
    )


def _arriving(
    synapses: Synapses, past: Sequence[Mapping[str, FloatArray]], layer: LayerDefinition, batch: int
) -> FloatArray:
    """What synapses bring now; outputs from before the first step are 0."""
    total = np.zeros((batch, *layer.shape))
    if isinstance(synapses, ConvSynapses):
        if synapses.delay < len(past):
            total = convolve(synapses, pooled_values(past[synapses.delay][synapses.source], synapses.pool))
        return wrapped_sums(layer, total)
    for extra, weight in synapses.by_delay():
        delay = synapses.delay + extra
        if delay < len(past):
            flat = pooled_values(past[delay][synapses.source], synapses.pool).reshape(batch, -1)
            total = total + shifted(layer, flat @ weight.T, synapses.weight_exponent)
    return total


def pooled_values(values: FloatArray, pool: int) -> FloatArray:
    """Sums over non-overlapping windows of the last two dimensions."""
    if pool == 1:
        return values
    *lead, height, width = values.shape
    windows = values.reshape(*lead, height // pool, pool, width // pool, pool)
    return np.asarray(windows.sum(axis=(-3, -1)))


def convolve(synapses: ConvSynapses, source: FloatArray) -> FloatArray:
    """Cross-correlation of (B, C, H, W), one kernel tap at a time, each a product of matrices."""
    (down, right), (high, wide) = synapses.stride, synapses.padding
    padded = np.pad(source, ((0, 0), (0, 0), (high, high), (wide, wide)))
    groups, batch = synapses.groups, len(source)
    outputs, inside, tall, broad = synapses.weight.shape
    height = (padded.shape[2] - synapses.dilation[0] * (tall - 1) - 1) // down + 1
    width = (padded.shape[3] - synapses.dilation[1] * (broad - 1) - 1) // right + 1
    total = np.zeros((batch, groups, outputs // groups, height * width))
    for row in range(tall):
        for column in range(broad):
            top, left = row * synapses.dilation[0], column * synapses.dilation[1]
            window = padded[:, :, top : top + down * height : down, left : left + right * width : right]
            window = window[:, :, :height, :width].reshape(batch, groups, inside, height * width)
            taps = synapses.weight[:, :, row, column].reshape(groups, outputs // groups, inside)
            total += taps @ window
    return total.reshape(batch, outputs, height, width)
