"""Which samples calibration may see."""

from __future__ import annotations

import numpy as np
import pytest

from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.data.encoding import EncodedSplit
from neurodeploy.ir.nodes import Input
from neurodeploy.study import MEASUREMENT_SAMPLES, REFIT_SAMPLES, SELECTION_SAMPLES, calibration_splits

TRAIN, VALIDATION, TEST = range(3)


def of_sizes(train: int, validation: int, temporal: bool = False) -> DataSet:
    """Samples that say which they are: their number, in base 200, and their split."""

    def split(size: int, part: int) -> Split:
        numbers = np.arange(size)
        values = np.stack([numbers // 200, numbers % 200, np.full(size, part)], axis=1).astype(np.uint8)
        return Split(np.repeat(values[:, None], 2, axis=1) if temporal else values, numbers, temporal)

    return DataSet("own", Input((3,)), 40_000, split(train, TRAIN), split(validation, VALIDATION), split(7, TEST))


def numbers(split: Split) -> list[tuple[int, int]]:
    """(part, number) of each sample, which its label has to repeat."""
    values = (split.samples[:, 0] if split.temporal else split.samples).astype(int)
    found = [(int(part), int(high * 200 + low)) for high, low, part in values]
    assert [number for _, number in found] == split.labels.tolist()
    return found


def expected(part: int, first: int, last: int) -> list[tuple[int, int]]:
    return [(part, number) for number in range(first, last)]


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize(
    ("train", "validation", "measured", "fitted", "selected", "kept_back"),
    [
        (5_400, 6_000, 128, 2_048, 2_000, 0),
        (5_400, 2_000, 128, 2_048, 2_000, 0),
        (5_400, 1_999, 128, 2_048, 1_999, 1),
        (5_400, 100, 128, 2_048, 100, 1_900),
        (3_900, 100, 128, 2_000, 100, 1_900),
        (3_799, 100, 128, 1_900, 100, 1_899),
        (900, 100, 128, 450, 100, 450),
        (257, 3, 128, 129, 3, 128),
        (255, 3, 128, 128, 3, 127),
        (129, 3, 128, 128, 3, 1),
        (128, 3, 128, 128, 3, 0),
        (1, 1, 1, 1, 1, 0),
    ],
)
def test_levels_are_accepted_on_training_samples_where_few_validate(
    train: int, validation: int, measured: int, fitted: int, selected: int, kept_back: int, temporal: bool
) -> None:
    data = of_sizes(train, validation, temporal)
    measurement, refit, selection = calibration_splits(data)
    assert numbers(measurement) == expected(TRAIN, 0, measured)
    assert numbers(refit) == expected(TRAIN, 0, fitted)
    assert numbers(selection) == expected(VALIDATION, 0, selected) + expected(TRAIN, train - kept_back, train)
    assert not set(numbers(selection)) & set(numbers(refit) + numbers(measurement))
    assert {measurement.temporal, refit.temporal, selection.temporal} == {temporal}
    assert selection.inputs.shape == ((2, selected + kept_back, 3) if temporal else (selected + kept_back, 3))


def test_encoded_samples_keep_their_spikes() -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 5)).astype(np.uint8)
    labels = np.arange(300)
    train, validation, test = (
        EncodedSplit(values[part], labels[part], "rate", 4, 1 / 255, (0, name))
        for name, part in (("train", slice(200)), ("validation", slice(200, 240)), ("test", slice(240, 300)))
    )
    measurement, refit, selection = calibration_splits(DataSet("own", Input((5,), 1), 300, train, validation, test))
    assert np.array_equal(measurement.inputs, train.inputs[:, :128])
    assert np.array_equal(refit.inputs, train.inputs[:, :128])
    assert np.array_equal(selection.inputs, np.concatenate([validation.inputs, train.inputs[:, 128:]], axis=1))
    assert selection.labels.tolist() == [*range(200, 240), *range(128, 200)]
    assert 0.05 < selection.inputs.mean() < 0.95


def test_sizes_are_those_that_the_documents_name() -> None:
    assert (MEASUREMENT_SAMPLES, REFIT_SAMPLES, SELECTION_SAMPLES) == (128, 2048, 2000)
