"""Noises as axes of charts: titles and units, fractions in percent."""

from __future__ import annotations

from dataclasses import dataclass

from neurodeploy.hw_models.noise_terms import NOISE_TERMS


@dataclass(frozen=True)
class Quantity:
    """A noise as an axis: its title, the unit of what is drawn, and that over the level's own unit."""

    title: str
    unit: str
    factor: float

    @property
    def short(self) -> str:
        """After a number."""
        return "\u00a0%" if self.unit.startswith("%") or ", %" in self.unit else f"\u00a0{self.unit}"


def quantity_of(noise: str) -> Quantity:
    """Fractions and probabilities in percent, other units as they are."""
    term = NOISE_TERMS.get(noise)
    if term is None:
        return Quantity(noise.replace("_", " "), "level", 1.0)
    kind, _, rest = term.unit.partition(" ")
    if kind not in ("fraction", "probability"):
        return Quantity(term.title, term.unit, 1.0)
    spread = "standard deviation, " if kind == "fraction" and term.drawn != "never" and not _counts(term.unit) else ""
    return Quantity(term.title, f"{spread}% {rest}".rstrip(), 100.0)


def _counts(unit: str) -> bool:
    """Whether a fraction is a share of things rather than the spread of a value."""
    return unit.endswith((" neurons", " synapses"))
