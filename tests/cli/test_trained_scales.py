"""Where scales come from is said: those of training with the chip's rounding, or searched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neurodeploy.config import NoiseConfig
from neurodeploy.hw_models import chip
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.snn.fake_quant import choose_scales
from neurodeploy.snn.model_file import Model, save_model
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.trained_scales import TrainedScales
from neurodeploy.study import make_studies

THRESHOLDS = {"lif1": 5, "lif2": 7}


@pytest.fixture
def rounded(model: Model, tmp_path: Path) -> Path:
    """A model as if trained with the rounding of loihi2@4, at thresholds that no search would find."""
    assert isinstance(model.network, SpikingNetwork)
    fixed = choose_scales(model.network, chip("loihi2@4"), model.calibration.inputs).fixed
    config = model.config.model_copy(update={"noise": NoiseConfig(quantize="loihi2@4")})
    path = tmp_path / "rounded.pt"
    save_model(replace(model, config=config, scales=TrainedScales("loihi2", 4, THRESHOLDS, dict(fixed))), path)
    return path


def exported(folder: Path) -> dict[str, int]:
    return {layer.name: int(layer.neurons.threshold) for layer in load_artifact(folder).program.layers[:-1]}


def test_export_takes_the_kept_ones_for_that_chip_and_says_so(run: Any, rounded: Path, tmp_path: Path) -> None:
    words = ("export", rounded, "--target", "lava", "-o", tmp_path / "out")
    outcome = run(*words, "--bits", 4)
    assert outcome.code == 0, outcome
    assert "scales: those of training with the rounding of loihi2@4" in outcome.out.splitlines()
    assert exported(tmp_path / "out") == THRESHOLDS
    assert run("run", tmp_path / "out", "--backend", "engine").code == 0
    outcome = run(*words, "--bits", 4, "--search-scales")
    assert "scales: searched for loihi2@4 on the model's calibration samples, as asked" in outcome.out
    assert exported(tmp_path / "out") != THRESHOLDS
    outcome = run(*words)
    assert "scales: searched for loihi2 on" in outcome.out
    assert "training rounded for another chip, loihi2@4 (--chip loihi2@4 exports what was trained)" in outcome.out
    found = json.loads(run(*words, "--bits", 4, "--json").out)["scales"]
    assert found == {"from": "those of training with the rounding of loihi2@4", "trained": True}


def test_inspect_compare_and_sweep_take_the_same(run: Any, rounded: Path) -> None:
    words = ("inspect", rounded, "--target", "lava", "--chip", "loihi2@4")
    outcome = run(*words)
    assert outcome.code == 0, outcome
    assert "scales: those of training with the rounding of loihi2@4" in outcome.out.splitlines()
    assert json.loads(run(*words, "--json").out)["scales"]["trained"] is True
    assert json.loads(run(*words, "--search-scales", "--json").out)["scales"]["trained"] is False
    outcome = run("compare", rounded, "network", "reference", "--chip", "loihi2@4", "--json")
    assert "scales: those of training with the rounding of loihi2@4" in json.loads(outcome.out)["notes"]
    (study,) = make_studies(rounded, ["loihi2@4"], 1, 5, 0, None)
    assert {layer.name: int(layer.neurons.threshold) for layer in study.program.layers[:-1]} == THRESHOLDS


def test_a_model_trained_without_rounding_has_no_such_line(run: Any, model_file: Path, tmp_path: Path) -> None:
    assert "scales:" not in run("export", model_file, "--target", "lava", "-o", tmp_path / "out").out
    assert "scales:" not in run("inspect", model_file, "--target", "lava").out


@pytest.mark.parametrize("target", ["xylo", "dynapse2"])
def test_the_option_is_refused_where_it_would_do_nothing(run: Any, rounded: Path, target: str, tmp_path: Path) -> None:
    for words in (("export", rounded, "-o", tmp_path / "out"), ("inspect", rounded)):
        outcome = run(*words, "--target", target, "--search-scales")
        assert (outcome.code, outcome.out) == (2, "")
        assert f"--search-scales: not for --target {target}" in outcome.err
