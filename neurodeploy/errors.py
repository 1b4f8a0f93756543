"""Errors that a user can act on.

Every message says what is wrong, where (file, layer, option), what is allowed and what to do. The command line
prints it in one line and exits with the error's `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class NeurodeployError(Exception):
    """A failed check or any other trouble that is not one of the kinds below (exit code 1)."""

    exit_code = 1


class UsageError(NeurodeployError):
    """A wrong name, option, value or file (exit code 2)."""

    exit_code = 2


class FileFormatError(UsageError):
    """A file that is damaged, hostile, or not one of ours (exit code 2)."""


class DesignRuleError(NeurodeployError):
    """A network that a chip or target cannot take; names every violated limit at once (exit code 3)."""

    exit_code = 3

    def __init__(self, target: str, violations: Sequence[str]) -> None:
        self.target = target
        self.violations = tuple(violations)
        listing = "\n".join(f"  - {violation}" for violation in self.violations)
        super().__init__(f"the network does not fit {target}: {len(self.violations)} violated\n{listing}")


class MissingBackendError(NeurodeployError):
    """A vendor's package that is not installed; the message holds the command that mends it (exit code 4)."""

    exit_code = 4


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> UsageError:
    """The error for a name that is not in a catalogue: names the nearest known ones, or all of them."""
    known = sorted(allowed)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}: {hint}known: {', '.join(known)}")
