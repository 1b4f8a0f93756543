"""The reference simulator of Xylo: slow, obvious NumPy. It is the meaning of a XyloNetwork.

Equal to SynSense's xylosim 0.1.3 (v2) in every current, potential and spike: `benchmarks/xylo_equality.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.xylo import HIDDEN_EVENTS, OUTPUT_EVENTS, STATE_MAX, STATE_MIN, XyloNetwork
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]
OUTPUT = "output"


@dataclass(frozen=True, eq=False)
class XyloRecording:
    """What a run puts out, step by step of the chip (`XyloNetwork.chip_steps`, T).

    Attributes:
        spikes: (T, B, hidden) uint8, how often each neuron fired.
        currents: (T, B, hidden, synapses) int16, after decay.
        potentials: (T, B, hidden) int16, after reset.
        output_spikes, output_currents, output_potentials: (T, B, outputs).
        readout: (B, outputs), summed over the steps after `latency`.
        saturated: (hidden + outputs,), in how many steps of all samples a register of that neuron stood at its limit
            before decay or after integration; None where the simulator does not say.
    """

    spikes: NDArray[np.uint8]
    currents: NDArray[np.int16]
    potentials: NDArray[np.int16]
    output_spikes: NDArray[np.uint8]
    output_currents: NDArray[np.int16]
    output_potentials: NDArray[np.int16]
    readout: IntArray
    saturated: IntArray | None = None

    @property
    def decisions(self) -> IntArray:
        """(B,) the class with the largest readout; the lowest of equals."""
        return np.asarray(self.readout.argmax(axis=-1), dtype=np.int64)

    def by_block(self, network: XyloNetwork) -> Recording:
        """The same as a `Recording`, for `neurodeploy.compare`: blocks and "output" are layers, and currents too."""
        spikes, potentials = {}, {}
        for block in network.blocks:
            part = slice(block.start, block.stop)
            spikes[block.name] = self.spikes[..., part]
            potentials[block.name] = self.potentials[..., part]
            for synapse in range(network.synapses):
                potentials[f"{block.name} current {synapse + 1}"] = self.currents[..., part, synapse]
        spikes[OUTPUT], potentials[OUTPUT] = self.output_spikes, self.output_potentials
        potentials[f"{OUTPUT} current"] = self.output_currents
        return Recording(spikes, potentials, self.readout)


def check_inputs(network: XyloNetwork, inputs: Array) -> NDArray[np.uint8]:
    """Events (T, B, channels) for every step of the chip, from (B, channels) or (steps, B, channels) integers.

    Raises:
        UsageError: where the input does not suit the network.
    """
    (channels,) = network.input.shape
    if inputs.ndim not in (2, 3) or inputs.shape[-1] != channels or inputs.size == 0:
        raise UsageError(f"input of shape {inputs.shape}: (samples, {channels}) or (steps, samples, {channels}), not 0")
    if inputs.dtype.kind not in "iub":
        raise UsageError(f"input of type {inputs.dtype}: integers are expected (see Input.scale)")
    if inputs.ndim == 3 and inputs.shape[0] != network.steps:
        raise UsageError(f"input has {inputs.shape[0]} steps, the network {network.steps}")
    highest = 2**network.input.bits - 1
    if inputs.min() < 0 or inputs.max() > highest:
        raise UsageError(f"input values {inputs.min()} to {inputs.max()}: allowed are 0 to {highest}")
    events = np.zeros((network.chip_steps, *inputs.shape[-2:]), dtype=np.uint8)
    events[: network.steps] = inputs
    return events


def run(network: XyloNetwork, inputs: Array) -> XyloRecording:
    """Runs a network step by step.

    Args:
        inputs: integers, (B, channels) shown at every step, or (steps, B, channels).

    Raises:
        UsageError: where the input does not suit the network.
    """
    events = check_inputs(network, inputs)
    batch, hidden, outputs = events.shape[1], network.hidden, network.outputs
    current = np.zeros((batch, hidden, network.synapses), dtype=np.int64)
    potential = np.zeros((batch, hidden), dtype=np.int64)
    current_out = np.zeros((batch, outputs, 1), dtype=np.int64)
    potential_out = np.zeros((batch, outputs), dtype=np.int64)
    spikes = np.zeros((batch, hidden), dtype=np.int64)
    saturated = np.zeros(hidden + outputs, dtype=np.int64)
    steps: list[tuple[Array, ...]] = []
    into, among = (network.weights_in << network.weight_shift_in, network.weights_rec << network.weight_shift_rec)
    out = (network.weights_out << network.weight_shift_out)[:, :, None]
    no_alias = np.full(outputs, -1)
    for arriving in events:
        current = delivered(delivered(current, arriving, into), spikes, among)
        current_out = delivered(current_out, spikes, out)
        full, full_out = limit(current).any(axis=2), limit(current_out).any(axis=2)
        current = current - lost(current, network.dash_syn)
        current_out = current_out - lost(current_out, network.dash_syn_out[:, None])
        potential = integrated(potential, current, network.dash_mem, network.bias)
        potential_out = integrated(potential_out, current_out, network.dash_mem_out, network.bias_out)
        saturated[:hidden] += (full | limit(potential)).sum(axis=0)
        saturated[hidden:] += (full_out | limit(potential_out)).sum(axis=0)
        potential, spikes = fired(potential, network.threshold, network.aliases, HIDDEN_EVENTS)
        potential_out, spikes_out = fired(potential_out, network.threshold_out, no_alias, OUTPUT_EVENTS)
        steps.append((spikes, current, potential, spikes_out, current_out[..., 0], potential_out))
    kinds = (np.uint8, np.int16, np.int16) * 2
    stacked = [np.stack(part).astype(kind) for part, kind in zip(zip(*steps, strict=True), kinds, strict=True)]
    readout = summed(network, stacked[3], stacked[5])
    return XyloRecording(*stacked, readout, saturated)  # type: ignore[call-arg]  # six arrays


def summed(network: XyloNetwork, output_spikes: Array, output_potentials: Array) -> IntArray:
    """(B, outputs): the readout, from (T, B, outputs)."""
    counted = output_spikes if network.readout == "spike_count" else output_potentials
    return np.asarray(counted[network.latency :].sum(axis=0, dtype=np.int64))


def delivered(current: Array, events: Array, weights: Array) -> Array:
    """Currents (B, neurons, synapses) after the events (B, sources), one source after the other.

    Events of one source have one sign, so that adding them at once saturates as adding them one by one.
    """
    for source in range(events.shape[1]):
        current = saturate(current + events[:, source, None, None].astype(np.int64) * weights[source])
    return current


def lost(state: Array, dash: Array) -> Array:
    """What a state loses in a step: state >> dash, rounded down, and at least 1 in magnitude."""
    shifted = state >> dash
    return np.where(shifted == 0, np.sign(state), shifted)


def integrated(potential: Array, current: Array, dash: Array, bias: Array) -> Array:
    """The potential of the next step, before firing, in the order in which the chip saturates."""
    change = -lost(potential, dash)
    change = np.where(change > STATE_MAX, STATE_MIN, change)  # -(-2^15) in 16 bits, at dash 0
    change = saturate(change + current.sum(axis=2))
    return saturate(potential + saturate(change + bias))


def fired(potential: Array, threshold: Array, aliases: Iterable[int], most: int) -> tuple[Array, Array]:
    """(potential after reset, spikes), both (B, neurons)."""
    spikes, rest = np.zeros_like(potential), potential.copy()
    for neuron, alias in enumerate(aliases):
        own = np.clip(rest[:, neuron] // threshold[neuron], 0, most - spikes[:, neuron])
        rest[:, neuron] -= own * threshold[neuron]
        spikes[:, neuron] += own
        if alias >= 0:
            spikes[:, alias] = np.minimum(spikes[:, alias] + spikes[:, neuron], most)
    return rest, spikes


def saturate(state: Array) -> Array:
    """Cut off at 16 bits with sign."""
    return np.clip(state, STATE_MIN, STATE_MAX)


def limit(state: Array) -> NDArray[np.bool_]:
    """Where a register stands at one of its limits."""
    return np.asarray((state == STATE_MAX) | (state == STATE_MIN))
