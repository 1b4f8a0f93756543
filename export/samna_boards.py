"""SynSense's boards through samna: what is there, and the one error where it is not."""

from __future__ import annotations

from neurodeploy.errors import MissingBackendError
from neurodeploy.export import samna_probe
from neurodeploy.export.target import Backend


def samna() -> Backend:
    """Whether the real samna is installed; imports nothing of it."""
    return Backend(*samna_probe.version())


def require(board: str, simulator: str) -> None:
    """Raises MissingBackendError where the real samna is not here.

    Args:
        board: what has to be connected, for people.
        simulator: the command that runs the same artifact without a board.
    """
    found = samna()
    if found.version is None:
        raise MissingBackendError(
            f"{board} cannot be reached from here: {found.detail}\nand Rockpool, and the board on USB.\n"
            f"Without them, the simulator: {simulator}"
        )
