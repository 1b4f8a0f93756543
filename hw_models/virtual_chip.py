"""VirtualChip: one chip of a population, that is the Program it has and the noise with which it runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import hypot, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.hw_models.dynamic_noise import FLICKER_ROWS, DynamicNoise
from neurodeploy.hw_models.mismatch import ChipDraws, factor
from neurodeploy.hw_models.noise import NOMINAL_TEMPERATURE, NoiseModel
from neurodeploy.ir.arrays import FloatArray, frozen_floats, frozen_ints
from neurodeploy.ir.program import DECAY_ONE, STATE_LIMIT, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import Synapses

BOLTZMANN = 1.380649e-23  # J/K, exact in the SI
LOWEST_GAIN = 0.01
WEIGHT_BITS = 12  # to which analog weights are resolved where they deviate: far finer than they do
NEVER = STATE_LIMIT >> VOLTAGE_UNIT_BITS  # a threshold that no fixed-point potential exceeds


def realise_all(chips: Sequence[VirtualChip], program: Program) -> list[Program]:
    """`VirtualChip.realise` of several chips, on all cores where weights are drawn, which needs no interpreter."""
    if len(chips) < 2 or not any(one.noise.weight_mismatch or one.noise.dead_synapses for one in chips):
        return [chip.realise(program) for chip in chips]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda chip: chip.realise(program), chips))


@dataclass(frozen=True)
class VirtualChip:
    """One chip of a population: its model, its noise, and which one it is."""

    model: ChipModel
    noise: NoiseModel
    chip_id: int
    seed: int = 0

    def realise(self, program: Program) -> Program:
        """The Program with this chip's own thresholds, decays, biases and weights: what is exported as this chip.

        Raises:
            UsageError: where the noise names a layer that the program has not.
        """
        self.noise.check_layers(program)
        return replace(program, layers=tuple(self._realise_layer(layer) for layer in program.layers))

    def dynamic_noise(self, program: Program, trial: int = 0) -> DynamicNoise | None:
        """The noise with which the chip runs, or None where there is none.

        Args:
            program: the nominal one: noise scales with the threshold that was meant, not with this chip's own.
            trial: repetitions of the same measurement differ by it.

        Raises:
            UsageError: for a layer that the program has not, or kT/C noise on a chip without a capacitance.
        """
        noise = self.noise
        noise.check_layers(program)
        layers = [layer for layer in program.layers if layer.fires and noise.acts_on(layer.name)]
        last = program.layers[-1].name
        levels = {name: getattr(noise, name) for name in ("spike_loss", "spike_jitter", "background_spikes")}
        probabilities = {name: level for name, level in levels.items() if level > 0}
        made = DynamicNoise(
            {layer.name: found for layer in layers if (found := self._deviations(layer))},
            {layer.name: probabilities for layer in layers if probabilities},
            {layer.name: self._hit(layer, "stuck_neurons") for layer in layers if noise.stuck_neurons > 0},
            noise.readout if noise.acts_on(last) else 0.0,
            last,
            self.chip_id,
            self.seed,
            trial,
            program.fixed_point,
        )
        return made if made.deviations or made.probabilities or made.stuck or made.readout_level else None

    @property
    def _draws(self) -> ChipDraws:
        return ChipDraws(self.noise, self.seed, self.chip_id)

    def _deviations(self, layer: Layer) -> dict[str, float]:
        """Standard deviations of the noise on a firing layer's inputs, in the unit of its potential."""
        neurons, noise = layer.neurons, self.noise
        fixed_point = isinstance(neurons, FixedPointNeurons)
        unit, threshold = 2**VOLTAGE_UNIT_BITS if fixed_point else 1, float(np.mean(neurons.threshold))
        found = {}
        if noise.thermal > 0:
            found["thermal"] = noise.thermal * unit * threshold
        if noise.ktc > 0:
            if self.model.capacitance is None or self.model.threshold_volts is None:
                raise UsageError(
                    f"noise ktc: chip {self.model.name} gives no capacitance and threshold_volts; use thermal, "
                    "or a chip that has them, as mixed-signal"
                )
            kelvin = NOMINAL_TEMPERATURE + self._kelvin
            retention = float(np.mean(_retention(layer)))
            volts = sqrt(BOLTZMANN * kelvin / self.model.capacitance * (1 - retention**2))
            if volts > 0:
                found["ktc"] = noise.ktc * volts / self.model.threshold_volts * unit * threshold
        if noise.flicker > 0:
            found["flicker"] = noise.flicker * unit * threshold / sqrt(FLICKER_ROWS)
        return found

    @property
    def _kelvin(self) -> float:
        """Distance from nominal temperature, with its sign."""
        return self.noise.temperature if self.noise.temperature_direction == "hotter" else -self.noise.temperature

    def _hit(self, layer: Layer, fault: str) -> NDArray[np.bool_]:
        """The neurons that have a fault."""
        return np.asarray(self._draws.uniforms(layer.shape, layer.name, fault) < getattr(self.noise, fault))

    def _realise_layer(self, layer: Layer) -> Layer:
        if not self.noise.acts_on(layer.name):
            return layer
        finer = self._grid(layer)
        synapses = tuple(self._realise_weights(layer, one, finer) for one in layer.synapses)
        layer = replace(layer, synapses=synapses, scale=layer.scale / finer)
        if not layer.fires:
            return layer
        gain = self._gain(layer)
        threshold, kept, bias = self._threshold(layer, gain), self._kept(layer), self._bias_factor(layer, gain)
        if threshold is None and kept is None and bias is None:
            return layer
        neurons = layer.neurons
        if isinstance(neurons, FixedPointNeurons):
            return replace(layer, neurons=self._fixed_point(neurons, threshold, kept, bias))
        if threshold is not None:
            neurons = replace(neurons, threshold=frozen_floats(threshold))
        if kept is not None:
            neurons = replace(neurons, decay=frozen_floats(kept))
        if bias is not None:
            neurons = replace(neurons, bias=frozen_floats(neurons.bias * bias))
        return replace(layer, neurons=neurons)

    def _fixed_point(
        self, neurons: FixedPointNeurons, threshold: FloatArray | None, kept: FloatArray | None, bias: FloatArray | None
    ) -> FixedPointNeurons:
        """Neurons with other thresholds, retentions (of 4096) and biases, rounded as the chip stores them."""
        if threshold is not None:
            rounded = np.rint(np.where(np.isinf(threshold), NEVER, threshold))
            neurons = replace(neurons, threshold=frozen_ints(rounded.astype(np.int64)))
        if kept is not None:
            decay = DECAY_ONE - np.rint(kept).astype(np.int64)
            most = self.model.voltage_decay_max
            neurons = replace(neurons, voltage_decay=frozen_ints(decay if most is None else np.minimum(decay, most)))
        if bias is not None:
            mantissa, limit = np.rint(neurons.bias_mantissa * bias), self.model.bias_mantissa_max
            mantissa = mantissa if limit is None else np.clip(mantissa, -limit, limit)
            neurons = replace(neurons, bias_mantissa=frozen_ints(mantissa.astype(np.int64)))
        return neurons

    def _threshold(self, layer: Layer, gain: FloatArray | None) -> FloatArray | None:
        """The chip's thresholds, infinite where a neuron is dead; None where they are the nominal ones."""
        factors = self._threshold_factors(layer) + ([] if gain is None else [1 / gain])
        if not factors and self.noise.dead_neurons == 0:
            return None
        threshold = np.asarray(layer.neurons.threshold, dtype=np.float64)
        for one in factors:
            threshold = np.asarray(threshold * np.maximum(one, 0))
        if self.noise.dead_neurons > 0:
            threshold = np.where(self._hit(layer, "dead_neurons"), np.inf, threshold)
        return threshold

    def _kept(self, layer: Layer) -> FloatArray | None:
        """What the chip's neurons keep of their potential per step, of 4096 (fixed point) or of 1; None if nominal."""
        decay_factors, tau_factors = self._decay_factors(layer)
        if not decay_factors and not tau_factors:
            return None
        whole = DECAY_ONE if isinstance(layer.neurons, FixedPointNeurons) else 1
        kept = _retention(layer) * whole  # exact: 4096 is a power of two
        for one in decay_factors:
            kept = np.asarray(kept * np.maximum(one, 0))
        kept = np.clip(kept, 0, whole)
        for one in tau_factors:
            with np.errstate(divide="ignore"):  # a time constant of 0 forgets everything
                kept = np.asarray(whole * (kept / whole) ** (1 / np.maximum(one, 0)))
        return kept

    def _bias_factor(self, layer: Layer, gain: FloatArray | None) -> FloatArray | None:
        """The chip's biases relative to nominal, or None."""
        found = None if gain is None else np.asarray(1 / gain)
        if self.noise.bias_mismatch > 0:
            normals = self._draws.neurons(layer.shape, layer.name, "bias")
            own = factor(self.noise, self.noise.bias_mismatch, normals)
            found = own if found is None else np.asarray(own * found)
        return found

    def _threshold_factors(self, layer: Layer) -> list[FloatArray]:
        noise, draws, shape, name = self.noise, self._draws, layer.shape, layer.name
        found: list[FloatArray] = []
        level = hypot(noise.mismatch, noise.threshold_mismatch)
        if level > 0:
            found.append(factor(noise, level, draws.neurons(shape, name, "threshold")))
        if noise.core_mismatch > 0:
            found.append(factor(noise, noise.core_mismatch, draws.cores(shape, name, "core_threshold")))
        if noise.temperature > 0:
            found.append(self._thermal_factor(layer, noise.temperature_threshold, "temperature_threshold"))
        if noise.supply > 0:
            found.append(np.asarray(1 + noise.supply * draws.chip("supply")))
        if noise.drift * noise.age > 0:
            slope = (draws.chip("drift_chip") + draws.each(shape, name, "drift")) / sqrt(2)
            found.append(1 + noise.drift * noise.age * slope)
        return found

    def _decay_factors(self, layer: Layer) -> tuple[list[FloatArray], list[FloatArray]]:
        """(factors of the decay, factors of its time constant)."""
        noise, draws, shape, name = self.noise, self._draws, layer.shape, layer.name
        deviating: list[FloatArray] = []
        level = hypot(noise.mismatch, noise.decay_mismatch)
        if level > 0:
            deviating.append(factor(noise, level, draws.neurons(shape, name, "decay")))
        if noise.core_mismatch > 0:
            deviating.append(factor(noise, noise.core_mismatch, draws.cores(shape, name, "core_decay")))
        warm = [self._thermal_factor(layer, noise.temperature_tau, "temperature_tau")] if noise.temperature > 0 else []
        return ([], deviating + warm) if noise.decay_as == "tau" else (deviating, warm)

    def _thermal_factor(self, layer: Layer, coefficient: float, parameter: str) -> FloatArray:
        normals = self._draws.each(layer.shape, layer.name, parameter)
        return 1 + coefficient * self._kelvin * (1 + self.noise.temperature_spread * normals)

    def _gain(self, layer: Layer) -> FloatArray | None:
        noise, draws, shape, name = self.noise, self._draws, layer.shape, layer.name
        gain = None
        if noise.gain_mismatch > 0:
            gain = np.maximum(factor(noise, noise.gain_mismatch, draws.neurons(shape, name, "gain")), LOWEST_GAIN)
        if noise.core_gain_mismatch > 0:
            own = factor(noise, noise.core_gain_mismatch, draws.cores(shape, name, "core_gain"))
            own = np.maximum(own, LOWEST_GAIN)
            gain = own if gain is None else gain * own
        return gain

    def _grid(self, layer: Layer) -> int:
        """How much finer than its codes an analog chip's weights must be, so that few bits do not hide what differs."""
        if self.noise.weight_mismatch == 0 or isinstance(layer.neurons, FixedPointNeurons):
            return 1
        return int(2 ** max(0, WEIGHT_BITS - self.model.weight_bits))

    def _realise_weights(self, layer: Layer, synapses: Synapses, finer: int) -> Synapses:
        """The synapses with this chip's weights, in units `finer` times as small."""
        noise, draws, shape, name = self.noise, self._draws, synapses.weight.shape, layer.name
        own = f"{synapses.name}:{synapses.source}"
        if not (noise.quantization or noise.weight_mismatch or noise.dead_synapses or noise.stuck_synapses):
            return synapses
        largest = float(np.abs(synapses.weight).max())
        weight: NDArray[Any] = synapses.weight
        if noise.quantization > 0 and largest > 0:
            step = noise.quantization * largest
            weight = np.rint(weight / step) * step
        if noise.weight_mismatch > 0:
            weight = weight * factor(noise, noise.weight_mismatch, draws.each(shape, name, f"weight:{own}"))
        if noise.stuck_synapses > 0:
            stuck = draws.uniforms(shape, name, f"stuck:{own}") < noise.stuck_synapses
            weight = np.where(stuck, np.where(synapses.weight < 0, -largest, largest), weight)
        if noise.dead_synapses > 0:
            weight = np.where(draws.uniforms(shape, name, f"dead:{own}") < noise.dead_synapses, 0, weight)
        limit = self.model.weight_max * finer
        weight = np.clip(np.rint(weight * finer), -limit, limit)
        return replace(synapses, weight=frozen_ints(weight.astype(np.int64)))


def _retention(layer: Layer) -> FloatArray:
    """What neurons keep of their potential per step, of 1."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        return np.asarray(1 - neurons.voltage_decay / DECAY_ONE)
    return neurons.decay
