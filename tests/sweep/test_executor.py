"""Executors: several processes and a cluster give the bits of one process; workers that die are replaced."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from neurodeploy.errors import MissingBackendError, NeurodeployError, UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep.executor import Processes, Serial, make_executor
from neurodeploy.sweep.plan import NoiseAxis
from neurodeploy.sweep.run import CHIPS_AT_ONCE, Study, sweep
from neurodeploy.sweep.store import Store
from neurodeploy.sweep.work import Outcome, Task

AXIS = NoiseAxis("mismatch", (0.0, 0.3), NoiseModel(thermal=0.1))
Contents = Callable[[Path], dict[str, pd.DataFrame]]
Quiet = Callable[[str, int, int], None]


@pytest.fixture(scope="module")
def serial(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serial") / "study.sqlite"
    with Store(path) as store:
        for calibrated in (False, True):
            sweep(study, [AXIS], store, calibrated, lambda *_: None)
    return path


def same(contents: Contents, path: Path, other: Path) -> None:
    for name, table in contents(path).items():
        keys = [key for key in ("cell", "noise", "chip_id") if key in table]
        sides = [side.sort_values(keys).reset_index(drop=True) for side in (table, contents(other)[name])]
        pd.testing.assert_frame_equal(*sides, obj=name)


@pytest.mark.parametrize("study", ["mixed-signal"], indirect=True)
def test_processes_give_the_bits_of_one_process(
    study: Study, serial: Path, tmp_path: Path, quiet: Quiet, contents: Contents
) -> None:
    path = tmp_path / "study.sqlite"
    with make_executor([study], 2) as executor, Store(path) as store:
        assert isinstance(executor, Processes)
        for calibrated in (False, True):
            sweep(study, [AXIS], store, calibrated, quiet, executor)
    assert len(contents(path)["result"]) == 48
    same(contents, path, serial)


class Killing(Processes):
    """Kills a worker after the first outcome, or every worker whenever one begins."""

    always = False

    def run(self, study: Study, tasks: Any) -> Iterator[tuple[Task, Outcome]]:
        for count, found in enumerate(super().run(study, tasks)):
            if count == 0:
                self.kill()
            yield found

    def kill(self) -> None:
        assert self._pool is not None
        os.kill(next(iter(self._pool._processes)), signal.SIGKILL)

    def _started(self) -> Any:
        pool = super()._started()
        if self.always:
            for process in list((pool._processes or {}).values()):
                process.kill()
        return pool


@pytest.mark.parametrize("study", ["loihi2"], indirect=True)
def test_a_worker_that_dies_is_replaced(study: Study, tmp_path: Path, quiet: Quiet, contents: Contents) -> None:
    tables = []
    for executor in (Killing([study], 2), Serial()):
        path = tmp_path / f"{type(executor).__name__}.sqlite"
        with executor, Store(path) as store:
            sweep(study, [AXIS], store, False, quiet, executor)
        tables.append(path)
    same(contents, *tables)


@pytest.mark.parametrize("study", ["loihi2"], indirect=True)
def test_workers_that_die_again_and_again_are_one_clear_error(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    executor = Killing([study], 1)
    executor.always = True
    said = r"worker processes died 3 times in a row .*fewer --jobs"
    with executor, Store(tmp_path / "study.sqlite") as store, pytest.raises(NeurodeployError, match=said):
        sweep(study, [AXIS], store, False, quiet, executor)


ORPHANS = """
import sys
from pathlib import Path
from neurodeploy.snn.model_file import load_model
from neurodeploy.study import make_studies, parse_axes
from neurodeploy.sweep.executor import make_executor
from neurodeploy.sweep.run import sweep
from neurodeploy.sweep.store import Store

if __name__ == "__main__":
    studies = make_studies(load_model(Path(sys.argv[1])), ["loihi2"], 400, 360, 0, None)

    def said(what, done, of):
        print(done, *executor._pool._processes, flush=True)

    with make_executor(studies, 2) as executor, Store(Path(sys.argv[2])) as store:
        sweep(studies[0], parse_axes(["mismatch=0.1,0.2,0.3", "thermal=0.1,0.2,0.3"], []), store, False, said, executor)
"""


def test_a_killed_sweep_leaves_no_workers_and_a_whole_study(model_file: Path, tmp_path: Path) -> None:
    script, path = tmp_path / "script.py", tmp_path / "study.sqlite"
    script.write_text(ORPHANS)
    process = subprocess.Popen([sys.executable, script, model_file, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    _, *workers = map(int, process.stdout.readline().split())
    process.kill()
    process.wait(60)
    process.stdout.close()
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their sweep"
        time.sleep(0.1)
    with Store(path) as store:
        counts = store.chips().groupby("cell").size()
    assert len(counts) > 0
    assert (counts % CHIPS_AT_ONCE == 0).all()


def test_impossible_executors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_executor([], 1), Serial)
    with pytest.raises(UsageError, match="--jobs 0"):
        make_executor([], 0)
    with pytest.raises(UsageError, match="give one of the two"):
        make_executor([], 2, "auto")
    for absent in (None, ModuleType("ray")):  # the second is what a folder called ray is imported as
        monkeypatch.setitem(sys.modules, "ray", absent)
        with pytest.raises(MissingBackendError, match=r"pip install 'ray>=2\.9'"):
            make_executor([], 1, "auto")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (`pip install 'ray>=2.9'`)")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("study", ["mixed-signal"], indirect=True)
def test_a_cluster_gives_the_bits_of_one_process(
    study: Study, serial: Path, tmp_path: Path, quiet: Quiet, contents: Contents
) -> None:
    path, port = tmp_path / "study.sqlite", "6397"
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    options = ["--num-cpus", "2", "--port", port, "--include-dashboard=false", "--disable-usage-stats"]
    with pytest.raises(NeurodeployError, match=f"--ray 127.0.0.1:{port}: no cluster there"):
        make_executor([study], 1, f"127.0.0.1:{port}")
    block = subprocess.Popen([*ray, "start", "--head", "--block", *options], stdout=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                executor = make_executor([study], 1, f"127.0.0.1:{port}")
                break
            except NeurodeployError:
                time.sleep(0.5)
        with executor, Store(path) as store:
            for calibrated in (False, True):
                sweep(study, [AXIS], store, calibrated, quiet, executor)
    finally:
        block.send_signal(signal.SIGTERM)
        block.wait(60)
    same(contents, path, serial)
