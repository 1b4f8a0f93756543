"""Design rules: does a network fit its chip, will it live there, what did rounding do, and what to change."""

from neurodeploy.inspect.finding import Finding, Rule, Severity, strict
from neurodeploy.inspect.headroom import Headroom
from neurodeploy.inspect.observed import Observed
from neurodeploy.inspect.placement import LayerPlacement, Placement, place
from neurodeploy.inspect.rounded import Rounding, rounding
from neurodeploy.inspect.rules import RULES, Inspection, inspect_program, warnings

__all__ = [
    "RULES",
    "Finding",
    "Headroom",
    "Inspection",
    "LayerPlacement",
    "Observed",
    "Placement",
    "Rounding",
    "Rule",
    "Severity",
    "inspect_program",
    "place",
    "rounding",
    "strict",
    "warnings",
]
