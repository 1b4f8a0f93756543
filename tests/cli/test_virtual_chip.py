"""`export --virtual-chip`: the artifact holds that chip's own numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy.deployment import prepare
from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.ir.identity import program_hash
from neurodeploy.snn.model_file import Model


@pytest.mark.parametrize(("target", "name"), [("lava", "loihi2"), ("rockpool", "mixed-signal")])
def test_the_artifact_holds_the_chips_own_numbers(
    run: Any, model: Model, model_file: Path, tmp_path: Path, target: str, name: str
) -> None:
    words = ("--virtual-chip", "3", "--with", "mismatch=0.2", "--with", "weight_mismatch=0.1", "--seed", "5")
    outcome = run("export", model_file, "--target", target, *words, "-o", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    found = load_artifact(tmp_path / "out")
    nominal = prepare(model, target).program
    own = VirtualChip(chip(name), NoiseModel(mismatch=0.2, weight_mismatch=0.1), 3, 5).realise(nominal)
    assert program_hash(found.program) == program_hash(own) != program_hash(nominal)
    assert np.ptp(found.program.layers[0].neurons.threshold) > 0
    assert found.facts["virtual_chip"] == {
        "chip_id": 3,
        "seed": 5,
        "noise": {"mismatch": 0.2, "weight_mismatch": 0.1},
    }
    # What Lava's simulator takes without a word, and the chip does not, has a name, a layer and a value.
    warnings = json.loads(outcome.out)["warnings"]
    different = len(np.unique(own.layers[0].neurons.threshold))
    shared = f"layer lif1: thresholds in one layer: {different} (limit 1)"
    assert any(text.startswith(shared) and "[L2-THR-SHARED]" in text for text in warnings) == (target == "lava")
    proof = json.loads(run("run", tmp_path / "out", "--backend", "engine", "--json").out)
    assert (proof["mismatched_spikes"], proof["mismatched_voltages"]) == (0, 0)
    assert all(0.05 < layer["firing_rate"] < 0.95 for layer in proof["layers"] if layer["firing_rate"] is not None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--virtual-chip", "3"), "--virtual-chip: no noise is given; a chip's own numbers come from noise"),
        (("--virtual-chip", "3", "--with", "thermal=0.1"), "thermal: is drawn while a chip runs"),
        (("--with", "mismatch=0.1"), "--with: is for --virtual-chip"),
        (("--virtual-chip", "3", "--with", "mismach=0.1"), "did you mean mismatch"),
        (("--virtual-chip", "3", "--with", "mismatch=0.1", "--bundle"), "--bundle: takes the nominal network"),
    ],
)
def test_what_is_no_virtual_chip(run: Any, model_file: Path, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    outcome = run("export", model_file, "--target", "lava", *words, "-o", tmp_path / "out")
    assert outcome.code == 2, outcome
    assert said in outcome.err
    assert not (tmp_path / "out").exists()
