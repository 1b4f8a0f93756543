"""A folder of checkpoints is one training's: on its own data, and alone meanwhile."""

from __future__ import annotations

import copy
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurodeploy.config import DataConfig, ExperimentConfig
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError
from neurodeploy.snn import checkpoints
from neurodeploy.snn.checkpoints import BEST, LAST, fingerprint, reserved
from neurodeploy.snn.train import train

MakeConfig = Callable[..., ExperimentConfig]


def test_a_second_training_in_the_folder_is_refused_and_removes_nothing(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """Two seeds with one -o: each would end with the weights that the other wrote last."""
    config = tiny_config(train={"epochs": 1})
    train(config, tiny_data, tmp_path, progress=False)
    before = [(tmp_path / name).read_bytes() for name in (BEST, LAST)]
    other = tiny_config(train={"epochs": 1}, seed=1)
    for resume, asked in ((False, other), (True, config), (True, other)):
        with reserved(tmp_path), pytest.raises(UsageError, match="another training writes there now"):
            train(asked, tiny_data, tmp_path, resume=resume, progress=False)
    assert [(tmp_path / name).read_bytes() for name in (BEST, LAST)] == before
    assert train(other, tiny_data, tmp_path, progress=False).epoch == 1  # and afterwards it is free


def test_a_folder_is_free_again_when_its_process_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom neurodeploy.snn.checkpoints import reserved\n"
        "with reserved(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in" + os.linesep.encode()
        with pytest.raises(UsageError, match="wait for its end"), reserved(tmp_path):
            pass
        process.kill()
    with reserved(tmp_path):
        pass


SEVERAL_DEVICES = """
import signal, sys
from pathlib import Path
from neurodeploy.config import DataConfig, parse_config
from neurodeploy.data.sources import load_data_set
from neurodeploy.snn.train import train

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job in the background, whose children inherit that
    network, asked = {"channels": [], "hidden": 6, "steps": 2}, {"epochs": 5000, "devices": 2, "accelerator": "cpu"}
    config = parse_config({"network": network, "train": asked})
    train(config, load_data_set(DataConfig(), 4, 0), Path(sys.argv[1]), progress=False)
"""


def devices_of(process: int) -> list[int]:
    """The processes that it started for devices, and that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == process and state != "Z" and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux which processes there are")
def test_a_folder_is_not_free_while_a_device_of_a_killed_training_runs(tmp_path: Path) -> None:
    """Devices are processes of their own: they must not write on while another training takes the folder."""
    script, folder = tmp_path / "several.py", tmp_path / "checkpoints"
    script.write_text(SEVERAL_DEVICES)
    with subprocess.Popen([sys.executable, str(script), str(folder)], stderr=subprocess.DEVNULL) as process:
        while not (folder / LAST).exists():
            assert process.poll() is None
            time.sleep(0.05)
        devices = devices_of(process.pid)
        process.kill()
    assert len(devices) == 2
    try:
        with pytest.raises(UsageError, match="another training writes there now"), reserved(folder):
            pass
    finally:
        for device in devices:
            with suppress(ProcessLookupError):
                os.kill(device, signal.SIGKILL)
    for _ in range(200):
        with suppress(UsageError), reserved(folder):
            return
        time.sleep(0.05)
    pytest.fail("the folder is not free 10 seconds after the last process was killed")


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")

    def refused(folder: Path, how: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UsageError) as caught, reserved(tmp_path):
        pass
    assert str(caught.value) == f"-o: checkpoints go to {tmp_path}: Permission denied; name another file"


def test_a_copy_does_not_keep_the_folder(tmp_path: Path) -> None:
    with reserved(tmp_path) as reservation:
        copies = [copy.copy(reservation), copy.deepcopy([reservation])]
        assert copies == [reservation, [reservation]]
    with reserved(tmp_path):
        assert copies[0].opened is not None


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(opened: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="not locked .Function not implemented.; start no second"), reserved(tmp_path):
        assert tmp_path.is_dir()


def test_a_training_that_has_written_nothing_yet_is_told_as_one(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """Not as a folder in which there is nothing to resume."""
    with reserved(tmp_path), pytest.raises(UsageError, match="another training writes there now"):
        train(tiny_config(), tiny_data, tmp_path, resume=True, progress=False)
    with pytest.raises(UsageError, match=r"--resume: there is no checkpoint .*last\.ckpt"):
        train(tiny_config(), tiny_data, tmp_path, resume=True, progress=False)


@pytest.mark.parametrize("part", ["samples", "labels"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_as_many_other_samples_or_labels_are_refused(
    split: str, part: str, tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet
) -> None:
    """A .npz that was written anew between the break and --resume."""
    config, was = tiny_config(train={"epochs": 1}), getattr(tiny_data, split)
    train(config, tiny_data, tmp_path, progress=False)
    arrays = {"samples": was.samples.copy(), "labels": was.labels.copy()}
    arrays[part].flat[0] ^= 1
    changed = replace(tiny_data, **{split: Split(arrays["samples"], arrays["labels"])})
    with pytest.raises(UsageError, match="was trained on other samples or labels than data set digits holds now"):
        train(config, changed, tmp_path, resume=True, progress=False)
    assert train(config, tiny_data, tmp_path, resume=True, progress=False).epoch == 1


def test_fingerprints_of_encoded_samples_are_of_their_values() -> None:
    direct, rate, again = (load_data_set(DataConfig(encoding=name), 4, 0) for name in ("direct", "rate", "rate"))
    assert fingerprint(direct) == fingerprint(rate) == fingerprint(again)
    assert fingerprint(load_data_set(DataConfig(), 4, 1)) != fingerprint(direct)  # another seed splits otherwise


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128])
def test_a_fingerprint_is_the_hash_of_all_values_in_order(count: int, tiny_data: DataSet) -> None:
    """As one hash of the whole arrays, in whatever order they lie."""
    rng = np.random.default_rng(0)
    samples, labels = rng.integers(0, 17, (count, 3, 5), dtype=np.uint8), rng.integers(0, 9, count)
    digest = hashlib.sha256()
    for array in (samples, labels, tiny_data.validation.samples, tiny_data.validation.labels):
        digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    twice = np.repeat(labels, 2)[::2]
    for given in (Split(samples, labels), Split(np.asfortranarray(samples), twice)):
        assert fingerprint(replace(tiny_data, train=given)) == digest.hexdigest()


def test_samples_are_hashed_once(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes of them take seconds."""
    hashed: list[DataSet] = []

    def counted(data: DataSet) -> str:
        hashed.append(data)
        return fingerprint(data)

    monkeypatch.setattr(checkpoints, "fingerprint", counted)
    for resume in (False, True):
        train(tiny_config(train={"epochs": 1}), tiny_data, tmp_path, resume=resume, progress=False)
        assert len(hashed) == 1 + resume
