"""Rule and Finding: what is judged, and what was found about one layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["violation", "warning", "note"]
_ORDER: tuple[Severity, ...] = ("violation", "warning", "note")
Value = int | float | str


@dataclass(frozen=True)
class Finding:
    """One rule that one layer does not meet.

    Attributes:
        rule: its id.
        layer: the layer's name; empty where it is about the whole program.
        what: what is measured, with its unit.
        measured, limit: numbers, or text where one number does not say it.
        source: where the limit comes from; says so where it is inferred.
        suggestion: what to change.
        severity: "violation" (the chip does not take it, or computes something else), "warning" (likely wrong), or
            "note" (worth knowing).
    """

    rule: str
    layer: str
    what: str
    measured: Value
    limit: Value
    source: str
    suggestion: str
    severity: Severity

    def __str__(self) -> str:
        where = f"layer {self.layer}: " if self.layer else ""
        limit = f" (limit {shown(self.limit)})" if self.limit != "" else ""
        advice = f"; {self.suggestion}" if self.suggestion else ""
        return f"{where}{self.what}: {shown(self.measured)}{limit}{advice} [{self.rule}]"


@dataclass(frozen=True)
class Rule:
    """What is judged.

    Attributes:
        id: as it is printed and documented.
        what: what is measured, with its unit.
        topic: a word by which a sentence of an export target is known to be about the same; empty where no target
            judges this.
    """

    id: str
    what: str
    severity: Severity
    source: str
    suggestion: str
    topic: str = ""

    def at(self, layer: str, measured: Value, limit: Value) -> Finding:
        """The finding of this rule at a layer."""
        return Finding(self.id, layer, self.what, measured, limit, self.source, self.suggestion, self.severity)


def shown(value: Value) -> str:
    """A number as a person reads it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def strict(findings: Iterable[Finding]) -> list[Finding]:
    """The same findings, with every warning a violation."""
    return [replace(one, severity="violation") if one.severity == "warning" else one for one in findings]


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Violations first, notes last; otherwise as they were."""
    return sorted(findings, key=lambda one: _ORDER.index(one.severity))
