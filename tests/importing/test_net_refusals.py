""".net files that cannot be taken are refused, with layer and reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from importing.slayer_files import conv, cuba, dense, flatten, put_in, write_net

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.importing.net import read_net

T = 5
W = np.array([[2, -4, 6], [8, 10, -254]], dtype=np.float32)
ONE = conv(np.ones((1, 1, 2, 2)), (1, 2, 3), cuba())


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([put_in(3), {"type": "pool"}], "layer 1 of type 'pool' is refused: netx has no pooling"),
        ([put_in(3), {"type": "average"}], "'average' is refused: netx does not average"),
        ([put_in(3), {"type": "convT"}], "'convT' is refused"),
        ([put_in(3), {"type": "unpool"}], "'unpool' is refused"),
        ([put_in(3), {"type": "concat"}], "'concat' is refused: netx knows chains"),
        ([put_in(3), {"type": "dense_comp"}], "'dense_comp' is refused: complex weights"),
        ([put_in(3), {"type": "blurb"}], "'blurb' is refused: netx skips it without a word; allowed are input, conv"),
        ([put_in(3), put_in(3), dense(W, cuba())], "only layer 0 can be the input"),
        ([put_in(3)], "no layer with neurons"),
        ([put_in(4), dense(W, cuba())], "weight of shape (2, 3) for 4 values that arrive"),
        ([put_in(3), dense(W, cuba()), flatten(2), dense(W[:, :2], cuba())], "can be flattened"),
        ([put_in(1, 3, 4), ONE, dense(np.ones((2, 6)), cuba())], "without a flatten layer"),
        ([put_in(3), dense(W, cuba()), ONE], "input shape (2,) where (1, height, width)"),
        ([{"type": "input"}, ONE], "the file's input layer has no shape"),
        ([put_in(1, 3, 4), conv(np.ones((1, 1, 2, 2)), (1, 3, 3), cuba())], "but its geometry gives (1, 2, 3)"),
        ([put_in(1, 3, 4), conv(np.full((1, 1, 2, 2), 256), (1, 2, 3), cuba())], "hold -256 to 255"),
        ([put_in(1, 3, 4), conv(np.full((1, 1, 2, 2), -257), (1, 2, 3), cuba())], "hold -256 to 255"),
        ([put_in(1, 3, 4), {**ONE, "neuron": None}], "a group with type"),
        ([put_in(3), dense(W, {**cuba(), "type": "SDNN"})], "sigma-delta and resonate"),
        ([put_in(3), dense(W, cuba(messageBits=8))], "neuron/messageBits: netx 0.6.0 fails"),
        ([put_in(3), dense(W, cuba(4097))], "iDecay 4097 to 4097: allowed are 0 to 4096"),
        ([put_in(3), dense(W, cuba(voltage=-1))], "vDecay -1 to -1"),
        ([put_in(3), dense(W, cuba(threshold=2**18))], "vThMant 262144 to 262144: allowed are 0 to 262143"),
        ([put_in(3), dense(W, cuba(voltage=128.0))], "vDecay of type float64: integers are expected"),
        ([put_in(3), dense(W, cuba(np.uint16(0)))], "iDecay 0 of an unsigned type"),
        ([put_in(3), dense(W, cuba(np.array([1, 2, 3])))], "parameters of neurons of shape (3,)"),
        ([put_in(3), dense(W, cuba(), bias=[1, 2, 3])], "bias of shape (3,)"),
        ([put_in(3), dense(W, cuba(), bias=[0, 32768])], "bias wraps beyond ±32767"),
        ([put_in(3), dense(W, cuba(), delay=-1)], "delay -1: must not be negative"),
        ([put_in(3), dense(W, cuba(), delay=[1, 2, 3, 4])], "delay of shape (4,)"),
        ([put_in(3), dense(W, cuba(), kind="dense_rec", weight_rec=W[:, :2], delay=1)], "netx fails on it with 3 in"),
        ([put_in(3), dense(W, cuba(), kind="dense_rec", weight_rec=W)], "weight_rec of shape (2, 3)"),
        ([put_in(3), dense(W, cuba(), kind="dense_rec")], "weight_rec: numbers are expected, it is missing"),
        ([put_in(3), dense(0 * W, cuba())], "all weights are 0"),
        ([put_in(3), dense(2**30 * W, cuba())], "weight up to"),
        ([put_in(3), dense(np.abs(W) + 100, cuba())], "netx shifts them by -1 bits"),
        ([put_in(3), {**dense(W, cuba()), "weight": "text"}], "weight: numbers are expected, it is of type object"),
        ([put_in(3), {**dense(W, cuba()), "weight": W.ravel()[:5]}], "weight of shape (5,) for 2 neurons"),
        ([put_in(3), {**dense(W, cuba()), "shape": np.zeros(0, dtype=int)}], "shape: numbers are expected"),
        ([put_in(3), {**dense(W, cuba()), "shape": [0]}], "shape 0 to 0"),
        ([put_in(1, 3, 4), {**ONE, "groups": [1]}], "groups of shape (1,)"),
        ([put_in(1, 3, 4), {**ONE, "stride": [1, 1, 1]}], "one number or two"),
        ([put_in(3, neuron=cuba(), weight=200), dense(W, cuba())], "lava-nc's bias wraps above 32767"),
        ([put_in(2, 3, neuron=cuba()), flatten(6), dense(W, cuba())], "(channels, height, width) or (n,) is expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused_with_layer_and_reason(layers: list[Any], says: str, tmp_path: Path) -> None:
    layers = [{name: value for name, value in layer.items() if value is not None} for layer in layers]
    path = write_net(tmp_path / "n.net", *layers)
    with pytest.raises(FileFormatError) as caught:
        read_net(path, T, 8 if "wraps above" in says else 1)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda file: file.create_group("other"), "not a .net file"),
        (lambda file: file.create_dataset("layer", data=1), "not a .net file"),
        (lambda file: file.create_group("layer/1"), "layers 1: 0 to 0 are expected"),
        (lambda file: file.create_group("layer/0"), "type: a text is expected, it is missing"),
        (lambda file: file.create_dataset("layer/0/type", data=3), "type: a text is expected, it is of type int64"),
        (lambda file: file.create_dataset("layer/0", data=3), "layer 0: a group is expected"),
        (lambda file: file.create_dataset("layer/0/w", shape=(2**40,), dtype="f8", chunks=(1,)), "brings the arrays"),
        (lambda file: file.__setitem__("layer", h5py.ExternalLink("/etc/hosts", "/")), "ExternalLink"),
    ],
)  # fmt: skip
def test_files_of_another_structure(make: Callable[[h5py.File], Any], says: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "n.net", "w") as file:
        make(file)
    with pytest.raises(FileFormatError) as caught:
        read_net(tmp_path / "n.net", T)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((2**31 - 1,), "2147483647 neurons; at most 4194304"),
        ((1, 2**20, 2**20), "1099511627776 neurons; at most 4194304"),
        ((1, 1, 2**22 + 1), "4194305 neurons"),
        ((30000,), "30000 x 30000 weights of the input; at most 33554432"),
        ((5793,), "5793 x 5793 weights"),
    ],
)
def test_a_small_file_that_claims_a_large_network_is_refused(shape: tuple[int, ...], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        read_net(write_net(tmp_path / "x.net", put_in(*shape, neuron=cuba()), dense([[1]], cuba())), 4)


def test_the_largest_input_with_neurons_is_taken(tmp_path: Path) -> None:
    layer = read_net(
        write_net(tmp_path / "x.net", put_in(1, 2**11, 2**11, neuron=cuba()), flatten(2**22)), 1
    ).program.layers[0]
    assert layer.shape == (1, 2**11, 2**11)
