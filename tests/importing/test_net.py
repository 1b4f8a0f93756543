""".net files read by value, and what is refused; equality with the real netx stands in test_netx.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from importing.slayer_files import conv, cuba, dense, flatten, put_in, whole_biases, write_net

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.export import netx
from neurodeploy.importing.net import read_net
from neurodeploy.importing.netx_weights import load_dense
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import FixedPointNeurons, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses

T = 5
W = np.array([[2, -4, 6], [8, 10, -254]], dtype=np.float32)


def program(tmp_path: Path, *layers: Any, **options: Any) -> Program:
    return read_net(write_net(tmp_path / "n.net", *layers), **({"steps": T} | options)).program


def fixed(program: Program, layer: int) -> FixedPointNeurons:
    neurons = program.layers[layer].neurons
    assert isinstance(neurons, FixedPointNeurons)
    return neurons


def test_a_dense_layer_by_value(tmp_path: Path) -> None:
    layer = dense(W, cuba(1024, 128, 80), bias=np.float32([3.9, -3.9]))
    read = program(tmp_path, put_in(3), layer)
    (synapses,) = read.layers[0].synapses
    neurons = fixed(read, 0)
    assert isinstance(synapses, DenseSynapses)
    assert (read.chip, read.steps, read.input.shape, read.input.bits, read.input.scale) == ("loihi2", T, (3,), 1, 1.0)
    assert (synapses.source, synapses.delay, synapses.delays) == ("input", 0, None)
    np.testing.assert_array_equal(synapses.weight * 2**synapses.weight_exponent, W)
    assert synapses.weight.min() >= -128  # a chip's 8 bits, where the file has twice that
    assert (neurons.current_decay, neurons.voltage_decay, neurons.threshold) == (1024, 128, 80)
    assert (neurons.bias_exponent, neurons.bias_mantissa.tolist()) == (6, [3, -3])
    assert (read.readout, read.layers[0].fires, read.layers[0].shape) == ("spike_count", True, (2,))


def test_a_flat_weight_and_no_input_layer(tmp_path: Path) -> None:
    layer = dense(W, cuba()) | {"weight": W.ravel()}
    read = program(tmp_path, layer)
    assert read.input.shape == (3,)
    np.testing.assert_array_equal(read.layers[0].synapses[0].weight * 2, W)


def test_a_convolution_by_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 127, (4, 2, 3, 2, 1))
    geometry = {"stride": [2, 1], "padding": 1, "dilation": [1, 2], "groups": 2, "bias": np.arange(4)}
    chain = [put_in(4, 7, 9), conv(weight, (4, 4, 9), cuba(), **geometry), flatten(144, 1, 1)]
    read = program(tmp_path, *chain, dense(np.eye(144)[:3] + 1, cuba()))
    (synapses,) = read.layers[0].synapses
    assert isinstance(synapses, ConvSynapses)
    np.testing.assert_array_equal(synapses.weight, weight[..., 0])
    found = (synapses.stride, synapses.padding, synapses.dilation, synapses.groups)
    assert found == ((2, 1), (1, 1), (1, 2), 2)
    np.testing.assert_array_equal(fixed(read, 0).bias_mantissa[:, 0, 0], np.arange(4))
    assert fixed(read, 0).bias_mantissa.shape == (4, 4, 9)
    assert read.layers[1].synapses[0].source == read.layers[0].name


def test_a_bias_per_neuron_has_lavas_order_of_axes(tmp_path: Path) -> None:
    bias = np.arange(24).reshape(4, 3, 2)  # (x, y, channel)
    read = program(tmp_path, put_in(1, 3, 4), conv(np.ones((2, 1, 1, 1)), (2, 3, 4), cuba(), bias=bias))
    np.testing.assert_array_equal(fixed(read, 0).bias_mantissa, bias.transpose(2, 1, 0))


def test_delays_per_layer_output_input_and_weight(tmp_path: Path) -> None:
    square = np.ones((3, 3))
    given: list[tuple[Any, Any]] = [
        (2, np.full((2, 3), 2)),
        ([4, 5], [[4, 4, 4], [5, 5, 5]]),
        ([1, 2, 3.9], [[1, 2, 3], [1, 2, 3]]),
        ([[0, 1, 2], [3, 62, 5]], [[0, 1, 2], [3, 62, 5]]),
        ([0, 99], [[0, 0, 0], [62, 62, 62]]),
    ]
    for delay, wanted in given:
        read = program(tmp_path, put_in(3), dense(W, cuba(), delay=np.asarray(delay)))
        np.testing.assert_array_equal(read.layers[0].synapses[0].delays, wanted)  # type: ignore[union-attr]
    # As many outputs as inputs: netx takes one delay per output.
    read = program(tmp_path, put_in(3), dense(square, cuba(), delay=[1, 2, 3]))
    np.testing.assert_array_equal(read.layers[0].synapses[0].delays, np.outer([1, 2, 3], [1, 1, 1]))  # type: ignore[union-attr]
    assert program(tmp_path, put_in(3), dense(W, cuba(), delay=0)).layers[0].synapses[0].delays is None  # type: ignore[union-attr]


def test_recurrence_waits_one_step_and_shares_the_delay(tmp_path: Path) -> None:
    rec = np.array([[0, 5], [-7, 0]])
    read = program(tmp_path, put_in(3), dense(W, cuba(), kind="dense_rec", weight_rec=rec))
    forward, back = read.layers[0].synapses
    assert (forward.source, forward.delay, back.source, back.delay) == ("input", 0, read.layers[0].name, 1)
    assert isinstance(back, DenseSynapses)
    np.testing.assert_array_equal(back.weight * 2.0**back.weight_exponent, rec)
    # With delays netx forgets to shift the sum back: scaled by 2^6 here (127 / 1 -> 6 bits, and 1 for the sign).
    ones = np.array([[1, -1], [1, 1]])
    layer = dense(ones, cuba(), kind="dense_rec", weight_rec=ones, delay=3)
    imported = read_net(write_net(tmp_path / "n.net", put_in(2), layer), T)
    for one in imported.program.layers[0].synapses:
        assert isinstance(one, DenseSynapses)
        np.testing.assert_array_equal(one.weight * 2.0**one.weight_exponent, 128 * ones)
        np.testing.assert_array_equal(one.delays, np.full((2, 2), 3))
    assert len(imported.warnings) == 2
    assert "4 of 4 weights do not act as they are in the file" in imported.warnings[0]


def test_readouts_that_never_fire(tmp_path: Path) -> None:
    for neuron, wanted in ((None, (0, 4096)), (cuba(600, 100, 2**18 - 1), (600, 100))):
        read = program(tmp_path, put_in(3), dense(W, cuba()), dense(np.ones((2, 2)), neuron))
        assert (read.readout, read.layers[1].fires) == ("membrane", False)
        assert (fixed(read, 1).current_decay, fixed(read, 1).voltage_decay) == wanted
    for threshold, fires in ((2**17 - 2, True), (2**17 - 1, False), (2**17, False)):
        assert program(tmp_path, put_in(3), dense(W, cuba(threshold=threshold))).layers[0].fires is fires


def test_an_input_with_neurons_is_driven_through_its_bias(tmp_path: Path) -> None:
    neuron = cuba(100, 500, 90)
    source = put_in(2, 2, 3, neuron=neuron, weight=[[9.9]], bias=[[-5.5]])
    read = program(tmp_path, source, flatten(12), dense(W[:, [0] * 12], cuba()), input_bits=8)
    first = read.layers[0]
    assert (first.shape, first.synapses[0].source, read.input.bits) == ((2, 2, 3), "input", 8)
    assert set(first.synapses[0].weight.ravel().tolist()) == {9}
    assert set(fixed(read, 0).bias_mantissa.ravel().tolist()) == {-5}
    assert (fixed(read, 0).current_decay, fixed(read, 0).voltage_decay) == (4096, 500)
    plain = program(tmp_path, put_in(3, neuron=neuron), dense(W, cuba()))
    np.testing.assert_array_equal(plain.layers[0].synapses[0].weight, 64 * np.eye(3))  # netx's default


def test_parameters_per_channel_and_per_neuron(tmp_path: Path) -> None:
    neuron = cuba(np.array([10, 20]), np.array([30, 40]), np.array([50, 60]))
    read = program(tmp_path, put_in(1, 3, 4), conv(np.ones((2, 1, 1, 1)), (2, 3, 4), neuron))
    for name, values in (("current_decay", [10, 20]), ("voltage_decay", [30, 40]), ("threshold", [50, 60])):
        np.testing.assert_array_equal(
            getattr(fixed(read, 0), name), np.broadcast_to(np.reshape(values, (2, 1, 1)), (2, 3, 4))
        )
    read = program(tmp_path, put_in(3), dense(W, cuba(1, 2, np.array([50, 60]))))
    assert fixed(read, 0).threshold.tolist() == [50, 60]


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (dense(W + 0.25, cuba()), "layer 1 (dense): 6 of 6 values of weight are not whole numbers"),
        (dense(W, cuba(), bias=[0.5, 1]), "1 of 2 values of bias are not whole numbers"),
        (dense(W, cuba(), delay=63), "delays up to 63 are clipped to 62"),
        (dense(W, cuba(), delay=1.5), "delays are not whole numbers"),
        (dense(W, cuba(refDelay=2)), "neuron/refDelay is 2; netx does not read it"),
        (dense(W, cuba(gradedSpike=True)), "neuron/gradedSpike is True; netx does not read it"),
        (dense(W, cuba(weight_exp=[1, 2])), "neuron/weight_exp is 1 to 2; netx does not read it"),
        (dense(W - 4, cuba()), "1 of 6 weights do not act as they are in the file"),
    ],
)
def test_what_netx_does_silently_is_a_warning(layer: Any, says: str, tmp_path: Path) -> None:
    (warning,) = read_net(write_net(tmp_path / "n.net", put_in(3), layer), T).warnings
    assert says in warning


def test_a_convolutions_delay_is_ignored_with_a_warning(tmp_path: Path) -> None:
    layer = conv(np.ones((1, 1, 1, 1)), (1, 3, 4), cuba(), delay=[2.5])
    imported = read_net(write_net(tmp_path / "n.net", put_in(1, 3, 4), layer), T)
    assert imported.warnings == ("layer 1 (conv): delays up to 2.5 of a convolution are ignored, as netx does",)
    assert imported.program.layers[0].synapses[0].delay == 0
    silent = conv(np.ones((1, 1, 1, 1)), (1, 3, 4), cuba(), delay=[0.5])
    assert read_net(write_net(tmp_path / "n.net", put_in(1, 3, 4), silent), T).warnings == ()


def test_entries_that_netx_does_not_read_are_named(tmp_path: Path) -> None:
    """As Lava swallows `LIF(bias=1000)`: the bias of neurons is the layer's own entry."""
    layer = dense(W, cuba(bias=1000), weights=W)
    plain = read_net(write_net(tmp_path / "p.net", put_in(3), dense(W, cuba())), T)
    found = read_net(write_net(tmp_path / "n.net", put_in(3, colour=1), layer), T)
    assert found.warnings == (
        "layer 0 (input): 'colour': netx reads no such entry, and it has no effect",
        "layer 1 (dense): 'neuron/bias', 'weights': netx reads no such entry, and it has no effect",
    )
    assert not found.program.layers[0].neurons.bias.any()
    assert np.array_equal(found.program.layers[0].synapses[0].weight, plain.program.layers[0].synapses[0].weight)
    many = dense(W, cuba()) | {f"x{index}ä": 1 for index in range(9)}
    (warning,) = read_net(write_net(tmp_path / "m.net", put_in(3), many), T).warnings
    assert warning.isascii()
    assert "and 4 more: netx reads" in warning


