"""model.pt: what is written is read back by value, nothing in it is executed, and a failed write harms nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.config import NetworkConfig
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.errors import NeurodeployError
from neurodeploy.snn.model_file import Model, load_model, save_model
from neurodeploy.snn.networks import build


def test_a_model_is_read_back_by_value(model: Model, path: Path, data: DataSet) -> None:
    got = load_model(path)
    assert got.config == model.config
    assert got.classes == 10
    assert got.metrics == {"test_accuracy": 0.25}
    assert got.history == [{"epoch": 1.0, "train_loss": 2.5}]
    source, wanted = got.network.input, model.network.input
    assert (source.shape, source.scale, source.bits) == (wanted.shape, wanted.scale, wanted.bits)
    images = torch.from_numpy(data.test.samples[:50]).float() * data.input.scale
    with torch.no_grad():
        one, other = got.network(images), model.network(images)
    assert not got.network.training
    assert all(0.05 < float(spikes.mean()) < 0.95 for spikes in one.spikes.values())
    assert torch.equal(one.logits, other.logits)
    assert all(torch.equal(spikes, other.spikes[name]) for name, spikes in one.spikes.items())


def test_the_samples_are_the_first_of_training_and_test(path: Path, data: DataSet) -> None:
    got = load_model(path)
    for split, source, count in ((got.calibration, data.train, 128), (got.golden, data.test, 32)):
        np.testing.assert_array_equal(split.samples, source.samples[:count])
        np.testing.assert_array_equal(split.labels, source.labels[:count])
        assert split.samples.dtype == np.uint8
        assert split.labels.dtype == np.int64


def test_samples_that_change_over_time_are_kept(model: Model, data: DataSet, tmp_path: Path) -> None:
    spikes = Split(np.repeat(data.train.samples[:5, None], 3, axis=1), data.train.labels[:5], True)
    save_model(replace(model, calibration=spikes, golden=spikes.take(slice(2))), tmp_path / "model.pt")
    got = load_model(tmp_path / "model.pt")
    assert got.calibration.temporal
    assert got.golden.temporal
    np.testing.assert_array_equal(got.calibration.samples, spikes.samples)
    assert got.golden.samples.shape == (2, 3, 1, 8, 8)


def test_weights_are_written_in_plain_order_whatever_they_were_in(model: Model, tmp_path: Path) -> None:
    network = build(NetworkConfig(channels=(3, 4), hidden=6, steps=3), model.network.input, 10)
    last = network.to(memory_format=torch.channels_last).eval()
    assert not last.layers["conv2"].weight.is_contiguous()
    config = model.config.model_copy(update={"network": NetworkConfig(channels=(3, 4), hidden=6, steps=3)})
    save_model(replace(model, network=last, config=config), tmp_path / "model.pt")
    got = load_model(tmp_path / "model.pt").network.layers["conv2"].weight
    assert got.is_contiguous()
    torch.testing.assert_close(got, last.layers["conv2"].weight, rtol=0, atol=0)


def test_a_folder_that_is_missing_is_made(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "model.pt"
    save_model(model, path)
    assert load_model(path).classes == 10
    assert os.listdir(path.parent) == ["model.pt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_write_that_fails_leaves_the_file_as_it_was(
    error: Exception, model: Model, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def fails(content: Any, target: Path) -> None:
        target.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(NeurodeployError, match=r"model\.pt: .*; the file is as it was before") as caught:
        save_model(replace(model, classes=9), path)
    assert caught.value.exit_code == 1
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model.pt"]


def test_a_write_that_is_interrupted_leaves_the_file_as_it_was(
    model: Model, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def interrupted(content: Any, target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(model, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model.pt"]


def test_a_target_that_is_a_folder_is_an_error(model: Model, tmp_path: Path) -> None:
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(NeurodeployError, match=r"model\.pt: "):
        save_model(model, tmp_path / "model.pt")
    assert os.listdir(tmp_path) == ["model.pt"]


def test_numbers_and_texts_of_numpy_are_written_as_plain_ones(model: Model, path: Path) -> None:
    """Or the file, which took the place of a good one, would be refused: it held NumPy's objects."""
    given = {
        np.str_("chip"): np.str_("loihi2"),
        "share": np.float64(0.1),
        "of": [np.float64(2.0)],
        "right": True,
        "n": 3,
    }
    history = [{"epoch": 1, np.str_("validation_loss"): np.float64("inf")}, {"epoch": np.float64(2.0)}]
    save_model(replace(model, metrics=given, history=history), path)
    got = load_model(path)
    assert repr(got.metrics) == "{'chip': 'loihi2', 'share': 0.1, 'of': [2.0], 'right': True, 'n': 3}"
    assert repr(got.history) == "[{'epoch': 1, 'validation_loss': inf}, {'epoch': 2.0}]"


@pytest.mark.parametrize("value", [np.float32(0.5), torch.zeros(1)])
def test_a_history_that_could_not_be_read_back_is_not_written(value: Any, model: Model, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(NeurodeployError, match=r"not written: history\.loss=.*: texts and numbers are expected"):
        save_model(replace(model, history=[{"loss": value}]), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), np.float32(0.5), torch.zeros(1)])
def test_metrics_that_could_not_be_read_back_are_not_written(value: Any, model: Model, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(NeurodeployError, match=r"model\.pt: not written: metrics\.test\.accuracy="):
        save_model(replace(model, metrics={"test": {"accuracy": value}}), path)
    assert path.read_bytes() == before
    save_model(replace(model, metrics={"test": {"accuracy": 0.0, "of": (1, None)}}), path)
    assert load_model(path).metrics == {"test": {"accuracy": 0.0, "of": [1, None]}}
