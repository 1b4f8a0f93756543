"""Small Programs with everything that synapses and neurons can have, random and alive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Neurons, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import reference

_TRIES = 1000


def wild_case(
    rng: np.random.Generator, fixed_point: bool, bits_of_weights: int | None = None, long: bool = True
) -> tuple[Program, NDArray[Any]]:
    """A Program of three layers and input on which each fires in 5 to 95 % of its neuron-steps.

    Convolutions with groups, strides, padding, dilation, pooling and a delay; dense synapses with delays of their own
    and a weight exponent; feedback; currents with memory; 6 steps, or 70 and delays up to 62.

    Args:
        bits_of_weights: of their magnitude; by default 4, 12 or 22, of which the last wraps registers of 24 bits.
        long: whether it may have 70 steps.
    """
    for _ in range(_TRIES):
        bits = bits_of_weights if bits_of_weights is not None else int(rng.choice([4, 12, 22]))
        try:
            program = _program(rng, fixed_point, bits, long)
        except UsageError:  # its integers could leave what simulators compute exactly
            continue
        static = rng.random() < 0.5
        shape = (2, *program.input.shape) if static else (program.steps, 2, *program.input.shape)
        inputs = rng.integers(0, 2**program.input.bits, shape)
        rates = reference.run(program, inputs).firing_rates()
        if all(0.05 < rate < 0.95 for rate in rates.values()):
            return program, inputs
    raise AssertionError("no wild program is alive")


def _program(rng: np.random.Generator, fixed_point: bool, bits: int, long: bool) -> Program:
    steps, longest = (70, 62) if long and rng.random() < 0.2 else (6, 4)
    fires = bool(rng.random() < 0.5)
    down, beside, groups, wide = (int(rng.integers(1, 3)) for _ in range(4))
    first = ConvSynapses(
        "first",
        "input",
        _weights(rng, bits, (4, 2 // groups, 2, 3)),
        stride=(down, 1),
        padding=(wide, 1),
        dilation=(1, beside),
        groups=groups,
        pool=int(rng.integers(1, 3)),
        delay=int(rng.integers(0, 2)),
    )
    given = Input((2, 8, 8), bits=int(rng.choice([1, 8])))
    shape = first.output_shape(given.shape)
    again = ConvSynapses(
        "again",
        "a",
        _weights(rng, bits, (4, 1, 3, 3)),
        padding=(1, 1),
        groups=4,
        delay=int(rng.integers(1, longest + 1)),
    )
    a = Layer("a", shape, (first, again), _neurons(rng, fixed_point, bits, shape), _scale(bits))

    def dense(name: str, source: Shape, outputs: int, delay: int = 0, own_delays: bool = False) -> DenseSynapses:
        features = int(np.prod(source))
        delays = frozen_ints(rng.integers(0, longest - delay + 1, (outputs, features))) if own_delays else None
        exponent = int(rng.integers(-8, 8)) if fixed_point and rng.random() < 0.5 else 0
        weight = _weights(rng, bits - max(exponent, 0) // 2, (outputs, features))
        return DenseSynapses(name, name, weight, delay=delay, delays=delays, weight_exponent=exponent)

    into_b = [dense("a", shape, 5, own_delays=bool(rng.random() < 0.7)), dense("input", given.shape, 5, delay=1)]
    if fires:  # feedback
        into_b.append(dense("c", (3,), 5, delay=1, own_delays=True))
    b = Layer("b", (5,), tuple(into_b), _neurons(rng, fixed_point, bits, (5,)), _scale(bits))
    c = Layer("c", (3,), (dense("b", (5,), 3),), _neurons(rng, fixed_point, bits, (3,)), _scale(bits), fires)
    readout = "spike_count" if fires else "membrane"
    return Program("loihi2" if fixed_point else "mixed-signal", steps, given, (a, b, c), readout)


def _weights(rng: np.random.Generator, bits: int, shape: Shape) -> NDArray[np.int64]:
    high = 2 ** max(bits, 1)
    return frozen_ints(rng.integers(-high, high + 1, shape))


def _scale(bits: int) -> float:
    return 2.0**-bits


def _neurons(rng: np.random.Generator, fixed_point: bool, bits: int, shape: Shape) -> Neurons:
    each: Shape = shape if rng.random() < 0.5 else ()
    remembers = rng.random() < 0.6
    if fixed_point:
        decays = [0, 1, 900, 2048, 4095, 4096]
        return FixedPointNeurons(
            rng.choice(decays, each),
            rng.integers(0, min(2 ** (bits + 3), 131072), each),
            rng.integers(-4095, 4096, shape),
            int(rng.integers(0, 4)),
            rng.choice(decays, each) if remembers else np.array(4096),
        )
    return FloatNeurons(
        rng.uniform(0, 1, each),
        rng.uniform(0, 5, each),
        rng.normal(0, 0.3, shape),
        "subtract" if rng.random() < 0.5 else "zero",
        bool(rng.random() < 0.5),
        rng.uniform(0, 1, each) if remembers else np.array(0.0),
    )
