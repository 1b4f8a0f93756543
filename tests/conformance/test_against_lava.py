"""Random configurations in real Lava: not one current, voltage or spike may differ from the reference's.

`make conformance` runs many more of them.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conformance.cases import KINDS, Case, case
from conformance.check import compare, total

from neurodeploy.export import lava, lava_process
from neurodeploy.export.lava_weights import RANGES, effective_weights
from neurodeploy.ir.synapses import longest_delay

COUNT = 45


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case(index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def _lava() -> None:
    """Without Lava these tests fail: equality that was not tried must not look like equality."""
    found = lava.TARGET.backend()
    if found.version is None:
        pytest.fail(found.detail, pytrace=False)


@pytest.mark.lava
@pytest.mark.usefixtures("_lava")
def test_no_value_differs_from_lava(cases: list[Case]) -> None:
    results = lava.execute([one.job() for one in cases])
    totals = total(map(compare, cases, results))
    assert totals.configurations == COUNT
    assert (totals.mismatches, totals.differing) == (0, ()), str(totals)
    assert totals.values > 100_000
    assert totals.wrapped > 1000
    assert totals.saturated > 300
    spiking = totals.values / 3  # currents, voltages, spikes
    assert 0.05 < totals.spikes / spiking < 0.6


def test_the_configurations_meet_what_they_are_for(cases: list[Case]) -> None:
    """Each rule is drawn several times; else agreement would say nothing about it."""
    assert set(Counter(one.kind for one in cases).values()) == {COUNT // len(KINDS)}
    layers = [layer for one in cases for layer in one.program.layers]
    synapses = [one for layer in layers for one in layer.synapses]
    raw = [terms for one in cases for terms in one.raw.values()]
    dense = [one for one in synapses if hasattr(one, "delays")]
    assert {terms.sign_mode for terms in raw} == {"mixed", "excitatory", "inhibitory"}
    assert {terms.bits for terms in raw} == set(range(1, 9))
    assert sum(bool((terms.weights != stored).any()) for terms, stored in _stored(cases)) > 20
    exponents = {one.weight_exponent for one in dense}
    assert {-8, 7} <= exponents
    assert len(exponents) > 11
    assert sum(longest_delay(one) > 0 for one in synapses) > 10
    assert max(map(longest_delay, synapses)) > 20
    assert sum(one.delays is not None for one in dense) > 8
    memory = [bool((layer.neurons.current_decay < 4096).any()) for layer in layers]
    assert 15 < sum(memory) < len(layers) - 10
    assert sum(one.inputs.shape[-len(one.program.input.shape) - 1] > 1 for one in cases) > 15  # a reset in between
    assert sum(one.program.input.bits > 1 for one in cases) > 10


def _stored(cases: list[Case]) -> list[tuple[object, object]]:
    found = []
    for one in cases:
        layers = {layer.name: layer for layer in one.program.layers}
        found += [(terms, layers[name].synapses[position].weight) for (name, position), terms in one.raw.items()]
    return found


_VENDOR = """
import sys
import numpy as np
from lava.utils.weightutils import SignMode, clip_weights, truncate_weights
weights = np.load(sys.argv[1])
stored = {}
for mode in (SignMode.MIXED, SignMode.EXCITATORY, SignMode.INHIBITORY):
    for bits in range(1, 9):
        clipped = clip_weights(weights, mode, num_bits=8)
        stored[f"{mode.name.lower()}{bits}"] = truncate_weights(clipped, mode, bits)
np.savez(sys.argv[2], **stored)
"""


@pytest.mark.lava
@pytest.mark.usefixtures("_lava")
def test_stored_weights_are_those_of_lavas_own_functions(tmp_path: Path) -> None:
    """The two functions that PyDenseModelBitAcc calls, on all weights up to twice the register."""
    weights = np.arange(-600, 601)
    np.save(tmp_path / "weights.npy", weights)
    command = [*lava_process.interpreter(), "-c", _VENDOR, str(tmp_path / "weights.npy"), str(tmp_path / "stored.npz")]
    subprocess.run(command, check=True, timeout=120)
    with np.load(tmp_path / "stored.npz") as stored:
        assert len(stored.files) == 24
        for mode in RANGES:
            for bits in range(1, 9):
                np.testing.assert_array_equal(effective_weights(weights, bits, mode), stored[f"{mode}{bits}"])
