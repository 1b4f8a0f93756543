"""What Lava computed for the golden configurations, against every simulator of ours; needs no Lava."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conformance import golden
from conformance.check import expected
from numpy.typing import NDArray

from neurodeploy.ir.program import Program
from neurodeploy.ir.synapses import longest_delay
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.recording import Recording

Run = Callable[[Program, NDArray[Any]], Recording]
SIMULATORS: dict[str, Run] = {
    "reference": reference.run,
    "engine": engine.run,
}
CASES = golden.load()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.index))
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_every_spike_and_voltage_is_lavas(simulator: str, case: golden.GoldenCase) -> None:
    recording = SIMULATORS[simulator](case.program, case.inputs)
    for layer in case.program.layers:
        np.testing.assert_array_equal(recording.spikes[layer.name], case.lava[f"spikes:{layer.name}"], layer.name)
        np.testing.assert_array_equal(recording.potentials[layer.name], case.lava[f"voltages:{layer.name}"], layer.name)
    last = case.program.layers[-1].name
    np.testing.assert_array_equal(recording.readout, case.lava[f"spikes:{last}"].sum(axis=0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.index))
def test_every_current_of_the_reference_is_lavas(case: golden.GoldenCase) -> None:
    wanted, _ = expected(case.program, case.inputs)
    assert wanted.keys() == case.lava.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(values, case.lava[name], name)


def test_the_vectors_are_alive() -> None:
    """They wrap, saturate, remember, wait and fire; else equality with them would say little."""
    spikes = np.concatenate([v.ravel() for one in CASES for name, v in one.lava.items() if name.startswith("spikes")])
    assert len(CASES) == golden.COUNT
    assert 0.05 < spikes.mean() < 0.6
    assert sum(expected(one.program, one.inputs)[1] for one in CASES) > 500
    layers = [layer for one in CASES for layer in one.program.layers]
    assert sum(bool((layer.neurons.current_decay < 4096).any()) for layer in layers) > 60
    delays = [longest_delay(one) for layer in layers for one in layer.synapses]
    assert sum(delay > 1 for delay in delays) > 40
    assert max(delays) > 62
