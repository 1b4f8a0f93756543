"""What rounding lost: weights that became zero or were clipped, decays and thresholds that a grid cannot hold.

A decay d stands for a time constant of -1 / ln(d) steps, which is what must be right: near 1 a small error of d is a
large one of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.inspect.finding import Finding, Rule
from neurodeploy.inspect.rounded import Rounding

_OURS = "ours: "
LARGE_ZERO_PERCENT = 50.0
LARGE_CLIPPED_PERCENT = 1.0
LARGE_TIME_CONSTANT_PERCENT = 5.0
LARGE_THRESHOLD_PERCENT = 1.0

ZERO = Rule(
    "WEIGHTS-ZERO",
    "weights that became zero, percent",
    "warning",
    _OURS + "where half of the weights are gone, the layer is another one",
    "train with smaller weight bits in the loop, or prune and retrain; a few large weights may set the layer's scale",
)
CLIPPED = Rule(
    "WEIGHTS-CLIPPED",
    "weights that were clipped, percent",
    "warning",
    _OURS + "more than one in a hundred at the end of the range is no accident",
    "its weights are large against its threshold: raise the threshold in training, or clip weights and retrain",
)
DECAY = Rule(
    "DECAY-GRID",
    "error of a time constant, percent",
    "warning",
    _OURS + "the stored decay is a multiple of 1/4096 (lava-nc 0.10.0, lava/proc/lif/models.py)",
    "choose a decay that the chip has, or train with this one",
)
THRESHOLD = Rule(
    "THRESHOLD-ROUNDED",
    "error of the threshold, percent",
    "warning",
    _OURS + "at a scale of threshold / integer it is stored exactly",
    "leave the choice of the scale to the quantiser",
)
RULES = (ZERO, CLIPPED, DECAY, THRESHOLD)


def precision_findings(rows: Iterable[Rounding], chip: ChipModel) -> list[Finding]:
    """What is allowed, but lost so much in rounding that the layer is likely another one."""
    found = []
    for row in rows:
        if row.weights_clipped_percent > LARGE_CLIPPED_PERCENT:
            found.append(CLIPPED.at(row.layer, row.weights_clipped_percent, LARGE_CLIPPED_PERCENT))
        if row.weights_zero_percent > LARGE_ZERO_PERCENT:
            found.append(ZERO.at(row.layer, row.weights_zero_percent, LARGE_ZERO_PERCENT))
        for exact, stored in ((row.decay, row.decay_stored), (row.current_decay, row.current_decay_stored)):
            error = time_constant_error(exact, stored)
            if error > LARGE_TIME_CONSTANT_PERCENT:
                measured = error if math.isfinite(error) else f"infinite ({exact:.6g} is stored as {stored:.6g})"
                found.append(DECAY.at(row.layer, measured, LARGE_TIME_CONSTANT_PERCENT))
        off = round(abs(row.threshold_error_percent or 0.0), 9)  # 99 units of 1/100 are 1 % less than 1, not more
        if off > LARGE_THRESHOLD_PERCENT:
            found.append(THRESHOLD.at(row.layer, off, LARGE_THRESHOLD_PERCENT))
    return found


def time_constant_error(exact: float, stored: float) -> float:
    """|tau' / tau - 1| in percent for tau = -1 / ln(decay); infinite where exactly one of them forgets nothing."""
    wanted, got = _time_constant(exact), _time_constant(stored)
    if wanted == got:
        return 0.0
    if math.isinf(wanted) or math.isinf(got):
        return math.inf
    return 100 * abs(got / wanted - 1) if wanted else math.inf


def _time_constant(decay: float) -> float:
    """In steps; 0 where nothing is kept, infinite where everything is."""
    if decay <= 0:
        return 0.0
    return math.inf if decay >= 1 else -1 / math.log(decay)
