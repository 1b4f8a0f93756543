"""Batches: values, order, augmentation and rate encoding, from (seed, epoch) alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from writers import write_cifar, write_n_mnist, write_npz

from neurodeploy.config import DataConfig
from neurodeploy.data.augment import Augmentation, check_augmentation
from neurodeploy.data.batches import Batches, loader
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.data.encoding import EncodedSplit
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input

Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def load(steps: int = 4, **options: Any) -> tuple[DataSet, DataConfig]:
    config = DataConfig(**options)
    return load_data_set(config, steps, 0), config


def batches(split: Split, data: DataSet, config: DataConfig, epoch: int = 0, **options: Any) -> Pairs:
    made = loader(split, data.input, config, **{"batch_size": 50, "seed": 3, "train": True, **options})
    made.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return list(made)


def same(first: Pairs, second: Pairs) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cifar")
    write_cifar(root, train=50)
    return root


def test_values_are_integers_times_scale_in_the_shuffled_order() -> None:
    data, config = load()
    order = np.random.default_rng((3, 2)).permutation(len(data.train))
    read = batches(data.train, data, config, epoch=2)
    assert [len(labels) for _, labels in read] == [50] * 25 + [43]
    values, labels = torch.cat([v for v, _ in read]), torch.cat([y for _, y in read])
    assert (values.dtype, labels.dtype) == (torch.float32, torch.int64)
    np.testing.assert_array_equal(values.numpy(), data.train.samples[order] / np.float32(16))
    np.testing.assert_array_equal(labels.numpy(), data.train.labels[order])


def test_without_training_the_order_is_that_of_the_data() -> None:
    data, _ = load()
    config = DataConfig(augment=("crop", "flip"))
    for epoch in (0, 5):
        read = batches(data.validation, data, config, epoch, train=False)
        np.testing.assert_array_equal(torch.cat([v for v, _ in read]).numpy(), data.validation.samples / np.float32(16))
        np.testing.assert_array_equal(torch.cat([y for _, y in read]).numpy(), data.validation.labels)


def test_recordings_come_time_first(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    data, config = load(steps=3, name="n-mnist", root=str(tmp_path), bits=8)
    ((values, labels),) = batches(data.train, data, config)
    order = np.random.default_rng((3, 0)).permutation(18)
    assert values.shape == (3, 18, 2, 34, 34)
    assert values.is_contiguous()
    np.testing.assert_array_equal(values.numpy(), np.moveaxis(data.train.samples[order], 1, 0))
    np.testing.assert_array_equal(labels.numpy(), data.train.labels[order])


@pytest.mark.parametrize(
    "options",
    [
        {"augment": ("crop", "flip", "cutout", "autoaugment")},
        {"encoding": "rate"},
        {"encoding": "rate", "augment": ("crop",)},
        {"encoding": "latency", "augment": ("flip",)},
    ],
)
def test_what_is_drawn_depends_on_seed_and_epoch_alone(options: dict[str, Any], cifar: Path) -> None:
    data, config = load(name="cifar-10", root=str(cifar), **options)
    settings: dict[str, Any] = {"batch_size": 16}
    first = batches(data.train, data, config, 1, **settings)
    torch.rand(5)  # whatever the trainer drew
    np.random.seed(7)  # noqa: NPY002 - and whoever uses NumPy's global generator
    assert same(first, batches(data.train, data, config, 1, **settings))
    assert not same(first, batches(data.train, data, config, 2, **settings))
    assert not same(first, batches(data.train, data, config, 1, seed=4, **settings))
    made = loader(data.train, data.input, config, 16, 3, True)
    list(made)  # epoch 0, then 1, as in a run without a break
    made.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert same(first, list(made))
    order = [index for batch in made.sampler for index in batch.samples.tolist()]
    assert sorted(order) == list(range(len(data.train)))


@pytest.mark.parametrize(
    "options",
    [{"augment": ("crop",)}, {"encoding": "rate"}, {"augment": ("roll",)}, {"augment": ("flip", "affine")}],
)
def test_every_batch_of_every_epoch_is_drawn(options: dict[str, Any]) -> None:
    """All samples alike: no two batches of two epochs are, whatever the order."""
    image = np.random.default_rng(0).integers(1, 255, (1, 3, 16, 16), dtype=np.uint8)
    labels = np.zeros(32, dtype=np.int64)
    split: Split = Split(image.repeat(32, axis=0), labels)
    if "encoding" in options:
        split = EncodedSplit(split.samples, labels, "rate", 3, 1 / 255, (0, "train"))
    elif options["augment"][-1] in ("roll", "affine"):
        split = Split(split.samples[:, None].repeat(3, axis=1), labels, True)
    made = loader(split, Input((3, 16, 16), 1 / 255, 8), DataConfig(**options), 16, 0, True)
    drawn = []
    for epoch in (0, 1):
        made.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        drawn += [values.numpy().tobytes() for values, _ in made]
    assert len(set(drawn)) == 4


def test_the_trainers_generator_is_left_alone(cifar: Path) -> None:
    data, config = load(
        name="cifar-10", root=str(cifar), encoding="rate", augment=("crop", "flip", "cutout", "autoaugment")
    )
    torch.manual_seed(0)
    wanted = torch.rand(4)
    torch.manual_seed(0)
    batches(data.train, data, config)
    assert torch.equal(torch.rand(4), wanted)


def test_rate_spikes_are_drawn_anew_in_training_and_kept_elsewhere() -> None:
    data, config = load(steps=6, encoding="rate")
    plain, _ = load()
    first, second = (batches(data.train, data, config, epoch, batch_size=1293) for epoch in (0, 1))
    values = first[0][0]
    assert values.shape == (6, 1293, 1, 8, 8)
    assert set(values.unique().tolist()) == {0.0, 1.0}
    orders = [np.random.default_rng((3, epoch)).permutation(1293) for epoch in (0, 1)]
    grey = plain.train.samples[orders[0]] / 16
    assert abs(float(values.mean()) - grey.mean()) < 4 * 0.5 / np.sqrt(values.numel())
    assert torch.equal(values.amax(0) > 0, (values.amax(0) > 0) & torch.from_numpy(grey > 0))  # black stays silent
    assert bool((values[:, torch.from_numpy(grey == 1)] == 1).all())
    there, here = np.argsort(orders[0]), np.argsort(orders[1])  # the same samples in both epochs
    assert not torch.equal(first[0][0][:, there], second[0][0][:, here])
    for epoch in (0, 1):
        read = batches(data.validation, data, config, epoch, train=False)
        np.testing.assert_array_equal(torch.cat([v for v, _ in read], 1).numpy(), data.validation.inputs)


def test_latency_in_training_is_that_of_the_data_set() -> None:
    data, config = load(steps=6, encoding="latency")
    read = batches(data.train, data, config)
    order = np.random.default_rng((3, 0)).permutation(len(data.train))
    np.testing.assert_array_equal(torch.cat([v for v, _ in read], 1).numpy(), data.train.take(order).inputs)


def test_read_only_samples_and_single_samples_are_taken() -> None:
    samples = np.arange(12, dtype=np.uint8).reshape(3, 4)
    samples.setflags(write=False)
    split = Split(samples, np.arange(3))
    read = list(loader(split, Input((4,), 1 / 255, 8), DataConfig(), 2, 0, False))
    assert [len(y) for _, y in read] == [2, 1]
    assert torch.equal(read[1][0], torch.tensor([[8.0, 9.0, 10.0, 11.0]]) * (1 / 255))
    assert len(Batches(split, Input((4,), 1 / 255, 8), DataConfig(), 2, 0, False)) == 2
    assert isinstance(loader(split, Input((4,)), DataConfig(), 2, 0, False), DataLoader)


IMAGES = torch.rand(200, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05  # no 0, so that 0 is new


def test_affine_moves_a_digit_a_little_and_keeps_its_ink() -> None:
    """A square in the middle: its centre stays within the shift, its area within the scale, and no two are alike."""
    images = torch.zeros(64, 1, 28, 28)
    images[:, :, 9:19, 9:19] = 1
    out = Augmentation(("affine",), (1, 28, 28), False)(images, 0)
    area = out.sum(dim=(1, 2, 3))
    assert 100 * 0.9**2 * 0.93 <= float(area.min()) <= float(area.max()) <= 100 * 1.1**2 * 1.07
    assert float(area.max() - area.min()) > 15
    places = torch.arange(28.0)
    rows = (out.sum(dim=(1, 3)) * places).sum(dim=1) / area
    columns = (out.sum(dim=(1, 2)) * places).sum(dim=1) / area
    for centre in (rows, columns):
        assert float((centre - 13.5).abs().max()) <= 0.07 * 28 + 0.3
        assert float(centre.std()) > 0.5
    assert torch.equal(out, Augmentation(("affine",), (1, 28, 28), False)(images, 0))
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1 + 1e-6


def test_crop_is_a_window_of_the_image_padded_by_an_eighth() -> None:
    out = Augmentation(("crop",), (3, 32, 32), False)(IMAGES, 0)
    padded = torch.nn.functional.pad(IMAGES, (4, 4, 4, 4))
    places = set()
    for image, whole in zip(out, padded, strict=True):
        found = [(y, x) for y in range(9) for x in range(9) if torch.equal(image, whole[:, y : y + 32, x : x + 32])]
        assert len(found) == 1
        places.add(found[0])
    assert {y for y, _ in places} == {x for _, x in places} == set(range(9))


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (28, 4), (48, 6)])
def test_the_padding_goes_with_the_side(side: int, padding: int) -> None:
    images = torch.ones(300, 1, side, side)
    out = Augmentation(("crop",), (1, side, side), False)(images, 0)
    margins = (out[:, 0].amax(2) == 0).sum(1)  # rows that are all padding
    assert (int(margins.min()), int(margins.max())) == (0, padding)


def test_flip_turns_half_of_the_images_left_to_right() -> None:
    out = Augmentation(("flip",), (3, 32, 32), False)(IMAGES, 0)
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(out, IMAGES, strict=True)]
    assert all(f or torch.equal(a, b) for f, a, b in zip(flipped, out, IMAGES, strict=True))
    assert 70 < sum(flipped) < 130


@pytest.mark.parametrize(("size", "side"), [((32, 32), 16), ((28, 28), 14), ((8, 8), 4), ((16, 32), 8)])
def test_cutout_is_one_square_of_half_the_side(size: tuple[int, int], side: int) -> None:
    images = torch.full((100, 1, *size), 0.5)
    out = Augmentation(("cutout",), (1, *size), False)(images, 0)
    places = set()
    for image in out[:, 0]:
        rows, columns = torch.nonzero(image == 0, as_tuple=True)
        assert len(rows) == side * side
        assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == side - 1
        places.add((int(rows.min()), int(columns.min())))
    assert len(places) > 10


@pytest.mark.parametrize("channels", [1, 3])
def test_autoaugment_stays_in_range_and_changes_images_in_different_ways(channels: int) -> None:
    augmentation = Augmentation(("autoaugment",), (channels, 32, 32), False)
    images = IMAGES[:64, :channels]
    untouched = 0
    for seed in range(12):  # 96 draws of the 25 sub-policies
        out = augmentation(images, seed)
        assert out.shape == images.shape
        assert bool(torch.isfinite(out).all())
        assert 0 <= float(out.min()) <= float(out.max()) <= 1
        untouched += sum(torch.equal(a, b) for a, b in zip(out, images, strict=True))
    assert 0 < untouched < 12 * 64 * 0.6


def test_transformations_happen_in_the_order_given() -> None:
    hole_first = Augmentation(("cutout", "crop"), (3, 32, 32), False)(IMAGES, 0)
    hole_last = Augmentation(("crop", "cutout"), (3, 32, 32), False)(IMAGES, 0)
    squares = [(image[0] == 0).sum() for image in hole_last]
    assert min(squares) >= 256  # the hole is whole where it comes last
    assert not torch.equal(hole_first, hole_last)


RECORDING = torch.arange(2 * 40 * 2 * 12 * 13, dtype=torch.float32).reshape(2, 40, 2, 12, 13)


def test_recordings_roll_around_by_up_to_five_pixels_all_steps_alike() -> None:
    out = Augmentation(("roll",), (2, 12, 13), True)(RECORDING.repeat(1, 5, 1, 1, 1), 0)
    assert out.is_contiguous()
    shifts = set()
    for sample in range(200):
        found = [
            (dy, dx)
            for dy in range(-5, 6)
            for dx in range(-5, 6)
            if torch.equal(out[:, sample], RECORDING[:, sample % 40].roll((dy, dx), (2, 3)))
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert {dy for dy, _ in shifts} == {dx for _, dx in shifts} == set(range(-5, 6))


def test_recordings_flip_all_steps_alike() -> None:
    out = Augmentation(("flip",), (2, 12, 13), True)(RECORDING, 1)
    flipped = [torch.equal(out[:, i], RECORDING[:, i].flip(-1)) for i in range(40)]
    assert all(f or torch.equal(out[:, i], RECORDING[:, i]) for i, f in enumerate(flipped))
    assert 8 < sum(flipped) < 32
    assert not torch.equal(Augmentation(("flip",), (2, 12, 13), True)(RECORDING, 2), out)


def test_recordings_are_turned_and_shifted_all_steps_alike() -> None:
    """As if the first step were an image: the square is where the same draw puts it there, at every step."""
    square = torch.zeros(64, 1, 28, 28)
    square[:, :, 9:19, 9:19] = 1
    steps = torch.tensor([1.0, 0.0, 5.0])[:, None, None, None, None]
    polarities = torch.tensor([1.0, 2.0])[:, None, None]
    out = Augmentation(("affine",), (2, 28, 28), True)(steps * polarities * square, 4)
    assert out.shape == (3, 64, 2, 28, 28)
    assert out.is_contiguous()
    image = Augmentation(("affine",), (1, 28, 28), False)(square, 4)
    torch.testing.assert_close(out, steps * polarities * image)
    assert not torch.equal(image, square)


@pytest.mark.parametrize(
    ("names", "shape", "temporal", "match"),
    [
        (
            ("crop", "cutout"),
            (2, 34, 34),
            True,
            "crop is not for recordings .allowed: affine, flip, roll.; cutout is not",
        ),
        (("roll",), (1, 28, 28), False, "roll is not for images"),
        (("flip",), (700,), True, r"samples of shape \(700,\) are not \(channels, height, width\)"),
        (("autoaugment",), (2, 8, 8), False, "autoaugment needs 1 or 3 channels, not 2"),
    ],
)
def test_augmentation_that_does_not_suit_the_data_is_refused(
    names: tuple[str, ...], shape: tuple[int, ...], temporal: bool, match: str
) -> None:
    with pytest.raises(UsageError, match=rf"data\.augment={','.join(names)}: {match}"):
        check_augmentation(names, shape, temporal)


def test_unsuitable_augmentation_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="roll is not for images"):
        load(augment=("roll",))
    write_npz(tmp_path / "a.npz", (5,))
    with pytest.raises(UsageError, match=r"samples of shape \(5,\)"):
        load(name=str(tmp_path / "a.npz"), augment=("crop",))
