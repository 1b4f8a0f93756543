"""Table 2 of the paper (arXiv:2304.13289) in small: initial gamma × method, paired over seeds.

Method: baseline (gamma frozen, no potential adjustment), PSG as the paper writes it, PSG & PDA, PSG with a principled
gradient of gamma, and that with PDA. Accuracy is on the validation-selected epoch, on the test recordings.

    python benchmarks/psg_pda.py --data-root DATA -o docs/results/psg-pda.json

A run that was killed goes on with what is missing in the output file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from common import mean_interval, provenance, read_json, write_json

from neurodeploy.config import load_config
from neurodeploy.experiment import train_model

METHODS: dict[str, list[str]] = {
    "baseline": ["network.gamma_rule=frozen", "train.potential_weight=0"],
    "psg": ["network.gamma_rule=literal", "train.potential_weight=0"],
    "psg_pda": ["network.gamma_rule=literal", "train.potential_weight=1"],
    "principled": ["network.gamma_rule=principled", "train.potential_weight=0"],
    "principled_pda": ["network.gamma_rule=principled", "train.potential_weight=1"],
}


def main() -> None:
    """Trains what is missing, one network after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="n-mnist")
    parser.add_argument("--data-root")
    parser.add_argument("--gammas", default="1,2,5")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    kept = read_json(options.output) or {"runs": []}
    runs: list[dict[str, Any]] = kept["runs"]
    for seed in range(options.seeds):
        for gamma in (float(value) for value in options.gammas.split(",")):
            for method in options.methods.split(","):
                key = {"gamma": gamma, "method": method, "seed": seed}
                if any(key.items() <= run.items() for run in runs):
                    continue
                runs.append(key | _train(options, gamma, method, seed))
                print(runs[-1], flush=True)
                content = {"provenance": provenance(), "data": options.data, "settings": options.settings}
                write_json(options.output, content | {"summary": _summary(runs), "runs": runs})


def _train(options: argparse.Namespace, gamma: float, method: str, seed: int) -> dict[str, Any]:
    settings = [*options.settings, f"network.gamma={gamma}", *METHODS[method]]
    overrides = {"data.name": options.data, "data.root": options.data_root, "seed": seed}
    config = load_config(None, settings, {name: value for name, value in overrides.items() if value is not None})
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = train_model(config, Path(folder) / "model.pt", progress=False)
    return {
        "test_accuracy": model.metrics["test_accuracy"],
        "validation_accuracy": model.metrics["validation_accuracy"],
        "epoch": model.metrics["epoch"],
        "cpu_seconds": round(time.process_time() - started, 1),
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
