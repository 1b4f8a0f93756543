"""Currents that the host computes for Lava are what the Program's synapses bring, wherever Lava itself is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lava_programs import chain
from numpy.typing import NDArray

from neurodeploy.export import lava_host, lava_job
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import reference


def of_the_host(program: Program, inputs: NDArray[Any]) -> NDArray[Any]:
    """(T, *shape) of one sample, (T, *shape of the input)."""
    job, arrays = lava_job.describe(program)
    own = (arrays["synapses0.weight"], arrays.get("synapses0.delays"))
    (layer,) = program.layers
    lag = job["layers"][0]["lag"]
    return np.asarray(lava_host.currents(job["synapses"][0], *own, inputs, layer.shape, program.steps, lag))


def of_the_program(program: Program, inputs: NDArray[Any]) -> NDArray[Any]:
    past = [{"input": frame[None].astype(np.int64)} for frame in inputs]
    silence = {"input": np.zeros_like(past[0]["input"])}
    (layer,) = program.layers
    steps = [[*past[step::-1], *[silence] * program.steps] for step in range(program.steps)]
    return np.concatenate([reference.weighted_inputs(program, layer, one) for one in steps])


@pytest.mark.parametrize("exponent", [-1, 0, 1])
@pytest.mark.parametrize("delays", [[0, 1, 0], [1, 0, 1], [2, 1, 0]])
def test_a_weight_exponent_shifts_the_sum_of_each_delay(exponent: int, delays: list[int]) -> None:
    """With -1, (2 >> 1) + (1 >> 1) is 1, and (1 >> 1) + (1 >> 1) + (1 >> 1) nothing."""
    synapses = DenseSynapses(
        "fc", "input", frozen_ints([[1, 1, 1]]), delays=frozen_ints([delays]), weight_exponent=exponent
    )
    program = chain(synapses, (1,), Input((3,)))
    ones = np.ones((4, 3), dtype=int)
    brought = [2 * delays.count(late) // 2 ** (1 - exponent) for late in range(4)]
    got = of_the_host(program, ones).ravel().tolist()
    assert got == of_the_program(program, ones).ravel().tolist() == np.cumsum(brought).tolist()


@pytest.mark.parametrize(("further", "expected"), [(0, 2**23 - 1), (1, -(2**23))])
def test_the_sums_of_a_convolution_wrap_at_24_bits(further: int, expected: int) -> None:
    """255 · (127 · 259 + 3) + 127 is 2^23 - 1."""
    taps, frame = [127] * 259 + [3, 127, 1], [255] * 260 + [1, further]
    synapses = ConvSynapses("conv", "input", frozen_ints(np.reshape(taps, (1, -1, 1, 1))))
    program = chain(synapses, (1, 1, 1), Input((len(taps), 1, 1), bits=8))
    inputs = np.broadcast_to(np.reshape(frame, (1, -1, 1, 1)), (4, len(taps), 1, 1))
    got = of_the_host(program, inputs).ravel().tolist()
    assert got == of_the_program(program, inputs).ravel().tolist() == [expected] * 4
