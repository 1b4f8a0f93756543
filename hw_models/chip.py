"""ChipModel: what a chip can store and compute, as data with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.ir.nodes import Reset

Evidence = Literal["measured-silicon", "bit-exact-sim", "statistical-sim", "modelled"]


Quantity = Literal["threshold", "leak", "bias", "gain", "weight", "readout"]
Granularity = Literal["chip", "layer", "core", "neuron", "synapse"]


@dataclass(frozen=True)
class Knob:
    """Something of a chip that can be set after fabrication, and how finely.

    With x = span * code / (2**(bits - 1) - 1), code in ±(2**(bits - 1) - 1), a positive code makes neurons fire less:

        "threshold":  threshold' = max(threshold + x * nominal threshold, 0)
        "leak":       decay' = min(max(decay - x * nominal decay, 0), 1)
        "bias":       bias' = bias - x * nominal threshold, at every step
        "gain":       threshold' = threshold * (1 + x), bias' = bias * (1 + x), that is, all input divided by 1 + x

    where `threshold`, `decay` and `bias` are what the chip has. "weight" and "readout" (the weights of the last layer
    alone) are written as they are: integers of `bits` with sign.

    Attributes:
        quantity: what the knob moves.
        per: what has a code of its own; "synapse" for weights.
        bits: resolution.
        span: largest |x|.
        core_size: with per "core": neurons of a core, counted row by row within a layer.
        source: paper, table, or how it was established.
    """

    quantity: Quantity
    per: Granularity
    bits: int
    span: float = 1.0
    core_size: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if self.bits < 2 or not self.span > 0:
            raise UsageError(f"knob {self.name}: {self.bits} bits, span {self.span}: at least 2 and above 0")
        if self.quantity == "gain" and self.span >= 1:
            raise UsageError(f"knob {self.name}: span {self.span}: a gain of 1 + span * code must stay positive")
        if (self.per == "core") != (self.core_size > 0):
            raise UsageError(f"knob {self.name}: core_size {self.core_size}: a number of neurons, with per core alone")
        if (self.quantity in ("weight", "readout")) != (self.per == "synapse"):
            raise UsageError(f"knob {self.name}: weights are set per synapse, and nothing else is")

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.quantity} per {self.per}"

    @property
    def highest_code(self) -> int:
        """The largest code; the smallest is its negative."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def step(self) -> float:
        """How much x a code makes: how coarse the knob is."""
        return self.span / self.highest_code

    def key(self, layer: str) -> str:
        """The name of a layer's codes among a chip's settings."""
        return f"{self.quantity}/{self.per}/{layer}"


Range = tuple[float, float]


@dataclass(frozen=True)
class Cores:
    """What one core of a chip holds, and how much a network takes of it, as far as that is known.

    On a core with n of a layer's neurons (or output channels), for every input neuron of dense synapses and for every
    input channel and kernel place of a convolution, the synapses of the layer take

        dense         ceil((dense_bits n + dense_list_bits) / dense_word_bits) words
        convolution   ceil(convolution_bits n / 32) * 32 / convolution_word_bits words

    Attributes:
        per_chip: cores of a chip.
        neurons, synapse_words, in_axons, out_axons: what a core holds of each.
        delay_bits: by which a synapse with a delay of its own is longer.
        tiles: (columns, rows) of the network on the chip.
        per_tile: cores that share a router.
        convolution_width: widest input of a convolution whose spikes all arrive.
    """

    per_chip: int
    neurons: int
    synapse_words: int
    in_axons: int
    out_axons: int
    dense_bits: int
    dense_list_bits: int
    dense_word_bits: int
    convolution_bits: int
    convolution_word_bits: int
    delay_bits: int
    tiles: tuple[int, int]
    per_tile: int
    convolution_width: int


@dataclass(frozen=True)
class EventCosts:
    """What an event costs, (lowest, highest) of the sources; joule, watt and seconds.

    Attributes:
        synaptic_operation: a spike at a synapse.
        neuron_update: a neuron at a step.
        spike: a neuron that fires, beyond its update.
        packet: a spike on its way to one core.
        hop: a packet from one router to the next.
        static_watts: of a chip that computes nothing.
        step_seconds: of a step, as measured with another network.
    """

    synaptic_operation: Range
    neuron_update: Range
    spike: Range
    packet: Range
    hop: Range
    static_watts: float
    step_seconds: Range


@dataclass(frozen=True)
class ChipModel:
    """One chip, as data.

    Attributes:
        name: what a user types.
        fixed_point: True where neurons compute as `FixedPointNeurons`, False for `FloatNeurons`.
        weight_bits: of an integer weight, sign included.
        resets: reset modes that the chip has.
        threshold_max, bias_mantissa_max: register limits (fixed point only).
        bias_exponents: the smallest and the largest that are used (fixed point only).
        voltage_decay_max: register limit, or None.
        knobs: what can be set after fabrication, and is for calibration.
        probes: whether membrane potentials can be read.
        capacitance: of a neuron's membrane, farad (for kT/C noise), or None.
        threshold_volts: the swing of the membrane's voltage from rest to the nominal threshold, volt, or None.
        cores: of a chip whose neurons are laid out on cores, or None where that is not known.
        costs: energy and time of events, or None where no source gives them.
        fan_in: inputs of a neuron, at most, or None where there is no such limit.
        neurons: of a chip, or None.
        noise: what chips of this kind are like, where their maker says so (`--with FILE`), or None.
        own: True for a chip that a user described (`neurodeploy.hw_models.own_chip`).
        evidence: what a number obtained with this model rests on.
        sources: limit -> paper, table, or how it was established.

    Raises:
        UsageError: for two knobs of a kind, and for a knob of weights that has not as many bits as they have.
    """

    name: str
    title: str
    fixed_point: bool
    weight_bits: int
    resets: tuple[Reset, ...]
    evidence: Evidence
    knobs: tuple[Knob, ...] = ()
    threshold_max: int | None = None
    bias_mantissa_max: int | None = None
    bias_exponents: tuple[int, int] | None = None
    voltage_decay_max: int | None = None
    probes: bool = False
    capacitance: float | None = None
    threshold_volts: float | None = None
    cores: Cores | None = None
    costs: EventCosts | None = None
    fan_in: int | None = None
    neurons: int | None = None
    noise: NoiseModel | None = None
    own: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [knob.name for knob in self.knobs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"chip {self.name}: knob {twice} is there twice: describe it once")
        weights = [knob for knob in self.knobs if knob.per == "synapse"]
        if len(weights) > 1:
            raise UsageError(f"chip {self.name}: knobs weight and readout: the first has the readout's weights, too")
        if weights and weights[0].bits != self.weight_bits:
            knob = weights[0]
            raise UsageError(f"chip {self.name}: {knob.name} of {knob.bits} bits: weights have {self.weight_bits}")

    @property
    def weight_max(self) -> int:
        """Largest magnitude of a weight; symmetric, so that negating a network loses nothing."""
        return int(2 ** (self.weight_bits - 1) - 1)
