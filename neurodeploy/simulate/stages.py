"""A population in one or two stages: the layers that are the same in all chips, run once, and the others, per chip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.hw_models.dynamic_noise import DynamicNoise
from neurodeploy.ir.program import INPUT, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses
from neurodeploy.simulate import outside
from neurodeploy.simulate.blocks import Block, make_blocks
from neurodeploy.simulate.event_sums import add_event_sums
from neurodeploy.simulate.spiking_lists import lists
from neurodeploy.simulate.spiking_network import run_samples
from neurodeploy.simulate.spiking_rows import Drive, LayerRow, Record
from neurodeploy.simulate.spiking_tables import channels_first, lay_out

Array = NDArray[Any]
Spikes = Mapping[str, NDArray[np.uint8]]  # layer -> (B, T, n), in the order of the tables
_LISTED_BYTES = 2  # of a list, about, per neuron and step
_SURVEYED = 2**20  # input values by which it is judged whether they are sparse
_SPARSE = 0.3  # input events per value and step below which adding them one by one beats a matrix product


class Shared(NamedTuple):
    """What reaches all chips alike, of some samples: parts of `spiking_network.Drive`, and what they are made of.

    Attributes:
        frames: source -> (B, *shape) where it does not change, else (B, T, *shape).
        starts: (sources, B * T + 1).
    """

    frames: Mapping[str, Array]
    listed: Array
    starts: Array
    steady: Array
    changing: Array


class Found(NamedTuple):
    """What a stage put out: (chips, B, classes), and layer -> (chips, *shape)."""

    readout: Array
    counts: Mapping[str, Array]


@dataclass(frozen=True)
class _Before:
    """Synapses whose sums are computed before the tables run: layer's number, synapses' number."""

    layer: int
    index: int
    changes: bool
    shared: bool


def make_stages(
    programs: Sequence[Program], noises: Sequence[DynamicNoise | None], inputs: Array, static: bool
) -> list[Stage]:
    """The stages of a population: at most one that all chips share, and one of each chip's own."""
    count = len(programs[0].layers)
    alike = _alike(programs, noises) if len(programs) > 1 else 0
    stages = [Stage(programs[:1], [None], range(alike), inputs, static)] if alike else []
    return stages + ([Stage(programs, noises, range(alike, count), inputs, static)] if alike < count else [])


