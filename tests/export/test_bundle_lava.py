"""Bundles in Lava: alone in a Python without neurodeploy, and on the chip's path with a stand-in for Intel's parts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hardware_programs import SAMPLES, artifact_of, chip_program, images, uneven, with_neurons

from neurodeploy.errors import DesignRuleError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.export import bundle, lava, lava_process
from neurodeploy.hardware_run import deploy, import_run
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.program import Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.recorded_run import load_run, save_run

pytestmark = pytest.mark.lava


@pytest.fixture(autouse=True, scope="module")
def _lava() -> None:
    """Without Lava these tests fail: equality that was not tried must not look like equality."""
    found = lava.TARGET.backend()
    if found.version is None:
        pytest.fail(found.detail, pytrace=False)


def dense_program() -> Program:
    """A dense network, whose numbers the chip gets as they are; 8 bits of input, steps a power of two."""
    program = chip_program(steps=4)
    rng = np.random.default_rng(0)
    hidden, last = program.layers[3:]
    weight = frozen_ints(rng.integers(-60, 90, (8, 48)))
    hidden = replace(hidden, synapses=(DenseSynapses("direct", "input", weight),))
    changed = replace(program.input, bits=8)
    dense = replace(program, input=changed, layers=(hidden, last))
    return with_neurons(dense, "d", threshold=frozen_ints(60000))


@pytest.mark.parametrize(
    ("program", "form", "own_units"),
    [(chip_program("membrane"), "even weights", ["d", "out"]), (dense_program(), "as exported", ["d", "out"])],
)
def test_a_bundle_runs_alone_and_comes_back(tmp_path: Path, program: Program, form: str, own_units: list[str]) -> None:
    artifact = artifact_of(program)
    bundle.write_bundle(artifact, tmp_path / "bundle")
    python = lava_process.interpreter()
    alone = subprocess.run([*python, "-c", "import neurodeploy"], capture_output=True, text=True, check=False)
    assert "No module named 'neurodeploy'" in alone.stderr
    before = sorted(path for path in (tmp_path / "bundle").rglob("*"))
    command = [*python, str(tmp_path / "bundle" / "run.py"), "--backend", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"spikes_differing": 0, "readouts_differing": 0' in done.stdout
    assert sorted(path for path in (tmp_path / "bundle").rglob("*")) == before
    found = import_run(tmp_path / "run-cpu", artifact)
    layers = found.comparison["layers"]
    assert [layer["layer"] for layer in layers] == [layer.name for layer in program.layers]
    assert sum(layer["compared"] for layer in layers) == SAMPLES * program.steps * sum(
        int(np.prod(layer.shape)) for layer in program.layers
    )
    assert found.agrees
    assert found.comparison["voltages_recorded"] == [layer.name for layer in program.layers]
    assert found.comparison["decisions_differing"] == 0
    assert found.comparison["form"] == form
    assert (found.run.evidence, found.run.backend) == ("bit-exact-sim", "cpu")
    assert found.run.versions["lava-nc"] == "0.10.0"
    save_run(tmp_path / "imported", found.run)
    back = load_run(tmp_path / "imported", program)
    assert back.program_hash == program_hash(program)
    np.testing.assert_array_equal(back.inputs, artifact.golden.inputs)
    assert sorted(back.recording.potentials) == own_units  # the others' are twice the program's


def test_samples_of_ones_own(tmp_path: Path) -> None:
    artifact = artifact_of(dense_program())
    bundle.write_bundle(artifact, tmp_path / "bundle")
    mine = images(artifact.program, 3, seed=11)[0]  # shown at every step
    np.save(tmp_path / "mine.npy", mine)
    command = [*lava_process.interpreter(), str(tmp_path / "bundle" / "run.py"), "--backend", "cpu", "-o", "out"]
    command += ["--inputs", "mine.npy", "--samples", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = import_run(tmp_path / "out", artifact)
    assert found.agrees
    np.testing.assert_array_equal(found.run.inputs, mine[:2])
    assert all(0.05 < layer["firing_rate"] < 0.95 for layer in found.comparison["layers"])


def test_a_simulator_that_differs_is_seen(tmp_path: Path) -> None:
    """What is expected is changed, which the runner cannot know: exit code 1, and a run folder all the same."""
    artifact = artifact_of(dense_program())
    golden = artifact.golden
    bundle.write_bundle(artifact, tmp_path / "bundle")
    with np.load(tmp_path / "bundle" / "golden.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["spikes:d"][2, 1, 0] ^= 1
    np.savez_compressed(tmp_path / "bundle" / "golden.npz", **arrays)
    described = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    described["files"].pop("golden.npz")
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(described))
    command = [*lava_process.interpreter(), str(tmp_path / "bundle" / "run.py"), "--backend", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert '"spikes_differing": 1, "readouts_differing": 0' in done.stdout
    assert import_run(tmp_path / "run-cpu", replace(artifact, golden=golden)).agrees


# --- the chip's path ------------------------------------------------------------------------------------------------


@pytest.fixture
def chip_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python that takes Lava's simulator for the chip, on a machine that seems to have SLURM."""
    place = tmp_path / "chip"
    place.mkdir()
    shutil.copy(Path(__file__).with_name("stand_in_for_loihi.py"), place)
    for name, text in (
        ("sinfo", "exit 0\n"),
        ("python", f'exec {" ".join(lava_process.interpreter())} "{place}/stand_in_for_loihi.py" "$@"\n'),
    ):
        (place / name).write_text(f"#!/bin/sh\n{text}")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    return str(place / "python")


