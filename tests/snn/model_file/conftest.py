"""A small network's model and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neurodeploy.config import DataConfig, ExperimentConfig, NetworkConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.sources import load_data_set
from neurodeploy.snn.model_file import Model, make_model, save_model
from neurodeploy.snn.networks import build


@pytest.fixture(scope="session")
def data() -> DataSet:
    return load_data_set(DataConfig(), 4, 0)


@pytest.fixture(scope="session")
def model(data: DataSet) -> Model:
    torch.manual_seed(0)
    config = ExperimentConfig(network=NetworkConfig(channels=(3,), hidden=6, steps=3, threshold=0.2), seed=5)
    network = build(config.network, data.input, data.classes)
    with torch.no_grad():
        network.train()(torch.from_numpy(data.train.samples[:64]).float() / 16)  # statistics of batch norm
    return make_model(network.eval(), config, data, {"test_accuracy": 0.25}, [{"epoch": 1.0, "train_loss": 2.5}])


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    """A good file."""
    save_model(model, tmp_path / "model.pt")
    return tmp_path / "model.pt"
