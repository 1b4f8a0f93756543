"""Every preset trains an epoch on tiny data in its data set's own format, and is the same as a file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import writers

from neurodeploy import presets
from neurodeploy.config import ExperimentConfig, load_config
from neurodeploy.data.sources import SOURCES
from neurodeploy.errors import UsageError
from neurodeploy.experiment import train_model
from neurodeploy.snn.model_file import load_model

ROOT = Path(__file__).resolve().parents[1]
WRITE: dict[str, Callable[[Path], Any]] = {
    "digits": lambda root: None,
    "mnist": lambda root: writers.write_idx_set(root, "mnist"),
    "fashion-mnist": lambda root: writers.write_idx_set(root, "fashion-mnist"),
    "cifar-10": lambda root: writers.write_cifar(root, 10),
    "cifar-100": lambda root: writers.write_cifar(root, 100),
    "n-mnist": lambda root: writers.write_n_mnist(root, events=1000),
    "dvs-cifar10": lambda root: writers.write_dvs_cifar10(root, per_class=4, events=3000),
    "dvs128-gesture": lambda root: writers.write_gesture(root, events=3000),
    "shd": lambda root: writers.write_shd(root, events=2000),
}
NAMES = list(presets.catalogue())


def smaller(config: ExperimentConfig) -> list[str]:
    """Settings that leave the kind of network, loss, schedule and data as they are."""
    network = config.network
    steps = network.steps if config.data.scan != "none" else min(network.steps, 3)  # every row is scanned
    settings = ["train.epochs=1", "train.batch_size=8", "train.threads=1", f"network.steps={steps}"]
    if config.data.window is not None:
        settings.append(f"data.window={config.data.window * network.steps / 3}")
    if network.hidden:
        settings.append(f"network.hidden={[8] * len(network.hidden)}")
    if network.kind == "convnet":
        settings.append(f"network.channels={[4] * len(network.channels)}")
    if network.kind in ("vgg", "resnet19"):
        settings.append("network.width=0.06")
    if network.kind == "resnet19":
        settings.append("network.stem=128")
    if config.train.schedule == "steps":
        settings += ["train.milestones=[1]", "train.factor=0.5"]
    return settings


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains_and_its_model_is_read_back(name: str, tmp_path: Path) -> None:
    whole = load_config(None, [], preset=name)
    if whole.data.name in ("n-mnist", "dvs-cifar10", "dvs128-gesture", "shd"):
        pytest.importorskip("tonic")
    WRITE[whole.data.name](tmp_path)
    config = load_config(None, smaller(whole), {"data.root": str(tmp_path)}, preset=name)
    model = train_model(config, tmp_path / "model.pt", progress=False)
    assert math.isfinite(model.history[0]["train_loss"])
    rates = {layer: rate for layer, rate in model.history[0].items() if layer.startswith("rate.")}
    assert rates
    assert any(rate > 0 for rate in rates.values())
    assert ("best_on_test_accuracy" in model.metrics) == name.startswith("paper-")
    again = load_model(tmp_path / "model.pt")
    assert again.config == config
    recorded = whole.data.name in ("n-mnist", "dvs-cifar10", "dvs128-gesture", "shd")
    over_time = whole.data.scan != "none" or whole.data.encoding != "direct"
    assert again.calibration.temporal == (recorded or over_time)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_the_same_as_a_file_and_says_what_it_is(name: str) -> None:
    """A file lies over the preset of its data set: each entry that one has, the other must have."""
    assert load_config(ROOT / "configs" / f"{name}.yaml", []) == load_config(None, [], preset=name)
    assert len(presets.catalogue()[name]) > 20
    assert "#" not in presets.catalogue()[name]


def test_every_data_set_has_a_preset_of_its_name() -> None:
    assert set(SOURCES) <= set(NAMES)
    for name in SOURCES:
        config = load_config(None, [], {"data.name": name})
        assert config == load_config(None, [], preset=name)
        assert config.data.name == name
    assert {load_config(None, [], preset=name).data.name for name in NAMES} == set(SOURCES) == set(WRITE)


PAPER = {  # steps, epochs, batch, learning rate (the authors' recipes; steps of the paper's Table 1)
    "paper-mnist": (4, 70, 80, 0.01),
    "paper-cifar-10": (6, 400, 64, 0.04),
    "paper-cifar-100": (4, 400, 64, 0.04),
    "paper-n-mnist": (15, 65, 40, 1e-3),
    "paper-dvs-cifar10": (7, 250, 40, 0.004),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_presets_have_its_values(name: str) -> None:
    config = load_config(None, [], preset=name)
    train, network = config.train, config.network
    assert (network.steps, train.epochs, train.batch_size, train.learning_rate) == PAPER[name]
    assert (network.decay, network.gamma, network.reset, network.detach_reset) == (0.25, 1.0, "zero", False)
    assert network.threshold == pytest.approx(math.tanh(0.5))
    assert (network.gamma_rule, network.surrogate, network.surrogate_linear) == ("literal", "arctangent", "softplus")
    assert (network.hidden_output, network.readout, network.lateral) == ("potential", "potential", "feature")
    assert (network.dropout, network.norm, network.learn_threshold) == (0.2, "batch", True)
    assert (train.potential_weight, train.potential_mean, train.potential_deviation) == (1.0, 0.0, 1.0)
    assert train.loss == ("mse" if name == "paper-n-mnist" else "cross_entropy")
    assert train.label_smoothing == 0
    assert train.report_best_on_test
    if "n-mnist" in name or "dvs" in name:
        assert (config.data.window, config.data.bits, config.data.augment) == (0.02, 1, ())


def test_the_learning_rates_of_cifar_are_the_recorded_ones() -> None:
    train = load_config(None, [], preset="paper-cifar-10").train
    assert train.milestones == (50, 100, 150, 200, 250, 300, 350)
    rates = [train.learning_rate * math.prod(train.factors[: n + 1]) for n in range(7)]
    assert rates == pytest.approx([0.01, 0.005, 0.001, 5e-4, 1e-4, 5e-5, 1e-5])


def test_presets_are_part_of_the_package_and_linked_from_the_top() -> None:
    link = ROOT / "configs"
    assert link.is_symlink()
    assert link.readlink() == Path("neurodeploy") / "configs"
    assert re.search(r'^neurodeploy = \[.*"configs/\*\.yaml"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert sorted(path.stem for path in link.glob("*.yaml")) == sorted(NAMES)


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown preset 'paper-cifar10': did you mean paper-.*cifar"):
        presets.read("paper-cifar10")
