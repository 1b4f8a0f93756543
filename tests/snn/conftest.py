"""A data set of a few digits, and a configuration that trains on it in a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from neurodeploy.config import DataConfig, ExperimentConfig, parse_config
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.data.sources import load_data_set


class Untouchable:
    """A split that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the test split was read ({name})")


def _tiny_config(**changes: Any) -> ExperimentConfig:
    network = {"channels": (4,), "hidden": 12, "steps": 2, "threshold": 0.2}
    train = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02}
    content: dict[str, Any] = {"network": network, "train": train}
    for name, value in changes.items():
        content[name] = {**content.get(name, {}), **value} if isinstance(value, dict) else value
    return parse_config(content)


@pytest.fixture(scope="session")
def tiny_config() -> Any:
    """(train={...}, network={...}, seed=...) -> a small ExperimentConfig."""
    return _tiny_config


@pytest.fixture(scope="session")
def tiny_data() -> DataSet:
    """40 digits to train on and 30 to validate; the test split may not be read."""
    data = load_data_set(DataConfig(), 4, 0)
    train, validation = data.train, data.validation
    return DataSet(
        "digits",
        data.input,
        data.classes,
        Split(train.samples[:40], train.labels[:40]),
        Split(validation.samples[:30], validation.labels[:30]),
        Untouchable(),  # type: ignore[arg-type]
    )


def _shuffle_statistics(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.uniform_(-0.3, 0.3, generator=generator)
            part.running_var.uniform_(0.1, 0.6, generator=generator)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
                nn.init.uniform_(part.bias, 0.0, 0.5, generator=generator)


@pytest.fixture(scope="session")
def shuffle_statistics() -> Callable[[nn.Module, int], None]:
    """(module, seed): random running statistics and affine parameters, so that folding has something to fold."""
    return _shuffle_statistics
