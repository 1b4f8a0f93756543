"""Networks for the tests, and a second, independent implementation of what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.export import rockpool
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
    SumPool2d,
)
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference

if TYPE_CHECKING:
    from neurodeploy.export.target import Target
    from neurodeploy.snn.model_file import Model

settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("deterministic")
torch.set_num_threads(1)  # the tensors here are small: threads only wait for each other

KINDS = ("dense", "conv", "residual", "recurrent", "lateral")
Neuron = Callable[[], LIF]
NetworkBuilder = Callable[..., Network]
InputBuilder = Callable[..., NDArray[Any]]
TorchRun = Callable[[Network, NDArray[Any]], tuple[dict[str, NDArray[Any]], NDArray[Any]]]


def _linear(rng: np.random.Generator, out: int, features: int) -> Linear:
    return Linear(rng.normal(0.1, 1.0, (out, features)) / np.sqrt(features), rng.normal(0.1, 0.1, out))


def _conv(rng: np.random.Generator, out: int, channels: int, kernel: int, **geometry: Any) -> Conv2d:
    weight = rng.normal(0.1, 1.0, (out, channels, kernel, kernel)) / np.sqrt(channels * kernel**2)
    return Conv2d(weight, rng.normal(0.1, 0.1, out), **geometry)


def _readout(rng: np.random.Generator, features: int, neuron: Neuron) -> list[tuple[str, Node]]:
    head: list[tuple[str, Node]] = [("last", _linear(rng, 3, features))]
    if rng.random() < 0.5:
        return [*head, ("readout", MembraneReadout(float(rng.choice([1.0, 0.9]))))]
    return [*head, ("out", neuron()), ("readout", SpikeCountReadout())]


def _branching(rng: np.random.Generator, kind: str, first: Input, neuron: Neuron) -> tuple[dict[str, Node], list[Edge]]:
    """Networks that are more than a chain."""
    nodes: dict[str, Node] = {"image": first}
    if kind == "residual":
        channels = first.shape[0]
        nodes |= {"stem": _conv(rng, 4, channels, 3, padding=(1, 1)), "a": neuron(), "pool": SumPool2d(2)}
        nodes |= {"conv": _conv(rng, 4, 2, 3, padding=(1, 1), groups=2), "b": neuron()}
        nodes |= {"shortcut": AvgPool2d(2), "flat": Flatten()}
        names = ["image stem", "stem a", "a pool", "pool conv", "conv b", "a shortcut", "shortcut b", "b flat"]
        edges = [Edge(*name.split()) for name in names]
        source, features = "flat", 4 * (first.shape[1] // 2) * (first.shape[2] // 2)
    else:
        nodes |= {"fc": _linear(rng, 7, first.shape[0]), "a": neuron(), "rec": _linear(rng, 7, 7)}
        edges = [Edge("image", "fc"), Edge("fc", "a")]
        if kind == "recurrent":
            edges += [Edge("a", "rec"), Edge("rec", "a", 1)]
        else:  # a population that feeds back, and an identity onto itself
            nodes |= {"inhibit": neuron(), "back": _linear(rng, 7, 7)}
            edges += [Edge("a", "rec"), Edge("rec", "inhibit"), Edge("inhibit", "inhibit", 1)]
            edges += [Edge("inhibit", "back", 1), Edge("back", "a")]
        source, features = "a", 7
    for name, node in _readout(rng, features, neuron):
        nodes[name] = node
        edges.append(Edge(source, name))
        source = name
    return nodes, edges


def _random_network(
    rng: np.random.Generator, kind: str, *, reset: str = "zero", at_threshold: bool = False, bits: int = 1
) -> Network:
    """A small network with random weights, of one of `KINDS`."""

    def neuron() -> LIF:
        decay = float(rng.choice([1.0, 0.5, float(rng.uniform(0.3, 0.99))]))
        return LIF(decay, float(rng.uniform(0.3, 0.9)), reset, at_threshold)  # type: ignore[arg-type]

    shape = (int(rng.integers(4, 9)),) if kind in ("dense", "recurrent", "lateral") else (2, 6, 8)
    first, steps = Input(shape, 1.0 if bits == 1 else 1 / 255, bits), int(rng.integers(3, 9))
    if kind == "dense":
        chain = [("image", first), ("fc", _linear(rng, 6, shape[0])), ("a", neuron()), *_readout(rng, 6, neuron)]
        return sequential(chain, steps)
    if kind == "conv":
        pool = AvgPool2d(2) if rng.random() < 0.5 else SumPool2d(2)
        chain = [("image", first), ("conv", _conv(rng, 3, 2, 3, stride=(1, 2), padding=(1, 1))), ("a", neuron())]
        chain += [("pool", pool), ("flat", Flatten()), *_readout(rng, 3 * 3 * 2, neuron)]
        return sequential(chain, steps)
    nodes, edges = _branching(rng, kind, first, neuron)
    return Network(nodes, tuple(edges), steps)


def _random_inputs(rng: np.random.Generator, network: Network, *, batch: int = 3, static: bool = False) -> NDArray[Any]:
    shape = (batch, *network.input.shape) if static else (network.steps, batch, *network.input.shape)
    return rng.integers(0, 2**network.input.bits, shape)


def _apply(node: Node, x: torch.Tensor) -> torch.Tensor:
    """A node without state, in torch's own words; x is (B, *shape)."""
    if isinstance(node, Conv2d):
        weight, bias = torch.tensor(node.weight), torch.tensor(node.bias)
        return torch.nn.functional.conv2d(x, weight, bias, node.stride, node.padding, node.dilation, node.groups)
    if isinstance(node, Linear):
        return torch.nn.functional.linear(x, torch.tensor(node.weight), torch.tensor(node.bias))
    if isinstance(node, AvgPool2d):
        return torch.nn.functional.avg_pool2d(x, node.kernel)
    if isinstance(node, SumPool2d):
        return torch.nn.functional.avg_pool2d(x, node.kernel) * node.kernel**2
    if isinstance(node, Flatten):
        return torch.flatten(x, 1)
    assert isinstance(node, SpikeCountReadout)
    return x