def test_plain_files_bring_no_warnings(tmp_path: Path) -> None:
    assert read_net(write_net(tmp_path / "n.net", put_in(3), dense(W, cuba(wgtExp=0))), T).warnings == ()


def test_steps_from_the_option_or_the_file(tmp_path: Path) -> None:
    times = {"Ts": 2.0, "tSample": 300}
    path = write_net(tmp_path / "n.net", put_in(3), dense(W, cuba()), simulation=times)
    assert (read_net(path).program.steps, read_net(path, 7).program.steps) == (150, 7)
    path = write_net(tmp_path / "n.net", put_in(3), dense(W, cuba()))
    with pytest.raises(UsageError, match="give --steps") as caught:
        read_net(path)
    assert not isinstance(caught.value, FileFormatError)
    for steps in (0, 2**20 + 1):
        with pytest.raises(UsageError, match="allowed are 1 to 1048576"):
            read_net(path, steps)
    for bits in (0, 9):
        with pytest.raises(UsageError, match="--input-bits"):
            read_net(path, T, bits)


def test_our_own_export_comes_back(lively_case: Callable[..., Any], tmp_path: Path) -> None:
    """Every number of a Program that export/netx.py writes; convolutions and dense layers, graded and binary input."""
    for seed, kind, bits in ((0, "dense", 1), (1, "dense", 8), (2, "conv", 1), (3, "conv", 8)):
        _, written, _ = lively_case(np.random.default_rng(seed), kind, "loihi2", bits=bits)
        written = whole_biases(written)
        netx.write(written, tmp_path / "n.net")
        read = read_net(tmp_path / "n.net", written.steps, bits).program
        assert len(read.layers) == len(written.layers)
        assert read.readout == written.readout
        for before, after in zip(written.layers, read.layers, strict=True):
            assert after.shape == before.shape
            assert after.fires == before.fires
            for name in ("voltage_decay", "current_decay", "bias", "threshold"):
                np.testing.assert_array_equal(getattr(after.neurons, name), getattr(before.neurons, name), name)
            np.testing.assert_array_equal(_weights(read, after.synapses[0]), _weights(written, before.synapses[0]))


