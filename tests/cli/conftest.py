"""The command line in process: what a user types, what is printed where, and the exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from neurodeploy import cli
from neurodeploy.cli import console
from neurodeploy.deployment import export_model
from neurodeploy.snn.model_file import Model


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """(words of a command line) -> Outcome."""
    levels = {name: logging.getLogger(name).level for name in ("pytorch_lightning", "lightning", "fsspec")}

    def type_in(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["neurodeploy", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), printed.out, printed.err)

    yield type_in
    console._settings.update(tracebacks=False, verbosity=0)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def artifact(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder exported for Lava."""
    folder = tmp_path_factory.mktemp("artifact") / "lava"
    export_model(model, "lava", folder)
    return folder


@pytest.fixture(scope="session")
def rockpool_artifact(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder exported for Rockpool."""
    folder = tmp_path_factory.mktemp("artifact") / "rockpool"
    export_model(model, "rockpool", folder)
    return folder
