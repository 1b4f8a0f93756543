"""train: from images to model.pt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, quiet, say

if TYPE_CHECKING:
    from neurodeploy.config import ExperimentConfig


def train(
    preset: str = typer.Option(None, "--preset", help="Start from one of --list-presets."),
    list_presets: bool = typer.Option(False, "--list-presets", help="List the presets and end."),
    recipe: str = typer.Option(None, "--recipe", help="On top of the preset; robust: for chips that differ."),
    data: str = typer.Option(None, "--data", help="Data set, and its preset: digits, mnist, …; or the path of a .npz."),
    data_root: str = typer.Option(None, "--data-root", help="Folder with the data set's files (or NEURODEPLOY_DATA)."),
    config: Path = typer.Option(None, "--config", help="YAML file with data, network, train, noise, seed."),
    settings: list[str] = typer.Option([], "--set", help="Change one entry, as in train.epochs=5; repeatable."),
    epochs: int = typer.Option(None, "--epochs", help="Short for --set train.epochs=N."),
    seed: int = typer.Option(None, "--seed", help="Short for --set seed=N."),
    output: Path = typer.Option(Path("model.pt"), "-o", "--output", help="Where the model goes."),
    resume: bool = typer.Option(False, "--resume", help="Go on where a training that was stopped left off."),
    as_json: bool = AS_JSON,
) -> None:
    """Train a spiking network with parametric surrogate gradients and potential adjustment.

    Later ones override earlier ones: preset, --recipe, --config, --set a.b=c, then the other options.
    """
    from neurodeploy import presets
    from neurodeploy.config import load_config

    if list_presets:
        catalogue = presets.catalogue()
        if as_json:
            print_json(catalogue)
        else:
            print_table([{"preset": name, "what": title} for name, title in catalogue.items()])
        return
    overrides: dict[str, Any] = {"data.name": data, "data.root": data_root, "train.epochs": epochs, "seed": seed}
    given = {name: value for name, value in overrides.items() if value is not None}
    chosen = load_config(config, settings, given, preset, recipe)

    from neurodeploy.experiment import train_model

    model = train_model(chosen, output, resume=resume, progress=not quiet())
    metrics = model.metrics
    if as_json:
        print_json({"model": str(output), **metrics})
        return
    print_table([{"split": name, "accuracy": metrics[f"{name}_accuracy"]} for name in ("validation", "test")])
    if "rounded_for" in metrics:
        say(f"accuracies with the rounding of {metrics['rounded_for']}, as `export` stores it")
    if "best_on_test_accuracy" in metrics:
        typer.echo(
            f"best on test: {metrics['best_on_test_accuracy']:.4g} in epoch {metrics['best_on_test_epoch']} "
            f"({metrics['best_on_test_selection']})"
        )
    say(f"{output}: {metrics['data_set']}, epoch {metrics['epoch']} of {chosen.train.epochs}, {metrics['selection']}")
    say(f"next: neurodeploy export {output} --target {_target(chosen)}")


def _target(config: ExperimentConfig) -> str:
    """What the network was made for, of the targets that take it."""
    network = config.network
    if network.most_spikes > 1:
        return "xylo --chip xylo-a3"
    if network.fan_in is not None and network.reset == "zero":
        return "dynapse2"
    if network.reset == "zero":
        return "lava"
    return "xylo --chip xylo-a3" if config.data.scan != "none" else "rockpool"
