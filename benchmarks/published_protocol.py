"""The protocol of Büchel et al., Sci. Rep. 11, 2021 (s41598-021-02779-x) on other data: 10 networks × 10 chips.

    python benchmarks/published_protocol.py --data-root DATA --json docs/results/published-protocol.json \
        --chart docs/results/published-protocol.svg -o runs/published-protocol

Their levels: mismatch of 5, 10, 20, 30 % on time constants, thresholds and all weights alike; membrane noise of 0.01,
0.05, 0.1; weights of 2 to 6 bits. Their data, spoken wake words, are not at hand, so that Fashion-MNIST and the first
1,000 and 100 recordings of N-MNIST stand in, with two small networks trained by plain backpropagation through time
(gamma frozen, no potential adjustment): a recurrent one of 128 neurons, as theirs, and a convolutional one. Every
network is trained once (under a minute on a core) and kept under -o, as are its chips: a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from charts import write_svg
from common import mean_interval, provenance, write_json

from neurodeploy.config import load_config
from neurodeploy.experiment import train_model
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.noise_presets import PRESETS
from neurodeploy.study import make_studies
from neurodeploy.sweep.plan import Point
from neurodeploy.sweep.run import measure
from neurodeploy.sweep.store import Store

PLAIN = ["network.gamma_rule=frozen", "train.potential_weight=0", "train.threads=1"]
RECURRENT = ["network.kind=mlp", "network.hidden=[128]", "network.recurrent=true", "network.decay=0.5"]
CONVOLUTIONAL = ["network.kind=convnet", "network.hidden=[64]"]


@dataclass(frozen=True)
class Task:
    """A data set and the settings with which each kind of network learns it in under a minute on a core."""

    title: str
    settings: dict[str, list[str]]


TASKS = {
    "fashion-mnist": Task(
        "Fashion-MNIST",
        {
            "recurrent": [*RECURRENT, "network.steps=8", "train.epochs=4", "train.batch_size=128"],
            "convolutional": [
                *CONVOLUTIONAL,
                *("network.channels=[8,16]", "network.steps=3", "train.epochs=3", "train.batch_size=128"),
            ],
        },
    ),
    "n-mnist": Task(
        "N-MNIST-1000/100",
        {
            "recurrent": [*RECURRENT, "data.downsample=2", "network.steps=10", "train.epochs=15"],
            "convolutional": [*CONVOLUTIONAL, "network.channels=[16]", "network.steps=10", "train.epochs=10"],
        },
    ),
}
MISMATCH, NOISE, BITS = (0.05, 0.1, 0.2, 0.3), (0.01, 0.05, 0.1), (2, 3, 4, 5, 6)

# Wake-word accuracies of the authors' own result files (github.com/synsense/Robust-Classification-EBN), computed again
# from them: mean, standard deviation and 5th percentile over 10 networks × 10 draws; means alone for noise and bits.
PUBLISHED: dict[str, Any] = {
    "source": "Büchel et al., Sci. Rep. 11, 2021; github.com/synsense/Robust-Classification-EBN, wake words, BPTT",
    "mismatch": {
        0.0: (0.856, None, None),
        0.05: (0.843, 0.059, 0.728),
        0.1: (0.813, 0.097, 0.594),
        0.2: (0.733, 0.120, 0.495),
        0.3: (0.632, 0.126, 0.474),
    },
    "membrane noise": {0.0: (0.878,), 0.01: (0.879,), 0.05: (0.727,), 0.1: (0.596,)},
    "weight bits": {2: (0.558,), 3: (0.700,), 4: (0.818,), 5: (0.874,), 6: (0.881,), 32: (0.886,)},
}


def plan() -> Iterator[tuple[str, float, Point]]:
    """(experiment, level, noise), no noise first."""
    yield "mismatch", 0.0, Point(NoiseModel())
    for level in MISMATCH:
        yield "mismatch", level, Point(PRESETS[f"buechel-{round(100 * level):02d}"].noise)
    for level in NOISE:
        yield "membrane noise", level, Point(NoiseModel(thermal=level))
    for bits in BITS:
        yield "weight bits", float(bits), Point(NoiseModel(quantization=1 / (2 ** (bits - 1) - 1)))


def main() -> None:
    """Trains and measures what is missing; after every network the result is written anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(TASKS))
    parser.add_argument("--kinds", default="recurrent,convolutional")
    parser.add_argument("--data-root")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1000, help="test samples, as far as there are so many")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--chart", type=Path, help="SVG to write")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/published-protocol"))
    options = parser.parse_args()
    populations = [(data, kind) for data in options.data.split(",") for kind in options.kinds.split(",")]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    started = time.process_time()
    for seed in range(options.networks):
        for data, kind in populations:
            found.setdefault((data, kind), []).append(_measured(options, data, kind, seed))
            summary = [row for (d, k), networks in found.items() for row in _summary(d, k, networks)]
            if options.json is not None:
                write_json(options.json, _content(options, summary, found, time.process_time() - started))
    print(_table(summary).to_string(index=False))
    if options.chart is not None:
        write_svg(options.chart, chart(summary))


