"""The chips of the Xylo family by name."""

from __future__ import annotations

from types import MappingProxyType

from neurodeploy.errors import unknown_name
from neurodeploy.hw_models import xylo_a2, xylo_a3, xylo_imu
from neurodeploy.hw_models.xylo_core import XyloChip

XYLO_CHIPS = MappingProxyType({chip.name: chip for chip in (xylo_a2.XYLO, xylo_a3.XYLO, xylo_imu.XYLO)})


def xylo_chip(name: str) -> XyloChip:
    """The chip of that name; raises UsageError naming the nearest known ones."""
    if name not in XYLO_CHIPS:
        raise unknown_name("Xylo chip", name, XYLO_CHIPS)
    return XYLO_CHIPS[name]
