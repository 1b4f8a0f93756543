"""Test samples for a trained network: its own data set by any path, others as their integers mean the same to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writers import write_npz

from neurodeploy.config import ExperimentConfig, parse_config
from neurodeploy.data.dataset import Split
from neurodeploy.data.matching import matching_test
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input

LABELS = np.arange(20) % 5


def trained(name: object, **data: Any) -> ExperimentConfig:
    return parse_config({"data": {"name": str(name), **data}})


def taken(config: ExperimentConfig, name: object, bits: int, scale: float, classes: int = 5, **options: Any) -> Split:
    source = Input(options.pop("shape", (1, 8, 8)), scale, bits)
    return matching_test(
        config, str(name), options.pop("root", None), options.pop("steps", 4), source, classes, **options
    )


def rounded(images: Any, bits: int) -> Any:
    return np.rint(images / 255 * (2**bits - 1))[:, None]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Test images of mine.npz, of 5 classes; other.npz holds the same."""
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "other.npz", (8, 8), temporal=False, train_labels=LABELS, test_labels=np.arange(10) % 5)
    written = write_npz(
        tmp_path / "mine.npz", (8, 8), temporal=False, train_labels=LABELS, test_labels=np.arange(10) % 5
    )
    return written["test"][0]


@pytest.mark.parametrize("name", ["mine.npz", "./mine.npz", "sub/../mine.npz", "ABSOLUTE", "link.npz", "other.npz"])
def test_a_file_by_any_path_comes_as_in_training(images: Any, tmp_path: Path, name: str) -> None:
    """And another file comes with its bits and classes, too."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "mine.npz")
    name = str(tmp_path / "mine.npz") if name == "ABSOLUTE" else name
    test = taken(trained("mine.npz", bits=3, classes=3), name, 3, 1 / 7, 3)
    kept = np.arange(10) % 5 < 3
    np.testing.assert_array_equal(test.labels, (np.arange(10) % 5)[kept])
    np.testing.assert_array_equal(test.samples, rounded(images, 3)[kept])


def test_a_file_in_the_folder_of_training_is_the_same(images: Any, tmp_path: Path) -> None:
    """Scanned, as only the trained data set itself is."""
    (tmp_path / "mine.npz").rename(tmp_path / "sets.npz")
    (tmp_path / "here").mkdir()
    (tmp_path / "sets.npz").rename(tmp_path / "here" / "sets.npz")
    config = trained("sets.npz", root=str(tmp_path / "here"), scan="rows")
    test = taken(config, "here/sets.npz", 8, 1 / 255, shape=(8,), steps=8)
    np.testing.assert_array_equal(test.samples, images)


@pytest.mark.parametrize("encoding", ["rate", "latency"])
def test_another_set_is_encoded_as_in_training(images: Any, encoding: str) -> None:
    config = trained("mine.npz", encoding=encoding, bits=4)
    ours, others = (taken(config, name, 1, 1.0) for name in ("mine.npz", "other.npz"))
    assert ours.temporal
    assert ours.samples.any()
    np.testing.assert_array_equal(ours.samples, others.samples)


def test_spikes_are_not_encoded_again(images: Any, tmp_path: Path) -> None:
    spikes = np.random.default_rng(1).integers(0, 2, (20, 4, 8, 8), dtype=np.uint8)
    write_npz(tmp_path / "spikes.npz", (8, 8), temporal=True, train_samples=spikes, test_samples=spikes[:10])
    test = taken(trained("mine.npz", encoding="rate"), "spikes.npz", 1, 1.0)
    np.testing.assert_array_equal(test.samples, spikes[:10, :, None])


def test_counts_are_clipped_and_ranged_as_in_training(images: Any, tmp_path: Path) -> None:
    """Counts of 0 to 7 in 2 bits: at most 3, worth 1 / 3 each."""
    counts = np.random.default_rng(1).integers(0, 8, (20, 4, 8, 8), dtype=np.uint8)
    write_npz(tmp_path / "counts.npz", (8, 8), temporal=True, train_samples=counts, test_samples=counts[:10])
    test = taken(trained("gone.npz", unit_range=True, bits=2), "counts.npz", 2, 1 / 3)
    np.testing.assert_array_equal(test.samples, np.minimum(counts[:10, :, None], 3))
    with pytest.raises(
        UsageError, match=r"integers of 2 bits with scale 1, the network takes 2 bits with scale 0\.333333"
    ):
        taken(trained("gone.npz", bits=2), "counts.npz", 2, 1 / 3)


def test_named_sets_are_rounded_to_the_networks_bits(images: Any) -> None:
    natural = taken(trained("digits"), "digits", 5, 1 / 16, 10).samples
    test = taken(trained("mine.npz"), "digits", 8, 1 / 255, 10)
    np.testing.assert_array_equal(test.samples, (natural * 255.0 / 16 + 0.5).astype(int))
    few = taken(trained("mine.npz", classes=3), "digits", 8, 1 / 255, 3)
    assert set(few.labels) == {0, 1, 2}


def test_what_means_something_else_is_refused_with_both_sides(images: Any, tmp_path: Path) -> None:
    ones = np.ones((20, 8, 8), np.uint8)
    write_npz(tmp_path / "ones.npz", (8, 8), temporal=False, train_samples=ones, test_samples=ones[:10])
    own = trained("mine.npz")
    for name, bits, scale, classes, said in (
        (
            "other.npz",
            5,
            1 / 16,
            5,
            "other.npz: integers of 0 to 255; of a scale of 0.0625, which no images have, the network takes its own",
        ),
        ("mine.npz", 8, 1 / 255 * (1 + 3e-6), 5, "of 8 bits with scale 0.00392156863, the network takes 8 bits with"),
        ("mine.npz", 7, 1 / 255, 5, "8 bits with scale 0.00392156863, the network takes 7 bits with scale 0.0039"),
        ("ones.npz", 8, 1 / 255, 5, "integers of 1 bits with scale 1, the network takes 8 bits with scale 0.00392"),
        (
            "other.npz",
            8,
            1 / 255,
            4,
            "--data other.npz: 5 classes, the network tells 4 apart; name samples as those of",
        ),
        ("digits", 5, 1 / 31, 9, "--data digits: 10 classes, the network tells 9 apart; name samples as those of mine"),
        ("digits", 5, 0.5, 9, "with scale 0.5; 10 classes, the network tells 9 apart; name samples as those of mine"),
    ):
        with pytest.raises(UsageError) as caught:
            taken(own, name, bits, scale, classes)
        assert said in str(caught.value), str(caught.value)
    assert len(taken(own, "mine.npz", 8, 1 / 255 * (1 + 5e-7), 6)) == 10
    assert len(taken(own, "digits", 5, 1 / 31, 10)) == 360


def test_shapes_are_the_networks_or_laid_flat(images: Any) -> None:
    own = trained("mine.npz")
    for shape, channels in (((64,), False), ((63,), True), ((1, 8, 7), False)):
        with pytest.raises(UsageError, match=r"samples of shape \(1, 8, 8\), the network takes \("):
            taken(own, "mine.npz", 8, 1 / 255, shape=shape, channels=channels)
    assert taken(own, "mine.npz", 8, 1 / 255, shape=(64,), channels=True).samples.shape == (10, 1, 8, 8)


def test_a_file_that_is_not_there_is_named(images: Any) -> None:
    with pytest.raises(UsageError, match=r"data\.name=no\.npz: there is no such file"):
        taken(trained("mine.npz"), "no.npz", 8, 1 / 255)
    assert len(taken(trained("gone.npz"), "mine.npz", 8, 1 / 255)) == 10


@pytest.mark.parametrize(("most", "allowed"), [(16, True), (31, True), (32, False), (255, False)])
def test_a_file_may_hold_the_integers_of_a_network_whose_scale_no_image_has(
    tmp_path: Path, most: int, allowed: bool
) -> None:
    """Digits: 5 bits of scale 1/16, of which 17 to 31 do not occur."""
    values = np.random.default_rng(0).integers(0, most + 1, (20, 1, 8, 8)).astype(np.uint8)
    values[0, 0, 0, 0] = most
    parts = {f"{part}_samples": values for part in ("train", "test")} | {
        f"{part}_labels": LABELS for part in ("train", "test")
    }
    np.savez(tmp_path / "own.npz", **parts)
    if allowed:
        np.testing.assert_array_equal(taken(trained("digits"), tmp_path / "own.npz", 5, 1 / 16, 10).samples, values)
        return
    with pytest.raises(
        UsageError, match=rf"own\.npz: integers of 0 to {most}; of a scale of 0\.0625.* 0 to 31, or the"
    ):
        taken(trained("digits"), tmp_path / "own.npz", 5, 1 / 16, 10)
