"""Accuracy against mismatch and thermal noise for networks trained with and without PSG, PDA and noise.

    python benchmarks/noise_robustness.py --data-root DATA -o docs/results/noise-robustness.json

Networks are trained once per method and seed, then measured on the same virtual chips and test samples. A run that was
killed goes on with what is missing: checkpoints, models and studies stay in the folder beside the output file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import mean_interval, provenance, write_json
from trained import train_or_go_on

from neurodeploy.study import make_studies, parse_axes
from neurodeploy.sweep.run import sweep
from neurodeploy.sweep.store import Store

PLAIN = ["network.gamma_rule=frozen", "train.potential_weight=0"]
PSG = ["network.gamma_rule=literal", "train.potential_weight=0"]
PDA = ["network.gamma_rule=literal", "train.potential_weight=1"]
NOISE = ["noise.mismatch=0.3", "noise.thermal=0.2"]
METHODS = {"baseline": PLAIN, "psg": PSG, "psg_pda": PDA, "noise_aware": PLAIN + NOISE, "all": PDA + NOISE}
LEVELS = "0,0.1,0.2,0.3,0.5"


def main() -> None:
    """Trains and sweeps what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--preset", help="of the training; default the one named as the data set")
    parser.add_argument("--data-root")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--chip", default="ideal")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="where models and studies go; default OUTPUT.work")
    options = parser.parse_args()
    work = options.work or options.output.with_suffix(".work")
    work.mkdir(parents=True, exist_ok=True)
    asked = {name: getattr(options, name) for name in ("data", "preset", "settings", "chip", "chips", "samples")}
    rows: list[dict[str, Any]] = []
    for seed in range(options.networks):
        for method in options.methods.split(","):
            rows += _measure(options, work, method, seed)
            content = {"provenance": provenance()} | asked
            write_json(options.output, content | {"summary": _summary(rows), "rows": rows})


def _measure(options: argparse.Namespace, work: Path, method: str, seed: int) -> list[dict[str, Any]]:
    path = work / f"{method}-{seed}.pt"
    model = train_or_go_on(
        path, options.preset, options.data, options.data_root, options.settings + METHODS[method], seed
    )
    print(f"{path}: test {model.metrics['test_accuracy']:.4f} in {model.metrics['training_seconds']} s", flush=True)
    study = make_studies(path, [options.chip], options.chips, options.samples, 0, options.data_root)[0]
    axes = parse_axes([f"mismatch={LEVELS}", f"thermal={LEVELS}"], [])
    with Store(work / f"{method}-{seed}.sqlite") as store:
        sweep(study, axes, store, False, lambda *_: None)
        curves = store.curves()
    rows = []
    for row in curves.to_dict("records"):
        print(method, seed, row["noise"], row["level"], row["accuracy_mean"], flush=True)
        wanted = ("noise", "level", "accuracy_mean", "accuracy_sd", "accuracy_p05", "accuracy_min", "n_chips")
        rows.append({"method": method, "network": seed} | {name: row[name] for name in wanted})
    return rows


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over networks: mean of the networks' mean accuracies, and the difference from the baseline of the same seed."""
    summary = []
    for method, noise, level in dict.fromkeys((r["method"], r["noise"], r["level"]) for r in rows):
        mine = {r["network"]: r for r in rows if (r["method"], r["noise"], r["level"]) == (method, noise, level)}
        base = {r["network"]: r for r in rows if (r["method"], r["noise"], r["level"]) == ("baseline", noise, level)}
        paired = [mine[n]["accuracy_mean"] - base[n]["accuracy_mean"] for n in mine if n in base]
        summary.append(
            {
                "method": method,
                "noise": noise,
                "level": level,
                "accuracy": float(np.mean([r["accuracy_mean"] for r in mine.values()])),
                "worst_p05": float(np.min([r["accuracy_p05"] for r in mine.values()])),
                "minus_baseline": mean_interval(paired) if paired and method != "baseline" else None,
                "networks": len(mine),
            }
        )
    return summary


if __name__ == "__main__":
    main()
