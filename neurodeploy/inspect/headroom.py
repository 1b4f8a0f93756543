"""How far current and voltage registers are from wrapping and from saturating.

In voltage units (a weight unit is 64): the current wraps where it exceeds 2^23 or reaches -2^23, the voltage saturates
at ±(2^23 - 1). In the worst case the extreme weighted sum a of all synapses arrives at every step. With the retentions
r_u, r_v of current and voltage, for t = 1 … T:

    current   u[t] = r_u * u[t-1] + 64 * a
    voltage   v[t] = r_v * v[t-1] + u[t] + bias; where the layer fires, at most 64 * threshold * r_v + u[t] + bias

because a neuron above its threshold is reset. A current that wraps may bring anything up to 2^23, however negative it
was: the voltage of a readout is then bounded by its register alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from neurodeploy.inspect.finding import Finding, Rule
from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    STATE_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    Layer,
    Program,
)
from neurodeploy.ir.synapses import ConvSynapses, Synapses, extreme_sums

if TYPE_CHECKING:
    from neurodeploy.inspect.observed import Observed

Span = tuple[float, float]
_UNIT = 2**VOLTAGE_UNIT_BITS
_INT32_MAX = 2**31 - 1
_INT8 = (-(2**7), 2**7 - 1)
_LIF = "lava-nc 0.10.0, lava/proc/lif/models.py (PyLifModelBitAcc)"

WRAP = Rule(
    "L2-CURRENT-WRAP",
    "largest current in the worst case, voltage units",
    "warning",
    f"{_LIF}: the current wraps once at 24 bits",
    "use smaller weights or fewer input bits; the headroom on data says how near it comes",
)
WRAP_ON_DATA = Rule(
    "L2-CURRENT-WRAP-DATA",
    "neuron-steps on data at which the current wraps",
    "violation",
    f"{_LIF}: the current wraps once at 24 bits",
    "use smaller weights or fewer input bits: a strong input turns into its opposite",
)
SATURATION = Rule(
    "L2-VOLTAGE-SATURATES",
    "largest voltage in the worst case, voltage units",
    "note",
    f"{_LIF}: the voltage is clipped at ±(2^23 - 1)",
    "nothing, unless it happens on data",
)
SATURATION_ON_DATA = Rule(
    "L2-VOLTAGE-SATURATES-DATA",
    "neuron-steps on data at which the voltage is clipped",
    "warning",
    f"{_LIF}: the voltage is clipped at ±(2^23 - 1)",
    "use smaller weights, or a faster decay",
)
READOUT = Rule(
    "L2-READOUT-FIRES",
    "largest voltage of the readout, voltage units",
    "violation",
    f"{_LIF}: every neuron fires above its threshold, which has 17 bits; a readout that fires is reset",
    "use smaller weights",
    topic="readout's voltage",
)
SUM_INT32 = Rule(
    "L2-SUM-INT32",
    "largest weighted sum of one connection in Lava's terms",
    "violation",
    "lava-nc 0.10.0, lava/proc/dense/models.py and lava/proc/conv/models.py: 32-bit integers; a Dense gets its weights "
    "doubled",
    "use smaller weights or fewer inputs",
    topic="weighted sums",
)
CURRENT_INT32 = Rule(
    "L2-CURRENT-INT32",
    "largest current of one step, voltage units",
    "violation",
    f"{_LIF}: 32-bit integers",
    "use smaller weights or fewer inputs",
    topic="current may reach",
)
RULES = (WRAP, WRAP_ON_DATA, SATURATION, SATURATION_ON_DATA, READOUT, SUM_INT32, CURRENT_INT32)


@dataclass(frozen=True)
class Reach:
    """(smallest, largest) current and voltage, in voltage units, before they wrap and saturate."""

    current: Span
    voltage: Span


@dataclass(frozen=True)
class Headroom:
    """One layer's distance from its registers' ends, bits: log2(limit / largest magnitude); below 0 it is passed.

    None where nothing arrives, or where nothing was measured.
    """

    layer: str
    current_worst: float
    current_worst_bits: float | None
    current_measured: float | None
    current_measured_bits: float | None
    voltage_worst: float
    voltage_worst_bits: float | None
    voltage_measured: float | None
    voltage_measured_bits: float | None


def worst_case(layer: Layer, program: Program) -> Reach:
    """What no input can exceed in a fixed-point layer."""
    neurons = _fixed(layer)
    sums = _sums(layer, program)
    kept = [float(DECAY_ONE - decay.min()) / DECAY_ONE for decay in (neurons.current_decay, neurons.voltage_decay)]
    bias = (min(float(neurons.bias.min()), 0.0), max(float(neurons.bias.max()), 0.0))
    current, voltage = [0.0, 0.0], [0.0, 0.0]
    for _ in range(program.steps):
        for side in (0, 1):
            current[side] = kept[0] * current[side] + _UNIT * sum(one[side] for one in sums)
            voltage[side] = kept[1] * voltage[side] + current[side] + bias[side]
    if layer.fires:
        voltage[1] = min(voltage[1], float(neurons.threshold.max()) * _UNIT * kept[1] + current[1] + bias[1])
    return Reach((current[0], current[1]), (voltage[0], voltage[1]))


def wraps_beyond(current: Span) -> bool:
    """Whether a current in this span may wrap."""
    return current[1] > STATE_LIMIT or current[0] <= -STATE_LIMIT


def highest_readout(layer: Layer, program: Program) -> float:
    """What no input can lift a membrane readout's voltage above, voltage units."""
    worst = worst_case(layer, program)
    return max(worst.voltage[1], STATE_LIMIT - 1) if wraps_beyond(worst.current) else worst.voltage[1]


