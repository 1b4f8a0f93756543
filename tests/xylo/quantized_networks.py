"""Networks to quantise for Xylo, and how like what was made of them is."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import Input, Linear, Node, SpikeCountReadout
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.to_populations import to_populations
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate import xylo_engine

A2, A3, IMU = (xylo_chip(name) for name in ("xylo-a2", "xylo-a3", "xylo-imu"))
STEPS, SAMPLES = 20, 48


def events(rng: np.random.Generator, channels: int, steps: int = STEPS) -> np.ndarray:
    return rng.integers(0, 4, (steps, SAMPLES, channels)) * (rng.random((steps, SAMPLES, channels)) < 0.4)


def network(rng: np.random.Generator, neuron: Any, hidden: tuple[int, ...] = (12,), readout: Any = None) -> Network:
    nodes: list[tuple[str, Node]] = [("in", Input((6,), 1.0, 2))]
    before = 6
    for number, size in enumerate(hidden):
        weight = rng.normal(0.15, 0.5, (size, before)) / np.sqrt(before) * (3.0 if number else 1.0)
        nodes += [(f"fc{number}", Linear(weight, rng.normal(0, 0.03, size))), (f"lif{number}", neuron)]
        before = size
    nodes.append(("last", Linear(rng.normal(0.05, 0.5, (4, before)), np.zeros(4))))
    nodes += [("readout", readout)] if readout else [("out", neuron), ("readout", SpikeCountReadout())]
    return sequential(nodes, STEPS)


def likeness(net: Network | PopulationNetwork, made: XyloNetwork, inputs: np.ndarray) -> float:
    """The correlation of spike counts (sample by sample, neuron by neuron) and of readouts, the least of all layers."""
    wanted = float_simulator.run(to_populations(net) if isinstance(net, Network) else net, inputs)
    got, found = xylo_engine.run(made, inputs), []
    for block in made.blocks:
        if block.name in wanted.spikes:
            spikes = wanted.spikes[block.name]
            assert 0.05 < (spikes > 0).mean() < 0.95
            counts = got.spikes[..., block.start : block.stop].sum(axis=0)
            found.append(np.corrcoef(counts.ravel(), spikes.sum(axis=0).ravel())[0, 1])
    found.append(np.corrcoef(got.readout.ravel(), wanted.readout.ravel())[0, 1])
    return float(min(found))


def cuba(rng: np.random.Generator, ratio: float, synapses: int = 1) -> PopulationNetwork:
    """tau_syn = ratio * dt, several spikes per step, connections that take a step: as Rockpool has them."""
    beta = float(np.exp(-1 / ratio))

    def population(name: str, size: int, count: int) -> Population:
        currents = np.full((count, size), beta) * np.linspace(1, 0.8, count)[:, None]
        return Population(name, np.full(size, 0.875), currents, np.ones(size), np.zeros(size), 31)

    projections = [Projection("input", "a", rng.normal(0.05, 0.25, (6, 12)) * (1 - beta), k) for k in range(synapses)]
    projections.append(Projection("a", "out", rng.normal(0.1, 0.4, (12, 4)) * (1 - beta), delay=1))
    populations = (population("a", 12, synapses), population("out", 4, 1))
    return PopulationNetwork(Input((6,), 1.0, 2), populations, tuple(projections), "spike_count", STEPS)
