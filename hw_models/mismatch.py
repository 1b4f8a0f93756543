"""The draws of a chip's mismatch: a number per neuron, synapse, core or chip; correlated over a core on request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d

from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.random import frozen_normals, frozen_uniforms
from neurodeploy.ir.arrays import FloatArray, Shape


def factor(noise: NoiseModel, level: float, normals: FloatArray) -> FloatArray:
    """Factors of mean 1 and standard deviation `level` from standard normal numbers, by `noise.distribution`."""
    if noise.distribution == "lognormal":
        variance = np.log1p(level**2)
        return np.asarray(np.exp(np.sqrt(variance) * normals - variance / 2))
    return 1 + level * normals


@dataclass(frozen=True)
class ChipDraws:
    """The frozen random numbers of one chip, by layer and parameter; they depend on no level."""

    noise: NoiseModel
    seed: int
    chip_id: int

    def chip(self, parameter: str) -> float:
        """One standard normal number for the whole chip."""
        return float(frozen_normals((), self.seed, self.chip_id, "", parameter))

    def each(self, shape: Shape, layer: str, parameter: str) -> FloatArray:
        """Independent standard normal numbers, of any shape."""
        return frozen_normals(shape, self.seed, self.chip_id, layer, parameter)

    def uniforms(self, shape: Shape, layer: str, parameter: str) -> FloatArray:
        """Independent uniform numbers, of any shape."""
        return frozen_uniforms(shape, self.seed, self.chip_id, layer, parameter)

    def neurons(self, shape: Shape, layer: str, parameter: str) -> FloatArray:
        """A standard normal number per neuron, correlated over a core by `noise.correlation_length`."""
        if self.noise.correlation_length == 0:
            return self.each(shape, layer, parameter)
        size = int(np.prod(shape))
        core = self._core_size(size)
        cores, side = -(-size // core), int(np.ceil(np.sqrt(core)))
        # White noise smoothed by a Gaussian of sigma L / √2 has the correlation exp(-d² / (2 L²)).
        sigma = self.noise.correlation_length / np.sqrt(2)
        reach = int(np.ceil(4 * sigma))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        kernel /= np.sqrt(np.square(kernel).sum())  # variance 1 stays variance 1
        wide = side + 2 * reach
        field = self.each((cores, wide, wide), layer, f"{parameter}:correlated")
        for axis in (1, 2):
            field = convolve1d(field, kernel, axis=axis, mode="constant")
        field = field[:, reach : reach + side, reach : reach + side].reshape(cores, -1)
        return np.ascontiguousarray(field[:, :core].reshape(-1)[:size]).reshape(shape)

    def cores(self, shape: Shape, layer: str, parameter: str) -> FloatArray:
        """A standard normal number per core, repeated for its neurons."""
        size = int(np.prod(shape))
        core = self._core_size(size)
        return np.repeat(self.each((-(-size // core),), layer, parameter), core)[:size].reshape(shape)

    def _core_size(self, size: int) -> int:
        return int(self.noise.core_size) or size
