"""Training with few inputs a neuron."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from neurodeploy.config import load_config
from neurodeploy.errors import UsageError
from neurodeploy.experiment import train_model
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.fan_in import FanInLinear, inputs_of
from neurodeploy.snn.model_file import load_model
from neurodeploy.snn.networks import build


@pytest.mark.parametrize(("inputs", "neurons", "fan_in"), [(100, 30, 64), (64, 5, 64), (7, 200, 3), (10, 1, 1)])
def test_inputs_differ_and_are_read_alike(inputs: int, neurons: int, fan_in: int) -> None:
    chosen = inputs_of(inputs, neurons, fan_in)
    assert chosen.shape == (neurons, fan_in)
    assert all(len(set(row)) == fan_in for row in chosen.tolist())
    read = np.bincount(chosen.ravel(), minlength=inputs)
    assert read.max() - read.min() <= 1
    assert np.array_equal(chosen, inputs_of(inputs, neurons, fan_in))


def test_the_layer_is_a_masked_product() -> None:
    torch.manual_seed(0)
    layer = FanInLinear(20, 6, 4)
    x = torch.randn(9, 20)
    assert layer.mask.sum(dim=1).tolist() == [4] * 6
    assert layer.bias is None
    expected = x.double().numpy() @ (layer.weight * layer.mask).detach().double().numpy().T
    assert np.allclose(layer(x).detach().numpy(), expected, atol=1e-6)
    bound = 1 / np.sqrt(4)  # nn.Linear's own bound for 4 inputs
    assert 0.7 * bound < layer.weight.abs().max().item() <= bound


def test_a_fan_in_past_all_inputs_is_all_of_them() -> None:
    assert FanInLinear(5, 3, 64).mask.all()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_keeps_the_rest_at_zero(optimizer: str, tmp_path: Path) -> None:
    settings = ["train.epochs=2", "network.fan_in=16", "network.hidden=[24]", f"train.optimizer={optimizer}"]
    config = load_config(None, settings, preset="dynapse2_digits")
    train_model(config, tmp_path / "model.pt", progress=False)
    network = load_model(tmp_path / "model.pt").network
    start = build(config.network, Input((1, 8, 8), 1.0, 1), 10)
    layers = [part for part in network.modules() if isinstance(part, FanInLinear)]
    fresh = [part for part in start.modules() if isinstance(part, FanInLinear)]
    assert len(layers) == 2
    for layer, other in zip(layers, fresh, strict=True):
        assert torch.equal(layer.mask, other.mask)
        assert not layer.weight[layer.mask == 0].any()
        assert (layer.weight[layer.mask == 1] != 0).float().mean() > 0.99
        assert layer.mask.sum(dim=1).tolist() == [16] * len(layer.mask)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["network.norm=batch"], "norm=batch: folds into biases"),
        (["network.recurrent=true"], "recurrent: reads all"),
        (["network.kind=convnet"], "fan_in=64: only in mlp"),
    ],
)
def test_what_does_not_go_with_it(settings: list[str], message: str) -> None:
    config = load_config(None, settings, preset="dynapse2_digits")
    with pytest.raises(UsageError, match=message):
        build(config.network, Input((1, 8, 8), 1.0, 1), 10)
    with pytest.raises(UsageError, match=r"network.fan_in=0"):
        load_config(None, ["network.fan_in=0"], preset="dynapse2_digits")
