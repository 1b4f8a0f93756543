"""What the runners of bundles for SynSense's chips share: the command line, the bundle's check, the result folder.

Python 3.10 or later and NumPy alone: bundles carry a copy.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

BOARD = "board"
UNPROVEN = (
    "This path was written from Rockpool's source and has not been run on a board by its authors; trust what it says "
    "about your chip only as far as its output agrees with the expected one."
)
ROCKPOOL = "rockpool is not installed; pip install 'rockpool>=3.1,<3.2'"
Arrays = dict[str, Any]
# (bundle's description, events, options) -> (arrays, facts)
Backend = Callable[[Mapping[str, Any], Any, argparse.Namespace], tuple[Arrays, dict[str, Any]]]


class BundleError(Exception):
    """One line for the user, and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Runner:
    """One chip family's runner.

    Attributes:
        bundle: the folder.
        title: what it does, for `--help`.
        form: `format` of result.json.
        backends: name -> what runs there; "board" is the chip itself.
        tolerated: name -> share of values that may differ: 0 for a digital chip, 1 for an analogue one.
        packages: whose versions a result names.
        power: whether the board measures its power.
    """

    bundle: Path
    title: str
    form: str
    backends: Mapping[str, Backend]
    tolerated: Mapping[str, float]
    packages: Sequence[str]
    power: bool = False

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Runs the command line; returns the exit code."""
        parser = argparse.ArgumentParser(prog="run.py", description=self.title)
        parser.add_argument("--backend", choices=tuple(self.backends), required=True)
        parser.add_argument("--samples", type=int, help="only the first so many samples")
        parser.add_argument("--record", choices=("output", "all"), default="output", help="whose states come back")
        if self.power:
            parser.add_argument("--power", action="store_true", help="board: measure the power of its supplies")
        parser.add_argument("-o", "--output", type=Path, help="folder to write (default: run-BACKEND)")
        try:
            return self._run(parser.parse_args(arguments))
        except BundleError as failure:
            sys.stderr.write(f"error: {failure}\n")
            return failure.code

    def _run(self, options: argparse.Namespace) -> int:
        described = self._checked()
        with np.load(self.bundle / "golden.npz", allow_pickle=False) as stored:
            golden = {name: stored[name] for name in stored.files}
        count = golden["events"].shape[1]
        if options.samples is not None and not 1 <= options.samples <= count:
            raise BundleError(f"--samples {options.samples}: the bundle has 1 to {count}", 2)
        events = golden["events"][:, : options.samples]
        result, facts = self.backends[options.backend](described, events, options)
        differing, compared = _compared(golden, result)
        facts["expected"] = differing
        place = options.output or Path(f"run-{options.backend}")
        self._save(place, result | {"events": events}, described, options.backend, facts)
        said = f"{place}: {events.shape[1]} samples; against what is expected: {json.dumps(differing)}\n"
        sys.stderr.write(f"{said}next: neurodeploy import-run {place} --artifact ARTIFACT -o RUN\n")
        return int(sum(differing.values()) > self.tolerated[options.backend] * compared)

    def _checked(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads((self.bundle / "bundle.json").read_text(encoding="utf-8"))
        for name, digest in described["files"].items():
            path = self.bundle / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise BundleError(f"{path}: missing or changed since the bundle was made; copy the bundle again", 2)
        return described

    def _save(
        self, place: Path, arrays: Arrays, described: Mapping[str, Any], backend: str, facts: dict[str, Any]
    ) -> None:
        """Writes the folder under another name and renames it."""
        if place.exists() and not (place / "result.json").is_file():
            raise BundleError(f"-o {place}: exists and is no result of this runner; name another", 2)
        partial = place.absolute().with_name(f".{place.absolute().name}.partial-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        np.savez_compressed(partial / "result.npz", **arrays)
        digest = hashlib.sha256((partial / "result.npz").read_bytes()).hexdigest()
        versions = {}
        for package in self.packages:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue
        told = {
            "format": self.form,
            "version": 1,
            "name": described["name"],
            "network_hash": described["network_hash"],
            "chip": described["chip"],
            "backend": backend,
            "versions": versions | {"python": ".".join(map(str, sys.version_info[:3]))},
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (Python 3.10 has no UTC)
            "facts": facts,
            "sha256": digest,
        }
        (partial / "result.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)


def require_board(board: str, samna: tuple[str | None, str]) -> None:
    """Raises BundleError where samna or Rockpool is not here.

    Args:
        samna: what `samna_probe.version` says.
    """
    version, detail = samna
    lacking = [] if version else [detail]
    if importlib.util.find_spec("rockpool") is None:
        lacking.append(ROCKPOOL)
    if lacking:
        listing = "".join(f"\n  - {one}" for one in lacking)
        raise BundleError(f"no {board} board can be reached from here:{listing}", 4)


def integers(values: Any) -> Any:
    """The values as int32; raises BundleError where they are not whole numbers."""
    whole = np.rint(np.asarray(values, dtype=float)).astype(np.int32)
    if not np.array_equal(whole, values):
        raise BundleError("what came back is not whole numbers", 1)
    return whole


def _compared(golden: Arrays, result: Arrays) -> tuple[dict[str, int], int]:
    """How many values differ from what is expected for the bundle's samples, by name, and of how many."""
    found, compared = {}, 0
    for name in sorted(set(golden) & set(result)):
        samples = result[name].shape[:2] if result[name].ndim > 2 else (None, len(result[name]))
        wanted = golden[name][:, : samples[1]] if golden[name].ndim > 2 else golden[name][: samples[1]]
        same = result[name].shape == wanted.shape
        found[f"{name}_differing"] = int((result[name] != wanted).sum()) if same else int(wanted.size)
        compared += int(wanted.size)
    return found, compared
