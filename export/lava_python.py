"""Makes lava-nc 0.10.0 importable on Python 3.11 and later; imported before anything of Lava's.

Goes along with `lava_worker.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from typing import Any

if sys.version_info >= (3, 11):  # noqa: UP036 (this file runs on Python 3.10 too)
    # lava-nc 0.10.0 has unhashable dataclass defaults, which Python 3.10 let pass.
    _dataclass: Any = dataclasses.dataclass

    def _hashable_dataclass(cls: Any = None, /, **options: Any) -> Any:
        options.setdefault("unsafe_hash", True)
        return _dataclass(**options) if cls is None else _dataclass(cls, **options)

    dataclasses.dataclass = _hashable_dataclass
    try:
        importlib.import_module("lava.magma.compiler.var_model")
    finally:
        dataclasses.dataclass = _dataclass
