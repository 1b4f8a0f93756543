"""train: from images to model.pt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, quiet, say


def train(
    data: str = typer.Option(None, "--data", help="Data set: digits (ships inside a package), mnist, fashion-mnist."),
    data_root: str = typer.Option(None, "--data-root", help="Folder with the data set's files (or NEURODEPLOY_DATA)."),
    config: Path = typer.Option(None, "--config", help="YAML file with data, network, train, seed."),
    settings: list[str] = typer.Option([], "--set", help="Change one entry, as in train.epochs=5; repeatable."),
    epochs: int = typer.Option(None, "--epochs", help="Short for --set train.epochs=N."),
    seed: int = typer.Option(None, "--seed", help="Short for --set seed=N."),
    output: Path = typer.Option(Path("model.pt"), "-o", "--output", help="Where the model goes."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last finished epoch."),
    as_json: bool = AS_JSON,
) -> None:
    """Train a spiking network with parametric surrogate gradients and potential adjustment."""
    from neurodeploy.config import load_config
    from neurodeploy.experiment import train_model

    overrides: dict[str, Any] = {"data.name": data, "data.root": data_root, "train.epochs": epochs, "seed": seed}
    chosen = load_config(config, settings, {name: value for name, value in overrides.items() if value is not None})
    model = train_model(chosen, output, resume=resume, progress=not quiet())
    if as_json:
        print_json({"model": str(output), **model.metrics})
        return
    print_table([{"split": name, "accuracy": model.metrics[f"{name}_accuracy"]} for name in ("validation", "test")])
    say(f"{output}: epoch {model.metrics['epoch']} of {chosen.train.epochs}, chosen by validation loss")
    say(f"next: neurodeploy export {output} --target lava")
