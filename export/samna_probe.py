"""Whether the real samna is installed, found without importing it. Standard library only: bundles carry a copy.

samna is SynSense's driver of its boards. What the public package index holds under that name is a stub of one file that
runs pip over the network when it is imported; the real package brings compiled libraries.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

PACKAGE = "samna"
INSTALL = "pip install --upgrade --index-url https://gitlab.com/api/v4/projects/27423070/packages/pypi/simple samna"
_COMPILED = (".so", ".pyd", ".dylib", ".dll")


def version() -> tuple[str | None, str]:
    """(version of the real samna, where it is), or (None, what is there instead and the command that mends it)."""
    if sys.modules.get(PACKAGE, True) is None:  # kept out on purpose by this process
        return None, f"{PACKAGE} is kept out of this process"
    try:
        found = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None, f"{PACKAGE} is not installed; {INSTALL}"
    names = [str(name) for name in found.files or ()]
    if not names:
        spec = importlib.util.find_spec(PACKAGE)  # of a top-level package: nothing of it is run
        names = [
            path.name
            for place in (spec.submodule_search_locations or () if spec else ())
            for path in Path(place).rglob("*")
        ]
    if not any(name.endswith(_COMPILED) or ".so." in name for name in names):
        return None, (
            f"{PACKAGE} {found.version} is the stub of the public package index, which holds no driver and installs "
            f"packages from the network when it is imported; {INSTALL}"
        )
    return found.version, str(found.locate_file(PACKAGE))
