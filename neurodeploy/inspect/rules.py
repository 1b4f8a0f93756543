"""All rules together: what `neurodeploy inspect` says of a Program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.inspect import headroom as registers_ends
from neurodeploy.inspect import life, limits, precision, registers, resources
from neurodeploy.inspect.finding import Finding, Rule, ordered
from neurodeploy.inspect.headroom import Headroom, headroom, headroom_findings
from neurodeploy.inspect.observed import Observed, observe
from neurodeploy.inspect.placement import Placement, place
from neurodeploy.inspect.rounded import Rounding, rounding
from neurodeploy.ir.network import Network
from neurodeploy.ir.program import Program

RULES: tuple[Rule, ...] = (
    *registers.RULES,
    *registers_ends.RULES,
    *resources.RULES,
    *limits.RULES,
    *precision.RULES,
    *life.RULES,
)
TARGET = Rule(
    "TARGET",
    "the target says",
    "violation",
    "the export target's own rules",
    "",
)


@dataclass(frozen=True)
class Inspection:
    """What inspection found.

    Attributes:
        findings: violations first; those of the export target that no rule here covers have the rule id TARGET.
        rounding: one row per layer.
        headroom: one row per layer of a fixed-point program, else none.
        observed: layer -> what its neurons did on data; empty without data.
        placement: None where nothing is known about the chip's cores.
    """

    findings: tuple[Finding, ...]
    rounding: tuple[Rounding, ...]
    headroom: tuple[Headroom, ...]
    observed: Mapping[str, Observed]
    placement: Placement | None

    @property
    def fits(self) -> bool:
        """Whether nothing is violated."""
        return all(one.severity != "violation" for one in self.findings)

    def plain(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "rounding": [asdict(row) for row in self.rounding],
            "findings": [asdict(one) for one in self.findings],
            "headroom": [asdict(row) for row in self.headroom],
            "life": self.life(),
            "placement": None if self.placement is None else asdict(self.placement),
        }

    def life(self) -> list[dict[str, Any]]:
        """One row per layer that was observed."""
        columns = ("layer", "firing_rate", "never_percent", "always_percent", "wraps", "saturations")
        return [{name: getattr(one, name) for name in columns} for one in self.observed.values()]


def inspect_program(
    network: Network | None,
    program: Program,
    chip: ChipModel,
    inputs: NDArray[Any] | None = None,
    target_violations: Sequence[str] = (),
) -> Inspection:
    """Judges a quantised network before it is deployed.

    Args:
        network: that `program` was quantised from; None where there is none, and nothing was rounded.
        inputs: integers, (B, *shape) or (T, B, *shape), on which the program is run; without them what is measured on
            data is left out.
        target_violations: sentences of an export target; those that a rule here has found too are not repeated.

    Raises:
        UsageError: where the input does not suit the program.
    """
    rows = [] if network is None else rounding(network, program, chip)
    seen = {} if inputs is None else observe(program, inputs)
    placement = place(program, chip)
    found = [
        *registers.register_findings(program, chip),
        *headroom_findings(program, seen),
        *resources.resource_findings(program, chip, placement),
        *limits.limit_findings(program, chip),
        *precision.precision_findings(rows, chip),
        *life.life_findings(seen),
    ]
    found += _others(target_violations, found)
    return Inspection(tuple(ordered(found)), tuple(rows), tuple(headroom(program, seen)), seen, placement)


def warnings(program: Program, chip: ChipModel, rates: Mapping[str, float], rows: list[Rounding]) -> list[str]:
    """What is allowed but likely wrong, with layer names, as sentences.

    Args:
        rates: layer -> mean firing rate of the quantised network on calibration data.
        rows: of `rounding`.
    """
    found = life.rate_findings(rates, [layer.name for layer in program.layers])
    found += headroom_findings(program, {})
    found += precision.precision_findings(rows, chip)
    return [str(one) for one in found if one.severity == "warning"]


def _others(sentences: Iterable[str], found: Sequence[Finding]) -> list[Finding]:
    """What a target says and no finding covers: one about the same layer whose rule's topic is in the sentence."""
    topics = {rule.id: rule.topic for rule in RULES}
    return [
        TARGET.at("", sentence, "")
        for sentence in sentences
        if not any(
            topics[one.rule] and sentence.startswith(f"layer {one.layer}: ") and topics[one.rule] in sentence
            for one in found
        )
    ]
