"""From a Program to vendors' toolchains. A new target is one new file here that defines `TARGET`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.export.target import Target
from neurodeploy.hw_models.xylo import XYLO_CHIPS

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
_NO_PROGRAMS = ("dynapse2", "xylo", *XYLO_CHIPS)  # `--target` takes these too, through folders of their own


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
    """The target of that name; raises UsageError naming the nearest known ones, as they are typed."""
    if name in _NO_PROGRAMS:
        raise UsageError(f"target {name}: its networks are no Programs, which are asked for here")
    if name not in targets():
        raise unknown_name("target", name, (*targets(), *_NO_PROGRAMS))
    return targets()[name]
