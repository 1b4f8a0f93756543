"""Whether a network on DYNAP-SE2 is alive: which layers are silent or saturated on given inputs, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.dynapse2 import dynapse2_chip
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.simulate.dynapse2 import Dynapse2Recording

SILENT = 0.001  # spikes of a neuron in a step of the network, mean, below which a layer decides nothing
SATURATED = 0.9  # of the most that refractory neurons can fire
LARGE_SHARE = 0.25  # of spikes that DynapSim counts more than once


@dataclass(frozen=True)
class Health:
    """One layer on given inputs.

    Attributes:
        rate: how often a neuron fires in a step of the network, mean; several spikes at once count as one.
        most: the same, of a neuron that fires whenever it is not refractory.
        silent_neurons: neurons that never fire, of `neurons`.
        several: share of firing neurons whose membrane passed e thresholds within a step: DynapSim counts them more
            than once, the silicon does not.
        reach: the largest membrane before its reset, in thresholds, median over neurons.
    """

    layer: str
    neurons: int
    rate: float
    most: float
    silent_neurons: int
    several: float
    reach: float

    @property
    def silent(self) -> bool:
        """Whether it decides nothing."""
        return self.rate < SILENT

    @property
    def trouble(self) -> str | None:
        """Silent or saturated, with the cause; None for a layer that is alive."""
        if self.silent:
            return (
                f"silent on the calibration data ({self.rate:.2%} spikes a step): membranes reach {self.reach:.0%} of "
                "the threshold (median over neurons)"
            )
        if self.rate > SATURATED * self.most:
            return (
                f"saturated on the calibration data: {self.rate:.1%} spikes a step, {self.most:.1%} are the most that "
                "its refractory period allows; its threshold is low against what arrives"
            )
        return None


def health(network: Dynapse2Network, recording: Dynapse2Recording) -> list[Health]:
    """One row per layer, the outputs last; of a run that was recorded."""
    rows = []
    for block in network.blocks:
        part, cores = slice(block.start, block.stop), network.core[block.start : block.stop]
        spikes, membranes = recording.spikes[..., part], recording.membranes[..., part]
        rows.append(
            Health(
                block.name,
                block.stop - block.start,
                float((spikes > 0).sum() / (network.steps * spikes.shape[1] * spikes.shape[2])),
                network.substeps / (1 + _refractory_steps(network, network.biases["Iref"][cores])),
                int((spikes.max(axis=(0, 1)) == 0).sum()),
                several(spikes),
                float(np.median(membranes.max(axis=(0, 1)) / network.biases["Ispkthr"][cores])),
            )
        )
    return rows


def several(spikes: NDArray[np.uint8]) -> float:
    """Share of firing neurons that are counted more than once in a step."""
    return float((spikes > 1).sum() / max(int((spikes > 0).sum()), 1))


def _refractory_steps(network: Dynapse2Network, currents: FloatArray) -> float:
    """Steps of the chip that a neuron is silent after a spike."""
    layout = dynapse2_chip(network.chip).layout
    return float(np.ceil(layout.pulse(1.0, layout.c_ref) / currents / network.dt).mean())
