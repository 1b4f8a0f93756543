"""Options of `sweep` that would do nothing beside others, which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurodeploy.errors import UsageError

_NEEDS = {
    "--yield": "--solve-for",
    "--most-chips": "--until",
    "--design-seed": "--points",
    "--cpus-per-task": "--ray",
    "--gpus-per-task": "--ray",
}
_OF_CURVES = ("--design", "--points", "--design-seed", "--interval", "--show")
_ANSWERED = {"--solve-for": _OF_CURVES, "--sensitivity": (*_OF_CURVES, "--floor")}
"""Questions with a table of their own, and what is not asked there."""


def refuse_idle(typed: Mapping[str, Any]) -> None:
    """Raises UsageError naming an option that needs another, or has no say in the question that is asked.

    Args:
        typed: the options that stand on the command line, by their long names.
    """
    for name, needed in _NEEDS.items():
        if name in typed and needed not in typed:
            raise UsageError(f"{name}: of {needed}, which is not given")
    for question, others in _ANSWERED.items():
        idle = [name for name in others if name in typed]
        if question in typed and idle:
            raise UsageError(f"{' and '.join(idle)}: would change nothing of what {question} prints")
