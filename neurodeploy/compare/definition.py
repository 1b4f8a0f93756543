"""What a layer computes, as one side of a comparison defines it: Networks and Programs in one form.

Everything is in double precision. The integers of a fixed-point chip stay below 2^53, so that they are exact in it; a
Program in this form computes the same bits as `neurodeploy.simulate.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray, Shape, frozen_floats
from neurodeploy.ir.lower import LoweredLayer, LoweredNetwork, lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import CubaLIF, Input, MembraneReadout
from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    STATE_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    Layer,
    Program,
)
from neurodeploy.ir.synapses import Synapses

Rounding = Literal["none", "truncate", "floor"]
ResetRule = Literal["zero", "subtract", "none"]
_UNIT = 2**VOLTAGE_UNIT_BITS


@dataclass(frozen=True, eq=False)
class LayerDefinition:
    """One layer's equations, in potential units of its own:

        a[t] = Σ_synapses weight · x[t - delay]              each convolution wrapped at ±wraps_sums
        u[t] = round(current_decay * u[t-1]) + gain * a[t]   wrapped once at ±wraps
        v[t] = round(decay * v[t-1]) + (u[t] + bias)         clipped to ±saturates
        o[t] = 1 if v[t] > threshold                         or >= where `fires_at_threshold`; then v[t] is reset

    Attributes:
        synapses: with weights in double precision, times the input's scale where they come from the input of a Network.
        gain: potential units per weight unit.
        unit: the Network's unit of potential per potential unit of this layer.
        lsb: the smallest step of the chip in the Network's unit of potential: a voltage unit of a fixed-point chip, a
            weight unit of a floating-point one; None where nothing is stored in integers.
        bias, decay, current_decay, threshold: scalars or one per neuron; decays are the fractions that are kept.
        rounds: what happens to a decayed state that is no multiple of `grid`; unless it is "none", sums of weights with
            a negative exponent are rounded down to multiples of `sum_grid` (weight units).
        wraps, saturates: limits of the registers of u and v; None where they have none.
        wraps_sums: limit of a convolution's sums in weight units, or None.
    """

    name: str
    shape: Shape
    fires: bool
    synapses: tuple[Synapses, ...]
    gain: float
    unit: float
    lsb: float | None
    bias: FloatArray
    decay: FloatArray
    current_decay: FloatArray
    threshold: FloatArray
    fires_at_threshold: bool = False
    reset: ResetRule = "zero"
    rounds: Rounding = "none"
    grid: float = 1.0
    sum_grid: float = 1.0
    wraps: float | None = None
    wraps_sums: float | None = None
    saturates: float | None = None


@dataclass(frozen=True, eq=False)
class Definition:
    """All layers of a Network or a Program, each after its sources.

    Attributes:
        stored: True for a Program, whose numbers are those that a chip stores.
    """

    input: Input
    steps: int
    layers: tuple[LayerDefinition, ...]
    stored: bool

    def layer(self, name: str) -> LayerDefinition:
        """The layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)

    def shape(self, source: str) -> Shape:
        """The shape of a layer or of the input."""
        return self.input.shape if source == INPUT else self.layer(source).shape


def define_network(network: Network) -> Definition:
    """A Network's definition in its own unit of potential; raises UsageError as `lower` does."""
    lowered = lower(network)
    several = [one.name for one in lowered.layers if isinstance(one.neuron, CubaLIF) and one.neuron.most_spikes > 1]
    if several:
        raise UsageError(
            f"layers {', '.join(several)}: fire several times in a step, which only Xylo does: `neurodeploy "
            "inspect --target xylo`, and `neurodeploy run` on its artifact"
        )
    layers = tuple(_from_network(lowered, layer) for layer in lowered.layers)
    return Definition(lowered.input, lowered.steps, layers, stored=False)


def define_program(program: Program) -> Definition:
    """A Program's definition: voltage units of a fixed-point chip, else the Network's unit of potential."""
    return Definition(
        program.input, program.steps, tuple(_from_program(layer) for layer in program.layers), stored=True
    )


def _from_network(lowered: LoweredNetwork, layer: LoweredLayer) -> LayerDefinition:
    neuron = layer.neuron
    fires = not isinstance(neuron, MembraneReadout)
    synapses = tuple(_in_double(one, lowered.input.scale if one.source == INPUT else 1.0) for one in layer.synapses)
    return LayerDefinition(
        layer.name,
        layer.shape,
        fires,
        synapses,
        gain=1.0,
        unit=1.0,
        lsb=None,
        bias=layer.bias,
        decay=frozen_floats(neuron.decay),
        current_decay=frozen_floats(neuron.current_decay if isinstance(neuron, CubaLIF) else 0.0),
        threshold=frozen_floats(np.inf if isinstance(neuron, MembraneReadout) else neuron.threshold),
        fires_at_threshold=False if isinstance(neuron, MembraneReadout) else neuron.fires_at_threshold,
        reset="zero" if isinstance(neuron, MembraneReadout) else neuron.reset,
    )


