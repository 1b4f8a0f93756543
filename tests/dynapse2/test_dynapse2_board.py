"""DYNAP-SE2 on a board: bundles, the runner, what comes back; a stand-in takes the place of samna and the chip."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dynapse2_networks import chip_network, events
from stand_in_for_dynapse2 import make

from neurodeploy import hardware_run_dynapse2 as board
from neurodeploy.errors import DesignRuleError, FileFormatError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.export import dynapse2_bundle, samna_boards
from neurodeploy.export import dynapse2_bundle_run as runner_file
from neurodeploy.export.dynapse2 import MEMORIES, write
from neurodeploy.export.dynapse2_folder import Dynapse2Artifact, golden_of, load_dynapse2, save_dynapse2
from neurodeploy.export.dynapse2_memory import OUTSIDE, memories
from neurodeploy.export.samna_bundle import FOLDER
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.recorded_run import load_run, save_run

SIMULATOR = "neurodeploy run out --backend dynapse2"
Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def artifact() -> Dynapse2Artifact:
    """Five samples of a network on two cores that fires, labelled as it decides but for the last."""
    network = chip_network(2, recurrent=True)
    shown = events(network, 5)
    golden = golden_of(network, shown, np.zeros(5, np.int64))
    assert 0.02 < (golden.output_spikes > 0).mean() < 0.95
    labels = golden.readout.argmax(axis=1)
    labels[4] = (labels[4] + 1) % network.outputs
    return Dynapse2Artifact(network, replace(golden, labels=labels), {})


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """(bundle, *arguments, board=) -> the runner's process, with or without the stand-in."""
    stand_in = make(tmp_path / "stand-in")

    def run(bundle: Path, *arguments: str, board: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if board:
            monkeypatch.setenv("PYTHONPATH", str(stand_in))
        command = [sys.executable, str(bundle / "run.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle.parent)

    return run


def test_what_a_board_puts_out_comes_back(artifact: Dynapse2Artifact, runner: Runner, tmp_path: Path) -> None:
    dynapse2_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "board", "-o", "run")
    assert done.returncode == 0, done.stderr
    assert "has not been run on a board by its authors" in done.stderr
    found = board.import_run(tmp_path / "run", artifact)
    assert found.agrees
    assert (found.run.evidence, found.run.versions["samna"]) == ("measured-silicon", "0.99")
    assert found.run.backend == "dynapse2 board"
    np.testing.assert_array_equal(found.run.recording.readout, artifact.golden.readout)
    comparison = found.comparison
    assert (comparison["mismatched_spikes"], comparison["spikes_compared"]) == (0, artifact.golden.output_spikes.size)
    assert (comparison["accuracy"], comparison["expected_accuracy"]) == (0.8, 0.8)
    assert [row["mismatched_voltages"] for row in comparison["layers"]] == [comparison["mismatched_voltages"]] == [None]
    save_run(tmp_path / "kept", found.run)
    assert load_run(tmp_path / "kept").facts["comparison"]["readouts_differing"] == 0


def test_an_analogue_chip_may_differ_and_it_is_said(artifact: Dynapse2Artifact, runner: Runner, tmp_path: Path) -> None:
    dynapse2_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "board", "--samples", "3", "-o", "run", STAND_IN_IS_WRONG="1")
    assert done.returncode == 0, done.stderr
    found = board.import_run(tmp_path / "run", artifact)
    lost = int((artifact.golden.output_spikes[::2, :3] > 0).sum())
    assert found.agrees
    assert (found.comparison["mismatched_spikes"], found.comparison["samples"]) == (lost, 3)
    assert lost > 0


def test_the_simulator_of_a_bundle(artifact: Dynapse2Artifact, runner: Runner, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    dynapse2_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "dynapsim", "--record", "all", "-o", "run", board=False)
    assert done.returncode == 0, done.stderr
    found = board.import_run(tmp_path / "run", artifact)
    assert found.agrees
    assert found.run.evidence == "modelled"
    assert [row["layer"] for row in found.comparison["layers"]] == ["hidden", "output"]
    assert found.comparison["mismatched_spikes"] <= 1e-3 * found.comparison["spikes_compared"]
    wrong = replace(artifact, network=replace(artifact.network, base=artifact.network.base * 2))
    with pytest.raises(UsageError, match="another network ran"):
        board.import_run(tmp_path / "run", wrong)


def test_a_simulator_that_differs_is_an_error(artifact: Dynapse2Artifact, tmp_path: Path) -> None:
    result(artifact, tmp_path / "run")
    assert board.import_run(tmp_path / "run", artifact).agrees
    other = artifact.golden.output_spikes[::-1]
    result(artifact, tmp_path / "run", {"output_spikes": other})
    assert not board.import_run(tmp_path / "run", artifact).agrees


def test_without_a_board(artifact: Dynapse2Artifact, runner: Runner, tmp_path: Path) -> None:
    dynapse2_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "board", board=False)
    assert done.returncode == 4
    assert "samna" in done.stderr
    package = tmp_path / "stand-in" / "rockpool" / "devices" / "dynapse" / "__init__.py"
    package.write_text("def find_dynapse_boards():\n    raise ConnectionError('No samna device found')\n")
    done = runner(tmp_path / "bundle", "--backend", "board")
    assert (done.returncode, "is connected to this machine (No samna device found)" in done.stderr) == (4, True)


