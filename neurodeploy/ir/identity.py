"""The identity of a Program: one hash over all its numbers, by which a run finds the program that it is of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import numpy as np

from neurodeploy.ir.program import Program


def program_hash(program: Program) -> str:
    """SHA-256 over every number of a Program, 64 hexadecimal digits: equal for equal programs, however they are stored.

    A field that has its default value does not count, so that a program keeps its hash when later versions add fields.
    """
    return hashlib.sha256(json.dumps(_canonical(program), sort_keys=True).encode()).hexdigest()


def network_hash(network: object) -> str:
    """The same over every number of a chip's own network, a XyloNetwork or Dynapse2Network."""
    return hashlib.sha256(json.dumps(_canonical(network), sort_keys=True).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        kind = "<f8" if value.dtype.kind == "f" else "<i8"
        content = np.ascontiguousarray(value, dtype=kind).tobytes()
        return {"shape": list(value.shape), "type": kind, "sha256": hashlib.sha256(content).hexdigest()}
    if is_dataclass(value) and not isinstance(value, type):
        own = [(one, getattr(value, one.name)) for one in fields(value) if one.init]
        named = {one.name: _canonical(item) for one, item in own if not _is_default(one, item)}
        return {"class": type(value).__name__, "fields": named}
    if isinstance(value, tuple | list):
        return [_canonical(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _canonical(item) for name, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a program")


def _is_default(field: Field[Any], value: Any) -> bool:
    default = field.default
    if default is MISSING:
        if field.default_factory is MISSING:
            return False
        default = field.default_factory()
    if isinstance(value, np.ndarray) or isinstance(default, np.ndarray):
        return value is not None and default is not None and np.array_equal(value, default)
    return type(value) is type(default) and bool(value == default)
