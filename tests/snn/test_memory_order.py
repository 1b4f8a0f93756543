"""Channels last where it is safe: the gradient is the same, and a strided 1 x 1 convolution does not crash."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from neurodeploy.ir.nodes import Input
from neurodeploy.snn import adjacent
from neurodeploy.snn.memory_order import channels_last, compiled, flattened
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork, sequential

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")

# As in a small ResNet-19 on 64 x 64: in channels last oneDNN writes past its workspace. It takes the process with it.
CRASHES = """
import torch
from neurodeploy.snn.memory_order import channels_last
torch.set_num_threads(1)
torch.manual_seed(0)
first, conv = torch.nn.Conv2d(2, 8, 3, padding=1, bias=False), torch.nn.Conv2d(8, 16, 1, 2, bias=False)
network = torch.nn.Sequential(first, conv)
channels_last(network)
for _ in range(6):
    network(torch.randn(24, 2, 64, 64)).square().sum().backward()
print("alive")
"""


def ended_well(script: str) -> None:
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr


def test_a_strided_1_x_1_convolution_lives() -> None:
    ended_well(CRASHES)


@needs_compiler
@pytest.mark.parametrize("order", ["channels_last(network)", ""])
def test_a_strided_1_x_1_convolution_lives_when_it_is_compiled(order: str) -> None:
    compiling = CRASHES.replace("channels_last(network)", f"{order}\nnetwork = compiled(network)")
    ended_well(compiling.replace("import channels_last", "import channels_last, compiled"))


@needs_compiler
@pytest.mark.filterwarnings("ignore")  # torch's own, on its way
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_gradients_are_those_of_eager_mode_when_compiled(channels: int, last: bool) -> None:
    torch.manual_seed(0)
    eager = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1, 2), nn.ReLU())
    other = copy.deepcopy(eager)
    if last:
        channels_last(other)
    values = torch.randn(4, channels, 12, 12)
    for network in (eager, compiled(other)):
        network(values).square().sum().backward()
    for one, two in zip(eager.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("device", "options"), [("cpu", {"options": {"force_layout_optimization": True}}), ("cuda", {})]
)
def test_only_for_cpus_compilation_is_told_of_the_order(
    device: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def stand_in(network: nn.Module, **given: Any) -> nn.Module:
        asked.append(given)
        return network

    monkeypatch.setattr(torch, "compile", stand_in)
    network = nn.Sequential(nn.Conv2d(2, 3, 1, 2))
    assert compiled(network, device) is network
    assert asked == [options]
    assert ("forward" in vars(network[0])) == (device == "cpu")  # left to PyTorch itself there


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2), (1, (1, 2))])
def test_gradients_are_those_of_plain_order(kernel: int, stride: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 5, kernel, stride, kernel // 2),
        nn.ReLU(),
        nn.Conv2d(5, 3, 3),
    )
    last = copy.deepcopy(plain)
    channels_last(last)
    assert not last[0].weight.is_contiguous()
    values = torch.randn(4, 2, 12, 12)
    seen = []
    last[2].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    for network in (plain, last):
        network(values).square().sum().backward()
    in_plain_order = kernel == 1 and stride != 1
    assert seen[0].is_contiguous() == in_plain_order
    assert (last[2].weight.stride() == plain[2].weight.stride()) == in_plain_order
    for one, other in zip(plain.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_one_channel_is_contiguous_in_both_orders_and_still_put_in_plain_strides() -> None:
    conv = nn.Conv2d(1, 4, 1, 2)
    network = nn.Sequential(conv)
    channels_last(network)
    seen = []
    conv.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].stride()))
    network(torch.randn(3, 1, 6, 6).to(memory_format=torch.channels_last))
    assert seen == [(36, 36, 6, 1)]
    assert conv.weight.stride() == (1, 1, 1, 1)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("outputs", [3, 50])
@pytest.mark.parametrize("shape", [(7, 5, 4, 3), (7, 60)])
def test_flattening_in_either_order_weighs_the_same(shape: tuple[int, ...], outputs: int, last: bool) -> None:
    torch.manual_seed(0)
    values, weight = torch.randn(shape, dtype=torch.float64), torch.randn(outputs, 60, dtype=torch.float64)
    if last and len(shape) == 4:
        values = values.to(memory_format=torch.channels_last)
    flat, ordered = flattened(values, weight)
    torch.testing.assert_close(flat @ ordered.T, values.flatten(1) @ weight.T)
    few = outputs < 7
    assert (ordered is not weight) == (last and few and len(shape) == 4)
    if ordered is not weight:
        assert flat.data_ptr() == values.data_ptr(), "the values were copied"


def small(readers: int = 1) -> SpikingNetwork:
    """A convolution, its neurons, and as many linear layers behind one Flatten as there are readers."""
    torch.manual_seed(1)
    parts: dict[str, nn.Module] = {"conv": nn.Conv2d(2, 4, 3, padding=1), "lif": LIFNeurons(3, threshold=0.1)}
    parts |= {"pool": nn.AvgPool2d(2), "flat": nn.Flatten()}
    parts |= {f"linear{number}": nn.Linear(64, 3) for number in range(readers)}
    parts["readout"] = MembraneReadoutNeurons(3)
    edges = [("input", "conv"), ("conv", "lif"), ("lif", "pool"), ("pool", "flat")]
    for number in range(readers):
        edges += [("flat", f"linear{number}"), (f"linear{number}", "readout")]
    return SpikingNetwork(Input((2, 8, 8)), 3, parts.items(), edges)


@pytest.mark.parametrize("readers", [1, 2])
def test_a_network_in_channels_last_computes_the_same(readers: int) -> None:
    plain = small(readers).double()
    last = copy.deepcopy(plain)
    channels_last(last)
    assert adjacent.flattens(last.layers, last.edges) == ({"linear0": "flat"} if readers == 1 else {})
    values = torch.rand(70, 2, 8, 8, dtype=torch.float64)
    outputs = [plain(values), last(values.to(memory_format=torch.channels_last))]
    assert 0.05 < float(outputs[0].rates["lif"].mean()) < 0.95
    torch.testing.assert_close(outputs[0].per_step, outputs[1].per_step)
    for output in outputs:
        output.per_step.square().sum().backward()
    for one, other in zip(plain.parameters(), last.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad)


def test_a_flatten_of_some_dimensions_is_left_alone() -> None:
    parts = [("flat", nn.Flatten(2)), ("linear", nn.Linear(64, 3)), ("readout", MembraneReadoutNeurons(3))]
    network = sequential(Input((2, 8, 8)), 3, parts)
    assert adjacent.flattens(network.layers, network.edges) == {}
    assert network(torch.rand(5, 2, 8, 8)).per_step.shape == (3, 5, 2, 3)
