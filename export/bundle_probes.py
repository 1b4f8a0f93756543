"""What a run on Loihi 2 is measured by: lava-loihi's profilers. NOT RUN ON HARDWARE, see `bundle_hardware.py`."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

PROBES = ("power", "time", "memory", "activity")
_FIGURES = {
    "power": {
        "total_power": "total_watt",
        "static_total_power": "static_watt",
        "vdd_power": "cores_watt",
        "vddm_power": "memory_watt",
        "vddio_power": "io_watt",
    },
    "time": {"avg_time_per_step": "microseconds_per_step", "time_per_step": "mean_of_steps_microseconds"},
    "memory": {"total_mpds": "mean_core_memory_used"},
    "activity": {
        "syn_ops": "synaptic_operations_per_core",
        "dendrite_updates": "neuron_updates_per_core",
        "axon_out": "spikes_out_per_core",
        "spikes_in": "spikes_in_per_core",
    },
}


def chosen(options: Any) -> list[str]:
    """The probes that were asked for."""
    names = [name.strip() for name in options.probes.split(",") if name.strip()]
    return [] if names == ["none"] else names


def make(options: Any, total: int) -> dict[str, Any]:
    """Name -> profiler, for a run of `total` steps."""
    profiler = importlib.import_module("lava.utils.loihi2_profiler")
    makers = {
        "power": lambda: profiler.Loihi2Power(num_steps=total),
        "time": lambda: profiler.Loihi2ExecutionTime(buffer_size=total),
        "memory": lambda: profiler.Loihi2Memory(),
        "activity": lambda: profiler.Loihi2Activity(),
    }
    return {name: makers[name]() for name in chosen(options)}


def measured(name: str, probe: Any) -> dict[str, float | None]:
    """Mean of every figure that the public benchmarks read from a probe; None where this lava-loihi has none."""
    found: dict[str, float | None] = {}
    for attribute, label in _FIGURES[name].items():
        values = np.asarray(getattr(probe, attribute, None), dtype=object).ravel()
        numbers = [float(value) for value in values if value is not None]
        mean = float(np.mean(numbers)) if numbers else float("nan")
        found[label] = mean if np.isfinite(mean) else None
    return found
