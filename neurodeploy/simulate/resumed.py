"""A program run on from layers whose spikes are known: only the others are computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.program import INPUT, Layer, Program
from neurodeploy.simulate.recording import check_inputs
from neurodeploy.simulate.spiking_tables import channels_first, channels_last
from neurodeploy.simulate.stages import Stage
from neurodeploy.simulate.torch_device import exact_arithmetic

_CHUNK_BYTES = 2**26  # of what is held at once


class Rest(NamedTuple):
    """Layer -> (T, B, *shape), 0 or 1; (B, classes) summed over time."""

    spikes: Mapping[str, NDArray[np.uint8]]
    readout: NDArray[Any]


def independent(layers: tuple[Layer, ...], count: int) -> int:
    """How many of the first `count` layers hear nothing, not even late, from those behind them."""
    number = {INPUT: -1} | {layer.name: index for index, layer in enumerate(layers)}
    while any(number[one.source] >= count for layer in layers[:count] for one in layer.synapses):
        count -= 1
    return count


@exact_arithmetic(torch.device("cpu"))
def run_on(program: Program, inputs: NDArray[Any], known: Mapping[str, NDArray[Any]]) -> Rest:
    """Spikes and readout that `engine.run` gives of a chip without noise, of the layers that are not known.

    Args:
        program: the network.
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).
        known: name -> spikes (T, B, *shape) of the first layers of the program, which hear from no other.

    Raises:
        UsageError: where the input does not suit the program, or the known layers are not its first ones.
    """
    batch, static = check_inputs(program, inputs)
    count = len(program.layers)
    names = [layer.name for layer in program.layers[: len(known)]]
    if len(known) >= count or set(names) != set(known) or independent(program.layers, len(known)) != len(known):
        raise UsageError(f"known layers {', '.join(known)}: the first ones are expected, and some layer behind them")
    stage = Stage([program], [None], range(len(known), count), inputs, static)
    given = {name: channels_last(known[name].swapaxes(0, 1), program.shapes[name]) for name in names}
    samples = max(1, min(batch, _CHUNK_BYTES // stage.bytes_per_sample))
    parts = [slice(low, min(low + samples, batch)) for low in range(0, batch, samples)]
    found = [
        stage.record(
            stage.shared(
                inputs[part] if static else inputs[:, part], {name: spikes[part] for name, spikes in given.items()}
            ),
            part.start,
            potentials=False,
        )
        for part in parts
    ]

    def joined(name: str, values: list[NDArray[Any]]) -> NDArray[Any]:
        low, shape = stage.plan.place[name], program.shapes[name]
        whole = np.concatenate([one[:, :, low : low + int(np.prod(shape))] for one in values])
        return channels_first(whole.swapaxes(0, 1), shape)

    firing = [layer.name for layer in program.layers[len(known) :] if layer.fires]
    return Rest(
        {name: joined(name, [one.spikes for one in found]) for name in firing},
        np.concatenate([one.readout[0] for one in found]).astype(np.int64 if program.fixed_point else np.float64),
    )
