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
from neurodeploy.simulate import dynapse2_kernels, vectors
from neurodeploy.simulate.dynapse2 import (
    SCALE,
    Dynapse2Recording,
    Thermal,
    check_inputs,
    coefficients,
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
    written = range(neurons) if record else range(network.output.start, network.output.stop)
    spikes = np.empty((network.chip_steps, batch, len(written)), dtype=np.uint8)
    membranes, synapses = (np.empty((kept, batch, neurons), dtype=np.float32) for _ in range(2))
    arguments = (*_weights(chip.weights_in), *_weights(chip.weights_rec), _packed(chip))
    length = batch if thermal is None else max(1, _CHUNK // (network.chip_steps * neurons))
    nothing = np.zeros((0, 0, 0), dtype=np.float32)

    def part(low: int, high: int) -> None:
        noise = nothing if thermal is None else thermal_currents(network, thermal, low, high - low)
        _kernel()(
            events,
            network.substeps,
            *arguments,
            noise,
            spikes,
            np.uint64(written.start),
            membranes,
            synapses,
            low,
            high,
        )

    edges = np.linspace(0, batch, max(1, min(threads, batch)) + 1).astype(int).tolist()
    pieces = [(start, min(start + length, high)) for low, high in pairwise(edges) for start in range(low, high, length)]
    if threads == 1:
        for piece in pieces:
            part(*piece)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda piece: part(*piece), pieces))
    outputs = spikes[..., network.output.start - written.start : network.output.stop - written.start]
    return Dynapse2Recording(spikes, membranes, synapses, outputs.sum(axis=0, dtype=np.int64))


def _weights(currents: Array) -> tuple[Array, Array, Array]:
    """(sources * lanes) float32 in units of SCALE, and between which lanes a source has weights.

    Those are whole groups; of a source without weights, the first lies past all and the last before all.
    """
    sources, targets = currents.shape
    lanes = np.zeros((sources, _padded(targets)), dtype=np.float32)
    lanes[:, :targets] = (currents / SCALE).astype(np.float32)
    there = (lanes != 0).reshape(sources, -1, LANES).any(axis=2)
    groups = there.shape[1]
    some = there.any(axis=1)
    first = np.where(some, there.argmax(axis=1), groups) * LANES
    last = np.where(some, groups - there[:, ::-1].argmax(axis=1), 0) * LANES
    return lanes.reshape(-1), first.astype(np.uint64), last.astype(np.uint64)


def _packed(chip: Realised) -> Array:
    """(blocks * parameters * ROW); the lanes that fill up a block repeat its last neuron, but never fire."""
    found = coefficients(chip)
    one = np.float32(1)
    found |= {"per_leak": one / found["leak"], "per_io": one / found["io"]}
    found["dt_over_tau_factor"] = found["dt"] / found["tau_factor"]
    neurons = chip.network.neurons
    packed = np.empty((-(-neurons // BLOCK), len(PARAMETERS), ROW), dtype=np.float32)
    for number, block in enumerate(packed):
        size = min(BLOCK, neurons - number * BLOCK)
        lanes = number * BLOCK + np.minimum(np.arange(ROW), size - 1)
        for row, name in zip(block, PARAMETERS, strict=True):
            row[:] = found[name][lanes]
        block[PARAMETERS.index("threshold"), size:] = np.inf
    return packed.reshape(-1)


def _padded(neurons: int) -> int:
    return -(-neurons // LANES) * LANES


@cache
def _kernel() -> Any:
    files = (dynapse2_kernels.__file__, vectors.__file__)
    return _compiled(hashlib.sha256(b"".join(Path(one).read_bytes() for one in files)).hexdigest())


def _compiled(fingerprint: str) -> Any:
    """The kernel, kept on disk; numba looks at this file and at the closure, which tells it of the other ones."""
    of_parameters, of_states = np.uint64(len(PARAMETERS) * ROW), np.uint64(len(STATES) * ROW)
    most, row, unsigned = np.uint64(BLOCK), np.uint64(ROW), np.uint64

    @numba.njit(cache=True, nogil=True, error_model="numpy")
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
        written,
        membranes,
        synapses,
        low,
        high,
    ):
        """Runs samples low … high - 1; places are unsigned and arrays flat, as in `simulate.spiking_kernels`.

        Args:
            written: the first neuron whose spikes are written.
        """
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        neurons, channels, steps = unsigned(first_rec.size), unsigned(events.shape[2]), spikes.shape[0]
        lanes, samples = unsigned(weights_rec.size // first_rec.size), unsigned(events.shape[1])
        states = np.empty(unsigned(parameters.size) // of_parameters * of_states, np.float32)
        weighted, counts = np.empty(lanes, np.float32), np.empty(lanes, np.uint8)
        coming, firing = np.zeros(channels + unsigned(1), np.uint64), np.zeros(lanes, np.uint64)
        shown, record = events.reshape(-1), membranes.shape[0] > 0
        for sample in range(low, high):
            weighted[:] = 0.0
            counts[:] = 0
            states[:] = 0.0
            for start in range(unsigned(0), lanes, most):
                own, at = start // most * of_parameters, start // most * of_states
                for k in range(row):
                    dark = parameters[own + k]
                    states[at + k], states[at + row + k], states[at + row + row + k] = dark, dark, dark
                    states[at + row + row + row + k] = 1.0
            fired = unsigned(0)
            for step in range(steps):
                if noise.size > 0:
                    for k in range(neurons):
                        weighted[k] += noise[step, sample - low, k]
                if step % substeps == 0 and step // substeps < events.shape[0]:
                    frame = (unsigned(step // substeps) * samples + unsigned(sample)) * channels
                    number = active(shown, frame, channels, coming)
                    deliver(weighted, shown, frame, coming, number, weights_in, lanes, first_in, last_in)
                deliver(weighted, counts, unsigned(0), firing, fired, weights_rec, lanes, first_rec, last_rec)
                for k in range(fired):
                    counts[firing[k]] = 0
                fired = unsigned(0)
                for start in range(unsigned(0), lanes, most):
                    own, at, n = start // most * of_parameters, start // most * of_states, min(most, lanes - start)
                    update(parameters, own, states, at, weighted, start, n)
                    if record:  # the membrane before its reset
                        for k in range(min(most, neurons - start)):
                            membranes[step, sample, start + k] = states[at + k]
                            synapses[step, sample, start + k] = states[at + row + k]
                    fired = fire(parameters, own, states, at, start, n, counts, firing, fired)
                for k in range(unsigned(spikes.shape[2])):
                    spikes[step, sample, k] = counts[written + k]

    return simulate
