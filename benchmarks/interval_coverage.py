"""How often the two-level interval holds the true mean: simulated chips and test sets, of which the truth is known.

    python benchmarks/interval_coverage.py -o docs/results/interval-coverage.json

Chip i decides rightly on sample j where mean + a_i + b_j + e_ij > 0, with normal effects of chips (a), of samples (b)
and of single decisions (e, of deviation 1): the true accuracy is Phi(mean / sqrt(1 + a² + b²)). Or else a share of all
samples is hard, which each chip misses with a high probability, and the rest with a low one.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import provenance, write_json
from numpy.typing import NDArray
from scipy import stats

from neurodeploy.sweep.bootstrap import two_level
from neurodeploy.sweep.statistics import paired_difference

SEED = 11
Decisions = NDArray[np.bool_]


class Probit(NamedTuple):
    """Deviations of the effects of chips and of samples, and the true accuracy."""

    chips: float
    samples: float
    accuracy: float

    def mean(self) -> float:
        return float(stats.norm.ppf(self.accuracy) * np.sqrt(1 + self.chips**2 + self.samples**2))

    def effects(self, rng: np.random.Generator, n: int, m: int) -> NDArray[np.float64]:
        return rng.normal(0, self.chips, (n, 1)) + rng.normal(0, self.samples, (1, m))

    def decisions(self, rng: np.random.Generator, n: int, m: int) -> Decisions:
        return np.asarray(self.mean() + self.effects(rng, n, m) + rng.normal(size=(n, m)) > 0)


class Hard(NamedTuple):
    """A share of samples missed with one probability, all others with another."""

    share: float
    missed: float
    others: float

    @property
    def accuracy(self) -> float:
        return 1 - (self.share * self.missed + (1 - self.share) * self.others)

    def decisions(self, rng: np.random.Generator, n: int, m: int) -> Decisions:
        return np.asarray(rng.random((n, m)) >= np.where(rng.random(m) < self.share, self.missed, self.others))


class Case(NamedTuple):
    """A row of the table in docs/sweeps.md: what it is, its populations, and sizes (chips, samples)."""

    name: str
    populations: list[Any]
    sizes: list[tuple[int, int]]


SIZES = [(6, 60), (20, 100), (20, 360), (50, 360), (200, 360)]
CASES = [
    Case("samples differ as much as decisions", [Probit(0.3, 1.0, a) for a in (0.5, 0.8, 0.9, 0.95)], SIZES),
    Case("samples differ half as much", [Probit(0.3, 0.5, a) for a in (0.9, 0.95)], SIZES),
    Case("chips differ as much as decisions", [Probit(1.0, 0.5, a) for a in (0.5, 0.8, 0.9)], SIZES),
    Case("accuracies of 99 %", [Probit(0.3, s, 0.99) for s in (0.5, 1.0)], SIZES[1:]),
    Case("a few samples are hard", [Hard(*p) for p in product((0.003, 0.01), (0.5, 0.9), (0.0002, 0.02))], SIZES[1:]),
]
# Two networks on the same chips and samples, with the same effects of both.
PAIRS = [
    ("differences of 68 and 74 %", (0.68, 0.74), [(15, 80), (20, 360)]),
    ("differences of 88 and 88.5 %", (0.88, 0.885), [(15, 80), (20, 360)]),
    ("differences of 98 and 98.2 %", (0.98, 0.982), [(15, 80), (20, 360)]),
]


def held(population: Any, n: int, m: int, repeats: int) -> dict[str, Any]:
    """The share of intervals of an accuracy that hold it, and their mean width."""
    rng = np.random.default_rng([SEED, n, m, *(round(1e6 * one) for one in population)])
    ends = np.array([two_level(population.decisions(rng, n, m)) for _ in range(repeats)])
    return _row(ends, population.accuracy) | {"population": population._asdict(), "accuracy": population.accuracy}


def held_pair(accuracies: tuple[float, float], single: float, n: int, m: int, repeats: int) -> dict[str, Any]:
    """The same of the difference of two networks, whose own decisions have a deviation of `single` beside effects.

    The smaller it is beside the effects of chips (0.3) and samples (1), the more alike the two decide.
    """
    shared = Probit(0.3, 1.0, 0.5)
    spread = np.sqrt(single**2 + shared.chips**2 + shared.samples**2)
    means = [float(stats.norm.ppf(one) * spread) for one in accuracies]
    rng = np.random.default_rng([SEED, n, m, *(round(1e6 * one) for one in (*accuracies, single))])
    ends = []
    for _ in range(repeats):
        effects = shared.effects(rng, n, m)
        first, second = (mean + effects + single * rng.normal(size=(n, m)) > 0 for mean in means)
        found = paired_difference(first, second)
        ends.append((found.low, found.high))
    return _row(np.array(ends), accuracies[0] - accuracies[1]) | {"accuracies": accuracies, "single": single}


def _row(ends: NDArray[np.float64], true: float) -> dict[str, Any]:
    return {
        "held": float(np.mean((ends[:, 0] <= true) & (true <= ends[:, 1]))),
        "mean_width": float(np.mean(ends[:, 1] - ends[:, 0])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=1000, help="populations and test sets a row")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for case in CASES:
        for population, (n, m) in product(case.populations, case.sizes):
            rows.append(
                {"case": case.name, "n_chips": n, "test_samples": m, **held(population, n, m, arguments.repeats)}
            )
            print(rows[-1], flush=True)
    for name, accuracies, sizes in PAIRS:
        for single, (n, m) in product((0.2, 1.0), sizes):
            row = held_pair(accuracies, single, n, m, arguments.repeats)
            rows.append({"case": name, "n_chips": n, "test_samples": m, **row})
            print(rows[-1], flush=True)
    for name in dict.fromkeys(row["case"] for row in rows):
        shares = [row["held"] for row in rows if row["case"] == name]
        print(f"{name}: {100 * min(shares):.1f} to {100 * max(shares):.1f} %")
    content = {"provenance": provenance(), "seed": SEED, "repeats": arguments.repeats, "rows": rows}
    write_json(arguments.output, content)


if __name__ == "__main__":
    main()
