"""From a Program to vendors' toolchains. A new target is one new file here that defines `TARGET`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType

from neurodeploy.errors import unknown_name
from neurodeploy.export.target import Target

_NOT_TARGETS = (  # import a vendor's package at the top: loaded when a target runs
    "dynapse2_bundle_run",
    "dynapse2_simulator",
    "lava_netx",
    "lava_network",
    "lava_python",
    "lava_recorder",
    "lava_worker",
    "rockpool_modules",
    "rockpool_native",
    "rockpool_neurons",
    "samna_probe",
    "samna_runner",
    "xylo_bundle_run",
)


@cache
def targets() -> MappingProxyType[str, Target]:
    """name -> target, for every file of this folder that defines `TARGET`."""
    found: dict[str, Target] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name in _NOT_TARGETS:
            continue
        target = getattr(importlib.import_module(f"{__name__}.{module.name}"), "TARGET", None)
        if isinstance(target, Target):
            found[target.name] = target
    return MappingProxyType(found)


def target(name: str) -> Target:
    """The target of that name; raises UsageError naming the nearest known ones."""
    if name not in targets():
        raise unknown_name("target", name, targets())
    return targets()[name]
