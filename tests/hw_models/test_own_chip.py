"""A chip of one's own: what a file may say, what is refused, and that the chip is used as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from neurodeploy import hw_models
from neurodeploy.errors import DesignRuleError, FileFormatError, UsageError
from neurodeploy.hw_models import own_chip
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.noise_presets import is_preset, noise_of
from neurodeploy.inspect.limits import check, fan_in, limit_findings
from neurodeploy.ir.network import sequential
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Linear, SpikeCountReadout, SumPool2d
from neurodeploy.quantize import quantize

TEMPLATE = yaml.safe_load(own_chip.TEMPLATE.read_text(encoding="utf-8"))


def write(folder: Path, **changes: Any) -> str:
    told = {name: value for name, value in (TEMPLATE | changes).items() if value is not ...}
    path = folder / "chip.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return str(path)


def test_the_template_is_a_chip(tmp_path: Path) -> None:
    chip = hw_models.chip(write(tmp_path))
    assert (chip.name, chip.weight_bits, chip.weight_max, chip.fan_in, chip.neurons) == ("my-chip", 5, 15, 256, 1024)
    assert (chip.resets, chip.fixed_point, chip.own) == (("zero", "subtract"), False, True)
    assert chip.knobs == (Knob("threshold", "neuron", 5, 0.3, 0, TEMPLATE["knobs"][0]["source"]),)
    assert (chip.capacitance, chip.threshold_volts) == (2e-13, 0.3)
    assert chip.noise == NoiseModel(
        threshold_mismatch=0.08, decay_mismatch=0.125, weight_mismatch=0.2, thermal=0.02, decay_as="tau",
        distribution="lognormal",
    )  # fmt: skip
    assert set(chip.sources) == {"weights", "fan_in", "neurons", "capacitance", "noise"}


def test_a_chip_that_was_read_is_known_by_name_and_by_fewer_bits(tmp_path: Path) -> None:
    path = write(tmp_path, name="known-by-name")
    chip = hw_models.chip(path)
    assert hw_models.chip("known-by-name") == chip
    assert hw_models.chip("known-by-name@3") == replace(chip, name="known-by-name@3", weight_bits=3)
    assert hw_models.chip(f"{path}@3").weight_max == 3
    with pytest.raises(UsageError, match="2 to 5 bits"):
        hw_models.chip(f"{path}@6")


def test_json_is_read_too(tmp_path: Path) -> None:
    import json

    (tmp_path / "chip.json").write_text(json.dumps(TEMPLATE | {"name": "from-json"}), encoding="utf-8")
    assert hw_models.chip(str(tmp_path / "chip.json")).name == "from-json"


def test_little_is_needed(tmp_path: Path) -> None:
    least = {"name": "least", "title": "least", "weight_bits": 2, "resets": ["zero"]}
    (tmp_path / "least.yml").write_text(
        yaml.safe_dump(least | {"sources": {"weights": "0123456789"}}), encoding="utf-8"
    )
    chip = hw_models.chip(str(tmp_path / "least.yml"))
    assert (chip.weight_max, chip.fan_in, chip.knobs, chip.noise, chip.resets) == (1, None, (), None, ("zero",))
    with pytest.raises(UsageError, match="no section noise"):
        noise_of(str(tmp_path / "least.yml"))


TRIM = {"quantity": "threshold", "per": "neuron", "bits": 3, "source": "0123456789"}
WRITTEN = {"quantity": "weight", "per": "synapse", "bits": 5, "source": "0123456789"}


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"name": "My Chip"}, ["name='My Chip'"]),
        ({"name": "loihi2"}, ["'loihi2' is a chip of neurodeploy's own"]),
        ({"weight_bits": 1}, ["weight_bits='1'", "greater than or equal to 2"]),
        ({"weight_bits": 25}, ["less than or equal to 24"]),
        ({"weight_bits": "five"}, ["weight_bits='five'"]),
        ({"resets": []}, ["resets"]),
        ({"resets": ["hard"]}, ["resets.0='hard'", "'zero' or 'subtract'"]),
        ({"fan_in": 0}, ["fan_in='0'"]),
        ({"fan_on": 3}, ["fan_on: unknown, known are name, title, weight_bits"]),
        ({"weight_bits": ...}, ["weight_bits: Field required"]),
        ({"sources": {"weights": "0123456789"}}, ["none for fan_in, neurons, capacitance, noise"]),
        ({"sources": {}}, ["none for weights, fan_in"]),
        ({"threshold_volts": ...}, ["capacitance and threshold_volts: both, or neither"]),
        ({"capacitance": float("inf")}, ["capacitance"]),
        ({"evidence": "measured-silicon"}, ["evidence='measured-silicon'"]),
        ({"noise": {"mismatc": 0.1}}, ["noise.mismatc: unknown, known are mismatch"]),
        ({"noise": {"mismatch": "much"}}, ["noise.mismatch='much': a value of the kind of 0.0"]),
        ({"noise": {"mismatch": -0.1}}, ["mismatch"]),
        ({"noise": {"mismatch": True}}, ["noise.mismatch=True"]),
        ({"noise": {"decay_as": "both"}}, ["both"]),
        ({"knobs": [{"quantity": "colour", "per": "neuron", "bits": 3, "source": "0123456789"}]}, ["knobs.0.quantity"]),
        ({"knobs": [{"quantity": "threshold", "per": "core", "bits": 3, "source": "0123456789"}]}, ["core_size 0"]),
        ({"knobs": [{"quantity": "gain", "per": "neuron", "bits": 3, "span": 1, "source": "0123456789"}]}, ["span 1"]),
        ({"knobs": [TRIM, TRIM | {"span": 0.5}]}, ["knob threshold per neuron is there twice"]),
        ({"knobs": [WRITTEN | {"bits": 4}]}, ["weight per synapse of 4 bits: weights have 5"]),
        ({"knobs": [WRITTEN | {"bits": 6}]}, ["weight per synapse of 6 bits: weights have 5"]),
        ({"knobs": [WRITTEN, WRITTEN | {"quantity": "readout"}]}, ["knobs weight and readout"]),
        ({"weight_bits": 1, "fan_in": -1, "other": 1}, ["weight_bits='1'", "fan_in='-1'", "other: unknown"]),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], messages: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(FileFormatError) as refused:
        hw_models.chip(path)
    text = str(refused.value)
    assert text.startswith(f"--chip {path}: ")
    assert all(message in text for message in messages), text


@pytest.mark.parametrize(
    "content", [b"", b"- a\n- b\n", b"{", b"\xff\xfe\x00", b"a: &a [*a]\n", b"x: !!python/object/apply:os.getcwd []\n"]
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "chip.yaml").write_bytes(content)
    with pytest.raises(FileFormatError):
        hw_models.chip(str(tmp_path / "chip.yaml"))


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="No such file"):
        hw_models.chip(str(tmp_path / "none.yaml"))
    (tmp_path / "chip.yaml").write_bytes(b"#" * 70_000)
    with pytest.raises(FileFormatError, match="more than 65536 bytes"):
        hw_models.chip(str(tmp_path / "chip.yaml"))


def test_what_an_artifact_keeps_is_the_chip(tmp_path: Path) -> None:
    chip = hw_models.chip(write(tmp_path, name="kept"))
    kept = hw_models.to_remember(chip)
    assert own_chip.chip_of(kept["own_chip"], "here") == chip
    assert hw_models.to_remember(hw_models.chip("loihi2")) == {}
    hw_models.remember({})
    hw_models.remember({"own_chip": kept["own_chip"] | {"name": "remembered"}})
    assert hw_models.chip("remembered") == replace(chip, name="remembered")
    with pytest.raises(FileFormatError, match="own_chip"):
        hw_models.remember({"own_chip": {"name": 3}})


def test_its_noise_is_a_preset(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert is_preset(path)
    assert is_preset("dynap-se")
    assert not is_preset("mismatch=0.1")
    assert noise_of(path) == hw_models.chip(path).noise


def network() -> Any:
    rng = np.random.default_rng(0)
    conv = Conv2d(rng.uniform(0.5, 1, (3, 2, 3, 3)), np.zeros(3), padding=(1, 1))
    weight = rng.uniform(0.5, 1, (5, 3 * 2 * 2))
    weight[2:, 4:] = 0
    nodes = [("image", Input((2, 4, 4))), ("conv", conv), ("a", LIF(0.9, 1.0)), ("pool", SumPool2d(2))]
    nodes += [
        ("flat", Flatten()),
        ("fc", Linear(weight, np.zeros(5))),
        ("b", LIF(0.9, 1.0)),
        ("n", SpikeCountReadout()),
    ]
    return sequential(nodes, 4)


def test_fan_in_counts_weights_that_are_not_zero() -> None:
    program = quantize(network(), hw_models.chip("mixed-signal"))
    assert {layer.name: fan_in(layer) for layer in program.layers} == {"a": 18, "b": 48}  # 12 sums of 2 x 2 spikes


@pytest.mark.parametrize(("limit", "layers"), [(48, []), (47, ["b"]), (18, ["b"]), (17, ["a", "b"])])
def test_fan_in_is_a_design_rule(limit: int, layers: list[str]) -> None:
    chip = replace(hw_models.chip("mixed-signal"), fan_in=limit)
    found = limit_findings(quantize(network(), chip), chip)
    assert [one.layer for one in found] == layers
    assert all((one.rule, one.severity, one.limit) == ("FAN-IN", "violation", limit) for one in found)
    if layers:
        with pytest.raises(
            DesignRuleError, match=f"{len(layers)} violated\n.*layer {layers[0]}: inputs of a neuron"
        ) as raised:
            check(quantize(network(), chip), chip)
        assert raised.value.exit_code == 3


@pytest.mark.parametrize(("limit", "fits"), [(53, True), (52, False)])
def test_neurons_are_counted(limit: int, fits: bool) -> None:
    chip = replace(hw_models.chip("mixed-signal"), neurons=limit)
    found = limit_findings(quantize(network(), chip), chip)
    assert [(one.rule, one.layer, one.measured) for one in found] == ([] if fits else [("NEURONS", "a", 53)])
