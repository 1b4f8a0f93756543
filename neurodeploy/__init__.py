"""neurodeploy: from a PyTorch spiking network to neuromorphic chips, and how well it will work there.

The names below are the public interface. Each is imported when it is first used, so that `import neurodeploy` loads
neither torch nor any vendor's package. What shares its name with a module is imported from there:
`from neurodeploy.quantize import quantize`, `from neurodeploy.compare import compare`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neurodeploy.config import ExperimentConfig as ExperimentConfig
    from neurodeploy.config import load_config as load_config
    from neurodeploy.deployment import export_model as export_model
    from neurodeploy.experiment import train_model as train_model
    from neurodeploy.export import target as target
    from neurodeploy.hw_models import chip as chip
    from neurodeploy.hw_models.noise import NoiseModel as NoiseModel
    from neurodeploy.hw_models.virtual_chip import VirtualChip as VirtualChip
    from neurodeploy.ir.artifact import load_artifact as load_artifact
    from neurodeploy.ir.network import Network as Network
    from neurodeploy.ir.program import Program as Program
    from neurodeploy.proof import prove as prove
    from neurodeploy.snn.model_file import load_model as load_model
    from neurodeploy.snn.spiking_network import SpikingNetwork as SpikingNetwork
    from neurodeploy.snn.trace import trace as trace

__version__ = "0.1.0"

_HOMES = {
    "ExperimentConfig": "config",
    "load_config": "config",
    "export_model": "deployment",
    "train_model": "experiment",
    "target": "export",
    "chip": "hw_models",
    "NoiseModel": "hw_models.noise",
    "VirtualChip": "hw_models.virtual_chip",
    "load_artifact": "ir.artifact",
    "Network": "ir.network",
    "Program": "ir.program",
    "prove": "proof",
    "load_model": "snn.model_file",
    "SpikingNetwork": "snn.spiking_network",
    "trace": "snn.trace",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
