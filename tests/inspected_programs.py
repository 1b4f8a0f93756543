"""Small Programs for the tests of inspection: chains of layers whose every number is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses


def neurons(shape: Shape, **changes: Any) -> FixedPointNeurons:
    """Neurons without leak, memory of current or bias, that fire above one weight unit."""
    values = {"voltage_decay": 0, "threshold": 1, "bias_mantissa": np.zeros(shape, dtype=int), "bias_exponent": 6}
    return FixedPointNeurons(
        **{
            name: value if name == "bias_exponent" else np.array(value, dtype=int)
            for name, value in (values | changes).items()
        }
    )


def layer(name: str, shape: Shape, *synapses: Synapses, fires: bool = True, **changes: Any) -> Layer:
    return Layer(name, shape, synapses, neurons(shape, **changes), 1.0, fires=fires)


def dense(source: str, weight: ArrayLike, name: str = "fc", **changes: Any) -> DenseSynapses:
    return DenseSynapses(name, source, frozen_ints(np.asarray(weight).astype(int)), **changes)


def conv(source: str, weight: ArrayLike, name: str = "conv", **changes: Any) -> ConvSynapses:
    return ConvSynapses(name, source, frozen_ints(np.asarray(weight).astype(int)), **changes)


def program(*layers: Layer, shape: Shape = (1,), bits: int = 1, steps: int = 1) -> Program:
    readout = "spike_count" if layers[-1].fires else "membrane"
    return Program("loihi2", steps, Input(shape, 1.0, bits), layers, readout)  # type: ignore[arg-type]


def single(weight: ArrayLike, *, bits: int = 1, steps: int = 1, fires: bool = True, **changes: Any) -> Program:
    """One layer with dense synapses from the input."""
    synapses = dense("input", weight)
    outputs, inputs = synapses.weight.shape
    return program(layer("a", (outputs,), synapses, fires=fires, **changes), shape=(inputs,), bits=bits, steps=steps)


def chain(shape: Shape, parts: list[tuple[Any, ...]], steps: int = 16) -> Program:
    """Layers one after the other, all weights 1.

    Args:
        parts: ("conv", channels, kernel, stride, padding[, groups]) or ("fc", neurons).
    """
    layers: list[Layer] = []
    source, size = "input", shape
    for index, part in enumerate(parts):
        name = f"layer{index}"
        synapses: Synapses
        if part[0] == "conv":
            _, channels, kernel, stride, padding, *rest = part
            groups = rest[0] if rest else 1
            weight = np.ones((channels, size[0] // groups, kernel, kernel), dtype=int)
            synapses = conv(source, weight, stride=stride, padding=padding, groups=groups)
        else:
            synapses = dense(source, np.ones((part[1], int(np.prod(size))), dtype=int))
        size = synapses.output_shape(size)
        layers.append(layer(name, size, synapses))
        source = name
    return program(*layers, shape=shape, steps=steps)
