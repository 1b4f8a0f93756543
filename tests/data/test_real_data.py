"""The real data sets, where the machine has them: in the folder that NEURODEPLOY_DATA names."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DATA_ROOT_VARIABLE, DataSet
from neurodeploy.data.readers import read_n_mnist
from neurodeploy.data.sources import load_data_set

ROOT = Path(os.environ.get(DATA_ROOT_VARIABLE, "data"))


def needs(path: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (ROOT / path).exists(), reason=f"no {path} in {ROOT}; set {DATA_ROOT_VARIABLE}")


def load(name: str, steps: int = 4, **options: object) -> DataSet:
    return load_data_set(DataConfig.model_validate({"name": name, "root": str(ROOT), **options}), steps, 0)


@pytest.mark.parametrize(
    ("name", "test", "mean"),
    [
        # Means of the 60,000 training images, over 255, as everybody normalises by them.
        pytest.param("mnist", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 0.1307, marks=needs("mnist")),
        pytest.param("fashion-mnist", [1000] * 10, 0.2860, marks=needs("fashion-mnist")),
    ],
)
def test_idx_sets_are_whole(name: str, test: list[int], mean: float) -> None:
    data = load(name, bits=8)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == (name, 54000, 6000, 10000)
    assert np.bincount(data.test.labels).tolist() == test
    total = sum(int(split.samples.sum(dtype=np.int64)) for split in (data.train, data.validation))
    assert total / (60000 * 784 * 255) == pytest.approx(mean, abs=5e-5)


@needs("n-mnist")
def test_n_mnist_frames_hold_every_event_of_the_manifest() -> None:
    with (ROOT / "n-mnist" / "MANIFEST.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = {part: [row for row in rows if row["path"].startswith(part)] for part in ("Train", "Test")}
    data = load("n-mnist", steps=15, bits=8)
    assert data.name == f"n-mnist-{len(wanted['Train'])}/{len(wanted['Test'])}"
    rows = sorted(wanted["Test"], key=lambda row: row["path"])
    counts = data.test.samples.reshape(len(rows), -1).sum(1, dtype=int)
    mixed = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]  # they lie digit by digit
    assert counts.tolist() == [int(row["events"]) for row in mixed]
    assert data.test.labels.tolist() == [int(row["label"]) for row in mixed]
    assert len(set(data.test.labels[:20].tolist())) > 5
    for row in rows[:5]:
        events = read_n_mnist(ROOT / "n-mnist" / row["path"])
        assert len(events) == int(row["events"])
        assert 250_000 < events["t"][-1] < 350_000  # three saccades of 100 ms


@needs("samples/tonic_sample.aedat4")
def test_a_real_aedat4_file_passes_the_check_for_truncation(tmp_path: Path) -> None:
    from neurodeploy.data.readers import _check_aedat4
    from neurodeploy.errors import FileFormatError

    _check_aedat4(ROOT / "samples" / "tonic_sample.aedat4")
    content = (ROOT / "samples" / "tonic_sample.aedat4").read_bytes()
    (tmp_path / "cut.aedat4").write_bytes(content[: len(content) - 5000])
    with pytest.raises(FileFormatError, match="truncated"):
        _check_aedat4(tmp_path / "cut.aedat4")


@needs("cifar-10/data_batch_1.bin")
def test_cifar_10_is_whole() -> None:
    data = load("cifar-10")
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("cifar-10", 45000, 5000, 10000)
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    images = np.concatenate([data.train.samples, data.validation.samples])
    means = images.mean(axis=(0, 2, 3)) / 255  # red, green, blue, as everybody normalises by them
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)