def with_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's versions name lava-loihi, which no stand-in installs."""
    original = bundle._copy

    def copy(file: str, target: Path) -> None:
        original(file, target)
        if file == "bundle_run.py":
            text = target.read_text()
            assert 'found = {"python": ' in text
            target.write_text(text.replace('found = {"python": ', 'found = {"lava-loihi": "stand-in", "python": '))

    monkeypatch.setattr(bundle, "_copy", copy)


@pytest.mark.parametrize(
    ("program", "recorded"),
    [
        (chip_program(), ["stem", "x", "joined", "d", "out"]),
        (chip_program("membrane", bits=8, steps=5), ["stem", "x", "joined", "d", "out"]),
        (dense_program(), ["d", "out"]),
    ],
)
def test_the_whole_path_to_the_chip_but_for_intels_parts(
    chip_python: str, monkeypatch: pytest.MonkeyPatch, program: Program, recorded: list[str]
) -> None:
    with_versions(monkeypatch)
    artifact = artifact_of(program)
    found = deploy(artifact, "loihi2", ["--record", "all", "--probes", "power"], chip_python)
    assert found.agrees, found.comparison
    assert [layer["layer"] for layer in found.comparison["layers"]] == recorded
    membrane = program.readout == "membrane"
    assert found.comparison["voltages_recorded"] == (["out"] if membrane else [])
    assert found.comparison["spikes_compared"] == sum(values.size for values in artifact.golden.spikes.values())
    assert (found.run.evidence, found.run.backend) == ("measured-silicon", "loihi2")
    assert "has not been run on hardware" in found.run.facts["caution"]
    assert found.run.facts["probes"]["power"]["total_watt"] == 0.5
    assert found.run.facts["expected"]["spikes_differing"] == 0


def test_a_wrong_latency_does_not_go_unseen(chip_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_versions(monkeypatch)
    artifact = artifact_of(chip_program())
    found = deploy(artifact, "loihi2", ["--probes", "none", "--input-latency", "0"], chip_python)
    assert not found.agrees
    assert found.comparison["mismatched_spikes"] > 0
    assert found.run.facts["expected"]["spikes_differing"] == found.comparison["mismatched_spikes"]


def test_what_cannot_be_deployed(tmp_path: Path, chip_python: str) -> None:
    artifact = artifact_of(chip_program())
    with pytest.raises(UsageError, match="unknown chip to deploy to 'loihi3': did you mean loihi2"):
        deploy(artifact, "loihi3", [])
    with pytest.raises(UsageError, match="--record"):
        deploy(artifact, "loihi2", ["--record", "some"], chip_python)
    with pytest.raises(UsageError, match="--python nowhere: No such file"):
        deploy(artifact, "loihi2", [], "nowhere")
    with pytest.raises(NeurodeployError, match="failed with exit code 1; it said"):
        deploy(artifact, "loihi2", ["--probes", "activity"], chip_python)  # the stand-in has no such probe
    with pytest.raises(MissingBackendError) as caught:
        deploy(artifact, "loihi2", ["--host", "ethernet"], sys.executable)
    assert "lava-loihi is not installed" in str(caught.value)
    assert "--host ethernet needs --address" in str(caught.value)
    assert "neurodeploy run ARTIFACT --backend lava" in str(caught.value)
    assert "neurodeploy export MODEL --target lava --bundle" in str(caught.value)
    with pytest.raises(DesignRuleError, match="differs between neurons"):
        deploy(replace(artifact, program=uneven(artifact.program)), "loihi2", [], chip_python)
