"""What the memories of DYNAP-SE2's cores hold for a network: CAM, SRAM and bias currents, as plain values.

Rockpool 3.1.0's own `config_from_specification` cannot be used for more than one core: it writes a neuron's
destinations into the core that they reach instead of the neuron's own, numbers neurons by network instead of by core,
and keeps the input map of the last core alone; of several target chips it keeps the last (read in its source).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.hw_models.dynapse2 import BASE_CURRENTS, dynapse2_chip
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.hw_models.dynapse2_placement import destinations
from neurodeploy.ir.arrays import IntArray

OUTSIDE = -7  # hops to a place where no chip is: the FPGA takes what is sent there, as Rockpool's monitor does
_CONTROL = 2047  # tag that Rockpool keeps to read the board's clock


def memories(network: Dynapse2Network) -> list[dict[str, Any]]:
    """One entry per core.

    Each has chip, core (on the chip), biases (name -> ampere) and neurons, each with its number in the network, its
    synapses [tag, sign, mask] and its destinations [hops, cores' mask, tag]. Inputs have the tags from 0 on, neurons
    those behind them. Outputs have one destination more, to the monitor, whose tag is their number among outputs.
    """
    chip = dynapse2_chip(network.chip)
    channels, output = network.input.shape[0], network.output
    sent = destinations(network.codes_rec, network.core, channels, chip)
    found = []
    for core in range(network.cores):
        neurons = []
        for neuron in np.flatnonzero(network.core == core).tolist():
            out = [[one.hops, list(one.cores), one.tag] for one in sent[neuron]]
            if output.start <= neuron < output.stop:
                out.append([OUTSIDE, [True] * chip.cores, monitor_tag(network, neuron)])
            into = _synapses(network.codes_in[:, neuron], 0) + _synapses(network.codes_rec[:, neuron], channels)
            neurons.append({"neuron": neuron, "synapses": into, "destinations": out})
        biases = {name: float(values[core]) for name, values in network.biases.items()}
        biases |= {name: float(network.base[core, bit]) for bit, name in enumerate(BASE_CURRENTS)}
        found.append({"chip": core // chip.cores, "core": core % chip.cores, "biases": biases, "neurons": neurons})
    return found


def input_destinations(network: Dynapse2Network) -> dict[int, list[tuple[int, list[bool], int]]]:
    """Channel -> where its events go: (chip, mask of its cores, tag)."""
    chip = dynapse2_chip(network.chip)
    found: dict[int, list[tuple[int, list[bool], int]]] = {}
    for channel, row in enumerate(network.codes_in):
        reached = np.unique(network.core[row != 0])
        found[channel] = [
            (there, [there * chip.cores + one in reached for one in range(chip.cores)], channel)
            for there in np.unique(reached // chip.cores).tolist()
        ]
    return found


def monitor_tag(network: Dynapse2Network, neuron: int) -> int:
    """The tag with which an output is watched; none is the control tag."""
    tag = neuron - network.output.start
    assert tag < _CONTROL  # 4096 neurons take more tags than there are, long before
    return tag


def _synapses(codes: IntArray, first_tag: int) -> list[list[Any]]:
    return [
        [first_tag + source, 1 if codes[source] > 0 else -1, int(abs(codes[source]))]
        for source in np.flatnonzero(codes).tolist()
    ]
