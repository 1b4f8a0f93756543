"""How a calibration sees chips: through their `run`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Trim
from neurodeploy.hw_models.trim import trimmed
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import Program
from neurodeploy.simulate.engine import Counts, run_chips

RackCodes = dict[str, IntArray]


class Device(Protocol):
    """Chips that run the same Program side by side, simulated or real.

    Attributes:
        chips: how many there are.
        trim: the knob that each of them has.
    """

    @property
    def chips(self) -> int: ...

    @property
    def trim(self) -> Trim: ...

    def run(self, inputs: NDArray[Any], codes: RackCodes) -> Counts:
        """Sets the knobs and runs samples.

        Args:
            inputs: integers, (B, *shape) or (T, B, *shape).
            codes: layer -> trim codes, (chips, *code shape).

        Returns:
            Spike counts per neuron and the readout per sample: what a chip puts out, with its noise of that moment.
        """


def virtual_rack(chips: Sequence[VirtualChip], program: Program, first_trial: int = 0, device: str = "cpu") -> Device:
    """Virtual chips behind the interface of real ones.

    The chips' own parameters live in a closure: nothing of the returned object leads to them. Every run is a new trial,
    so that dynamic noise is never the same twice. `device` is what simulates them, as in `simulate.engine.run_chips`.

    Raises:
        UsageError: where the chips have no knob.
    """
    trim = chips[0].model.trim
    if trim is None:
        raise UsageError(f"chip {chips[0].model.name} has no knob: there is nothing to calibrate")
    own = [chip.realise(program) for chip in chips]
    trial = first_trial - 1

    def run(inputs: NDArray[Any], codes: RackCodes) -> Counts:
        nonlocal trial
        trial += 1
        set_up = [
            trimmed(one, program, trim, {name: np.asarray(values[index]) for name, values in codes.items()})
            for index, one in enumerate(own)
        ]
        return run_chips(set_up, inputs, [chip.dynamic_noise(program, trial) for chip in chips], device)

    return _Rack(len(chips), trim, run)


class _Rack:
    def __init__(self, chips: int, trim: Trim, run: Callable[[NDArray[Any], RackCodes], Counts]) -> None:
        self._chips, self._trim, self._run = chips, trim, run

    @property
    def chips(self) -> int:
        return self._chips

    @property
    def trim(self) -> Trim:
        return self._trim

    def run(self, inputs: NDArray[Any], codes: RackCodes) -> Counts:
        return self._run(inputs, codes)
