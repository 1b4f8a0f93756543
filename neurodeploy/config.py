"""Configuration of an experiment: what a file or `--set a.b=c` may say, checked before anything runs."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neurodeploy.errors import UsageError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Which images, and how many of the training images are kept for validation."""

    name: str = "digits"
    root: str | None = None
    validation: float = Field(0.1, gt=0, lt=1)


class NetworkConfig(_Section):
    """The small convolutional network: (conv, batch norm, LIF, average pool) per entry of `channels`, then
    linear, LIF, linear and a readout."""

    channels: tuple[Annotated[int, Field(ge=1)], ...] = (16, 32)
    hidden: int = Field(64, ge=1)
    steps: int = Field(4, ge=1, le=1024)
    decay: float = Field(0.25, gt=0, le=1)
    threshold: float = Field(0.46, gt=0, lt=1)
    gamma: float = Field(1.0, gt=0)
    reset: Literal["zero", "subtract"] = "zero"
    detach_reset: bool = False
    readout: Literal["membrane", "spike_count"] = "membrane"
    readout_decay: float = Field(1.0, gt=0, le=1)


class TrainConfig(_Section):
    """How it is trained. `potential_weight` is the paper's beta in Eq. 6; `threads` are the CPU's, None for torch's
    own choice."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    gamma_learning_rate: float = Field(5e-4, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    potential_weight: float = Field(1.0, ge=0)
    threads: int | None = Field(None, ge=1)


class ExperimentConfig(_Section):
    """All of it."""

    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    seed: int = Field(0, ge=0, lt=2**32)


# What suits a data set, under whatever the user sets.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "digits": {
        "network": {"channels": (24, 48), "hidden": 96},
        "train": {"epochs": 40, "batch_size": 64, "threads": 1},
    },
    "mnist": {"network": {"steps": 3}, "train": {"epochs": 3, "batch_size": 32}},
    "fashion-mnist": {"train": {"epochs": 6, "batch_size": 32}},
}


def load_config(file: Path | None, settings: list[str], overrides: dict[str, Any] | None = None) -> ExperimentConfig:
    """The data set's preset, under a YAML file, under `a.b=c` settings, under `overrides` (dotted names).

    Raises:
        UsageError: naming every unknown or forbidden entry, with what is allowed.
    """
    content: Any = {}
    if file is not None:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise UsageError(f"--config {file}: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise UsageError(f"--config {file}: a mapping with data, network, train, seed is expected")
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: NAME=VALUE is expected, as in train.epochs=5")
        try:
            _put(content, name, yaml.safe_load(value))
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise UsageError(f"--set {setting}: {' '.join(str(error).split())}") from error
    for name, value in (overrides or {}).items():
        _put(content, name, value)
    data = content.get("data")
    name = data.get("name", DataConfig().name) if isinstance(data, dict) else DataConfig().name
    for section, values in (PRESETS.get(name, {}) if isinstance(name, str) else {}).items():
        present = content.get(section, {})
        if isinstance(present, dict):
            content[section] = values | present
    return parse_config(content)


def parse_config(content: Any) -> ExperimentConfig:
    """The configuration of plain values; raises UsageError naming every wrong entry."""
    try:
        return ExperimentConfig.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_described(problem) for problem in error.errors())
        raise UsageError(f"configuration: {problems}") from error


def _described(problem: Any) -> str:
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"{name}={reprlib.repr(problem['input'])}: {problem['msg']}"
    section: Any = ExperimentConfig
    for part in problem["loc"][:-1]:
        section = section.model_fields[part].annotation
    return f"{name}: unknown, known are {', '.join(section.model_fields)}"


def _put(content: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{name}: {section} is not a section")
        content = inner
    content[last] = value
