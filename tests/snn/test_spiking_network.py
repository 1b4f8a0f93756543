"""Graphs of modules: what is refused, how values add up, what a batch norm averages over, passes, disturbance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy.config import NetworkConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.layers import ModerateDropout
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import Decay, LIFNeurons, MembraneReadoutNeurons
from neurodeploy.snn.perturb import Unperturbed
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential

STEPS = 3
IMAGE = Input((2, 4, 6), scale=1 / 15, bits=4)


def lif(steps: int = STEPS) -> LIFNeurons:
    return LIFNeurons(steps)


@pytest.mark.parametrize(
    ("modules", "edges", "match"),
    [
        ({"a": lif(), "b": lif()}, [("input", "b"), ("b", "a")], r"module a: its sources \['b'\] must be given before"),
        ({"a": lif()}, [("input", "a"), ("a", "a")], r"module a: its sources \['input', 'a'\] must be given before"),
        ({"a": lif(), "b": lif()}, [("input", "a")], r"module b: its sources \[\] must be given before"),
        ({"a": lif()}, [("input", "a"), ("a", "out")], "edge a -> out: there is no such module"),
        ({"a": lif()}, [("image", "a")], "edge image -> a: there is no such module"),
        ({"input": lif()}, [("input", "input")], "module input: the name is taken by the input"),
        ({"a": lif(4)}, [("input", "a")], "module a: runs 4 steps, the network 3"),
        ({"a": MembraneReadoutNeurons(2)}, [("input", "a")], "module a: runs 2 steps, the network 3"),
    ],
)
def test_graphs_that_make_no_sense_are_refused(
    modules: dict[str, nn.Module], edges: list[tuple[str, str]], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        SpikingNetwork(IMAGE, STEPS, modules.items(), edges)


def test_shapes_of_all_that_comes_out() -> None:
    network = build(NetworkConfig(channels=(3,), hidden=(5,), steps=STEPS), IMAGE, 7)
    for inputs in (torch.rand(4, 2, 4, 6), torch.rand(STEPS, 4, 2, 4, 6)):
        output = network(inputs, record=True)
        assert (output.per_step.shape, output.logits.shape, output.passes) == ((STEPS, 4, 7), (4, 7), 1)
        torch.testing.assert_close(output.logits, output.per_step.sum(dim=0) / STEPS)
        assert {name: tuple(part.shape) for name, part in output.spikes.items()} == {
            "lif1": (STEPS, 4, 3, 4, 6),
            "lif2": (STEPS, 4, 5),
        }
        assert {name: part.shape for name, part in output.potentials.items()} == {
            name: part.shape for name, part in output.spikes.items()
        }
        assert set(output.spikes["lif1"].unique().tolist()) == {0.0, 1.0}
        for name, potentials in output.potentials.items():
            values = potentials.flatten(1)
            moments = torch.stack([values.mean(dim=1), values.square().mean(dim=1)], dim=1)
            torch.testing.assert_close(output.moments[name], moments)
            torch.testing.assert_close(output.rates[name], output.spikes[name].detach().flatten(1).mean(dim=1))
        plain = network(inputs)
        assert (plain.spikes, plain.potentials) == ({}, {})
        assert set(plain.moments) == set(plain.rates) == {"lif1", "lif2"}


def test_a_static_input_is_the_same_frame_at_every_step() -> None:
    torch.manual_seed(0)
    network = build(NetworkConfig(channels=(3,), hidden=(9,), steps=STEPS, threshold=0.1, decay=0.9), IMAGE, 7).eval()
    frame = torch.rand(4, 2, 4, 6) * 3
    static, repeated = network(frame, record=True), network(frame.expand(STEPS, *frame.shape), record=True)
    assert all(0.05 < float(part.detach().mean()) < 0.95 for part in static.spikes.values())
    for name, spikes in static.spikes.items():
        torch.testing.assert_close(spikes, repeated.spikes[name], rtol=0, atol=0)
    torch.testing.assert_close(static.logits, repeated.logits)


@pytest.mark.parametrize("steps", [1, STEPS - 1, STEPS + 1])
def test_another_number_of_steps_is_refused(steps: int) -> None:
    network = sequential(Input((4,)), STEPS, [("a", lif())])
    with pytest.raises(UsageError, match=f"input has {steps} steps, the network 3"):
        network(torch.rand(steps, 2, 4))


def test_what_does_not_change_over_time_adds_to_what_does() -> None:
    """lif's input is the static current plus, through a skip, the spikes of another layer."""
    torch.manual_seed(3)
    modules = {"direct": nn.Linear(6, 6), "first": lif(), "second": lif()}
    edges = [("input", "direct"), ("direct", "first"), ("direct", "second"), ("first", "second")]
    network = SpikingNetwork(Input((6,), bits=4), STEPS, modules.items(), edges)
    inputs = torch.randn(5, 6)
    with torch.no_grad():
        output = network(inputs, record=True)
        current = modules["direct"](inputs)
        spikes = modules["first"](current[None]).spikes
        expected = modules["second"](torch.stack([current + spikes[t] for t in range(STEPS)]), record=True)
    assert all(0.05 < float(part.mean()) < 0.95 for part in output.spikes.values())
    assert float(spikes.std(dim=0).max()) > 0  # it does change over time
    torch.testing.assert_close(output.spikes["second"], expected.spikes, rtol=0, atol=0)
    torch.testing.assert_close(output.potentials["second"], expected.potentials)


