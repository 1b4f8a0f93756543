"""XyloNetwork: the numbers that a chip of SynSense's Xylo family stores, and what they compute.

It stands beside `Program`: Xylo's neurons have currents, fire several times in a step and reset by subtraction, all in
integers. `neurodeploy.simulate.xylo` is the executable meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import IntArray, Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import ReadoutKind

STATE_MIN, STATE_MAX = -(2**15), 2**15 - 1  # currents, potentials, thresholds and biases: 16 bits with sign
WEIGHT_MIN, WEIGHT_MAX = -(2**7), 2**7 - 1
DASH_MAX = 15
SHIFT_MAX = 7
INPUT_EVENTS, HIDDEN_EVENTS, OUTPUT_EVENTS = 15, 31, 1  # most in a step, for a channel and for a neuron
INPUT_BITS = 4
NO_ALIAS = -1
_LARGEST = 4096  # neurons: no chip of the family is near, and matrices of this size still fit in memory


@dataclass(frozen=True)
class Block:
    """Hidden neurons start to stop - 1, which were one layer of the network that this one was made from.

    Attributes:
        latency: steps by which these neurons lag behind that layer: a connection between hidden neurons takes one step.
    """

    name: str
    start: int
    stop: int
    latency: int = 0


@dataclass(frozen=True, eq=False)
class XyloNetwork:
    """What a Xylo runs: input channels, hidden neurons, output neurons.

    Each step, for the events e of the inputs in it and the spikes n of the step before (0 at first), `sat` cutting off
    at 16 bits with sign, and lose(x, d) = x >> d, or the sign of x where that is 0:

        i[k] = sat(i[k] + e (weights_in[k] << weight_shift_in) + n (weights_rec[k] << weight_shift_rec))
        i[k] = i[k] - lose(i[k], dash_syn[k])                      for each synapse k
        v = sat(v + sat(sat(Σ_k i[k] - lose(v, dash_mem)) + bias))
        n = how often threshold can be taken off v while v >= threshold, at most 31 with what aliases hand over
        v = v - (own part of n) threshold

    (-lose(-2^15, 0) would be 2^15: in 16 bits it is -2^15, so that a potential of -2^15 at dash_mem 0 stays there.)

    Events are added one after the other, inputs first, in the order of their numbers, and saturate each time. Output
    neurons are the same with one synapse, from weights_out and the hidden spikes of the step before, and fire at most
    once. Hidden neurons are updated in the order of their numbers; after each, `aliases` adds its n to the n of another
    (at most 31): what is handed to a higher number counts before that neuron fires itself, and is handed on with it.

    The chip runs `steps + latency` steps, the last `latency` of them without input; its readout is taken from the step
    after `latency` on.

    Attributes:
        chip: the name of the chip that it was made for.
        steps: time steps of the input.
        input: shape (channels,), at most 4 bits.
        weights_in: (channels, hidden, synapses), integers of 8 bits.
        weights_rec: (hidden, hidden, synapses), from, to, synapse.
        weights_out: (hidden, outputs).
        dash_mem, threshold, bias: (hidden,); dash_syn: (hidden, synapses).
        dash_mem_out, dash_syn_out, threshold_out, bias_out: (outputs,).
        weight_shift_in, weight_shift_rec, weight_shift_out: 0 to 7.
        aliases: (hidden,), the neuron that is handed the spikes, or -1.
        readout: "spike_count" or "membrane" (the sum of the outputs' potentials over time).
        blocks: what the hidden neurons are, without gaps.
        latency: steps by which the outputs lag.

    Raises:
        UsageError: naming the field whose shape or value no Xylo can hold.
    """

    chip: str
    steps: int
    input: Input
    weights_in: IntArray
    weights_rec: IntArray
    weights_out: IntArray
    dash_mem: IntArray
    dash_syn: IntArray
    threshold: IntArray
    bias: IntArray
    dash_mem_out: IntArray
    dash_syn_out: IntArray
    threshold_out: IntArray
    bias_out: IntArray
    aliases: IntArray
    weight_shift_in: int = 0
    weight_shift_rec: int = 0
    weight_shift_out: int = 0
    readout: ReadoutKind = "spike_count"
    blocks: tuple[Block, ...] = ()
    latency: int = 0

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.type == "IntArray":
                object.__setattr__(self, one.name, frozen_ints(getattr(self, one.name)))
        object.__setattr__(self, "blocks", tuple(self.blocks) or (Block("hidden", 0, self.hidden, 0),))
        self._check_shapes()
        self._check_values()
        self._check_blocks()

    @property
    def hidden(self) -> int:
        """Hidden neurons."""
        return self.threshold.size

    @property
    def outputs(self) -> int:
        """Output neurons."""
        return self.threshold_out.size

    @property
    def synapses(self) -> int:
        """Synapses of a hidden neuron, 1 or 2."""
        return int(self.dash_syn.shape[-1])

    @property
    def chip_steps(self) -> int:
        """Steps that the chip runs."""
        return self.steps + self.latency

    def _check_shapes(self) -> None:
        if len(self.input.shape) != 1:
            raise UsageError(f"input of shape {self.input.shape}: (channels,) is expected; flatten it")
        (channels,), hidden, outputs = self.input.shape, self.hidden, self.outputs
        if not (0 < channels <= _LARGEST and 0 < hidden <= _LARGEST and 0 < outputs <= _LARGEST):
            raise UsageError(f"{channels} channels, {hidden} hidden and {outputs} output neurons: 1 to {_LARGEST} each")
        synapses = self.dash_syn.shape[-1] if self.dash_syn.ndim == 2 else 0
        if synapses not in (1, 2):
            raise UsageError(f"dash_syn of shape {self.dash_syn.shape}: (hidden, 1) or (hidden, 2) is expected")
        expected: dict[str, Shape] = {
            "weights_in": (channels, hidden, synapses),
            "weights_rec": (hidden, hidden, synapses),
            "weights_out": (hidden, outputs),
            "dash_syn": (hidden, synapses),
        }
        expected |= dict.fromkeys(("dash_mem", "threshold", "bias", "aliases"), (hidden,))
        expected |= dict.fromkeys(("dash_mem_out", "dash_syn_out", "threshold_out", "bias_out"), (outputs,))
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise UsageError(f"{name} of shape {getattr(self, name).shape}: {shape} is expected")

    def _check_values(self) -> None:
        limits = dict.fromkeys(("weights_in", "weights_rec", "weights_out"), (WEIGHT_MIN, WEIGHT_MAX))
        limits |= dict.fromkeys(("dash_mem", "dash_syn", "dash_mem_out", "dash_syn_out"), (0, DASH_MAX))
        limits |= dict.fromkeys(("threshold", "threshold_out"), (1, STATE_MAX))
        limits |= dict.fromkeys(("bias", "bias_out"), (STATE_MIN, STATE_MAX))
        limits |= dict.fromkeys(("weight_shift_in", "weight_shift_rec", "weight_shift_out"), (0, SHIFT_MAX))
        limits["aliases"] = (NO_ALIAS, self.hidden - 1)
        for name, (low, high) in limits.items():
            values = np.asarray(getattr(self, name))
            if values.min() < low or values.max() > high:
                raise UsageError(f"{name} {values.min()} to {values.max()}: allowed are {low} to {high}")
        if (self.aliases == np.arange(self.hidden)).any():
            raise UsageError(f"aliases: neuron {int(np.argmax(self.aliases == np.arange(self.hidden)))} to itself")
        if self.input.bits > INPUT_BITS:
            raise UsageError(f"input of {self.input.bits} bits: a channel brings at most {INPUT_EVENTS} events a step")
        if self.steps < 1 or self.latency < 0:
            raise UsageError(f"steps {self.steps}, latency {self.latency}: at least 1 and 0 are expected")
        if self.readout not in ("membrane", "spike_count"):
            raise UsageError(f"readout {self.readout!r}: allowed are membrane and spike_count")

    def _check_blocks(self) -> None:
        ends = [0, *(end for block in self.blocks for end in (block.start, block.stop)), self.hidden]
        gapless = all(before == after for before, after in zip(ends[::2], ends[1::2], strict=True))
        names = [block.name for block in self.blocks]
        if (
            not gapless
            or any(after <= before for before, after in pairwise(ends[::2]))
            or len(set(names)) != len(names)
        ):
            raise UsageError(f"blocks {names}: they must have names of their own and follow each other without gaps")
