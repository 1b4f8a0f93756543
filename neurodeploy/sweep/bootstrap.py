"""Two-level intervals: what another batch of chips and another test set would give.

Chips and samples are crossed: every chip sees every sample. With x[i, j] the value of chip i on sample j, n chips and m
samples, the two-way analysis of variance gives the variance of the mean,

    V = A / n + B / m + E / (n m),     E = MS_E,  A = max(0, (MS_A - MS_E) / m),  B = max(0, (MS_B - MS_E) / n)

with A between chips, B between samples and E the rest. The pigeonhole bootstrap (Owen, Ann. Appl. Stat. 1, 2007) draws
chips and samples with replacement, each on its own; h is the 95 % point of the distance of its means from the mean, and
mean ± h its symmetric interval (Hall, J. R. Stat. Soc. B 50, 1988). Its variance is too large (it counts E three times)
or too small ((n - 1) / n), and few chips need Student's t, so that the interval is mean ± k h,

    k = t(0.975, d) / z(0.975) * sqrt(V / V_bootstrap),     d = Satterthwaite's degrees of freedom of V.

A mean between 0 and 1 is treated on the scale of its logarithmic odds, l = ln(p / (1 - p)), V then being
V / (p (1 - p))²: near 1 an accuracy can fall further than it can rise. Simulated for 5 to 20 chips that differ much,
93 to 95 % of the intervals hold the mean; 87 to 92 % without that scale, or with percentiles for ends. Where chips miss
a few samples only, there is too little to resample (91 %), so that the interval of a share p is never narrower than
Clopper and Pearson's at the number of independent decisions that would be as uncertain as p is,

    p (1 - p) / V * (z / t(0.975, d))²        (Korn and Graubard, Survey Methodology 24, 1998)

V knows of the kinds of samples that were drawn. A share 1 - 0.025^(1/m) of all samples may be of a kind that none of m
showed (Clopper and Pearson at 0 of m): missed by every chip, say. Such samples would move the mean from x towards a
bound b by that share of b - x, so that the interval reaches at least

    (1 - 0.025^(1/m)) (1 - (k / m)²) |b - x|

to either side. k is the number of samples from which V is known: with d_j the mean distance of sample j's values from
the median of all,

    k = (sum of d_j²)² / (sum of d_j⁴)        (the participation ratio; equal d_j count in full, one large d_j as one)

Without the term, an interval after one wrong decision in thousands would be that of thousands of independent ones, and
68 to 87 % would hold the mean where a sample in a few hundred is hard. The factor of k is ours, by simulation: where
samples are missed alike, V covers by itself. Chips of a kind that none of n showed are not allowed for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from neurodeploy.ir.arrays import FloatArray

CONFIDENCE = 0.95
RESAMPLES = 1000
SEED = 20_230_413  # of every bootstrap: an interval depends on its data alone
FEW = 80  # chips from which on `shown_by` looks ahead; by simulation


@dataclass(frozen=True)
class Components:
    """Variance of a mean over chips and samples.

    Attributes:
        chips, samples, rest: the three parts of V above, already divided.
        freedom: Satterthwaite's degrees of freedom.
    """

    chips: float
    samples: float
    rest: float
    freedom: float

    @property
    def total(self) -> float:
        """V."""
        return self.chips + self.samples + self.rest


def components(values: NDArray[Any]) -> Components:
    """The parts of the variance of the mean of (chips, samples); at least two of each."""
    x = np.asarray(values, dtype=np.float64)
    n, m = x.shape
    mean, rows, columns = x.mean(), x.mean(axis=1), x.mean(axis=0)
    between_chips = m * float(np.sum((rows - mean) ** 2)) / (n - 1)
    between_samples = n * float(np.sum((columns - mean) ** 2)) / (m - 1)
    rest = float(np.sum((x - rows[:, None] - columns + mean) ** 2)) / ((n - 1) * (m - 1))
    chips, samples = max(0.0, between_chips - rest), max(0.0, between_samples - rest)
    total = chips + samples + rest
    spread = between_chips**2 / (n - 1) + between_samples**2 / (m - 1) + rest**2 / ((n - 1) * (m - 1))
    freedom = max(total**2 / spread if spread > 0 else 0.0, min(n, m) - 1.0)
    return Components(chips / (n * m), samples / (n * m), rest / (n * m), freedom)


def two_level(
    values: NDArray[Any], bounds: tuple[float, float] = (0.0, 1.0), resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % interval of the mean of (chips, samples), within `bounds`.

    One chip, or one sample, says nothing about others: the bounds themselves. Where all values are equal there is
    nothing to resample; then the interval reaches as far as samples that were not drawn allow (`unseen`), which for
    values that are all 1 is Clopper and Pearson's.
    """
    x = np.asarray(values)
    if min(x.shape) < 2:
        return bounds
    mean, share = float(np.mean(x, dtype=np.float64)), unseen(x.shape[1], shown(x))
    low, high = drawn(x, bounds, resamples)
    lowest, highest = mean - share * (mean - bounds[0]), mean + share * (bounds[1] - mean)
    return max(bounds[0], min(low, lowest)), min(bounds[1], max(high, highest))


