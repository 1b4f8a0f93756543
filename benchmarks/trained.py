"""Networks that measurement scripts train: what is there already is taken, what was begun goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurodeploy.config import load_config
from neurodeploy.experiment import train_model
from neurodeploy.snn.checkpoints import LAST
from neurodeploy.snn.model_file import Model, load_model

BRIEF = ("data.augment=[]", "train.epochs=20", "train.selection=validation")
"""The preset n-mnist-small as it was when the tables were made: half as long, on recordings as they are."""


def train_or_go_on(
    path: Path, preset: str | None, data: str, data_root: str | None, settings: list[str], seed: int
) -> Model:
    """The model in `path`, trained where it is not there, from the last checkpoint on where there is one.

    Raises:
        SystemExit: where the file, or UsageError where the checkpoint, is of another configuration.
    """
    overrides = {"data.name": data, "data.root": data_root, "seed": seed}
    config = load_config(
        None, settings, {name: value for name, value in overrides.items() if value is not None}, preset
    )
    if not path.is_file():
        begun = (path.with_name(f"{path.name}.checkpoints") / LAST).is_file()
        return train_model(config, path, resume=begun, progress=False)
    model = load_model(path)
    same = {"data": model.config.data.model_copy(update={"root": config.data.root, "cache": config.data.cache})}
    if model.config.model_copy(update=same) != config:
        raise SystemExit(f"{path}: was trained with another configuration; remove it, or write to another folder")
    return model


def check_same(output: Path, kept: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """SystemExit where a result that is to be gone on with was made with other options."""
    differ = [f"{name} was {kept[name]}, is {value}" for name, value in asked.items() if kept.get(name, value) != value]
    if differ:
        raise SystemExit(f"{output}: {'; '.join(differ)}; write to another file, or remove it")
