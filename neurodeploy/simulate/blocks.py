"""Chips side by side in one compiled call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from neurodeploy.ir.program import Program
from neurodeploy.simulate.spiking_chips import chip_arrays, chip_weights, inner_synapses
from neurodeploy.simulate.spiking_rows import NEURON_ROWS, Array, ChipArrays
from neurodeploy.simulate.spiking_tables import Plan

_MOST_AT_ONCE = 16  # chips
_CACHE_BYTES = 2**18  # of what chips that run side by side have of their own


@dataclass(frozen=True, eq=False)
class Block:
    """The chips `first` up to `last`, side by side."""

    first: int
    last: int
    arrays: ChipArrays

    def alone(self, neurons: int) -> Block:
        """Its first chip."""
        whole = self.arrays
        layers = len(whole.unit) // (self.last - self.first)
        rows = {name: getattr(whole, name)[:neurons] for name in NEURON_ROWS}
        return Block(self.first, self.first + 1, whole._replace(**rows, unit=whole.unit[:layers]))


def make_blocks(plan: Plan, programs: Sequence[Program], apart: bool) -> list[Block]:
    """Chips that run side by side: as many as the cache holds, where they have the same weights; each alone if `apart`.

    Their number is a multiple of that of the threads, where there are as many chips.
    """
    weights: dict[tuple[int, ...], Array] = {}
    arrays = []
    for program in programs:
        same = tuple(id(one.weight) for one in inner_synapses(plan, program))
        if same not in weights:
            weights[same] = chip_weights(plan, program)
        arrays.append(chip_arrays(plan, program, weights[same]))
    alike = len(weights) == 1
    at_once = 1 if apart or not alike else max(1, min(_MOST_AT_ONCE, _CACHE_BYTES // (24 * plan.neurons)))
    threads = torch.get_num_threads()
    count = min(len(programs), -(-len(programs) // (at_once * threads)) * threads)
    cuts = [len(programs) * index // count for index in range(count + 1)]
    return [Block(low, high, _stacked(arrays[low:high])) for low, high in pairwise(cuts)]


def _stacked(chips: Sequence[ChipArrays]) -> ChipArrays:
    if len(chips) == 1:
        return chips[0]
    rows = {name: np.concatenate([getattr(one, name) for one in chips]) for name in (*NEURON_ROWS, "unit")}
    return chips[0]._replace(**rows)
