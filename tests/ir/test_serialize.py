"""Plain values and named arrays: what is written comes back, and nothing else is ever made."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, AvgPool2d, Conv2d, CubaLIF, Flatten, Input, Linear, MembraneReadout, SumPool2d
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.serialize import decode, encode
from neurodeploy.ir.synapses import DenseSynapses

KINDS = ("dense", "conv", "residual", "recurrent", "lateral")
WHERE = "some/manifest.json"


def same(left: Any, right: Any) -> None:
    """Equal in type, structure and every bit; an oracle of its own that shares nothing with the encoder."""
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        np.testing.assert_array_equal(left, right)
    elif is_dataclass(left):
        for field in fields(left):
            same(getattr(left, field.name), getattr(right, field.name))
    elif hasattr(left, "items"):
        assert list(left) == list(right)
        for name in left:
            same(left[name], right[name])
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            same(one, other)
    else:
        assert left == right


def there_and_back(value: Any) -> Any:
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(encode(value, arrays, "x"), allow_nan=False)
    return decode(json.loads(text), arrays, type(value), WHERE)


def toy(neurons: FixedPointNeurons | FloatNeurons) -> Program:
    weight = np.array([[1, -2, 3], [127, -127, 0]])
    weight.setflags(write=False)
    exponent = -8 if isinstance(neurons, FixedPointNeurons) else 0
    first = DenseSynapses("fc", "input", weight, 1, 61, np.array([[0, 62, 1], [2, 3, 4]]), exponent)
    layer = Layer("a", (2,), (first, DenseSynapses("plain", "input", weight)), neurons, 0.25)
    return Program("loihi2", 4, Input((3,), 0.5, 2), (layer,), "spike_count")


FIXED = FixedPointNeurons(np.array(7), np.array([5, 2**20]), np.array([-3, 4]), 6, np.array([0, 4095]))
FLOAT = FloatNeurons(np.array(0.1), np.array(1 / 3), np.array([-1e-300, 5e300]), "subtract", True, np.array(1 / 7))


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", KINDS)
def test_networks_come_back(random_network: Any, kind: str, reset: str) -> None:
    for seed in range(3):
        network = random_network(np.random.default_rng(seed), kind, reset=reset, at_threshold=seed == 1)
        same(there_and_back(network), network)


@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal", "ideal"])
@pytest.mark.parametrize("kind", KINDS)
def test_programs_come_back(lively_case: Any, kind: str, chip: str) -> None:
    _, program, _ = lively_case(np.random.default_rng(0), kind, chip)
    same(there_and_back(program), program)


@pytest.mark.parametrize("neurons", [FIXED, FLOAT])
def test_every_field_comes_back_bit_for_bit(neurons: FixedPointNeurons | FloatNeurons) -> None:
    program = toy(neurons)
    read = there_and_back(program)
    same(read, program)
    assert read.layers[0].neurons.threshold.shape == neurons.threshold.shape


def test_every_geometry_comes_back() -> None:
    conv = Conv2d(np.ones((4, 1, 3, 2)), np.zeros(4), (2, 1), (0, 3), (1, 2), groups=2)
    nodes = {"in": Input((2, 12, 12)), "conv": conv, "sum": SumPool2d(1), "avg": AvgPool2d(1), "flat": Flatten()}
    nodes |= {"fc": Linear(np.ones((2, 320)), np.zeros(2)), "lif": LIF(1.0, 1e-9)}
    nodes |= {"cuba": CubaLIF(0.1, 1 / 3, 2.0, "subtract", True), "out": MembraneReadout(0.5)}
    network = sequential(nodes.items(), 1)
    same(there_and_back(network), network)


@pytest.mark.parametrize("neurons", [FIXED, FLOAT])
def test_a_file_from_before_currents_delays_and_exponents_is_read(neurons: FixedPointNeurons | FloatNeurons) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    content = encode(toy(neurons), arrays, "x")
    del layer_of(content)["neurons"]["current_decay"]
    for name in ("delays", "weight_exponent"):
        del layer_of(content)["synapses"][0][name]
    read = decode(content, arrays, Program, WHERE).layers[0]
    assert read.neurons.current_decay == (4096 if isinstance(neurons, FixedPointNeurons) else 0.0)
    assert (read.synapses[0].delay, read.synapses[0].delays, read.synapses[0].weight_exponent) == (61, None, 0)


def test_arrays_without_dimensions_stay_without() -> None:
    read = there_and_back(toy(FIXED)).layers[0].neurons
    assert (read.voltage_decay.shape, int(read.voltage_decay)) == ((), 7)


def test_arrays_that_were_read_cannot_be_changed() -> None:
    layer = there_and_back(toy(FIXED)).layers[0]
    for array in (layer.synapses[0].weight, layer.neurons.threshold, layer.neurons.bias_mantissa):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-128, 127], np.int8),
        ([-129, 0], np.int16),
        ([0, 128], np.int16),
        ([-(2**15), 2**15 - 1], np.int16),
        ([0, 2**15], np.int32),
        ([-(2**31), 0], np.int32),
        ([0, 2**31], np.int64),
        ([-(2**31) - 1, 0], np.int64),
    ],
)
def test_integers_take_the_narrowest_type_that_holds_them(values: list[int], kind: type) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    encode(np.array(values), arrays, "x")
    assert arrays["x"].dtype == kind
    np.testing.assert_array_equal(arrays["x"].astype(np.int64), values)


def test_what_is_not_ours_cannot_be_written() -> None:
    with pytest.raises(TypeError, match=r"x\.0: complex cannot be written"):
        encode((1j,), {}, "x")


def layer_of(content: dict[str, Any]) -> dict[str, Any]:
    return content["layers"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(type="os.system"), "os.system"),
        (lambda c: c.update(type="Path"), "Path"),
        (lambda c: c.update(type=["Program"]), "unhashable"),
        (lambda c: c.pop("type"), "type"),
        (lambda c: c.update(colour="red"), "colour"),
        (lambda c: c.update(shapes={"mapping": []}), "shapes"),  # inferred, never given
        (lambda c: c.pop("steps"), "steps"),
        (lambda c: c.update(steps=0), "steps 0"),
        (lambda c: c.update(steps="4"), "steps"),
        (lambda c: c.update(steps=4.0), "steps"),
        (lambda c: c.update(steps=True), "steps"),
        (lambda c: c.update(steps=None), "steps"),
        (lambda c: c.update(chip=7), "chip"),
        (lambda c: c.update(readout="loudest"), "readout"),
        (lambda c: c.update(layers=[]), "at least one layer"),
        (lambda c: c.update(layers="abc"), "layers"),
        (lambda c: c.update(layers=c["input"]), "layers"),
        (lambda c: c["input"].update(shape=[3.0]), "shape"),
        (lambda c: c["input"].update(shape=[-3]), "shape"),
        (lambda c: c["input"].update(bits=1.5), "bits"),
        (lambda c: c["input"].update(bits=9), "bits 9"),
        (lambda c: c["input"].update(scale="1"), "scale"),
        (lambda c: c["input"].update(scale=float("nan")), "scale"),
        (lambda c: layer_of(c).update(scale=-1.0), "scale"),
        (lambda c: layer_of(c).update(name=3), "name"),
        (lambda c: layer_of(c).update(fires=0), "fires"),
        (lambda c: layer_of(c).update(shape=[3]), "layer a"),
        (lambda c: layer_of(c).update(synapses=[]), "at least one synapse"),
        (lambda c: layer_of(c).update(neurons=c["input"]), "neurons"),
        (lambda c: layer_of(c).update(neurons=None), "neurons"),
        (lambda c: layer_of(c)["neurons"].update(threshold=5), "threshold"),
        (lambda c: layer_of(c)["neurons"].update(bias_exponent=8), "bias exponent 8"),
        (lambda c: layer_of(c)["neurons"].update(bias_exponent=6.0), "bias_exponent"),
        (lambda c: layer_of(c)["synapses"][0].update(weight={"array": "nowhere"}), "nowhere"),
        (lambda c: layer_of(c)["synapses"][0].update(weight={"array": ["x"]}), "unhashable"),
        (lambda c: layer_of(c)["synapses"][0].update(weight=[[1, 2, 3], [4, 5, 6]]), "weight"),
        (lambda c: layer_of(c)["synapses"][0].update(pool=1.0), "pool"),
        (lambda c: layer_of(c)["synapses"][0].update(source="elsewhere"), "elsewhere"),
        (lambda c: layer_of(c)["synapses"][0].update(delay=63), "delay 63"),
        (lambda c: layer_of(c)["synapses"][0].update(delay=-1), "delay -1"),
        (lambda c: layer_of(c)["synapses"][0].update(delay=2**70), "delay"),
        (lambda c: layer_of(c)["synapses"][0].update(delay=True), "delay"),
        (lambda c: layer_of(c)["synapses"][0].update(delays=3), "delays"),
        (lambda c: layer_of(c)["synapses"][0].update(delays=layer_of(c)["neurons"]["threshold"]), "delays of shape"),
        (
            lambda c: layer_of(c)["synapses"][0].update(delays=layer_of(c)["synapses"][0]["weight"]),
            "delays -127 to 127",
        ),
        (lambda c: layer_of(c)["synapses"][0].update(weight_exponent=8), "weight exponent 8"),
        (lambda c: layer_of(c)["synapses"][0].update(weight_exponent=-9), "weight exponent -9"),
        (lambda c: layer_of(c)["synapses"][0].update(weight_exponent=-1.0), "weight_exponent"),
        (lambda c: layer_of(c)["neurons"].update(current_decay=4096), "current_decay"),
        (
            lambda c: layer_of(c)["neurons"].update(current_decay=layer_of(c)["neurons"]["bias_mantissa"]),
            "current decay outside",
        ),
    ],
)
def test_an_altered_program_is_refused_with_the_file(change: Callable[[dict[str, Any]], object], said: str) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    content = encode(toy(FIXED), arrays, "x")
    same(decode(json.loads(json.dumps(content)), arrays, Program, WHERE), toy(FIXED))
    change(content)
    with pytest.raises(FileFormatError, match=f"^{WHERE}: .*{said}"):
        decode(content, arrays, Program, WHERE)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"mapping": 5}, "int"),
        ({"mapping": [["a", 1, 2]]}, "unpack"),
        ({"mapping": []}, "holds a dict"),
        ({}, "type"),
        ([], "holds a tuple"),
        ("Program", "holds a str"),
        (None, "holds a NoneType"),
        ({"type": "Flatten"}, "holds a Flatten where a Program is expected"),
    ],
)
def test_another_object_is_refused_with_the_file(value: Any, said: str) -> None:
    with pytest.raises(FileFormatError, match=f"^{WHERE}: .*{said}"):
        decode(value, {}, Program, WHERE)


@pytest.mark.parametrize("name", ["threshold", "weight", "bias_mantissa", "current_decay", "delays"])
def test_floats_where_a_chip_stores_integers_are_refused(name: str) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    content = encode(toy(FIXED), arrays, "x")
    full = next(key for key in arrays if key.endswith(name))
    arrays[full] = arrays[full] + 0.5
    with pytest.raises(FileFormatError, match=WHERE):
        decode(content, arrays, Program, WHERE)


def test_weights_that_are_not_finite_are_refused(random_network: Any) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    content = encode(random_network(np.random.default_rng(0), "dense"), arrays, "x")
    name = next(key for key in arrays if key.endswith("weight"))
    arrays[name] = arrays[name].copy()
    arrays[name][0, 0] = np.nan
    with pytest.raises(FileFormatError, match=f"{WHERE}: not a valid Network: .*nan"):
        decode(content, arrays, Network, WHERE)


def test_deep_nesting_is_refused_without_exhausting_the_stack() -> None:
    value: Any = 1
    for _ in range(17):
        value = [value]
    with pytest.raises(FileFormatError, match="nested too deeply"):
        decode({"type": "Input", "shape": value}, {}, Program, WHERE)
    for _ in range(100_000):
        value = [value]
    with pytest.raises(FileFormatError, match="nested too deeply"):
        decode(value, {}, Program, WHERE)
