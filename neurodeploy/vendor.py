"""Vendors' packages that cannot live beside ours, each in an environment of its own with every version pinned.

Lava (lava-nc 0.10.0, archived by Intel) installs on Python 3.10 only. Its environment lies in the user's data folder,
$NEURODEPLOY_HOME where that is set, and is complete only once its stamp is written, last of all.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from neurodeploy.errors import MissingBackendError, NeurodeployError, unknown_name

logger = logging.getLogger(__name__)

_STAMP = "neurodeploy-complete"
_ERROR_LINES = 15
_PROBE = "import ensurepip, sys, venv; sys.stdout.write('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True)
class Environment:
    """One vendor's environment.

    Attributes:
        folder: its name within the home folder.
        python: the Python version that it needs, "major.minor".
        requirements: a file of `neurodeploy.export` that pins every package; installed without resolving dependencies.
        package: the distribution whose version is reported.
        check: a statement that only a working environment executes.
    """

    folder: str
    python: str
    requirements: str
    package: str
    check: str


ENVIRONMENTS = MappingProxyType(
    {
        "lava": Environment(
            folder="lava-0.10.0",
            python="3.10",
            requirements="lava_requirements.txt",
            package="lava-nc",
            check="import h5py, lava.proc.conv.process, lava.proc.dense.process, lava.proc.lif.process",
        )
    }
)


@dataclass(frozen=True)
class Status:
    """Whether an environment is complete.

    Attributes:
        version: of the vendor's package, or None where the environment cannot be used.
        detail: where it is, or why it cannot be used and the command that mends it.
    """

    version: str | None
    detail: str


def home() -> Path:
    """The folder of all environments: $NEURODEPLOY_HOME, else `neurodeploy` in the platform's user data folder."""
    chosen = os.environ.get("NEURODEPLOY_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "neurodeploy"


def status(name: str) -> Status:
    """What is installed; reads files only. Raises UsageError for an unknown name."""
    environment, folder = _find(name)
    mend = f"run `neurodeploy vendor install {name}`"
    if not folder.exists():
        return Status(None, f"{name} is not installed (no {folder}): {mend}")
    stamp = folder / _STAMP
    if not stamp.is_file():
        return Status(None, f"the installation in {folder} was not finished: {mend}")
    if stamp.read_text(encoding="utf-8").strip() != _fingerprint(environment) or not _python(folder).exists():
        return Status(None, f"the environment in {folder} is damaged or for another version of neurodeploy: {mend}")
    return Status(_version(folder, environment.package), f"environment {folder}")


def lava_python() -> Path | None:
    """The Python interpreter of Lava's environment, or None where that is not complete."""
    return _python(_find("lava")[1]) if status("lava").version else None


def install(name: str) -> Path:
    """Makes an environment, or finds it complete.

    Returns:
        Its Python interpreter.

    Raises:
        UsageError: for an unknown name.
        MissingBackendError: where the Python version that it needs is not on this machine.
        NeurodeployError: where a package cannot be installed or the result does not work.
    """
    environment, folder = _find(name)
    if status(name).version:
        logger.info("%s is complete: %s", name, folder)
        return _python(folder)
    if folder.exists():
        logger.info("removing what is incomplete or outdated: %s", folder)
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_venv(name, environment, folder)
    python = _python(folder)
    logger.info("installing the packages of %s (0.5 GB, about a minute)", name)
    with resources.as_file(resources.files("neurodeploy.export") / environment.requirements) as requirements:
        # --no-deps: the file is complete, and leaves out on purpose what the vendor's packages ask for but do not use.
        _run([str(python), "-m", "pip", "install", "--no-deps", "-r", str(requirements)], f"pip for {name}")
    logger.info("trying it")
    _run([str(python), "-I", "-c", environment.check], f"the installed {name}")
    unfinished = folder / (_STAMP + ".unfinished")
    unfinished.write_text(_fingerprint(environment) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / _STAMP)
    logger.info("%s is installed: %s", name, folder)
    return python


# --- parts --------------------------------------------------------------------------------------------------------


def _find(name: str) -> tuple[Environment, Path]:
    if name not in ENVIRONMENTS:
        raise unknown_name("vendor", name, ENVIRONMENTS)
    return ENVIRONMENTS[name], home() / ENVIRONMENTS[name].folder


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _fingerprint(environment: Environment) -> str:
    """Changes with every pinned version."""
    content = (resources.files("neurodeploy.export") / environment.requirements).read_bytes()
    return hashlib.sha256(content + environment.python.encode()).hexdigest()


def _version(folder: Path, package: str) -> str:
    pattern = f"{re.sub('[-.]', '_', package)}-*.dist-info"
    for site in (folder / "Lib" / "site-packages", *folder.glob("lib/python3*/site-packages")):
        for found in site.glob(pattern):
            return found.name.removesuffix(".dist-info").rpartition("-")[2]
    return "unknown"


def _make_venv(name: str, environment: Environment, folder: Path) -> None:
    """A venv of the right Python with pip in it."""
    for candidate in _candidates(environment.python):
        if _is_python(candidate, environment.python):
            logger.info("making an environment for %s in %s with %s", name, folder, candidate)
            _run([candidate, "-m", "venv", str(folder)], f"making the environment of {name}")
            return
    uv = shutil.which("uv")
    if uv:
        logger.info("making an environment for %s in %s; uv fetches Python %s", name, folder, environment.python)
        _run([uv, "venv", "--seed", "--python", environment.python, str(folder)], f"uv for {name}")
        return
    raise MissingBackendError(
        f"{name} needs Python {environment.python}, and none with venv and pip was found on the PATH, "
        f"from pyenv or uv. Install it, for instance with `pyenv install {environment.python}` or `pip install uv`, "
        f"then run `neurodeploy vendor install {name}`"
    )


def _candidates(version: str) -> Iterator[str]:
    """Interpreters that may be of that version, the nearest at hand first."""
    for command in (f"python{version}", "python3", "python"):
        found = shutil.which(command)
        if found:
            yield found
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for installed in sorted(root.glob(f"{version}*"), key=_by_number, reverse=True):
        yield str(installed / "bin" / "python")
    launcher, uv = shutil.which("py"), shutil.which("uv")
    if launcher:
        yield from _answer([launcher, f"-{version}", "-c", "import sys; sys.stdout.write(sys.executable)"])
    if uv:
        yield from _answer([uv, "python", "find", version])


def _by_number(folder: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", folder.name)]


def _is_python(command: str, version: str) -> bool:
    """Whether it runs, is of that version and can make environments (pyenv's shims and Debian's pythons may not)."""
    return list(_answer([command, "-I", "-c", _PROBE])) == [version]


def _answer(command: list[str]) -> Iterator[str]:
    """What a command prints, or nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.debug("%s: %s", command[0], error)
        return
    if done.returncode == 0 and done.stdout.strip():
        yield done.stdout.strip()


def _run(command: list[str], what: str) -> None:
    """Runs a command, its output in the log; raises NeurodeployError with the last lines where it fails."""
    logger.debug("%s", " ".join(command))
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None  # stdout=PIPE
        for line in process.stdout:
            lines.append(line.rstrip())
            logger.debug("%s", lines[-1])
    if process.returncode:
        tail = "\n".join(f"  {line}" for line in lines[-_ERROR_LINES:])
        raise NeurodeployError(f"{what} failed with exit code {process.returncode}\n{tail}")
