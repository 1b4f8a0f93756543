"""benchmarks/gpu_training.py on a CPU: its rows, what it refuses, and how it ends early."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from benchmark_scripts import script

from neurodeploy.config import ExperimentConfig, load_config
from neurodeploy.snn.spiking_network import SpikingNetwork

CPU = torch.device("cpu")
SMALL = ["network.channels=[4]", "network.hidden=[8]", "train.batch_size=8", "train.threads=1"]


@pytest.fixture
def gpu_training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("gpu_training")
    monkeypatch.setattr(module, "WARM", 1)
    monkeypatch.setattr(module, "provenance", lambda: {"commit": "abc"})
    return module


def config(*settings: str) -> ExperimentConfig:
    return load_config(None, [*SMALL, *settings], {}, "cifar-10")


def flags() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark


@pytest.mark.parametrize(("settings", "passes"), [((), 1), (("network.dropout=0.2",), 2)])
def test_an_iteration_is_that_of_training(
    settings: tuple[str, ...], passes: int, gpu_training: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    forward = SpikingNetwork.forward

    def watched(self: SpikingNetwork, *given: Any) -> Any:
        seen.append((flags(), given[3]))
        return forward(self, *given)

    monkeypatch.setattr(SpikingNetwork, "forward", watched)
    before = flags()
    row = gpu_training.iterations(config(*settings), CPU, 2)
    assert seen == [((True, False), passes)] * 3
    assert flags() == before
    assert row["images_per_second"] == 8 / row["iteration_seconds"]
    assert (row["batch_size"], row["gibibytes"]) == (8, None)
    assert all(0.01 < rate < 0.99 for rate in row["rates"].values())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["noise.thermal=0.1"], "leaves out noise; with --iterations 0"),
        (["train.precision=16"], "leaves out train.precision=16; with"),
        (["noise.mismatch=0.1", "train.precision=16"], "noise and train.precision=16"),
    ],
)
def test_what_the_bare_iteration_leaves_out_is_refused(
    settings: list[str], match: str, gpu_training: ModuleType
) -> None:
    with pytest.raises(SystemExit, match=match):
        gpu_training.iterations(config(*settings), CPU, 2)


def options(output: Path, **changes: Any) -> argparse.Namespace:
    given = {
        "preset": "cifar-10", "settings": SMALL, "seed": 0, "accelerator": "cpu", "iterations": 2, "steps": [1, 2],
        "data_root": "DATA", "output": output, "work": output.parent,
    }  # fmt: skip
    return argparse.Namespace(**given | changes)


def test_each_row_says_what_it_was_made_with(
    gpu_training: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def figures(name: str, steps: int) -> dict[str, Any]:
        made.append((name, steps))
        return {"rates": f"{name} {steps}"}

    monkeypatch.setattr(gpu_training, "iterations", lambda config, *_: figures("timed", config.network.steps))
    monkeypatch.setattr(gpu_training, "trained", lambda _, steps, __: figures("trained", steps))
    output = tmp_path / "rows.json"
    gpu_training.measure(options(output, data_root=None), CPU)
    monkeypatch.setattr(gpu_training, "provenance", lambda: {"commit": "def"})
    gpu_training.measure(options(output, steps=[1]), CPU)
    gpu_training.measure(options(output, steps=[1]), CPU)
    assert made == [("timed", 1), ("timed", 2), ("trained", 1)]
    result = json.loads(output.read_text())
    labels = {"device": "cpu", "provenance": {"commit": "abc"}}
    assert result["rows"] == {
        "1": {
            "timed": {"rates": "timed 1", **labels},
            "trained": {"rates": "trained 1", "device": "cpu", "provenance": {"commit": "def"}},
        },
        "2": {"timed": {"rates": "timed 2", **labels}},
    }
    assert (result["asked"]["accelerator"], result["asked"]["torch"]) == ("cpu", torch.__version__)
    for change in ({"accelerator": "gpu"}, {"iterations": 3}, {"seed": 1}):
        with pytest.raises(SystemExit, match=f"{next(iter(change))} was"):
            gpu_training.measure(options(output, **change), CPU)
    monkeypatch.setattr(gpu_training, "_name", lambda _: "another GPU")
    with pytest.raises(SystemExit, match="device was cpu, is another GPU; write to another file"):
        gpu_training.measure(options(output), CPU)
    assert json.loads(output.read_text()) == result


def test_ctrl_c_while_timing_is_no_traceback(
    gpu_training: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    command = ["gpu_training.py", "--accelerator", "cpu", "-o", str(tmp_path / "rows.json")]
    monkeypatch.setattr("sys.argv", command)
    monkeypatch.setattr(gpu_training, "iterations", interrupted)
    with pytest.raises(SystemExit, match=r"interrupted: going on is what the same command does; .*rows\.json has"):
        gpu_training.main()


def test_a_missing_package_is_named(gpu_training: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_training.lacking() == ""
    find = gpu_training.importlib.util.find_spec
    gone = ("pydantic", "kornia")
    monkeypatch.setattr(gpu_training.importlib.util, "find_spec", lambda name: None if name in gone else find(name))
    monkeypatch.setattr("sys.argv", ["gpu_training.py", "--accelerator", "cpu", "-o", "rows.json"])
    with pytest.raises(
        SystemExit, match=r"has no pydantic, no kornia; pip install -e \. brings them, and benchmarks/README"
    ):
        gpu_training.main()


def test_a_machine_without_git_has_results_of_an_unknown_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    common = script("common")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.argv", [str(common.ROOT / "benchmarks" / "x.py"), "--data-root", "/home/me"])
    found = common.provenance()
    assert (found["commit"], found["command"]) == ("unknown", "python benchmarks/x.py --data-root DATA")
