"""Level 4 on chips whose leaks can be trimmed too: when neurons fire tells their decay, how often their threshold.

A neuron's threshold moves how often it fires, its decay when: what is kept of the step before,

    r[t] = decay u[t-1]        u: the nominal potential after reset,

acts in the steps where it is large and not in those where it is 0. So thresholds are searched until Σ (o - o*) = 0 and
leaks until Σ (o - o*) r = 0, over steps and samples, with o the chip's spikes and o* the nominal ones: the equations of
maximum likelihood for a neuron whose spiking probability is a logistic function of its potential. Each search moves
what the other found, so that they take turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.device import RackSettings
from neurodeploy.calibrate.work import Work, in_weight_units
from neurodeploy.hw_models.chip import Knob
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.program import VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer
from neurodeploy.simulate import engine

TURNS = 2  # times that leaks are searched, each between two searches of thresholds


def leak_knob(knobs: tuple[Knob, ...]) -> Knob | None:
    """The trim of a neuron's own leak, where the chip has one."""
    return next((knob for knob in knobs if (knob.quantity, knob.per) == ("leak", "neuron")), None)


class Timing:
    """When a layer's neurons should fire."""

    def __init__(self, work: Work, layer: Layer) -> None:
        self.work, self.layer = work, layer
        self.parts = []
        for inputs in work.parts:
            meant = engine.run(work.program, inputs)
            self.parts.append((inputs, meant.spikes[layer.name], kept(layer, meant.potentials[layer.name])))

    def excess(self, settings: RackSettings) -> FloatArray:
        """(chips, *shape): Σ over steps and samples of (o - o*) r, in thresholds; falls as the leak's code rises."""
        total: Any = 0.0
        for inputs, meant, carried in self.parts:
            found = []
            for one in self.work.bench.recordings(inputs, settings):
                differs = one.spikes[self.layer.name].astype(np.float32) - meant
                found.append((differs * carried).sum(axis=(0, 1), dtype=np.float64))
            total = total + np.stack(found)
        return np.asarray(total)


def kept(layer: Layer, potentials: NDArray[Any]) -> NDArray[np.float32]:
    """(T, B, *shape) what neurons start each step with, relative to their threshold, from potentials after reset."""
    decay, threshold, _ = in_weight_units(layer)
    unit = 2.0**VOLTAGE_UNIT_BITS if isinstance(layer.neurons, FixedPointNeurons) else layer.scale
    before = np.concatenate([np.zeros_like(potentials[:1]), potentials[:-1]])
    return np.asarray(before * (decay / (threshold * unit)), dtype=np.float32)
