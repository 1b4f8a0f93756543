"""A PopulationNetwork step by step, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.populations import Population, PopulationNetwork
from neurodeploy.ir.program import INPUT

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class PopulationRecording:
    """What a run puts out.

    Attributes:
        spikes: population -> (T, B, n), how often each neuron fired; populations that fire only.
        potentials: of the populations that do not fire: (T, B, n).
        highest: population -> (n,), the largest magnitude that a current or a potential (before reset) reached.
        readout: (B, classes), summed over time.
    """

    spikes: dict[str, NDArray[np.integer]]
    potentials: dict[str, FloatArray]
    highest: dict[str, FloatArray]
    readout: FloatArray

    @property
    def decisions(self) -> NDArray[np.int64]:
        """(B,) the class with the largest readout; the lowest of equals."""
        return np.asarray(self.readout.argmax(axis=-1), dtype=np.int64)


def run(network: PopulationNetwork, inputs: Array) -> PopulationRecording:
    """Runs a network on integers, (B, channels) shown at every step, or (steps, B, channels).

    Raises:
        UsageError: where the input does not suit the network.
    """
    if inputs.ndim not in (2, 3) or inputs.shape[-1:] != network.input.shape or inputs.size == 0:
        raise UsageError(f"input of shape {inputs.shape}: (samples, {network.input.shape[0]}), or with steps before it")
    if inputs.ndim == 3 and len(inputs) != network.steps:
        raise UsageError(f"input has {len(inputs)} steps, the network {network.steps}")
    batch = inputs.shape[-2]
    put_out: dict[str, list[Array]] = {one.name: [] for one in network.populations}
    potentials: dict[str, list[Array]] = {one.name: [] for one in network.populations if not one.fires}
    current = {one.name: np.zeros((one.synapses, batch, one.size)) for one in network.populations}
    potential = {one.name: np.zeros((batch, one.size)) for one in network.populations}
    highest = {one.name: np.zeros(one.size) for one in network.populations}
    values: list[Array] = []
    for step in range(network.steps):
        values.append((inputs if inputs.ndim == 2 else inputs[step]) * network.input.scale)
        for one in network.populations:
            x = np.zeros((one.synapses, batch, one.size))
            for projection in network.into(one.name):
                source = values if projection.source == INPUT else put_out[projection.source]
                at = step - projection.delay
                if at >= 0:
                    x[projection.synapse] += source[at] @ projection.weight
            current[one.name] = one.current_decay[:, None] * current[one.name] + x
            u = one.decay * potential[one.name] + current[one.name].sum(axis=0) + one.bias
            reached = np.maximum(np.abs(current[one.name]).max(axis=(0, 1)), np.abs(u).max(axis=0))
            highest[one.name] = np.maximum(highest[one.name], reached)
            potential[one.name], spikes = _fired(one, u)
            put_out[one.name].append(spikes)
            if not one.fires:
                potentials[one.name].append(u)
    spikes_of = {one.name: _counts(put_out[one.name], one.most) for one in network.populations if one.fires}
    potentials_of = {name: np.stack(parts) for name, parts in potentials.items()}
    last = network.output.name
    readout = (spikes_of if network.output.fires else potentials_of)[last].sum(axis=0, dtype=np.float64)
    return PopulationRecording(spikes_of, potentials_of, highest, readout)


def _counts(steps: list[Array], most: int) -> NDArray[np.integer]:
    """(T, B, n) in the smallest type that holds `most`."""
    return np.stack(steps).astype(np.min_scalar_type(most))


def _fired(population: Population, u: Array) -> tuple[Array, Array]:
    """(potential after reset, number of spikes)."""
    if not population.fires:
        return u, np.zeros_like(u)
    if population.most == 1:
        fired = u >= population.threshold if population.fires_at_threshold else u > population.threshold
        spikes = fired.astype(np.float64)
    else:
        spikes = np.clip(np.floor(u / population.threshold), 0, population.most)
    return (np.where(spikes > 0, 0.0, u) if population.reset == "zero" else u - spikes * population.threshold), spikes
