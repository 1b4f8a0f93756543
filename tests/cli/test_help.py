"""Help and version: everything is described, and describing it loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from neurodeploy import __version__

COMMANDS = (
    "doctor", "chips", "targets", "train", "import", "inspect", "export", "run", "compare", "deploy", "import-run",
    "sweep", "calibrate", "report", "demo",
)  # fmt: skip
HEAVY = ("torch", "pandas", "altair", "rockpool", "scipy", "sklearn", "pytorch_lightning", "samna", "lava", "numpy")


def test_the_version_is_printed(run: Any) -> None:
    assert (run("--version").code, run("--version").out) == (0, f"{__version__}\n")


def test_help_names_every_command(run: Any) -> None:
    outcome = run("--help")
    assert (outcome.code, outcome.err) == (0, "")
    for name in (*COMMANDS, "vendor"):
        assert f"\n  {name} " in outcome.out


@pytest.mark.parametrize("command", [*COMMANDS, "vendor", "vendor install"])
def test_every_command_explains_itself(run: Any, command: str) -> None:
    outcome = run(*command.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: neurodeploy {command} ")
    assert len(outcome.out.splitlines()[2].strip()) > 20


@pytest.mark.parametrize("words", [[], ["vendor"]])
def test_without_a_command_help_is_shown(run: Any, words: list[str]) -> None:
    outcome = run(*words)
    assert outcome.code == 2
    assert "Usage: neurodeploy" in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("words", [["--help"], ["sweep", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    script = f"""
import sys
sys.argv = ["neurodeploy", *{words!r}]
from neurodeploy.cli import main
try:
    main()
finally:
    sys.stderr.write(" ".join(name for name in {HEAVY!r} if name in sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "neurodeploy", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{__version__}\n", "")
