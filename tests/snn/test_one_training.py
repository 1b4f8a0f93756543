"""A folder of checkpoints is one training's: on its own data, and alone meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from neurodeploy.config import DataConfig, ExperimentConfig
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError
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
    for resume, asked in ((False, other), (True, config)):
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


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(opened: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="not locked .Function not implemented.; start no second"), reserved(tmp_path):
        assert tmp_path.is_dir()


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
