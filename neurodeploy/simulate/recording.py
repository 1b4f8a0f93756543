"""What a run of a Program puts out, whoever ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import IntArray, Shape
from neurodeploy.ir.program import Program


@dataclass(frozen=True, eq=False)
class Recording:
    """Spikes and potentials of every layer at every step.

    Attributes:
        spikes: layer -> (T, B, *shape), 0 or 1 (uint8).
        potentials: layer -> (T, B, *shape) after reset; voltage units (int64) for fixed-point neurons, else float64.
        readout: (B, classes), summed over time.
    """

    spikes: Mapping[str, NDArray[np.uint8]]
    potentials: Mapping[str, NDArray[Any]]
    readout: NDArray[Any]

    @property
    def decisions(self) -> IntArray:
        """(B,) the class with the largest readout; the lowest of equals."""
        return np.asarray(self.readout.argmax(axis=-1), dtype=np.int64)

    def firing_rates(self) -> dict[str, float]:
        """layer -> fraction of neuron-steps with a spike, layers that fire only."""
        return {name: float(values.mean()) for name, values in self.spikes.items()}


@dataclass(frozen=True, eq=False)
class Counts:
    """What a population of chips decided and how often its neurons fired.

    Attributes:
        readout: (chips, B, classes), summed over time.
        spike_counts: layer -> (chips, *shape), summed over steps and samples.
    """

    readout: NDArray[Any]
    spike_counts: Mapping[str, IntArray]

    @property
    def decisions(self) -> IntArray:
        """(chips, B) the class with the largest readout; the lowest of equals."""
        return np.asarray(self.readout.argmax(axis=-1), dtype=np.int64)


def check_inputs(program: Program, inputs: NDArray[Any]) -> tuple[int, bool]:
    """(B, static) of an input; raises UsageError where it does not suit the program.

    Allowed are (B, *shape), the same at every step, and (T, B, *shape) with T the program's number of steps, both
    integers in [0, 2**bits - 1].
    """
    shape: Shape = program.input.shape
    static = inputs.ndim == len(shape) + 1
    if inputs.shape[-len(shape) :] != shape or not (static or inputs.ndim == len(shape) + 2):
        raise UsageError(f"input of shape {inputs.shape}: (samples, {shape}) or (steps, samples, {shape}) is expected")
    if inputs.dtype.kind not in "iub":
        raise UsageError(f"input of type {inputs.dtype}: integers are expected (see Input.scale)")
    if not static and inputs.shape[0] != program.steps:
        raise UsageError(f"input has {inputs.shape[0]} steps, the program {program.steps}")
    if inputs.size == 0:
        raise UsageError(f"input of shape {inputs.shape}: at least one sample is needed")
    highest = 2**program.input.bits - 1
    if inputs.min() < 0 or inputs.max() > highest:
        raise UsageError(f"input values {inputs.min()} to {inputs.max()}: allowed are 0 to {highest}")
    return inputs.shape[0 if static else 1], static
