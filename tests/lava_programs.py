"""Small fixed-point programs for the tests of Lava."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses, Synapses


def neurons(
    shape: Shape,
    threshold: ArrayLike = 100,
    decay: ArrayLike = 1000,
    bias: ArrayLike = 0,
    exponent: int = 6,
    current_decay: ArrayLike = 4096,
) -> FixedPointNeurons:
    """Neurons with the same bias everywhere unless an array is given."""
    mantissa = frozen_ints(np.broadcast_to(np.asarray(bias), shape))
    return FixedPointNeurons(frozen_ints(decay), frozen_ints(threshold), mantissa, exponent, frozen_ints(current_decay))


def dense(source: str, weight: ArrayLike, delay: int = 0, pool: int = 1) -> DenseSynapses:
    return DenseSynapses(f"from_{source}", source, frozen_ints(weight), pool, delay)


def delayed(delay: int, own: int) -> DenseSynapses:
    return DenseSynapses("fc", "input", frozen_ints([[1]]), delay=delay, delays=frozen_ints([[own]]))


def chain(first: Synapses, shape: Shape, input_node: Input, **options: Any) -> Program:
    """One firing layer behind the input."""
    layer = Layer("only", shape, (first,), neurons(shape, **options), 1.0)
    return Program("loihi2", 4, input_node, (layer,), "spike_count")


def with_neurons(program: Program, **changes: Any) -> Program:
    """The program with other values in its last layer's neurons."""
    last = program.layers[-1]
    changed = replace(last, neurons=replace(last.neurons, **changes))
    return replace(program, layers=(*program.layers[:-1], changed))


SMALL = chain(dense("input", [[1, -2, 3]]), (1,), Input((3,)))