def _measured(options: argparse.Namespace, data: str, kind: str, seed: int) -> dict[str, Any]:
    """One network: its seed, its accuracies (one per chip) by experiment and level, and what it was trained to."""
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{data}-{kind}-{seed}.pt"
    given = {"data.name": data, "seed": seed} | ({"data.root": options.data_root} if options.data_root else {})
    if not path.is_file():
        spent = time.process_time()
        model = train_model(load_config(None, [*PLAIN, *TASKS[data].settings[kind]], given), path, progress=False)
        seconds = time.process_time() - spent
        print(f"{path}: test {model.metrics['test_accuracy']:.4f}, {seconds:.0f} s of CPU", flush=True)
    study = make_studies(path, ["mixed-signal"], options.chips, options.samples, seed, options.data_root)[0]
    points = list(plan())
    alike = {point for name, level, point in points if name == "weight bits" or level == 0}  # the same on every chip
    with Store(path.with_suffix(".sqlite")) as store:
        counts = {point: 1 if point in alike else options.chips for _, _, point in points}
        cells = measure(study, counts, store, False, lambda *_: None)
        accuracies = [
            {
                "experiment": name,
                "level": level,
                "chips": [float(right.mean()) for right in list(store.correct(cells[point].key).values())],
            }
            for name, level, point in points
        ]
    return {"network": seed, "samples": len(study.test.labels), "accuracies": accuracies}


def _summary(data: str, kind: str, networks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per experiment and level: over all chips of all networks, as published; and over the means of networks.

    `network_low` to `network_high` is Student's 95 % interval over networks, which are the unit that was drawn.
    `fall` is how much less than without noise, of the same networks.
    """
    nominal = np.array([one["accuracies"][0]["chips"][0] for one in networks])
    rows = []
    for index, (name, level, _) in enumerate(plan()):
        table = np.array([one["accuracies"][index]["chips"] for one in networks])  # (networks, chips)
        own = table.mean(axis=1)
        _, low, high = mean_interval([float(value) for value in own])
        _, fall_low, fall_high = mean_interval([float(value) for value in nominal - own])
        published = PUBLISHED[name].get(level, ())
        rows.append(
            {
                "data": data,
                "kind": kind,
                "experiment": name,
                "level": level,
                "networks": len(table),
                "chips": table.shape[1],
                "mean": float(table.mean()),
                "sd": float(table.std(ddof=1)) if table.size > 1 else None,
                "p05": float(np.percentile(table, 5)),
                "min": float(table.min()),
                "network_low": low if low == low else None,
                "network_high": high if high == high else None,
                "fall": float((nominal - own).mean()),
                "fall_low": fall_low if fall_low == fall_low else None,
                "fall_high": fall_high if fall_high == fall_high else None,
                "published_mean": published[0] if published else None,
                "published_sd": published[1] if len(published) > 1 else None,
                "published_p05": published[2] if len(published) > 2 else None,
            }
        )
    return rows


def _content(
    options: argparse.Namespace, summary: list[dict[str, Any]], found: dict[Any, Any], seconds: float
) -> dict[str, Any]:
    return {
        "provenance": provenance(),
        "published": PUBLISHED["source"],
        "settings": {f"{d}, {k}": [*PLAIN, *TASKS[d].settings[k]] for d, k in found},
        "seeds": "network n: training and chips from seed n",
        "chip": "mixed-signal",
        "samples": {f"{d}, {k}": networks[0]["samples"] for (d, k), networks in found.items()},
        "asked": {"networks": options.networks, "chips": options.chips},
        "cpu_seconds_of_this_run": round(seconds, 1),
        "summary": summary,
        "networks": {f"{d}, {k}": networks for (d, k), networks in found.items()},
    }


def _table(summary: list[dict[str, Any]]) -> pd.DataFrame:
    """The summary in percent, to be read."""
    table = pd.DataFrame(summary)
    shown = ["mean", "sd", "p05", "fall", "published_mean", "published_sd", "published_p05"]
    table[shown] = (100 * table[shown].astype(float)).round(1)
    return table[["data", "kind", "experiment", "level", "networks", "chips", *shown]]


def chart(summary: list[dict[str, Any]]) -> alt.TopLevelMixin:
    """Accuracy against mismatch: mean (line) and 5th percentile (dashed) of each kind, and the published curve."""
    rows = []
    for row in summary:
        if row["experiment"] != "mismatch":
            continue
        title, level = TASKS[row["data"]].title, 100 * row["level"]
        curves = (
            (f"{row['kind']}, ours", row["mean"], row["p05"]),
            ("published, wake words", row["published_mean"], None),
        )
        for name, mean, tail in curves:
            tail = row["published_p05"] if tail is None else tail
            for what, value in (("mean", mean), ("5th percentile", tail)):
                if value is not None:
                    rows.append({"data": title, "network": name, "level": level, "what": what, "y": 100 * value})
    names = sorted({row["network"] for row in rows})
    table = pd.DataFrame(rows).drop_duplicates(["data", "network", "level", "what"])
    base = alt.Chart(alt.Data(values=table.to_dict("records")))  # type: ignore[no-untyped-call]
    drawn = base.mark_line(point={"size": 30}, strokeWidth=2).encode(
        x=alt.X("level:Q", title="mismatch (standard deviation, % of nominal)", axis=alt.Axis(grid=False)),
        y=alt.Y("y:Q", title="test accuracy (%)", scale=alt.Scale(domain=[40, 100])),
        color=alt.Color(
            "network:N",
            scale=alt.Scale(domain=names, range=["#D55E00", "#555555", "#0072B2"][: len(names)]),
            legend=alt.Legend(title=None, orient="bottom", labelLimit=220),
        ),
        strokeDash=alt.StrokeDash(
            "what:N",
            scale=alt.Scale(domain=["mean", "5th percentile"], range=[[1, 0], [5, 4]]),
            legend=None,
        ),
    )
    panels: alt.TopLevelMixin = (
        drawn.properties(width=260, height=240)
        .facet(column=alt.Column("data:N", title=None, sort=[task.title for task in TASKS.values()]))
        .properties(title="Solid: mean over all chips of all networks; dashed: 5th percentile")
    )
    return panels


if __name__ == "__main__":
    main()
