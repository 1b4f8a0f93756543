"""Pools behind convolutions: the one convolution that they become, against PyTorch's two, and what is left alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch.nn import functional

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.importing.nir import ImportedNetwork, read_nir
from neurodeploy.importing.nir_graph import Link
from neurodeploy.importing.nir_pools import pools_folded
from neurodeploy.ir.nodes import LIF, AvgPool2d, Conv2d, Input, SumPool2d
from neurodeploy.ir.to_populations import to_populations
from neurodeploy.simulate import populations

BEFORE = [Link("in", "conv"), Link("conv", "pool"), Link("pool", "lif")]


def fold(conv: Conv2d, *pools: Any) -> tuple[Conv2d, list[Link], list[str]]:
    names = [f"pool{number}" for number in range(len(pools))]
    chain = ["in", "conv", *names, "lif"]
    nodes = {"in": Input((2, 9, 10)), "lif": LIF(0.9, 1.0), **dict(zip(names[::-1], pools[::-1], strict=True))}
    folded, links, notes = pools_folded(nodes | {"conv": conv}, [Link(*pair) for pair in pairwise(chain)])
    made = folded["conv"]
    assert isinstance(made, Conv2d)
    assert set(folded) == {"in", "conv", "lif"}
    return made, links, [note.text for note in notes]


@pytest.mark.parametrize("kind", [AvgPool2d, SumPool2d])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"padding": (1, 2)},
        {"stride": (2, 1), "padding": (2, 0)},
        {"dilation": (1, 2), "groups": 2},
        {"stride": (1, 3), "dilation": (2, 2), "padding": (2, 2)},
    ],
)
def test_one_convolution_is_both_of_pytorchs(kind: Any, size: int, geometry: dict[str, Any]) -> None:
    """Windows that do not fit at the far edges are left out, as there."""
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(4, 2 // geometry.get("groups", 1), 2, 3))
    conv = Conv2d(weight, rng.normal(size=4), **geometry)
    made, links, _ = fold(conv, kind(size))
    assert links == [Link("in", "conv"), Link("conv", "lif")]
    x = torch.from_numpy(rng.normal(size=(5, 2, 9, 10)))
    tensors = torch.from_numpy(weight), torch.from_numpy(np.array(conv.bias))
    wanted = functional.avg_pool2d(functional.conv2d(x, *tensors, **geometry), size)
    wanted = wanted * size**2 if kind is SumPool2d else wanted
    options = {"stride": made.stride, "padding": made.padding, "dilation": made.dilation, "groups": made.groups}
    got = functional.conv2d(
        x, torch.from_numpy(np.array(made.weight)), torch.from_numpy(np.array(made.bias)), **options
    )
    assert made.output_shape((2, 9, 10)) == wanted.shape[1:]
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=0, atol=1e-12)


def test_by_hand() -> None:
    """A kernel of 1 x 2 at stride 1, averaged over 2 x 2: half of each row's 1, 3, 2 over two rows."""
    made, _, notes = fold(Conv2d(np.array([[[[1.0, 2.0]]]]), np.array([3.0])), AvgPool2d(2))
    np.testing.assert_array_equal(made.weight, [[[[0.25, 0.75, 0.5], [0.25, 0.75, 0.5]]]])
    assert (made.bias.tolist(), made.stride) == ([3.0], (2, 2))
    assert notes == ["pool0 is in the convolution conv, now 2 x 3 with stride (2, 2)"]
    summed, *_ = fold(Conv2d(np.array([[[[1.0, 2.0]]]]), np.array([3.0])), SumPool2d(2))
    np.testing.assert_array_equal(summed.weight, 4 * made.weight)
    assert summed.bias.tolist() == [12.0]


def test_pools_behind_pools_go_in_as_well() -> None:
    conv = Conv2d(np.random.default_rng(3).normal(size=(1, 1, 2, 2)), np.ones(1))
    twice, _, notes = fold(conv, AvgPool2d(2), SumPool2d(3))
    once, *_ = fold(conv, AvgPool2d(6))
    np.testing.assert_allclose(twice.weight, 9 * once.weight, rtol=1e-12)
    assert (twice.stride, twice.bias.tolist(), len(notes)) == ((6, 6), [9.0], 2)


