"""Rockpool's DynapSim, jitted and batched: loaded when it runs, because it imports jax and Rockpool.

DynapSim is built without Rockpool's mapper, whose core numbers leave neurons without parameters where a layer's size is
not a multiple, and whose Ipulse_ahp of 0 makes everything NaN under mismatch. One compilation serves all chips of a
network: parameters are arguments of the compiled function.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.export.dynapse2_parameters import STATES, input_weights, parameters
from neurodeploy.hw_models.dynapse2_mismatch import Realised
from neurodeploy.simulate.dynapse2 import SCALE

Array = NDArray[Any]


@contextlib.contextmanager
def without_samna() -> Iterator[None]:
    """Keeps Rockpool from importing samna, whose stub on PyPI installs packages when imported, and from warning of it.

    Where samna is loaded already it stays.
    """
    absent = "samna" not in sys.modules
    if absent:
        sys.modules["samna"] = None  # type: ignore[assignment]  # `import samna` raises ModuleNotFoundError
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
        if absent:
            del sys.modules["samna"]


with without_samna():
    import jax
    from jax import numpy as jnp
    from rockpool.devices.dynapse.simulation.dynapsim import DynapSim


def simulate(chip: Realised, events: Array, noise: Array | None = None) -> tuple[Array, Array, Array]:
    """Runs DynapSim on all samples at once, the input's weights before it as Rockpool's LinearJax.

    Args:
        events: (steps, B, channels).
        noise: (chip steps, B, neurons) on the weight currents, in units of SCALE.

    Returns:
        (chip steps, B, neurons) each: spikes, membranes before the reset and synaptic currents, ampere.

    Raises:
        NeurodeployError: where a number is not finite.
    """
    spread, into = inputs(chip, events)
    run = compiled(chip.network.neurons, chip.network.dt)
    extra = np.float32(0) if noise is None else noise.transpose(1, 0, 2)
    spikes, vmem, isyn = (np.asarray(part).transpose(1, 0, 2) for part in run(parameters(chip), into, spread, extra))
    broken = ~(np.isfinite(spikes) & np.isfinite(vmem) & np.isfinite(isyn)).all(axis=1)
    if broken.any():
        step = int(broken.any(axis=1).argmax())
        named = ", ".join(map(str, np.flatnonzero(broken[step])[:5]))
        raise NeurodeployError(
            f"DynapSim: numbers that are not finite from step {step + 1} on, first in neurons {named}; a current of 0 "
            "among their parameters does that"
        )
    kappa = (chip.values["kappa_n"] + chip.values["kappa_p"]) / 2
    membranes = chip.values["io"] * np.exp(vmem.astype(np.float64) * kappa / chip.values["ut"])
    return np.minimum(spikes, 255).astype(np.uint8), membranes.astype(np.float32), isyn


def module(chip: Realised) -> Any:
    """A DynapSim with a chip's parameters, as a user of Rockpool has it; its input is (B, T, neurons)."""
    own = parameters(chip)
    states = {name: own.pop(name) for name in STATES}
    size = chip.network.neurons
    made = DynapSim(
        shape=(size, size), has_rec=True, dt=chip.network.dt, Iscale=SCALE, rng_key=jax.random.PRNGKey(0), **own
    )
    return made.set_attributes(states)


def inputs(chip: Realised, events: Array) -> tuple[Array, Array]:
    """Events (B, chip steps, channels), float32, in the first step of each of the network's; and their weights."""
    network = chip.network
    spread = np.zeros((events.shape[1], network.chip_steps, events.shape[2]), dtype=np.float32)
    spread[:, : network.steps * network.substeps : network.substeps] = events.transpose(1, 0, 2)
    return spread, input_weights(chip)


@cache
def compiled(neurons: int, dt: float, traces: bool = True) -> Any:
    """(parameters, input weights, events, noise) -> (spikes, vmem, isyn), each (B, chip steps, neurons).

    Args:
        traces: False for spikes alone.
    """
    bare = DynapSim(
        shape=(neurons, neurons),
        has_rec=True,
        w_rec=np.zeros((neurons, neurons), dtype=np.float32),
        dt=dt,
        Iscale=SCALE,
        rng_key=jax.random.PRNGKey(0),
    )

    @jax.jit
    def run(own: dict[str, Any], into: Any, spread: Any, noise: Any) -> Any:
        spikes, _, record = bare.set_attributes(own).evolve(jnp.matmul(spread, into) + noise)
        return (spikes, record["vmem"], record["isyn"]) if traces else (spikes,)

    return run
