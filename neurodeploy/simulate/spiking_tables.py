"""From Programs to the tables that `simulate.spiking_network` runs; images lie channels innermost there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.arrays import IntArray, Shape
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses, Weights
from neurodeploy.simulate.bounds import Bounds, integrates, wraps
from neurodeploy.simulate.spiking_rows import (
    INTEGRATES,
    READS_POTENTIALS,
    READS_SPIKES,
    LayerRow,
    SynapsesRow,
    Tables,
)
from neurodeploy.simulate.spiking_taps import Border, border_of, fast, taps_of

_ROW = 32  # neurons of a row that are computed in one piece; also whole words of spikes
LANES = 16  # sums that a processor adds at once
Outside = frozenset[tuple[str, int]]


@dataclass(frozen=True, eq=False)
class Plan:
    """Some layers of a network, laid out.

    Attributes:
        layers: those that are run.
        outside: (layer, number of its synapses) whose sums are computed elsewhere and arrive as columns.
        place: layer -> of its neurons in the row of all `neurons`.
        columns: (layer, whether they change from step to step) -> where its outside sums begin.
        widths: columns that do not change, and columns that do.
        sums: integers that are wide enough.
    """

    tables: Tables
    layers: tuple[Layer, ...]
    outside: Outside
    place: Mapping[str, int]
    neurons: int
    columns: Mapping[tuple[str, bool], int]
    widths: tuple[int, int]
    sums: type[np.signedinteger[Any]]


def channels_last(values: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """(…, *shape) with a layer's neurons in the order of the tables, (…, n)."""
    lead = values.shape[: values.ndim - len(shape)]
    moved = np.moveaxis(values, -3, -1) if len(shape) == 3 else values
    return np.ascontiguousarray(moved).reshape(*lead, -1)