class Stage:
    """Some layers of a population, ready to run.

    Attributes:
        plan: the tables.
        bytes_per_sample: memory that a sample takes on a chip.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        noises: Sequence[DynamicNoise | None],
        layers: range,
        inputs: Array,
        static: bool,
    ) -> None:
        self._programs, self._noises, self._static = programs, noises, static
        self._program = program = programs[0]
        earlier = [layer.name for layer in program.layers[: layers.start]]
        self._before = list(_sums_before(programs, layers, earlier, static, static or _density(inputs) > _SPARSE))
        there = {(one.layer, one.index) for one in self._before}
        inside = {
            one.source
            for number in layers
            for index, one in enumerate(program.layers[number].synapses)
            if (number, index) not in there
        }
        self._known = [name for name in (INPUT, *earlier) if name in inside]
        keys = [
            frozenset((program.layers[one.layer].name, one.index) for one in self._before if one.changes == changes)
            for changes in (False, True)
        ]
        noisy = frozenset(name for one in noises if one is not None for name in one.deviations)
        masked = any(one is not None and bool(one.probabilities or one.stuck) for one in noises)
        self.plan = lay_out(programs, layers, self._known, keys[0], keys[1], noisy)
        apart = masked or not all(one.shared for one in self._before)
        self._blocks = make_blocks(self.plan, programs, apart or any(one is not None and one.slow for one in noises))
        wide = np.dtype(self.plan.sums).itemsize
        lists = sum(int(np.prod(program.shapes[name])) for name in self._known) * _LISTED_BYTES
        slow = any(one is not None and one.slow for one in noises)
        each_step = self.plan.neurons * (1 + 8 * slow + masked) + wide * self.plan.widths[1] + lists
        self.bytes_per_sample = program.steps * each_step + wide * self.plan.widths[0]

    def shared(self, inputs: Array, spikes: Spikes) -> Shared:
        """What all chips receive of samples with those inputs and those spikes of earlier stages."""
        program, plan, steps = self._program, self.plan, self._program.steps
        frames: dict[str, Array] = {INPUT: inputs if self._static else inputs.swapaxes(0, 1)}
        frames |= {name: channels_first(values, program.shapes[name]) for name, values in spikes.items()}
        batch = len(frames[INPUT])
        graded = {INPUT: program.input.bits > 1}
        listed, starts = lists(
            [(frames[name], program.shapes[name], graded.get(name, False)) for name in self._known], steps
        )
        steady = np.zeros((batch, plan.widths[0]), dtype=plan.sums)
        changing = np.zeros((batch, steps, plan.widths[1]), dtype=plan.sums)
        self._add_sums(program, frames, True, steady, changing)
        return Shared(frames, listed, starts, steady, changing)

    def run_all(self, shared: Shared, first_sample: int) -> Found:
        """All chips on some samples."""
        batch, threads = len(shared.steady), torch.get_num_threads()
        pieces = max(1, min(batch, -(-threads // len(self._blocks))))
        cuts = [batch * piece // pieces for piece in range(pieces + 1)]
        last = self._program.layers[-1]
        readout = np.zeros((len(self._programs), batch, *last.shape))
        tasks = [(block, low, high) for block in self._blocks for low, high in pairwise(cuts)]

        def work(task: tuple[Block, int, int]) -> Array:
            block, low, high = task
            found = self._run(block, _part(shared, low, high, self._program.steps), first_sample + low, recorded=False)
            readout[block.first : block.last, low:high] = found.readout
            return found.counts

        with ThreadPoolExecutor(threads) as pool:
            counted = list(pool.map(work, tasks))
        counts = np.concatenate([sum(counted[at : at + pieces]) for at in range(0, len(tasks), pieces)])
        return Found(readout, {layer.name: self._of(layer.name, counts) for layer in self.plan.layers})

    def record(self, shared: Shared, first_sample: int, potentials: bool = True) -> Record:
        """The first chip on some samples, with all spikes, and potentials on request."""
        (block,) = self._blocks[:1]
        return self._run(block.alone(self.plan.neurons), shared, first_sample, recorded=True, potentials=potentials)

    def spikes(self, shared: Shared) -> Spikes:
        """The spikes of the first chip, for the stage after this."""
        found = self.record(shared, 0, potentials=False).spikes
        low = {layer.name: self.plan.place[layer.name] for layer in self.plan.layers}
        return {
            layer.name: found[:, :, low[layer.name] : low[layer.name] + int(np.prod(layer.shape))]
            for layer in self.plan.layers
        }

    def _of(self, name: str, values: Array) -> Array:
        """A layer's part of rows of all neurons, (…, *shape)."""
        shape, low = self._program.shapes[name], self.plan.place[name]
        return channels_first(values[..., low : low + int(np.prod(shape))], shape)

    def _run(self, block: Block, shared: Shared, first_sample: int, recorded: bool, potentials: bool = False) -> Record:
        chips = range(block.first, block.last)
        program, noises, plan = self._programs[block.first], [self._noises[chip] for chip in chips], self.plan
        batch, steps = len(shared.steady), program.steps
        steady, changing = shared.steady, shared.changing
        if not all(one.shared for one in self._before):
            steady, changing = steady.copy(), changing.copy()
            self._add_sums(program, shared.frames, False, steady, changing)
        masks = outside.masks(plan, noises[0], steps, first_sample, batch)
        noise = outside.noise(plan, noises, steps, first_sample, batch)
        shape, count = program.layers[-1].shape, batch * steps * plan.neurons if recorded else 0
        record = Record(
            np.zeros(len(chips) * batch * int(np.prod(shape))),
            np.zeros(len(chips) * plan.neurons, dtype=np.int64),
            np.zeros(count, dtype=np.uint8),
            np.zeros(count if potentials else 0),
        )
        room = int(plan.tables.layers[:, LayerRow._fields.index("sums")].max())
        scratch = np.zeros(room, dtype=plan.sums), np.zeros(room, dtype=plan.sums)
        drive = Drive(steady, changing, shared.listed, shared.starts.reshape(-1), masks.reshape(-1))
        run_samples(plan.tables, block.arrays, drive, noise, record, steps, *scratch)
        whole = batch, steps
        return Record(
            channels_first(record.readout.reshape(len(chips), batch, -1), shape),
            record.counts.reshape(len(chips), -1),
            record.spikes.reshape(*whole, plan.neurons if recorded else 0),
            record.potentials.reshape(*whole, plan.neurons if potentials else 0),
        )

    def _add_sums(
        self, program: Program, frames: Mapping[str, Array], shared: bool, steady: Array, changing: Array
    ) -> None:
        for one in self._before:
            if one.shared != shared:
                continue
            layer = program.layers[one.layer]
            synapses = layer.synapses[one.index]
            source, low = frames[synapses.source], self.plan.columns[layer.name, one.changes]
            size = int(np.prod(layer.shape))
            if not one.changes:
                steady[:, low : low + size] += outside.sums(program, synapses, source)
                continue
            target = changing[:, synapses.delay :, low : low + size]
            if target.shape[1] == 0:  # nothing arrives before the end
                continue
            if source.ndim == 1 + len(program.shapes[synapses.source]):
                target += outside.sums(program, synapses, source)[:, None]
            elif source.mean() > _SPARSE:
                target += outside.sums(program, synapses, source[:, : target.shape[1]])
            else:
                add_event_sums(program, synapses, layer.shape, source[:, : target.shape[1]], target)


