"""The engine: many chips × many samples, equal to the reference bit for bit, as fast as the machine allows.

On a CPU, networks run as tables in compiled loops (`simulate.spiking_network`): what all chips share is computed once,
the rest is the work of spikes alone, chips and samples spread over threads. On a GPU: `simulate.torch_engine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.hw_models.dynamic_noise import DynamicNoise
from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.program import Program
from neurodeploy.simulate import torch_engine
from neurodeploy.simulate.recording import Counts, Recording, check_inputs
from neurodeploy.simulate.spiking_tables import channels_first
from neurodeploy.simulate.stages import Spikes, Stage, make_stages
from neurodeploy.simulate.torch_device import exact_arithmetic, find_device

__all__ = ["Counts", "run", "run_chips"]

_CHUNK_BYTES = 2**25  # of what is held at once for a chip's samples


@exact_arithmetic(torch.device("cpu"))
def run(
    program: Program,
    inputs: NDArray[Any],
    noise: DynamicNoise | None = None,
    first_sample: int = 0,
    device: str = "cpu",
    potentials: bool = True,
) -> Recording:
    """One chip with all spikes recorded, and potentials unless they are not wanted.

    Other arguments and errors as of `reference.run` and `run_chips`.
    """
    if find_device(device).type != "cpu":
        return torch_engine.run(program, inputs, noise, first_sample, device, potentials)
    batch, static = check_inputs(program, inputs)
    (stage,) = make_stages([program], [noise], inputs, static)
    kind = np.int64 if program.fixed_point else np.float64
    found = [
        stage.record(
            stage.shared(inputs[part] if static else inputs[:, part], {}), first_sample + part.start, potentials
        )
        for part in _parts(batch, stage)
    ]

    def joined(name: str, values: Sequence[NDArray[Any]], shape: Shape) -> NDArray[Any]:
        low = stage.plan.place[name]
        whole = np.concatenate([one[:, :, low : low + int(np.prod(shape))] for one in values])
        return channels_first(whole.swapaxes(0, 1), shape)

    firing = [layer for layer in program.layers if layer.fires]
    readout = np.concatenate([one.readout[0] for one in found])
    if noise is not None:
        readout = noise.readout(readout, first_sample)
    return Recording(
        {layer.name: joined(layer.name, [one.spikes for one in found], layer.shape) for layer in firing},
        {
            layer.name: joined(layer.name, [one.potentials for one in found], layer.shape).astype(kind)
            for layer in (program.layers if potentials else ())
        },
        readout.astype(kind),
    )


@exact_arithmetic(torch.device("cpu"))
def run_chips(
    programs: Sequence[Program],
    inputs: NDArray[Any],
    noise: Sequence[DynamicNoise | None] | None = None,
    device: str = "cpu",
) -> Counts:
    """Many chips on the same samples.

    Args:
        programs: one per chip, the same layers and geometry; layers and weights that are the same object in all are
            computed once.
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).
        noise: of every chip in this trial, None where a chip has none.
        device: "cpu", "cuda" or "cuda:N"; the results are the same to the bit.

    Raises:
        UsageError: for an unknown device, or where the input does not suit the program.
        MissingBackendError: where there is no GPU.
    """
    program = programs[0]
    batch, static = check_inputs(program, inputs)
    noises = list(noise) if noise is not None else [None] * len(programs)
    if find_device(device).type != "cpu":
        return torch_engine.run_chips(programs, inputs, noises, device)
    stages = make_stages(programs, noises, inputs, static)
    parts = _parts(batch, *stages)
    readouts: list[NDArray[Any]] = []
    counts = {layer.name: np.zeros((len(programs), *layer.shape), dtype=np.int64) for layer in program.layers}
    for part in parts:
        chosen = inputs[part] if static else inputs[:, part]
        known: Spikes = {}
        for stage in stages:
            shared = stage.shared(chosen, known)
            found = stage.run_all(shared, part.start)
            for name, fired in found.counts.items():
                counts[name] += fired
            if stage is not stages[-1]:
                known = stage.spikes(shared)
        readouts.append(np.broadcast_to(found.readout, (len(programs), *found.readout.shape[1:])))
    readout = np.concatenate(readouts, axis=1)
    for chip, one in enumerate(noises):
        if one is not None:
            readout[chip] = one.readout(readout[chip], 0)
    kind = np.int64 if program.fixed_point else np.float64
    return Counts(readout.astype(kind), {layer.name: counts[layer.name] for layer in program.layers if layer.fires})


def _parts(batch: int, *stages: Stage) -> list[slice]:
    """Samples that are run at once: as few parts of about the same size as memory allows."""
    samples = max(1, min(batch, _CHUNK_BYTES // max(stage.bytes_per_sample for stage in stages)))
    count = -(-batch // samples)
    cuts = [batch * number // count for number in range(count + 1)]
    return [slice(low, high) for low, high in pairwise(cuts)]
