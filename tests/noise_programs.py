"""Programs of one layer with 10,000 neurons, large enough for statistics, and the virtual chips made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Neurons, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses

CHIPS = ["loihi2", "mixed-signal"]
SIDE = 100  # a layer of 10,000 neurons


def program(name: str, decay: float = 0.8, threshold: float = 1000.0, bias: int = 0, steps: int = 3) -> Program:
    """10,000 neurons fed by a 1×1 convolution of weight 100, then a readout of three that does not fire."""

    def neurons(shape: tuple[int, ...], level: float) -> Neurons:
        if name == "loihi2":
            keep = 4096 - round(decay * 4096)
            return FixedPointNeurons(np.array(keep), np.array(int(level)), np.full(shape, bias), 0)
        return FloatNeurons(np.array(decay), np.array(level), np.full(shape, float(bias)))

    shape, fan_in = (1, SIDE, SIDE), frozen_ints(np.ones((3, SIDE**2), dtype=int))
    conv, fc = ConvSynapses("conv", "input", frozen_ints([[[[100]]]])), DenseSynapses("fc", "a", fan_in)
    hidden = Layer("a", shape, (conv,), neurons(shape, threshold), 1.0)
    readout = Layer("out", (3,), (fc,), neurons((3,), 131071), 1.0, fires=False)
    return Program(name, steps, Input(shape), (hidden, readout), "membrane")


def virtual(name: str, chip_id: int = 17, seed: int = 0, **levels: Any) -> VirtualChip:
    return VirtualChip(chip(name), NoiseModel(**levels), chip_id, seed)


def thresholds(realised: Program) -> NDArray[Any]:
    return realised.layers[0].neurons.threshold.astype(np.float64)


def retained(realised: Program) -> NDArray[Any]:
    neurons = realised.layers[0].neurons
    return 1 - neurons.voltage_decay / 4096 if isinstance(neurons, FixedPointNeurons) else neurons.decay


def biases(realised: Program) -> NDArray[Any]:
    neurons = realised.layers[0].neurons
    return neurons.bias.astype(np.float64)


def dense(name: str, weight: NDArray[Any]) -> Program:
    """One layer of neurons that fire, fed by dense synapses."""
    shape = (len(weight),)
    neurons: Neurons = FloatNeurons(np.array(0.5), np.array(1.0), np.zeros(shape))
    if name == "loihi2":
        neurons = FixedPointNeurons(np.array(2048), np.array(64), np.zeros(shape, dtype=int), 0)
    layer = Layer("a", shape, (DenseSynapses("fc", "input", frozen_ints(weight)),), neurons, 2.0**-10)
    return Program(name, 1, Input((weight.shape[1],)), (layer,), "spike_count")
