"""Accuracy against the bits of a weight: after training, and trained with that rounding, on MNIST and Fashion-MNIST.

    python benchmarks/bits.py --data-root DATA --json docs/results/bits.json

Per data set and seed a small convolutional network is trained in single precision; DATA holds `mnist` and
`fashion-mnist`. Then for 8, 6, 4, 3 and 2 bits, signs included, on Loihi 2 with weights of so many bits
(`--chip loihi2@4`):

post-training   the network is quantised as `neurodeploy export` does it
aware           the network is first trained on with that rounding in the loop (`noise.quantize`), from float weights;
                of the start and of every epoch that one is kept whose Program decides best on validation samples;
                a model keeps the scales of its training, so that the Program is what the loop computed with

Accuracies are those of the Programs in the engine, on all test samples, looked at once. A run that was killed goes on
with what is missing: models and rows stay in the folder `--work`.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, provenance, read_json, write_json

from neurodeploy.config import NoiseConfig, load_config
from neurodeploy.data.batches import Batches
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.experiment import load_data, train_model
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.ir.program import Program
from neurodeploy.simulate.engine import run_chips
from neurodeploy.snn.losses import records, training_losses
from neurodeploy.snn.model_file import Model, load_model, make_model, save_model
from neurodeploy.snn.rounding import kept_scales, rounding
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.train import accuracy
from neurodeploy.snn.trained_scales import quantize_model, trained_rounding, trained_scales

BITS = (8, 6, 4, 3, 2)
SETTINGS = ["network.channels=[8,16]", "network.steps=4", "train.threads=1"]
EPOCHS = {"mnist": 3, "fashion-mnist": 5}  # of the float network
CALIBRATION, BATCH, LEARNING_RATE = 128, 64, 1e-3
# Points that 8 bits may lose after training, and 4 bits with rounding in the loop, against the float network.
BARS = {"8 bits, post-training": 0.2, "4 bits, aware": 1.0}


def decided(program: Program, split: Split) -> float:
    """Fraction of right decisions."""
    right = 0
    for first in range(0, len(split), 1000):
        part = split.take(slice(first, first + 1000))
        right += int((run_chips([program], part.inputs).decisions[0] == part.labels).sum())
    return right / len(split)


def aware(start: Model, data: DataSet, bits: int, epochs: int, judged: Split, path: Path) -> tuple[Program, int, float]:
    """Trains on with the rounding in the loop: (Program, epoch, accuracy on `judged`) of the best; epoch 0: the start.

    The learning rate falls to zero along a half cosine. Whatever is drawn comes from the experiment's seed. The model
    of each epoch is written with the scales of its forward pass, and read and quantised as an export does it.
    """
    network, chip = copy.deepcopy(start.network), f"loihi2@{bits}"
    assert isinstance(network, SpikingNetwork)
    config = start.config.model_copy(update={"noise": NoiseConfig(quantize=chip)})
    calibration = data.train.take(slice(CALIBRATION)).inputs
    batches = Batches(data.train, data.input, config.data, BATCH, config.seed, True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches.order))
    program = quantize_model(start, find_chip(chip)).program
    best = program, 0, decided(program, judged)
    for epoch in range(epochs):
        batches.order.set_epoch(epoch)
        network.train()
        for index, name in enumerate(batches.order):
            values, labels = batches[name]
            output = network(values, records(config.train), rounding(network, chip, epoch, index, calibration))
            optimizer.zero_grad()
            training_losses(output, labels, config.train).total.backward()
            optimizer.step()
            network.keep_positive()
            schedule.step()
        kept = kept_scales(network)
        assert kept is not None  # it was rounded
        scales = trained_scales(trained_rounding(network, chip, kept, calibration).scales)
        save_model(make_model(network, config, data, {}, [], scales), path)
        program = quantize_model(load_model(path), find_chip(chip)).program
        found = decided(program, judged)
        if found > best[2]:
            best = program, epoch + 1, found
    return best


def float_model(options: argparse.Namespace, name: str, seed: int, work: Path) -> Model:
    """The trained network in single precision."""
    path = work / f"{name}-{seed}.pt"
    if not path.is_file():
        given = {"data.name": name, "data.root": options.data_root, "train.epochs": EPOCHS[name], "seed": seed}
        train_model(load_config(None, SETTINGS, {key: value for key, value in given.items() if value}), path, False)
    return load_model(path)


def rows_of(options: argparse.Namespace, name: str, seed: int, work: Path) -> list[dict[str, Any]]:
    """Accuracies of one network at all bits; a finished row is kept in a file of its own."""
    model = float_model(options, name, seed, work)
    data = load_data(model.config, options.data_root)
    judged = data.validation.take(slice(options.validation))
    common = {"data": data.name, "seed": seed, "test_samples": len(data.test)}
    rows = [kept(work / f"{name}-{seed}-float.json", lambda: common | {"bits": "float"} | float_row(model, data))]
    for bits in options.bits:

        def row(bits: int = bits) -> dict[str, Any]:
            started = time.process_time()
            after = decided(quantize_model(model, find_chip(f"loihi2@{bits}")).program, data.test)
            path = work / f"{name}-{seed}-{bits}.pt"
            trained, epoch, validation = aware(model, data, bits, options.epochs, judged, path)
            found = {"post_training": after, "aware": decided(trained, data.test)}
            chosen = {"aware_epoch": epoch, "aware_validation": validation, "validation_samples": len(judged)}
            return common | {"bits": bits} | found | chosen | {"cpu_seconds": round(time.process_time() - started, 1)}

        rows.append(kept(work / f"{name}-{seed}-{bits}.json", row))
    return rows


def float_row(model: Model, data: DataSet) -> dict[str, Any]:
    """Accuracy in single precision, and the firing rates of the layers."""
    network = model.network
    assert isinstance(network, SpikingNetwork)
    part = data.test.take(slice(200)).inputs
    values = torch.from_numpy(np.ascontiguousarray(part)).float() * data.input.scale
    with torch.no_grad():
        rates = {layer: float(rate.mean()) for layer, rate in network(values).rates.items()}
    return {"accuracy": accuracy(network, data.test), "firing_rates": rates}


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is in the file, made first where there is none; printed."""
    row: dict[str, Any] | None = read_json(path)
    if row is None:
        row = make()
        write_json(path, row)
    print(row, flush=True)
    return row


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, and points lost against the float network, by data set and bits."""
    found = []
    for name, bits in dict.fromkeys((row["data"], row["bits"]) for row in rows):
        these = [row for row in rows if (row["data"], row["bits"]) == (name, bits)]
        floats = [row["accuracy"] for row in rows if (row["data"], row["bits"]) == (name, "float")]
        exact = float(np.mean(floats))
        if bits == "float":
            found.append({"data": name, "bits": bits, "accuracy": exact, "seeds": len(these)})
            continue
        means = {how: float(np.mean([row[how] for row in these])) for how in ("post_training", "aware")}
        lost = {f"{how}_points_lost": 100 * (exact - value) for how, value in means.items()}
        found.append({"data": name, "bits": bits} | means | lost | {"seeds": len(these)})
    return found


def missed(found: list[dict[str, Any]]) -> list[str]:
    """The bars that are not reached."""
    held = {
        "8 bits, post-training": {row["data"]: row["post_training_points_lost"] for row in found if row["bits"] == 8},
        "4 bits, aware": {row["data"]: row["aware_points_lost"] for row in found if row["bits"] == 4},
    }
    return [
        f"{name}, {what}: {lost:.2f} points below float, the bar is {BARS[what]:g}"
        for what, by_data in held.items()
        for name, lost in by_data.items()
        if lost > BARS[what]
    ]


def main() -> None:
    """Trains and measures what is missing; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--data-root", help="folder with the data sets' files (or NEURODEPLOY_DATA)")
    parser.add_argument("--data", nargs="+", choices=list(EPOCHS), default=list(EPOCHS))
    parser.add_argument("--bits", nargs="+", type=int, choices=BITS, default=list(BITS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=1, help="with rounding in the loop, per number of bits")
    parser.add_argument("--validation", type=int, default=3000, help="samples by which its epoch is chosen")
    parser.add_argument("--work", type=Path, help="where models and rows go; default runs/bits")
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = options.work or ROOT / "runs" / "bits"
    work.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in range(options.seeds) for name in options.data for row in rows_of(options, name, seed, work)]
    found = summary(rows)
    settings = {"settings": SETTINGS, "epochs": EPOCHS, "epochs_aware": options.epochs, "seeds": options.seeds}
    write_json(options.json, {"summary": found, "bars": BARS, "rows": rows} | settings | {"provenance": provenance()})
    for row in found:
        print(row)
    if missed(found):
        sys.exit("\n".join(missed(found)))


if __name__ == "__main__":
    main()
