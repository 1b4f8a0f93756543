"""The bundle's runner where Lava is missing, where the bundle was changed, and on inputs that do not fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardware_programs import SAMPLES, artifact_of, chip_program, images
from numpy.typing import NDArray

from neurodeploy.export import bundle, bundle_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle.write_bundle(artifact_of(chip_program()), tmp_path / "bundle")
    return tmp_path / "bundle"


def start(folder: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """The runner in a Python that has neither neurodeploy nor Lava."""
    command = [sys.executable, "-I", "-S", "-c", _ALONE, str(folder / "run.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/", env={"PATH": path})


_ALONE = f"""
import runpy, sys
sys.path += {[str(Path(np.__file__).parents[1])]!r}
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("neurodeploy", "lava", "torch", "safetensors"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refused())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_without_lava_one_error_says_what_is_missing(folder: Path) -> None:
    done = start(folder, "--backend", "cpu")
    assert (done.returncode, done.stdout) == (4, "")
    assert (
        done.stderr
        == "error: lava-nc is not installed here: `pip install --no-deps -r requirements.txt` in a Python 3.10\n"
    )
    done = start(folder, "--backend", "loihi2")
    assert (done.returncode, done.stdout) == (4, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "error: Loihi 2 cannot be used from here:"
    assert [line.split(":")[0] for line in lines[1:4]] == [
        "  - lava-nc is not installed",
        "  - lava-loihi is not installed (no lava.magma.core.model.nc, "
        "lava.magma.compiler.subcompilers.nc.ncproc_compiler, lava.proc.embedded_io, lava.utils.loihi2_profiler)",
        "  - no SLURM",
    ]
    assert lines[4] == "The simulator needs none of it: python run.py --backend cpu"
    done = start(folder, "--backend", "loihi2", "--host", "ethernet", "--generation", "N9", "--probes", "power,heat")
    assert "--host ethernet needs --address of the board's host" in done.stderr
    assert "no `ping` on the PATH" in done.stderr
    assert "--generation N9: known are N3B2, N3B3, N3C1, N3D1" in done.stderr
    assert "unknown probes heat: known are power, time, memory, activity, or none" in done.stderr
    assert "sinfo" not in done.stderr


@pytest.fixture
def runner(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """(exit code, words) -> what the runner says about the bundle when it ends with that code."""
    monkeypatch.setattr(bundle_run, "BUNDLE", folder)

    def run(code: int, *words: str) -> str:
        capsys.readouterr()
        assert bundle_run.main(["--backend", "cpu", *words]) == code
        return capsys.readouterr().err

    return run


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("name", ["run.py", "job/lava_job.npz", "simulator/lava_network.py", "golden.npz"])
@pytest.mark.parametrize("damage", [append, Path.unlink])
def test_a_changed_bundle_is_refused(
    runner: Callable[..., str], folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(folder / name)
    assert f"{name}: missing or changed since the bundle was made" in runner(2)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((4, 2, 4, 5), int), "integers (samples, (2, 4, 6))"),
        (np.zeros((5, 4, 2, 4, 6), int), "or (steps, samples, (2, 4, 6)) are meant"),
        (np.zeros((4, 2, 4, 6)), "float64: integers"),
        (np.zeros((0, 2, 4, 6), int), "are meant"),
        (np.full((1, 2, 4, 6), 2), "inputs 2 to 2: allowed are 0 to 1"),
        (np.full((1, 2, 4, 6), -1), "inputs -1 to -1: allowed are 0 to 1"),
        (np.array([{}], dtype=object), "a .npy file of integers is meant"),
    ],
)
def test_inputs_of_ones_own_are_checked(
    runner: Callable[..., str], tmp_path: Path, inputs: NDArray[Any], message: str
) -> None:
    np.save(tmp_path / "mine.npy", inputs)
    assert message in runner(2, "--inputs", str(tmp_path / "mine.npy"))


def test_samples_and_files_that_are_not_there(runner: Callable[..., str]) -> None:
    assert "--samples 0: at least 1" in runner(2, "--samples", "0")
    assert "nowhere.npy" in runner(2, "--inputs", "nowhere.npy")


def test_frames_end_with_idle_steps() -> None:
    described = {"period": 8, "steps": 6, "input_shape": [2, 4, 6], "input_bits": 1}
    moving = images(chip_program())
    frames = bundle_run._frames(moving, described)
    np.testing.assert_array_equal(frames[:6], moving)
    assert not frames[6:].any()
    assert frames.shape == (8, SAMPLES, 2, 4, 6)
    still = bundle_run._frames(moving[0], described)
    np.testing.assert_array_equal(still[:6], np.broadcast_to(moving[0], moving.shape))
    assert not still[6:].any()
