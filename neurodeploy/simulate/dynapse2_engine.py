"""The fast simulator of DYNAP-SE2: the equations of `Dynapse2Network`, compiled by numba, in float32 as DynapSim."""

# The kernel's own annotations would not be read; what is called from outside is typed.

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.dynapse2_mismatch import Realised, nominal
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.simulate import dynapse2_kernels
from neurodeploy.simulate.dynapse2 import (
    SCALE,
    Dynapse2Recording,
    Thermal,
    check_inputs,
    coefficients,
    recording_of,
    thermal_currents,
)
from neurodeploy.simulate.dynapse2_kernels import (
    BLOCK,
    LANES,
    PARAMETERS,
    ROW,
    STATES,
    active,
    deliver,
    fire,
    update,
)

Array = NDArray[Any]
_CHUNK = 2**24  # numbers of thermal noise that are held at once


def run(
    network: Dynapse2Network | Realised,
    inputs: Array,
    *,
    record: bool = True,
    thermal: Thermal | None = None,
    threads: int = 1,
) -> Dynapse2Recording:
    """Runs a network, or a virtual chip's version of it.

    Args:
        inputs: events, (B, channels) shown at every step of the network, or (steps, B, channels).
        record: keep membrane and synaptic currents and all spikes; else the outputs' spikes alone.
        thermal: noise on what arrives at synapses, or None.
        threads: samples are divided among so many.

    Raises:
        UsageError: where the input does not suit the network.
    """
    chip = nominal(network) if isinstance(network, Dynapse2Network) else network
    network = chip.network
    events = check_inputs(network, inputs)
    batch, neurons = events.shape[1], network.neurons
    kept = network.chip_steps if record else 0
    spikes = np.zeros((network.chip_steps, batch, neurons), dtype=np.uint8)
    traces = tuple(np.zeros((kept, batch, neurons), dtype=np.float32) for _ in range(2))
    arguments = (*_weights(chip.weights_in), *_weights(chip.weights_rec), _packed(chip))
    length = batch if thermal is None else max(1, _CHUNK // (network.chip_steps * neurons))
    nothing = np.zeros((0, 0, 0), dtype=np.float32)

    def part(low: int, high: int) -> None:
        noise = nothing if thermal is None else thermal_currents(network, thermal, low, high - low)
        _kernel()(events, network.substeps, *arguments, noise, spikes, *traces, low, high)

    edges = np.linspace(0, batch, max(1, min(threads, batch)) + 1).astype(int).tolist()
    pieces = [(start, min(start + length, high)) for low, high in pairwise(edges) for start in range(low, high, length)]
    if threads == 1:
        for piece in pieces:
            part(*piece)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda piece: part(*piece), pieces))
    return recording_of(network, spikes, *traces, keep=record)


def _weights(currents: Array) -> tuple[Array, Array, Array]:
    """(sources, lanes) float32 in units of SCALE, and the first and last lane of each source with a weight."""
    sources, targets = currents.shape
    lanes = np.zeros((sources, _padded(targets)), dtype=np.float32)
    lanes[:, :targets] = (currents / SCALE).astype(np.float32)
    there = lanes != 0
    first = there.argmax(axis=1)
    last = np.where(there.any(axis=1), lanes.shape[1] - there[:, ::-1].argmax(axis=1), first)
    return lanes, first // LANES * LANES, -(-last // LANES) * LANES  # whole groups of lanes


def _packed(chip: Realised) -> Array:
    """(blocks, parameters * ROW); the lanes that fill up a block repeat its last neuron."""
    found = coefficients(chip)
    one = np.float32(1)
    found |= {"per_leak": one / found["leak"], "per_io": one / found["io"]}
    found["dt_over_tau_factor"] = found["dt"] / found["tau_factor"]
    neurons = chip.network.neurons
    packed = np.empty((-(-neurons // BLOCK), len(PARAMETERS), ROW), dtype=np.float32)
    for number, block in enumerate(packed):
        lanes = np.minimum(np.arange(number * BLOCK, number * BLOCK + ROW), min((number + 1) * BLOCK, neurons) - 1)
        for row, name in zip(block, PARAMETERS, strict=True):
            row[:] = found[name][lanes]
    return packed.reshape(len(packed), -1)


def _padded(neurons: int) -> int:
    return -(-neurons // LANES) * LANES


@cache
def _kernel() -> Any:
    return _compiled(hashlib.sha256(Path(dynapse2_kernels.__file__).read_bytes()).hexdigest())


def _compiled(fingerprint: str) -> Any:
    """The kernel, kept on disk; numba looks at this file and at the closure, which tells it of the other one."""
    states_of_a_neuron = len(STATES)

    @numba.njit(cache=True, nogil=True)
    def simulate(  # type: ignore[no-untyped-def]
        events,
        substeps,
        weights_in,
        first_in,
        last_in,
        weights_rec,
        first_rec,
        last_rec,
        parameters,
        noise,
        spikes,
        membranes,
        synapses,
        low,
        high,
    ):
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        neurons, lanes = spikes.shape[2], weights_rec.shape[1]
        blocks, record = len(parameters), len(membranes) > 0
        for sample in range(low, high):
            states = np.zeros((blocks, states_of_a_neuron * ROW), np.float32)
            for block in range(blocks):
                for row in range(3):
                    states[block, row * ROW : (row + 1) * ROW] = parameters[block, :ROW]  # the dark current
                states[block, 3 * ROW : 4 * ROW] = np.float32(1)
            weighted, counts = np.zeros(lanes, np.float32), np.zeros(neurons, np.uint8)
            coming, firing = np.zeros(events.shape[2] + 1, np.int64), np.zeros(neurons + 1, np.int64)
            fired = 0
            for step in range(len(spikes)):
                if len(noise) > 0:
                    weighted[:neurons] += noise[step, sample - low]
                if step % substeps == 0 and step // substeps < len(events):
                    arriving = events[step // substeps, sample]
                    number = active(arriving, coming)
                    deliver(weighted, arriving, coming, number, weights_in, first_in, last_in)
                deliver(weighted, counts, firing, fired, weights_rec, first_rec, last_rec)
                fired = 0
                for block in range(blocks):
                    start, stop = block * BLOCK, min((block + 1) * BLOCK, neurons)
                    p, s = parameters[block], states[block]
                    update(p, s, weighted[start : start + BLOCK])
                    if record:  # the membrane before its reset
                        membranes[step, sample, start:stop] = s[: stop - start]
                        synapses[step, sample, start:stop] = s[ROW : ROW + stop - start]
                    number = fire(p, s, counts[start:stop], firing[fired : fired + stop - start + 1])
                    firing[fired : fired + number] += start
                    fired += number
                spikes[step, sample] = counts

    return simulate
