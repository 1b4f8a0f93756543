"""What a user may name: models, artifacts, simulators, recorded runs; and on which samples they are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neurodeploy.compare.backends import Request, compare_backends
from neurodeploy.compare.definition import define_network
from neurodeploy.compare.material import from_model, open_material, with_data
from neurodeploy.compare.module import in_double, run_module
from neurodeploy.compare.sides import needs_program, open_side, target_of
from neurodeploy.compare.simulation import run_definition
from neurodeploy.config import load_config
from neurodeploy.deployment import export_model
from neurodeploy.errors import DesignRuleError, FileFormatError, MissingBackendError, UsageError
from neurodeploy.export.target import Backend
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.nodes import Input
from neurodeploy.recorded_run import RecordedRun, save_run
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording
from neurodeploy.snn.model_file import Model, save_model
from neurodeploy.snn.networks import build
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.trace import trace

Array = NDArray[Any]


@pytest.fixture(scope="module")
def artifact(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder exported for Lava."""
    folder = tmp_path_factory.mktemp("compare") / "lava"
    export_model(model, "lava", folder)
    return folder


def record(artifact: Path, folder: Path, *, samples: slice = slice(None), known: bool = True, **changes: Any) -> str:
    """A run folder of the artifact's program, as `run:FOLDER`; `changes` are spikes, potentials or readout."""
    loaded = load_artifact(artifact)
    inputs = loaded.golden.inputs[samples]
    own = reference.run(loaded.program, inputs)
    recording = Recording(**({"spikes": own.spikes, "potentials": own.potentials, "readout": own.readout} | changes))
    run = RecordedRun(
        "bench", "measured-silicon", program_hash(loaded.program), "loihi2", {"nxcore": "2"}, "2026-02-03",
        inputs if known else None, recording, {},
    )  # fmt: skip
    save_run(folder, run)
    return f"run:{folder}"


def test_the_module_and_its_network_agree_spike_for_spike(model_file: Path) -> None:
    result = compare_backends(Request(model_file, "float", "network"))
    assert (result.samples, result.chip, result.by_value, result.excess()) == (32, None, False, [])
    rates = [layer.first_rate for layer in result.layers if layer.fires]
    assert all(rate is not None and 0.05 < rate < 0.95 for rate in rates)
    assert [side.precision for side in (open_side(n, open_material(model_file, [])) for n in ("float", "network"))] == [
        "single",
        "double",
    ]


def test_a_model_against_its_program(model_file: Path, model: Model) -> None:
    result = compare_backends(Request(model_file, "float", "reference", target="lava"))
    network, program = trace(model.network), from_model(model, "lava").program
    one, other = run_module(model.network, model.golden.inputs), reference.run(program, model.golden.inputs)
    assert result.chip == "loihi2"
    for layer in result.layers:
        if layer.compared:
            assert layer.differing_spikes == int((one.spikes[layer.layer] != other.spikes[layer.layer]).sum())
    assert result.differing_spikes > 0
    labels = model.golden.labels
    assert result.first.correct == int((one.decisions == labels).sum())
    assert result.second.correct == int((other.decisions == labels).sum())
    assert (result.first.evidence, result.second.evidence) == ("", "bit-exact-sim")
    assert define_network(network).layers[0].name == result.layers[0].layer


@pytest.mark.parametrize("second", ["engine", "reference"])
def test_an_artifact_on_its_golden_samples(artifact: Path, second: str) -> None:
    result = compare_backends(Request(artifact, "reference", second))
    assert (result.samples, result.by_value, result.excess()) == (32, True, [])
    assert compare_backends(Request(artifact, "reference", second, samples=5)).samples == 5


def test_rockpool_and_its_own_reset(model_file: Path) -> None:
    assert compare_backends(Request(model_file, "reference", "rockpool", samples=4)).excess() == []
    result = compare_backends(Request(model_file, "reference", "rockpool:subtractive", samples=4))
    assert result.chip == "mixed-signal"
    found = result.first_difference
    assert found is not None
    assert found.explanation is not None
    assert found.explanation.causes == ("reset mode",)


