"""ChipModel: what a chip can store and compute, as data with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neurodeploy.ir.nodes import Reset

Evidence = Literal["measured-silicon", "bit-exact-sim", "statistical-sim", "modelled"]


@dataclass(frozen=True)
class Trim:
    """The knob with which a chip's neurons can be made to fire less or more after fabrication.

    With shift = nominal threshold * span * code / (2**(bits - 1) - 1) and code in ±(2**(bits - 1) - 1), a positive code
    makes a neuron fire less:

        "threshold":  threshold' = max(threshold + shift, 0)
        "bias":       bias' = bias - shift, at every step

    where `threshold` and `bias` are what the chip has.

    Attributes:
        quantity: what the knob moves.
        per: "neuron" where each neuron has a code of its own, "layer" where a layer shares one.
        bits: resolution.
        span: largest shift, relative to the nominal threshold.
    """

    quantity: Literal["threshold", "bias"]
    per: Literal["neuron", "layer"]
    bits: int
    span: float

    @property
    def highest_code(self) -> int:
        """The largest code; the smallest is its negative."""
        return int(2 ** (self.bits - 1) - 1)


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
        trim: the knob for calibration, or None.
        capacitance: of a neuron's membrane, farad (for kT/C noise), or None.
        threshold_volts: the swing of the membrane's voltage from rest to the nominal threshold, volt, or None.
        evidence: what a number obtained with this model rests on.
        sources: limit -> paper, table, or how it was established.
    """

    name: str
    title: str
    fixed_point: bool
    weight_bits: int
    resets: tuple[Reset, ...]
    trim: Trim | None
    evidence: Evidence
    threshold_max: int | None = None
    bias_mantissa_max: int | None = None
    bias_exponents: tuple[int, int] | None = None
    capacitance: float | None = None
    threshold_volts: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def weight_max(self) -> int:
        """Largest magnitude of a weight; symmetric, so that negating a network loses nothing."""
        return int(2 ** (self.weight_bits - 1) - 1)