def headroom(program: Program, observed: Mapping[str, Observed]) -> list[Headroom]:
    """One row per layer of a fixed-point program; no rows for floating-point neurons, which have no such registers."""
    rows = []
    for layer in program.layers if program.fixed_point else ():
        worst, seen = worst_case(layer, program), observed.get(layer.name)
        measured = seen.reach if seen else None
        current, voltage = _largest(worst.current), _largest(worst.voltage)
        on_data = (None, None) if measured is None else (_largest(measured.current), _largest(measured.voltage))
        rows.append(
            Headroom(
                layer.name,
                current,
                _bits(current, STATE_LIMIT),
                on_data[0],
                _bits(on_data[0], STATE_LIMIT),
                voltage,
                _bits(voltage, STATE_LIMIT - 1),
                on_data[1],
                _bits(on_data[1], STATE_LIMIT - 1),
            )
        )
    return rows


def headroom_findings(program: Program, observed: Mapping[str, Observed]) -> list[Finding]:
    """Registers that may overflow, and those that do on data."""
    found = []
    for layer in program.layers if program.fixed_point else ():
        worst, seen = worst_case(layer, program), observed.get(layer.name)
        if wraps_beyond(worst.current):
            found.append(WRAP.at(layer.name, _largest(worst.current), STATE_LIMIT))
        if seen is not None and seen.wraps:
            found.append(WRAP_ON_DATA.at(layer.name, seen.wraps, 0))
        if _largest(worst.voltage) >= STATE_LIMIT:
            found.append(SATURATION.at(layer.name, _largest(worst.voltage), STATE_LIMIT - 1))
        if seen is not None and seen.saturations:
            found.append(SATURATION_ON_DATA.at(layer.name, seen.saturations, 0))
        ceiling = int(_fixed(layer).threshold.min()) * _UNIT
        highest = 0.0 if layer.fires else highest_readout(layer, program)
        if highest > ceiling:
            found.append(READOUT.at(layer.name, highest, ceiling))
        found += _int32(layer, program)
    return found


def _int32(layer: Layer, program: Program) -> list[Finding]:
    """Lava's own arithmetic; a convolution wraps at 24 bits before its sums become a current."""
    found, arriving = [], 0.0
    for one, (low, high) in zip(layer.synapses, _sums(layer, program), strict=True):
        convolution = isinstance(one, ConvSynapses)
        arriving += min(max(-low, high), STATE_LIMIT if convolution else _INT32_MAX)
        largest = max(-low, high)
        if not isinstance(one, ConvSynapses):
            doubled = 2 if one.weight.min() >= _INT8[0] and one.weight.max() <= _INT8[1] else 1
            largest = doubled * _largest(extreme_sums(replace(one, weight_exponent=0), 0, _highest(one, program)))
        if largest > _INT32_MAX:
            found.append(SUM_INT32.at(layer.name, largest, _INT32_MAX))
    if arriving * _UNIT > _INT32_MAX:
        found.append(CURRENT_INT32.at(layer.name, arriving * _UNIT, _INT32_MAX))
    return found


def _sums(layer: Layer, program: Program) -> list[Span]:
    return [extreme_sums(one, 0, _highest(one, program)) for one in layer.synapses]


def _highest(synapses: Synapses, program: Program) -> int:
    return int(2**program.input.bits - 1) if synapses.source == INPUT else 1


def _largest(span: Span) -> float:
    return max(-span[0], span[1])


def _bits(size: float | None, limit: int) -> float | None:
    return None if not size else float(np.log2(limit / size))


def _fixed(layer: Layer) -> FixedPointNeurons:
    assert isinstance(layer.neurons, FixedPointNeurons)  # callers have asked the program
    return layer.neurons
