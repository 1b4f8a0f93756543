"""Xylo artifacts on a board: bundles, the runner, what comes back; a stand-in takes the place of samna and the chip."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in_for_samna import FAMILIES, POWER, make
from xylo_networks import random_events, random_network

from neurodeploy import hardware_run_xylo as board
from neurodeploy.errors import DesignRuleError, FileFormatError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.export import samna_boards, xylo_bundle
from neurodeploy.export.xylo_folder import XyloArtifact, golden_of, load_xylo, save_xylo
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.recorded_run import load_run, save_run

SIMULATOR = "neurodeploy run out --backend xylo"


def artifact_of(readout: str, seed: int = 3, chip: str = "xylo-a3") -> XyloArtifact:
    """A small network that fires, with five samples."""
    rng = np.random.default_rng(seed)
    for _ in range(100):
        network = random_network(rng, wild=False)
        events = random_events(rng, network, 5)
        changed: dict[str, Any] = {"chip": chip, "readout": readout}
        network = replace(network, **changed)
        golden = golden_of(network, events, np.zeros(5, dtype=np.int64))
        if (
            network.synapses == xylo_chip(chip).synapses
            and 0.05 < (golden.output_spikes > 0).mean() < 0.95
            and not (network.aliases >= 0).any()
        ):
            return XyloArtifact(network, golden, {})
    raise AssertionError("no lively network")


@pytest.fixture(scope="module", params=["spike_count", "membrane"])
def artifact(request: pytest.FixtureRequest) -> XyloArtifact:
    return artifact_of(request.param)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
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


@pytest.mark.parametrize("record", ["output", "all"])
def test_what_a_board_puts_out_comes_back(artifact: XyloArtifact, record: str, runner: Any, tmp_path: Path) -> None:
    xylo_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "board", "--record", record, "--power", "-o", "run")
    assert done.returncode == 0, done.stderr
    assert "has not been run on a board by its authors" in done.stderr
    found = board.import_run(tmp_path / "run", artifact)
    assert found.agrees
    assert (found.run.evidence, found.run.versions["samna"]) == ("measured-silicon", "0.99")
    assert found.run.facts["watts"] == dict.fromkeys(POWER["syns65302"], 0.5)
    names = [row["layer"] for row in found.comparison["layers"]]
    assert (artifact.network.blocks[0].name in names) == (record == "all")
    known = found.comparison["voltages_recorded"]
    for row in found.comparison["layers"]:
        assert row["mismatched_voltages"] == (0 if row["layer"] in known else None)
    assert found.comparison["mismatched_voltages"] == (0 if known else None)
    np.testing.assert_array_equal(found.run.recording.readout, artifact.golden.readout)
    save_run(tmp_path / "kept", found.run)
    assert load_run(tmp_path / "kept").facts["comparison"]["readouts_differing"] == 0


@pytest.mark.parametrize("chip", FAMILIES)
def test_every_sample_starts_at_rest_and_every_supply_comes_back(chip: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Also where reset_state() does nothing; the stand-in's neurons keep their states from sample to sample."""
    artifact = artifact_of("spike_count", chip=chip)
    monkeypatch.setenv("PYTHONPATH", str(make(tmp_path / "stand-in", chip)))
    found = board.deploy(artifact, chip, SIMULATOR, record="all", power=True, python=sys.executable)
    assert (found.agrees, found.comparison["samples"]) == (True, 5)
    assert found.run.facts["watts"] == dict.fromkeys(POWER[FAMILIES[chip]], 0.5)


@pytest.mark.parametrize("record", ["output", "all"])
def test_the_simulator_of_a_bundle_needs_no_rockpool(
    artifact: XyloArtifact, record: str, runner: Any, tmp_path: Path
) -> None:
    xylo_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "xylosim", "--record", record, "-o", "run", board=False)
    assert done.returncode == 0, done.stderr
    found = board.import_run(tmp_path / "run", artifact)
    assert found.agrees
    assert found.run.evidence == "bit-exact-sim"


def test_a_difference_is_found(artifact: XyloArtifact, runner: Any, tmp_path: Path) -> None:
    xylo_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "board", "-o", "run", STAND_IN_IS_WRONG="1")
    assert done.returncode == 1
    found = board.import_run(tmp_path / "run", artifact)
    assert not found.agrees
    assert found.comparison["readouts_differing"] == 5
    assert f"step {artifact.network.chip_steps}" in found.comparison["first"]


def test_without_a_board(artifact: XyloArtifact, runner: Any, tmp_path: Path) -> None:
    xylo_bundle.write_bundle(artifact, tmp_path / "bundle")
    done = runner(tmp_path / "bundle", "--backend", "board", board=False)
    assert done.returncode == 4
    assert "samna" in done.stderr
    helper = tmp_path / "stand-in" / "rockpool" / "devices" / "xylo" / "helper.py"
    helper.write_text("def find_xylo_hdks():\n    return [], [], []\n", encoding="utf-8")
    done = runner(tmp_path / "bundle", "--backend", "board")
    assert (done.returncode, "no xylo-a3 board (syns65302) is connected" in done.stderr) == (4, True)


