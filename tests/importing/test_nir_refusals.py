"""NIR files that a network cannot express, options out of range, and hostile files: one clear error each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from foreign_nir import cuba, foreign, lif, six

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.importing.nir import read_nir


def graph_of(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    ends = {"in": nir.Input(np.array([6])), "out": nir.Output(np.array([6]))}
    return nir.NIRGraph(ends | nodes, edges, type_check=False)


def through(**nodes: Any) -> Any:
    """in -> the nodes -> out."""
    return graph_of(nodes, list(pairwise(["in", *nodes, "out"])))


PASS = [("in", "a"), ("a", "out")]
FC = nir.Linear(np.eye(6))
LI = nir.LI(six(1.0), six(1.0), six(0.0))


def pool(kernel: list[int], stride: list[int], kind: Any = nir.AvgPool2d) -> Any:
    return kind(np.array(kernel), np.array(stride), np.array([0, 0]))


def inside(node: Any) -> Any:
    """A subgraph of one node, named b."""
    ends = {"in": nir.Input(np.array([6])), "out": nir.Output(np.array([6]))}
    return nir.NIRGraph(ends | {"b": node}, [("in", "b"), ("b", "out")], type_check=False)


BIASED = nir.Affine(np.eye(6), np.arange(6.0))
LATE = nir.Delay(six(2e-3))


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (through(a=lif(v_leak=six(0.1))), "node a: v_leak 0.1: only 0"),
        (through(a=lif(v_reset=six(-1))), "node a: v_reset -1: only 0"),
        (through(a=lif(v_threshold=np.arange(1.0, 7))), "node a: v_threshold from 1 to 6"),
        (through(a=lif(tau=np.geomspace(1e-3, 1, 6))), "node a: tau from 0.001 to 1"),
        (through(a=lif(tau=six(9e-4))), "tau 0.0009 s is shorter than a step of 0.001 s"),
        (through(a=lif(tau=six(-1))), "tau -1: must be positive"),
        (through(a=lif(tau=six(1e-3))), "decay 0.0: must lie in (0, 1]"),
        (through(a=lif(r=six(0))), "multiplied by 0"),
        (through(a=lif(v_threshold=six(0))), "threshold 0.0: must be finite and positive"),
        (through(a=nir.CubaLI(six(1.0), six(1.0), six(1.0), six(0.0))), "node a is a CubaLI"),
        (through(a=nir.Scale(six(2.0))), "node a is a Scale: fold the factors"),
        (through(a=nir.Threshold(six(2.0))), "node a is a Threshold"),
        (through(a=nir.Conv1d(6, np.ones((1, 1, 3)), 1, 0, 1, 1, np.zeros(1))), "node a is a Conv1d"),
        (through(a=FC), "node out: reads a, where neurons"),
        (through(a=FC, b=LI, c=FC, d=lif()), "node b: LI and I are taken where the Output reads them alone"),
        (through(**{"a.b": FC, "l": lif(), "a": inside(FC), "m": lif()}), "node a.b: 2 nodes get this name"),
        (
            through(**{"a": inside(inside(FC)), "l": lif(), "a.b.b": FC, "m": lif()}),
            "node a.b.b: 2 nodes get this name",
        ),
        (through(a=BIASED, d=LATE, b=lif()), "edge a -> b: a Delay of 2 steps holds back the bias of a, which acts"),
        (through(a=BIASED, b=FC, d=LATE, c=lif()), "holds back the bias of a, which acts from the first step"),
        (graph_of({"a": lif(), "b": lif()}, [*PASS, ("in", "b"), ("b", "out")]), "one Output, which one node feeds"),
        (graph_of({"a": lif(), "b": nir.Output(np.array([6]))}, [*PASS, ("a", "b")]), "found b, out"),
        (graph_of({"a": lif(), "b": nir.Input(np.array([6]))}, [*PASS, ("b", "a")]), "exactly one Input"),
        (graph_of({"a": lif(), "b": lif()}, PASS), "node b: no edge leads"),
        (graph_of({"a": lif()}, [*PASS, ("a", "c")]), "edge 'a' -> 'c': there is no node 'c'"),
        (graph_of({"a": lif()}, [*PASS, ("in", "a")]), "edge in -> a: there more than once"),
        (through(d=nir.Delay(six(1.5e-3)), a=lif()), "node d: a delay of 0.0015 s is 1.5 steps"),
        (through(d=nir.Delay(six(0.1)), a=lif()), "delay 100, allowed are 0 to 62"),
        (through(d=nir.Delay(np.arange(6.0)), a=lif()), "node d: delays differ"),
        (
            graph_of({"a": lif(), "d": nir.Delay(six(1e-3))}, [*PASS, ("d", "d")]),
            "a loop in which there are no neurons",
        ),
        (through(p=pool([2, 3], [2, 3]), a=lif()), "node p: pooling of (2, 3)"),
        (through(p=pool([2, 2], [1, 1], nir.SumPool2d), a=lif()), "with stride (1, 1)"),
        (through(f=nir.Flatten({"input": np.array([2, 3, 4])}, 0, 1), a=lif()), "flattens dimensions 0 to 1"),
        (through(w=nir.Linear(np.ones((2, 3, 4))), a=lif()), "node w: weight of shape (2, 3, 4)"),
        (through(w=nir.Linear(np.eye(5)), a=lif()), "node w: input shape (6,)"),
        (through(w=nir.Linear(np.ones((5, 6))), a=lif()), "node a: parameters of shape (6,)"),
        (through(w=nir.Affine(np.eye(6), six(1.0)), a=cuba()), "node a: its current filters the bias of w"),
        (
            graph_of({"w": FC, "a": LI, "b": lif()}, [("in", "w"), ("w", "a"), ("w", "b"), ("a", "out")]),
            "w is read else",
        ),
    ],
)
def test_what_a_network_cannot_express_is_refused_with_node_and_reason(graph: Any, says: str, tmp_path: Path) -> None:
    nir.write(tmp_path / "n.nir", graph)
    with pytest.raises(FileFormatError) as caught:
        read_nir(tmp_path / "n.nir", dt=1e-3, steps=3)
    assert str(caught.value).startswith(f"{tmp_path / 'n.nir'}: ")
    assert says in str(caught.value)


def test_options_out_of_range(tmp_path: Path) -> None:
    path = foreign(lif(), tmp_path / "n.nir")
    for options, says in (
        ({"steps": None}, "for how many time steps"),
        ({"steps": 1025}, r"1025 time steps\? Give --steps, 1 to 1024"),
        ({"steps": -1}, r"-1 time steps\? Give --steps, 1 to 1024"),
        ({"dt": 0.0}, "--dt 0.0: must be positive"),
        ({"dt": float("nan")}, "--dt nan"),
        ({"discretisation": "midpoint"}, "allowed are euler, exponential"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            read_nir(path, **({"steps": 3, "dt": 1e-3} | options))  # type: ignore[arg-type]
        assert not isinstance(caught.value, FileFormatError)
    with pytest.raises(FileFormatError, match="input bits 9"):
        read_nir(path, steps=3, input_bits=9)


# --- hostile files ------------------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[h5py.File], Any]) -> None:
    foreign(lif(), path)
    with h5py.File(path, "r+") as file:
        change(file)


def replace(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def claim(file: h5py.File) -> None:
    file.create_dataset("node/nodes/affine/huge", shape=(2**50,), dtype="f8", chunks=(1,))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (replace("node", 3), "no group `node`"),
        (replace("node/type", "LIF"), "holds a node of type LIF"),
        (replace("node/nodes/neurons/type", "Evil"), "node neurons is of type 'Evil'; known are Input"),
        (replace("node/nodes/neurons/type", "__class__"), "of type '__class__'"),
        (replace("node/nodes/neurons/type", 3), "node neurons: has no type"),
        (replace("node/nodes/neurons/tau", "x"), "node neurons: the package nir does not take it"),
        (replace("node/nodes/neurons/tau", [1.0]), "node neurons: the package nir does not take it"),
        (replace("node/nodes/neurons/surprise", 1), "node neurons: the package nir does not take it"),
        (replace("node/nodes/neurons", 1), "nodes are missing"),
        (replace("node/edges", [1.0, 2.0]), "not pairs of names"),
        (replace("node/edges", [["a", "b", "c"]]), "not pairs of names"),
        (replace("node/edges", h5py.SoftLink("/version")), "SoftLink"),
        (replace("node/nodes/affine/weight", h5py.ExternalLink("/etc/hosts", "/x")), "ExternalLink"),
        (claim, "brings the arrays"),
        (replace("node/metadata/steps", [1, 2]), "metadata steps: one number"),
        (replace("node/metadata/delayed_edges", [1.0]), "metadata delayed_edges: pairs"),
        (replace("node/nodes/in/shape", [2**40]), "shape [1099511627776]"),
        (replace("node/nodes/affine/weight", np.full((6, 8), np.nan)), "not finite numbers"),
    ],
)
def test_hostile_files_are_one_clear_error(change: Callable[[h5py.File], Any], says: str, tmp_path: Path) -> None:
    edit(tmp_path / "n.nir", change)
    with pytest.raises(FileFormatError) as caught:
        read_nir(tmp_path / "n.nir", steps=None if "steps" in says else 3, dt=1e-3)
    assert says in str(caught.value)


def test_flipped_bytes_never_bring_another_kind_of_error(tmp_path: Path) -> None:
    content = foreign(lif(), tmp_path / "n.nir").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 20):
            damaged[place] ^= int(rng.integers(1, 256))
        (tmp_path / "d.nir").write_bytes(damaged)
        try:
            read_nir(tmp_path / "d.nir", steps=3, dt=1e-3)
        except FileFormatError:
            refused += 1
    assert refused > 10
