"""From model to artifact to proof: golden vectors come out again, and one differing spike is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy import proof as proving
from neurodeploy.config import load_config
from neurodeploy.deployment import export_model, prepare
from neurodeploy.errors import DesignRuleError, MissingBackendError, UsageError
from neurodeploy.export.target import Backend, Target
from neurodeploy.ir.artifact import Artifact, load_artifact
from neurodeploy.ir.program import Program
from neurodeploy.proof import prove, versions
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.recording import Recording
from neurodeploy.snn.model_file import Model

TARGETS = {"lava": "loihi2", "rockpool": "mixed-signal"}
StandIn = Callable[..., Target]


@pytest.fixture(params=list(TARGETS))
def exported(request: pytest.FixtureRequest, model: Model, tmp_path: Path) -> Artifact:
    """The artifact of each target, read back from its folder."""
    export_model(model, request.param, tmp_path / "out")
    return load_artifact(tmp_path / "out")


@pytest.mark.parametrize(("target", "chip"), TARGETS.items())
def test_a_model_is_prepared_for_the_targets_own_chip(model: Model, target: str, chip: str) -> None:
    prepared = prepare(model, target)
    assert prepared.program.chip == chip
    rates = reference.run(prepared.program, model.golden.samples).firing_rates()
    assert list(rates) == ["lif1", "lif2"]
    assert all(0.05 < rate < 0.95 for rate in rates.values())
    assert [row["layer"] for row in prepared.rounding] == ["lif1", "lif2", "readout"]
    assert prepared.warnings == []


def test_the_program_decides_as_the_trained_module_does(model: Model) -> None:
    values = torch.from_numpy(model.golden.samples.astype(np.float32)) * model.network.input.scale
    with torch.no_grad():
        wanted = model.network(values).logits.argmax(1).numpy()
    got = reference.run(prepare(model, "rockpool", "ideal").program, model.golden.samples).decisions
    np.testing.assert_array_equal(got, wanted)


def test_another_chip_can_be_chosen(model: Model) -> None:
    assert prepare(model, "rockpool", "ideal").program.chip == "ideal"


@pytest.mark.parametrize(("target", "chip"), [("lava", "mixed-signal"), ("lava", "ideal"), ("rockpool", "loihi2")])
def test_a_chip_that_the_target_cannot_express_is_a_design_rule(model: Model, target: str, chip: str) -> None:
    with pytest.raises(DesignRuleError, match=f"does not fit target {target}"):
        prepare(model, target, chip)


def test_unknown_names_suggest_the_nearest(model: Model, tmp_path: Path, exported: Artifact) -> None:
    with pytest.raises(UsageError, match="unknown target 'lavva': did you mean lava"):
        prepare(model, "lavva")
    with pytest.raises(UsageError, match="unknown chip 'loihi': did you mean loihi2"):
        export_model(model, "lava", tmp_path / "new", "loihi")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match=r"unknown backend 'engin': did you mean engine.*reference"):
        prove(exported, "engin")


def test_every_violated_limit_is_named_at_once(settled_model: Callable[..., Model], tmp_path: Path) -> None:
    subtractive = settled_model(reset="subtract", readout="spike_count")
    with pytest.raises(DesignRuleError) as caught:
        export_model(subtractive, "lava", tmp_path / "out")
    assert [text.split(":")[0] for text in caught.value.violations] == ["layer lif1", "layer lif2", "layer lif3"]
    assert all("reset 'subtract'" in text for text in caught.value.violations)
    assert not (tmp_path / "out").exists()
    assert prepare(subtractive, "rockpool").program.layers[0].neurons.reset == "subtract"  # type: ignore[union-attr]


def test_violations_of_the_target_are_all_named(model: Model, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("lava", violations=lambda program: [f"layer {layer.name}: too wide" for layer in program.layers])
    with pytest.raises(DesignRuleError) as caught:
        export_model(model, "lava", tmp_path / "out")
    assert caught.value.violations == tuple(f"layer {name}: too wide" for name in ("lif1", "lif2", "readout"))
    assert (str(caught.value).count("\n"), caught.value.target) == (3, "target lava")


@pytest.mark.parametrize(("target", "own"), [("lava", "lava_job.json"), ("rockpool", "rockpool.json")])
def test_an_export_holds_the_golden_vectors_and_the_targets_files(
    model: Model, tmp_path: Path, target: str, own: str
) -> None:
    written, omitted = export_model(model, target, tmp_path / "out")
    assert (tmp_path / "out" / own).is_file()
    assert all(isinstance(reason, str) for reason in omitted)
    read = load_artifact(tmp_path / "out")
    np.testing.assert_array_equal(read.golden.inputs, model.golden.samples)
    np.testing.assert_array_equal(read.golden.labels, model.golden.labels)
    recording = reference.run(written.program, model.golden.samples)
    np.testing.assert_array_equal(read.golden.readout, recording.readout)
    assert set(read.golden.spikes) == {"lif1", "lif2"}
    for name, spikes in recording.spikes.items():
        np.testing.assert_array_equal(read.golden.spikes[name], spikes)
    assert read.facts["firing_rates"] == recording.firing_rates()
    assert read.facts["metrics"] == model.metrics
    assert read.facts["packages"]["neurodeploy"] == __version__
    assert read.facts["experiment"]["network"]["hidden"] == [32]


@pytest.mark.parametrize("backend", ["reference", "engine"])
def test_the_simulators_prove_every_export(exported: Artifact, backend: str) -> None:
    proof = prove(exported, backend)
    assert (proof["mismatched_spikes"], proof["mismatched_voltages"], proof["first"]) == (0, 0, None)
    assert (proof["backend"], proof["version"], proof["chip"]) == (backend, __version__, exported.program.chip)
    assert (proof["samples"], proof["decisions_differing"], proof["variants"]) == (32, 0, [])
    sizes = {"lif1": 4 * 8 * 8, "lif2": 32, "readout": 10}
    assert {row["layer"]: row["compared"] for row in proof["layers"]} == {n: 32 * 4 * s for n, s in sizes.items()}
    assert proof["spikes_compared"] == 32 * 4 * (256 + 32)


def test_other_inputs_can_be_proved(exported: Artifact) -> None:
    assert prove(exported, "engine", exported.golden.inputs[:3])["samples"] == 3
    with pytest.raises(UsageError, match="input of shape"):
        prove(exported, "engine", exported.golden.inputs[:, :, :7])


def nudged(artifact: Artifact) -> Artifact:
    """The artifact with one weight of its program moved by one."""
    program = artifact.program
    first = program.layers[0]
    weight = first.synapses[0].weight.copy()
    weight[0, 0, 1, 1] += 1
    weight.setflags(write=False)
    layer = replace(first, synapses=(replace(first.synapses[0], weight=weight),))
    return replace(artifact, program=replace(program, layers=(layer, *program.layers[1:])))


def test_a_proof_says_how_often_the_program_is_right(exported: Artifact) -> None:
    golden = exported.golden
    right = golden.readout.argmax(axis=1) == golden.labels
    assert len(set(golden.labels)) > 1
    assert prove(exported, "engine")["accuracy"] == right.mean()
    assert prove(exported, "engine", golden.inputs[:5], golden.labels[:5])["accuracy"] == right[:5].mean()
    assert prove(exported, "engine", golden.inputs[:5])["accuracy"] is None
    with pytest.raises(ValueError, match="labels without inputs"):
        prove(exported, "engine", labels=golden.labels)


def test_test_samples_are_of_the_classes_that_the_network_was_trained_on(exported: Artifact) -> None:
    few = load_config(None, ["data.classes=4"]).model_dump(mode="json")
    few_classes = replace(exported, facts={**exported.facts, "experiment": few})
    chosen, every = (proving.test_samples(one, "digits", None, None) for one in (few_classes, exported))
    assert (len(every), len(chosen)) == (360, int(np.sum(every.labels < 4)))
    np.testing.assert_array_equal(chosen.labels, every.labels[every.labels < 4])
    np.testing.assert_array_equal(chosen.inputs, every.inputs[every.labels < 4])


@pytest.mark.parametrize("backend", ["reference", "engine"])
def test_a_program_that_was_altered_is_found_out(exported: Artifact, backend: str) -> None:
    with pytest.raises(UsageError, match="golden vectors of this artifact do not come out of its program"):
        prove(nudged(exported), backend)
    assert prove(nudged(exported), backend, exported.golden.inputs)["mismatched_spikes"] == 0  # not compared then


@pytest.mark.parametrize("what", ["readout", "lif1", "lif2"])
def test_golden_outputs_that_were_altered_are_found_out(exported: Artifact, what: str) -> None:
    golden = copy.deepcopy(exported.golden)
    array = golden.readout if what == "readout" else golden.spikes[what]
    array[(-1,) * array.ndim] = 1 - array[(-1,) * array.ndim]
    with pytest.raises(UsageError, match="golden vectors"):
        prove(replace(exported, golden=golden), "engine")


def one_spike_wrong(program: Program, inputs: NDArray[Any]) -> Recording:
    """The engine, but for one spike at step 3, layer lif2, neuron 5, sample 7."""
    recording = engine.run(program, inputs)
    recording.spikes["lif2"][2, 7, 5] ^= 1
    return recording


def test_one_differing_spike_is_named(model: Model, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("lava", run=one_spike_wrong, backend=lambda: Backend("9.9", "here"))
    proof = prove(export_model(model, "lava", tmp_path / "out")[0], "lava")
    assert (proof["mismatched_spikes"], proof["mismatched_voltages"], proof["version"]) == (1, 0, "9.9")
    assert [row["mismatched_spikes"] for row in proof["layers"]] == [0, 1, 0]
    assert proof["first"].startswith("first at step 3, layer lif2, neuron (5), sample 7: spike ")


def test_variants_are_measured_against_the_reference(model: Model, stand_in: StandIn, tmp_path: Path) -> None:
    ways = {"wrong": ("one spike wrong", one_spike_wrong), "right": ("the engine", engine.run)}
    stand_in("rockpool", run=engine.run, variants=ways, backend=lambda: Backend("1", ""))
    proof = prove(export_model(model, "rockpool", tmp_path / "out")[0], "rockpool")
    assert proof["mismatched_spikes"] == 0
    compared = 32 * 4 * (256 + 32)
    assert proof["variants"] == [
        {"name": name, "title": title, "mismatched_spikes": wrong, "spikes_compared": compared}
        | {"decisions_differing": 0, "samples": 32}
        for name, title, wrong in (("wrong", "one spike wrong", 1), ("right", "the engine", 0))
    ]


def test_a_missing_backend_says_how_to_get_it(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn
) -> None:
    artifact, _ = export_model(model, "lava", tmp_path / "out")
    monkeypatch.setenv("NEURODEPLOY_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("neurodeploy.export.lava_process.importable", lambda: False)
    with pytest.raises(MissingBackendError, match="run `neurodeploy vendor install lava`"):
        prove(artifact, "lava")


def test_versions_name_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = versions()
    assert (found["neurodeploy"], found["numpy"]) == (__version__, np.__version__)
    monkeypatch.setattr("neurodeploy.proof._PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] == "not installed"
