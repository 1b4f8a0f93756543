"""The command line in process, as in tests/cli."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from neurodeploy import cli
from neurodeploy.cli import console


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
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
