"""Counter-based random numbers: addressed by name, sample and neuron, and never different tomorrow."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neurodeploy.hw_models.random import (
    frozen_normals,
    frozen_uniforms,
    normal_table,
    step_integers,
    step_normals,
    stream,
)

NAME = (0, 17, "conv1", "thermal", 0, 3)


@given(
    first=st.integers(0, 10**6),
    count=st.integers(1, 20),
    size=st.integers(1, 70),
    cut=st.tuples(st.integers(0, 19), st.integers(1, 20)),
)
def test_any_part_is_the_slice_of_the_whole(first: int, count: int, size: int, cut: tuple[int, int]) -> None:
    whole = step_normals(first, count, size, *NAME)
    assert whole.shape == (count, size)
    start, stop = cut[0] % count, min(count, cut[0] % count + cut[1])
    part = step_normals(first + start, stop - start, size, *NAME)
    np.testing.assert_array_equal(part, whole[start:stop])


def test_step_normals_never_change() -> None:
    """Pinned: another generator, key or table would make every published chip another chip."""
    pinned = [
        [-0.21834287, 0.32991022, -0.46778974, 1.46834874, 0.71517956],
        [0.40879455, 0.76016796, 0.42502424, -0.80384099, -0.96670896],
    ]
    got = step_normals(0, 2, 5, 0, 17, "conv1", "thermal", 0, 3)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, pinned, rtol=2e-6)


def test_frozen_normals_never_change() -> None:
    got = frozen_normals((2, 2), 0, 17, "conv1", "threshold")
    np.testing.assert_allclose(
        got, [[0.9532159520592004, -0.8323716186905475], [-1.406578627086568, -2.1579162926432804]], rtol=1e-12
    )


def test_the_stream_of_a_name_never_changes() -> None:
    assert stream(0, "a").random_raw(2).tolist() == [7412500984573818858, 10742696061272022940]


def test_frozen_normals_fill_their_shape_row_by_row() -> None:
    flat = frozen_normals((12,), *NAME)
    np.testing.assert_array_equal(frozen_normals((3, 4), *NAME), flat.reshape(3, 4))
    np.testing.assert_array_equal(frozen_normals((5,), *NAME), flat[:5])
    assert frozen_normals((), *NAME) == flat[0]


def test_frozen_normals_are_standard_normal() -> None:
    n = 200_000
    sample = frozen_normals((n,), 1, 2, "a", "threshold")
    assert abs(sample.mean()) < 4 / np.sqrt(n)
    assert abs(sample.var() - 1) < 4 * np.sqrt(2 / n)
    assert stats.kstest(sample, "norm").pvalue > 1e-3
    assert np.abs(sample).max() > 4


def test_step_normals_are_standard_normal() -> None:
    n = 400_000
    sample = step_normals(0, 1000, 400, *NAME).ravel().astype(np.float64)
    assert abs(sample.mean()) < 4 / np.sqrt(n)
    assert abs(sample.var() - 1) < 4 * np.sqrt(2 / n)
    assert stats.kstest(sample, "norm").pvalue > 1e-3
    assert len(np.unique(sample)) > 50_000  # all four 16-bit parts of a word are used


def test_the_table_has_variance_1_and_mirrors_itself() -> None:
    table = normal_table().astype(np.float64)
    assert len(table) == 65536
    assert abs(table.mean()) < 1e-7
    assert abs(table.var() - 1) < 1e-6
    np.testing.assert_array_equal(table, -table[::-1])
    assert (np.diff(table) > 0).all()
    assert 4.1 < table.max() < 4.4
    np.testing.assert_allclose(table, stats.norm.ppf((np.arange(65536) + 0.5) / 65536), atol=1e-3)


def test_every_part_of_the_name_makes_another_stream() -> None:
    """Seed, chip, layer, parameter, trial and step: correlations within 4.5 standard errors of 0."""
    n = 20_000
    changes = [(1, 17, "conv1", "thermal", 0, 3), (0, 18, "conv1", "thermal", 0, 3), (0, 17, "conv2", "thermal", 0, 3)]
    changes += [(0, 17, "conv1", "decay", 0, 3), (0, 17, "conv1", "thermal", 1, 3), (0, 17, "conv1", "thermal", 0, 4)]
    steps = [step_normals(0, 100, n // 100, *name).ravel() for name in [NAME, *changes]]
    frozen = [frozen_normals((n,), *name) for name in [NAME, *changes]]
    for streams in (steps, frozen):
        correlation = np.corrcoef(streams) - np.eye(len(streams))
        assert np.abs(correlation).max() < 4.5 / np.sqrt(n)


def test_samples_and_neurons_are_independent() -> None:
    block = step_normals(0, 2000, 64, *NAME)
    assert np.abs(np.corrcoef(block.T) - np.eye(64)).max() < 5 / np.sqrt(2000)
    shifted = np.corrcoef(block[:-1].ravel(), block[1:].ravel())[0, 1]
    assert abs(shifted) < 4 / np.sqrt(block.size)


def test_names_are_not_run_together() -> None:
    """("1", "23") and ("12", "3") are different names."""
    one, other = (stream("a", first, second).random_raw() for first, second in ((1, 23), (12, 3)))
    assert one != other


@given(first=st.integers(0, 10**6), count=st.integers(1, 20), size=st.integers(1, 40), start=st.integers(0, 19))
def test_any_part_of_the_integers_is_the_slice_of_the_whole(first: int, count: int, size: int, start: int) -> None:
    whole = step_integers(first, count, size, *NAME)
    assert whole.shape == (count, size)
    np.testing.assert_array_equal(step_integers(first + start % count, 1, size, *NAME)[0], whole[start % count])


def test_step_integers_never_change_and_are_uniform() -> None:
    assert step_integers(0, 1, 3, 0, 17, "conv1", "spike_loss", 0, 3).tolist() == [[994053155, 3083485557, 2385497289]]
    n = 200_000
    sample = step_integers(0, 500, 400, *NAME).ravel() / 2.0**32
    assert stats.kstest(sample, "uniform").pvalue > 1e-3
    assert len(np.unique(sample)) > n * 0.9999  # both halves of a word are used
    assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 4 / np.sqrt(n)


def test_frozen_uniforms_are_those_that_the_normals_come_from() -> None:
    uniform = frozen_uniforms((50_000,), *NAME)
    np.testing.assert_allclose(frozen_normals((50_000,), *NAME), stats.norm.ppf(uniform))
    assert 0 < uniform.min() < uniform.max() < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
