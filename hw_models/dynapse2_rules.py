"""The limits of DYNAP-SE2, all checked at once: layer, count, limit, and what to change.

Rockpool 3.1.0 checks fan-in and tags only where it writes a configuration; its mapper, quantiser and simulator take any
network.
"""

from __future__ import annotations

import numpy as np

from neurodeploy.hw_models.dynapse2 import BASE_CURRENTS, Dynapse2Chip
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.hw_models.dynapse2_placement import latencies, place, target_chips, uneven
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.program import INPUT

SUBSTEPS = 2  # steps of the chip for one of the network: while a neuron is refractory, its layer's inputs are silent
_SLACK = 1e-6  # relative: a current at the end of its range is within it


def misfits(network: PopulationNetwork, chip: Dynapse2Chip, substeps: int = SUBSTEPS) -> list[str]:
    """Everything in a float network that the chip cannot hold or compute.

    Args:
        substeps: steps of the chip for one step of the network.
    """
    sizes = {one.name: one.size for one in network.populations}
    placed = place(network, chip)
    among = {one.name: _fan_in(network, one.name) for one in network.populations}
    return [
        *_capacity(sizes, placed.cores, network.input.shape[0], chip),
        *_synapses(among, chip),
        *_reached(network, placed.core, chip),
        *_neurons(network, chip),
        *_delays(network, chip),
        *_idle_inhibition(network, chip, substeps),
    ]


