"""Table 2 of the paper (arXiv:2304.13289) in small: initial gamma × method, paired over seeds.

Method: baseline (gamma frozen, no potential adjustment), PSG as the paper writes it, PSG & PDA, PDA with gamma frozen,
and PDA with a principled gradient of gamma; PSG of that kind without PDA on demand. Accuracy is on the
validation-selected epoch, on the test recordings. All methods of a seed have the same initial weights, validation
split and order of batches, so that differences are paired.

    python benchmarks/psg_pda.py --data-root DATA -o docs/results/psg-pda.json

A run that was killed goes on with what is missing: finished networks are in the output file, the one that was being
trained in the folder beside it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from common import mean_interval, provenance, read_json, write_json
from trained import BRIEF, check_same, train_or_go_on

METHODS: dict[str, list[str]] = {
    "baseline": ["network.gamma_rule=frozen", "train.potential_weight=0"],
    "psg": ["network.gamma_rule=literal", "train.potential_weight=0"],
    "psg_pda": ["network.gamma_rule=literal", "train.potential_weight=1"],
    "frozen_pda": ["network.gamma_rule=frozen", "train.potential_weight=1"],
    "principled": ["network.gamma_rule=principled", "train.potential_weight=0"],
    "principled_pda": ["network.gamma_rule=principled", "train.potential_weight=1"],
}
TABLE = "baseline,psg,psg_pda,frozen_pda,principled_pda"


def main() -> None:
    """Trains what is missing, one network after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="n-mnist")
    parser.add_argument("--preset", default="n-mnist-small")
    parser.add_argument("--data-root")
    parser.add_argument("--gammas", default="1,2,5")
    parser.add_argument("--methods", default=TABLE)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    asked = {"data": options.data, "preset": options.preset, "settings": options.settings}
    kept = read_json(options.output) or {"runs": []}
    check_same(options.output, kept, asked)
    runs: list[dict[str, Any]] = kept["runs"]
    for seed in range(options.seeds):
        for gamma in (float(value) for value in options.gammas.split(",")):
            for method in options.methods.split(","):
                key = {"gamma": gamma, "method": method, "seed": seed}
                if any(key.items() <= run.items() for run in runs):
                    continue
                runs.append(key | _train(options, gamma, method, seed))
                print(runs[-1], flush=True)
                content = {"provenance": provenance()} | asked
                write_json(options.output, content | {"summary": _summary(runs), "runs": runs})


def _train(options: argparse.Namespace, gamma: float, method: str, seed: int) -> dict[str, Any]:
    settings = [
        *(BRIEF if options.preset == "n-mnist-small" else ()),
        *options.settings,
        f"network.gamma={gamma}",
        *METHODS[method],
    ]
    work = options.output.with_suffix(".work") / f"{method}-{gamma:g}-{seed}"
    model = train_or_go_on(work / "model.pt", options.preset, options.data, options.data_root, settings, seed)
    shutil.rmtree(work)
    return {
        "test_accuracy": model.metrics["test_accuracy"],
        "validation_accuracy": model.metrics["validation_accuracy"],
        "epoch": model.metrics["epoch"],
        "seconds": model.metrics["training_seconds"],
        "gammas": {name: value for name, value in model.history[-1].items() if name.startswith("gamma.")},
        "rates": {name: value for name, value in model.history[-1].items() if name.startswith("rate.")},
    }


def _summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and 95 % interval over seeds, and the difference from the baseline of the same gamma and seed."""
    rows = []
    for gamma, method in dict.fromkeys((run["gamma"], run["method"]) for run in runs):
        mine = {run["seed"]: run for run in runs if (run["gamma"], run["method"]) == (gamma, method)}
        base = {run["seed"]: run for run in runs if (run["gamma"], run["method"]) == (gamma, "baseline")}
        row: dict[str, Any] = {"gamma": gamma, "method": method, "seeds": len(mine)}
        for split in ("test_accuracy", "validation_accuracy"):
            row[split] = mean_interval([run[split] for run in mine.values()])
            paired = [mine[seed][split] - base[seed][split] for seed in mine if seed in base]
            row[f"{split}_minus_baseline"] = mean_interval(paired) if paired and method != "baseline" else None
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
