"""What the neurons of a Program do on data, by the reference simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.inspect.headroom import Reach, worst_case, wraps_beyond
from neurodeploy.ir.program import DECAY_ONE, STATE_LIMIT, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses, longest_delay
from neurodeploy.simulate import reference

Array = NDArray[Any]


@dataclass(frozen=True)
class Observed:
    """One layer on data.

    Attributes:
        firing_rate: share of neuron-steps with a spike; None where the layer does not fire.
        never_percent, always_percent: neurons without a spike in all samples, and with one at every step of all.
        reach: extreme values of current and voltage before they wrap and saturate; None with floating-point neurons.
        wraps: neuron-steps at which the current wrapped.
        saturations: neuron-steps at which the voltage was clipped.
    """

    layer: str
    firing_rate: float | None
    never_percent: float | None
    always_percent: float | None
    reach: Reach | None = None
    wraps: int = 0
    saturations: int = 0


def observe(program: Program, inputs: Array) -> dict[str, Observed]:
    """layer -> what its neurons did.

    Args:
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).

    Raises:
        UsageError: where the input does not suit the program.
    """
    meters = {layer.name: _Meter(layer, program) for layer in program.layers}
    oldest = max(longest_delay(one) for layer in program.layers for one in layer.synapses)
    past: list[Mapping[str, Array]] = []  # past[d]: the outputs of d steps before; before the first step there are none
    for state, output in reference.steps(program, inputs):
        past = [dict(output), *past[:oldest]]
        for name, meter in meters.items():
            meter.add(state[name], output[name], past)
    return {name: meter.observed() for name, meter in meters.items()}


class _Meter:
    """Collects over steps what one layer did."""

    def __init__(self, layer: Layer, program: Program) -> None:
        self.layer = layer
        # Sums are only worth computing again where they may wrap: elsewhere the register holds them as they are.
        self.may_wrap = program.fixed_point and wraps_beyond(worst_case(layer, program).current)
        self.counts: Array | None = None
        self.steps = self.samples = self.wraps = self.saturations = 0
        self.before: reference.State | None = None
        self.current: tuple[float, float] = (0.0, 0.0)
        self.voltage: tuple[float, float] = (0.0, 0.0)

    def add(self, state: reference.State, fired: Array, past: Sequence[Mapping[str, Array]]) -> None:
        """One more step."""
        spikes = fired.sum(axis=0)
        self.counts = spikes if self.counts is None else self.counts + spikes
        self.steps, self.samples = self.steps + 1, len(fired)
        neurons = self.layer.neurons
        if isinstance(neurons, FixedPointNeurons):
            before = self.before or reference.State.zeros(state.current.shape, np.int64)
            summed = state.current
            if self.may_wrap:
                arriving = sum(_arriving(one, past) for one in self.layer.synapses)
                summed = _decayed(before.current, neurons.current_decay) + (np.asarray(arriving) << VOLTAGE_UNIT_BITS)
                self.wraps += int(((summed > STATE_LIMIT) | (summed <= -STATE_LIMIT)).sum())
            potential = _decayed(before.potential, neurons.voltage_decay) + state.current + neurons.bias
            self.saturations += int((np.abs(potential) >= STATE_LIMIT).sum())
            self.current = _widened(self.current, summed)
            self.voltage = _widened(self.voltage, potential)
        self.before = state

    def observed(self) -> Observed:
        """What was collected."""
        assert self.counts is not None  # a program has at least one step
        moments, fires = self.steps * self.samples, self.layer.fires
        reach = Reach(self.current, self.voltage) if isinstance(self.layer.neurons, FixedPointNeurons) else None
        return Observed(
            self.layer.name,
            float(self.counts.mean()) / moments if fires else None,
            100 * float((self.counts == 0).mean()) if fires else None,
            100 * float((self.counts == moments).mean()) if fires else None,
            reach,
            self.wraps,
            self.saturations,
        )


def _arriving(synapses: Synapses, past: Sequence[Mapping[str, Array]]) -> Array:
    """The sums that synapses bring now, before any register."""
    parts: list[tuple[int, Synapses]] = [(0, synapses)]
    if not isinstance(synapses, ConvSynapses) and synapses.delays is not None:
        parts = [(extra, replace(synapses, weight=weight, delays=None)) for extra, weight in synapses.by_delay()]
    total: Array = np.zeros((), dtype=np.int64)
    for extra, one in parts:
        if synapses.delay + extra < len(past):
            total = total + reference.current(one, past[synapses.delay + extra][synapses.source])
    return total


def _decayed(values: Array, decay: Array) -> Array:
    """trunc(values * (4096 - decay) / 4096), toward zero."""
    product = values * (DECAY_ONE - decay)
    return np.asarray(np.sign(product) * (np.abs(product) // DECAY_ONE))


def _widened(span: tuple[float, float], values: Array) -> tuple[float, float]:
    return min(span[0], float(values.min())), max(span[1], float(values.max()))
