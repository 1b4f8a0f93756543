"""What training with a chip's rounding computed with is what is exported: code for code, through the file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from neurodeploy import hw_models
from neurodeploy.config import load_config
from neurodeploy.deployment import examine, export_model
from neurodeploy.errors import DesignRuleError, FileFormatError
from neurodeploy.experiment import load_data, train_model
from neurodeploy.hw_models import chip, own_chip
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.simulate.engine import run_chips
from neurodeploy.snn import rounding
from neurodeploy.snn.fake_quant import FakeQuant, Scales
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.trace import trace
from neurodeploy.snn.trained_scales import TrainedScales, quantize_model, trained_rounding, trained_scales

CHIP = "loihi2@3"
SETTINGS = {"network.channels": [3], "network.hidden": 12, "network.steps": 3, "train.epochs": 2, "seed": 3}
# Where the weights that each module has become synapses, and the batch norm behind it.
WEIGHTS = {"conv1": "norm1", "linear2": "norm2", "linear3": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[FakeQuant]]:
    """A model file, and every rounding that its training went through, in order."""
    path = tmp_path_factory.mktemp("aware") / "model.pt"
    made: list[FakeQuant] = []

    def watched(*arguments: Any) -> FakeQuant:
        made.append(FakeQuant(*arguments))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounding, "FakeQuant", watched)
        train_model(load_config(None, [], SETTINGS | {"noise.quantize": CHIP}), path, progress=False)
    return path, made


@pytest.fixture
def path(trained: tuple[Path, list[FakeQuant]], tmp_path: Path) -> Path:
    """A copy to tamper with."""
    copy = tmp_path / "model.pt"
    copy.write_bytes(trained[0].read_bytes())
    return copy


@pytest.fixture(scope="module")
def model(trained: tuple[Path, list[FakeQuant]]) -> Model:
    return load_model(trained[0])


def codes(network: nn.Module, fake: FakeQuant, program: Program, name: str) -> Any:
    """The integers behind the weights of the forward pass, with the batch norm folded in by hand."""
    module = network.layers.get_submodule(name)  # type: ignore[operator, union-attr]
    weight = fake.weight(name, module.weight).detach().double().numpy()
    if (norm := WEIGHTS[name]) is not None:
        part = network.layers.get_submodule(norm)  # type: ignore[operator, union-attr]
        gain = part.weight.detach().double() / torch.sqrt(part.running_var.double() + part.eps)
        weight = weight * gain.numpy().reshape(-1, *[1] * (weight.ndim - 1))
    layer = next(layer for layer in program.layers if any(one.name == name for one in layer.synapses))
    synapses = next(one for one in layer.synapses if one.name == name)
    scale = program.input.scale if synapses.source == "input" else 1.0
    return weight * scale / layer.scale / synapses.pool**2


def stored(program: Program) -> dict[str, Any]:
    return {one.name: one.weight for layer in program.layers for one in layer.synapses}


def test_the_accuracies_told_are_those_of_what_is_exported(model: Model) -> None:
    assert model.metrics["rounded_for"] == CHIP
    program, data = quantize_model(model, chip(CHIP)).program, load_data(model.config)
    labels = data.validation.labels
    for name, split in (("validation", data.validation), ("test", data.test)):
        right = float(np.mean(run_chips([program], split.inputs).decisions[0] == split.labels))
        assert right == model.metrics[f"{name}_accuracy"]
    # The loss that chose the epoch is that of the rounded network; the float one has another.
    network, kept = model.network, model.scales
    assert isinstance(network, SpikingNetwork)
    assert kept is not None
    values = torch.from_numpy(data.validation.inputs).float() * network.input.scale
    fake = FakeQuant(network, Scales(chip(CHIP), kept.thresholds, kept.fixed))
    with torch.no_grad():
        rounded, exact = (
            float(nn.functional.cross_entropy(network(values, perturbation=one).logits, torch.from_numpy(labels)))
            for one in (fake, None)
        )
    told = model.history[model.metrics["epoch"] - 1]["validation_loss"]
    assert told == pytest.approx(rounded, rel=1e-4)
    assert abs(exact - rounded) > 1e-2 * rounded


def test_the_exported_codes_are_those_of_trainings_forward_pass(
    trained: tuple[Path, list[FakeQuant]], model: Model, tmp_path: Path
) -> None:
    # Of an epoch: every batch's, and the validation's. The last of all is of the finished network.
    roundings = (len(trained[1]) - 1) // 2
    during = trained[1][model.metrics["epoch"] * roundings - 1]
    export_model(model, "lava", tmp_path / "out", CHIP)
    artifact = load_artifact(tmp_path / "out")
    assert artifact.facts["scales"] == {"from": f"those of training with the rounding of {CHIP}", "trained": True}
    # The scales are those of that batch, and the codes those at which the forward pass rounds the weights of the file.
    for layer in artifact.program.layers[:-1]:
        assert int(layer.neurons.threshold) == during.scales.thresholds[layer.name]
    assert artifact.program.layers[-1].scale == during.scales.fixed["readout"]
    network = model.network
    fake = FakeQuant(network, during.scales)  # type: ignore[arg-type]
    exported = stored(artifact.program)
    for name, weight in exported.items():
        found = codes(network, fake, artifact.program, name)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, weight, rtol=0, atol=1e-4)
        assert np.abs(weight).max() <= 3
        assert np.mean(weight != 0) > 0.2
    # So the module fires as the artifact does, spike for spike.
    golden = model.golden.inputs
    values = torch.from_numpy(golden).double() * network.input.scale
    with torch.no_grad():
        output = network.double()(values, record=True, perturbation=fake)  # type: ignore[operator, union-attr]
    network.float()  # type: ignore[union-attr]
    expected = reference.run(artifact.program, golden)
    assert set(expected.spikes) == {"lif1", "lif2"}
    for name, spikes in expected.spikes.items():
        assert 0.05 < spikes.mean() < 0.95
        assert np.array_equal(output.spikes[name].numpy(), spikes)
    # It matters: scales that are searched anew give another program.
    searched = quantize(trace(network), chip(CHIP), model.calibration.inputs)
    assert any(not np.array_equal(weight, exported[name]) for name, weight in stored(searched).items())


def test_scales_are_searched_for_another_chip_or_on_request(model: Model) -> None:
    for name, search, says in (
        ("loihi2", False, f"training rounded for another chip, {CHIP} (--chip {CHIP} exports what was trained)"),
        ("loihi2@4", False, "another chip"),
        ("mixed-signal", False, "another chip"),
        (CHIP, True, "as asked"),
    ):
        made = quantize_model(model, chip(name), search)
        wanted = quantize(trace(model.network), chip(name), model.calibration.inputs)
        assert not made.trained
        assert made.notable
        assert says in made.scales
        assert [layer.scale for layer in made.program.layers] == [layer.scale for layer in wanted.layers]
        for one, weight in stored(wanted).items():
            assert np.array_equal(stored(made.program)[one], weight)


def test_the_bits_that_a_chip_has_anyway_may_be_named_or_not(model: Model) -> None:
    assert model.scales is not None
    eight = replace(model.scales, weight_bits=8)
    assert eight.are_of(chip("loihi2"))
    assert eight.are_of(chip("loihi2@8"))
    assert not eight.are_of(chip("loihi2@7"))
    assert not eight.are_of(chip("mixed-signal"))
    assert not replace(eight, thresholds={}, fixed={"lif1": 1.0}).are_of(chip("loihi2"))  # of floating-point neurons


def test_training_with_a_chip_in_a_file_goes_on_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "my_chip.yaml"
    own.write_text(own_chip.TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(hw_models, "_own", {})
    config = load_config(None, [], SETTINGS | {"train.epochs": 1, "noise.quantize": str(own)})
    first = train_model(config, tmp_path / "model.pt", progress=False)
    monkeypatch.setattr(hw_models, "_own", {})  # as another process has it
    again = train_model(config, tmp_path / "model.pt", resume=True, progress=False)
    assert again.scales == first.scales
    assert again.scales is not None
    assert (again.scales.chip, again.scales.weight_bits, dict(again.scales.thresholds)) == ("my-chip", 5, {})
    monkeypatch.setattr(hw_models, "_own", {})
    read = load_model(tmp_path / "model.pt")  # without the chip's file
    assert read.scales == first.scales
    assert quantize_model(read, chip(str(own))).trained


def test_inspection_sees_what_is_exported(model: Model) -> None:
    kept, searched = examine(model, "lava", CHIP), examine(model, "lava", CHIP, search_scales=True)
    assert kept.quantised.trained
    assert not searched.quantised.trained
    assert [row["layer"] for row in kept.rounding] == ["lif1", "lif2", "readout"]
    assert kept.rounding != searched.rounding


def test_training_without_rounding_keeps_nothing_and_says_nothing(settled_model: Callable[..., Model]) -> None:
    plain = settled_model()
    made = quantize_model(plain, chip("loihi2"))
    assert plain.scales is None
    assert not made.notable
    assert made.scales == "searched for loihi2 on the model's calibration samples"


def test_weights_that_outgrew_their_scale_get_another_as_in_training(model: Model) -> None:
    network, kept = copy.deepcopy(model.network), {"epoch": 1, "chip": CHIP, **parts(model.scales)}
    same = trained_scales(trained_rounding(network, CHIP, kept, model.calibration.inputs).scales)
    assert same == model.scales
    assert isinstance(network, SpikingNetwork)
    with torch.no_grad():
        network.layers["linear3"].bias[0] = 1e4
    grown = trained_scales(trained_rounding(network, CHIP, kept, model.calibration.inputs).scales)
    assert model.scales is not None
    assert grown.fixed["readout"] > 10 * model.scales.fixed["readout"]
    scales = Scales(chip(CHIP), grown.thresholds, grown.fixed)
    assert FakeQuant(network, scales).program.layers[-1].scale == grown.fixed["readout"]


def parts(scales: TrainedScales | None) -> dict[str, Any]:
    assert scales is not None
    return {"thresholds": dict(scales.thresholds), "fixed": dict(scales.fixed)}


def test_a_file_of_before_is_read_and_its_export_says_that_scales_are_missing(path: Path) -> None:
    tamper(path, lambda content: content.pop("scales"))
    old = load_model(path)
    assert old.scales is None
    made = quantize_model(old, chip(CHIP))
    assert not made.trained
    assert made.notable
    assert "the file keeps no scales: train again" in made.scales


def test_a_scale_that_the_chip_cannot_hold_names_the_file_and_the_way_out(path: Path) -> None:
    tamper(path, lambda content: content["scales"]["fixed"].update(readout=1e-12))
    with pytest.raises(DesignRuleError, match=r"layer readout: .*scale of the model file; --search-scales"):
        quantize_model(load_model(path), chip(CHIP))


def tamper(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def put(*names: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for name in ("scales", *names)[:-1]:
            content = content[name]
        content[("scales", *names)[-1]] = value

    return change


TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (put(value=[1]), "a dictionary of chip"),
    "nothing": (put(value=None), "a dictionary of chip"),
    "a part missing": (lambda content: content["scales"].pop("chip"), "a dictionary of chip"),
    "more parts": (put("x", value=1), "a dictionary of chip"),
    "chip a number": (put("chip", value=3), "chip is not the name"),
    "chip empty": (put("chip", value=""), "chip is not the name"),
    "chip endless": (put("chip", value="a" * 10**5), "chip is not the name"),
    "chip that would write on the terminal": (put("chip", value="loihi2\x1b[2J"), "chip is not the name"),
    "chip with bits": (put("chip", value="loihi2@3"), "chip is not the name"),
    "no bits": (put("weight_bits", value=0), "weight_bits is 0"),
    "too many bits": (put("weight_bits", value=65), "weight_bits is 65"),
    "bits that are true": (put("weight_bits", value=True), "weight_bits is True"),
    "thresholds a list": (put("thresholds", value=[1, 2]), "are dictionaries"),
    "a layer missing": (lambda content: content["scales"]["thresholds"].pop("lif1"), "layers missing, unknown"),
    "an unknown layer": (put("thresholds", "lif9", value=3), "layers missing, unknown"),
    "a layer twice": (put("fixed", "lif1", value=0.5), "layers missing, unknown"),
    "a threshold for the readout": (put("thresholds", "readout", value=3), "layers missing, unknown"),
    "a name that is no text": (lambda content: content["scales"]["fixed"].update({7: 1.0}), "layers missing, unknown"),
    "threshold 0": (put("thresholds", "lif1", value=0), "threshold of lif1 is 0, 1 to"),
    "threshold past the largest": (put("thresholds", "lif1", value=2**24 + 1), "threshold of lif1 is 16777217"),
    "threshold without end": (put("thresholds", "lif1", value=10**400), "threshold of lif1"),
    "threshold a float": (put("thresholds", "lif1", value=7.0), "threshold of lif1 is 7.0"),
    "threshold true": (put("thresholds", "lif1", value=True), "threshold of lif1 is True"),
    "scale 0": (put("fixed", "readout", value=0.0), "scale of readout is 0.0"),
    "scale negative": (put("fixed", "readout", value=-0.1), "scale of readout is -0.1"),
    "scale not finite": (put("fixed", "readout", value=float("inf")), "scale of readout is inf"),
    "scale not a number": (put("fixed", "readout", value=float("nan")), "scale of readout is nan"),
    "scale of no size": (put("fixed", "readout", value=5e-324), "scale of readout is 5e-324"),
    "scale of text": (put("fixed", "readout", value="1"), "scale of readout is '1'"),
    "scale a tensor": (put("fixed", "readout", value=torch.ones(1)), "scale of readout"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_odd_values_in_the_file_are_refused_with_the_reason(name: str, path: Path) -> None:
    change, match = TAMPERED[name]
    tamper(path, change)
    with pytest.raises(FileFormatError, match=rf"model\.pt: not a valid model: scales: .*{match}"):
        load_model(path)
