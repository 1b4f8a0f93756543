"""A run of a small program, as it is saved, and the equality of two recordings."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.recorded_run import RecordedRun
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

STEPS, SAMPLES = 5, 6


def dense(name: str, source: str, outputs: int, features: int, seed: int) -> DenseSynapses:
    weight = np.random.default_rng(seed).integers(-60, 90, (outputs, features))
    return DenseSynapses(name, source, frozen_ints(weight))


def neurons(count: int, threshold: int = 60, decay: int = 800) -> FixedPointNeurons:
    return FixedPointNeurons(frozen_ints(decay), frozen_ints(threshold), frozen_ints(np.arange(count) - 2), 6)


PROGRAM = Program(
    "loihi2",
    STEPS,
    Input((3,)),
    (
        Layer("a", (4,), (dense("x", "input", 4, 3, 0),), neurons(4), 1.0),
        Layer("out", (2,), (dense("y", "a", 2, 4, 1),), neurons(2, 131071), 1.0, fires=False),
    ),
    "membrane",
)
INPUTS = np.random.default_rng(2).integers(0, 2, (STEPS, SAMPLES, 3))
RECORDING = reference.run(PROGRAM, INPUTS)


def make(**changes: Any) -> RecordedRun:
    values: dict[str, Any] = {
        "name": "first light",
        "evidence": "measured-silicon",
        "program_hash": program_hash(PROGRAM),
        "backend": "loihi2",
        "versions": {"lava-nc": "0.10.0"},
        "date": "2026-01-02T03:04:05+00:00",
        "inputs": INPUTS,
        "recording": RECORDING,
        "facts": {"probes": {"power": {"total_watt": 0.25}}},
    }
    return RecordedRun(**(values | changes))


def same(got: Recording, expected: Recording) -> None:
    for name in ("spikes", "potentials"):
        arrays, wanted = getattr(got, name), getattr(expected, name)
        assert set(arrays) == set(wanted)
        for layer, values in wanted.items():
            assert arrays[layer].dtype == values.dtype
            np.testing.assert_array_equal(arrays[layer], values)
    np.testing.assert_array_equal(got.readout, expected.readout)
