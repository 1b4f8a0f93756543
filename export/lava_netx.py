"""Lava processes of a `.net` file, made by lava-dl 0.6.0's netx; goes along with `lava_worker.py`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import lava_python  # type: ignore[import-not-found]  # noqa: F401 (first: it makes Lava importable)
from lava_network import Built, between_samples, flat, source  # type: ignore[import-not-found]


def build(job: dict[str, Any], frames: Any, total: int, folder: Path) -> Built:
    """The processes that netx makes of the job's `.net` file in the folder."""
    steps = int(job["steps"])
    network = _netx().Network(
        net_config=str(folder / job["net"]),
        reset_interval=steps,
        reset_offset=1,  # with 0 a network without an Input block resets one step early
        input_message_bits=job["message_bits"],
    )
    if len(network.layers) != len(job["layers"]):
        raise ValueError(f"netx made {len(network.layers)} layers of {job['net']}, {len(job['layers'])} are expected")
    port = source(frames, 0, total)
    (flat(port) if len(network.inp.shape) == 1 else port).connect(network.inp)
    neurons = {}
    clearings = []
    for index, (layer, block) in enumerate(zip(job["layers"], network.layers, strict=True)):
        neurons[layer["name"]] = block.neuron
        for name, late in (("synapse", index), ("synapse_rec", index + 1)):
            buffer = getattr(getattr(block, name, None), "a_buff", None)
            if buffer is not None:  # of dense synapses; those with delays hold more than one step
                clearings += between_samples(buffer, late, index + 1, steps, len(frames) // steps)
    return Built(network, neurons, clearings)


def _netx() -> Any:
    """netx, without the torch that it imports for resonate-and-fire neurons and type hints only."""
    if importlib.util.find_spec("torch") is None:
        for name in ("torch", "lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron", "lava.lib.dl.slayer.neuron.rf"):
            stub: Any = types.ModuleType(name)
            stub.tensor = object
            stub.neuron_params = None
            sys.modules.setdefault(name, stub)
    return importlib.import_module("lava.lib.dl.netx.hdf5")
