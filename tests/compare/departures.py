"""A small program, and sides that show what was recorded of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.sides import Side, recorded_side
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import INPUT, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.recorded_run import RecordedRun
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]
STEPS, SAMPLES, SIZE = 16, 3, 6


def program_and_inputs(seed: int = 0) -> tuple[Program, Array]:
    """A layer a, alive, with odd weights, biases, memory in current and voltage; thresholds that are met exactly."""
    rng = np.random.default_rng(seed)
    weights = frozen_ints(rng.integers(-20, 30, (SIZE, SIZE)))
    neurons = FixedPointNeurons(
        frozen_ints(1024), frozen_ints(40), frozen_ints(rng.integers(-99, 99, SIZE)), 0, frozen_ints(3000)
    )
    layer = Layer("a", (SIZE,), (DenseSynapses("fc", INPUT, weights, delay=1),), neurons, 0.125)
    program = Program("loihi2", STEPS, Input((SIZE,)), (layer,), "spike_count")
    return program, rng.integers(0, 2, (STEPS, SAMPLES, SIZE))


def recorded(program: Program, recording: Recording, inputs: Array | None = None) -> Side:
    run = RecordedRun(
        "chip", "measured-silicon", program_hash(program), "loihi2", {"nx": "1"}, "2026-01-01", inputs, recording, {}
    )
    return recorded_side(run, program)
