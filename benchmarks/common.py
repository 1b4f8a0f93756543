"""What the measurement scripts share: where results go, what they were measured with, intervals."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.proof import versions
from neurodeploy.sweep.statistics import student_interval

ROOT = Path(__file__).resolve().parent.parent


def _git(*arguments: str) -> str:
    """What git says; nothing where there is no git, or no repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def provenance() -> dict[str, Any]:
    """Command, commit, machine and packages, as every committed result names them.

    Results that were written meanwhile do not make the code another one; where data lie is nobody else's concern.
    """
    commit = _git("describe", "--always")
    if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs/results"):
        commit += "-dirty"
    arguments = ["DATA" if before == "--data-root" else given for before, given in pairwise(["", *sys.argv[1:]])]
    return {
        "command": " ".join(["python", str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *arguments]),
        "commit": commit or "unknown",
        "machine": f"{platform.machine()}, {_processor()}",
        "packages": versions(),
    }


def write_json(path: Path, content: Any) -> None:
    """Writes under another name first, so that a kill leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """What `write_json` wrote, or None."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95 % interval of the mean, of NaN for a single value."""
    array = np.asarray(values, dtype=np.float64)
    low, high, _ = student_interval(array, unknown=float("nan"))
    return float(array.mean()), low, high


def ratio_interval(parts: Sequence[float], wholes: Sequence[float]) -> tuple[float, float, float]:
    """(ratio, low, high) of the sums of pairs: Student's 95 % interval of the linearised ratio.

    R = sum(parts) / sum(wholes), whose deviation is that of the residuals parts - R wholes over the mean of the wholes
    (Cochran, Sampling Techniques, 3rd ed., 6.4). The pairs are the units: all that differs between them is in the
    residuals.
    """
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    ratio = float(part.sum() / whole.sum())
    _, low, high = mean_interval((part - ratio * whole) / whole.mean())
    return ratio, ratio + low, ratio + high


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
