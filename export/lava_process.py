"""Starting the Lava worker in the Python that has Lava, and ending it when it hangs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from neurodeploy import vendor
from neurodeploy.errors import MissingBackendError, NeurodeployError
from neurodeploy.export.target import Backend

STALL_SECONDS = 300.0  # a single step of a large convolution takes Lava tens of seconds
FAILED_STALL_SECONDS = 10.0  # an exception in one of Lava's processes is printed, and leaves the others waiting
RESULT = "result.npz"
_POLL_SECONDS = 0.2
_ERROR_LINES = 30


def interpreter() -> list[str]:
    """The Python that has Lava; isolated where it is our own environment, so that nothing of the user's gets in."""
    if importable():
        return [sys.executable]
    python = vendor.lava_python()
    if python is None:
        raise MissingBackendError(vendor.status("lava").detail)
    return [str(python), "-I"]


def importable() -> bool:
    try:
        return importlib.util.find_spec("lava.magma") is not None
    except (ImportError, ValueError):  # no lava at all, or another package of that name
        return False


def run_worker(command: list[str], folder: Path, results: Sequence[Path] | None = None) -> None:
    """Runs the worker to its end; raises one error where it fails or makes no progress for STALL_SECONDS.

    Args:
        folder: where it runs.
        results: the folders in which it puts a RESULT each; by default the one where it runs.
    """
    log = folder / "worker.log"
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | os.environ  # Lava makes a process per layer
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,  # never written to; closes when we end, and the worker with it
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = _wait(process, folder, log)
        finally:
            _end(process)
    if code is None:
        raise NeurodeployError(f"Lava made no progress any more and was stopped; it said\n{_tail(log)}")
    if code or not all((place / RESULT).exists() for place in results or [folder]):
        raise NeurodeployError(f"Lava failed with exit code {code}; it said\n{_tail(log)}")


def _wait(process: subprocess.Popen[bytes], folder: Path, log: Path) -> int | None:
    """The exit code, or None where no file of the folder has grown for too long (layers record every step)."""
    size, since = -1, time.monotonic()
    while True:
        try:
            return process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            grown = _written(folder)
            if grown != size:
                size, since = grown, time.monotonic()
                continue
            failed = b"Traceback (most recent call last)" in log.read_bytes()
            if time.monotonic() - since > (FAILED_STALL_SECONDS if failed else STALL_SECONDS):
                return None


def _written(folder: Path) -> int:
    """Bytes in all records and results; some may vanish meanwhile."""
    size = 0
    for path in [*folder.rglob("*.bin"), *folder.rglob(RESULT)]:
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the worker and the processes that Lava started in its session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left of it
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-_ERROR_LINES:]) or "  (nothing)"


def backend() -> Backend:
    """Where Lava is; offline and without side effects."""
    if importable():
        try:
            return Backend(metadata.version("lava-nc"), f"installed beside neurodeploy in {sys.prefix}")
        except metadata.PackageNotFoundError:
            return Backend("unknown", f"importable in {sys.prefix}, from source")
    found = vendor.status("lava")
    return Backend(found.version, found.detail)
