"""Chips and their noise, as data. A new chip is one new file here that defines `CHIP`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType

from neurodeploy.errors import unknown_name
from neurodeploy.hw_models.chip import ChipModel


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
    """The chip of that name; raises UsageError naming the nearest known ones."""
    if name not in chips():
        raise unknown_name("chip", name, chips())
    return chips()[name]
