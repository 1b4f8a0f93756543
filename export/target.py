"""Target: what one vendor's toolchain takes, writes and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neurodeploy.ir.program import Program
from neurodeploy.simulate.recording import Recording


@dataclass(frozen=True)
class Backend:
    """Whether a vendor's part can be used here.

    Attributes:
        version: what is installed, or None.
        detail: where it is, or why it cannot be used and the command that mends it.
    """

    version: str | None
    detail: str


@dataclass(frozen=True)
class Target:
    """One vendor's toolchain.

    Attributes:
        name: what a user types.
        chip: the chip model that networks are quantised for.
        violations: everything in a Program that the target cannot express, with layer names.
        write: writes the target's own files for a Program into a folder; returns what was left out, with the reason.
        run: runs a Program on integer inputs, (B, *shape) or (T, B, *shape); raises MissingBackendError.
        variants: further ways to run it that are measured, not held to equality: name -> (what it is, run).
        backend: what is installed; offline and without side effects.
    """

    name: str
    title: str
    chip: str
    violations: Callable[[Program], list[str]]
    write: Callable[[Program, Path], list[str]]
    run: Callable[[Program, NDArray[Any]], Recording]
    variants: Mapping[str, tuple[str, Callable[[Program, NDArray[Any]], Recording]]]
    backend: Callable[[], Backend]
