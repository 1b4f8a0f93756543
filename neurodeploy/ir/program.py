"""Program: the numbers that a chip stores, and what they compute.

Weights are integers in every Program. The neurons are of one of two kinds: fixed-point (Loihi 2) or floating-point
(mixed-signal and ideal chips), and every layer of a Program has the same kind. `neurodeploy.simulate.reference` is the
executable meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray, IntArray, Shape, check_integers, frozen_floats, frozen_ints
from neurodeploy.ir.nodes import RESETS, Input, Reset
from neurodeploy.ir.synapses import DenseSynapses, Synapses, largest_sum

INPUT = "input"
VOLTAGE_UNIT_BITS = 6  # a weight unit is 64 voltage units, and so is a threshold unit (Lava LIF, fixed point)
DECAY_ONE = 4096  # a decay of 4096 forgets everything, 0 keeps everything
STATE_LIMIT = 2**23  # current and voltage registers hold 24 bits with sign
THRESHOLD_MAX = 2**17 - 1  # what a fixed-point neuron's registers hold (lava-nc 0.10.0, lava/proc/lif/models.py)
BIAS_MANTISSA = (-(2**12), 2**12 - 1)
# What every simulator computes exactly, in whatever order and in double precision: sums below 2^53, and currents below
# 2^41, which a decay multiplies by up to 4096. The widest register that is known, Lava's of 32 bits, is far below.
SUM_LIMIT = 2**53
CURRENT_LIMIT = 2**41

ReadoutKind = Literal["membrane", "spike_count"]


@dataclass(frozen=True, eq=False)
class FixedPointNeurons:
    """Loihi 2's leaky integrate-and-fire neuron as lava-nc 0.10.0 computes it (`Loihi2SimCfg(select_tag="fixed_pt")`).

    For the summed weights a[t], with u[0] = v[0] = 0:

        c[t] = trunc(u[t-1] * (4096 - current_decay) / 4096) + (a[t] << 6)
        u[t] = c[t], less 2^24 where above 2^23, plus 2^24 where at or below -2^23
        w[t] = trunc(v[t-1] * (4096 - voltage_decay) / 4096) + u[t] + (bias_mantissa << bias_exponent)
        v[t] = clip(w[t], ±(2^23 - 1))
        o[t] = 1 if v[t] > threshold << 6;   v[t] = 0 where it fired, u[t] stays

    A refractory time is not among the rules: lava-nc 0.10.0 has one in floating point only (`LIFRefractory`), and names
    it as missing from its fixed-point neuron (lava/proc/lif/models.py, `PyLifModelBitAcc`).

    Attributes:
        voltage_decay: integers in [0, 4096]; a scalar array or one per neuron.
        threshold: integers, weight units; a scalar array or one per neuron.
        bias_mantissa: integers, shape of the layer.
        bias_exponent: integer in [0, 7].
        current_decay: integers in [0, 4096]; a scalar array or one per neuron. 4096 is a current without memory. It is
            what lava-dl's netx calls iDecay, and 1 more than du of Lava's LIF, which has a hidden offset of 1.
    """

    voltage_decay: IntArray
    threshold: IntArray
    bias_mantissa: IntArray
    bias_exponent: int
    current_decay: IntArray = field(default_factory=lambda: frozen_ints(DECAY_ONE))

    def __post_init__(self) -> None:
        for name in ("voltage_decay", "threshold", "bias_mantissa", "current_decay"):
            object.__setattr__(self, name, frozen_ints(getattr(self, name)))
        for name in ("voltage_decay", "current_decay"):
            values = getattr(self, name)
            if values.min() < 0 or values.max() > DECAY_ONE:
                raise UsageError(f"{name.replace('_', ' ')} outside [0, {DECAY_ONE}]")
        if self.threshold.min() < 0:
            raise UsageError(f"threshold {self.threshold.min()}: must not be negative")
        if not 0 <= self.bias_exponent <= 7:
            raise UsageError(f"bias exponent {self.bias_exponent}: allowed are 0 to 7")

    @property
    def bias(self) -> IntArray:
        """Bias per step in voltage units."""
        return self.bias_mantissa << np.int64(self.bias_exponent)


@dataclass(frozen=True, eq=False)
class FloatNeurons:
    """The neurons of `neurodeploy.ir.nodes.CubaLIF` in double precision, rounded in this order:

        x[t] = scale * a[t]
        i[t] = current_decay * i[t-1] + x[t]
        u[t] = decay * u[t-1] + ((i[t] + bias) + noise[t])

    then spike and reset as in `neurodeploy.ir.nodes.LIF`. `scale` (of the layer) is a power of two and a[t] an integer
    sum, so that x[t] does not depend on the order of summation: any simulator that adds in double precision gets the
    same bits.

    Attributes:
        decay: fractions in [0, 1]; a scalar array or one per neuron.
        threshold: a scalar array or one per neuron.
        bias: shape of the layer.
        current_decay: fraction of the current that is kept, in [0, 1]; a scalar array or one per neuron. 0 is a current
            without memory.
    """

    decay: FloatArray
    threshold: FloatArray
    bias: FloatArray
    reset: Reset = "zero"
    fires_at_threshold: bool = False
    current_decay: FloatArray = field(default_factory=lambda: frozen_floats(0.0))

    def __post_init__(self) -> None:
        for name in ("decay", "threshold", "bias", "current_decay"):
            array = frozen_floats(getattr(self, name))
            if np.isnan(array).any():
                raise UsageError(f"{name} is not a number")
            object.__setattr__(self, name, array)
        for name in ("decay", "current_decay"):
            values = getattr(self, name)
            if values.min() < 0 or values.max() > 1:
                raise UsageError(f"{name.replace('_', ' ')} outside [0, 1]")
        if self.threshold.min() < 0:
            raise UsageError(f"threshold {self.threshold.min()}: must not be negative")
        if self.reset not in RESETS:
            raise UsageError(f"reset {self.reset!r}: allowed are {', '.join(RESETS)}")


Neurons = FixedPointNeurons | FloatNeurons


@dataclass(frozen=True, eq=False)
class Layer:
    """Neurons and the synapses that feed them.

    Attributes:
        shape: of the neurons, (C, H, W) or (n,).
        scale: the Network's unit of potential per weight unit.
        fires: False for a membrane readout, which only integrates.
    """

    name: str
    shape: Shape
    synapses: tuple[Synapses, ...]
    neurons: Neurons
    scale: float
    fires: bool = True

    def __post_init__(self) -> None:
        if self.name == INPUT or not self.synapses:
            raise UsageError(f"layer {self.name}: the name 'input' is taken, and at least one synapse is needed")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise UsageError(f"layer {self.name}: scale {self.scale} must be finite and positive")
        for synapses in self.synapses:
            check_integers(synapses.weight)
        for name in ("voltage_decay", "threshold", "bias_mantissa", "decay", "bias", "current_decay"):
            values = getattr(self.neurons, name, None)
            if values is not None and values.shape not in ((), self.shape):
                raise UsageError(f"layer {self.name}: {name} of shape {values.shape} for neurons of shape {self.shape}")


@dataclass(frozen=True, eq=False)
class Program:
    """What a chip runs: layers in an order in which each comes after its sources.

    Integers that no simulator could compute exactly are refused (`SUM_LIMIT`, `CURRENT_LIMIT` of fixed-point neurons).

    Attributes:
        chip: the name of the chip model that it was made for.
        steps: number of time steps T.
        input: shape, scale and bits of the integers that come in.
        readout: "membrane" (sum of the last layer's potential over time) or "spike_count" (sum of its spikes).
        shapes: name -> shape of every source, the input included.
    """

    chip: str
    steps: int
    input: Input
    layers: tuple[Layer, ...]
    readout: ReadoutKind
    shapes: Mapping[str, Shape] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a program has at least one layer")
        if self.steps < 1:
            raise UsageError(f"steps {self.steps}: must be at least 1")
        if self.readout not in ("membrane", "spike_count"):
            raise UsageError(f"readout {self.readout!r}: allowed are membrane and spike_count")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise UsageError(f"layer names must differ: {names}")
        shapes = {INPUT: self.input.shape} | {layer.name: layer.shape for layer in self.layers}
        object.__setattr__(self, "shapes", MappingProxyType(shapes))
        seen = {INPUT}
        kinds = {type(layer.neurons) for layer in self.layers}
        if len(kinds) != 1:
            raise UsageError("all layers of a program have the same kind of neurons")
        for layer in self.layers:
            _check_synapses(layer, seen, self.shapes)
            seen.add(layer.name)
        if any(not layer.fires for layer in self.layers[:-1]) or self.layers[-1].fires != (
            self.readout == "spike_count"
        ):
            raise UsageError("only the last layer of a membrane readout does not fire")
        for layer in self.layers:
            (_check_reach if self.fixed_point else _check_sums)(layer, self)
        silent = {layer.name for layer in self.layers if not layer.fires}
        for layer in self.layers:
            if any(synapses.source in silent for synapses in layer.synapses):
                raise UsageError(f"layer {layer.name}: a readout that does not fire feeds nothing")

    @property
    def fixed_point(self) -> bool:
        """True where the neurons are fixed-point."""
        return isinstance(self.layers[0].neurons, FixedPointNeurons)


def _check_reach(layer: Layer, program: Program) -> None:
    """Raises UsageError where a layer's integers may leave what is computed exactly, whatever the input."""
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)
    for what, values in (("threshold", neurons.threshold), ("bias", neurons.bias_mantissa)):
        found = max(-int(values.min()), int(values.max()))
        if found >= CURRENT_LIMIT >> 7:
            raise UsageError(f"layer {layer.name}: {what} of {found}; allowed are less than 2^34")
    arriving = 0.0
    for one in layer.synapses:
        highest = 2**program.input.bits - 1 if one.source == INPUT else 1
        largest = max(-int(one.weight.min()), int(one.weight.max()))
        reach = float(largest) * int(np.prod(one.weight.shape[1:])) * highest * one.pool**2
        if reach >= SUM_LIMIT:
            raise _too_large(layer, one, reach)
        # Lava's convolutions wrap their sums; dense ones are shifted by their exponent.
        arriving += reach * 2.0**one.weight_exponent if isinstance(one, DenseSynapses) else min(reach, STATE_LIMIT)
    kept = bool((neurons.current_decay < DECAY_ONE).any())
    current = arriving * 2**VOLTAGE_UNIT_BITS * (min(program.steps, CURRENT_LIMIT) if kept else 1)
    if current >= CURRENT_LIMIT:
        raise UsageError(
            f"layer {layer.name}: its current may reach {current:.3g} voltage units; allowed are currents below 2^41 "
            "(the register wraps at 2^23): use smaller weights or fewer steps"
        )