def test_a_changed_bundle_or_option_is_refused(artifact: Dynapse2Artifact, runner: Runner, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    dynapse2_bundle.write_bundle(artifact, bundle)
    for arguments, told in (
        (("board", "--samples", "6"), "--samples 6: the bundle has 1 to 5"),
        (("board", "--record", "all"), "only outputs are watched on a board"),
    ):
        done = runner(bundle, "--backend", *arguments)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    (bundle / MEMORIES).write_text("{}", encoding="utf-8")
    done = runner(bundle, "--backend", "dynapsim")
    assert (done.returncode, "changed since the bundle was made" in done.stderr) == (2, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="exists and is not a bundle for DYNAP-SE2"):
        dynapse2_bundle.write_bundle(artifact, tmp_path / "mine")


def test_what_does_not_fit_is_not_bundled(tmp_path: Path) -> None:
    network = chip_network(0, sizes=(70, 5, 3))
    full: Dynapse2Network = replace(network, codes_in=np.ones_like(network.codes_in))
    made = Dynapse2Artifact(full, golden_of(full, events(full, 2), np.zeros(2, np.int64)), {})
    with pytest.raises(DesignRuleError, match="64"):
        dynapse2_bundle.write_bundle(made, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_deploy(artifact: Dynapse2Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingBackendError, match=f"(?s)samna.*Without them, the simulator: {SIMULATOR}"):
        board.deploy(artifact, SIMULATOR)
    with pytest.raises(UsageError, match="--python /nowhere"):
        board.deploy(artifact, SIMULATOR, python="/nowhere")
    with pytest.raises(MissingBackendError, match=f"(?s)samna.*the simulator: {SIMULATOR}"):
        board.deploy(artifact, SIMULATOR, python=sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(make(tmp_path / "stand-in")))
    found = board.deploy(artifact, SIMULATOR, 3, python=sys.executable)
    assert (found.agrees, found.comparison["samples"], found.run.evidence) == (True, 3, "measured-silicon")


def result(
    artifact: Dynapse2Artifact, folder: Path, changed: dict[str, Any] | None = None, **described: Any
) -> Dynapse2Artifact:
    """A result folder as DynapSim's, with changes; an array that is None is left out."""
    from neurodeploy.ir.identity import network_hash

    golden = artifact.golden
    arrays: dict[str, Any] = {"events": golden.inputs, "output_spikes": golden.output_spikes, "readout": golden.readout}
    arrays = {name: values for name, values in (arrays | (changed or {})).items() if values is not None}
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "result.npz", **arrays)
    told = {
        "format": "neurodeploy-dynapse2-result",
        "version": 1,
        "name": "network",
        "network_hash": network_hash(artifact.network),
        "chip": "dynapse2",
        "backend": "dynapsim",
        "versions": {"numpy": "2"},
        "date": "2026-01-02T03:04:05+00:00",
        "facts": {},
        "sha256": hashlib.sha256((folder / "result.npz").read_bytes()).hexdigest(),
    }
    (folder / "result.json").write_text(json.dumps(told | described), encoding="utf-8")
    return artifact


def test_what_comes_back_is_not_trusted(artifact: Dynapse2Artifact, tmp_path: Path) -> None:
    golden = artifact.golden
    for change in ({"format": "another"}, {"backend": "moon"}, {"backend": "board"}, {"versions": []}, {"date": 3}):
        result(artifact, tmp_path, **change)
        with pytest.raises(FileFormatError):
            board.import_run(tmp_path, artifact)
    for arrays in (
        {"events": golden.inputs[:-1]},
        {"events": golden.inputs.astype(float)},
        {"output_spikes": golden.output_spikes[:, :2]},
        {"output_spikes": golden.output_spikes.astype(np.int32) - 1},
        {"readout": golden.readout + 1},
        {"readout": None},
        {"events": None},
        {"weights": np.ones(3, dtype=int)},
    ):
        result(artifact, tmp_path, arrays)
        with pytest.raises(FileFormatError):
            board.import_run(tmp_path, artifact)
    with pytest.raises(UsageError, match="another network ran"):
        board.import_run(tmp_path, result(artifact, tmp_path, network_hash="0" * 64))
    with pytest.raises(FileFormatError, match="missing, or not a file"):
        board.import_run(tmp_path / "nothing", artifact)


def test_the_commands(
    artifact: Dynapse2Artifact, runner: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from neurodeploy.cli import hardware
    from neurodeploy.report.imported import imported_runs, imported_table

    save_dynapse2(artifact, tmp_path / "out")
    dynapse2_bundle.write_bundle(load_dynapse2(tmp_path / "out"), tmp_path / FOLDER)
    assert runner(tmp_path / FOLDER, "--backend", "board", "-o", "run").returncode == 0
    (tmp_path / "runs").mkdir()
    hardware.import_run(tmp_path / "run", tmp_path / "out", tmp_path / "runs" / "one", False)
    shown = capsys.readouterr().out
    assert "measured-silicon, 5 samples" in shown
    assert "right: 80.00%, 80.00% of the nominal chip" in shown
    table = imported_table(imported_runs(tmp_path / "runs"))
    assert {"dynapse2 board", "measured-silicon", "no difference"} <= set(table.rows[0])
    result(artifact, tmp_path / "wrong", {"output_spikes": artifact.golden.output_spikes[::-1]})
    with pytest.raises(
        NeurodeployError,
        match=r"dynapse2 dynapsim differs from the reference in \d+ spikes, voltages unknown and \d+ readouts",
    ):
        hardware.import_run(tmp_path / "wrong", tmp_path / "out", tmp_path / "imported", True)


class Plain:
    """Anything with attributes."""

    def __init__(self, *values: Any, **named: Any) -> None:
        self.__dict__.update(named, values=values)


def samna_of(names: list[str]) -> Any:
    """A samna whose Dynapse2Configuration has 4 chips of 4 cores of 256 neurons."""
    samna = types.ModuleType("samna")

    def core() -> Plain:
        return Plain(parameters={name: Plain() for name in names}, neurons=[Plain() for _ in range(256)])

    def configuration() -> Plain:
        return Plain(chips=[Plain(cores=[core() for _ in range(4)]) for _ in range(4)])

    parts = {"Dynapse2Configuration": configuration, "Dynapse2Synapse": Plain, "Dynapse2Destination": Plain}
    samna.dynapse2 = types.SimpleNamespace(**parts, Dendrite=lambda kind: kind)  # type: ignore[attr-defined]
    return samna


def test_every_core_is_configured_with_rockpools_own_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    from neurodeploy.export.dynapse2_simulator import without_samna

    with without_samna():
        tools = importlib.import_module("rockpool.devices.dynapse")
        allocator = importlib.import_module("rockpool.devices.dynapse.hardware.config.allocator")
        lookup = importlib.import_module("rockpool.devices.dynapse.lookup")
    samna = samna_of([*lookup.sim2device_se2.values()])
    monkeypatch.setattr(allocator, "samna", samna)
    network = chip_network(1)
    write(network, tmp_path)
    made = runner_file.configuration(json.loads((tmp_path / MEMORIES).read_text(encoding="utf-8")), samna, tools)
    for one in memories(network):
        core = made.chips[one["chip"]].cores[one["core"]]
        for place, neuron in enumerate(one["neurons"]):
            written = core.neurons[place]
            assert (len(written.synapses), len(written.destinations)) == (64, 4)
            used = [part for part in written.synapses if any(part.weight)]
            read = [(part.tag, part.dendrite.name, sum(bit << i for i, bit in enumerate(part.weight))) for part in used]
            assert read == [(tag, "ampa" if sign > 0 else "gaba", mask) for tag, sign, mask in neuron["synapses"]]
            sent = [part for part in written.destinations if any(part.core)]
            assert [(part.x_hop, part.core, part.tag) for part in sent] == [tuple(d) for d in neuron["destinations"]]
            assert all((part.y_hop == OUTSIDE) == (part.x_hop == OUTSIDE) for part in sent)
        codes = core.parameters["SOIF_SPKTHR_P"]
        current = lookup.paramgen_se2["P"][codes.coarse_value][codes.fine_value] * 0.38
        assert abs(current / one["biases"]["Ispkthr"] - 1) < 0.1


def test_silent_outputs_have_no_channel_and_late_spikes_count() -> None:
    described = {"chip_steps": 4, "outputs": 3}
    raster = np.zeros((6, 2))
    raster[1, 0], raster[3, 1], raster[5, 1] = 2, 1, 1
    channels = {0: Plain(tag=0), 1: Plain(tag=2)}
    spikes, readout = runner_file.outputs(described, raster, channels)
    assert readout.tolist() == [2, 0, 2]
    assert spikes.tolist() == [[0, 0, 0], [2, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert runner_file.outputs(described, np.zeros((6, 0)), {})[1].tolist() == [0, 0, 0]
    with pytest.raises(runner_file.shared.BundleError, match="sent tag 3, outputs have 0 to 2"):
        runner_file.outputs(described, raster, {0: Plain(tag=3), 1: Plain(tag=0)})


def test_the_command_of_another_artifact(tmp_path: Path) -> None:
    from neurodeploy.cli import dynapse2 as command

    with pytest.raises(UsageError, match="--target dynapse2"):
        command.deploy_dynapse2(tmp_path, "dynapse2", None, None)
    assert samna_boards.samna().version is None, "these tests are of a machine without samna"
