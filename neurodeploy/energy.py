"""Energy and latency of a Program on a chip: events counted in a run, times costs from literature. Modelled.

Per sample, with N neurons, T steps and the spikes of a recording:

    synaptic_operations   Σ over spikes (and non-zero input values) of the synapses that they reach: of those with a
                          weight that is not zero, and of all, since stored zeros may be read as well
    neuron_updates        N * T
    spikes                of neurons, not of the input
    packets               Σ over spikes and non-zero input values of the cores that they go to
    hops                  packets * mean distance (columns + rows, in routers) from the cores of the source to those of
                          the target, with cores numbered in the order of layers, tile after tile, row after row; input
                          comes in at the first tile

    energy    Σ events * cost, from the lowest count and cost to the highest
    static    watts * chips * T * time of a step
    latency   (T + lag of the last layer) * time of a step; a new sample every T steps

The costs are of another chip (Loihi 1), and the time of a step is that of another network, so that a range is all that
can be said; how far both are from the truth is not known. Spikes between chips, embedded processors and the host are
left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.chip import ChipModel, Cores, EventCosts, Range
from neurodeploy.inspect.placement import Placement, destinations, place
from neurodeploy.inspect.resources import lags
from neurodeploy.ir.program import INPUT, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses
from neurodeploy.load import fan_out
from neurodeploy.simulate.recording import Recording

EVIDENCE = "modelled"
SOURCES = ("costs", "static power", "step time", "mesh")  # of a chip that has `costs`


@dataclass(frozen=True)
class Event:
    """One kind of event per sample: how many, what one costs (joule), and all together; (lowest, highest)."""

    name: str
    count: Range
    cost: Range

    @property
    def energy(self) -> Range:
        """Joule per sample."""
        return self.count[0] * self.cost[0], self.count[1] * self.cost[1]


@dataclass(frozen=True)
class Energy:
    """What a sample costs; joule and seconds, (lowest, highest).

    Attributes:
        samples: that were counted.
        operations: NeuroBench's Effective_ACs (of spikes) and Effective_MACs (of graded input), per sample.
        static: energy of the chips while they do nothing else, for the steps of a sample.
        latency: from the first step of a sample to its answer.
        period: from a sample to the next.
        sources: of the costs, of static power, of the time of a step, and of distances.
        evidence: "modelled".
    """

    samples: int
    placement: Placement
    events: tuple[Event, ...]
    operations: Mapping[str, float]
    static: Range
    latency: Range
    period: Range
    sources: Mapping[str, str]
    evidence: str = EVIDENCE

    @property
    def dynamic(self) -> Range:
        """Joule per sample of all events."""
        return sum(one.energy[0] for one in self.events), sum(one.energy[1] for one in self.events)

    def plain(self) -> dict[str, Any]:
        """Everything as plain values, for JSON and tables; ranges are [lowest, highest]."""
        return {
            "evidence": self.evidence,
            "samples": self.samples,
            "events": [
                {
                    "event": one.name,
                    "count_low": one.count[0],
                    "count_high": one.count[1],
                    "picojoule_low": one.cost[0] * 1e12,
                    "picojoule_high": one.cost[1] * 1e12,
                    "nanojoule_low": one.energy[0] * 1e9,
                    "nanojoule_high": one.energy[1] * 1e9,
                }
                for one in self.events
            ],
            "operations": dict(self.operations),
            "dynamic_joule": list(self.dynamic),
            "static_joule": list(self.static),
            "latency_seconds": list(self.latency),
            "period_seconds": list(self.period),
            "cores": self.placement.cores,
            "chips": self.placement.chips,
            "sources": dict(self.sources),
        }


def estimate(program: Program, recording: Recording, inputs: NDArray[Any], chip: ChipModel) -> Energy | None:
    """What a run costs; None where no source gives the chip's cores and costs, or where a loop has no lag.

    Args:
        recording: the spikes of `inputs`, by any simulator.
        inputs: integers, (B, *shape) or (T, B, *shape).
    """
    placement, late = place(program, chip), lags(program)
    if placement is None or chip.cores is None or chip.costs is None or late is None:
        return None
    samples = int(recording.readout.shape[0])
    counts = _Counts(program, recording, inputs, placement, chip.cores)
    costs: EventCosts = chip.costs
    updates = float(sum(prod(layer.shape) for layer in program.layers) * program.steps)
    spikes = sum(float(fired.sum()) for fired in recording.spikes.values()) / samples
    events = (
        Event("synaptic_operations", (counts.effective, counts.reached), costs.synaptic_operation),
        Event("neuron_updates", (updates, updates), costs.neuron_update),
        Event("spikes", (spikes, spikes), costs.spike),
        Event("packets", (counts.packets, counts.packets), costs.packet),
        Event("hops", (counts.hops, counts.hops), costs.hop),
    )
    step = costs.step_seconds
    period = (program.steps * step[0], program.steps * step[1])
    watts = costs.static_watts * placement.chips
    steps = program.steps + late[program.layers[-1].name]
    return Energy(
        samples,
        placement,
        events,
        {"Effective_ACs": counts.operations[0], "Effective_MACs": counts.operations[1]},
        (watts * period[0], watts * period[1]),
        (steps * step[0], steps * step[1]),
        period,
        {name: chip.sources[name] for name in SOURCES},
    )


class _Counts:
    """Events at synapses and between cores, per sample."""

    def __init__(
        self, program: Program, recording: Recording, inputs: NDArray[Any], placement: Placement, cores: Cores
    ) -> None:
        self.effective = self.reached = self.packets = self.hops = 0.0
        self.operations = [0.0, 0.0]  # of spikes, of graded input
        static = inputs.ndim == len(program.input.shape) + 1
        graded = program.input.bits > 1
        places = {row.layer: row for row in placement.layers}
        routers = _routers(placement, cores)
        for layer in program.layers:
            for one in layer.synapses:
                own = one.source == INPUT
                values = ((inputs[None] if static else inputs) != 0) if own else recording.spikes[one.source]
                repeats = program.steps if static and own else 1
                events = values.sum(axis=(0, 1)) * (repeats / values.shape[1])
                packets = events * destinations(one, values.shape[2:], places[layer.name], layer.shape)
                self.packets += float(packets.sum())
                self.hops += float(packets.sum()) * _distance(routers[one.source], routers[layer.name])
                effective, reached = _operations(one, values, program.steps, repeats)
                self.effective += effective
                self.reached += reached
                self.operations[int(own and graded)] += effective


def _operations(synapses: Synapses, values: NDArray[Any], steps: int, repeats: int) -> tuple[float, float]:
    """(at weights that are not zero, at all weights) per sample; what arrives after the last step does nothing."""
    shape = values.shape[2:]
    delays = None if isinstance(synapses, ConvSynapses) else synapses.delays
    effective = reached = 0.0
    for extra in [0] if delays is None else np.unique(delays).tolist():
        present = np.ones(synapses.weight.shape, bool) if delays is None else delays == extra
        last = max(steps - synapses.delay - extra, 0)
        arriving = values.sum(axis=(0, 1)) * last if repeats > 1 else values[:last].sum(axis=(0, 1))
        pooled = _pooled(arriving / values.shape[1], synapses.pool)
        effective += float((pooled * fan_out(synapses, shape, present & (synapses.weight != 0))).sum())
        reached += float((pooled * fan_out(synapses, shape, present)).sum())
    return effective, reached


def _pooled(values: NDArray[Any], pool: int) -> NDArray[Any]:
    """Sums over windows: each event in a window reaches the same synapses."""
    if pool == 1:
        return values
    channels, height, width = values.shape
    windows = values.reshape(channels, height // pool, pool, width // pool, pool)
    return np.asarray(windows.sum(axis=(2, 4)))


def _routers(placement: Placement, cores: Cores) -> dict[str, NDArray[np.int64]]:
    """source -> (cores, 2) column and row of each core's router on its chip."""
    found, first = {INPUT: np.zeros((1, 2), dtype=np.int64)}, 0
    for row in placement.layers:
        tile = (first + np.arange(row.cores)) % cores.per_chip // cores.per_tile
        found[row.layer] = np.stack([tile % cores.tiles[0], tile // cores.tiles[0]], axis=1)
        first += row.cores
    return found


def _distance(source: NDArray[np.int64], target: NDArray[np.int64]) -> float:
    """Mean number of hops between any two."""
    return float(np.abs(source[:, None] - target[None]).sum(axis=2).mean())
