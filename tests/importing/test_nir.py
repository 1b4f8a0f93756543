"""NIR files written and read: round trips by value, other dialects, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from neurodeploy.errors import DesignRuleError, FileFormatError, MissingBackendError, UsageError
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
        assert (imported.dt, imported.input_known) == (1e-4, True)


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


# --- the equations ------------------------------------------------------------------------------------------------


def nir_run(graph: Any, inputs: Any, dt: float, rule: str) -> Any:
    """Output spikes (T, n) of a chain Input, Affine, LIF or CubaLIF, Output, from NIR's differential equations.

    Euler: v += dt/tau (v_leak - v + R I); exponential: the solution for a constant R I over the step.
    """
    affine = next(node for node in graph.nodes.values() if isinstance(node, nir.Affine))
    neuron = next(node for node in graph.nodes.values() if isinstance(node, nir.LIF | nir.CubaLIF | nir.IF))
    share = (lambda tau: dt / tau) if rule == "euler" else (lambda tau: 1 - np.exp(-dt / tau))
    current, v, out = np.zeros(len(affine.bias)), np.zeros(len(affine.bias)), []
    for x in inputs:
        drive = affine.weight @ x + affine.bias
        if isinstance(neuron, nir.IF):
            v = v + dt * neuron.r * drive
        else:
            if isinstance(neuron, nir.CubaLIF):
                current = current + share(neuron.tau_syn) * (neuron.w_in * drive - current)
                drive = current
            v = v + share(neuron.tau if isinstance(neuron, nir.LIF) else neuron.tau_mem) * (
                neuron.v_leak - v + neuron.r * drive
            )
        fired = v > neuron.v_threshold
        v = np.where(fired, neuron.v_reset, v)
        out.append(fired)
    return np.array(out)


def network_run(network: Network, inputs: Any) -> Any:
    """Output spikes (T, n) of a chain Input, Linear, neurons, from the equations of the nodes."""
    linear, neurons = network.nodes["affine"], network.nodes["neurons"]
    assert isinstance(linear, Linear)
    assert isinstance(neurons, LIF | CubaLIF)
    i, u, out = np.zeros(len(linear.bias)), np.zeros(len(linear.bias)), []
    for x in inputs:
        kept = neurons.current_decay if isinstance(neurons, CubaLIF) else 0.0
        i = kept * i + linear.weight @ x
        u = neurons.decay * u + i + linear.bias
        fired = u > neurons.threshold
        u = np.where(fired, 0, u)
        out.append(fired)
    return np.array(out)


def foreign(neuron: Any, path: Path, *, bias: Any = None, metadata: dict[str, Any] | None = None) -> Path:
    """A file of another tool: Input, Affine, neurons, Output."""
    rng = np.random.default_rng(5)
    affine = nir.Affine(rng.normal(size=(6, 8)) + 0.2, np.zeros(6) if bias is None else bias)
    nodes = {"in": nir.Input(np.array([8])), "affine": affine, "neurons": neuron, "out": nir.Output(np.array([6]))}
    edges = [("in", "affine"), ("affine", "neurons"), ("neurons", "out")]
    nir.write(path, nir.NIRGraph(nodes, edges, metadata=metadata or {}))
    return path


def six(value: float) -> Any:
    return np.full(6, value)


def lif(**other: Any) -> Any:
    given = {"tau": six(5e-3), "r": six(1.0), "v_leak": six(0), "v_threshold": six(0.3), "v_reset": six(0)} | other
    return nir.LIF(**given)


def cuba(**other: Any) -> Any:
    given = {"tau_mem": six(5e-3), "tau_syn": six(2e-3), "r": six(1.5), "v_leak": six(0)}
    return nir.CubaLIF(**(given | {"v_threshold": six(0.3), "v_reset": six(0), "w_in": six(2.0)} | other))


@pytest.mark.parametrize("rule", ["euler", "exponential"])
@pytest.mark.parametrize(
    ("neuron", "bias"),
    [(lif(), 0.4), (lif(r=six(7.0)), 0.0), (cuba(), 0.0), (nir.IF(r=six(100.0), v_threshold=six(0.3)), 0.5)],
)
def test_a_foreign_file_means_its_differential_equation(neuron: Any, bias: float, rule: str, tmp_path: Path) -> None:
    path = foreign(neuron, tmp_path / "n.nir", bias=six(bias))
    imported = read_nir(path, dt=1e-3, discretisation=rule, steps=80)
    inputs = (np.random.default_rng(1).random((80, 8)) < 0.4).astype(float)
    wanted = nir_run(nir.read(path), inputs, 1e-3, rule)
    assert 0.05 < wanted.mean() < 0.95
    np.testing.assert_array_equal(network_run(imported.network, inputs), wanted)
    other = read_nir(path, dt=1e-3, discretisation="exponential" if rule == "euler" else "euler", steps=80)
    if not isinstance(neuron, nir.IF):  # the two rules differ, or choosing one would mean nothing
        assert (network_run(other.network, inputs) != wanted).any()


def test_the_two_rules_by_value(tmp_path: Path) -> None:
    path = foreign(lif(), tmp_path / "n.nir")
    for rule, decay in (("euler", 0.8), ("exponential", float(np.exp(-0.2)))):
        neurons = read_nir(path, dt=1e-3, discretisation=rule, steps=3).network.nodes["neurons"]
        assert isinstance(neurons, LIF)
        np.testing.assert_allclose([neurons.decay, neurons.threshold], [decay, 0.3 / (1 - decay)], rtol=1e-14)


def test_dt_steps_scale_and_bits_from_option_file_and_default(tmp_path: Path) -> None:
    hints = {"dt": 2e-3, "steps": 12, "input_scale": 0.5, "input_bits": 3}
    path = foreign(lif(), tmp_path / "n.nir", metadata=hints)
    imported = read_nir(path)
    assert (imported.dt, imported.network.steps, imported.input_known) == (2e-3, 12, True)
    assert (imported.network.input.scale, imported.network.input.bits) == (0.5, 3)
    imported = read_nir(path, dt=1e-3, steps=4, input_scale=1.0, input_bits=1)
    assert (imported.dt, imported.network.steps) == (1e-3, 4)
    assert (imported.network.input.scale, imported.network.input.bits) == (1.0, 1)
    imported = read_nir(foreign(lif(), tmp_path / "n.nir"), steps=4)
    assert (imported.dt, imported.input_known, imported.network.input.bits) == (1e-4, False, 1)
    assert imported.notes == ("one step is 0.0001 s (NIR itself states none), neurons by the euler rule",)


def test_a_wrong_hint_does_not_change_a_decay(tmp_path: Path) -> None:
    for error, used in ((1e-13, True), (1e-11, False), (0.1, False)):
        node = lif()
        node.metadata = {"decay": 0.8 + error}
        neurons = read_nir(foreign(node, tmp_path / "n.nir"), dt=1e-3, steps=3).network.nodes["neurons"]
        assert isinstance(neurons, LIF)
        assert (neurons.decay == 0.8 + error) is used
        assert abs(neurons.decay - 0.8) < 1e-12


def test_a_gain_of_one_in_single_precision_is_one(tmp_path: Path) -> None:
    tau = six(0.0123).astype(np.float32)
    node = nir.LIF(
        tau=tau, r=tau / np.float32(1e-3), v_leak=0 * tau, v_threshold=0 * tau + np.float32(0.7), v_reset=0 * tau
    )
    neurons = read_nir(foreign(node, tmp_path / "n.nir"), dt=1e-3, steps=3).network.nodes["neurons"]
    assert isinstance(neurons, LIF)
    assert neurons.threshold == float(np.float32(0.7))


# --- graphs -------------------------------------------------------------------------------------------------------


def test_a_readouts_gain_goes_into_its_weights(tmp_path: Path) -> None:
    for node, gain, decay in (
        (nir.LI(tau=six(4e-3), r=six(1.0), v_leak=six(0)), 0.25, 0.75),
        (nir.I(r=six(500.0)), 0.5, 1.0),
    ):
        path = foreign(node, tmp_path / "n.nir", bias=six(2.0))
        network = read_nir(path, dt=1e-3, steps=3).network
        affine = network.nodes["affine"]
        assert isinstance(affine, Linear)
        assert network.nodes["neurons"] == MembraneReadout(decay) or vars(network.nodes["neurons"]) == {"decay": decay}
        np.testing.assert_allclose(affine.weight, gain * nir.read(path).nodes["affine"].weight, rtol=1e-14)
        np.testing.assert_allclose(affine.bias, six(2.0) * gain, rtol=1e-14)
        assert network.readout == "neurons"


def test_subgraphs_are_written_out_and_loops_wait_where_they_close(tmp_path: Path) -> None:
    """As snnTorch writes a recurrent layer."""
    inner = nir.NIRGraph(
        nodes={
            "input": nir.Input(np.array([6])),
            "lif": lif(),
            "w_rec": nir.Linear(np.eye(6)),
            "output": nir.Output(np.array([6])),
        },
        edges=[("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
        type_check=False,
    )
    nodes = {"in": nir.Input(np.array([6])), "rec": inner, "b": lif(), "out": nir.Output(np.array([6]))}
    graph = nir.NIRGraph(nodes, [("in", "rec"), ("rec", "b"), ("b", "out")], type_check=False)
    nir.write(tmp_path / "n.nir", graph)
    network = read_nir(tmp_path / "n.nir", dt=1e-3, steps=3).network
    assert set(network.nodes) == {"in", "rec.lif", "rec.w_rec", "b", "out"}
    wanted = {("in", "rec.lif", 0), ("rec.lif", "rec.w_rec", 0), ("rec.w_rec", "rec.lif", 1), ("rec.lif", "b", 0)}
    assert {(edge.source, edge.target, edge.delay) for edge in network.edges} == wanted | {("b", "out", 0)}


def test_paddings_by_name_and_flattening_that_counts_the_batch(tmp_path: Path) -> None:
    cases = (("same", 2, (2, 4), (6, 8)), ("valid", 1, (0, 0), (4, 4)), ((1, 0), 1, (1, 0), (6, 4)))
    for padding, dilation, wanted, shape in cases:
        conv = nir.Conv2d((6, 8), RNG.normal(size=(2, 1, 3, 5)), 1, padding, dilation, 1, np.zeros(2))
        size = 2 * shape[0] * shape[1]
        flat = nir.Flatten({"input": np.array([2, *shape])}, start_dim=1, end_dim=-1)
        nodes = {"in": nir.Input(np.array([1, 6, 8])), "conv": conv, "flat": flat}
        nodes |= {"fc": nir.Linear(RNG.normal(size=(6, size))), "a": lif(), "out": nir.Output(np.array([6]))}
        edges = list(zip(nodes, list(nodes)[1:], strict=False))
        nir.write(tmp_path / "n.nir", nir.NIRGraph(nodes, edges, type_check=False))
        network = read_nir(tmp_path / "n.nir", dt=1e-3, steps=3).network
        read = network.nodes["conv"]
        assert isinstance(read, Conv2d)
        assert (read.padding, network.shapes["conv"]) == (wanted, (2, *shape))


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
        ({"steps": 2**20 + 1}, "1 to 1048576"),
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


# --- what cannot be written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (dense(LIF(0.5, 0.5, "subtract")), "node a: reset 'subtract': NIR's neurons go to v_reset"),
        (dense(LIF(0.5, 0.5, fires_at_threshold=True)), "node a: fires at the threshold"),
        (dense(CubaLIF(1.0, 0.5, 0.5)), "node a: decay 1: NIR's CubaLIF has no infinite time constant"),
        (dense(CubaLIF(0.5, 1.0, 0.5)), "node a: current decay 1"),
        (dense(CubaLIF(0.5, 0.5, 0.5), bias=ZERO + 1), "node a: the bias of fc acts on the potential here"),
    ],
)
def test_what_nir_cannot_express_is_left_out_with_the_reason(network: Network, says: str, tmp_path: Path) -> None:
    (reason,) = reasons(network)
    assert says in reason
    assert write_graph(network, tmp_path) == [f"graph.nir: {reason}"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DesignRuleError, match="does not fit nir: 1 violated"):
        to_nir(network)


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