def test_which_sides_need_a_program_and_for_which_target() -> None:
    assert [needs_program(name) for name in ("float", "network", "reference", "lava", "run:x")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert [target_of(name) for name in ("lava", "netx", "rockpool:subtractive", "reference", "run:lava")] == [
        "lava", "lava", "rockpool", None, None,
    ]  # fmt: skip


def test_what_cannot_be_compared_is_refused_with_the_remedy(
    model_file: Path, artifact: Path, tmp_path: Path, stand_in: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(kind: type[Exception], match: str, *words: Any, **options: Any) -> None:
        with pytest.raises(kind, match=match):
            compare_backends(Request(*words, **options))

    refused(UsageError, "name it with --target", model_file, "float", "reference")
    refused(UsageError, "there is no PyTorch network here", artifact, "float", "reference")
    refused(UsageError, "--target: .* is an artifact", artifact, "network", "reference", target="lava")
    refused(UsageError, "unknown backend 'refrence': did you mean reference", artifact, "network", "refrence")
    refused(UsageError, "unknown variant of rockpool 'x'", model_file, "network", "rockpool:x")
    refused(FileFormatError, "there is no such file", tmp_path / "none.pt", "float", "network")
    refused(FileFormatError, "not an artifact", tmp_path, "network", "reference")
    refused(FileFormatError, "run.json", artifact, "reference", f"run:{tmp_path / 'nothing'}")
    refused(DesignRuleError, "fixed-point neurons", artifact, "reference", "rockpool")
    refused(
        UsageError, "samples of shape", artifact, "network", "reference", data="n-mnist", data_root=str(tmp_path)
    ) if False else None
    monkeypatch.setattr(
        "neurodeploy.compare.sides.targets",
        lambda: {"lava": replace(stand_in("lava"), backend=lambda: Backend(None, "install it so"))},
    )
    refused(MissingBackendError, "lava: install it so", artifact, "reference", "lava")
    refused(MissingBackendError, "netx: install it so", artifact, "reference", "netx")


def test_a_vendor_runs_and_is_not_fed(artifact: Path, stand_in: Callable[..., Any], monkeypatch: Any) -> None:
    target = stand_in(
        "lava", run=lambda program, inputs: reference.run(program, inputs), backend=lambda: Backend("9", "")
    )
    monkeypatch.setattr("neurodeploy.compare.sides.targets", lambda: {"lava": target})
    result = compare_backends(Request(artifact, "lava", "reference", samples=3, teacher_forced=True))
    assert (result.excess(), result.first.title.endswith(" 9")) == ([], True)
    with pytest.raises(UsageError, match="lava is a vendor's simulator"):
        compare_backends(Request(artifact, "reference", "lava", teacher_forced=True))


# --- samples -------------------------------------------------------------------------------------------------------


def test_test_samples_of_a_data_set_come_with_their_labels(artifact: Path) -> None:
    material = open_material(artifact, [])
    digits = with_data(material, "digits", None, 40)
    assert digits.inputs.shape == (40, 1, 8, 8)
    np.testing.assert_array_equal(digits.inputs[:32], material.inputs)
    result = compare_backends(Request(artifact, "reference", "engine", data="digits", samples=40))
    assert (result.samples, result.first.correct) == (40, result.second.correct)
    assert result.first.correct is not None


def test_samples_of_another_shape_are_refused(artifact: Path, tmp_path: Path) -> None:
    values = {f"{part}_samples": np.zeros((4, 9), np.uint8) for part in ("train", "test")}
    labels = {f"{part}_labels": np.array([0, 1, 0, 1]) for part in ("train", "test")}
    np.savez(tmp_path / "own.npz", **values, **labels)
    with pytest.raises(UsageError, match=r"samples of shape \(9,\), the network takes \(1, 8, 8\)"):
        with_data(open_material(artifact, []), str(tmp_path / "own.npz"), None, None)


def test_a_recorded_run_is_compared_on_its_own_samples(artifact: Path, tmp_path: Path) -> None:
    side = record(artifact, tmp_path / "run", samples=slice(8, 20))
    result = compare_backends(Request(artifact, "engine", side))
    assert (result.samples, result.excess(), result.notes) == (12, [], ())
    assert (result.second.evidence, result.second.title) == (
        "measured-silicon", "recorded run of loihi2 nxcore 2 2026-02-03",
    )  # fmt: skip
    assert result.first.correct is None  # these are not the artifact's first samples, whose labels are known
    assert compare_backends(Request(artifact, "engine", side, samples=5)).samples == 5
    with pytest.raises(UsageError, match="--data: run:bench holds the samples"):
        compare_backends(Request(artifact, "engine", side, data="digits"))
    other = record(artifact, tmp_path / "other", samples=slice(12))
    with pytest.raises(UsageError, match="run:bench and run:bench were recorded on different samples"):
        compare_backends(Request(artifact, other, side))
    assert compare_backends(Request(artifact, other, other)).excess() == []
    assert compare_backends(Request(artifact, "engine", other)).first.correct is not None


def test_a_run_without_inputs_is_taken_to_be_of_the_first_samples(artifact: Path, tmp_path: Path) -> None:
    side = record(artifact, tmp_path / "run", samples=slice(12), known=False)
    result = compare_backends(Request(artifact, side, "reference"))
    assert (result.samples, result.excess()) == (12, [])
    assert result.notes == ("run:bench does not hold its inputs: taken to be the first samples here",)
    many = record(artifact, tmp_path / "many", known=False)
    few = replace(open_material(artifact, []).first(30))
    from neurodeploy.compare.backends import shared_samples

    sides = open_side(many, few), open_side("reference", few)
    with pytest.raises(UsageError, match=r"run:bench has 32 samples and there are 30 inputs: .* --samples 30"):
        shared_samples(sides, few, False, None)
    assert len(shared_samples(sides, few, False, 30)[0]) == 30


def test_layers_that_a_run_lacks_are_told(artifact: Path, tmp_path: Path) -> None:
    loaded = load_artifact(artifact)
    own = reference.run(loaded.program, loaded.golden.inputs)
    last = loaded.program.layers[-1].name
    side = record(artifact, tmp_path / "run", spikes={}, potentials={last: own.potentials[last]})
    result = compare_backends(Request(artifact, "reference", side))
    assert [layer.missing for layer in result.layers] == [
        ("run:bench has no spikes and no potentials",), ("run:bench has no spikes and no potentials",), (),
    ]  # fmt: skip
    assert (result.excess(), result.layers[-1].differing_voltages) == ([], 0)
    with pytest.raises(UsageError, match="--teacher-forced: run:bench lacks the spikes of layer lif1, lif2"):
        compare_backends(Request(artifact, side, "reference", teacher_forced=True))


def test_a_run_of_another_program_is_refused(artifact: Path, model: Model, tmp_path: Path) -> None:
    export_model(model, "rockpool", tmp_path / "rockpool")
    side = record(tmp_path / "rockpool", tmp_path / "run")
    with pytest.raises(UsageError, match="another program ran"):
        compare_backends(Request(artifact, "reference", side))


# --- the PyTorch network ----------------------------------------------------------------------------------------


def settled(steps: int = 5, **options: Any) -> tuple[SpikingNetwork, Array]:
    """A module of some kind on inputs of 8 bits, with batch norms that know their statistics."""
    config = load_config(None, [], {f"network.{name}": value for name, value in ({"steps": steps} | options).items()})
    torch.manual_seed(1)
    module = build(config.network, Input((2, 8, 8), 1 / 255, 8), 4).train()
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.integers(0, 256, (64, 2, 8, 8)).astype(np.float32) / 255)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                part.momentum = 1.0
            if isinstance(part, torch.nn.Linear):
                part.weight *= 2  # random weights of their usual size leave the last layers silent
        for _ in range(4):
            module(values)
    return module.eval(), rng.integers(0, 256, (steps, 3, 2, 8, 8))


@pytest.mark.parametrize(
    "options",
    [
        {"channels": [4]},
        {"channels": [4, 6], "depth": 2, "reset": "subtract"},
        {"channels": [4], "readout": "spike_count", "lateral": "feature"},
        {"channels": [4], "lateral": "channel"},
        {"kind": "mlp", "hidden": [12, 9], "recurrent": True},
        {"kind": "mlp", "hidden": [12], "recurrent": True, "reset": "subtract"},
    ],
    ids=str,
)
def test_modules_of_all_kinds_run_as_their_networks(options: dict[str, Any]) -> None:
    network, inputs = settled(**options)
    definition = define_network(trace(network))
    free, exact = run_module(in_double(network), inputs), run_definition(definition, inputs)
    assert list(free.potentials) == list(exact.potentials)
    for name, fired in exact.spikes.items():
        np.testing.assert_array_equal(free.spikes[name], fired)
        assert 0.05 < fired.mean() < 0.95
    for name, potentials in exact.potentials.items():
        np.testing.assert_allclose(free.potentials[name], potentials, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(free.readout, exact.readout, rtol=1e-5, atol=1e-5)
    rng = np.random.default_rng(0)
    teacher = {name: rng.integers(0, 2, fired.shape).astype(np.uint8) for name, fired in exact.spikes.items()}
    forced = run_module(in_double(network), inputs, teacher)
    wanted = run_definition(definition, inputs, teacher)
    for name, fired in wanted.spikes.items():
        np.testing.assert_array_equal(forced.spikes[name], fired)
    for name, potentials in wanted.potentials.items():
        np.testing.assert_allclose(forced.potentials[name], potentials, rtol=1e-5, atol=1e-6)
    assert any(not np.array_equal(fired, wanted.spikes[name]) for name, fired in exact.spikes.items())


def test_running_a_module_leaves_it_as_it_was(model: Model) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    one = run_module(model.network, model.golden.inputs[:2], None)
    run_module(model.network, model.golden.inputs[:2], one.spikes)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.network.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    again = run_module(model.network, model.golden.inputs[:2])
    for name, potentials in one.potentials.items():
        np.testing.assert_array_equal(again.potentials[name], potentials)


def test_a_model_of_spike_counts_and_a_fixed_point_chip(settled_model: Callable[..., Model], tmp_path: Path) -> None:
    model = settled_model(readout="spike_count")
    save_model(model, tmp_path / "model.pt")
    result = compare_backends(Request(tmp_path / "model.pt", "float", "engine", chip="loihi2", samples=8))
    assert (result.chip, result.samples) == ("loihi2", 8)
    assert all(layer.fires for layer in result.layers)