def channels_first(values: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """The inverse of `channels_last`."""
    lead = values.shape[:-1]
    if len(shape) != 3:
        return values.reshape(*lead, *shape)
    moved = np.moveaxis(values.reshape(*lead, shape[1], shape[2], shape[0]), -1, -3)
    return np.ascontiguousarray(moved)


def lay_out(
    programs: Sequence[Program],
    layers: range,
    known: Sequence[str],
    steady: Outside,
    changing: Outside,
    noisy: frozenset[str],
) -> Plan:
    """Tables for some layers of a population.

    Args:
        programs: one per chip; the tables suit them all.
        layers: by number.
        known: sources whose spikes are given, as lists.
        steady, changing: synapses whose sums are given, the same at every step or not.
        noisy: layers to whose potentials noise is added.
    """
    program = programs[0]
    run = [program.layers[number] for number in layers]
    place, low = {}, 0
    for layer in run:
        place[layer.name] = low
        low += round_up(int(np.prod(layer.shape)), _ROW)
    table = _Table(program, place, known, steady | changing)
    bounds = [[Bounds.of(one, number) for one in _different(programs, number)] for number in layers]
    columns: dict[tuple[str, bool], int] = {}
    widths = [0, 0]
    for layer, number in zip(run, layers, strict=True):
        for changes, given in enumerate((steady, changing)):
            if any((layer.name, index) in given for index in range(len(layer.synapses))):
                columns[layer.name, bool(changes)] = widths[changes]
                widths[changes] += round_up(int(np.prod(layer.shape)), _ROW)
        full = layer.name in noisy or any(one.in_full for one in bounds[number - layers.start])
        reads = 0
        if number == len(program.layers) - 1:
            reads = READS_SPIKES if layer.fires else READS_POTENTIALS
            simple = not full and not any(key[0] == layer.name for key in columns)
            if simple and all(integrates(one, layer.name, place) for one in _different(programs, number)):
                reads = INTEGRATES
        table.add(layer, columns, full, reads)
    narrow = all(one.sum < 2**31 and one.narrow for several in bounds for one in several)
    return Plan(
        table.finished(_groups(run), low),
        tuple(run),
        steady | changing,
        place,
        low,
        columns,
        (widths[0], widths[1]),
        np.int32 if narrow else np.int64,
    )


class _Table:
    """Rows of a table as they are put together."""

    def __init__(self, program: Program, place: Mapping[str, int], known: Sequence[str], outside: Outside) -> None:
        self.program, self.place, self.known, self.outside = program, place, known, outside
        self.layers: list[LayerRow] = []
        self.synapses: list[SynapsesRow] = []
        self.taps: list[IntArray] = []
        self.targets: list[IntArray] = []
        self.rows: list[IntArray] = []
        self.weights = self.tap_places = self.tap_count = 0

    def add(self, layer: Layer, columns: Mapping[tuple[str, bool], int], full: bool, reads: int) -> None:
        inner = [one for index, one in enumerate(layer.synapses) if (layer.name, index) not in self.outside]
        convolutions = [one for one in inner if isinstance(one, ConvSynapses)]
        border = border_of(convolutions, self.program.shapes, layer.shape)
        first = len(self.synapses)
        for one in inner:
            self._add_synapses(one, layer, border)
        image = len(layer.shape) == 3
        size, channels = int(np.prod(layer.shape)), layer.shape[0] if image else 1
        # A row of no image is rounded up: neurons past its end never fire, and what is left of a vector costs most.
        rows, width = (layer.shape[1], layer.shape[2] * channels) if image else (1, round_up(size, _ROW))
        neurons = layer.neurons
        self.layers.append(
            LayerRow(
                place=self.place[layer.name],
                size=size,
                rows=rows,
                row=width,
                origin=border.origin * channels,
                pitch=border.pitch * channels if image else width,
                sums=rows * border.pitch * channels if image else round_up(size, _ROW),
                first=first,
                last=len(self.synapses),
                steady=columns.get((layer.name, False), -1),
                changing=columns.get((layer.name, True), -1),
                fixed_point=int(isinstance(neurons, FixedPointNeurons)),
                in_full=int(full),
                at_threshold=int(not isinstance(neurons, FixedPointNeurons) and neurons.fires_at_threshold),
                subtract=int(not isinstance(neurons, FixedPointNeurons) and neurons.reset == "subtract"),
                reads=reads,
            )
        )

    def _add_synapses(self, one: Synapses, layer: Layer, border: Border) -> None:
        source = self.program.shapes[one.source]
        wrapped = wraps(self.program, one)
        shift = 0 if isinstance(one, ConvSynapses) else one.weight_exponent
        own = int(wrapped or shift != 0)
        for extra, _ in by_delay(one):
            row = SynapsesRow(
                place=self.place.get(one.source, 0),
                pixels=1,
                channels=int(np.prod(source)),
                delay=one.delay + extra,
                taps=-1,
                weights=self.weights,
                run=round_up(one.weight.shape[0], LANES),
                row_step=round_up(one.weight.shape[0], LANES),
                inside=1,
                outside=0,
                own=own,
                wraps=int(wrapped),
                shift=shift,
                given=self.known.index(one.source) if one.source in self.known else -1,
            )
            if isinstance(one, ConvSynapses):
                places, targets, rows = taps_of(one, source, layer.shape, border)
                outputs, inputs, height, width = one.weight.shape
                row = row._replace(
                    pixels=source[1] * source[2],
                    channels=source[0],
                    taps=self.tap_places,
                    run=width * outputs if fast(one) else outputs // one.groups,
                    row_step=height * width * (outputs // one.groups),
                    inside=inputs,
                    outside=outputs // one.groups,
                )
                self.taps.append(places + self.tap_count)
                self.targets.append(targets)
                self.rows.append(rows)
                self.tap_places += len(places)
                self.tap_count += len(targets)
            self.synapses.append(row)
            self.weights += row.row_step * row.channels

    def finished(self, groups: IntArray, neurons: int) -> Tables:
        def joined(parts: list[IntArray]) -> IntArray:
            return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

        return Tables(
            np.array(self.layers, dtype=np.int64),
            np.array(self.synapses, dtype=np.int64).reshape(-1, len(SynapsesRow._fields)),
            groups,
            joined(self.taps),
            joined(self.targets),
            joined(self.rows),
            neurons,
        )


def _different(programs: Sequence[Program], number: int) -> Iterator[Program]:
    """Programs whose layer of that number is an object of its own."""
    seen: set[int] = set()
    for program in programs:
        if id(program.layers[number]) not in seen:
            seen.add(id(program.layers[number]))
            yield program


def by_delay(one: Synapses) -> list[tuple[int, Weights]]:
    return [(0, one.weight)] if isinstance(one, ConvSynapses) else list(one.by_delay())


def _groups(layers: Sequence[Layer]) -> IntArray:
    """Where groups begin: a layer that feeds an earlier one runs with it, step by step."""
    order = {layer.name: index for index, layer in enumerate(layers)}
    together = list(range(len(layers)))  # the first layer of each one's group
    for index, layer in enumerate(layers):
        for one in layer.synapses:
            if order.get(one.source, -1) > index:
                for between in range(index, order[one.source] + 1):
                    together[between] = min(together[between], together[index])
    for index in range(len(layers) - 2, -1, -1):  # groups that overlap are one
        reach = [other for other in range(index + 1, len(layers)) if together[other] <= index]
        for other in range(index + 1, max(reach, default=index) + 1):
            together[other] = min(together[other], together[index])
    return np.array([*sorted(set(together)), len(layers)], dtype=np.int64)


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
