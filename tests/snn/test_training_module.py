"""Which batches there are, on which device, in which form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.config import ExperimentConfig, parse_config
from neurodeploy.data.batches import Order
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.train import accuracy, train
from neurodeploy.snn.training_module import SharedOrder, TrainingModule

MakeConfig = Callable[..., ExperimentConfig]


def batches(order: SharedOrder) -> list[list[int]]:
    return [indices.samples.tolist() for indices in order]


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(8, 4, [4, 4]), (10, 4, [4, 4, 2]), (9, 4, [4, 5]), (5, 4, [5]), (1, 4, [1]), (3, 1, [1, 1, 1]), (4, 9, [4])],
)
def test_a_last_batch_of_one_joins_the_one_before_it(count: int, batch_size: int, sizes: list[int]) -> None:
    order = SharedOrder(Order(count, batch_size, 3, True))
    got = batches(order)
    assert [len(batch) for batch in got] == sizes
    assert len(order) == len(sizes)
    assert sorted(sample for batch in got for sample in batch) == list(range(count))


def test_epochs_differ_and_are_as_the_order_they_share() -> None:
    order, plain = SharedOrder(Order(10, 4, 3, True)), Order(10, 4, 3, True)
    first = batches(order)
    order.set_epoch(1)
    plain.set_epoch(1)
    assert batches(order) == [indices.samples.tolist() for indices in plain] != first


@pytest.mark.parametrize(("devices", "share"), [(2, 2), (3, 1), (4, 1)])
def test_devices_share_the_batches_of_one(devices: int, share: int) -> None:
    whole = batches(SharedOrder(Order(12, 4, 3, True)))
    parts = [SharedOrder(Order(12, 4, 3, True), rank, devices) for rank in range(devices)]
    got = [batches(part) for part in parts]
    assert all(len(part) == len(order) == share for part, order in zip(got, parts, strict=True))
    flat = [got[turn % devices][turn // devices] for turn in range(devices * share)]
    assert flat == (whole + whole)[: len(flat)]  # the first ones again where they do not go round


def test_what_was_trained_on_is_left_out_once() -> None:
    order = SharedOrder(Order(12, 4, 3, True), start=2)
    assert batches(order) == batches(SharedOrder(Order(12, 4, 3, True)))[2:]
    assert len(order) == 3
    assert len(batches(order)) == 3


def test_a_single_sample_meets_a_batch_norm_with_a_message(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    config = tiny_config(network={"kind": "mlp", "steps": 1}, train={"batch_size": 1})
    with pytest.raises(UsageError, match=r"train\.batch_size=1: a batch of 1; a batch norm needs at least 2 samples"):
        train(config, tiny_data, tmp_path, progress=False)


def test_a_last_batch_of_one_trains(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    config = tiny_config(network={"kind": "mlp", "steps": 1}, train={"batch_size": 13, "epochs": 1})
    assert len(tiny_data.train) % 13 == 1
    assert train(config, tiny_data, tmp_path, progress=False).epoch == 1


def as_temporal(split: Split, steps: int) -> Split:
    return Split(np.repeat(split.samples[:, None], steps, axis=1), split.labels, True)


def test_temporal_samples_arrive_time_first_and_count_as_the_same_images(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = set()
    step = TrainingModule.training_step
    monkeypatch.setattr(
        TrainingModule, "training_step", lambda m, b, i: (shapes.add(tuple(b[0].shape[2:])), step(m, b, i))[1]
    )
    still = train(tiny_config(), tiny_data, tmp_path / "still", progress=False)
    data = replace(tiny_data, train=as_temporal(tiny_data.train, 2), validation=as_temporal(tiny_data.validation, 2))
    moving = train(tiny_config(), data, tmp_path / "moving", progress=False)
    assert shapes == {(8, 8), (1, 8, 8)}
    np.testing.assert_allclose(
        [row["train_loss"] for row in moving.history], [row["train_loss"] for row in still.history], rtol=1e-3
    )
    assert accuracy(still.network, tiny_data.train) == accuracy(still.network, data.train, batch_size=7)


def test_another_number_of_steps_is_refused_with_both_shapes(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    data = replace(tiny_data, train=as_temporal(tiny_data.train, 3), validation=as_temporal(tiny_data.validation, 3))
    said = (
        r"batches of \(3, B, 1, 8, 8\), while network\.steps=2 expects \(2, B, 1, 8, 8\); the order is \(T, B, \.\.\.\)"
    )
    with pytest.raises(UsageError, match=said):
        train(tiny_config(), data, tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": np.zeros((0, 1, 8, 8), np.uint8), "labels": np.zeros(0, np.int64)}, "train: no samples"),
        ({"samples": np.zeros((2, 1, 8, 9), np.uint8), "labels": np.zeros(2, np.int64)}, r"\(1, 8, 9\).*\(1, 8, 8\)"),
        ({"samples": np.zeros((2, 1, 8, 8), np.uint8), "labels": np.array([0, 10])}, "label 10 of sample 1"),
    ],
)
def test_bad_data_are_refused_before_anything_is_written(
    change: dict[str, Any], said: str, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    with pytest.raises(UsageError, match=said):
        train(tiny_config(), replace(tiny_data, train=Split(**change)), tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_unknown_potential_layers_are_refused_before_anything_is_written(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    config = tiny_config(train={"potential_layers": ["lif7"]})
    with pytest.raises(UsageError, match="no layer lif7; layers of neurons are lif1, lif2"):
        train(config, tiny_data, tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "16", "accelerator": "cpu"}, r"train\.precision=16: half precision needs a GPU"),
        ({"accelerator": "abacus"}, r"train\.accelerator=abacus, train\.devices=1: "),
    ],
)
def test_what_the_machine_has_not_is_refused(
    options: dict[str, Any], said: str, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    with pytest.raises(UsageError, match=said):
        train(tiny_config(train=options), tiny_data, tmp_path, progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    with pytest.raises(UsageError, match=r"train\.accelerator=gpu, train\.devices=2: "):
        train(tiny_config(train={"accelerator": "gpu", "devices": 2}), tiny_data, tmp_path, progress=False)


def strides(config: ExperimentConfig, data: DataSet, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether convolutions have channels last while they train; the network that comes out is in plain order."""
    seen = []
    step = TrainingModule.training_step

    def look(module: Any, batch: Any, index: int) -> Any:
        weight = module.network.layers["conv2"].weight
        seen.append(weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous())
        return step(module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", look)
        got = train(config, data, folder, progress=False)
    assert all(part.is_contiguous() for part in got.network.state_dict().values())
    assert len(set(seen)) == 1
    return bool(seen[0])


def test_channels_are_last_on_cpus_unless_told_otherwise(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked, expected in ((None, True), (True, True), (False, False)):
        config = tiny_config(network={"channels": [4, 6]}, train={"channels_last": asked, "accelerator": "cpu"})
        assert strides(config, tiny_data, tmp_path / str(asked), monkeypatch) is expected


def test_compile_is_asked_for_the_network_and_changes_nothing(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tiny_config(), tiny_data, tmp_path / "plain", progress=False)
    compiled = []

    def stand_in(network: Any, options: dict[str, Any]) -> Any:
        compiled.append(network)
        return lambda *values: network(*values)

    monkeypatch.setattr(torch, "compile", stand_in)
    got = train(tiny_config(train={"compile": True}), tiny_data, tmp_path / "compiled", progress=False)
    assert [type(network).__name__ for network in compiled] == ["SpikingNetwork"]
    assert got.history == plain.history
    assert set(torch.load(tmp_path / "compiled" / "last.ckpt", weights_only=True)["state_dict"]) == {
        f"network.{name}" for name in plain.network.state_dict()
    }


def test_half_precision_trains_close_to_full(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    full = train(tiny_config(), tiny_data, tmp_path / "full", progress=False).history
    half = train(tiny_config(train={"precision": "bf16"}), tiny_data, tmp_path / "half", progress=False).history
    assert half[0]["train_loss"] == pytest.approx(full[0]["train_loss"], rel=0.05)
    assert half != full


@pytest.mark.parametrize(("rate", "passes"), [(0.0, 1), (0.3, 2)])
def test_dropout_trains_on_two_passes_and_validates_on_one(
    rate: float,
    passes: int,
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = set()
    forward = SpikingNetwork.forward

    def look(network: Any, *values: Any, **options: Any) -> Any:
        output = forward(network, *values, **options)
        seen.add((network.training, output.passes))
        return output

    monkeypatch.setattr(SpikingNetwork, "forward", look)
    train(tiny_config(network={"dropout": rate}), tiny_data, tmp_path, progress=False)
    assert seen == {(True, passes), (False, 1)}


def test_learning_rates_are_in_the_history(tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet) -> None:
    options = {"epochs": 3, "schedule": "steps", "milestones": [1, 2], "factor": [0.5, 0.1]}
    got = train(tiny_config(train=options), tiny_data, tmp_path, progress=False)
    assert [row["learning_rate"] for row in got.history] == pytest.approx([0.02, 0.01, 0.001])


def test_the_test_split_is_measured_each_epoch_only_where_that_is_asked_for(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """Everywhere else it is a split that raises when it is read."""
    plain = train(tiny_config(), tiny_data, tmp_path / "plain", progress=False)
    data = replace(tiny_data, test=tiny_data.train)
    got = train(tiny_config(train={"report_best_on_test": True}), data, tmp_path / "asked", progress=False)
    for row, other in zip(got.history, plain.history, strict=True):
        assert {name: value for name, value in row.items() if name != "test_accuracy"} == other
    assert got.history[got.epoch - 1]["test_accuracy"] == pytest.approx(accuracy(got.network, data.test))


@pytest.mark.parametrize(
    ("shape", "network"),
    [((12,), {"kind": "mlp", "hidden": [8]}), ((1, 8, 8), {"channels": [4, 6], "hidden": []})],
    ids=["mlp", "convnet"],
)
def test_two_processes_train_as_one_with_batches_twice_the_size(
    tmp_path: Path, tiny_data: DataSet, shape: tuple[int, ...], network: dict[str, Any]
) -> None:
    """Without batch norm, and with plain gradient descent, the mean of two devices' gradients is one's.

    The convolutions are in channels last, an order that the devices have to agree on before they share gradients.
    """
    rng = np.random.default_rng(0)
    splits = [Split(rng.integers(0, 2, (16, *shape), dtype=np.uint8), np.arange(16) % 3) for _ in range(2)]
    data = DataSet("noise", Input(shape, 1.0, 1), 3, *splits, tiny_data.train)
    content: dict[str, Any] = {
        "network": {"norm": "none", "steps": 2, "threshold": 0.1} | network,
        "train": {"optimizer": "sgd", "schedule": "constant", "learning_rate": 0.1, "potential_weight": 0, "epochs": 2},
    }
    got = {}
    for devices in (1, 2):
        content["train"] |= {"devices": devices, "batch_size": 8 // devices, "accelerator": "cpu"}
        got[devices] = train(parse_config(content), data, tmp_path / str(devices), progress=False)
    rates = [value for name, value in got[1].history[-1].items() if name.startswith("rate.")]
    assert all(0.05 < rate < 0.95 for rate in rates), rates
    one, two = got[1].network.state_dict(), got[2].network.state_dict()
    for name, part in one.items():
        torch.testing.assert_close(two[name], part, rtol=1e-4, atol=1e-6, msg=name)
    assert [row["train_loss"] for row in got[2].history] == pytest.approx(
        [row["train_loss"] for row in got[1].history], rel=1e-4
    )
    assert len((tmp_path / "2" / "log.csv").read_text().splitlines()) == 3
