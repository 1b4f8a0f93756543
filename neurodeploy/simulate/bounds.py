"""What is proved of a Program's numbers before it runs: how wide they get, and where no order of adding up rounds."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.program import DECAY_ONE, INPUT, STATE_LIMIT, VOLTAGE_UNIT_BITS, FixedPointNeurons, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses, extreme_sums, largest_sum

UNIT = 2.0**VOLTAGE_UNIT_BITS  # of fixed-point sums, in voltage units
MOST_COUNTED = 255  # steps over which spikes are counted in a byte
_KEPT = 64  # synapses whose bounds are kept: those that all chips of a population have are asked for once per chip
_EXACT = 2.0**53  # integers below it are exact in double precision


@dataclass(frozen=True)
class Bounds:
    """Of a layer on a chip.

    Attributes:
        sum: the largest.
        in_full: whether its registers could wrap, saturate or keep currents.
        narrow: whether 16 bits hold its weights.
    """

    sum: float
    in_full: bool
    narrow: bool

    @classmethod
    def of(cls, program: Program, number: int) -> Bounds:
        layer = program.layers[number]
        highest = 2**program.input.bits - 1
        sums = [_extremes(one, highest if one.source == INPUT else 1) for one in layer.synapses]
        largest = sum(max(-low, high) for low, high in sums)
        # Before a weight exponent shifts it, and with inputs of any sign on the way, a sum may be larger.
        on_the_way = sum(largest_sum(one, highest if one.source == INPUT else 1) for one in layer.synapses)
        neurons = layer.neurons
        narrow = all(_narrow(one) for one in layer.synapses)
        if not isinstance(neurons, FixedPointNeurons):
            return cls(on_the_way, bool(neurons.current_decay.any()), narrow)
        reach = largest * UNIT
        saturates = (reach + float(np.abs(neurons.bias).max())) * program.steps >= STATE_LIMIT
        keeps = bool((neurons.current_decay != DECAY_ONE).any())
        return cls(max(on_the_way, largest), keeps or saturates or reach >= STATE_LIMIT, narrow)


def integrates(program: Program, name: str, inside: Container[str]) -> bool:
    """Whether the total of a readout's potentials may be computed at once, to the same bits.

    It adds up whatever arrives, and every number on the way is a multiple of one power of two, below 2^53 of it: then
    no order of adding up rounds.

    Args:
        name: of the layer that is read.
        inside: the layers whose spikes are at hand.
    """
    layer = next(one for one in program.layers if one.name == name)
    neurons, times = layer.neurons, program.steps * (program.steps + 1) / 2
    if isinstance(neurons, FixedPointNeurons):
        keeps_all, unit = bool((neurons.voltage_decay == 0).all()), UNIT
    else:
        keeps_all, unit = bool((neurons.decay == 1).all()), layer.scale
    if layer.fires or not keeps_all or program.steps > MOST_COUNTED:
        return False
    for one in layer.synapses:
        if isinstance(one, ConvSynapses) or one.weight_exponent != 0 or one.source not in inside:
            return False
    sums = sum(largest_sum(one, 1) for one in layer.synapses)
    smallest = min(_lowest_bit(np.array([unit])), _lowest_bit(neurons.bias))
    return bool(sums * times < 2**31 and (sums * unit + np.abs(neurons.bias).max()) * times / smallest < _EXACT)


def _lowest_bit(values: NDArray[Any]) -> float:
    """The largest power of two of which all values are multiples; infinity for zeros alone."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64).reshape(-1))
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    bits = np.ldexp((whole & -whole).astype(np.float64), exponent - 53)
    return float(bits[whole != 0].min(initial=np.inf))


@lru_cache(maxsize=_KEPT)
def _extremes(one: Synapses, highest: int) -> tuple[float, float]:
    return extreme_sums(one, 0, highest)


@lru_cache(maxsize=_KEPT)
def _narrow(one: Synapses) -> bool:
    return fits(one.weight, np.int16)


def fits(values: NDArray[Any], kind: type[np.signedinteger[Any]]) -> bool:
    held = np.iinfo(kind)
    return values.size == 0 or bool(held.min <= values.min() and values.max() <= held.max)


def wraps(program: Program, synapses: Synapses) -> bool:
    """Whether the sums of a convolution could leave its register of 24 bits, where Lava's Conv wraps them."""
    highest = 2**program.input.bits - 1 if synapses.source == INPUT else 1
    return program.fixed_point and isinstance(synapses, ConvSynapses) and largest_sum(synapses, highest) >= STATE_LIMIT
