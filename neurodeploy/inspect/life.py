"""Layers and neurons that decide nothing on data: they never fire, or always."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from neurodeploy.inspect.finding import Finding, Rule
from neurodeploy.inspect.observed import Observed

ALIVE = (0.001, 0.999)  # a layer whose mean firing rate lies outside decides nothing
LARGE_NEVER_PERCENT = 90.0
LARGE_ALWAYS_PERCENT = 10.0

SILENT = Rule(
    "LIFE-LAYER-SILENT",
    "silent, mean firing rate",
    "warning",
    "ours: below one spike in a thousand neuron-steps a layer passes nothing on",
    "lower its threshold or retrain",
)
SATURATED = Rule(
    "LIFE-LAYER-SATURATED",
    "saturated, mean firing rate",
    "warning",
    "ours: above 999 spikes in a thousand neuron-steps a layer passes a constant on",
    "raise its threshold or retrain",
)
NEVER = Rule(
    "LIFE-NEURONS-NEVER",
    "neurons without a spike in all samples, percent",
    "warning",
    "ours: a layer of which nine in ten neurons are unused is too large, or its threshold too high",
    "prune the layer, lower its threshold, or show more samples",
)
ALWAYS = Rule(
    "LIFE-NEURONS-ALWAYS",
    "neurons that fire at every step of all samples, percent",
    "warning",
    "ours: a neuron that always fires is a bias, and pays for each of its spikes",
    "raise the layer's threshold, or put the constant into the next layer's bias",
)
RULES = (SILENT, SATURATED, NEVER, ALWAYS)


def rate_findings(rates: Mapping[str, float | None], layers: Iterable[str]) -> list[Finding]:
    """Layers whose mean firing rate decides nothing, in the order of `layers`."""
    found = []
    for name in layers:
        rate = rates.get(name)
        if rate is not None and rate < ALIVE[0]:
            found.append(SILENT.at(name, f"{rate:.2%}", f"{ALIVE[0]:.1%}"))
        if rate is not None and rate > ALIVE[1]:
            found.append(SATURATED.at(name, f"{rate:.2%}", f"{ALIVE[1]:.1%}"))
    return found


def life_findings(observed: Mapping[str, Observed]) -> list[Finding]:
    """Layers and neurons that decide nothing."""
    found = rate_findings({name: one.firing_rate for name, one in observed.items()}, observed)
    for name, one in observed.items():
        if one.never_percent is not None and one.never_percent > LARGE_NEVER_PERCENT:
            found.append(NEVER.at(name, one.never_percent, LARGE_NEVER_PERCENT))
        if one.always_percent is not None and one.always_percent > LARGE_ALWAYS_PERCENT:
            found.append(ALWAYS.at(name, one.always_percent, LARGE_ALWAYS_PERCENT))
    return found
