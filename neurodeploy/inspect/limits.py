"""What a chip of the catalogue or of a user's own holds at most: inputs of a neuron, and neurons."""

from __future__ import annotations

import numpy as np

from neurodeploy.errors import DesignRuleError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.inspect.finding import Finding, Rule
from neurodeploy.ir.program import Layer, Program
from neurodeploy.ir.synapses import ConvSynapses

FAN_IN = Rule(
    "FAN-IN",
    "inputs of a neuron, at most",
    "violation",
    "the chip's fan_in (`neurodeploy chips --json`, sources)",
    "make the layer before it smaller, pool before it, or prune: a weight of 0 takes no input",
)
NEURONS = Rule(
    "NEURONS",
    "neurons of all layers",
    "violation",
    "the chip's neurons (`neurodeploy chips --json`, sources)",
    "make layers smaller, the largest first",
)
RULES = (FAN_IN, NEURONS)


def limit_findings(program: Program, chip: ChipModel) -> list[Finding]:
    """Every layer whose neurons have more inputs than the chip allows; and one where there are too many neurons."""
    found = []
    if chip.fan_in is not None:
        needed = {layer.name: fan_in(layer) for layer in program.layers}
        found += [FAN_IN.at(name, count, chip.fan_in) for name, count in needed.items() if count > chip.fan_in]
    sizes = {layer.name: int(np.prod(layer.shape)) for layer in program.layers}
    if chip.neurons is not None and sum(sizes.values()) > chip.neurons:
        found.append(NEURONS.at(max(sizes, key=lambda name: sizes[name]), sum(sizes.values()), chip.neurons))
    return found


def check(program: Program, chip: ChipModel) -> None:
    """Raises DesignRuleError naming every limit that is exceeded."""
    found = limit_findings(program, chip)
    if found:
        raise DesignRuleError(f"chip {chip.name}", [str(one) for one in found])


def fan_in(layer: Layer) -> int:
    """The most inputs that a neuron of a layer has: its weights other than 0, of all synapses together."""
    total = np.zeros(1, dtype=np.int64)
    for synapses in layer.synapses:
        counts = np.count_nonzero(synapses.weight.reshape(len(synapses.weight), -1), axis=1) * synapses.pool**2
        if isinstance(synapses, ConvSynapses):  # of a channel, the same for all its places
            counts = np.broadcast_to(counts[:, None], (len(counts), int(np.prod(layer.shape[1:])))).ravel()
        total = total + counts
    return int(total.max())