def test_a_changed_bundle_or_option_is_refused(artifact: XyloArtifact, runner: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    xylo_bundle.write_bundle(artifact, bundle)
    done = runner(bundle, "--backend", "xylosim", "--samples", "6")
    assert (done.returncode, "--samples 6: the bundle has 1 to 5" in done.stderr) == (2, True)
    (bundle / "golden.npz").write_bytes(b"else")
    done = runner(bundle, "--backend", "xylosim")
    assert (done.returncode, "changed since the bundle was made" in done.stderr) == (2, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="exists and is not a bundle for Xylo"):
        xylo_bundle.write_bundle(artifact, tmp_path / "mine")


def test_deploy(artifact: XyloArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="the artifact was made for xylo-a3"):
        board.deploy(artifact, "xylo-a2", SIMULATOR)
    with pytest.raises(MissingBackendError, match=f"(?s)samna.*Without them, the simulator: {SIMULATOR}"):
        board.deploy(artifact, "xylo-a3", SIMULATOR)
    with pytest.raises(UsageError, match="--python /nowhere"):
        board.deploy(artifact, "xylo-a3", SIMULATOR, python="/nowhere")
    with pytest.raises(MissingBackendError, match=f"(?s)samna.*the simulator: {SIMULATOR}"):
        board.deploy(artifact, "xylo-a3", SIMULATOR, python=sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(make(tmp_path / "stand-in")))
    found = board.deploy(artifact, "xylo-a3", SIMULATOR, 3, "all", python=sys.executable)
    assert (found.agrees, found.comparison["samples"]) == (True, 3)


def test_what_does_not_fit_is_not_bundled(tmp_path: Path) -> None:
    artifact = artifact_of("spike_count")
    own = artifact.network
    wide = np.tile(own.weights_in, (9, 1, 1))
    network: XyloNetwork = replace(own, weights_in=wide, input=replace(own.input, shape=(len(wide),)))
    with pytest.raises(DesignRuleError, match="channels"):
        xylo_bundle.write_bundle(replace(artifact, network=network), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def hostile(folder: Path, described: dict[str, Any], arrays: dict[str, Any] | None) -> None:
    folder.mkdir(exist_ok=True)
    if arrays is not None:
        np.savez_compressed(folder / "result.npz", **arrays)
        described = described | {"sha256": hashlib.sha256((folder / "result.npz").read_bytes()).hexdigest()}
    (folder / "result.json").write_text(json.dumps(described), encoding="utf-8")


def test_what_comes_back_is_not_trusted(artifact: XyloArtifact, runner: Any, tmp_path: Path) -> None:
    xylo_bundle.write_bundle(artifact, tmp_path / "bundle")
    assert runner(tmp_path / "bundle", "--backend", "xylosim", "-o", "run", board=False).returncode == 0
    good = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    with np.load(tmp_path / "run" / "result.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    place = tmp_path / "bad"
    for change in (
        {"format": "another"},
        {"backend": "moon"},
        {"backend": "board", "versions": {}},
        {"versions": []},
        {"date": 3},
        {"facts": {"probes": [1]}},
        {"facts": {"probes": {"a": {"b": "x"}}}},
        {"facts": {"probes": {"a": {"b": True}}}},
        {"facts": {"probes": {"a": {"b": 10**400}}}},
    ):
        hostile(place, good | change, arrays)
        with pytest.raises(FileFormatError):
            board.import_run(place, artifact)
    for change in (
        {"events": arrays["events"][:-1]},
        {"events": arrays["events"].astype(float)},
        {"output_spikes": arrays["output_spikes"][:, :2]},
        {"weights": np.ones(3, dtype=int)},
    ):
        hostile(place, good, arrays | change)
        with pytest.raises(FileFormatError):
            board.import_run(place, artifact)
    hostile(place, good, {"events": arrays["events"]})
    with pytest.raises(FileFormatError, match="output_spikes or output_potentials"):
        board.import_run(place, artifact)
    hostile(place, good | {"sha256": "0" * 64}, None)
    with pytest.raises(FileFormatError, match="changed since it was written"):
        board.import_run(place, artifact)
    hostile(place, good | {"network_hash": "0" * 64}, arrays)
    with pytest.raises(UsageError, match="another network ran"):
        board.import_run(place, artifact)
    with pytest.raises(FileFormatError, match="missing, or not a file"):
        board.import_run(tmp_path / "nothing", artifact)
    for damage in (broken_stream, claims_more, odd_method):
        hostile(place, good, arrays)
        damage(place / "result.npz")
        described = good | {"sha256": hashlib.sha256((place / "result.npz").read_bytes()).hexdigest()}
        (place / "result.json").write_text(json.dumps(described), encoding="utf-8")
        with pytest.raises(FileFormatError, match=r"result\.npz: missing or damaged"):
            board.import_run(place, artifact)


def broken_stream(path: Path) -> None:
    """Bits of the packed values are others."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as packed:
        start = max(packed.infolist(), key=lambda one: one.compress_size).header_offset + 60
    content[start : start + 40] = bytes(40)
    path.write_bytes(bytes(content))


def claims_more(path: Path) -> None:
    """An array of 8 TB by its header."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("events.npy", header.getvalue())


def odd_method(path: Path) -> None:
    """A method of packing that Python does not know."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as packed:
        directory = packed.start_dir
    content[directory + 10] = content[8] = 99
    path.write_bytes(bytes(content))


def test_the_commands(artifact: XyloArtifact, runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from neurodeploy.cli import hardware

    save_xylo(artifact, tmp_path / "out")
    xylo_bundle.write_bundle(load_xylo(tmp_path / "out"), tmp_path / "bundle")
    assert runner(tmp_path / "bundle", "--backend", "board", "-o", "run").returncode == 0
    hardware.import_run(tmp_path / "run", tmp_path / "out", tmp_path / "imported", False)
    assert "measured-silicon, 5 samples" in capsys.readouterr().out
    assert runner(tmp_path / "bundle", "--backend", "board", "-o", "wrong", STAND_IN_IS_WRONG="1").returncode == 1
    with pytest.raises(NeurodeployError, match="differs from the reference"):
        hardware.import_run(tmp_path / "wrong", tmp_path / "out", tmp_path / "imported", True)


def test_samna_is_not_here() -> None:
    assert samna_boards.samna().version is None, "these tests are of a machine without samna"