def _check_sums(layer: Layer, program: Program) -> None:
    """Raises UsageError where sums may be rounded in double precision, so that they depend on the order of adding."""
    for one in layer.synapses:
        reach = largest_sum(one, 2**program.input.bits - 1 if one.source == INPUT else 1)
        if reach >= SUM_LIMIT:
            raise _too_large(layer, one, reach)


def _too_large(layer: Layer, synapses: Synapses, reach: float) -> UsageError:
    largest = max(-int(synapses.weight.min()), int(synapses.weight.max()))
    return UsageError(
        f"layer {layer.name}: sums of synapses {synapses.name} may reach {reach:.3g}, with weights of up to {largest}; "
        "allowed are sums below 2^53: use smaller weights"
    )


def _check_synapses(layer: Layer, before: set[str], shapes: Mapping[str, Shape]) -> None:
    for synapses in layer.synapses:
        if synapses.source not in shapes:
            raise UsageError(f"layer {layer.name}: synapses {synapses.name} come from an unknown {synapses.source!r}")
        if synapses.delay == 0 and synapses.source not in before:
            raise UsageError(f"layer {layer.name}: {synapses.source} must come before it, or be delayed by one step")
        exponent = synapses.weight_exponent if isinstance(synapses, DenseSynapses) else 0
        if exponent and not isinstance(layer.neurons, FixedPointNeurons):
            raise UsageError(
                f"layer {layer.name}: synapses {synapses.name} have weight exponent {exponent}; floating-point neurons "
                "have a scale instead, the exponent must be 0"
            )
        shape = synapses.output_shape(shapes[synapses.source])
        if shape != layer.shape:
            raise UsageError(f"layer {layer.name}: synapses {synapses.name} bring {shape}, the layer is {layer.shape}")
