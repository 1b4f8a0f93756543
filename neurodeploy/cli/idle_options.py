"""Options of `sweep` and `calibrate` that would do nothing beside others, which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurodeploy.errors import UsageError

_NEEDS = {
    "--yield": "--solve-for",
    "--most-chips": "--until",
    "--design-seed": "--points",
}
OF_RAY = ("--cpus-per-task", "--gpus-per-task")
_OF_CURVES = ("--design", "--points", "--design-seed", "--interval", "--show")
_ANSWERED = {"--solve-for": _OF_CURVES, "--sensitivity": (*_OF_CURVES, "--floor")}
"""Questions with a table of their own, and what is not asked there."""
_SHOWN = {"summary": ("--interval", "--floor"), "differences": ("--floor",)}
"""Tables, and what has no say in them."""


def refuse_idle(typed: Mapping[str, Any]) -> None:
    """Raises UsageError naming an option of `sweep` that needs another, or has no say in what is asked or shown.

    Args:
        typed: the options that stand on the command line, by their long names.
    """
    _refuse_alone(typed, _NEEDS)
    refuse_without_ray(typed)
    for question, others in _ANSWERED.items():
        idle = [name for name in others if name in typed]
        if question in typed and idle:
            raise UsageError(f"{' and '.join(idle)}: would change nothing of what {question} prints")
    shown = str(typed.get("--show", ""))
    idle = [name for name in _SHOWN.get(shown, ()) if name in typed]
    if "--until" in typed:  # which asks the interval
        idle = [name for name in idle if name != "--interval"]
    if idle:
        raise UsageError(f"{' and '.join(idle)}: would change nothing of what --show {shown} prints")


def refuse_without_ray(typed: Mapping[str, Any]) -> None:
    """Raises UsageError naming an option of a cluster's tasks where there is no cluster."""
    _refuse_alone(typed, dict.fromkeys(OF_RAY, "--ray"))


def _refuse_alone(typed: Mapping[str, Any], needs: Mapping[str, str]) -> None:
    for name, needed in needs.items():
        if name in typed and needed not in typed:
            raise UsageError(f"{name}: of {needed}, which is not given")
