"""The real samna is told from the public index's stub, and neither is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from neurodeploy.errors import MissingBackendError
from neurodeploy.export import samna_boards

_LOOK = (
    "import sys; from neurodeploy.export import samna_probe; found = samna_probe.version();"
    "sys.stdout.write(repr((found, 'samna' in sys.modules)))"
)


def installed(folder: Path, files: dict[str, str], record: bool = True) -> str:
    """What is said with a package `samna` of these files on the path; importing any of it would fail."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    about = folder / "samna-0.48.6.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: samna\nVersion: 0.48.6\n", encoding="utf-8")
    if record:
        (about / "RECORD").write_text("".join(f"{name},,\n" for name in files), encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); {_LOOK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False)")  # not imported
    return done.stdout


EXPLODES = "raise SystemExit('imported')\n"


@pytest.mark.parametrize("record", [True, False])
def test_the_stub_is_recognised(tmp_path: Path, record: bool) -> None:
    said = installed(tmp_path, {"samna/__init__.py": f"PYPI_SAMNA = True\n{EXPLODES}"}, record)
    assert said.startswith("((None, 'samna 0.48.6 is the stub of the public package index")
    assert "--index-url https://gitlab.com/api/v4/projects/27423070/packages/pypi/simple samna" in said


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("library", ["samna/samnacpp.cpython-311-x86_64-linux-gnu.so", "samna/lib/libsamna.so.1"])
def test_the_real_one_is_recognised(tmp_path: Path, record: bool, library: str) -> None:
    said = installed(tmp_path, {"samna/__init__.py": EXPLODES, library: ""}, record)
    assert said.startswith("(('0.48.6', ")


def test_without_it_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "samna", None)  # type: ignore[arg-type]
    assert samna_boards.samna().version is None
    with pytest.raises(MissingBackendError) as raised:
        samna_boards.require("the board", "the command of the simulator")
    text = str(raised.value)
    for part in ("the board cannot be reached", "samna", "Without them, the simulator: the command of the simulator"):
        assert part in text
