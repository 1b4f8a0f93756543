"""Where a float network lies on a Xylo: which hidden neuron is which, and by how many steps each layer lags.

On the chip, inputs reach hidden neurons in the same step and hidden spikes everything else one step later. A layer
whose sources all come through paths of one length only lags behind the network, and computes the same; where they do
not, the timing on the chip is another, and the network is refused.

A current without memory is smeared on the chip: at dash 1 what it brings comes one step later in the mean. That adds to
the lag of a layer, so that the last steps of the input reach the output too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from neurodeploy.ir.arrays import FloatArray, IntArray, frozen_floats
from neurodeploy.ir.populations import PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.xylo import DASH_MAX, Block


@dataclass(frozen=True, eq=False)
class Layout:
    """The float network in the order of the chip; weights are in its own units per event or spike.

    Attributes:
        blocks: hidden populations by latency, then as they came; the smearing of currents is in their latency.
        latency: of the output, likewise.
        direct: populations whose current stands for the potential; see `neurodeploy.ir.xylo_direct`.
        weights_in: (channels, hidden, synapses).
        weights_rec: (hidden, hidden, synapses).
        weights_out: (hidden, outputs).
    """

    network: PopulationNetwork
    blocks: tuple[Block, ...]
    latency: int
    direct: frozenset[str]
    weights_in: FloatArray
    weights_rec: FloatArray
    weights_out: FloatArray


def misfits(network: PopulationNetwork) -> list[str]:
    """What no size of chip would mend: resets, connections that Xylo does not have, timing."""
    output, found = network.output, []
    for one in network.populations:
        if one.fires and one.reset != "subtract":
            found.append(f"layer {one.name}: reset {one.reset!r}, Xylo subtracts the threshold; train with that")
        if not one.fires and one is not output:
            found.append(f"layer {one.name}: does not fire, and feeds nothing; remove it")
        if not network.into(one.name):
            found.append(f"layer {one.name}: nothing leads to it; remove it")
    if output.synapses > 1:
        found.append(f"layer {output.name}: {output.synapses} synapses, output neurons have one; merge them")
    for projection in network.projections:
        if projection.source == output.name:
            found.append(
                f"layer {output.name}: feeds {projection.target}, on Xylo output neurons feed nothing; put a layer of "
                "output neurons behind it"
            )
        if projection.source == INPUT and projection.target == output.name and network.hidden:
            found.append(
                f"layer {output.name}: reads the input, on Xylo outputs read hidden neurons only; lead it through them"
            )
    return found or _untimely(network, latencies(network))


def latencies(network: PopulationNetwork) -> Mapping[str, int]:
    """Population -> steps by which it lags on the chip, as its first source to be known says.

    Populations that nothing leads to have no lag and put none on others: what they do does not depend on the input.
    """
    free = {one.name for one in network.populations if not network.into(one.name)}
    known = dict.fromkeys(free, 0)
    waiting = True
    while waiting:
        waiting = False
        for one in network.populations:
            if one.name in known:
                continue
            arriving = [_required(known, p) for p in network.into(one.name) if p.source not in free]
            chosen = next((steps for steps in arriving if steps is not None), None)
            if chosen is not None:
                known[one.name], waiting = chosen, True
    return MappingProxyType(known)


def layout(network: PopulationNetwork, direct: frozenset[str] = frozenset()) -> Layout:
    """The places of a network without `misfits`.

    Args:
        direct: populations whose current is to stand for the potential.
    """
    late = latencies(network)
    free = {one.name for one in network.populations if not network.into(one.name)}
    ordered = sorted(network.hidden, key=lambda one: (late[one.name], one.name in free))
    late = {name: steps + max(round(_smeared(network, name, direct)), 0) for name, steps in late.items()}
    ends = np.cumsum([0, *(one.size for one in ordered)]).tolist()
    blocks = tuple(
        Block(one.name, start, stop, late[one.name]) for one, start, stop in zip(ordered, ends, ends[1:], strict=False)
    )
    synapses = max(one.synapses for one in network.hidden)
    into = np.zeros((network.input.shape[0], ends[-1], synapses))
    among, out = np.zeros((ends[-1], ends[-1], synapses)), np.zeros((ends[-1], network.output.size))
    places = {block.name: slice(block.start, block.stop) for block in blocks}
    for one in network.projections:
        if one.source == INPUT:
            into[:, places[one.target], one.synapse] += one.weight * network.input.scale
        elif one.target == network.output.name:
            out[places[one.source]] += one.weight
        else:
            among[places[one.source], places[one.target], one.synapse] += one.weight
    weights = (frozen_floats(part) for part in (into, among, out))
    return Layout(network, blocks, late[network.output.name], direct, *weights)


def gathered(layout: Layout, name: str) -> FloatArray:
    """(hidden,): a field of all hidden populations."""
    return np.concatenate([getattr(layout.network.population(block.name), name) for block in layout.blocks])


def exact_dash(decay: FloatArray) -> FloatArray:
    """The dash at which 1 - 2^-dash is the decay, a real number; the largest one where nothing is lost."""
    lost = np.maximum(1 - np.asarray(decay, dtype=np.float64), 2.0**-DASH_MAX)
    return np.asarray(-np.log2(lost))


def nearest_dash(decay: FloatArray, least: int) -> IntArray:
    """The integer dash from `least` on whose 1 - 2^-dash is nearest to the decay."""
    low = np.clip(np.floor(exact_dash(decay)), least, DASH_MAX)
    high = np.clip(low + 1, least, DASH_MAX)
    nearer = np.abs(1 - 2.0**-high - decay) < np.abs(1 - 2.0**-low - decay)
    return np.where(nearer, high, low).astype(np.int64)


def _smeared(network: PopulationNetwork, name: str, direct: frozenset[str], behind: tuple[str, ...] = ()) -> float:
    """Mean steps by which currents on the chip are later than in the network, on the way from the input.

    Per unit a current that keeps b after a loss comes b / (1 - b) steps late in the mean, one that keeps beta and loses
    nothing first beta / (1 - beta).
    """
    population = network.population(name)
    if not network.into(name):
        return 0.0
    kept = 1 - 2.0 ** -nearest_dash(population.current_decay, 1).astype(np.float64)
    own = kept / (1 - kept) - population.current_decay / (1 - population.current_decay)
    before = [
        _smeared(network, p.source, direct, (*behind, name))
        for p in network.into(name)
        if p.source != INPUT and p.source not in (*behind, name)
    ]
    return (0.0 if name in direct else float(np.median(own))) + max(before, default=0.0)


def _required(known: Mapping[str, int], projection: Projection) -> int | None:
    """The lag at which what comes through a projection arrives in time; None where its source's is not known."""
    if projection.source == INPUT:
        return -projection.delay
    source = known.get(projection.source)
    return None if source is None else source + 1 - projection.delay


def _untimely(network: PopulationNetwork, late: Mapping[str, int]) -> list[str]:
    found = []
    for one in network.populations:
        if one.name not in late:
            found.append(f"layer {one.name}: nothing leads from the input to it; remove it")
            continue
        required = {p: steps for p in network.into(one.name) if (steps := _required(late, p)) is not None}
        in_time = next(p.source for p, steps in required.items() if steps == late[one.name])
        for projection, steps in required.items():
            if steps == late[one.name]:
                continue
            when = "earlier" if steps < late[one.name] else "later"
            found.append(
                f"layer {one.name}: what comes from {projection.source} arrives {abs(late[one.name] - steps)} steps "
                f"{when} than what comes from {in_time}: each connection between hidden neurons takes one step; "
                "use paths of one length, or train with a delay there"
            )
    if not found and late[network.output.name] < 0:
        found.append(f"layer {network.output.name}: delays of inputs leave it ahead of the chip; remove them")
    return found