def _weights(program: Program, synapses: Any) -> Any:
    if isinstance(synapses, ConvSynapses):
        return synapses.expanded().weight
    return synapses.expanded(program.shapes[synapses.source]).weight * 2.0**synapses.weight_exponent


def test_dense_weights_that_come_out_as_they_are() -> None:
    """All matrices of small integers with both signs, and slayer's even numbers of twice 8 bits."""
    rng = np.random.default_rng(0)
    for low, high, step in ((-128, 128, 1), (-128, 128, 2), (0, 256, 1)):
        for _ in range(50):
            weight = step * rng.integers(low, high, (3, 4))
            weight[0, :2] = step * low, step * (high - 1)
            (loaded,) = load_dense((weight,))
            np.testing.assert_array_equal(loaded.weight * 2.0**loaded.exponent, weight)
            assert loaded.changed(weight) == 0


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([[300, -1]], [[254, -1]]),
        ([[-300, 1]], [[-256, 1]]),
        ([[-3, 0, -2]], [[-3, 0, -2]]),
        ([[-1, 0]], [[-0.5, 0]]),  # -256 does not fit into 8 bits without sign, and one bit too few is cut
        ([[255, 1]], [[255, 1]]),
    ],
)
def test_dense_weights_that_netx_changes(given: list[list[int]], wanted: list[list[float]]) -> None:
    weight: IntArray = np.array(given)
    (loaded,) = load_dense((weight,))
    np.testing.assert_array_equal(loaded.weight * 2.0**loaded.exponent, wanted)
    assert loaded.changed(weight) == np.count_nonzero(weight != np.array(wanted))