def _torch_run(network: Network, inputs: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """(spikes of every LIF node (T, B, *shape), readout summed over time) of the float network, node by node."""
    integers = torch.tensor(np.asarray(inputs), dtype=torch.float64)
    if integers.ndim == len(network.input.shape) + 1:
        integers = integers.expand(network.steps, *integers.shape)
    put_out = {n: torch.zeros(integers.shape[1], *s, dtype=torch.float64) for n, s in network.shapes.items()}
    state = dict(put_out)
    for name in network.order:  # before the first step neurons put out 0, and weights act on that
        if not isinstance(network.nodes[name], Input | LIF | MembraneReadout):
            x = sum(put_out[edge.source] * (1 - edge.delay) for edge in network.incoming(name))
            put_out[name] = _apply(network.nodes[name], torch.as_tensor(x))
    spikes: dict[str, list[torch.Tensor]] = {n: [] for n, node in network.nodes.items() if isinstance(node, LIF)}
    readout = torch.zeros_like(put_out[network.readout])
    for step in range(network.steps):
        before = dict(put_out)
        for name in network.order:
            node = network.nodes[name]
            if isinstance(node, Input):
                put_out[name] = integers[step] * node.scale
                continue
            edges = network.incoming(name)
            x = sum((before if edge.delay else put_out)[edge.source] for edge in edges)
            assert isinstance(x, torch.Tensor)
            if isinstance(node, LIF | MembraneReadout):
                u = node.decay * state[name] + x
                fired = torch.zeros_like(u, dtype=torch.bool)
                if isinstance(node, LIF):
                    fired = u >= node.threshold if node.fires_at_threshold else u > node.threshold
                    kept = u - node.threshold if node.reset == "subtract" else 0.0 * u
                    state[name] = torch.where(fired, kept, u)
                    spikes[name].append(fired)
                else:
                    state[name] = u
                put_out[name] = u if isinstance(node, MembraneReadout) else fired.double()
            else:
                put_out[name] = _apply(node, x)
        readout = readout + put_out[network.readout]
    return {name: torch.stack(fired).numpy() for name, fired in spikes.items()}, readout.numpy()


@pytest.fixture(scope="session")
def random_network() -> NetworkBuilder:
    """(rng, kind, reset=, at_threshold=, bits=) -> a small Network that is alive."""
    return _random_network


@pytest.fixture(scope="session")
def random_inputs() -> InputBuilder:
    """(rng, network, batch=, static=) -> integers for it."""
    return _random_inputs


@pytest.fixture(scope="session")
def torch_run() -> TorchRun:
    """The float meaning of a Network, computed node by node in torch, without lowering or quantisation."""
    return _torch_run


@pytest.fixture(scope="session")
def lively_case() -> Callable[..., tuple[Network, Program, NDArray[Any]]]:
    """(rng, kind, chip, batch=, static=, network options) -> a network, its Program, and input on which it is alive.

    Every layer fires in 5 to 95 % of its neuron-steps; else a test of equality could pass on silence.
    """

    def build(
        rng: np.random.Generator, kind: str, chip: str, *, batch: int = 3, static: bool = False, **options: Any
    ) -> tuple[Network, Program, NDArray[Any]]:
        for _ in range(100):
            network = _random_network(rng, kind, **options)
            inputs = _random_inputs(rng, network, batch=batch, static=static)
            program = quantize(network, hw_models.chip(chip))
            rates = reference.run(program, inputs).firing_rates()
            if all(0.05 < rate < 0.95 for rate in rates.values()):
                return network, program, inputs
        raise AssertionError(f"no lively {kind} network for {chip}")

    return build


def _settled_model(**network: Any) -> Model:
    """A Model of digits made without training: random weights, settled batch norms, a readout by least squares."""
    from neurodeploy.config import DataConfig, load_config
    from neurodeploy.data.sources import load_data_set
    from neurodeploy.snn.model_file import make_model
    from neurodeploy.snn.networks import build

    options = {"channels": [4], "hidden": 32, "steps": 4} | network
    config = load_config(None, [], {f"network.{name}": value for name, value in options.items()})
    data = load_data_set(DataConfig(), 4, 0)
    torch.manual_seed(0)
    module = build(config.network, data.input, data.classes).train()
    values = torch.from_numpy(data.train.samples[:512].astype(np.float32)) * data.input.scale
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                norm.momentum = 1.0
        for _ in range(3):
            module(values)
        spikes = module.eval()(values, record=True).spikes[f"lif{len(config.network.channels) + 1}"]
        weights = torch.arange(len(spikes), 0, -1) / len(spikes)  # a spike stays in the readout for the steps left
        features = torch.cat([(spikes * weights[:, None, None]).sum(0), torch.ones(len(values), 1)], 1)
        wanted = torch.nn.functional.one_hot(torch.from_numpy(data.train.labels[:512]), data.classes).float()
        solution = torch.linalg.solve(features.T @ features + torch.eye(features.shape[1]), features.T @ wanted)
        last = [layer for layer in module.layers.values() if isinstance(layer, torch.nn.Linear)][-1]
        last.weight.copy_(solution[:-1].T)
        last.bias.copy_(solution[-1] / weights.sum())
    sizes = {f"{name}_images": len(getattr(data, name).labels) for name in ("train", "validation", "test")}
    metrics = {"test_accuracy": 0.7, "validation_accuracy": 0.7, "epoch": 1, "epochs": 1, **sizes}
    return make_model(module, config, data, metrics, [])


@pytest.fixture(scope="session")
def settled_model() -> Callable[..., Model]:
    """(network options) -> a Model of digits that is right seven times in ten, made without training."""
    return _settled_model


@pytest.fixture(scope="session")
def model(settled_model: Callable[..., Model]) -> Model:
    """The Model that most tests use."""
    return settled_model()


@pytest.fixture(scope="session")
def model_file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file."""
    from neurodeploy.snn.model_file import save_model

    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(model, path)
    return path


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Target]:
    """(target, changes) -> that target with some of its parts replaced, registered in its place."""
    from neurodeploy import export

    known = dict(export.targets())

    def register(name: str, **changes: Any) -> Target:
        known[name] = replace(known[name], **changes)
        for module in ("export", "proof"):
            monkeypatch.setattr(f"neurodeploy.{module}.targets", lambda: known)
        return known[name]

    return register


@pytest.fixture(scope="session")
def rockpool_is_installed() -> None:
    if rockpool.backend().version is None:
        pytest.fail(rockpool.backend().detail)
