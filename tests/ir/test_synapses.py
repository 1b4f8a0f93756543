"""Synapses: expanded() brings the same currents as pooling, and the bounds of sums hold and are reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, extreme_sums, longest_delay, pooled

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def torch_current(synapses: ConvSynapses | DenseSynapses, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pooling by reshaping, then torch, in float64."""
    batch, channels, height, width = x.shape
    p = synapses.pool
    source = torch.tensor(x, dtype=torch.float64)
    source = source.reshape(batch, channels, height // p, p, width // p, p).sum(dim=(3, 5))
    weight = torch.tensor(synapses.weight, dtype=torch.float64)
    if isinstance(synapses, DenseSynapses):
        return torch.nn.functional.linear(source.flatten(1), weight).numpy()
    g = synapses
    return torch.nn.functional.conv2d(source, weight, None, g.stride, g.padding, g.dilation, g.groups).numpy()


@given(
    seed=st.integers(0, 2**32 - 1),
    pool=st.integers(1, 3),
    windows=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=pairs,
    groups=st.integers(1, 2),
)
def test_expanded_convolutions_bring_the_same_currents(
    seed: int,
    pool: int,
    windows: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    assume(all(w + 2 * p >= d * (k - 1) + 1 for w, p, d, k in zip(windows, padding, dilation, kernel, strict=True)))
    rng = np.random.default_rng(seed)
    weight = frozen_ints(rng.integers(-9, 10, (4, 2 // groups, *kernel)))
    synapses = ConvSynapses("conv", "a", weight, stride, padding, dilation, groups, pool, delay=1)
    shape = (2, windows[0] * pool, windows[1] * pool)
    x = rng.integers(0, 3, (2, *shape))
    expanded = synapses.expanded()
    assert (expanded.pool, expanded.delay, expanded.groups) == (1, 1, groups)
    assert expanded.output_shape(shape) == synapses.output_shape(shape)
    np.testing.assert_array_equal(torch_current(expanded, x), torch_current(synapses, x))


@given(seed=st.integers(0, 2**32 - 1), pool=st.integers(1, 3), windows=pairs, channels=st.integers(1, 3))
def test_expanded_dense_synapses_bring_the_same_currents(
    seed: int, pool: int, windows: tuple[int, int], channels: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = frozen_ints(rng.integers(-9, 10, (4, channels * windows[0] * windows[1])))
    synapses = DenseSynapses("fc", "a", weight, pool)
    shape = (channels, windows[0] * pool, windows[1] * pool)
    x = rng.integers(0, 3, (2, *shape))
    expanded = synapses.expanded(shape)
    assert (expanded.pool, expanded.output_shape(shape)) == (1, (4,))
    np.testing.assert_array_equal(torch_current(expanded, x), torch_current(synapses, x))


def test_the_kernel_of_a_dilated_pooled_convolution_by_hand() -> None:
    synapses = ConvSynapses("conv", "a", frozen_ints([[[[1, 2]]]]), (1, 1), (0, 1), (1, 2), 1, pool=2)
    expanded = synapses.expanded()
    assert expanded.weight.tolist() == [[[[1, 1, 0, 0, 2, 2], [1, 1, 0, 0, 2, 2]]]]
    assert (expanded.stride, expanded.padding, expanded.dilation) == ((2, 2), (0, 2), (1, 1))


def test_without_pooling_expanded_is_the_same_object() -> None:
    conv = ConvSynapses("conv", "a", frozen_ints(np.ones((1, 1, 2, 2)).astype(int)), dilation=(2, 2))
    dense = DenseSynapses("fc", "a", frozen_ints([[1, 2]]))
    assert conv.expanded() is conv
    assert dense.expanded((2,)) is dense


def test_what_cannot_be_pooled_is_refused_by_name() -> None:
    assert pooled("conv", (3, 4, 6), 2) == (3, 2, 3)
    for shape, pool in [((3, 4, 5), 2), ((3, 5, 4), 2), ((12,), 2), ((3, 4, 4), 0)]:
        with pytest.raises(UsageError, match="conv: cannot pool"):
            pooled("conv", shape, pool)


def test_dense_synapses_count_their_inputs() -> None:
    synapses = DenseSynapses("fc", "a", frozen_ints(np.ones((2, 12), dtype=int)), pool=2)
    assert synapses.output_shape((3, 4, 4)) == (2,)
    with pytest.raises(UsageError, match="fc: 8 values arrive where 12 are expected"):
        synapses.output_shape((2, 4, 4))


def test_weights_have_the_right_dimensions_and_are_read_only() -> None:
    with pytest.raises(UsageError, match="conv: weight of shape"):
        ConvSynapses("conv", "a", frozen_ints([[1]]))
    with pytest.raises(UsageError, match="fc: weight of shape"):
        DenseSynapses("fc", "a", frozen_ints(np.ones((0, 3), dtype=int)))
    with pytest.raises(TypeError, match=r"fc: .* read-only"):
        DenseSynapses("fc", "a", np.ones((1, 1)))
    with pytest.raises(UsageError, match="groups 3"):
        ConvSynapses("conv", "a", frozen_ints(np.ones((4, 1, 1, 1), dtype=int)), groups=3)


def test_delays_and_exponents_hold_their_limits_and_no_more() -> None:
    weight = frozen_ints([[1, 2]])
    for delay in (0, 62):
        assert DenseSynapses("fc", "a", weight, delay=delay, delays=frozen_ints([[0, 62]])).delay == delay
        assert ConvSynapses("conv", "a", frozen_ints([[[[1]]]]), delay=delay).delay == delay
    for delay in (-1, 63):
        with pytest.raises(UsageError, match=f"fc: delay {delay}: allowed are 0 to 62 steps"):
            DenseSynapses("fc", "a", weight, delay=delay)
        with pytest.raises(UsageError, match=f"conv: delay {delay}"):
            ConvSynapses("conv", "a", frozen_ints([[[[1]]]]), delay=delay)
        with pytest.raises(UsageError, match=r"fc: delays -?\d+ to -?\d+: allowed are 0 to 62"):
            DenseSynapses("fc", "a", weight, delays=frozen_ints([[delay, 0]]))
    with pytest.raises(UsageError, match=r"fc: delays of shape \(2, 1\) for weights of shape \(1, 2\)"):
        DenseSynapses("fc", "a", weight, delays=frozen_ints([[0], [0]]))
    with pytest.raises(TypeError, match="integers expected"):
        DenseSynapses("fc", "a", weight, delays=np.zeros((1, 2)))  # type: ignore[arg-type]
    for exponent in (-8, 7):
        assert DenseSynapses("fc", "a", weight, weight_exponent=exponent).weight_exponent == exponent
    for exponent in (-9, 8):
        with pytest.raises(UsageError, match=f"fc: weight exponent {exponent}: allowed are -8 to 7"):
            DenseSynapses("fc", "a", weight, weight_exponent=exponent)


def test_delays_are_a_read_only_copy() -> None:
    delays = np.array([[3, 0]])
    synapses = DenseSynapses("fc", "a", frozen_ints([[1, 2]]), delays=delays)
    delays[0, 0] = 5
    assert synapses.delays is not None
    assert synapses.delays.tolist() == [[3, 0]]
    with pytest.raises(ValueError, match="read-only"):
        synapses.delays[0, 0] = 1


def test_weights_by_delay_add_up_to_all() -> None:
    synapses = DenseSynapses("fc", "a", frozen_ints([[1, 2, 3], [4, 5, 6]]), delays=frozen_ints([[7, 0, 7], [0, 2, 7]]))
    parts = {steps: weight.tolist() for steps, weight in synapses.by_delay()}
    assert parts == {0: [[0, 2, 0], [4, 0, 0]], 2: [[0, 0, 0], [0, 5, 0]], 7: [[1, 0, 3], [0, 0, 6]]}
    assert list(parts) == [0, 2, 7]
    plain = DenseSynapses("fc", "a", frozen_ints([[1]]), delay=3)
    assert [(steps, weight.tolist()) for steps, weight in plain.by_delay()] == [(0, [[1]])]
    assert (longest_delay(synapses), longest_delay(plain)) == (7, 3)
    assert longest_delay(ConvSynapses("conv", "a", frozen_ints([[[[1]]]]), delay=9)) == 9


def test_every_window_of_a_pool_has_the_delay_of_its_weight() -> None:
    synapses = DenseSynapses("fc", "a", frozen_ints([[1, 2]]), pool=2, delay=4, delays=frozen_ints([[3, 0]]))
    expanded = synapses.expanded((2, 2, 2))
    assert expanded.delays is not None
    assert expanded.delays.tolist() == [[3, 3, 3, 3, 0, 0, 0, 0]]
    assert (expanded.weight.tolist(), expanded.delay) == ([[1, 1, 1, 1, 2, 2, 2, 2]], 4)


def test_extreme_sums_are_shifted_for_each_delay_and_rounded_down() -> None:
    weight, delays = frozen_ints([[3, -3, 5]]), frozen_ints([[0, 0, 1]])
    assert extreme_sums(DenseSynapses("fc", "a", weight, weight_exponent=2), 0, 1) == (-12.0, 32.0)
    assert extreme_sums(DenseSynapses("fc", "a", weight, weight_exponent=-1), 0, 1) == (-2.0, 4.0)
    apart = DenseSynapses("fc", "a", weight, delays=delays, weight_exponent=-1)
    assert extreme_sums(apart, 0, 1) == (-2.0, 3.0)  # 3 >> 1 and 5 >> 1
    assert extreme_sums(DenseSynapses("fc", "a", weight, delays=delays), 0, 1) == (-3.0, 8.0)
    assert extreme_sums(DenseSynapses("fc", "a", weight, pool=2, weight_exponent=-2), 0, 1) == (-3.0, 8.0)


@given(seed=st.integers(0, 2**32 - 1), pool=st.integers(1, 2), low=st.integers(-3, 0), high=st.integers(0, 5))
def test_extreme_sums_are_reached_and_never_passed(seed: int, pool: int, low: int, high: int) -> None:
    rng = np.random.default_rng(seed)
    synapses = DenseSynapses("fc", "a", frozen_ints(rng.integers(-9, 10, (3, 4))), pool)
    lower, upper = extreme_sums(synapses, low, high)
    positive = np.maximum(synapses.weight, 0).sum(1) * high + np.minimum(synapses.weight, 0).sum(1) * low
    worst = np.where(synapses.weight > 0, high, low)[positive.argmax()]
    x = worst.reshape(1, 4, 1, 1).repeat(pool, 2).repeat(pool, 3)
    assert torch_current(synapses, x).max() == upper or upper == 0
    random = rng.integers(low, high + 1, (50, 4, pool, pool))
    currents = torch_current(synapses, random)
    assert lower <= currents.min()
    assert currents.max() <= upper


def test_extreme_sums_by_hand() -> None:
    conv = ConvSynapses("conv", "a", frozen_ints([[[[3, -1]]], [[[-4, -5]]]]), pool=2)
    assert extreme_sums(conv, 0, 1) == (-36.0, 12.0)
    assert extreme_sums(conv, -255, 255) == (-9 * 255 * 4.0, 9 * 255 * 4.0)
    negative = DenseSynapses("fc", "a", frozen_ints([[-4, -5]]))
    assert extreme_sums(negative, 0, 1) == (-9.0, 0.0)
    assert extreme_sums(negative, 0, 0) == (0.0, 0.0)


def test_frozen_arrays_are_read_only_copies_of_the_right_kind() -> None:
    values = np.array([1, 2])
    for frozen in (frozen_ints(values), frozen_floats(values)):
        values[0] = 9
        assert frozen[0] == 1
        with pytest.raises(ValueError, match="read-only"):
            frozen[0] = 9
        values[0] = 1
    assert frozen_ints(np.array([True, False])).tolist() == [1, 0]
    with pytest.raises(TypeError, match="integers expected, got float64"):
        frozen_ints(np.array([1.0]))
