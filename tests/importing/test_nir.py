"""NIR files written and read back by value, and what cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from neurodeploy.errors import DesignRuleError, MissingBackendError, UsageError
from neurodeploy.export import nir as target
from neurodeploy.export.nir import reasons, to_nir, write_graph, write_nir
from neurodeploy.importing import nir as reader
from neurodeploy.importing.nir import read_nir
from neurodeploy.ir.network import Edge, Network, sequential
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

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 3))
ZERO = np.zeros(4)


def check_equal(one: Network, other: Network) -> None:
    """Every value of two networks; the order of nodes in the mapping means nothing."""
    assert (one.steps, one.edges, set(one.nodes)) == (other.steps, other.edges, set(other.nodes))
    for name, node in one.nodes.items():
        assert type(node) is type(other.nodes[name])
        for field in fields(node):
            values = getattr(node, field.name), getattr(other.nodes[name], field.name)
            assert type(values[0]) is type(values[1]), (name, field.name)
            np.testing.assert_array_equal(*values, err_msg=f"{name}.{field.name}")


def chain(*nodes: tuple[str, Any], steps: int = 6) -> Network:
    return sequential(nodes, steps)


def dense(neurons: Any, readout: Any = None, *, bias: Any = ZERO) -> Network:
    """3 values -> 4 neurons (-> 4 values read)."""
    behind = (
        [("count", SpikeCountReadout())] if readout is None else [("fc2", Linear(np.eye(4), ZERO)), ("out", readout)]
    )
    return chain(("input", Input((3,))), ("fc", Linear(W, bias)), ("a", neurons), *behind)


def late(source: str, target: str) -> Network:
    """3 values -> fc with a bias -> 4 neurons; the edge from source to target waits two steps."""
    network = dense(LIF(0.5, 0.5), bias=ZERO + 1)
    waiting = (replace(edge, delay=2 * ((edge.source, edge.target) == (source, target))) for edge in network.edges)
    return Network(network.nodes, tuple(waiting), network.steps)


# --- round trips ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "conv", "residual", "recurrent", "lateral"])
@pytest.mark.parametrize("bits", [1, 8])
def test_random_networks_come_back_by_value(
    kind: str, bits: int, random_network: Callable[..., Network], tmp_path: Path
) -> None:
    for seed in range(6):
        network = random_network(np.random.default_rng(seed), kind, bits=bits)
        write_nir(network, tmp_path / "n.nir")
        imported = read_nir(tmp_path / "n.nir")
        check_equal(imported.network, network)
        assert (imported.dt, imported.scale_known, imported.bits_known) == (1e-4, True, True)


def test_decays_come_back_to_the_last_bit_at_any_dt(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    decays = [*rng.uniform(0, 1, 12).tolist(), 0.5, 0.9, 1e-3, np.nextafter(1, 0), 5e-324, 1.0]
    for decay in decays:
        for dt in (1e-4, 0.3):
            network = dense(LIF(float(decay), 0.7), MembraneReadout(float(decay)))
            write_nir(network, tmp_path / "n.nir", dt)
            check_equal(read_nir(tmp_path / "n.nir").network, network)


def test_currents_pools_delays_and_loops_come_back(tmp_path: Path) -> None:
    nodes = {
        "input": Input((2, 4, 6), 1 / 15, 4),
        "conv": Conv2d(RNG.normal(size=(4, 1, 3, 1)), ZERO, (1, 2), (1, 0), (1, 1), 2),
        "a": CubaLIF(0.7, 0.2, 1.3),
        "sum": SumPool2d(1),
        "average": AvgPool2d(1),
        "flat": Flatten(),
        "fc": Linear(RNG.normal(size=(5, 48)), np.zeros(5)),
        "b": CubaLIF(0.3, 0.0, 2.0),
        "back": Linear(RNG.normal(size=(5, 5)), np.ones(5)),
        "count": SpikeCountReadout(),
    }
    edges = [Edge(*pair) for pair in pairwise(["input", "conv", "a", "sum", "average", "flat", "fc", "b", "count"])]
    edges += [Edge("b", "back", 1), Edge("back", "b"), Edge("flat", "fc", 3), Edge("a", "average", 1)]
    network = Network(nodes, tuple(edges), 9)
    write_nir(network, tmp_path / "n.nir")
    graph = nir.read(tmp_path / "n.nir", type_check=False)
    delays = {name: node.delay for name, node in graph.nodes.items() if isinstance(node, nir.Delay)}
    assert {name: set(np.round(values.ravel() / 1e-4, 9)) for name, values in delays.items()} == {
        "flat.delay.fc": {3.0},
        "a.delay.average": {1.0},
    }
    assert ("b", "back") in graph.edges  # the loop itself is plain edges, as other tools write it
    check_equal(read_nir(tmp_path / "n.nir").network, network)


def test_the_file_states_the_dialect(tmp_path: Path) -> None:
    """Gains of 1 in forward Euler: r = tau / dt, w_in = tau_syn / dt; weights and thresholds as they are."""
    write_nir(dense(LIF(0.75, 0.5), MembraneReadout(0.5), bias=ZERO + 0.25), tmp_path / "n.nir", 1e-3)
    graph = nir.read(tmp_path / "n.nir")
    lif, li, fc = graph.nodes["a"], graph.nodes["out"], graph.nodes["fc"]
    assert type(lif) is nir.LIF
    assert type(li) is nir.LI
    for name, value in (("tau", 4e-3), ("r", 4.0), ("v_leak", 0), ("v_reset", 0), ("v_threshold", 0.5)):
        np.testing.assert_allclose(getattr(lif, name), np.full(4, value), rtol=1e-15)
    np.testing.assert_allclose([li.tau[0], li.r[0]], [2e-3, 2.0], rtol=1e-15)
    np.testing.assert_array_equal(fc.weight, W)
    np.testing.assert_array_equal(fc.bias, ZERO + 0.25)
    assert graph.edges == [("input", "fc"), ("fc", "a"), ("a", "fc2"), ("fc2", "out"), ("out", "output")]
    write_nir(dense(CubaLIF(0.75, 0.5, 0.7)), tmp_path / "n.nir", 1e-3)
    cuba = nir.read(tmp_path / "n.nir").nodes["a"]
    np.testing.assert_allclose([cuba.tau_syn[0], cuba.w_in[0], cuba.tau_mem[0], cuba.r[0]], [2e-3, 2, 4e-3, 4])
    write_nir(dense(LIF(1.0, 0.5)), tmp_path / "n.nir", 1e-3)
    assert nir.read(tmp_path / "n.nir").nodes["a"].r.tolist() == [1000.0] * 4


# --- what cannot be written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (dense(LIF(0.5, 0.5, "subtract")), "node a: reset 'subtract': NIR's neurons go to v_reset"),
        (dense(LIF(0.5, 0.5, fires_at_threshold=True)), "node a: fires at the threshold"),
        (dense(CubaLIF(1.0, 0.5, 0.5)), "node a: decay 1: NIR's CubaLIF has no infinite time constant"),
        (dense(CubaLIF(0.5, 1.0, 0.5)), "node a: current decay 1"),
        (dense(CubaLIF(0.5, 0.5, 0.5), bias=ZERO + 1), "node a: the bias of fc acts on the potential here"),
        (late("fc", "a"), "edge fc -> a: the bias of fc acts from the first step here, but after the delay in NIR"),
    ],
)
def test_what_nir_cannot_express_is_left_out_with_the_reason(network: Network, says: str, tmp_path: Path) -> None:
    (reason,) = reasons(network)
    assert says in reason
    assert write_graph(network, tmp_path) == [f"graph.nir: {reason}"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DesignRuleError, match="does not fit nir: 1 violated"):
        to_nir(network)


def test_a_bias_passes_behind_a_delay(tmp_path: Path) -> None:
    network = late("input", "fc")
    assert write_graph(network, tmp_path) == []
    check_equal(read_nir(tmp_path / "graph.nir").network, network)


def test_a_bias_passes_where_there_is_no_current(tmp_path: Path) -> None:
    network = dense(CubaLIF(0.5, 0.0, 0.5), bias=ZERO + 1)
    assert write_graph(network, tmp_path) == []
    check_equal(read_nir(tmp_path / "graph.nir").network, network)


def test_without_the_package_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_nir(dense(LIF(0.5, 0.5)), tmp_path / "n.nir")
    for module in (target.util, reader.util):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    for call in (lambda: read_nir(tmp_path / "n.nir"), lambda: write_nir(dense(LIF(0.5, 0.5)), tmp_path / "m.nir")):
        with pytest.raises(MissingBackendError, match="pip install 'nir"):
            call()
    assert write_graph(dense(LIF(0.5, 0.5)), tmp_path / "absent")[0].startswith("graph.nir: the package nir is not")
    assert target.TARGET.backend().version is None


def test_the_target_refuses_what_a_program_shows_and_runs_nothing(lively_case: Callable[..., Any]) -> None:
    for options, count in (({}, 0), ({"reset": "subtract"}, 1), ({"at_threshold": True}, 1)):
        _, program, inputs = lively_case(np.random.default_rng(0), "dense", "ideal", **options)
        found = target.TARGET.violations(program)
        assert len(found) == count * len([layer for layer in program.layers if layer.fires])
    with pytest.raises(UsageError, match="NIR is a file, which nothing runs here"):
        target.TARGET.run(program, inputs)
    _, program, _ = lively_case(np.random.default_rng(0), "dense", "loihi2")
    assert "whose neurons round" in target.TARGET.violations(program)[0]
    assert target.TARGET.backend().version == nir.version