def _density(inputs: Array) -> float:
    """Events per value and step, of some samples: either way to add them up gives the same sums."""
    return float(inputs[:, :: -(-inputs.size // _SURVEYED)].mean())


def _part(shared: Shared, low: int, high: int, steps: int) -> Shared:
    frames = {name: values[low:high] for name, values in shared.frames.items()}
    starts = np.ascontiguousarray(shared.starts[:, low * steps : high * steps + 1])
    return Shared(frames, shared.listed, starts, shared.steady[low:high], shared.changing[low:high])


def _alike(programs: Sequence[Program], noises: Sequence[DynamicNoise | None]) -> int:
    """How many of the first layers are the same in all chips and quiet; whole loops of feedback only."""
    first = programs[0].layers
    names = {layer.name: number for number, layer in enumerate(first)}
    count = 0
    for number, layer in enumerate(first):
        noisy = any(
            one is not None
            and (layer.name in one.deviations or layer.name in one.probabilities or layer.name in one.stuck)
            for one in noises
        )
        if noisy or any(program.layers[number] is not layer for program in programs):
            break
        count = number + 1
    while any(names.get(one.source, -1) >= count for layer in first[:count] for one in layer.synapses):
        count -= 1
    return count


def _sums_before(
    programs: Sequence[Program], layers: range, earlier: Sequence[str], static: bool, dense: bool
) -> Iterator[_Before]:
    """Synapses whose sums are computed first: of a static or dense input, and those that are shared."""
    for number in layers:
        for index, one in enumerate(programs[0].layers[number].synapses):
            if not isinstance(one, ConvSynapses) and one.delays is not None:
                continue
            alike = all(_weights(program, number, index) is one.weight for program in programs)
            product = dense if one.source == INPUT else False
            if one.source in (INPUT, *earlier) and (product or (alike and len(programs) > 1)):
                steady = one.source == INPUT and static and one.delay == 0
                yield _Before(number, index, not steady, alike)


def _weights(program: Program, number: int, index: int) -> Array:
    synapses: Synapses = program.layers[number].synapses[index]
    return synapses.weight
