"""Whether a network on a Xylo is alive: which layers are silent, deaf or saturated on given inputs, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.xylo import HIDDEN_EVENTS, XyloNetwork
from neurodeploy.simulate.xylo import OUTPUT, XyloRecording

SILENT, SATURATED = 0.001, 0.999  # share of neuron-steps with a spike below and above which a layer decides nothing
LARGE_SHARE = 0.01  # of neuron-steps at 31 spikes, or with a register at its limit


@dataclass(frozen=True)
class Health:
    """One layer on given inputs.

    Attributes:
        rate: share of neuron-steps with at least one spike.
        silent_neurons: neurons that never fire, of `neurons`.
        at_most: share of neuron-steps with the largest number of spikes, hidden layers only.
        at_limit: share of neuron-steps with a current or potential at its 16-bit limit; None where it is not known.
        reach: the largest potential that is left after a step, in thresholds, median over neurons.
        never_conducts: neurons whose synapses all have a dash of 0, which lets nothing through.
        fires: False for outputs that are read as potentials.
        driven: False for neurons that nothing reaches: a clock, which fires at every step.
    """

    layer: str
    neurons: int
    rate: float
    silent_neurons: int
    at_most: float
    at_limit: float | None
    reach: float
    never_conducts: int
    fires: bool = True
    driven: bool = True

    @property
    def trouble(self) -> str | None:
        """Silent, deaf or saturated, with the cause; None for a layer that is alive."""
        if self.fires and self.rate < SILENT:
            return f"silent on the calibration data ({self.rate:.2%} of neuron-steps fire): {self._why_silent()}"
        if self.never_conducts > self.neurons / 2:  # what fires is biases
            return f"deaf to what arrives: {self._why_deaf()}"
        if self.at_limit is not None and self.at_limit > LARGE_SHARE:
            return (
                f"saturated on the calibration data: currents or potentials stand at the 16-bit limit in "
                f"{self.at_limit:.1%} of neuron-steps; its weights are large against its threshold, or shifted too far"
            )
        if self.at_most > LARGE_SHARE or (self.fires and self.driven and self.rate > SATURATED):
            return (
                f"saturated on the calibration data: {self.rate:.1%} of neuron-steps fire, {self.at_most:.1%} as often "
                "as the chip allows; its threshold is low against what arrives"
            )
        return None

    def _why_silent(self) -> str:
        if self.never_conducts:
            return self._why_deaf()
        return f"potentials reach {self.reach:.0%} of the threshold (median over neurons)"

    def _why_deaf(self) -> str:
        return (
            f"{self.never_conducts} of {self.neurons} neurons have synapses with a dash of 0, through which nothing "
            "passes (what rounding makes of a time constant below 1.4 steps)"
        )


def health(network: XyloNetwork, recording: XyloRecording) -> list[Health]:
    """One row per layer, "output" last."""
    rows = []
    used = ((network.weights_in != 0).any(axis=0) | (network.weights_rec != 0).any(axis=0)).T
    driven = used.any(axis=0)
    dead = ((network.dash_syn.T == 0) | ~used).all(axis=0) & driven
    for block in network.blocks:
        part = slice(block.start, block.stop)
        rows.append(
            Health(
                block.name,
                block.stop - block.start,
                *_firing(recording.spikes[..., part], HIDDEN_EVENTS),
                _at_limit(recording, part),
                _reach(recording.potentials[..., part], network.threshold[part]),
                int(dead[part].sum()),
                driven=bool(driven[part].any()),
            )
        )
    rows.append(
        Health(
            OUTPUT,
            network.outputs,
            *_firing(recording.output_spikes, 0),
            _at_limit(recording, slice(network.hidden, None)),
            _reach(recording.output_potentials, network.threshold_out),
            int((network.dash_syn_out == 0).sum()),
            fires=network.readout == "spike_count",
        )
    )
    return rows


def _firing(spikes: NDArray[np.uint8], most: int) -> tuple[float, int, float]:
    """(rate, silent neurons, share at the largest number of spikes; 0 where `most` is 0)."""
    silent = int((spikes.max(axis=(0, 1)) == 0).sum())
    return float((spikes > 0).mean()), silent, float((spikes >= most).mean()) if most else 0.0


def _at_limit(recording: XyloRecording, part: slice) -> float | None:
    if recording.saturated is None:
        return None
    steps, batch, _ = recording.output_spikes.shape
    return float(recording.saturated[part].mean() / (steps * batch))


def _reach(potentials: NDArray[np.int16], threshold: IntArray) -> float:
    return float(np.median((potentials / threshold).max(axis=(0, 1))))
