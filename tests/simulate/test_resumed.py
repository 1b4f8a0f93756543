"""Runs that start from known spikes, against whole runs of the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurodeploy.errors import UsageError
from neurodeploy.simulate import reference, resumed

Case = Callable[..., Any]


@pytest.mark.parametrize("chip", ["ideal", "loihi2"])
@pytest.mark.parametrize("kind", ["dense", "conv", "residual", "recurrent", "lateral"])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), static=st.booleans())
def test_known_layers_change_nothing(lively_case: Case, kind: str, chip: str, seed: int, static: bool) -> None:
    _, program, inputs = lively_case(np.random.default_rng(seed), kind, chip, static=static)
    wanted = reference.run(program, inputs)
    for count in range(len(program.layers)):
        count = resumed.independent(program.layers, count)
        known = {layer.name: wanted.spikes[layer.name] for layer in program.layers[:count]}
        found = resumed.run_on(program, inputs, known)
        np.testing.assert_array_equal(found.readout, wanted.readout)
        assert set(found.spikes) == set(wanted.spikes) - set(known)
        for name, spikes in found.spikes.items():
            np.testing.assert_array_equal(spikes, wanted.spikes[name])


def test_what_is_known_is_believed(lively_case: Case) -> None:
    _, program, inputs = lively_case(np.random.default_rng(0), "conv", "loihi2")
    first = program.layers[0].name
    silent = np.zeros_like(reference.run(program, inputs).spikes[first])
    given_silence = resumed.run_on(program, inputs, {first: silent}).readout
    assert (given_silence != reference.run(program, inputs).readout).any()


def test_layers_that_hear_from_later_ones_are_not_independent(lively_case: Case) -> None:
    _, program, inputs = lively_case(np.random.default_rng(0), "lateral", "loihi2")
    names = [layer.name for layer in program.layers]
    assert names[:2] == ["inhibit", "a"] or names[:2] == ["a", "inhibit"]
    assert [resumed.independent(program.layers, count) for count in (0, 1, 2)] == [0, 0, 2]
    spikes = reference.run(program, inputs).spikes
    with pytest.raises(UsageError, match="the first ones are expected"):
        resumed.run_on(program, inputs, {names[0]: spikes[names[0]]})
    with pytest.raises(UsageError, match="the first ones are expected"):
        resumed.run_on(program, inputs, {name: spikes[name] for name in names if name in spikes and name != names[0]})
