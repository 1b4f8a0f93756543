"""The job of a program: lags, waits, delays, and synapses written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lava_programs import chain, dense, neurons
from numpy.typing import NDArray

from neurodeploy.export import lava_job
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import reference

Case = Callable[..., tuple[Any, Program, NDArray[Any]]]


def test_lags_and_waits() -> None:
    """Every synapse is a step: a is 1 late, b 2, c 3; what arrives earlier waits, a delay of one step waits less."""
    layers = (
        Layer("a", (1,), (dense("input", [[1]]), dense("a", [[1]], 1)), neurons((1,)), 1.0),
        Layer("b", (1,), (dense("a", [[1]]),), neurons((1,)), 1.0),
        Layer(
            "c",
            (1,),
            (dense("b", [[1]]), dense("a", [[1]]), dense("input", [[1]]), dense("b", [[1]], 1)),
            neurons((1,)),
            1.0,
        ),
    )
    program = Program("loihi2", 3, Input((1,), bits=8), layers, "spike_count")
    assert lava_job.lags(program) == {"input": 0, "a": 1, "b": 2, "c": 3}
    job, arrays = lava_job.describe(program)
    described = [(s["source"], s["target"], s["wait"], s["message_bits"]) for s in job["synapses"]]
    assert described == [
        ("input", "a", 0, 8),
        ("a", "a", 0, 0),
        ("a", "b", 0, 0),
        ("b", "c", 0, 0),
        ("a", "c", 1, 0),
        ("input", "c", 2, 8),
        ("b", "c", 0, 0),
    ]
    delays = [arrays.get(f"synapses{index}.delays") for index in range(len(described))]
    assert [None if one is None else one.tolist() for one in delays] == [None] * 6 + [[[1]]]


@pytest.mark.parametrize(
    ("source", "delay", "own", "wait", "delays"),
    [
        ("a", 0, None, 1, None),  # the longer way through b
        ("a", 5, None, 1, [[5]]),
        ("a", 0, [[7]], 1, [[7]]),
        ("a", 62, None, 1, [[62]]),
        ("a", 62, [[62]], 63, [[62]]),  # more than a synapse can wait: held back before it
        ("a", 10, [[60]], 9, [[62]]),
        ("c", 1, None, 0, None),  # itself: the step that the synapse takes
        ("c", 3, [[2]], 0, [[4]]),
        ("input", 5, [[3]], 7, [[3]]),
    ],
)
def test_delays_are_the_synapses_own_as_far_as_they_reach(
    source: str, delay: int, own: Any, wait: int, delays: Any
) -> None:
    """Steps of delay and of waiting for a longer way add up to lag(target) - lag(source) - 1 + delay + own."""
    extra = DenseSynapses("extra", source, frozen_ints([[1]]), 1, delay, None if own is None else frozen_ints(own))
    layers = (
        Layer("a", (1,), (dense("input", [[1]]),), neurons((1,)), 1.0),
        Layer("b", (1,), (dense("a", [[1]]),), neurons((1,)), 1.0),
        Layer("c", (1,), (dense("b", [[1]]), extra), neurons((1,)), 1.0),
    )
    program = Program("loihi2", 3, Input((1,)), layers, "spike_count")
    assert lava_job.lags(program) == {"input": 0, "a": 1, "b": 2, "c": 3}
    job, arrays = lava_job.describe(program)
    assert job["synapses"][3]["wait"] == wait
    got = arrays.get("synapses3.delays")
    assert (None if got is None else got.tolist()) == delays


def test_delays_make_lags_smaller_but_never_negative() -> None:
    layers = (
        Layer("a", (1,), (dense("input", [[1]], 1),), neurons((1,)), 1.0),
        Layer("b", (1,), (dense("a", [[1]], 9), dense("input", [[1]], 40)), neurons((1,)), 1.0),
    )
    program = Program("loihi2", 3, Input((1,)), layers, "spike_count")
    assert lava_job.lags(program) == {"input": 0, "a": 0, "b": 0}
    job, arrays = lava_job.describe(program)
    assert [one["wait"] for one in job["synapses"]] == [0, 0, 39]
    assert arrays["synapses1.delays"].tolist() == [[8]]


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("groups", [2, 127, 130])
def test_written_out_synapses_bring_the_same_currents(pool: int, groups: int) -> None:
    rng = np.random.default_rng(groups)
    weight = frozen_ints(rng.integers(-128, 128, (2 * groups, 3, 2, 1)))
    synapses = ConvSynapses("conv", "input", weight, (1, 2), (1, 0), (2, 1), groups, pool)
    shape = (3 * groups, 3 * pool, 3 * pool)
    program = chain(synapses, synapses.output_shape(shape), Input(shape))
    written = lava_job.written_out(synapses, program)
    assert isinstance(written, ConvSynapses)
    assert (written.pool, written.groups) == (1, groups if groups < 128 else 1)
    source = rng.integers(0, 2, (2, *shape))
    np.testing.assert_array_equal(reference.current(written, source), reference.current(synapses, source))