@pytest.mark.parametrize(
    "links",
    [
        [*BEFORE, Link("conv", "lif")],  # the convolution is read elsewhere
        [*BEFORE, Link("in", "pool")],  # the pool reads more
        [BEFORE[0], Link("conv", "pool", 2), BEFORE[2]],  # and waits
        [Link("in", "pool"), Link("pool", "conv"), Link("conv", "lif")],  # before the convolution
    ],
)
def test_other_pools_are_left_where_they_are(links: list[Link]) -> None:
    nodes = {"in": Input((1, 4, 4)), "conv": Conv2d(np.ones((1, 1, 1, 1)), np.zeros(1))}
    nodes |= {"pool": AvgPool2d(2), "lif": LIF(0.9, 1.0)}
    assert pools_folded(nodes, links) == (nodes, links, [])


def test_a_pool_of_any_size_makes_no_kernel_of_any_size() -> None:
    conv = Conv2d(np.ones((4, 1, 1, 1)), np.zeros(4))
    assert fold(conv, SumPool2d(2048))[0].weight.size == 2**24
    with pytest.raises(UsageError, match=r"node pool0: .* kernel of 2049 x 2049, 16,793,604 weights; at most 16,777"):
        fold(conv, SumPool2d(2049))


def test_a_pool_of_one_place_changes_no_number() -> None:
    """Behind a dilated kernel it writes out the holes, once."""
    conv = Conv2d(np.random.default_rng(3).normal(size=(4, 2, 2, 3)), np.ones(4), padding=(1, 1))
    made, _, notes = fold(conv, *[SumPool2d(1), AvgPool2d(1)] * 50)
    np.testing.assert_array_equal(made.weight, conv.weight)
    assert (made.bias.tolist(), made.stride, made.padding, len(notes)) == ([1.0] * 4, (1, 1), (1, 1), 100)
    assert notes[-1] == "pool99 is in the convolution conv, now 2 x 3 with stride (1, 1)"
    holes, *_ = fold(Conv2d(conv.weight, conv.bias, dilation=(2, 1)), SumPool2d(1), SumPool2d(1))
    np.testing.assert_array_equal(holes.weight[:, :, ::2], conv.weight)
    assert (holes.weight.shape, holes.dilation, holes.weight[:, :, 1].any()) == ((4, 2, 3, 3), (1, 1), False)


def test_every_convolution_gets_its_own_pools() -> None:
    """In the order of the nodes, whatever the order of the edges, also round a loop."""
    rng = np.random.default_rng(3)
    convs = [Conv2d(rng.normal(size=(2, 2, 1, 1)), np.zeros(2)) for _ in range(3)]
    nodes = {"in": Input((2, 8, 8)), "lif": LIF(0.9, 1.0)}
    nodes |= {f"c{n}": conv for n, conv in enumerate(convs)} | {f"p{n}": SumPool2d(n + 1) for n in range(3)}
    pairs = [("p1", "lif"), ("c2", "p2"), ("c1", "p1"), ("p0", "c0"), ("lif", "c1"), ("in", "c2"), ("c0", "p0")]
    folded, links, notes = pools_folded(nodes, [Link(*pair) for pair in [*pairs, ("p2", "lif"), ("p2", "c1")]])
    assert list(folded) == ["in", "lif", "c0", "c1", "c2"]
    assert [link[:2] for link in links] == [
        ("c1", "lif"), ("c0", "c0"), ("lif", "c1"), ("in", "c2"), ("c2", "lif"), ("c2", "c1")
    ]  # fmt: skip
    assert [note.convolution for note in notes] == ["c0", "c1", "c2"]
    for size, name in enumerate(("c0", "c1", "c2"), start=1):
        weight = convs[size - 1].weight
        np.testing.assert_array_equal(folded[name].weight, np.tile(weight, (1, 1, size, size)))  # type: ignore[union-attr]


