"""What `simulate.spiking_network` takes in and writes: named tuples of arrays, as numba wants them."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]
READS_SPIKES, READS_POTENTIALS, INTEGRATES = 1, 2, 3  # of `LayerRow.reads`
NEURON_ROWS = ("retention", "threshold", "bias", "kept")  # of `ChipArrays`


class LayerRow(NamedTuple):
    """A layer in the table.

    Attributes:
        place, size: of its neurons in the row of all neurons.
        rows, row: its neurons are `rows` times `row` values, (height, width * channels) or (1, n).
        origin, pitch, sums: its sums are an array of `sums` values with a border, in which the first row begins at
            `origin` and the next `pitch` later.
        first, last: its synapses.
        steady, changing: columns of what is added to the sums whatever spikes, the same at every step or not; -1: none.
        fixed_point, in_full, at_threshold, subtract: 0 or 1; `in_full` where the short loop would be wrong.
        reads: what is read out of it: 0 nothing, 1 spikes, 2 potentials, 3 potentials of an integrator whose total
            over all steps may be computed at once.
    """

    place: int
    size: int
    rows: int
    row: int
    origin: int
    pitch: int
    sums: int
    first: int
    last: int
    steady: int
    changing: int
    fixed_point: int
    in_full: int
    at_threshold: int
    subtract: int
    reads: int


class SynapsesRow(NamedTuple):
    """Synapses in the table; see `spiking_kernels.add_taps`.

    Attributes:
        place, pixels, channels: of the source in the row of all neurons.
        delay: steps.
        taps: where its taps begin; -1 for dense synapses.
        weights: where its weights begin.
        own: 1 where its sums are kept apart and transformed before they join the others.
        wraps, shift: how they are transformed.
        given: which of the lists of given spikes its source has; -1 where the source is a layer of the table.
    """

    place: int
    pixels: int
    channels: int
    delay: int
    taps: int
    weights: int
    run: int
    row_step: int
    inside: int
    outside: int
    own: int
    wraps: int
    shift: int
    given: int


class Tables(NamedTuple):
    """What all chips of a population share.

    Attributes:
        layers, synapses: a row each, as integers.
        groups: layer g begins a group of layers that run step by step together.
        taps, targets, rows: see `spiking_kernels.add_taps`.
        neurons: of the row of all neurons.
    """

    layers: Array
    synapses: Array
    groups: Array
    taps: Array
    targets: Array
    rows: Array
    neurons: int


class ChipArrays(NamedTuple):
    """What is a chip's own: all weights; of every neuron what it keeps, its threshold, bias and kept current; of every
    layer the unit of its sums.

    Of several chips with the same weights: those, and neurons and layers of one chip after the other.
    """

    weights: Array
    retention: Array
    threshold: Array
    bias: Array
    kept: Array
    unit: Array


class Drive(NamedTuple):
    """What reaches the network from outside; an array of no columns where there is nothing.

    Attributes:
        steady, changing: (B, columns) and (B, T, columns), added to sums.
        listed: the spikes of all sources that are known, one list after the other.
        starts: (sources * (B * T + 1)) where those of each sample and step begin in `listed`, and the end.
        masks: (B * T * neurons) what becomes of the spikes of the only chip, bits.
    """

    steady: Array
    changing: Array
    listed: Array
    starts: Array
    masks: Array


class Noise(NamedTuple):
    """What is added to potentials; arrays of no values where that is nothing.

    Attributes:
        added: (B * T * neurons) of the only chip.
        keys, deviations: flat (chips, layers, kinds, T, 2) and (chips, layers, kinds): streams of normal numbers that
            are fresh at every step.
        order: (neurons) where each neuron of a layer, counted from its first, stands in the tables.
        table: `hw_models.random.normal_table`.
        first: the number of the first sample.
        whole: 1 where their sum is rounded to an integer.
    """

    added: Array
    keys: Array
    deviations: Array
    order: Array
    table: Array
    first: int
    whole: int


class Record(NamedTuple):
    """What is written, flat: (chips * B * classes) the readout, (chips * neurons) counts, (B * T * neurons) spikes and
    potentials.

    Spikes with potentials are left out where they have no values; with them there is one chip.
    """

    readout: Array
    counts: Array
    spikes: Array
    potentials: Array
