"""`neurodeploy inspect`: tables and JSON of all that was found, --strict, --energy, and exit code 3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurodeploy.deployment import examine, measure_energy
from neurodeploy.energy import estimate
from neurodeploy.hw_models import chip
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import Model, save_model


@pytest.fixture(scope="module")
def six_steps(settled_model: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of six steps, which is no power of two."""
    path = tmp_path_factory.mktemp("six") / "model.pt"
    save_model(settled_model(steps=6), path)
    return path


def test_json_holds_everything(run: Any, model_file: Path, model: Model) -> None:
    outcome = run("inspect", model_file, "--target", "lava", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    content = json.loads(outcome.out)
    expected = json.loads(json.dumps(examine(model, "lava").inspection.plain()))
    scales = {"from": "searched for loihi2 on the model's calibration samples", "trained": False}
    assert content == {"fits": True, "warnings": [], "scales": scales} | expected
    assert {one["rule"] for one in content["findings"]} == {"L2-WEIGHT-ODD-CONV", "L2-WEIGHT-ODD-DENSE"}
    assert all(one["severity"] == "note" and one["source"] and one["suggestion"] for one in content["findings"])
    assert [row["cores"] for row in content["placement"]["layers"]] == [1, 1, 1]
    assert (content["placement"]["cores"], content["placement"]["chips"]) == (3, 1)
    rates = {row["layer"]: row["firing_rate"] for row in content["life"]}
    samples = model.calibration.take(slice(32)).inputs
    measured = reference.run(examine(model, "lava").program, samples).firing_rates()
    assert rates == pytest.approx(measured | {"readout": None})
    for row in content["headroom"]:
        assert 0 < row["current_measured"] <= row["current_worst"]
        assert row["current_measured_bits"] >= row["current_worst_bits"] > 0


def test_tables(run: Any, model_file: Path) -> None:
    outcome = run("inspect", model_file, "--target", "lava")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    for line in (
        "registers, voltage units, and bits of headroom",
        "neurons on the model's calibration samples",
        "cores, estimated; of each the fullest",
        "cores: 3, chips: 1",
        "note: L2-WEIGHT-ODD-DENSE: odd weights of dense synapses, percent",
    ):
        assert line in lines, line
    assert lines[-1] == "fits lava: yes"
    assert sum(line.startswith("source: ") for line in lines) == 2


def test_a_chip_without_registers_and_cores_has_no_such_tables(run: Any, model_file: Path) -> None:
    outcome = run("inspect", model_file, "--target", "rockpool")
    assert outcome.code == 0
    assert "registers" not in outcome.out
    assert "cores" not in outcome.out
    content = json.loads(run("inspect", model_file, "--target", "rockpool", "--json").out)
    assert (content["headroom"], content["placement"], content["findings"]) == ([], None, [])


def test_strict_makes_a_warning_exit_3(run: Any, six_steps: Path) -> None:
    content = json.loads(run("inspect", six_steps, "--target", "lava", "--json").out)
    assert content["fits"]
    warning = content["warnings"][0]
    assert warning.startswith("steps of a sample: 6 (limit 4 or 8); train with that many steps")
    outcome = run("inspect", six_steps, "--target", "lava", "--strict")
    assert outcome.code == 3
    assert outcome.err == f"error: the network does not fit target lava: 1 violated\n  - {warning}\n"
    assert "violation: L2-STEPS-POWER-OF-TWO: steps of a sample" in outcome.out
    assert outcome.out.splitlines()[-1] == "fits lava: no"
    strictly = run("inspect", six_steps, "--target", "lava", "--strict", "--json")
    assert strictly.code == 3
    assert json.loads(strictly.out)["fits"] is False
    assert json.loads(strictly.out)["warnings"] == []


def test_what_the_target_refuses_is_listed_with_all_the_rest(run: Any, six_steps: Path, stand_in: Any) -> None:
    stand_in("lava", violations=lambda program: [f"layer {layer.name}: too wide" for layer in program.layers])
    outcome = run("inspect", six_steps, "--target", "lava")
    assert outcome.code == 3
    assert outcome.err.startswith("error: the network does not fit target lava: 3 violated\n")
    for name in ("lif1", "lif2", "readout"):
        assert f"layer {name}: too wide" in outcome.out
        assert f"  - the target says: layer {name}: too wide [TARGET]" in outcome.err
    assert "warning: L2-STEPS-POWER-OF-TWO" in outcome.out
    assert outcome.out.splitlines()[-1] == "fits lava: no"
    content = json.loads(run("inspect", six_steps, "--target", "lava", "--json").out)
    assert [one["rule"] for one in content["findings"]][:3] == ["TARGET"] * 3


def test_energy(run: Any, model_file: Path, model: Model) -> None:
    outcome = run("inspect", model_file, "--target", "lava", "--energy", "--json")
    assert outcome.code == 0
    energy = json.loads(outcome.out)["energy"]
    prepared = examine(model, "lava")
    assert energy == json.loads(json.dumps(measure_energy(model, prepared)))
    recording = reference.run(prepared.program, model.golden.inputs)
    expected = estimate(prepared.program, recording, model.golden.inputs, chip("loihi2"))
    assert expected is not None
    assert energy["dynamic_joule"] == list(expected.dynamic)
    assert energy["dynamic_joule"][0] < energy["dynamic_joule"][1] < energy["static_joule"][0]  # a small network
    assert (energy["evidence"], energy["samples"], energy["cores"]) == ("modelled", 32, 3)
    assert energy["latency_seconds"] == pytest.approx([7 * 152.8e-6, 7 * 182.6e-6])  # 4 steps, 3 synapses
    lines = run("inspect", model_file, "--target", "lava", "--energy").out.splitlines()
    assert "energy per sample (modelled), mean of 32 samples" in lines
    assert sum(line.startswith("neuron_updates ") for line in lines) == 1
    assert any(line.startswith("costs: Loihi 1, no table of Loihi 2 is published") for line in lines)
    none = run("inspect", model_file, "--target", "rockpool", "--energy")
    assert "energy: no source gives what events cost on this chip" in none.out
    assert json.loads(run("inspect", model_file, "--target", "rockpool", "--energy", "--json").out)["energy"] is None