def test_two_edges_from_one_source_count_twice() -> None:
    modules = {"a": nn.Identity(), "readout": MembraneReadoutNeurons(STEPS)}
    network = SpikingNetwork(Input((2,)), STEPS, modules.items(), [("input", "a"), ("a", "readout"), ("a", "readout")])
    assert network(torch.tensor([[1.0, 3.0]])).logits.tolist() == [[4.0, 12.0]]  # 2 * (1 + 2 + 3) / 3


def test_batch_norm_takes_its_statistics_over_samples_steps_and_places() -> None:
    norm = nn.BatchNorm2d(2, momentum=1.0)
    modules = [("norm", norm), ("lif", lif()), ("flat", nn.Flatten()), ("readout", MembraneReadoutNeurons(STEPS))]
    inputs = torch.randn(STEPS, 5, 2, 4, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    potentials = sequential(IMAGE, STEPS, modules).train()(inputs, True).potentials["lif"][0].detach().numpy()
    values = inputs.numpy().astype(np.float64)
    mean, variance = values.mean(axis=(0, 1, 3, 4)), values.var(axis=(0, 1, 3, 4))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5)
    count = values.size // 2
    np.testing.assert_allclose(norm.running_var.numpy(), variance * count / (count - 1), rtol=1e-5)
    first = (values[0] - mean[:, None, None]) / np.sqrt(variance + norm.eps)[:, None, None]
    np.testing.assert_allclose(potentials, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AvgPool2d(2, divisor_override=1), nn.MaxPool2d(2)])
