"""The nodes' shape rules and their checks, by value and one past every limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    SpikeCountReadout,
    SumPool2d,
)

NAN, INF = float("nan"), float("inf")


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.integers(1, 2),
)
def test_a_convolution_has_the_shape_that_torch_gives(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    assume(all(s + 2 * p >= d * (k - 1) + 1 for s, p, d, k in zip(size, padding, dilation, kernel, strict=True)))
    weight = np.ones((4, 2 // groups, *kernel))
    node = Conv2d(weight, np.zeros(4), stride, padding, dilation, groups)
    x = torch.zeros(1, 2, *size)
    torch_shape = torch.nn.functional.conv2d(x, torch.tensor(weight).float(), None, stride, padding, dilation, groups)
    assert node.output_shape((2, *size)) == tuple(torch_shape.shape[1:])


def test_a_convolution_refuses_what_is_smaller_than_its_kernel() -> None:
    node = Conv2d(np.ones((1, 1, 3, 3)), np.zeros(1))
    assert node.output_shape((1, 3, 3)) == (1, 1, 1)
    with pytest.raises(UsageError, match=r"\(1, 2, 3\) is smaller than the kernel \(3, 3\)"):
        node.output_shape((1, 2, 3))


@pytest.mark.parametrize("shape", [(3, 5, 5), (25,), (1, 5)])
def test_a_convolution_refuses_other_channels_and_dimensions(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"where \(2, height, width\) is expected"):
        Conv2d(np.ones((2, 1, 1, 1)), np.zeros(2), groups=2).output_shape(shape)


@pytest.mark.parametrize(
    "geometry",
    [{"stride": (0, 1)}, {"stride": (1, -1)}, {"padding": (-1, 0)}, {"dilation": (1, 0)}, {"groups": 0}, {"groups": 3}],
)
def test_impossible_geometry_is_refused(geometry: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(geometry))):
        Conv2d(np.ones((4, 2, 3, 3)), np.zeros(4), **geometry)


def test_linear_takes_its_features_and_nothing_else() -> None:
    node = Linear(np.ones((3, 8)), np.zeros(3))
    assert node.output_shape((8,)) == (3,)
    with pytest.raises(UsageError, match=r"\(7,\) where \(8,\) is expected"):
        node.output_shape((7,))
    with pytest.raises(UsageError, match="Flatten missing"):
        node.output_shape((2, 2, 2))


@pytest.mark.parametrize("pool", [SumPool2d, AvgPool2d])
def test_pooling_divides_height_and_width(pool: type[SumPool2d] | type[AvgPool2d]) -> None:
    assert pool(2).output_shape((3, 4, 6)) == (3, 2, 3)
    assert pool(1).output_shape((3, 5, 7)) == (3, 5, 7)
    for shape in [(3, 5, 6), (3, 4, 5), (12,)]:
        with pytest.raises(UsageError, match="divisible by the pooling kernel 2"):
            pool(2).output_shape(shape)
    with pytest.raises(UsageError, match="pooling kernel 0"):
        pool(0).output_shape((3, 4, 6))


def test_flatten_lif_and_readouts_keep_the_number_of_values() -> None:
    assert Flatten().output_shape((2, 3, 4)) == (24,)
    assert LIF(0.5, 1.0).output_shape((2, 3, 4)) == (2, 3, 4)
    assert CubaLIF(0.5, 0.5, 1.0).output_shape((2, 3, 4)) == (2, 3, 4)
    assert Input((2, 3)).output_shape(()) == (2, 3)
    for readout in (MembraneReadout(), SpikeCountReadout()):
        assert readout.output_shape((5,)) == (5,)
        with pytest.raises(UsageError, match=r"\(classes,\) is expected"):
            readout.output_shape((5, 1, 1))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_weight_that_is_not_finite_is_named_by_index_and_counted(bad: float) -> None:
    weight = np.zeros((2, 1, 3, 3))
    weight[1, 0, 2, 1] = weight[1, 0, 2, 2] = bad
    with pytest.raises(UsageError, match=rf"weight\[1, 0, 2, 1\] is {bad} \(2 such values\)"):
        Conv2d(weight, np.zeros(2))
    with pytest.raises(UsageError, match=rf"weight\[2, 1\] is {bad} \(2 such values\)"):
        Linear(weight[1, 0], np.zeros(3))
    with pytest.raises(UsageError, match=rf"bias\[1\] is {bad}"):
        Linear(np.zeros((2, 2)), np.array([0, bad]))


@pytest.mark.parametrize("shape", [(0, 3), (3,), (3, 3, 3)])
def test_a_weight_of_other_dimensions_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="2 non-empty dimensions are expected"):
        Linear(np.zeros(shape), np.zeros(3))


def test_a_bias_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match="bias of 2 for 3 output features"):
        Linear(np.zeros((3, 3)), np.zeros(2))
    with pytest.raises(UsageError, match="bias of 4 for 3 output channels"):
        Conv2d(np.zeros((3, 1, 1, 1)), np.zeros(4))


@pytest.mark.parametrize("decay", [0.0, -0.1, np.nextafter(1.0, 2.0), NAN, INF])
def test_a_decay_outside_0_to_1_is_refused(decay: float) -> None:
    for build in (lambda: LIF(decay, 1.0), lambda: MembraneReadout(decay), lambda: CubaLIF(decay, 0.5, 1.0)):
        with pytest.raises(UsageError, match=r"decay .*: must lie in \(0, 1\]"):
            build()


@pytest.mark.parametrize("decay", [-0.1, np.nextafter(1.0, 2.0), NAN, INF])
def test_a_current_decay_outside_0_to_1_is_refused(decay: float) -> None:
    assert [CubaLIF(0.5, allowed, 1.0).current_decay for allowed in (0.0, 1.0)] == [0, 1]
    with pytest.raises(UsageError, match=r"current decay .*: must lie in \[0, 1\]"):
        CubaLIF(0.5, decay, 1.0)


def test_the_limits_of_decay_and_threshold_are_allowed() -> None:
    tiny = np.nextafter(0.0, 1.0)
    assert LIF(1.0, tiny).decay == 1.0
    assert LIF(tiny, 1.0).decay == tiny


@pytest.mark.parametrize("threshold", [0.0, -1.0, NAN, INF])
def test_a_threshold_that_is_not_positive_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match=r"threshold .*: must be finite and positive"):
        LIF(0.5, threshold)
    with pytest.raises(UsageError, match=r"threshold .*: must be finite and positive"):
        CubaLIF(0.5, 0.5, threshold)


def test_an_unknown_reset_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(UsageError, match="reset 'hard': allowed are zero, subtract"):
        LIF(0.5, 1.0, "hard")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="reset 'hard': allowed are zero, subtract"):
        CubaLIF(0.5, 0.5, 1.0, "hard")  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"bits": 0}, {"bits": 9}, {"scale": 0.0}, {"scale": NAN}, {"shape": (3, 0)}])
def test_an_impossible_input_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"input {next(iter(arguments))}"):
        Input(**{"shape": (3,), **arguments})
    with pytest.raises(UsageError, match="input shape"):
        Input(())
    assert [Input((1,), bits=bits).bits for bits in (1, 8)] == [1, 8]


def test_nodes_keep_a_read_only_copy() -> None:
    weight = np.ones((2, 2))
    node = Linear(weight, np.zeros(2))
    weight[0, 0] = 7
    assert node.weight[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        node.weight[0, 0] = 7
