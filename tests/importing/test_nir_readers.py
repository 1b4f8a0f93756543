"""`graph.nir` as other frameworks read it: the same spikes, step by step, in networks that are alive."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy import hw_models
from neurodeploy.export.nir import write_nir
from neurodeploy.importing.nir import read_nir
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import LIF, AvgPool2d, Conv2d, CubaLIF, Flatten, Input, Linear, SpikeCountReadout
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference

T = 40


def spikingjelly(path: Path, inputs: Any) -> Any:
    """(T, B, n) output spikes, in double precision."""
    pytest.importorskip("spikingjelly")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the framework's own imports
        from spikingjelly.activation_based.nir_exchange import import_from_nir

        module = import_from_nir(str(path), dtype=torch.float64)
        return _stepped(module, inputs, torch.float64)


def snntorch(path: Path, inputs: Any) -> Any:
    """(T, B, n) output spikes, in single precision, which is all it has."""
    pytest.importorskip("snntorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nir
        from snntorch.import_nir import import_from_nir

        return _stepped(import_from_nir(nir.read(path)), inputs, torch.float32)


def _stepped(module: Any, inputs: Any, kind: torch.dtype) -> Any:
    state, out = None, []
    with torch.no_grad():
        for x in inputs:
            spikes, state = module(torch.tensor(x, dtype=kind), state)
            out.append(spikes.numpy())
    return np.stack(out)


def network(kind: str) -> Network:
    rng = np.random.default_rng(3)

    def linear(outputs: int, inputs: int, scale: float, *, biased: bool = True) -> Linear:
        return Linear(rng.normal(size=(outputs, inputs)) * scale, rng.normal(size=outputs) * 0.05 * biased)

    if kind == "conv":
        conv = Conv2d(rng.normal(size=(3, 2, 3, 3)) * 0.4, rng.normal(size=3) * 0.05, (1, 1), (1, 1))
        chain = [("input", Input((2, 6, 8))), ("conv", conv), ("a", LIF(0.9, 0.7)), ("pool", AvgPool2d(2))]
        chain += [("flat", Flatten()), ("fc", linear(5, 36, 0.6)), ("b", LIF(0.5, 0.6)), ("count", SpikeCountReadout())]
        return sequential(chain, T)
    neurons = {"dense": LIF(0.9, 0.7), "if": LIF(1.0, 0.7), "current": CubaLIF(0.8, 0.6, 1.7)}.get(kind, LIF(0.9, 0.7))
    nodes = {"input": Input((12,)), "fc1": linear(10, 12, 0.4, biased=kind != "current"), "a": neurons}
    edges = [Edge("input", "fc1"), Edge("fc1", "a")]
    last = "a"
    if kind == "residual":
        nodes |= {"fc2": linear(10, 10, 0.4), "b": LIF(0.9, 0.7)}
        edges += [Edge("a", "fc2"), Edge("fc2", "b"), Edge("a", "b")]
        last = "b"
    if kind == "recurrent":
        nodes["a.recurrent"] = linear(10, 10, 0.3, biased=False)
        edges += [Edge("a", "a.recurrent"), Edge("a.recurrent", "a", 1)]
    nodes |= {"fc3": linear(6, 10, 0.6), "c": LIF(0.6, 0.5), "count": SpikeCountReadout()}
    return Network(nodes, (*edges, Edge(last, "fc3"), Edge("fc3", "c"), Edge("c", "count")), T)


KINDS = ["dense", "conv", "if", "current", "residual", "recurrent"]
# snnTorch 1.0 reads IF as a leaky neuron, flattens the batch away, and fails on loops of its own making.
SNNTORCH = ["dense", "current", "residual"]


@pytest.mark.parametrize(
    ("read", "kind"), [(spikingjelly, kind) for kind in KINDS] + [(snntorch, kind) for kind in SNNTORCH]
)
def test_spike_for_spike(read: Any, kind: str, tmp_path: Path) -> None:
    """Against the reference: the network as an ideal chip runs it, whose weights are finer than single precision."""
    own = network(kind)
    write_nir(own, tmp_path / "n.nir")
    inputs = (np.random.default_rng(5).random((T, 3, *own.input.shape)) < 0.3).astype(np.int64)
    recording = reference.run(quantize(own, hw_models.chip("ideal")), inputs)
    assert all(0.05 < rate < 0.95 for rate in recording.firing_rates().values()), recording.firing_rates()
    last = "b" if kind == "conv" else "c"
    got = read(tmp_path / "n.nir", inputs)
    assert got.shape == recording.spikes[last].shape
    np.testing.assert_array_equal(got, recording.spikes[last])


def test_what_snntorch_writes_is_read_as_it_means_it(tmp_path: Path) -> None:
    """The other way round: Leaky and Linear of snnTorch, through its own export."""
    snn = pytest.importorskip("snntorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nir
        from snntorch.export_nir import export_to_nir

        torch.manual_seed(0)
        vector = {"threshold": torch.full((10,), 0.4), "reset_mechanism": "zero", "reset_delay": False}
        leaky = snn.Leaky(beta=torch.full((10,), 0.9), init_hidden=True, **vector)
        module = torch.nn.Sequential(torch.nn.Linear(12, 10), leaky)
        nir.write(tmp_path / "n.nir", export_to_nir(module, torch.zeros(1, 12), ignore_dims=[0]))
    inputs = (np.random.default_rng(5).random((T, 3, 12)) < 0.4).astype(np.int64)
    own = snn.Leaky(beta=0.9, threshold=0.4, reset_mechanism="zero", reset_delay=False)
    memory, wanted = own.init_leaky(), []
    with torch.no_grad():
        for x in inputs:
            spikes, memory = own(module[0](torch.tensor(x, dtype=torch.float32)), memory)
            wanted.append(spikes.numpy())
    read = read_nir(tmp_path / "n.nir", steps=T).network
    (got,) = reference.run(quantize(read, hw_models.chip("ideal")), inputs).spikes.values()
    assert 0.05 < np.mean(wanted) < 0.95
    np.testing.assert_array_equal(got, np.stack(wanted))
