"""The dynamic noise of several chips side by side, drawn on a device; number for number `hw_models.dynamic_noise`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
import torch

from neurodeploy.hw_models.dynamic_noise import DynamicNoise, Name, SpikeMasks
from neurodeploy.ir.arrays import Shape
from neurodeploy.simulate.philox import stacked_integers, stacked_normals


class StackedNoise:
    """The noise of some chips, None where one has none, on the samples first … first + count - 1.

    Attributes:
        shapes: layer -> shape of its neurons.
    """

    def __init__(
        self,
        noise: Sequence[DynamicNoise | None],
        shapes: Mapping[str, Shape],
        first: int,
        count: int,
        device: torch.device,
    ) -> None:
        self._chips = len(noise)
        self._noise = [(chip, one) for chip, one in enumerate(noise) if one is not None]
        self._shapes, self._first, self._count, self._device = shapes, first, count, device
        self._stuck = {name: self._stuck_neurons(name, shape) for name, shape in shapes.items()}
        self._slow: dict[str, tuple[list[Name], torch.Tensor]] = {}

    def current(self, layer: str, step: int) -> torch.Tensor | None:
        """`DynamicNoise.current`, (chips, count, *shape) in float64, or None where no chip has any."""
        there = [(chip, one) for chip, one in self._noise if one.deviations.get(layer)]
        if not there:
            return None
        total = self._zeros(layer, torch.float64)
        for drawn in zip_longest(*(one.normals(layer, step) for _, one in there)):
            here = [(chip, *each) for (chip, _), each in zip(there, drawn, strict=True) if each is not None]
            chips, deviations, names = zip(*here, strict=True)
            normals = stacked_normals(self._first, self._count, total.shape[-1], names, self._device)
            total[self._of(chips)] += normals.double() * self._each(deviations)
        flickering = [(chip, one) for chip, one in there if "flicker" in one.deviations[layer]]
        if flickering:
            levels = [one.deviations[layer]["flicker"] for _, one in flickering]
            rows = zip(*(one.flicker_names(layer, step) for _, one in flickering), strict=True)
            slow = self._flicker(layer, [name for row in rows for name in row], len(flickering))
            total[self._of([chip for chip, _ in flickering])] += slow * self._each(levels)
        if there[0][1].whole:  # as the noise of every chip of the same kind is
            total.round_()
        return self._shaped(total, layer)

    def masks(self, layer: str, step: int) -> SpikeMasks | None:
        """`DynamicNoise.masks`, booleans (chips, count or 1, *shape), or None where the spikes of all chips arrive."""
        chances = [(chip, one.chances(layer, step)) for chip, one in self._noise]
        stuck = self._stuck[layer]

        def hit(noise: str) -> torch.Tensor | None:
            here = [(chip, *known[noise]) for chip, known in chances if noise in known]
            if not here:
                return None
            hits = self._zeros(layer, torch.bool)
            chips, bounds, names = zip(*here, strict=True)
            integers = stacked_integers(self._first, self._count, hits.shape[-1], names, self._device)
            hits[self._of(chips)] = integers < self._each([int(bound) for bound in bounds])
            return self._shaped(hits, layer)

        if stuck is None and not any(known for _, known in chances):
            return None
        return SpikeMasks(stuck, hit("spike_loss"), hit("spike_jitter"), hit("background_spikes"))

    def _flicker(self, layer: str, names: list[Name], chips: int) -> torch.Tensor:
        """(chips, count, n) the sum of the rows of flicker noise, which are named row by row, each for all chips.

        What has the name of the step before is kept. At the first step all is drawn, as many streams at once as there
        are chips: as much memory as other noise takes.
        """
        size = int(np.prod(self._shapes[layer]))
        if layer not in self._slow:
            kept = torch.empty((len(names), self._count, size), dtype=torch.float32, device=self._device)
            self._slow[layer] = ([()] * len(names), kept)
        known, kept = self._slow[layer]
        changed = [index for index, name in enumerate(names) if name != known[index]]
        for low in range(0, len(changed), chips):
            some = changed[low : low + chips]
            drawn = [names[index] for index in some]
            kept[some] = stacked_normals(self._first, self._count, size, drawn, self._device)
        self._slow[layer] = (names, kept)
        total = torch.zeros((chips, self._count, size), dtype=torch.float64, device=self._device)
        for row in kept.unflatten(0, (-1, chips)):
            total += row
        return total

    def _stuck_neurons(self, layer: str, shape: Shape) -> torch.Tensor | None:
        """(chips, 1, *shape)"""
        if not any(layer in one.stuck for _, one in self._noise):
            return None
        stuck = np.zeros((self._chips, 1, *shape), dtype=bool)
        for chip, one in self._noise:
            if layer in one.stuck:
                stuck[chip, 0] = one.stuck[layer]
        return torch.from_numpy(stuck).to(self._device)

    def _zeros(self, layer: str, kind: torch.dtype) -> torch.Tensor:
        size = int(np.prod(self._shapes[layer]))
        return torch.zeros((self._chips, self._count, size), dtype=kind, device=self._device)

    def _shaped(self, values: torch.Tensor, layer: str) -> torch.Tensor:
        return values.reshape(self._chips, self._count, *self._shapes[layer])

    def _each(self, values: Sequence[float] | Sequence[int]) -> torch.Tensor:
        """One value per chip, (chips, 1, 1)."""
        return torch.from_numpy(np.asarray(values)).to(self._device)[:, None, None]

    def _of(self, chips: Sequence[int]) -> slice | list[int]:
        """An index of those chips; of all of them without copying."""
        return slice(None) if len(chips) == self._chips else list(chips)
