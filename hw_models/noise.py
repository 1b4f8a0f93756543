"""The noise vocabulary, sorted by when it is drawn: mismatch once per chip, thermal noise at every step.

A level of 0 is bit-identical to no noise, and the draw itself does not depend on the level: a chip at level 0.2 is the
same chip as at 0.1, twice as far from nominal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.hw_models.random import frozen_normals, step_normals
from neurodeploy.ir.arrays import FloatArray, Shape, frozen_floats, frozen_ints
from neurodeploy.ir.program import DECAY_ONE, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import Synapses


@dataclass(frozen=True)
class NoiseModel:
    """How far virtual chips are from nominal, and how noisy they are.

    Attributes:
        mismatch: standard deviation of every firing neuron's threshold and decay, relative to the nominal value;
            Gaussian, drawn once per chip (Büchel et al., Sci. Rep. 11, 2021; arXiv:2304.13289, section 4.6). Thresholds
            are clipped at 0 and decays to [0, 1].
        weight_mismatch: the same for every synaptic weight, rounded to the weight grid of the Program. A convolution's
            kernel is one set of synapses that its neurons share, so that a kernel value deviates as one.
        thermal: standard deviation of a Gaussian added to every firing neuron's input at every step, relative to the
            layer's nominal threshold; drawn anew for every chip, layer, step and sample.
    """

    mismatch: float = 0.0
    weight_mismatch: float = 0.0
    thermal: float = 0.0

    def __post_init__(self) -> None:
        for name in NOISES:
            level = getattr(self, name)
            if not (np.isfinite(level) and level >= 0):
                raise UsageError(f"noise {name}={level}: a level is finite and not negative")


NOISES = ("mismatch", "weight_mismatch", "thermal")


@dataclass(frozen=True)
class VirtualChip:
    """One chip of a population: its model, its noise, and which one it is."""

    model: ChipModel
    noise: NoiseModel
    chip_id: int
    seed: int = 0

    def realise(self, program: Program) -> Program:
        """The Program with this chip's own thresholds, decays and weights."""
        return replace(program, layers=tuple(self._realise_layer(layer) for layer in program.layers))

    def thermal(self, program: Program, trial: int = 0) -> ThermalNoise | None:
        """The noise on the inputs of the nominal `program`'s neurons, or None at level 0.

        It scales with the threshold that was meant, not with this chip's own.
        """
        if self.noise.thermal == 0:
            return None
        unit = 2**VOLTAGE_UNIT_BITS if program.fixed_point else 1
        deviations = {
            layer.name: self.noise.thermal * unit * float(np.mean(layer.neurons.threshold))
            for layer in program.layers
            if layer.fires
        }
        return ThermalNoise(deviations, self.chip_id, self.seed, trial, program.fixed_point)

    def _realise_layer(self, layer: Layer) -> Layer:
        synapses = layer.synapses
        if self.noise.weight_mismatch > 0:
            synapses = tuple(self._deviating_weights(layer.name, one) for one in synapses)
        if not layer.fires or self.noise.mismatch == 0:
            return replace(layer, synapses=synapses)
        threshold = self._deviating(layer, "threshold", self.noise.mismatch)
        decay = self._deviating(layer, "decay", self.noise.mismatch)
        neurons = layer.neurons
        if isinstance(neurons, FixedPointNeurons):
            kept = (DECAY_ONE - neurons.voltage_decay) * decay
            neurons = replace(
                neurons,
                threshold=frozen_ints(np.rint(np.maximum(neurons.threshold * threshold, 0)).astype(np.int64)),
                voltage_decay=frozen_ints(DECAY_ONE - np.rint(np.clip(kept, 0, DECAY_ONE)).astype(np.int64)),
            )
        else:
            neurons = replace(
                neurons,
                threshold=frozen_floats(np.maximum(neurons.threshold * threshold, 0)),
                decay=frozen_floats(np.clip(neurons.decay * decay, 0, 1)),
            )
        return replace(layer, synapses=synapses, neurons=neurons)

    def _deviating(self, layer: Layer, parameter: str, level: float) -> FloatArray:
        """1 + level * N(0, 1) for every neuron."""
        return 1 + level * self._draw(layer.shape, layer.name, parameter)

    def _deviating_weights(self, layer: str, synapses: Synapses) -> Synapses:
        limit = self.model.weight_max
        factor = 1 + self.noise.weight_mismatch * self._draw(
            synapses.weight.shape, layer, f"weight:{synapses.name}:{synapses.source}"
        )
        weight = np.clip(np.rint(synapses.weight * factor), -limit, limit).astype(np.int64)
        return replace(synapses, weight=frozen_ints(weight))

    def _draw(self, shape: Shape, layer: str, parameter: str) -> FloatArray:
        return frozen_normals(shape, self.seed, self.chip_id, layer, parameter)


@dataclass(frozen=True)
class ThermalNoise:
    """The thermal noise of one chip: fresh for every layer, step and sample, the same in every simulator.

    Attributes:
        deviations: firing layer -> standard deviation; voltage units (fixed point) or the Network's unit of potential.
        trial: repetitions of the same measurement on the same chip differ by it.
        whole: True where the noise is rounded to integers, as fixed-point neurons need.
    """

    deviations: Mapping[str, float]
    chip_id: int
    seed: int
    trial: int
    whole: bool

    def draw(self, layer: str, shape: Shape, step: int, first: int, count: int) -> FloatArray:
        """(count, *shape): the noise on the layer's input at step (from 0) for samples first … first + count - 1."""
        size = int(np.prod(shape))
        normals = step_normals(first, count, size, self.seed, self.chip_id, layer, "thermal", self.trial, step)
        noise = normals.astype(np.float64) * self.deviations[layer]
        return (np.rint(noise) if self.whole else noise).reshape(count, *shape)
