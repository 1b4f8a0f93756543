"""Networks by name: their layers, their sizes against published counts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neurodeploy.config import NetworkConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.graded import GradedLIFNeurons
from neurodeploy.snn.layers import FeatureLateral, ModerateDropout
from neurodeploy.snn.networks import build
from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.spiking_network import SpikingNetwork

CIFAR = Input((3, 32, 32), 1 / 255, 8)
SMALL = Input((2, 16, 16), 1 / 15, 4)


def made(shape: tuple[int, ...] | Input = SMALL, classes: int = 3, **settings: Any) -> SpikingNetwork:
    torch.manual_seed(0)
    return build(NetworkConfig(**settings), shape if isinstance(shape, Input) else Input(shape), classes)


def neurons(network: SpikingNetwork) -> dict[str, LIFNeurons]:
    return {name: part for name, part in network.layers.items() if isinstance(part, LIFNeurons)}


def test_the_convnet_has_the_configured_layers() -> None:
    settings = {"decay": 0.5, "threshold": 0.3, "gamma": 2.0, "reset": "subtract", "gamma_rule": "odd"}
    network = made((1, 8, 12), 4, channels=(3, 5), hidden=(7, 6), steps=2, **settings)
    first = ["conv1", "norm1", "lif1", "pool1", "conv2", "norm2", "lif2", "pool2", "flatten"]
    last = ["linear3", "norm3", "lif3", "linear4", "norm4", "lif4", "linear5", "readout"]
    assert list(network.layers) == [*first, *last]
    assert network.layers["linear3"].weight.shape == (7, 5 * 2 * 3)
    assert network.layers["conv1"].bias is None
    assert network.layers["linear5"].bias.shape == (4,)
    parts = neurons(network).values()
    assert [part.dynamics.surrogate.shape for part in parts] == ["arctangent"] * 2 + ["softplus"] * 2
    assert [part.threshold_parameter.requires_grad for part in parts] == [True, True, False, False]
    assert {(part.dynamics.reset, part.steps, part.dynamics.detach_reset) for part in parts} == {("subtract", 2, False)}
    assert {part.dynamics.surrogate.rule for part in parts} == {"odd"}
    assert [round(part.threshold.item(), 6) for part in parts] == [0.3] * 4
    assert {part.decay.item() for part in parts} == {0.5}
    assert {part.gamma.item() for part in parts} == {2.0}


def test_depth_puts_several_convolutions_before_each_pool() -> None:
    network = made((1, 8, 8), 3, channels=(2, 4), depth=2, hidden=(5,), steps=2)
    stages = [[f"conv{n}", f"norm{n}", f"lif{n}"] for n in (1, 2, 3, 4)]
    spatial = [*stages[0], *stages[1], "pool2", *stages[2], *stages[3], "pool4"]
    assert list(network.layers)[: len(spatial)] == spatial
    assert [network.layers[f"conv{n}"].weight.shape[:2] for n in (1, 2, 3, 4)] == [(2, 1), (2, 2), (4, 2), (4, 4)]
    assert network.layers["linear5"].in_features == 4 * 2 * 2


@pytest.mark.parametrize(("side", "depth", "left"), [(34, 1, 7), (14, 1, 2), (20, 2, 2)])
def test_without_padding_each_convolution_takes_two_off(side: int, depth: int, left: int) -> None:
    """34 -> 32 -> 16 -> 14 -> 7 for one convolution before each of two pools."""
    network = made((2, side, side), 3, channels=(2, 3), depth=depth, padding=0, hidden=(4,), steps=2)
    linear = network.layers[f"linear{2 * depth + 1}"]
    assert linear.in_features == 3 * left * left
    with torch.no_grad():
        assert network.eval()(torch.ones(2, 2, side, side)).logits.shape == (2, 3)


@pytest.mark.parametrize("side", [35, 12, 4])
def test_without_padding_sizes_that_do_not_pool_are_refused(side: int) -> None:
    """35 -> 33 is odd; 12 -> 10 -> 5 -> 3 is odd; 4 -> 2 -> 1 leaves nothing for the second convolution."""
    with pytest.raises(UsageError, match=f"channels: every pooling by two .* these are {side} x {side}"):
        made((2, side, side), 3, channels=(2, 3), padding=0, hidden=(4,), steps=2)


def test_learning_of_thresholds_and_the_reset_are_as_configured() -> None:
    network = made(learn_threshold=False, detach_reset=True)
    assert all(part.dynamics.detach_reset and not part.threshold_parameter.requires_grad for part in
               neurons(network).values())  # fmt: skip


@pytest.mark.parametrize(("rule", "count"), [("fixed", 0), ("shared", 1), ("layer", 3)])
def test_decays_are_fixed_shared_or_one_per_layer(rule: str, count: int) -> None:
    found = [part.decay_parameter for part in neurons(made(decay_rule=rule, decay=0.5)).values()]
    assert len(found) == 3
    assert len({id(part) for part in found if part is not None}) == count
    assert all(part is None or part.item() == pytest.approx(0.0, abs=1e-6) for part in found)  # sigmoid(0) = 1/2


@pytest.mark.parametrize("norm", ["batch", "threshold", "none"])
def test_norms_start_at_one_or_at_the_threshold_or_are_left_out(norm: str) -> None:
    network = made(norm=norm, threshold=0.3)
    norms = [part for part in network.layers.values() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    weighted = [network.layers[name] for name in ("conv1", "conv2", "linear3")]
    assert len(norms) == (0 if norm == "none" else 3)
    assert all((part.bias is None) == (norm != "none") for part in weighted)
    for part in norms:
        torch.testing.assert_close(part.weight, torch.full_like(part.weight, 0.3 if norm == "threshold" else 1.0))


def test_tdbn_gives_currents_the_deviation_of_the_threshold_and_less_where_two_add_up() -> None:
    network = made(kind="resnet19", width=0.05, norm="threshold", threshold=0.4, hidden=()).train()
    starts = {name: part.weight[0].item() for name, part in network.layers.items() if isinstance(part, nn.BatchNorm2d)}
    half = {name for name in starts if name.endswith(("norm2", "shortcut_norm"))}
    assert len(half) == 8 + 3
    for name, value in starts.items():
        assert value == pytest.approx(0.4 / 2**0.5 if name in half else 0.4)
    sew = made(kind="resnet19", width=0.05, norm="threshold", threshold=0.4, residual="sew")
    assert {part.weight[0].item() for part in sew.layers.values() if isinstance(part, nn.BatchNorm2d)} == {
        torch.tensor(0.4).item()
    }
    current = network.layers["stem_norm"](network.layers["stem"](torch.randn(64, 2, 16, 16)))
    assert current.std().item() == pytest.approx(0.4, rel=0.01)


@pytest.mark.parametrize(("pool", "factor"), [("average", 0.25), ("sum", 1.0), ("max", None)])
def test_pools_are_of_the_configured_kind(pool: str, factor: float | None) -> None:
    layer = made(pool=pool).layers["pool1"]
    values = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    assert layer(values).item() == (1.0 if factor is None else 3 * factor)


def test_an_mlp_takes_values_of_any_shape() -> None:
    for shape, flattened in (((6,), False), ((2, 3, 1), True)):
        network = made(shape, kind="mlp", hidden=(5, 4), steps=3)
        start = ["flatten"] * flattened
        assert list(network.layers) == [
            *start, "linear1", "norm1", "lif1", "linear2", "norm2", "lif2", "linear3", "readout",
        ]  # fmt: skip
        assert network(torch.rand(7, *shape)).logits.shape == (7, 3)
        assert network(torch.rand(3, 7, *shape)).logits.shape == (7, 3)


def test_recurrent_layers_feed_back_through_weights_without_bias() -> None:
    parts = neurons(made((6,), kind="mlp", hidden=(5, 4), recurrent=True, readout="spike_count"))
    assert [type(part) for part in parts.values()] == [RecurrentLIFNeurons, RecurrentLIFNeurons, LIFNeurons]
    assert [tuple(parts[name].recurrent.weight.shape) for name in ("lif1", "lif2")] == [(5, 5), (4, 4)]
    assert parts["lif1"].recurrent.bias is None


@pytest.mark.parametrize("kind", ["convnet", "vgg", "resnet19"])
def test_channel_lateral_connections_are_depthwise_in_all_convolutional_layers(kind: str) -> None:
    width = {} if kind == "convnet" else {"width": 0.05}
    network = made(kind=kind, lateral="channel", **width)
    parts = list(neurons(network).values())
    assert len(parts) == {"convnet": 2, "vgg": 8, "resnet19": 17}[kind] + 1
    assert type(parts[-1]) is LIFNeurons
    for part in parts[:-1]:
        assert isinstance(part, RecurrentLIFNeurons)
        layer = part.recurrent
        assert isinstance(layer, nn.Conv2d)
        assert (layer.kernel_size, layer.groups, layer.bias) == ((5, 5), layer.in_channels, None)


@pytest.mark.parametrize("readout", ["membrane", "spike_count"])
def test_feature_lateral_connections_come_before_fully_connected_neurons(readout: str) -> None:
    network = made(lateral="feature", readout=readout)
    found = [name for name, part in network.layers.items() if isinstance(part, FeatureLateral)]
    assert found == ["lateral3"] + ["lateral4"] * (readout == "spike_count")
    for name in found:
        assert network.sources(name.replace("lateral", "lif")) == [name]
    assert network.sources("lateral3") == ["norm3"]


def test_dropout_follows_every_hidden_layer() -> None:
    network = made((6,), kind="mlp", hidden=(5, 4), dropout=0.2)
    drops = {name: part.rate for name, part in network.layers.items() if isinstance(part, ModerateDropout)}
    assert drops == {"dropout1": 0.2, "dropout2": 0.2}
    assert network.first_dropout == "dropout1"
    assert network.sources("linear2") == ["dropout1"]
    assert made().first_dropout is None


def test_readouts() -> None:
    assert isinstance(made(readout_decay=0.5).layers["readout"], MembraneReadoutNeurons)
    assert made(readout_decay=0.5).layers["readout"].decay == 0.5
    counting = made((3, 5, 1), kind="mlp", hidden=(), steps=2, readout="spike_count")
    assert list(counting.layers) == ["flatten", "linear1", "lif1", "readout"]
    assert isinstance(counting.layers["readout"], SpikeCountReadoutNeurons)
    graded = made(readout="potential", hidden_output="potential")
    assert [type(part) for part in neurons(graded).values()] == [LIFNeurons] * 2 + [GradedLIFNeurons] * 2
    hidden = made(hidden_output="potential")
    assert [type(part) for part in neurons(hidden).values()] == [LIFNeurons] * 2 + [GradedLIFNeurons]


def test_a_potential_readout_averages_the_graded_outputs() -> None:
    network = made(readout="potential", hidden=(40,), threshold=0.1)
    output = network(torch.rand(6, 2, 16, 16), record=True)
    graded, potentials = output.spikes["lif4"], output.potentials["lif4"]
    assert 0.05 < output.rates["lif4"].mean().item() < 0.95
    torch.testing.assert_close(graded, torch.where(potentials > network.layers["lif4"].threshold, potentials, 0.0))
    torch.testing.assert_close(output.logits, graded.mean(dim=0))


# Weights, biases and norms of TET (Deng et al., ICLR 2022), twice, its network with the stem of MPD-AGL (IJCAI 2025),
# MPD-AGL itself, TrSG (WACV 2026).
@pytest.mark.parametrize(
    ("stem", "hidden", "classes", "normed", "count"),
    [
        (64, (256,), 10, False, 12_630_858),
        (64, (256,), 100, False, 12_653_988),
        (128, (256,), 10, False, 12_697_994),
        (128, (256,), 10, True, 12_698_240),
        (64, (), 100, False, 12_548_260),
    ],
)
def test_resnet_19_has_the_published_number_of_parameters(
    stem: int, hidden: tuple[int, ...], classes: int, normed: bool, count: int
) -> None:
    config = NetworkConfig(kind="resnet19", stem=stem, hidden=hidden, classifier_norm=normed)
    with torch.device("meta"):
        network = build(config, CIFAR, classes)
    groups = network.parameter_groups()
    assert sum(part.numel() for part in groups.weights) == count
    layers = 17 + len(hidden)
    assert (len(groups.neurons), len(groups.gammas)) == (layers, layers)
    weighted = [part for part in network.layers.values() if isinstance(part, nn.Conv2d | nn.Linear)]
    shortcuts = [name for name in network.layers if name.endswith("shortcut")]
    assert len(weighted) - len(shortcuts) == (19 if hidden else 18)
    assert shortcuts == (["block4_shortcut", "block7_shortcut"] if stem == 128 else
                         ["block1_shortcut", "block4_shortcut", "block7_shortcut"])  # fmt: skip


@pytest.mark.parametrize("residual", ["sum", "sew"])
def test_resnet_19_has_the_shapes_of_its_stages(residual: str) -> None:
    network = made(CIFAR, 10, kind="resnet19", width=1 / 32, hidden=(8,), steps=2, residual=residual)
    output = network(torch.rand(2, 3, 32, 32), record=True)
    shapes = {name: tuple(part.shape[2:]) for name, part in output.spikes.items()}
    assert shapes["stem_lif"] == (2, 32, 32)
    assert [shapes[f"block{n}_lif2"] for n in range(1, 9)] == [(4, 32, 32)] * 3 + [(8, 16, 16)] * 3 + [(16, 8, 8)] * 2
    assert output.logits.shape == (2, 10)
    assert isinstance(network.layers["pool"], nn.AvgPool2d)
    assert network.layers["pool"].kernel_size == 8


def test_the_residual_sum_is_what_the_last_neurons_of_a_block_receive() -> None:
    network = made(kind="resnet19", width=0.05)
    assert network.sources("block1_lif2") == ["block1_norm2", "block1_shortcut_norm"]
    assert network.sources("block2_lif2") == ["block2_norm2", "block1_lif2"]
    assert network.sources("block2_conv1") == ["block1_lif2"]
    assert network.sources("pool") == ["block8_lif2"]


def test_sew_blocks_put_out_the_sum_of_spikes() -> None:
    network = made(kind="resnet19", width=0.05, residual="sew")
    assert network.sources("block1_shortcut_lif") == ["block1_shortcut_norm"]
    assert network.sources("block1_lif2") == ["block1_norm2"]
    first = ["block1_lif2", "block1_shortcut_lif"]
    assert network.sources("block2_conv1") == first
    assert network.sources("block3_conv1") == ["block2_lif2", *first]
    assert (
        network.sources("block4_conv1") == network.sources("block4_shortcut") == ["block3_lif2", "block2_lif2", *first]
    )
    assert network.sources("pool") == ["block8_lif2", "block7_lif2", "block7_shortcut_lif"]


def test_vggsnn_has_the_layers_of_tet() -> None:
    with torch.device("meta"):
        network = build(NetworkConfig(kind="vgg", hidden=()), Input((2, 48, 48)), 10)
    convolutions = [part for part in network.layers.values() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [64, 128, 256, 256, 512, 512, 512, 512]
    pools = [name for name, part in network.layers.items() if isinstance(part, nn.AvgPool2d)]
    assert pools == ["pool2", "pool4", "pool6", "pool8"]
    assert network.layers["linear9"].weight.shape == (10, 512 * 3 * 3)
    half = made((2, 16, 16), kind="vgg", width=0.1, hidden=(5,))
    assert [part.out_channels for part in half.layers.values() if isinstance(part, nn.Conv2d)] == [
        6, 13, 26, 26, 51, 51, 51, 51,
    ]  # fmt: skip
    assert half(torch.rand(2, 2, 16, 16)).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"recurrent": True}, "network.recurrent=True: only in mlp, this is convnet"),
        ({"width": 0.5}, "network.width=0.5: only in vgg and resnet19, this is convnet"),
        ({"kind": "vgg", "stem": 32}, "network.stem=32: only in resnet19, this is vgg"),
        ({"kind": "vgg", "classifier_norm": True}, "network.classifier_norm=True: only in resnet19, this is vgg"),
        ({"kind": "resnet19", "classifier_norm": True, "norm": "none"}, "network.classifier_norm=True: with norm=none"),
        ({"kind": "mlp", "pool": "max"}, "network.pool=max: only in convnet and vgg, this is mlp"),
        ({"residual": "sew"}, "network.residual=sew: only in resnet19, this is convnet"),
        ({"kind": "mlp", "lateral": "channel"}, "network.lateral=channel: .* an mlp can have network.recurrent"),
        ({"lateral": "feature", "hidden": ()}, "network.lateral=feature: .* set network.hidden"),
        ({"dropout": 0.2, "hidden": ()}, "network.dropout=0.2: .* set network.hidden"),
        ({"hidden_output": "potential", "hidden": ()}, "network.hidden_output=potential: .* set network.hidden"),
        ({"hidden_output": "potential", "surrogate_linear": "dspike"}, "dspike: hidden_output.* softplus"),
        ({"readout": "potential", "surrogate_linear": "dspike"}, "surrogate_linear=dspike: readout=potential needs"),
        ({"kind": "mlp", "recurrent": True, "hidden_output": "potential"}, "network.recurrent: carries spikes"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused_with_what_to_do(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        made(**settings)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError, match=r"recurrent=True: .*; network\.dropout.*; network\.channels: .* 15 x 16"):
        made((2, 15, 16), recurrent=True, dropout=0.2, hidden=())


@pytest.mark.parametrize(("size", "channels"), [((8, 12), (1, 1, 1)), ((7, 8), (1,)), ((8, 9), (1,)), ((2, 2), (1, 1))])
def test_images_too_small_for_the_poolings_are_refused(size: tuple[int, int], channels: tuple[int, ...]) -> None:
    factor = 2 ** len(channels)
    with pytest.raises(UsageError, match=f"divisible by {factor}, these are {size[0]} x {size[1]}"):
        made((1, *size), channels=channels)


def test_sizes_at_the_limits_and_one_past_them() -> None:
    assert made((1, 4, 4), channels=(1, 1))(torch.rand(2, 1, 4, 4)).logits.shape == (2, 3)
    with pytest.raises(UsageError, match=r"kind=vgg: 4 poolings by two .* divisible by 16, these are 16 x 17"):
        made((1, 16, 17), kind="vgg")
    for size, pooled in (((1, 1), 1), ((33, 36), 9), ((5, 8), 2)):
        network = made((1, *size), kind="resnet19", width=0.02)
        assert network.layers["pool"].kernel_size == pooled
        assert network.eval()(torch.rand(1, 1, *size)).logits.shape == (1, 3)
    with pytest.raises(UsageError, match=r"kind=resnet19: averages over 9 x 10 places .* square images"):
        made((1, 33, 37), kind="resnet19")


@pytest.mark.parametrize("kind", ["convnet", "vgg", "resnet19"])
def test_values_that_are_no_images_are_refused_but_in_an_mlp(kind: str) -> None:
    with pytest.raises(
        UsageError, match=rf"kind={kind}: needs images of shape \(C, H, W\), these are \(64,\); use mlp"
    ):
        made((64,), kind=kind)
