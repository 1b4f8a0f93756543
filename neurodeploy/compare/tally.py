"""Counting differences of one layer, chunk of samples by chunk of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.definition import LayerDefinition
from neurodeploy.compare.result import PotentialError
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Found:
    """The first difference of a layer so far, with all that explaining it takes: one sample of both sides.

    Attributes:
        step: from 0; sample: over all chunks; neuron: its index.
        spikes: of both sides, layer -> (T, *shape), of the layer and of those that feed it, where they were recorded.
        potentials: of both sides, the layer's (T, *shape) after the reset, or None.
        inputs: of both sides, (T, *shape), in units of the input's integers.
    """

    step: int
    sample: int
    neuron: tuple[int, ...]
    quantity: str
    spikes: tuple[Mapping[str, Array], Mapping[str, Array]]
    potentials: tuple[Array | None, Array | None]
    inputs: tuple[Array, Array]


class Tally:
    """The counts of one layer; potentials come in the sides' own units."""

    def __init__(
        self, first: LayerDefinition, second: LayerDefinition, steps: int, by_value: bool, wanted: int = 0
    ) -> None:
        self.sides = first, second
        self.wanted = wanted  # samples whose own first difference is still to be found
        self.by_sample: list[Found] = []
        self.needed = {first.name, *(one.source for one in first.synapses)}  # for explaining a difference
        self.by_value = by_value
        self.differing = np.zeros(steps, dtype=np.int64)
        self.spikes = [0, 0]
        self.both = 0
        self.compared = 0
        self.voltages = 0
        self.alike = np.zeros(steps, dtype=np.int64)  # neuron-steps of which the potentials count
        self.error = np.zeros((2, steps))  # sums without signs: the Network's unit, thresholds
        self.largest = np.zeros(2)
        self.potentials_seen = self.spikes_seen = False
        self.found: Found | None = None
        scale = second if second.lsb is not None else first
        self.lsb = scale.lsb
        self.threshold = np.asarray(scale.threshold * scale.unit)

    def add(self, recordings: tuple[Recording, Recording], inputs: tuple[Array, Array], first_sample: int) -> None:
        """Counts a chunk, whose inputs are (T, B, *shape) or views of that shape."""
        name = self.sides[0].name
        self._note_samples(recordings, inputs, first_sample)
        fired = [one.spikes.get(name) for one in recordings]
        states = [one.potentials.get(name) for one in recordings]
        for t in range(len(self.differing)):
            differs: Array | None = None
            if fired[0] is not None and fired[1] is not None:
                one, other = fired[0][t] > 0, fired[1][t] > 0
                differs = one != other
                self.spikes_seen = True
                self.compared += differs.size
                self.spikes[0] += int(one.sum())
                self.spikes[1] += int(other.sum())
                self.both += int((one & other).sum())
                self.differing[t] += int(differs.sum())
                self._note(t, "spike", differs, recordings, inputs, first_sample)
            if states[0] is not None and states[1] is not None:
                self._add_potentials(t, states[0][t], states[1][t], differs)
                if self.by_value:
                    unequal = states[0][t] != states[1][t]
                    self.voltages += int(unequal.sum())
                    self._note(t, "voltage", unequal, recordings, inputs, first_sample)

    def _add_potentials(self, t: int, one: Array, other: Array, differs: Array | None) -> None:
        self.potentials_seen = True
        first, second = self.sides
        error = np.abs(other * second.unit - one * first.unit)
        if differs is not None:
            error[differs] = 0.0
        self.alike[t] += error.size - (0 if differs is None else int(differs.sum()))
        parts = [error]
        if first.fires and bool((self.threshold > 0).all()):
            parts.append(error / self.threshold)
        for row, part in enumerate(parts):
            self.error[row, t] += float(part.sum())
            self.largest[row] = max(self.largest[row], float(part.max()))

    def _note(
        self,
        step: int,
        quantity: str,
        differs: Array,
        recordings: tuple[Recording, Recording],
        inputs: tuple[Array, Array],
        first_sample: int,
    ) -> None:
        """Keeps a difference that comes before all so far: by step, then spikes before voltages, then sample."""
        if self.found is not None and (self.found.step, self.found.quantity) <= (step, quantity):
            return
        if differs.any():
            sample, *neuron = (int(i) for i in np.unravel_index(int(differs.argmax()), differs.shape))
            self.found = self._kept(step, quantity, sample, tuple(neuron), recordings, inputs, first_sample)

    def _note_samples(
        self, recordings: tuple[Recording, Recording], inputs: tuple[Array, Array], first_sample: int
    ) -> None:
        """Keeps the first difference of every sample, until there are enough."""
        name = self.sides[0].name
        quantities = [("spike", [one.spikes.get(name) for one in recordings])]
        if self.by_value:
            quantities.append(("voltage", [one.potentials.get(name) for one in recordings]))
        for sample in range(len(recordings[0].readout)):
            if not self.wanted:
                return
            firsts = []
            for quantity, (one, other) in quantities:
                if one is not None and other is not None:
                    differs = one[:, sample] != other[:, sample]
                    if differs.any():
                        step, *neuron = (int(i) for i in np.unravel_index(int(differs.argmax()), differs.shape))
                        firsts.append((step, quantity, tuple(neuron)))
            if firsts:
                step, quantity, place = min(firsts)
                self.by_sample.append(self._kept(step, quantity, sample, place, recordings, inputs, first_sample))
                self.wanted -= 1

    def _kept(
        self,
        step: int,
        quantity: str,
        sample: int,
        neuron: tuple[int, ...],
        recordings: tuple[Recording, Recording],
        inputs: tuple[Array, Array],
        first_sample: int,
    ) -> Found:
        name = self.sides[0].name
        spikes = [
            {key: values[:, sample].copy() for key, values in one.spikes.items() if key in self.needed}
            for one in recordings
        ]
        states = [one.potentials.get(name) for one in recordings]
        kept = [None if values is None else values[:, sample].copy() for values in states]
        shown = [values[:, sample].copy() for values in inputs]
        return Found(
            step,
            first_sample + sample,
            neuron,
            quantity,
            (spikes[0], spikes[1]),
            (kept[0], kept[1]),
            (shown[0], shown[1]),
        )

    def take_samples(self) -> list[Found]:
        """The first differences of single samples that were found since the last call; they are not kept."""
        found, self.by_sample = self.by_sample, []
        return found

    def potential_error(self) -> PotentialError | None:
        """The error of the potentials, or None where a side has none."""
        if not self.potentials_seen:
            return None
        count = int(self.alike.sum())
        fires = self.sides[0].fires and bool((self.threshold > 0).all())
        total, largest = self.error.sum(axis=1), self.largest
        unit = self.lsb or 1.0
        by_step = tuple(
            float(value) / unit / int(seen) if seen else None
            for value, seen in zip(self.error[0], self.alike, strict=True)
        )
        return PotentialError(
            count,
            self.lsb,
            float(total[0]) / self.lsb / count if self.lsb and count else None,
            float(largest[0]) / self.lsb if self.lsb else None,
            float(total[1]) / count if fires and count else None,
            float(largest[1]) if fires else None,
            by_step,
        )

    @property
    def either(self) -> int:
        """Neuron-steps at which a side fires."""
        return sum(self.spikes) - self.both
