"""Layers on two sides that differ in one quantity, by numbers that can be followed by hand.

Numbers of the chip are in weight units (64 voltage units) with scale 1, so that the network's unit is the weight unit.
Neuron 0 of the layer is the one at which the sides differ; neuron 1 fires at every other step on both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.definition import define_network
from neurodeploy.compare.result import Explanation, LayerResult, SideComparison
from neurodeploy.compare.sides import Side, network_side, program_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, CubaLIF, Input, Linear, SpikeCountReadout
from neurodeploy.ir.program import INPUT, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate import reference

Array = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """One neuron of a float network and of a chip; the numbers of both sides, in weight units.

    Attributes:
        shown: (T, channels) integers that the input holds.
        decay, kept: of the voltage: the network's fraction, and what the chip keeps of 4096.
    """

    shown: Any
    weights: Any
    stored: Any
    threshold: float
    stored_threshold: int
    bias: float = 0.0
    stored_bias: int = 0  # voltage units
    decay: float = 1.0
    kept: int = 4096
    current_decay: float = 0.0
    current_kept: int = 0
    at_threshold: bool = False
    real: Any = None  # what the network is shown, where that is no integers

    @property
    def inputs(self) -> Array:
        """(T, 1, channels + 1): the last channel is on at every other step, for neuron 1."""
        shown = np.asarray(self.shown)
        return np.concatenate([shown, np.arange(1, len(shown) + 1)[:, None] % 2], axis=1)[:, None]

    @property
    def network(self) -> Network:
        weights = self._with_second(np.asarray(self.weights, dtype=float), 2 * self.threshold + 1)
        node = (
            LIF(self.decay, self.threshold, "zero", self.at_threshold)
            if self.current_decay == 0
            else CubaLIF(self.decay, self.current_decay, self.threshold, "zero", self.at_threshold)
        )
        first = Input((self.inputs.shape[2],), bits=8)
        chain = [("image", first), ("fc", Linear(weights, np.array([self.bias, 0.0]))), ("a", node)]
        return sequential([*chain, ("count", SpikeCountReadout())], len(self.inputs))

    @property
    def program(self) -> Program:
        stored = self._with_second(np.asarray(self.stored), 2 * self.threshold + 1)
        neurons = FixedPointNeurons(
            frozen_ints(4096 - self.kept),
            frozen_ints(self.stored_threshold),
            frozen_ints([self.stored_bias, 0]),
            0,
            frozen_ints(4096 - self.current_kept),
        )
        layer = Layer("a", (2,), (DenseSynapses("fc", INPUT, frozen_ints(stored)),), neurons, 1.0)
        return Program("loihi2", len(self.inputs), Input((self.inputs.shape[2],), bits=8), (layer,), "spike_count")

    def _with_second(self, weights: Array, strong: float) -> Array:
        """Row 1 fires whenever the last channel is on, on both sides alike."""
        whole = np.zeros((2, len(weights) + 1), dtype=weights.dtype)
        whole[0, :-1], whole[1, -1] = weights, int(strong)
        return whole


CONSTANT = np.ones((12, 1), dtype=int)


def pulse(*values: int, steps: int = 8) -> Array:
    """(steps, 1): the values, then nothing."""
    return np.array([*values, *[0] * (steps - len(values))])[:, None]


# 10.4 a step passes 31 at step 3, 10 at step 4
WEIGHT = Setting(CONSTANT, [10.4], [10], 31, 31)
# 140 does not fit into 8 bits
CLIPPED = Setting(CONSTANT, [140.0], [127], 130, 130)
# 0.51 a step passes 5 at step 10 (5.1), 32/64 does not (5.0 is not above)
BIAS = Setting(CONSTANT, [0.0], [0], 5, 5, bias=0.51, stored_bias=32)
# 30.25 is above 30, not above 30.5
THRESHOLD = Setting(CONSTANT, [30.0], [30], 30.5, 30, bias=0.25, stored_bias=16)
# 100 × 128 = 12800, then 0.9 of it and 100 × 13: 12820 against 12818.75 (3686/4096 of it is 11518.75, a whole number
# of voltage units, so that nothing is truncated)
DECAY = Setting(pulse(128, 13), [100.0], [100], 12819, 12819, decay=0.9, kept=3686)
# 171 voltage units (2 weight units and 43), half of it is 85.5: 256.5 is above 4 × 64, 256 is not
TRUNCATION = Setting(CONSTANT, [2.0], [2], 4, 4, bias=43 / 64, stored_bias=43, decay=0.5, kept=2048)
# the current keeps 0.9 or 3686/4096 of 12800: the voltage reaches 24320 or 24318.75
CURRENT_DECAY = Setting(pulse(128), [100.0], [100], 24319, 24319, current_decay=0.9, current_kept=3686)
# 5 × 127 × 255 = 161925 weight units are 10363200 voltage units, past 2^23
WRAP = Setting(np.tile([255] * 5, (6, 1)), [127.0] * 5, [127] * 5, 10000, 10000)
# twice -3 × 125 × 250 are -12000000 voltage units, where the register ends at -8388607; three times 50000 weight units
# later the chip's neuron is above the threshold, the network's still below 0
SINKING = [[250, 0]] * 2 + [[0, 200]] * 6
SATURATION = Setting(SINKING, [-375.0, 250.0], [-375, 250], 10000, 10000)
# 30 is reached at step 3
COMPARISON = Setting(CONSTANT, [10.0], [10], 30, 30, at_threshold=True)
# 10.4 is shown to the network, 10 to the chip
INPUT_ROUNDING = Setting(10 * CONSTANT, [1.0], [1], 31, 31, real=10.4)
# 10.8 a step passes 32 at step 3; 10.4 + 0 and 10 + 0.4 do not
TOGETHER = Setting(CONSTANT, [10.4], [10], 32, 32, bias=0.4)
# 10.8 a step passes 31 at step 3, and so do 10.4 + 0 and 10 + 0.4
EITHER = Setting(CONSTANT, [10.4], [10], 31, 31, bias=0.4)


def compared(setting: Setting, **options: Any) -> SideComparison:
    sides = network_side(define_network(setting.network)), reference_side(setting.program)
    inputs = setting.inputs.astype(float)
    if setting.real is not None:
        inputs[:, 0, 0] = setting.real
    return compare_sides(sides, (inputs, setting.inputs), explained=1, **options)


def reference_side(program: Program, name: str = "reference") -> Side:
    return program_side(program, name, "NumPy reference", reference.run)


def only(result: SideComparison, name: str = "a") -> tuple[LayerResult, Explanation]:
    """A layer that differs and is alive on both sides."""
    layer = next(one for one in result.layers if one.layer == name)
    assert layer.explanation is not None
    for rate in (layer.first_rate, layer.second_rate):
        assert rate is not None
        assert 0.05 < rate < 0.95
    return layer, layer.explanation
