"""Statistics over chips. The unit of replication is the chip: an interval says what another batch of chips would do."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of a population of chips, fractions.

    Attributes:
        accuracy_p05: 5th percentile over chips (linear interpolation).
        ci_low, ci_high: 95 % Student t interval of the mean over chips, within [0, 1]; for a single chip [0, 1].
    """

    n_chips: int
    accuracy_mean: float
    accuracy_sd: float
    accuracy_p05: float
    accuracy_min: float
    ci_low: float
    ci_high: float

    def as_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


def summarise(accuracies: NDArray[np.float64]) -> Accuracy:
    """The statistics of one accuracy per chip; raises ValueError where there is none."""
    count = len(accuracies)
    if count == 0:
        raise ValueError("no chips")
    mean = float(np.mean(accuracies))
    alike = count == 1 or np.ptp(accuracies) == 0  # else rounding of the mean would show as a spread of 1e-16
    deviation = 0.0 if alike else float(np.std(accuracies, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / np.sqrt(count) if count > 1 else 1.0
    return Accuracy(
        count,
        mean,
        deviation,
        float(np.percentile(accuracies, 5)),
        float(np.min(accuracies)),
        max(0.0, mean - half),
        min(1.0, mean + half),
    )
