"""Vendor environments, with stand-ins for Python, pip and uv that note how they are called."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neurodeploy import vendor
from neurodeploy.errors import MissingBackendError, NeurodeployError, UsageError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")

FAKE_PYTHON = """#!/bin/sh
PATH=/usr/bin:/bin
echo "$(basename "$0") $*" >> "{calls}"
case "$*" in
  *ensurepip*) echo "{version}" ;;
  "-m venv "*) mkdir -p "$3/bin" "$3/lib/python3.10/site-packages"; cp "$0" "$3/bin/python" ;;
  *"pip install"*)
    if [ -e "{broken}" ]; then echo "no such package"; exit 3; fi
    mkdir "$(dirname "$0")/../lib/python3.10/site-packages/lava_nc-0.10.0.dist-info" ;;
esac
"""
FAKE_UV = """#!/bin/sh
PATH=/usr/bin:/bin
echo "uv $*" >> "{calls}"
case "$1" in
  python) exit 2 ;;
  venv) exec "{python}" -m venv "$5" ;;
esac
"""


class Machine:
    """A machine on which only what a test puts there can be found."""

    def __init__(self, root: Path) -> None:
        self.programs, self.calls_file, self.broken = root / "programs", root / "calls", root / "broken"
        self.environment = root / "home" / "lava-0.10.0"
        self.stamp = self.environment / "neurodeploy-complete"
        self.programs.mkdir()

    def add_python(self, path: Path | None = None, version: str = "3.10") -> Path:
        return self.add(
            path or self.programs / "python3.10",
            FAKE_PYTHON.format(calls=self.calls_file, version=version, broken=self.broken),
        )

    def add(self, path: Path, script: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)
        return path

    def calls(self) -> list[str]:
        return self.calls_file.read_text(encoding="utf-8").splitlines() if self.calls_file.exists() else []


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.programs))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("NEURODEPLOY_HOME", str(tmp_path / "home"))
    return made


def test_install_makes_a_complete_environment_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add_python()
    assert vendor.lava_python() is None
    python = vendor.install("lava")
    assert python == machine.environment / "bin" / "python" == vendor.lava_python()
    assert vendor.status("lava") == vendor.Status("0.10.0", f"environment {machine.environment}")
    kinds = [call.split()[1:3] for call in machine.calls()]
    assert kinds == [["-I", "-c"], ["-m", "venv"], ["-m", "pip"], ["-I", "-c"]]
    assert "--no-deps -r" in machine.calls()[2]
    before = machine.calls()

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("no process is needed")

    monkeypatch.setattr(subprocess, "run", refused)
    monkeypatch.setattr(subprocess, "Popen", refused)
    assert vendor.install("lava") == python == vendor.lava_python()
    assert machine.calls() == before


def test_a_failed_install_is_not_taken_as_complete(machine: Machine) -> None:
    machine.add_python()
    machine.broken.touch()
    with pytest.raises(NeurodeployError, match=r"pip for lava failed with exit code 3\n  no such package"):
        vendor.install("lava")
    assert machine.environment.exists()
    assert vendor.lava_python() is None
    assert "was not finished: run `neurodeploy vendor install lava`" in vendor.status("lava").detail
    left = machine.environment / "left over"
    left.touch()
    machine.broken.unlink()
    assert vendor.install("lava") == vendor.lava_python()
    assert not left.exists()


def test_an_environment_with_other_versions_is_made_anew(machine: Machine) -> None:
    machine.add_python()
    vendor.install("lava")
    good = machine.stamp.read_text(encoding="utf-8")
    machine.stamp.write_text("another fingerprint\n", encoding="utf-8")
    assert vendor.lava_python() is None
    assert "another version of neurodeploy" in vendor.status("lava").detail
    vendor.install("lava")
    assert machine.stamp.read_text(encoding="utf-8") == good


def test_an_environment_that_lost_its_python_is_made_anew(machine: Machine) -> None:
    machine.add_python()
    vendor.install("lava").unlink()
    assert vendor.lava_python() is None
    assert vendor.install("lava").exists()


def test_pythons_of_another_version_are_passed_over(machine: Machine, tmp_path: Path) -> None:
    """A shim named python3.10 that answers otherwise, then pyenv's newest 3.10."""
    machine.add_python(version="3.11")
    for patch in ("3.9.1", "3.10.2", "3.10.13"):
        machine.add_python(tmp_path / "pyenv" / "versions" / patch / "bin" / "python")
    chosen = tmp_path / "pyenv" / "versions" / "3.10.13" / "bin" / "python"
    chosen.write_text(chosen.read_text(encoding="utf-8") + "# 3.10.13\n", encoding="utf-8")
    assert "# 3.10.13" in vendor.install("lava").read_text(encoding="utf-8")


def test_a_missing_python_is_an_error_that_says_what_to_do(machine: Machine) -> None:
    with pytest.raises(MissingBackendError, match=r"needs Python 3\.10.*pyenv install 3\.10.*vendor install lava"):
        vendor.install("lava")
    assert not machine.environment.exists()


def test_uv_fetches_a_python_where_none_is_found(machine: Machine, tmp_path: Path) -> None:
    hidden = machine.add_python(tmp_path / "hidden" / "python")
    machine.add(machine.programs / "uv", FAKE_UV.format(calls=machine.calls_file, python=hidden))
    assert vendor.install("lava") == vendor.lava_python()
    uv = [call for call in machine.calls() if call.startswith("uv")]
    assert uv == ["uv python find 3.10", f"uv venv --seed --python 3.10 {machine.environment}"]


def test_status_reads_files_only(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vendor.status("lava").detail.endswith("run `neurodeploy vendor install lava`")
    assert not machine.environment.parent.exists()


def test_unknown_names() -> None:
    for call in (vendor.install, vendor.status):
        with pytest.raises(UsageError, match="unknown vendor 'lave': did you mean lava"):
            call("lave")


def test_home_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEURODEPLOY_HOME", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert vendor.home() == tmp_path / "neurodeploy"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vendor.home() == tmp_path / ".local" / "share" / "neurodeploy"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert vendor.home() == tmp_path / "local" / "neurodeploy"
    monkeypatch.setenv("NEURODEPLOY_HOME", str(tmp_path / "chosen"))
    assert vendor.home() == tmp_path / "chosen"


def test_every_version_is_pinned() -> None:
    folder = Path(vendor.__file__).parent / "export"
    lines = (folder / "lava_requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9.]*", pin) for pin in pins)
    assert {"lava-nc==0.10.0", "lava-dl==0.6.0", "numpy==1.26.4"} <= set(pins)
