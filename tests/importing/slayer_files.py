"""`.net` files as lava-dl's slayer writes them (lava/lib/dl/slayer/block/base.py, export_hdf5 of each block)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neurodeploy.ir.program import FixedPointNeurons, Program

NetLayer = Mapping[str, Any]


def cuba(current: Any = 1024, voltage: Any = 128, threshold: Any = 80, **other: Any) -> dict[str, Any]:
    """device_params of slayer.neuron.cuba.Neuron."""
    return {
        "type": "CUBA",
        "iDecay": current,
        "vDecay": voltage,
        "vThMant": threshold,
        "refDelay": 1,
        "gradedSpike": False,
    } | other


def dense(weight: Any, neuron: Any = None, *, kind: str = "dense", **other: Any) -> dict[str, Any]:
    """AbstractDense; with `weight_rec` and kind "dense_rec", AbstractRecurrent."""
    weight = np.asarray(weight)
    sizes = {"shape": np.array([len(weight)]), "inFeatures": weight.shape[-1], "outFeatures": len(weight)}
    layer = {"type": kind, **sizes, "weight": weight, **other}
    return layer if neuron is None else layer | {"neuron": neuron}


def conv(weight: Any, shape: Sequence[int], neuron: Any, **other: Any) -> dict[str, Any]:
    """AbstractConv: weights (out, in / groups, height, width, 1), as slayer's Conv3d has them without the last axis."""
    weight = np.asarray(weight)
    geometry = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1} | other
    channels = {"inChannels": weight.shape[1] * geometry["groups"], "outChannels": len(weight)}
    kernel = {"kernelSize": weight.shape[2:4], "weight": weight}
    return {"type": "conv", "shape": np.array(shape), **channels, **geometry, **kernel, "neuron": neuron}


def put_in(*shape: int, **other: Any) -> dict[str, Any]:
    """AbstractInput."""
    return {"type": "input", "shape": np.array(shape), **other}


def flatten(*shape: int) -> dict[str, Any]:
    """AbstractFlatten."""
    return {"type": "flatten", "shape": np.array(shape)}


def write_net(path: Path, *layers: NetLayer, simulation: Mapping[str, Any] | None = None) -> Path:
    """The file, layer by layer."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layer")
        for index, layer in enumerate(layers):
            _write(group.create_group(str(index)), layer, inside_neuron=False)
        for name, value in (simulation or {}).items():
            file.create_dataset(f"simulation/{name}", data=value)
    return path


def whole_biases(program: Program) -> Program:
    """The program with its biases rounded to whole weight units, which are all that netx knows."""
    layers = []
    for layer in program.layers:
        assert isinstance(layer.neurons, FixedPointNeurons)
        bias = np.rint(layer.neurons.bias / 64).astype(np.int64)
        layers.append(replace(layer, neurons=replace(layer.neurons, bias_mantissa=bias, bias_exponent=6)))
    return replace(program, layers=tuple(layers))


def _write(group: h5py.Group, values: Mapping[str, Any], *, inside_neuron: bool) -> None:
    for name, value in values.items():
        if name == "neuron":
            _write(group.create_group("neuron"), value, inside_neuron=True)
        elif name == "type" and not inside_neuron:
            group.create_dataset("type", (1,), "S10", [str(value).encode("ascii", "ignore")])
        else:
            group.create_dataset(name, data=value)
