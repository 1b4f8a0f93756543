"""XyloChip: what one chip of SynSense's Xylo family holds, as data with its source.

Xylo's neurons have currents, fire several times a step and compute in integers of their own, so that it is not a
`ChipModel`: networks for it are `neurodeploy.ir.xylo.XyloNetwork`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from neurodeploy.hw_models.chip import Evidence, Knob


@dataclass(frozen=True)
class XyloChip:
    """One chip, as data. Registers are the same on all of them: see `neurodeploy.ir.xylo`.

    Attributes:
        name: what a user types.
        inputs, hidden, outputs: channels and neurons.
        synapses: currents of a hidden neuron (1 or 2).
        fan_out: hidden neurons that one hidden neuron may reach.
        fan_out_total: connections between hidden neurons, all together; a pair counts once, whichever of its two
            synapses are used.
        input_targets: hidden neurons that inputs may reach.
        output_sources: hidden neurons that outputs may read.
        rockpool: the Rockpool package that configures the chip.
        evidence: what a number obtained with this model rests on.
        sources: limit -> paper, table, or how it was established.
    """

    name: str
    title: str
    inputs: int
    hidden: int
    outputs: int
    synapses: int
    fan_out: int
    fan_out_total: int
    input_targets: int
    output_sources: int
    rockpool: str
    evidence: Evidence
    sources: Mapping[str, str] = field(default_factory=dict)


_TABLE = "SynSense, Overview of the Xylo family (rockpool.ai/devices/xylo-overview.html), table of the family's members"
_SIMULATOR = "xylosim 0.1.3 (v2), SynSense's own simulator, called bit-exact in its README"

REGISTERS: Mapping[str, str] = {
    "weights": f"8 bits with sign: {_TABLE}; the range is used symmetrically, -127 to 127, and -128 is accepted",
    "states": f"currents and potentials saturate at 16 bits with sign: {_SIMULATOR}",
    "decay": f"a state loses state >> dash, and at least 1 in magnitude: {_SIMULATOR}; dash has 4 bits (its comments)",
    "threshold": f"16 bits with sign, one per neuron; subtracted once for each spike: {_SIMULATOR}",
    "bias": f"16 bits with sign, one per neuron: {_SIMULATOR}; that the chip's register is as wide is inferred",
    "events": "a channel brings at most 15 events a step, a hidden neuron fires at most 31 times, an output neuron "
    f"once: the same page, and {_SIMULATOR}",
    "weight_shift": "weights of inputs, of hidden neurons and of outputs are shifted left by 0 to 7 bits, one number "
    "each: fields of 3 bits of register CTRL1 as Rockpool 3.1.0 prints it "
    "(devices/xylo/syns61201/xa2_devkit_utils.py)",
    "alias": "a hidden neuron can hand its spikes to one other: the same page",
}


KNOBS = (
    Knob("threshold", "neuron", 16, source=f"{_SIMULATOR}: 16 bits with sign, one per neuron"),
    Knob("bias", "neuron", 16, source=f"{_SIMULATOR}: 16 bits with sign, one per neuron"),
    Knob("weight", "synapse", 8, source=_TABLE),
)
"""What can be set on every chip of the family, beside the shifts of decays, one per neuron."""


def family_sources(**own: str) -> Mapping[str, str]:
    """The sources of the registers, and of what one chip has of its own."""
    return {**REGISTERS, "size": _TABLE, **own}