@pytest.mark.parametrize("static", [True, False])
def test_pooling_done_by_neurons_on_the_way_changes_nothing(pool: nn.Module, static: bool) -> None:
    torch.manual_seed(2)
    parts = [("conv", nn.Conv2d(2, 5, 3, padding=1)), ("lif", lif()), ("pool", pool), ("flat", nn.Flatten())]
    network = sequential(IMAGE, STEPS, [*parts, ("fc", nn.Linear(30, 3)), ("readout", MembraneReadoutNeurons(STEPS))])
    inputs = torch.rand(*(() if static else (STEPS,)), 4, 2, 4, 6) * 3
    gradients = []
    for record in (False, True):
        output = network(inputs, record=record)
        assert 0.05 < float(output.rates["lif"].mean()) < 0.95
        gradients.append(
            [output.logits, *torch.autograd.grad(output.logits.square().sum(), list(network.parameters()))]
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_pooling_that_shares_its_neurons_with_others_reads_their_spikes() -> None:
    modules = {"lif": lif(), "pool": nn.AvgPool2d(2), "a": nn.Flatten(), "b": nn.Flatten(), "fc": nn.Linear(48, 12)}
    modules["readout"] = MembraneReadoutNeurons(STEPS)
    edges = ["input lif", "lif pool", "pool a", "lif b", "b fc", "fc readout", "a readout"]
    network = SpikingNetwork(IMAGE, STEPS, modules.items(), [tuple(edge.split()) for edge in edges])  # type: ignore[misc]
    inputs = torch.rand(4, 2, 4, 6)
    assert network(inputs).logits.shape == (4, 12)
    assert torch.equal(network(inputs).logits, network(inputs, record=True).logits)


def dropping(rate: float = 0.5) -> SpikingNetwork:
    torch.manual_seed(0)
    parts = [("fc", nn.Linear(6, 20)), ("a", lif()), ("drop", ModerateDropout(rate)), ("fc2", nn.Linear(20, 8))]
    parts += [("b", lif()), ("drop2", ModerateDropout(rate)), ("fc3", nn.Linear(8, 3))]
    return sequential(Input((6,)), STEPS, [*parts, ("readout", MembraneReadoutNeurons(STEPS))])


def test_two_passes_share_the_trunk_and_differ_behind_the_first_dropout() -> None:
    network, inputs = dropping().train(), torch.randn(5, 6)
    assert network.first_dropout == "drop"
    output = network(inputs, record=True, passes=2)
    assert (output.passes, output.per_step.shape) == (2, (STEPS, 10, 3))
    assert output.spikes["a"].shape == (STEPS, 5, 20)
    assert output.spikes["b"].shape == (STEPS, 10, 8)
    first, second = output.by_pass
    assert torch.equal(torch.cat([first, second], dim=1), output.per_step)
    assert not torch.equal(first, second)
    one, other = network.eval()(inputs, passes=2).by_pass
    assert torch.equal(one, other)
    assert torch.equal(one, network(inputs).per_step)
    assert len(network(inputs).by_pass) == 1


def test_passes_beside_the_trunk_see_the_repeated_batch() -> None:
    """A skip from before the dropout to behind it."""
    torch.manual_seed(1)
    modules = {"a": lif(), "drop": ModerateDropout(0.4), "b": lif(), "readout": MembraneReadoutNeurons(STEPS)}
    edges = [("input", "a"), ("a", "drop"), ("drop", "b"), ("a", "b"), ("input", "b"), ("b", "readout")]
    network = SpikingNetwork(Input((6,)), STEPS, modules.items(), edges).eval()
    inputs = torch.randn(5, 6)
    one, other = network(inputs, passes=2).by_pass
    assert torch.equal(one, other)
    assert torch.equal(one, network(inputs).per_step)


@pytest.mark.parametrize("passes", [-1, 0])
def test_fewer_than_one_pass_is_refused(passes: int) -> None:
    with pytest.raises(UsageError, match=f"{passes} passes: at least 1"):
        dropping()(torch.rand(2, 6), passes=passes)


def test_several_passes_without_dropout_are_refused() -> None:
    with pytest.raises(UsageError, match=r"2 passes: .* needs a network with dropout"):
        sequential(Input((4,)), STEPS, [("a", lif())])(torch.rand(2, 4), passes=2)


class Marked(Unperturbed):
    """Notes what it is asked for, and hands back what would not go unseen."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        self.asked.append(("weight", name))
        return weight * 2

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        self.asked.append((f"threshold {tuple(shape)}", name))
        return threshold.expand(shape) * 0.5

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        self.asked.append(("decay", name))
        return decay.expand(shape) * 0.75

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        self.asked.append(("current", name))
        return current.expand(steps, *current.shape[1:]) + 0.125

    def readout(self, name: str, current: torch.Tensor, steps: int) -> torch.Tensor:
        self.asked.append(("readout", name))
        return current - 1


def test_a_perturbation_reaches_weights_thresholds_decays_and_currents() -> None:
    torch.manual_seed(0)
    neurons = RecurrentLIFNeurons(nn.Linear(7, 7, bias=False), STEPS, decay=0.5, threshold=0.4)
    parts = [("fc", nn.Linear(6, 7)), ("a", neurons), ("fc2", nn.Linear(7, 3)), ("out", MembraneReadoutNeurons(STEPS))]
    network, inputs, marked = sequential(Input((6,)), STEPS, parts), torch.randn(5, 6), Marked()
    with torch.no_grad():
        got = network(inputs, record=True, perturbation=marked)
        assert marked.asked == [
            ("weight", "fc"),
            ("threshold (7,)", "a"),
            ("decay", "a"),
            ("weight", "a.recurrent"),
            ("current", "a"),
            ("weight", "fc2"),
            ("readout", "out"),
        ]
        for name in ("fc", "fc2"):
            network.layers[name].weight.mul_(2)
        current = network.layers["fc"](inputs) + 0.125
        weight, threshold = 2 * neurons.recurrent.weight, 0.5 * neurons.threshold
        wanted = neurons(current[None], 1, True, threshold, torch.tensor(0.375), weight)
        torch.testing.assert_close(got.potentials["a"], wanted.potentials)
        assert 0.05 < float(wanted.spikes.mean()) < 0.95
        summed = (network.layers["fc2"](wanted.spikes) - 1).cumsum(dim=0)
        torch.testing.assert_close(got.per_step, summed)


def test_parameters_are_sorted_for_the_optimiser_each_of_them_once() -> None:
    shared = Decay(0.5)
    parts = [("fc", nn.Linear(6, 7)), ("norm", nn.BatchNorm1d(7)), ("a", LIFNeurons(STEPS, decay=shared))]
    parts += [("b", RecurrentLIFNeurons(nn.Linear(7, 7, bias=False), STEPS, decay=shared))]
    parts += [("c", LIFNeurons(STEPS, decay=Decay(0.5))), ("out", MembraneReadoutNeurons(STEPS))]
    network = sequential(Input((6,)), STEPS, parts)
    groups = network.parameter_groups()
    assert [tuple(part.shape) for part in groups.weights] == [(7, 6), (7,), (7,), (7,), (7, 7)]
    layers = [network.layers[name] for name in "abc"]
    assert {id(part) for part in groups.gammas} == {id(layer.gamma) for layer in layers}
    own = {id(layer.threshold_parameter) for layer in layers} | {id(layer.decay_parameter) for layer in layers}
    assert {id(part) for part in groups.neurons} == own
    assert [len(group) for group in groups] == [5, 5, 3]
    assert sum(len(group) for group in groups) == len(list(network.parameters()))


def test_all_neurons_are_kept_positive() -> None:
    network = dropping()
    for name in "ab":
        nn.init.constant_(network.layers[name].gamma, -1.0)
        nn.init.constant_(network.layers[name].threshold_parameter, -1.0)
    network.keep_positive()
    assert all(float(network.layers[name].gamma.detach()) > 0 for name in "ab")
    assert all(float(network.layers[name].threshold.detach()) > 0 for name in "ab")
