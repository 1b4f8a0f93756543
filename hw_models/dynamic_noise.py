"""Noise that is drawn while a chip runs: on neurons' inputs, on their spikes, and on the readout.

Both simulators call it the same way, at every step and for every firing layer:

    potential += current(...)                             None: no noise on that layer's inputs
    spikes, late = transmitted(fired, masks(...), late)   after the reset, which follows the neuron's own spike
    readout = readout(...)                                once, after the last step

Nothing depends on the order or the size of calls; `parts` and `chances` name the random numbers, for a simulator that
draws them on a device of its own (`neurodeploy.simulate.philox`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.random import step_integers, step_normals, stream
from neurodeploy.ir.arrays import FloatArray, Shape

_FRESH = ("thermal", "ktc")
FLICKER_ROWS = 12  # octaves: the slowest row is drawn anew every 2048 steps

BoolArray = NDArray[np.bool_]
Name = tuple[int | str, ...]


class SpikeMasks(NamedTuple):
    """What becomes of the spikes of one step, booleans (count, *shape), or None where a noise is not there.

    Attributes:
        stuck: neurons that fire whatever they do, (*shape).
        lost: spikes that are lost.
        late: spikes that arrive a step later.
        extra: spikes that nobody fired.
    """

    stuck: Any = None
    lost: Any = None
    late: Any = None
    extra: Any = None


def transmitted(fired: Any, masks: SpikeMasks | None, late: Any = None) -> tuple[Any, Any]:
    """(spikes that arrive, spikes that will arrive a step later), booleans in NumPy or torch alike.

    Args:
        fired: what the neurons fired at this step.
        late: the second result of the step before, None at the first.
    """
    if masks is None:
        return fired, None
    if masks.stuck is not None:
        fired = fired | masks.stuck
    if masks.lost is not None:
        fired = fired & ~masks.lost
    held = None
    if masks.late is not None:
        held, fired = fired & masks.late, fired & ~masks.late
        fired = fired if late is None else fired | late
    if masks.extra is not None:
        fired = fired | masks.extra
    return fired, held


@dataclass(frozen=True, eq=False)
class DynamicNoise:
    """The dynamic noise of one chip in one trial: fresh for every layer, step and sample, the same in every simulator.

    Attributes:
        deviations: layer -> noise ("thermal", "ktc", "flicker") -> standard deviation of what is added to its neurons'
            inputs; voltage units (fixed point) or the Network's unit of potential.
        probabilities: layer -> noise ("spike_loss", "spike_jitter", "background_spikes") -> probability.
        stuck: layer -> neurons that fire at every step.
        readout_level: relative to the standard deviation of a sample's readout over the classes.
        readout_layer: the layer that is read.
        trial: repetitions of the same measurement on the same chip differ by it.
        whole: True where the noise is rounded to integers, as fixed-point neurons need.
    """

    deviations: Mapping[str, Mapping[str, float]]
    probabilities: Mapping[str, Mapping[str, float]]
    stuck: Mapping[str, BoolArray]
    readout_level: float
    readout_layer: str
    chip_id: int
    seed: int
    trial: int
    whole: bool
    _rows: dict[tuple[str, int], tuple[tuple[Any, ...], FloatArray]] = field(default_factory=dict, repr=False)

    @property
    def slow(self) -> bool:
        """Whether some of it has a past: flicker noise."""
        return any("flicker" in one for one in self.deviations.values())

    def current(self, layer: str, shape: Shape, step: int, first: int, count: int) -> FloatArray | None:
        """(count, *shape) to add to a layer's inputs at step (from 0) for samples first …, or None for nothing."""
        deviations = self.deviations.get(layer)
        if not deviations:
            return None
        total = np.zeros((count, *shape))
        for deviation, name in self.normals(layer, step):
            drawn = step_normals(first, count, int(np.prod(shape)), *name).astype(np.float64)
            total += (drawn * deviation).reshape(total.shape)
        slow = self.flicker(layer, shape, step, first, count)
        if slow is not None:
            total += slow
        return np.rint(total) if self.whole else total

    def normals(self, layer: str, step: int) -> list[tuple[float, Name]]:
        """(standard deviation, stream of normal numbers) of what is fresh at every step, in the order of adding up."""
        deviations = self.deviations.get(layer, {})
        return [(deviations[noise], self._name(layer, noise, step)) for noise in _FRESH if noise in deviations]

    def masks(self, layer: str, shape: Shape, step: int, first: int, count: int) -> SpikeMasks | None:
        """What becomes of the layer's spikes at step (from 0), or None where they all arrive as fired."""
        chances = self.chances(layer, step)
        stuck = self.stuck.get(layer)
        if not chances and stuck is None:
            return None
        size = int(np.prod(shape))

        def hit(noise: str) -> BoolArray | None:
            if noise not in chances:
                return None
            below, name = chances[noise]
            return np.asarray(step_integers(first, count, size, *name) < below).reshape(count, *shape)

        return SpikeMasks(stuck, hit("spike_loss"), hit("spike_jitter"), hit("background_spikes"))

    def readout(self, values: NDArray[Any], first: int) -> FloatArray:
        """The readout (count, *shape) of samples first, first + 1 … as it is read."""
        exact = np.ascontiguousarray(values, dtype=np.float64)
        if self.readout_level == 0:
            return exact
        flat = exact.reshape(len(exact), -1)
        name = (self.seed, self.chip_id, self.readout_layer, "readout", self.trial)
        normals = step_normals(first, *flat.shape, *name).astype(np.float64)
        noise = self.readout_level * flat.std(axis=1, keepdims=True) * normals
        return np.asarray((flat + (np.rint(noise) if self.whole else noise)).reshape(exact.shape))

    def chances(self, layer: str, step: int) -> dict[str, tuple[np.uint64, Name]]:
        """noise -> (bound, name): it happens where the 32-bit integer of that stream is below the bound."""
        return {
            noise: (np.uint64(round(probability * 2**32)), self._name(layer, noise, step))
            for noise, probability in self.probabilities.get(layer, {}).items()
        }

    def flicker_names(self, layer: str, step: int) -> list[Name]:
        """The streams of the rows whose sum, in this order, is the flicker noise of a step."""
        phases = stream(self.seed, self.chip_id, layer, "flicker_phase", self.trial).random_raw(FLICKER_ROWS)
        return [
            self._name(layer, f"flicker{row}", (step + int(phases[row] % np.uint64(2**row))) >> row)
            for row in range(FLICKER_ROWS)
        ]

    def flicker(self, layer: str, shape: Shape, step: int, first: int, count: int) -> FloatArray | None:
        """(count, *shape) flicker noise, or None; a row is kept until its stream changes, which changes no number."""
        deviation = self.deviations.get(layer, {}).get("flicker")
        if deviation is None:
            return None
        size = int(np.prod(shape))
        total = np.zeros((count, size))
        for row, name in enumerate(self.flicker_names(layer, step)):
            address = (name, first, count, size)
            kept = self._rows.get((layer, row))
            if kept is None or kept[0] != address:
                kept = (address, step_normals(first, count, size, *name).astype(np.float64))
                self._rows[layer, row] = kept
            total += kept[1]
        return (total * deviation).reshape(count, *shape)

    def _name(self, layer: str, noise: str, step: int) -> Name:
        return (self.seed, self.chip_id, layer, noise, self.trial, step)