def too_large(sizes: dict[str, int], channels: int, chip: Dynapse2Chip) -> list[str]:
    """The same for sizes alone, where a network is too large for its weights to be written out.

    Args:
        sizes: layer -> neurons.
    """
    cores = sum(-(-size // chip.neurons) for size in sizes.values())
    return _capacity(sizes, cores, channels, chip)


def violations(network: Dynapse2Network, chip: Dynapse2Chip) -> list[str]:
    """Everything in a quantised network that the chip cannot hold."""
    sizes = {one.name: one.stop - one.start for one in network.blocks}
    fan_in, chips = network.fan_in(), target_chips(network.codes_rec, network.core, chip)
    parts = {one.name: slice(one.start, one.stop) for one in network.blocks}
    crowded = np.bincount(network.core)
    found = _capacity(sizes, network.cores, network.input.shape[0], chip)
    found += _synapses({name: fan_in[part] for name, part in parts.items()}, chip)
    found += _destinations({name: chips[part] for name, part in parts.items()}, chip)
    found += [
        f"core {core}: {count} neurons, a core of {chip.name} has {chip.neurons}; place fewer on it"
        for core, count in enumerate(crowded)
        if count > chip.neurons
    ]
    currents = dict(network.biases) | {name: network.base[:, bit] for bit, name in enumerate(BASE_CURRENTS)}
    for name, values in currents.items():
        bias = chip.biases[name]
        outside = (values < bias.lowest * (1 - _SLACK)) | (values > bias.highest * (1 + _SLACK))
        found += [
            f"core {core}: {name} ({bias.register}) of {values[core]:.3g} A, the bias generator of {chip.name} makes "
            f"{bias.lowest:.3g} to {bias.highest:.3g} A; scale the network's weights or time constants"
            for core in np.flatnonzero(outside).tolist()
        ]
    return found


def _capacity(sizes: dict[str, int], cores: int, channels: int, chip: Dynapse2Chip) -> list[str]:
    found = []
    if cores > chip.all_cores:
        parts = ", ".join(f"{name} ({size})" for name, size in sizes.items())
        found.append(
            f"layers {parts}: {cores} cores of {chip.neurons} neurons, which share parameters so that each has one "
            f"layer; {chip.chips} chips have {chip.all_cores}; use fewer or smaller layers"
        )
    neurons = sum(sizes.values())
    tags = channels + 2 * neurons
    if tags > chip.tags:
        found.append(
            f"layer {INPUT} and {len(sizes)} layers: {channels} channels and {neurons} neurons take {tags} tags (one a "
            f"channel, two a neuron), {chip.name} has {chip.tags}; reduce 2 neurons + channels by {tags - chip.tags}"
        )
    return found


def _synapses(fan_in: dict[str, IntArray], chip: Dynapse2Chip) -> list[str]:
    return [
        f"layer {name}: {int((counts > chip.synapses).sum())} of {len(counts)} neurons read up to {int(counts.max())} "
        f"inputs, {chip.name} has {chip.synapses} synapses a neuron; train with network.fan_in={chip.synapses}"
        for name, counts in fan_in.items()
        if counts.max(initial=0) > chip.synapses
    ]


def _destinations(chips: dict[str, IntArray], chip: Dynapse2Chip) -> list[str]:
    most = chip.destinations - 1
    return [
        f"layer {name}: {int((counts > most).sum())} neurons reach {int(counts.max())} chips, {chip.name} has "
        f"{chip.destinations} destinations a neuron, one of them for the monitor; make the layers that it feeds "
        "smaller, or split it into copies (neurodeploy.hw_models.dynapse2_placement.split_layer)"
        for name, counts in chips.items()
        if counts.max(initial=0) > most
    ]


def _reached(network: PopulationNetwork, core: IntArray, chip: Dynapse2Chip) -> list[str]:
    ends = np.cumsum([0, *(one.size for one in network.populations)])
    edges = {one.name: slice(ends[i], ends[i + 1]) for i, one in enumerate(network.populations)}
    chips = core // chip.cores
    if chips.max() + 1 < chip.destinations:
        return []
    reached = {one.name: np.zeros((one.size, chips.max() + 1), dtype=bool) for one in network.populations}
    for link in network.projections:
        if link.source != INPUT:
            there = chips[edges[link.target]]
            for number in np.unique(there):
                reached[link.source][:, number] |= (link.weight[:, there == number] != 0).any(axis=1)
    return _destinations({name: np.asarray(there.sum(axis=1), np.int64) for name, there in reached.items()}, chip)


def _neurons(network: PopulationNetwork, chip: Dynapse2Chip) -> list[str]:
    found = []
    if network.input.bits > chip.input_events.bit_length():
        found.append(
            f"layer {INPUT}: values of {network.input.bits} bits, a channel brings at most {chip.input_events} events "
            f"a step; train with data.bits={chip.input_events.bit_length()} or less, or data.encoding=rate"
        )
    for one in network.populations:
        if not one.fires:
            found.append(
                f"layer {one.name}: read out as potentials, {chip.name} puts out spikes; train with "
                "network.readout=spike_count"
            )
            continue
        if one.reset != "zero":
            found.append(
                f"layer {one.name}: reset {one.reset!r}, neurons of {chip.name} reset to zero; train with "
                "network.reset=zero"
            )
        if one.bias.any():
            found.append(
                f"layer {one.name}: {int((one.bias != 0).sum())} biases, {chip.name} has none for a neuron of its own; "
                f"train with network.norm=none and network.fan_in={chip.synapses}, whose layers have no bias"
            )
        if one.synapses > 1:
            found.append(
                f"layer {one.name}: {one.synapses} currents a neuron, here {chip.name} has one; give all connections "
                "one time constant"
            )
        for name, values in (("decays", one.decay), ("time constants of currents", one.current_decay)):
            if np.ptp(values) > 0:
                found.append(
                    f"layer {one.name}: {name} {values.min():.3g} to {values.max():.3g}, neurons of a core share one; "
                    "give the layer one"
                )
    for source, target, early in uneven(network):
        found.append(
            f"layer {target}: spikes from {source} come {early} steps of the chip before those of its other sources; "
            "lead them through a layer, or leave the connection out"
        )
    return found


def _comes_back(network: PopulationNetwork, source: str, target: str) -> bool:
    """Whether a connection is recurrent: to its own layer, or to one before it."""
    names = [INPUT, *(one.name for one in network.populations)]
    return names.index(source) >= names.index(target)


def _delays(network: PopulationNetwork, chip: Dynapse2Chip) -> list[str]:
    found = []
    for one in network.projections:
        needed = int(_comes_back(network, one.source, one.target))
        if one.delay != needed:
            found.append(
                f"layer {one.target}: what comes from {one.source} is delayed by {one.delay} steps; {chip.name} has no "
                f"delays, and a {'recurrent' if needed else 'forward'} connection there has {needed}: train with that"
            )
    return found


def _idle_inhibition(network: PopulationNetwork, chip: Dynapse2Chip, substeps: int) -> list[str]:
    """Recurrent inhibition that arrives between its layer's inputs, while it takes excitation of its own step away.

    It then acts only on the few spikes that come between inputs themselves. Spikes arrive one step of the chip after
    they were fired, inputs every `substeps` steps. What a neuron sends itself is no excitation: it arrives while the
    neuron is refractory. Where currents have memory, excitation and inhibition outlast the step, and nothing is idle.
    """
    late, found = latencies(network), []
    for target in network.populations:
        apart: dict[int, list[str]] = {}
        merged = _merged(network, target.name)
        remembered = (np.atleast_2d(target.current_decay) > 0).any(axis=0)
        for source in merged:
            behind = 0 if source == INPUT else (late[source] + 1 - late[target.name]) % substeps
            if behind and _comes_back(network, source, target.name):
                apart.setdefault(behind, []).append(source)
        for behind, sources in apart.items():
            excited, inhibited = np.zeros(target.size, dtype=bool), np.zeros(target.size, dtype=bool)
            for source in sources:
                others = ~np.eye(target.size, dtype=bool) if source == target.name else True
                excited |= ((merged[source] > 0) & others).any(axis=0)
                inhibited |= (merged[source] < 0).any(axis=0)
            idle = int((inhibited & ~excited & ~remembered).sum())
            if idle:
                found.append(
                    f"layer {target.name}: inhibition of {idle} of {target.size} neurons, from {', '.join(sources)}, "
                    f"comes {behind} of {substeps} steps of {chip.name} after the layer's inputs, when there is no "
                    "excitation for it to take away; lead it through a layer of its own, from which it comes with the "
                    "next inputs, or train with network.recurrent=false"
                )
    return found


def _merged(network: PopulationNetwork, name: str) -> dict[str, FloatArray]:
    """Source -> weights to the layer; two connections from one source are one."""
    merged: dict[str, FloatArray] = {}
    for one in network.into(name):
        merged[one.source] = merged.get(one.source, np.zeros(one.weight.shape)) + one.weight
    return merged


def _fan_in(network: PopulationNetwork, name: str) -> IntArray:
    """(neurons,) inputs with a weight other than 0."""
    total = np.zeros(network.population(name).size, dtype=np.int64)
    for weight in _merged(network, name).values():
        total += (weight != 0).sum(axis=0)
    return total
