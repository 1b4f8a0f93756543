"""Populations whose current stands for their potential on a Xylo, exactly where a current without memory is meant.

On the chip every current has memory. Where the network's has none, the memory of the potential can be laid into the
current instead, the potential being left without (dash_mem 0): then, for b = 1 - 2^-dash_syn,

    i[t] = b (i[t-1] + weight / b * x[t] - threshold * n[t-1]),  v[t] = i[t],  n[t] = how often threshold goes into v

which is `u[t] = b (u[t-1] - n[t-1] threshold) + weight x[t]`. What a spike takes off comes from a connection of the
neuron to itself. A bias would not add up, since the potential keeps nothing; it comes as the spikes of a clock, neurons
that fire at every step, through weights. (The first of these spikes arrives in the second step.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurodeploy.ir.populations import Population, PopulationNetwork, Projection


def can_be_direct(network: PopulationNetwork, population: Population) -> bool:
    """Whether a population's current can stand for its potential.

    Its currents must be without memory. Output neurons that fire have no connection to themselves; those that do not
    need none, and of a readout that is summed over time the mean of what a bias adds up to is exact.
    """
    alone = population.synapses == 1 and not population.current_decay.any()
    return alone and (population is not network.output or not population.fires)


def directly(network: PopulationNetwork, fan_out: int) -> tuple[PopulationNetwork, frozenset[str]]:
    """(the network with a clock where one is needed, the populations that are direct).

    Args:
        fan_out: targets of a hidden neuron; a population each of whose neurons reaches as many has no room for a
            connection to itself, and is left as it is.
    """
    direct = {
        one.name
        for one in network.populations
        if can_be_direct(network, one) and (one is network.output or _reached(network, one) < fan_out)
    }
    biased = [one for one in network.hidden if one.name in direct and one.bias.any()]
    if not biased:
        return network, frozenset(direct)
    name = "clock"
    while any(one.name == name for one in network.populations):
        name += "_"
    driven = np.flatnonzero(np.concatenate([one.bias for one in biased]))
    clocks = -(-len(driven) // fan_out)
    weight = np.zeros((clocks, sum(one.size for one in biased)))
    weight[np.arange(len(driven)) // fan_out, driven] = np.concatenate([one.bias for one in biased])[driven]
    parts = np.split(weight, np.cumsum([one.size for one in biased])[:-1], axis=1)
    clock = Population(name, np.zeros(clocks), np.zeros((1, clocks)), np.ones(clocks), np.full(clocks, 1.5))
    unbiased = tuple(replace(one, bias=np.zeros(one.size)) if one in biased else one for one in network.populations)
    beaten = tuple(Projection(name, one.name, part) for one, part in zip(biased, parts, strict=True))
    return (
        replace(network, populations=(clock, *unbiased), projections=(*network.projections, *beaten)),
        frozenset(direct),
    )


def _reached(network: PopulationNetwork, population: Population) -> int:
    """The most hidden neurons that one of its neurons reaches besides itself."""
    reached = np.zeros(population.size, dtype=np.int64)
    for target in network.hidden:
        weights = [p.weight != 0 for p in network.into(target.name) if p.source == population.name]
        if weights:
            there = np.any(weights, axis=0)
            if target is population:
                there = there & ~np.eye(population.size, dtype=bool)
            reached += there.sum(axis=1)
    return int(reached.max())
