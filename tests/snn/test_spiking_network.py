"""Graphs of modules: what is refused, how values add up, and over what a batch norm takes its statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy.config import NetworkConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential

STEPS = 3
IMAGE = Input((2, 4, 6), scale=1 / 15, bits=4)


def lif(steps: int = STEPS) -> LIFNeurons:
    return LIFNeurons("arctangent", steps)


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
    network = build(NetworkConfig(channels=(3,), hidden=5, steps=STEPS), IMAGE, 7)
    for inputs in (torch.rand(4, 2, 4, 6), torch.rand(STEPS, 4, 2, 4, 6)):
        output = network(inputs)
        assert output.logits.shape == (4, 7)
        assert {name: tuple(part.shape) for name, part in output.spikes.items()} == {
            "lif1": (STEPS, 4, 3, 4, 6),
            "lif2": (STEPS, 4, 5),
        }
        assert {name: part.shape for name, part in output.potentials.items()} == {
            name: part.shape for name, part in output.spikes.items()
        }
        assert set(output.spikes["lif1"].unique().tolist()) == {0.0, 1.0}


def test_a_static_input_is_the_same_frame_at_every_step() -> None:
    torch.manual_seed(0)
    network = build(NetworkConfig(channels=(3,), hidden=5, steps=STEPS, threshold=0.2, decay=0.9), IMAGE, 7).eval()
    frame = torch.rand(4, 2, 4, 6) * 2
    static, repeated = network(frame), network(frame.expand(STEPS, *frame.shape))
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
        output = network(inputs)
        current = modules["direct"](inputs)
        spikes, _ = modules["first"](current[None])
        expected, potentials = modules["second"](torch.stack([current + spikes[t] for t in range(STEPS)]))
    assert all(0.05 < float(part.mean()) < 0.95 for part in output.spikes.values())
    assert float(spikes.std(dim=0).max()) > 0  # it does change over time
    torch.testing.assert_close(output.spikes["second"], expected, rtol=0, atol=0)
    torch.testing.assert_close(output.potentials["second"], potentials)


def test_two_edges_from_one_source_count_twice() -> None:
    modules = {"a": nn.Identity(), "readout": MembraneReadoutNeurons(STEPS)}
    network = SpikingNetwork(Input((2,)), STEPS, modules.items(), [("input", "a"), ("a", "readout"), ("a", "readout")])
    assert network(torch.tensor([[1.0, 3.0]])).logits.tolist() == [[4.0, 12.0]]  # 2 * (1 + 2 + 3) / 3


def test_batch_norm_takes_its_statistics_over_samples_steps_and_places() -> None:
    norm = nn.BatchNorm2d(2, momentum=1.0)
    modules = [("norm", norm), ("lif", lif()), ("flat", nn.Flatten()), ("readout", MembraneReadoutNeurons(STEPS))]
    inputs = torch.randn(STEPS, 5, 2, 4, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    potentials = sequential(IMAGE, STEPS, modules).train()(inputs).potentials["lif"][0].detach().numpy()
    values = inputs.numpy().astype(np.float64)
    mean, variance = values.mean(axis=(0, 1, 3, 4)), values.var(axis=(0, 1, 3, 4))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5)
    count = values.size // 2
    np.testing.assert_allclose(norm.running_var.numpy(), variance * count / (count - 1), rtol=1e-5)
    first = (values[0] - mean[:, None, None]) / np.sqrt(variance + norm.eps)[:, None, None]
    np.testing.assert_allclose(potentials, first, rtol=1e-4, atol=1e-5)


def test_the_named_network_has_the_configured_layers() -> None:
    config = NetworkConfig(channels=(3, 5), hidden=7, steps=2, decay=0.5, threshold=0.3, gamma=2.0, reset="subtract")
    network = build(config, Input((1, 8, 12)), 4)
    parts = [
        "conv1",
        "norm1",
        "lif1",
        "pool1",
        "conv2",
        "norm2",
        "lif2",
        "pool2",
        "flatten",
        "linear3",
        "norm3",
        "lif3",
        "linear4",
        "readout",
    ]
    assert list(network.layers) == parts
    assert network.layers["linear3"].weight.shape == (7, 5 * 2 * 3)
    neurons = [part for part in network.layers.values() if isinstance(part, LIFNeurons)]
    assert [part.kind for part in neurons] == ["arctangent", "arctangent", "softplus"]
    assert {(part.decay, part.reset, part.steps, part.detach_reset) for part in neurons} == {
        (0.5, "subtract", 2, False)
    }
    assert [round(float(part.threshold.detach()), 6) for part in neurons] == [0.3] * 3


def test_a_count_readout_reads_spiking_output_neurons() -> None:
    network = build(NetworkConfig(channels=(), hidden=7, steps=2, readout="spike_count"), Input((1, 3, 5)), 4)
    assert list(network.layers)[-3:] == ["linear2", "lif2", "readout"]
    assert isinstance(network.layers["readout"], SpikeCountReadoutNeurons)
    assert network(torch.rand(3, 1, 3, 5)).logits.shape == (3, 4)


@pytest.mark.parametrize(("size", "channels"), [((8, 12), (1, 1, 1)), ((7, 8), (1,)), ((8, 9), (1,)), ((2, 2), (1, 1))])
def test_images_too_small_for_the_poolings_are_refused(size: tuple[int, int], channels: tuple[int, ...]) -> None:
    factor = 2 ** len(channels)
    with pytest.raises(UsageError, match=f"divisible by {factor}, these are {size[0]} x {size[1]}"):
        build(NetworkConfig(channels=channels), Input((1, *size)), 2)


def test_the_smallest_image_that_fits() -> None:
    network = build(NetworkConfig(channels=(1, 1)), Input((1, 4, 4)), 2)
    assert network(torch.rand(2, 1, 4, 4)).logits.shape == (2, 2)
