"""NIR files of other tools: their differential equations, by value, and how options and hints read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from foreign_nir import cuba, foreign, lif, six

from neurodeploy.importing.nir import read_nir
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import (
    LIF,
    Conv2d,
    CubaLIF,
    Linear,
    MembraneReadout,
)


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
    assert (imported.dt, imported.network.steps) == (2e-3, 12)
    assert (imported.scale_known, imported.bits_known) == (True, True)
    assert (imported.network.input.scale, imported.network.input.bits) == (0.5, 3)
    imported = read_nir(path, dt=1e-3, steps=4, input_scale=1.0, input_bits=1)
    assert (imported.dt, imported.network.steps) == (1e-3, 4)
    assert (imported.network.input.scale, imported.network.input.bits) == (1.0, 1)
    imported = read_nir(foreign(lif(), tmp_path / "n.nir"), steps=4)
    assert (imported.scale_known, imported.bits_known) == (False, False)
    assert (imported.dt, imported.network.input.bits) == (1e-4, 1)
    for one in ({"input_scale": 0.5}, {"input_bits": 3}):
        imported = read_nir(tmp_path / "n.nir", steps=4, **one)
        assert (imported.scale_known, imported.bits_known) == ("input_scale" in one, "input_bits" in one)
    imported = read_nir(tmp_path / "n.nir", steps=4)
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
    rng = np.random.default_rng(0)
    cases = (("same", 2, (2, 4), (6, 8)), ("valid", 1, (0, 0), (4, 4)), ((1, 0), 1, (1, 0), (6, 4)))
    for padding, dilation, wanted, shape in cases:
        conv = nir.Conv2d((6, 8), rng.normal(size=(2, 1, 3, 5)), 1, padding, dilation, 1, np.zeros(2))
        size = 2 * shape[0] * shape[1]
        flat = nir.Flatten({"input": np.array([2, *shape])}, start_dim=1, end_dim=-1)
        nodes = {"in": nir.Input(np.array([1, 6, 8])), "conv": conv, "flat": flat}
        nodes |= {"fc": nir.Linear(rng.normal(size=(6, size))), "a": lif(), "out": nir.Output(np.array([6]))}
        edges = list(zip(nodes, list(nodes)[1:], strict=False))
        nir.write(tmp_path / "n.nir", nir.NIRGraph(nodes, edges, type_check=False))
        network = read_nir(tmp_path / "n.nir", dt=1e-3, steps=3).network
        read = network.nodes["conv"]
        assert isinstance(read, Conv2d)
        assert (read.padding, network.shapes["conv"]) == (wanted, (2, *shape))
