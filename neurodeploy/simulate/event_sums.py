"""What synapses bring of sparse spikes that are known before a network runs: the rows of their weights, added up."""

# mypy does not read the compiled function; see `simulate.spiking_kernels`.

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import INPUT, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses
from neurodeploy.simulate import outside, spiking_kernels, spiking_layers
from neurodeploy.simulate.spiking_chips import chip_weights
from neurodeploy.simulate.spiking_layers import FIRST, ORIGIN, PITCH, ROW, ROWS, SIZE, SUMS, add_list
from neurodeploy.simulate.spiking_lists import lists
from neurodeploy.simulate.spiking_rows import LayerRow
from neurodeploy.simulate.spiking_tables import lay_out

_PIECE = 16  # samples whose sums are computed at once: few enough for the cache
_U = np.uint64


def add_event_sums(
    program: Program, synapses: Synapses, shape: Shape, frames: NDArray[Any], target: NDArray[Any]
) -> None:
    """target += what synapses bring of frames (B, T, *shape of the source), (B, T, n) in the order of the tables."""
    plain = replace(synapses, source=INPUT, delay=0)
    if not isinstance(plain, ConvSynapses):
        plain = replace(plain, weight_exponent=0)
    forgetful = FloatNeurons(np.zeros(()), np.zeros(()), np.zeros(shape))
    layer = Layer("sums", shape, (plain,), forgetful, 1.0, fires=False)
    source = Input(program.shapes[synapses.source], bits=program.input.bits if synapses.source == INPUT else 1)
    steps, size = frames.shape[1], int(np.prod(shape))
    summing = Program(program.chip, steps, source, (layer,), "membrane")
    plan = lay_out([summing], range(1), [INPUT], frozenset(), frozenset(), frozenset())
    weights = chip_weights(plan, summing)
    room = int(plan.tables.layers[0, LayerRow._fields.index("sums")])

    def work(low: int) -> None:
        part = frames[low : low + _PIECE]
        listed, starts = lists([(part, source.shape, source.bits > 1)], steps)
        found = np.empty((len(part), steps, size), dtype=plan.sums)
        _kernel()(plan.tables, weights, listed, starts[0], np.zeros(room, dtype=plan.sums), found.reshape(-1))
        target[low : low + _PIECE] += outside.transformed(program, synapses, found)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(work, range(0, len(frames), _PIECE)))


@cache
def _kernel() -> Any:
    files = (spiking_kernels.__file__, spiking_layers.__file__)
    return _compiled(hashlib.sha256(b"".join(Path(one).read_bytes() for one in files)).hexdigest())


def _compiled(fingerprint: str) -> Any:
    """Kept on disk; the fingerprint in its closure tells numba of changes in the other files."""

    @numba.njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
    def sum_events(tables: Any, weights: Any, listed: Any, starts: Any, sums: Any, found: Any) -> None:
        """Writes the sums of the only layer, whose only synapses bring the listed spikes.

        Args:
            starts: where those of each row of `found` begin, and the end.
            sums: (`LayerRow.sums`); overwritten.
            found: rows of the layer's size.
        """
        fingerprint  # noqa: B018 — has to be named here to be in the closure
        layers, synapses = tables.layers, tables.synapses
        taps, targets, rows = tables.taps, tables.targets, tables.rows
        size, room, width = _U(layers[0, SIZE]), layers[0, SUMS], _U(layers[0, ROW])
        width = min(width, size)
        for row in range(_U(starts.size - 1)):
            sums[:room] = 0
            begin, end = _U(starts[row]), _U(starts[row + _U(1)])
            add_list(synapses, taps, targets, rows, weights, layers[0, FIRST], listed, begin, end, _U(0), sums)
            for line in range(_U(layers[0, ROWS])):
                into, place = row * size + line * width, _U(layers[0, ORIGIN]) + line * _U(layers[0, PITCH])
                for i in range(width):
                    found[into + i] = sums[place + i]

    return sum_events
