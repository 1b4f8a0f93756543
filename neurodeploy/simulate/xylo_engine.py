"""The fast simulator of Xylo: the reference's numbers, thousands of samples a second, compiled by numba."""

# The kernel's own annotations would not be read; what is called from outside is typed.

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir import xylo as network_file
from neurodeploy.ir.xylo import HIDDEN_EVENTS, NO_ALIAS, OUTPUT_EVENTS, XyloNetwork
from neurodeploy.simulate import xylo_kernels
from neurodeploy.simulate.xylo import XyloRecording, check_inputs, summed
from neurodeploy.simulate.xylo_kernels import deliver, fire, integrate

Array = NDArray[Any]


def run(network: XyloNetwork, inputs: Array, *, record: bool = True, threads: int = 1) -> XyloRecording:
    """Runs a network; equal to `neurodeploy.simulate.xylo.run` in every number.

    Args:
        inputs: integers, (B, channels) shown at every step, or (steps, B, channels).
        record: keep currents, potentials and hidden spikes; else these arrays have no steps, and memory is that of the
            outputs alone.
        threads: samples are divided among so many.

    Raises:
        UsageError: where the input does not suit the network.
    """
    events = check_inputs(network, inputs)
    steps, batch, _ = events.shape
    hidden, outputs, synapses = network.hidden, network.outputs, network.synapses
    kept = steps if record else 0
    spikes = np.zeros((kept, batch, hidden), dtype=np.uint8)
    currents = np.zeros((kept, batch, synapses, hidden), dtype=np.int16)
    potentials = np.zeros((kept, batch, hidden), dtype=np.int16)
    out = tuple(np.zeros((steps, batch, outputs), dtype=kind) for kind in (np.uint8, np.int16, np.int16))
    parameters = _parameters(network)
    edges = np.linspace(0, batch, max(1, min(threads, batch)) + 1).astype(np.int64)
    full = np.zeros((len(edges) - 1, hidden + outputs), dtype=np.int64)

    def part(index: int) -> None:
        low, high = edges[index : index + 2]
        _kernel()(events, *parameters, spikes, currents, potentials, *out, full[index], low, high)

    if len(full) == 1:
        part(0)
    else:
        with ThreadPoolExecutor(len(full)) as pool:
            list(pool.map(part, range(len(full))))
    ordered = np.ascontiguousarray(np.moveaxis(currents, 2, 3))
    readout = summed(network, out[0], out[2])
    return XyloRecording(spikes, ordered, potentials, out[0], out[1], out[2], readout, full.sum(axis=0))


def _parameters(network: XyloNetwork) -> tuple[Array, ...]:
    """What the kernel reads of a network, in its order and types."""
    hidden, outputs = network.hidden, network.outputs
    shifted = (
        network.weights_in << network.weight_shift_in,
        network.weights_rec << network.weight_shift_rec,
        (network.weights_out << network.weight_shift_out)[:, :, None],
    )
    weights = []
    for values in shifted:  # at most 127 << 7: 16 bits hold it
        lanes = np.ascontiguousarray(np.moveaxis(values, 2, 1)).astype(np.int16)
        weights += [lanes.reshape(len(lanes), -1), *_spans(lanes)]
    narrow = [
        np.ascontiguousarray(values).ravel().astype(np.int32)
        for values in (
            network.dash_syn.T,
            network.dash_mem,
            network.bias,
            network.threshold,
            network.aliases,
            network.dash_syn_out,
            network.dash_mem_out,
            network.bias_out,
            network.threshold_out,
            np.full(outputs, NO_ALIAS),
        )
    ]
    assert narrow[0].size == hidden * network.synapses
    return (*weights, *narrow)


def _spans(lanes: Array) -> tuple[Array, Array]:
    """(first, last), (sources, synapses) each: the lanes from the first to the last weight other than 0."""
    _, synapses, targets = lanes.shape
    there = lanes != 0
    first = there.argmax(axis=2)
    last = np.where(there.any(axis=2), targets - there[..., ::-1].argmax(axis=2), first)
    offset = np.arange(synapses) * targets
    return (first + offset).astype(np.int64), (last + offset).astype(np.int64)


@cache
def _kernel() -> Any:
    files = (xylo_kernels, network_file)
    content = b"".join(Path(str(file.__file__)).read_bytes() for file in files)
    return _compiled(hashlib.sha256(content).hexdigest())


def _compiled(fingerprint: str) -> Any:
    """The kernel, kept on disk; numba looks at this file and at the closure, which tells it of the other files."""

    @numba.njit(cache=True, nogil=True)
    def simulate(  # type: ignore[no-untyped-def]
        events,
        weights_in,
        first_in,
        last_in,
        weights_rec,
        first_rec,
        last_rec,
        weights_out,
        first_out,
        last_out,
        dash_syn,
        dash_mem,
        bias,
        threshold,
        aliases,
        dash_syn_out,
        dash_mem_out,
        bias_out,
        threshold_out,
        no_aliases,
        spikes,
        currents,
        potentials,
        output_spikes,
        output_currents,
        output_potentials,
        full,
        low,
        high,
    ):
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        hidden, outputs = len(dash_mem), len(dash_mem_out)
        synapses, record = len(dash_syn) // hidden, len(spikes) > 0
        for sample in range(low, high):
            current, current_out = np.zeros(len(dash_syn), np.int32), np.zeros(outputs, np.int32)
            potential, potential_out = np.zeros(hidden, np.int32), np.zeros(outputs, np.int32)
            total, total_out = np.zeros(hidden, np.int32), np.zeros(outputs, np.int32)
            at_limit, limit_out = np.zeros(hidden, np.int32), np.zeros(outputs, np.int32)
            fired, fired_out = np.zeros(hidden, np.uint8), np.zeros(outputs, np.uint8)
            for step in range(len(events)):
                deliver(current, events[step, sample], weights_in, first_in, last_in)
                deliver(current, fired, weights_rec, first_rec, last_rec)
                deliver(current_out, fired, weights_out, first_out, last_out)
                integrate(current, potential, total, at_limit, dash_syn, dash_mem, bias, full[:hidden])
                integrate(
                    current_out,
                    potential_out,
                    total_out,
                    limit_out,
                    dash_syn_out,
                    dash_mem_out,
                    bias_out,
                    full[hidden:],
                )
                fire(potential, threshold, aliases, HIDDEN_EVENTS, fired)
                fire(potential_out, threshold_out, no_aliases, OUTPUT_EVENTS, fired_out)
                output_spikes[step, sample] = fired_out
                output_currents[step, sample] = current_out
                output_potentials[step, sample] = potential_out
                if record:
                    spikes[step, sample] = fired
                    potentials[step, sample] = potential
                    for synapse in range(synapses):
                        currents[step, sample, synapse] = current[synapse * hidden : (synapse + 1) * hidden]

    return simulate
