"""A data set of a few digits, and a configuration that trains on it in a second."""

from __future__ import annotations

from typing import Any

import pytest

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
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
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