def drawn(
    values: NDArray[Any], bounds: tuple[float, float] = (0.0, 1.0), resamples: int = RESAMPLES
) -> tuple[float, float]:
    """What V alone says: the interval for samples of the kinds that were drawn; of equal values, their mean."""
    x = np.asarray(values)
    mean = float(np.mean(x, dtype=np.float64))
    if np.ptp(x.astype(np.float64)) == 0:
        return mean, mean
    means = resampled_means(x, resamples)
    parts = components(x)
    deviation, centre = float(np.sqrt(parts.total)), mean
    odds = bounds == (0.0, 1.0)
    if odds:
        # Half a sample, where a resample happens to be all right or all wrong; never on the mean's other side.
        edge = min(0.5 / x.shape[1], mean / 2, (1 - mean) / 2)
        means, centre = logit(np.clip(means, edge, 1 - edge)), float(logit(mean))
        deviation /= mean * (1 - mean)
    tail = (1 - CONFIDENCE) / 2
    widen = stats.t.ppf(1 - tail, parts.freedom) / stats.norm.ppf(1 - tail) * deviation / means.std()
    half = widen * float(np.quantile(np.abs(means - centre), CONFIDENCE))
    low, high = centre - half, centre + half
    if odds:
        exact = _exact(mean, parts)
        low, high = min(expit(low), exact[0]), max(expit(high), exact[1])
    return float(low), float(high)


def unseen(samples: int, known: float) -> float:
    """The share of all samples that may be of a kind that `samples` do not show: (1 - 0.025^(1/m)) (1 - (k/m)²)."""
    return float((1 - ((1 - CONFIDENCE) / 2) ** (1 / samples)) * (1 - (known / samples) ** 2))


def shown(values: NDArray[Any]) -> float:
    """k: from how many samples of (chips, samples) V is known."""
    x = np.asarray(values, dtype=np.float64)
    squares = np.abs(x - np.median(x)).mean(axis=0) ** 2
    return float(squares.sum() ** 2 / np.sum(squares**2)) if squares.any() else 0.0


def shown_by(correct: NDArray[np.bool_], chips: int) -> float:
    """The most that k may be with as many chips, of decisions (n chips, m samples) of which c chips miss a sample.

    Each chip beside the n that there are shows at most a further sample for n of those that a single chip shows (the
    first term of Good and Toulmin, Biometrika 43, 1956). From `FEW` chips on it is no more than the k of all chips
    there could be, whose d² and d⁴ are estimated without bias by c (c - 1) / (n (n - 1)) and
    c (c - 1) (c - 2) (c - 3) / (n (n - 1) (n - 2) (n - 3)); fewer chips tell little of these.
    """
    n, m = correct.shape
    missed = np.count_nonzero(correct != np.median(correct), axis=0).astype(np.float64)
    most = np.count_nonzero(missed) + np.count_nonzero(missed == 1) * (chips / n - 1)
    if n >= FEW:
        pairs, fours = missed * (missed - 1), missed * (missed - 1) * (missed - 2) * (missed - 3)
        squares, fourths = pairs.sum() / (n * (n - 1)), fours.sum() / (n * (n - 1) * (n - 2) * (n - 3))
        most = min(most, squares**2 / fourths) if fourths > 0 else most
    return float(min(most, m))


def _exact(share: float, parts: Components) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share strictly between 0 and 1, at its effective number of decisions."""
    tail = (1 - CONFIDENCE) / 2
    widen = stats.norm.ppf(tail) / stats.t.ppf(tail, parts.freedom)
    count = share * (1 - share) / parts.total * widen**2
    right, wrong = share * count, (1 - share) * count
    return float(stats.beta.ppf(tail, right, wrong + 1)), float(stats.beta.ppf(1 - tail, right + 1, wrong))


def resampled_means(values: NDArray[Any], resamples: int = RESAMPLES) -> FloatArray:
    """(resamples,) means of the pigeonhole bootstrap; the same chips and samples are drawn for every table of a shape.

    Sums of booleans are exact, so that the result does not depend on the order in which a library adds.
    """
    x = np.asarray(values)
    n, m = x.shape
    exact = x.dtype == np.bool_ and n < 2**24
    chips = _weights(n, resamples, 0)
    by_sample = chips @ x.astype(np.float32) if exact else chips.astype(np.float64) @ x.astype(np.float64)
    means = np.empty(resamples)
    for first in range(0, resamples, 100):  # a hundred rows of doubles at once
        part = slice(first, first + 100)
        means[part] = (by_sample[part].astype(np.float64) * _weights(m, resamples, 1)[part]).sum(axis=1)
    return np.asarray(means / (n * m), dtype=np.float64)


@lru_cache(maxsize=6)
def _weights(count: int, resamples: int, what: int) -> NDArray[np.float32]:
    """(resamples, count): how often each of `count` was drawn, in `count` draws with replacement."""
    generator = np.random.default_rng([SEED, what, count])
    drawn = np.empty((resamples, count), dtype=np.float32)
    for row in drawn:
        row[:] = np.bincount(generator.integers(0, count, count), minlength=count)
    drawn.setflags(write=False)
    return drawn