def _from_program(layer: Layer) -> LayerDefinition:
    neurons = layer.neurons
    synapses = tuple(_in_double(one, 1.0) for one in layer.synapses)
    if isinstance(neurons, FixedPointNeurons):
        return LayerDefinition(
            layer.name,
            layer.shape,
            layer.fires,
            synapses,
            gain=float(_UNIT),
            unit=layer.scale / _UNIT,
            lsb=layer.scale / _UNIT,
            bias=frozen_floats(neurons.bias),
            decay=frozen_floats((DECAY_ONE - neurons.voltage_decay) / DECAY_ONE),
            current_decay=frozen_floats((DECAY_ONE - neurons.current_decay) / DECAY_ONE),
            threshold=frozen_floats(neurons.threshold * _UNIT if layer.fires else np.inf),
            rounds="truncate",
            wraps=float(STATE_LIMIT),
            wraps_sums=float(STATE_LIMIT),
            saturates=float(STATE_LIMIT - 1),
        )
    return LayerDefinition(
        layer.name,
        layer.shape,
        layer.fires,
        synapses,
        gain=layer.scale,
        unit=1.0,
        lsb=layer.scale,
        bias=neurons.bias,
        decay=neurons.decay,
        current_decay=neurons.current_decay,
        threshold=neurons.threshold if layer.fires else frozen_floats(np.inf),
        fires_at_threshold=neurons.fires_at_threshold,
        reset=neurons.reset,
    )


def _in_double(synapses: Synapses, factor: float) -> Synapses:
    return replace(synapses, weight=frozen_floats(synapses.weight * factor))


# --- one step -----------------------------------------------------------------------------------------------------


class State(NamedTuple):
    """What neurons remember, each of their shape: the current u, and the potential v after the reset."""

    current: FloatArray
    potential: FloatArray


class Step(NamedTuple):
    """What one step computes, in its order.

    Attributes:
        summed: the current before it wraps.
        current: u[t].
        integrated: the potential before it saturates.
        potential: v[t] before the reset.
        kept: v[t] after it.
        fired: o[t], True or False.
    """

    summed: FloatArray
    current: FloatArray
    integrated: FloatArray
    potential: FloatArray
    kept: FloatArray
    fired: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    @property
    def state(self) -> State:
        """What the next step goes on from."""
        return State(self.current, self.kept)


def step(layer: LayerDefinition, state: State, arriving: FloatArray) -> Step:
    """One step of a layer's neurons, or of some of them; `arriving` is a[t], of the neurons' shape."""
    summed = _rounded(layer, layer.current_decay * state.current) + layer.gain * arriving
    current = summed if layer.wraps is None else _wrapped_once(summed, layer.wraps)
    integrated = _rounded(layer, layer.decay * state.potential) + (current + layer.bias)
    potential = integrated if layer.saturates is None else np.clip(integrated, -layer.saturates, layer.saturates)
    if not layer.fires:
        return Step(summed, current, integrated, potential, potential, np.zeros(potential.shape, dtype=bool))
    fired = potential >= layer.threshold if layer.fires_at_threshold else potential > layer.threshold
    kept = potential
    if layer.reset != "none":
        kept = np.where(fired, potential - layer.threshold if layer.reset == "subtract" else 0.0, potential)
    return Step(summed, current, integrated, potential, kept, fired)


def wrapped_sums(layer: LayerDefinition, values: FloatArray) -> FloatArray:
    """The sums of a convolution in its register: for 24 bits, their two's complement."""
    limit = layer.wraps_sums
    return values if limit is None else np.asarray((values + limit) % (2 * limit) - limit)


def shifted(layer: LayerDefinition, sums: FloatArray, exponent: int) -> FloatArray:
    """Sums << exponent; where it is negative to the right, rounded down unless the layer rounds nothing."""
    moved = sums * 2.0**exponent
    if exponent >= 0 or layer.rounds == "none":
        return moved
    return np.asarray(np.floor(moved / layer.sum_grid) * layer.sum_grid)


def _wrapped_once(values: FloatArray, limit: float) -> FloatArray:
    """Less twice the limit where above it, plus that where at or below its negative."""
    down = np.where(values > limit, values - 2 * limit, values)
    return np.asarray(np.where(values <= -limit, values + 2 * limit, down))


def _rounded(layer: LayerDefinition, values: FloatArray) -> FloatArray:
    if layer.rounds == "none":
        return values
    to_whole = np.trunc if layer.rounds == "truncate" else np.floor
    return np.asarray(to_whole(values / layer.grid) * layer.grid)