def graph(weight: Any, bias: Any, last: Any, pool: Any) -> nir.NIRGraph:
    def lif(shape: tuple[int, ...]) -> nir.LIF:
        parts = {"tau": 1e-3, "r": 10.0, "v_leak": 0.0, "v_reset": 0.0, "v_threshold": 0.7}
        return nir.LIF(**{name: np.full(shape, value) for name, value in parts.items()})

    nodes = {
        "input": nir.Input(np.array([2, 9, 9])),
        "conv": nir.Conv2d((9, 9), weight, 1, 1, 1, 1, bias),
        "pool": pool,
        "a": lif((3, 4, 4)),
        "flat": nir.Flatten({"input": np.array([3, 4, 4])}, 0, 2),
        "fc": nir.Linear(last),
        "b": lif((4,)),
        "output": nir.Output(np.array([4])),
    }
    return nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False)


def written(tmp_path: Path, kind: Any = nir.AvgPool2d, size: int = 2) -> tuple[ImportedNetwork, Any, Any, Any]:
    rng = np.random.default_rng(3)
    weight, bias, last = rng.normal(0.05, 0.3, (3, 2, 3, 3)), rng.normal(0, 0.1, 3), rng.normal(0.02, 0.3, (4, 48))
    pool = kind(*(np.array([one, one]) for one in (size, size, 0)))
    nir.write(tmp_path / "n.nir", graph(weight, bias, last, pool))
    return read_nir(tmp_path / "n.nir", steps=8), weight, bias, last


def test_a_file_s_network_fires_as_its_equations_say(tmp_path: Path) -> None:
    """tau 10 steps, r 10: a gain of 1. Convolution and mean written again by PyTorch; 9 x 9 becomes 4 x 4."""
    read, weight, bias, last = written(tmp_path)
    inputs = np.random.default_rng(4).integers(0, 2, (8, 6, 2, 9, 9))
    got = populations.run(to_populations(read.network), inputs.reshape(8, 6, -1))
    u, v, o, p = np.zeros((6, 3, 4, 4)), np.zeros((6, 4)), np.zeros((6, 3, 4, 4)), np.zeros((6, 4))
    for t in range(8):
        x = functional.conv2d(
            torch.from_numpy(inputs[t]).double(), torch.from_numpy(weight), torch.from_numpy(bias), padding=1
        )
        u = 0.9 * u * (1 - o) + functional.avg_pool2d(x, 2).numpy()
        o = (u > 0.7).astype(float)
        v = 0.9 * v * (1 - p) + o.reshape(6, -1) @ last.T
        p = (v > 0.7).astype(float)
        np.testing.assert_array_equal(got.spikes["a"][t].reshape(o.shape), o)
        np.testing.assert_array_equal(got.spikes["b"][t], p)
    assert all(0.05 < got.spikes[name].mean() < 0.95 for name in ("a", "b"))
    assert read.notes[1:] == ("pool is in the convolution conv, now 4 x 4 with stride (2, 2)",)


def test_a_kernel_that_became_too_large_names_the_pool(tmp_path: Path) -> None:
    """3 x 3 with a pool of 9 at 9 x 9 and padding 1 is 11 x 11, which just fits; one past it does not."""
    with pytest.raises(FileFormatError) as caught:
        written(tmp_path, size=10)
    said = str(caught.value)
    assert "node conv: " in said
    assert said.endswith("; pool is in the convolution conv, now 12 x 12 with stride (10, 10)")
    with pytest.raises(FileFormatError) as caught:
        written(tmp_path, size=9)
    assert "pool" not in str(caught.value)  # the layers behind it do not fit


def test_a_file_with_a_huge_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileFormatError, match=r"n\.nir: node pool: with the convolution before it a kernel of 100002 x"
    ):
        written(tmp_path, size=10**5)
