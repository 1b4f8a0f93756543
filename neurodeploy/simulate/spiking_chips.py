"""What a chip has of its own in the tables of `simulate.spiking_tables`: weights and parameters of its neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.program import DECAY_ONE, FixedPointNeurons, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses, Weights
from neurodeploy.simulate.bounds import UNIT, fits
from neurodeploy.simulate.spiking_rows import ChipArrays
from neurodeploy.simulate.spiking_tables import LANES, Plan, by_delay, channels_last, round_up
from neurodeploy.simulate.spiking_taps import fast


def chip_weights(plan: Plan, program: Program) -> NDArray[Any]:
    """All weights of a chip, in the order of a plan."""
    weights = [
        _rows_of(weight, one, program.shapes[one.source])
        for one in inner_synapses(plan, program)
        for _, weight in by_delay(one)
    ]
    flat = np.concatenate(weights) if weights else np.zeros(LANES, dtype=np.int64)
    return flat.astype(np.int64 if plan.sums is np.int64 else np.int8 if fits(flat, np.int8) else np.int16)


def inner_synapses(plan: Plan, program: Program) -> tuple[Synapses, ...]:
    """The synapses of a plan's layers whose sums are computed by the tables."""
    numbers = {layer.name: layer for layer in program.layers}
    return tuple(
        one
        for named in plan.layers
        for index, one in enumerate(numbers[named.name].synapses)
        if (named.name, index) not in plan.outside
    )


def chip_arrays(plan: Plan, program: Program, weights: NDArray[Any]) -> ChipArrays:
    """What a chip has of its own beside those weights, in the order of a plan."""
    rows = {name: np.zeros(plan.neurons) for name in ("retention", "bias", "kept")}
    rows["threshold"] = np.full(plan.neurons, np.inf)
    numbers = {layer.name: layer for layer in program.layers}
    for named in plan.layers:
        layer = numbers[named.name]
        neurons = layer.neurons
        low, high = plan.place[layer.name], plan.place[layer.name] + int(np.prod(layer.shape))
        if isinstance(neurons, FixedPointNeurons):
            values: dict[str, NDArray[Any]] = {
                "retention": (DECAY_ONE - neurons.voltage_decay) / DECAY_ONE,
                "threshold": neurons.threshold * UNIT,
                "kept": (DECAY_ONE - neurons.current_decay) / DECAY_ONE,
            }
        else:
            values = {"retention": neurons.decay, "threshold": neurons.threshold, "kept": neurons.current_decay}
        if not layer.fires:
            values["threshold"] = np.full((), np.inf)
        for name, array in (values | {"bias": neurons.bias}).items():
            rows[name][low:high] = array if array.ndim == 0 else channels_last(array, layer.shape)
    units = [
        UNIT if isinstance(layer.neurons, FixedPointNeurons) else layer.scale
        for layer in (numbers[one.name] for one in plan.layers)
    ]
    return ChipArrays(weights, **rows, unit=np.array(units))


def _rows_of(weight: Weights, one: Synapses, source: Shape) -> NDArray[Any]:
    """Weights in the order of the tables: from the source's neurons, channels innermost, to a row of targets."""
    if not isinstance(one, ConvSynapses):
        columns = np.zeros((int(np.prod(source)), round_up(len(weight), LANES)), dtype=np.int64)
        full = weight
        if len(source) == 3:
            p = one.pool
            maps = weight.reshape(-1, source[0], source[1] // p, source[2] // p)
            full = channels_last(maps.repeat(p, axis=2).repeat(p, axis=3), source)
        columns[:, : len(weight)] = full.T
        return columns.reshape(-1)
    outputs, inside, height, width = weight.shape
    grouped = weight.reshape(one.groups, outputs // one.groups, inside, height, width)
    ordered = grouped.transpose(0, 2, 3, 4, 1)  # group, channel, kernel row, kernel column, output
    if fast(one):
        ordered = ordered[:, :, :, ::-1]
    return np.ascontiguousarray(ordered).reshape(-1)
