"""How long a thousand virtual chips take, and how that time grows.

    python benchmarks/population_times.py --data-root DATA --json docs/results/population-times.json \
        --chart docs/results/population-times.svg -o runs/population-times

The network: convolutions to 16 and 32 channels, 64 hidden neurons, T = 3 (the preset `mnist`), trained here or taken
with --model. A population is 1,000 chips × 1,000 test images of MNIST at one level of threshold and decay mismatch,
without and with thermal noise at every step, in two processes, the way `neurodeploy sweep --jobs 2` does it: process
starts, drawing and storing are in the times. One sweep per level; what is finished stays under -o.

Growth is measured in one process on one thread, everything compiled beforehand: the same network with more chips,
samples or steps, and networks of dense layers of random weights, each layer with the threshold at which about a
fifth of its neurons fires. Sizes take turns, so that what else the machine does falls on all; the exponent is the
slope of log(median time) over log(size), with Student's 95 % interval.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from charts import write_svg
from common import provenance, read_json, write_json
from population_growth import (
    GROWTH_LEVEL,
    THERMAL,
    chart,
    firing_rates,
    growth,
    ignore,
    in_words,
    resized,
    seconds_of,
)

from neurodeploy.config import load_config
from neurodeploy.experiment import train_model
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.study import make_studies
from neurodeploy.sweep.executor import make_executor
from neurodeploy.sweep.plan import Point
from neurodeploy.sweep.run import CHIPS_AT_ONCE, Study, sweep
from neurodeploy.sweep.store import Store, records

LEVELS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def main() -> None:
    """Trains or takes the network, measures what is missing, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model.pt of MNIST, in place of training one")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of the training, as in train")
    parser.add_argument("--data-root")
    parser.add_argument("--chips", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--levels", type=int, default=len(LEVELS), help="how many of the eight levels")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="of every size of the growth; 0 leaves it out")
    parser.add_argument("--sizes", type=int, default=5, help="how often each size is doubled, and one more")
    parser.add_argument("--estimate", action="store_true", help="say how long it takes, and end")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--chart", type=Path, help="SVG to write")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/population-times"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    study = make_studies(_model(options), ["mixed-signal"], options.chips, options.samples, 0, options.data_root)[0]
    torch.set_num_threads(1)
    estimate(study, options)
    if options.estimate:
        return
    kept = _Kept(options.output / "times.json", study, options.jobs)
    populations = [
        kept.get(
            f"population, {name}, {level:g}",
            partial(population, study, NoiseModel(mismatch=level, thermal=thermal), options.jobs, options.output),
        )
        | {"noise": name, "level": level}
        for name, thermal in THERMAL.items()
        for level in LEVELS[: options.levels]
    ]  # fmt: skip
    grown = growth(study, options.sizes, options.rounds, kept.get) if options.rounds else []
    content = {
        "provenance": provenance(),
        "chips": options.chips,
        "samples": len(study.test.labels),
        "steps": study.program.steps,
        "neurons": sum(int(np.prod(layer.shape)) for layer in study.program.layers),
        "processes": options.jobs,
        "cores": os.cpu_count(),
        "seeds": "training, chips and random networks from seed 0",
        "firing_rates": firing_rates(study),
        "seconds": {
            name: sum(row["seconds"] for row in populations if row["noise"] == name) for name in THERMAL
        },
        "populations": populations,
        "growth": grown,
    }  # fmt: skip
    for name, seconds in content["seconds"].items():
        print(f"{options.levels} levels × {options.chips} chips × {options.samples} samples {name}: {seconds:.0f} s")
    for one in grown:
        print(f"{one['what']}, {one['noise']}: exponent {in_words(one)}")
    if options.json is not None:
        write_json(options.json, content)
    if options.chart is not None and grown:
        write_svg(options.chart, chart(grown))


class _Kept:
    """Measurements of this study and number of processes, kept one by one; those of others are not taken."""

    def __init__(self, path: Path, study: Study, jobs: int) -> None:
        self._path = path
        size = f"{study.chips} chips, {len(study.test.labels)} samples, {jobs} processes"
        self._all = {"of": study.fingerprints | {"size": size}}
        found = read_json(path)
        if found is not None and found["of"] == self._all["of"]:
            self._all = found

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """What is kept under that name, or measured now."""
        if name not in self._all:
            found = measure()
            self._all[name] = found
            write_json(self._path, self._all)
            print(f"{name}: {found['seconds'] if isinstance(found, dict) else found}", flush=True)
        return self._all[name]


def _model(options: argparse.Namespace) -> Path:
    path: Path = options.model or options.output / "mnist.pt"
    if not path.is_file():
        given = {"data.name": "mnist", "data.root": options.data_root}
        config = load_config(None, options.settings, {name: value for name, value in given.items() if value})
        model = train_model(config, path, progress=False)
        print(f"{path}: test accuracy {model.metrics['test_accuracy']:.4f}", flush=True)
    return path


def population(study: Study, noise: NoiseModel, jobs: int, folder: Path) -> dict[str, Any]:
    """Seconds of a whole population in processes of its own, from their start to the last chip stored."""
    path = folder / "population.sqlite"
    path.unlink(missing_ok=True)  # of a run that was cut off: a time is of a whole population
    started = time.perf_counter()
    with make_executor([study], jobs) as executor, Store(path) as store:
        sweep(study, [Point(noise)], store, False, ignore, executor)
        seconds = time.perf_counter() - started
        row = records(store.table("points"))[0]
    path.unlink()
    wanted = ("n_chips", "n_samples", "accuracy_mean", "accuracy_sd", "accuracy_p05", "ci_low", "ci_high")
    return {"seconds": seconds} | {name: row[name] for name in wanted}


def estimate(study: Study, options: argparse.Namespace) -> None:
    """Says about how long the run takes, from one block of chips on few samples."""
    few = min(100, len(study.test.labels))
    small = resized(study, CHIPS_AT_ONCE, few)
    total = 0.0
    for name, thermal in THERMAL.items():
        noise = NoiseModel(mismatch=GROWTH_LEVEL, thermal=thermal)
        seconds_of(small, noise)  # compiles
        one = seconds_of(small, noise, time.process_time) / (CHIPS_AT_ONCE * few)  # whatever else the machine does
        whole = one * options.levels * study.chips * len(study.test.labels) / min(options.jobs, os.cpu_count() or 1)
        doublings = 2**options.sizes - 1
        grown = options.rounds * doublings * one * CHIPS_AT_ONCE * few * (1 + 1 + 2 / study.program.steps + 1)
        print(
            f"{name}: about {whole / 60:.1f} min for the populations, {grown / 60:.1f} min for the growth", flush=True
        )
        total += whole + grown
    print(f"together about {total / 60:.0f} min on an idle machine", flush=True)


if __name__ == "__main__":
    main()
