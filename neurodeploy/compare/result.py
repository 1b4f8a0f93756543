"""What a comparison of two sides finds, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["cause", "together", "inherited", "precision", "departure", "unknown"]


@dataclass(frozen=True)
class Place:
    """Where a difference is.

    Attributes:
        step: counted from 1.
        sample: counted from 0, over all samples that were compared.
        neuron: index within the layer's shape.
        quantity: "spike" or "voltage"; `first` and `second` are its values on the two sides.
    """

    step: int
    layer: str
    sample: int
    neuron: tuple[int, ...]
    quantity: str
    first: float
    second: float


@dataclass(frozen=True)
class Tried:
    """One quantity put in the place of the other side's, alone.

    Attributes:
        in_first: whether the first side's history is then the second's; None where nothing changed or it is not known.
        in_second: whether the second side's history is then the first's.
    """

    quantity: str
    in_first: bool | None
    in_second: bool | None


@dataclass(frozen=True)
class Trace:
    """The neuron of a divergence over all steps, as each side computed it.

    Potentials are in the Network's unit: before the reset where they were computed again, after it of a side that
    departs from its definition, as it recorded them; None where it did not.
    """

    threshold: float | None
    first_potential: tuple[float, ...] | None
    second_potential: tuple[float, ...] | None
    first_spikes: tuple[int, ...] | None
    second_spikes: tuple[int, ...] | None


@dataclass(frozen=True)
class Explanation:
    """Why two sides differ at a place, as far as it can be proved.

    Attributes:
        kind: "cause": any of `causes` alone removes the divergence; "together": all of them at once do, none alone;
            "inherited": with the first side's spikes of the layers `inherited_from`, the second side does as the first;
            "precision": the rounding of floating point numbers; "departure": a side does not compute what it is meant
            to; "unknown": no quantity explains it.
        sentence: the same in words.
        consistent_with: of a side that departs, changes with which its whole layer comes out as it was recorded. What
            the side really does is not known: these are hypotheses that the recording does not refute.
        tried: every quantity in which the sides differ for this neuron.
        registers: wraps and saturations in the neuron's history up to the divergence.
    """

    kind: Kind
    sentence: str
    causes: tuple[str, ...] = ()
    inherited_from: tuple[str, ...] = ()
    consistent_with: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    registers: tuple[str, ...] = ()
    trace: Trace | None = None

    @property
    def short(self) -> str:
        """In a few words."""
        if self.kind in ("cause", "precision"):
            return " or ".join(self.causes)
        if self.kind == "together":
            return f"{' and '.join(self.causes)} together"
        if self.kind == "inherited":
            return f"inherited from {', '.join(self.inherited_from)}"
        return "departure from its definition" if self.kind == "departure" else "not explained"


@dataclass(frozen=True)
class PotentialError:
    """Second minus first, after the reset, over neuron-steps at which both fired or both did not.

    Attributes:
        compared: number of neuron-steps.
        mean_lsb, max_lsb: of the error without its sign, in least significant bits of the chip (`lsb`, in the Network's
            unit of potential); None where neither side is a chip's.
        mean_thresholds, max_thresholds: in units of the threshold; None for a layer that does not fire.
        by_step: mean of every step, in least significant bits where there are any, else in the Network's unit.
    """

    compared: int
    lsb: float | None
    mean_lsb: float | None
    max_lsb: float | None
    mean_thresholds: float | None
    max_thresholds: float | None
    by_step: tuple[float | None, ...]


@dataclass(frozen=True)
class LayerResult:
    """One layer over all steps and samples.

    Attributes:
        neurons: number of them.
        compared: neuron-steps whose spikes were compared; 0 where the layer does not fire or a side has no spikes.
        first_rate, second_rate: share of neuron-steps with a spike.
        differing_spikes: neuron-steps at which one side fires and the other does not.
        either: neuron-steps at which at least one side fires.
        differing_by_step: the same for every step.
        differing_voltages: of sides that run the same Program, by value; None where they need not be equal.
        first: the first difference: by step, then spike before voltage, then sample and neuron.
        causes: how often the first difference of a sample has which cause, of the samples that were explained.
        missing: what a side did not record.
    """

    layer: str
    neurons: int
    fires: bool
    compared: int
    first_rate: float | None
    second_rate: float | None
    differing_spikes: int
    either: int
    differing_by_step: tuple[int, ...]
    differing_voltages: int | None
    error: PotentialError | None
    first: Place | None
    explanation: Explanation | None
    causes: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """Differing spikes per neuron-step that was compared."""
        return self.differing_spikes / self.compared if self.compared else None


@dataclass(frozen=True)
class SideInfo:
    """A side in words."""

    name: str
    title: str
    evidence: str
    correct: int | None


@dataclass(frozen=True)
class SideComparison:
    """Two sides on the same samples.

    Attributes:
        teacher_forced: whether each layer of the second side was fed the first side's spikes.
        decisions_differing: samples with another class.
        by_value: whether potentials were held to equality.
        chunk: samples that were held at once.
        notes: what a reader must know about the samples.
    """

    first: SideInfo
    second: SideInfo
    chip: str | None
    samples: int
    steps: int
    teacher_forced: bool
    by_value: bool
    layers: tuple[LayerResult, ...]
    decisions_differing: int
    chunk: int
    notes: tuple[str, ...] = ()

    @property
    def first_difference(self) -> LayerResult | None:
        """The layer with the first difference in time; of layers that differ at one step, the one that comes first."""
        found = [layer for layer in self.layers if layer.first is not None]
        return min(found, key=lambda layer: layer.first.step if layer.first else 0, default=None)

    @property
    def worst_share(self) -> float:
        """Largest share of differing spikes of a layer."""
        return max((layer.share or 0.0 for layer in self.layers), default=0.0)

    @property
    def differing_spikes(self) -> int:
        """Over all layers."""
        return sum(layer.differing_spikes for layer in self.layers)

    @property
    def differing_voltages(self) -> int:
        """Over all layers; 0 where they were not held to equality."""
        return sum(layer.differing_voltages or 0 for layer in self.layers)

    def excess(self, spikes: float | None = None, decisions: float | None = None) -> list[str]:
        """In what the sides differ beyond what is allowed; empty where in nothing.

        Args:
            spikes: allowed share of differing spikes in every layer; None allows none, and no voltage that differs
                where voltages are held to equality.
            decisions: allowed share of samples that are decided otherwise; None allows none.
        """
        found = []
        if self.worst_share > (spikes or 0.0):
            worst = max(self.layers, key=lambda layer: layer.share or 0.0)
            found.append(
                f"{self.differing_spikes} spikes differ, {100 * self.worst_share:.3g} % in layer {worst.layer} "
                f"(allowed are {100 * (spikes or 0.0):.3g} %)"
            )
        if spikes is None and self.differing_voltages:
            found.append(f"{self.differing_voltages} voltages differ")
        if self.decisions_differing > (decisions or 0.0) * self.samples:
            found.append(
                f"{self.decisions_differing} of {self.samples} decisions differ (allowed are "
                f"{100 * (decisions or 0.0):.3g} %)"
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = self.first_difference
        return asdict(self) | {
            "layers": [asdict(layer) | {"share": layer.share} for layer in self.layers],
            "differing_spikes": self.differing_spikes,
            "differing_voltages": self.differing_voltages,
            "worst_share": self.worst_share,
            "first_difference": found.layer if found else None,
        }
