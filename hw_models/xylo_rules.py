"""The limits of a Xylo, all checked at once: layer, count, limit, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.xylo import XYLO_CHIPS
from neurodeploy.hw_models.xylo_core import XyloChip
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.xylo import XyloNetwork


@dataclass(frozen=True, eq=False)
class Demand:
    """What a network needs of a chip.

    Attributes:
        layers: hidden layer -> neurons.
        fan_out: hidden layer -> (neurons,), how many hidden neurons each reaches; layers that are left out are unknown.
        input_end: 1 + the highest hidden neuron that an input reaches.
        output_start: the lowest hidden neuron that an output reads, counted back from the end: hidden - its number.
    """

    inputs: int
    layers: Mapping[str, int]
    outputs: int
    synapses: int
    fan_out: Mapping[str, IntArray]
    input_end: int = 0
    output_start: int = 0


def violations(network: XyloNetwork, chip: XyloChip) -> list[str]:
    """Everything in a network that the chip cannot hold."""
    return exceeded(demand(network), chip)


def demand(network: XyloNetwork) -> Demand:
    """What a quantised network needs."""
    fan_out = (network.weights_rec != 0).any(axis=2).sum(axis=1)
    reached = np.flatnonzero((network.weights_in != 0).any(axis=(0, 2)))
    read = np.flatnonzero((network.weights_out != 0).any(axis=1))
    return Demand(
        network.input.shape[0],
        {block.name: block.stop - block.start for block in network.blocks},
        network.outputs,
        network.synapses,
        {block.name: fan_out[block.start : block.stop] for block in network.blocks},
        int(reached.max()) + 1 if reached.size else 0,
        network.hidden - int(read.min()) if read.size else 0,
    )


def demand_of_populations(network: PopulationNetwork) -> Demand:
    """What a float network will need, its layers in the order in which they come."""
    hidden = [one.name for one in network.hidden]
    sizes = {one.name: one.size for one in network.hidden}
    fan_out: dict[str, NDArray[np.int64]] = {}
    for name in hidden:
        reached: dict[str, NDArray[np.bool_]] = {}
        for one in network.projections:
            if one.source == name and one.target in sizes:
                reached[one.target] = reached.get(one.target, np.zeros(one.weight.shape, dtype=bool)) | (
                    one.weight != 0
                )
        fan_out[name] = np.asarray(
            sum((part.sum(axis=1) for part in reached.values()), np.zeros(sizes[name])), np.int64
        )
    ends = np.cumsum([0, *sizes.values()])
    fed = [place for place, name in enumerate(hidden) if any(p.source == INPUT for p in network.into(name))]
    read = [
        place for place, name in enumerate(hidden) if any(p.source == name for p in network.into(network.output.name))
    ]
    return Demand(
        network.input.shape[0],
        sizes,
        network.output.size,
        max((one.synapses for one in network.hidden), default=1),
        fan_out,
        int(ends[fed[-1] + 1]) if fed else 0,
        int(ends[-1] - ends[read[0]]) if read else 0,
    )


def exceeded(needed: Demand, chip: XyloChip) -> list[str]:
    """One sentence for every limit that is exceeded."""
    return [*_sizes(needed, chip), *_connections(needed, chip)]


def _sizes(needed: Demand, chip: XyloChip) -> list[str]:
    found = []
    if needed.inputs > chip.inputs:
        found.append(
            f"layer {INPUT}: {needed.inputs} channels, {chip.name} has {chip.inputs}; feed the data over time (rows or "
            "columns of an image one step after the other) or reduce them"
        )
    hidden = sum(needed.layers.values())
    if hidden > chip.hidden:
        parts = ", ".join(f"{name} ({size})" for name, size in needed.layers.items())
        found.append(
            f"layers {parts}: {hidden} hidden neurons, {chip.name} has {chip.hidden}; make them smaller by "
            f"{hidden - chip.hidden} neurons together"
        )
    if needed.outputs > chip.outputs:
        roomy = [one.name for one in XYLO_CHIPS.values() if one.outputs >= needed.outputs]
        fewer = f"fewer classes (data.classes={chip.outputs})"
        change = f"use {' or '.join(roomy)}, or {fewer}" if roomy else f"use {fewer}"
        found.append(f"layer output: {needed.outputs} neurons, {chip.name} has {chip.outputs}; {change}")
    if needed.synapses > chip.synapses:
        found.append(
            f"hidden layers: {needed.synapses} synapses per neuron, {chip.name} has {chip.synapses}; give all "
            "connections of a neuron one time constant"
        )
    if not needed.layers:
        found.append("no hidden layer: outputs read hidden neurons only; put a layer of neurons before the output")
    return found


def _connections(needed: Demand, chip: XyloChip) -> list[str]:
    found = []
    for name, counts in needed.fan_out.items():
        if counts.max(initial=0) > chip.fan_out:
            found.append(
                f"layer {name}: {int((counts > chip.fan_out).sum())} neurons reach up to {int(counts.max())} hidden "
                f"neurons, at most {chip.fan_out} on {chip.name}; make the layers that it feeds, itself if it is "
                f"recurrent, at most {chip.fan_out} neurons wide together, or prune"
            )
    per_layer = {name: int(counts.sum()) for name, counts in needed.fan_out.items()}
    total = sum(per_layer.values())
    if total > chip.fan_out_total:
        largest = max(per_layer, key=lambda name: per_layer[name])
        found.append(
            f"layer {largest}: {total:,} connections between hidden neurons, {per_layer[largest]:,} of them from this "
            f"layer, {chip.name} stores {chip.fan_out_total:,}; make it smaller or prune"
        )
    names = list(needed.layers)
    if names and needed.input_end > chip.input_targets:
        found.append(
            f"layer {names[0]}: inputs reach hidden neuron {needed.input_end}, on {chip.name} only the first "
            f"{chip.input_targets}; make the layer that the input feeds at most so wide"
        )
    if names and needed.output_start > chip.output_sources:
        found.append(
            f"layer {names[-1]}: outputs read the last {needed.output_start} hidden neurons, on {chip.name} at most "
            f"{chip.output_sources}; make the layer before the output at most so wide"
        )
    return found
