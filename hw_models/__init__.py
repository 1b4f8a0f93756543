"""Chips and their noise, as data. A new chip is one new file here that defines `CHIP`, or a file of a user's own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.hw_models.chip import ChipModel

FEWEST_BITS = 2  # of a weight: its sign, and whether there is one

_own: dict[str, ChipModel] = {}  # chips of users that this process has read


@cache
def chips() -> MappingProxyType[str, ChipModel]:
    """name -> chip, for every file of this folder that defines `CHIP`."""
    found: dict[str, ChipModel] = {}
    for module in pkgutil.iter_modules(__path__):
        model = getattr(importlib.import_module(f"{__name__}.{module.name}"), "CHIP", None)
        if isinstance(model, ChipModel):
            found[model.name] = model
    return MappingProxyType(found)


def chip(name: str) -> ChipModel:
    """The chip of that name, or of a file (`my_chip.yaml`), which is known by its own name from then on.

    NAME@BITS is the same chip with weights of fewer bits, sign included.

    Raises:
        UsageError: naming the nearest known ones, everything that is wrong with a file, or the bits that are allowed.
    """
    base, at, bits = name.partition("@")
    found = _found(base)
    if not at:
        return found
    if not (bits.isdecimal() and FEWEST_BITS <= int(bits) <= found.weight_bits):
        raise UsageError(
            f"chip {name!r}: weights of {base} have {FEWEST_BITS} to {found.weight_bits} bits, as {base}@4"
        )
    knobs = tuple(replace(knob, bits=int(bits)) if knob.per == "synapse" else knob for knob in found.knobs)
    return replace(found, name=f"{found.name}@{int(bits)}", weight_bits=int(bits), knobs=knobs)


def _found(name: str) -> ChipModel:
    from neurodeploy.hw_models import own_chip

    if own_chip.is_chip_file(name):
        read = own_chip.read_chip(Path(name), chips())
        _own[read.name] = read
        return read
    known = {**_own, **chips()}
    if name not in known:
        raise unknown_name("chip", name, known)
    return known[name]


def remember(facts: Mapping[str, Any]) -> None:
    """Makes the chip known that an artifact was made for, where it is one of a user's own.

    Raises:
        FileFormatError: where what is written there is no chip.
    """
    if "own_chip" not in facts:
        return
    from neurodeploy.hw_models import own_chip

    found = own_chip.chip_of(facts["own_chip"], "artifact: own_chip")
    if found.name not in chips():
        _own[found.name] = found


def to_remember(model: ChipModel) -> dict[str, Any]:
    """What of a chip an artifact keeps among its facts: all of it, of a user's own; nothing of one that is here."""
    from neurodeploy.hw_models import own_chip

    return {"own_chip": own_chip.plain_values(model)} if model.own else {}
