"""The hash of a program: it sees every number and shape, and outlives fields that later versions add."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from recorded_runs import PROGRAM, dense

from neurodeploy.ir import identity
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program


def with_last(program: Program, **changes: Any) -> Program:
    last = program.layers[-1]
    return replace(program, layers=(*program.layers[:-1], replace(last, neurons=replace(last.neurons, **changes))))


def test_the_hash_sees_every_number() -> None:
    weight = PROGRAM.layers[0].synapses[0].weight.copy()
    weight[0, 0] += 1
    first = replace(PROGRAM.layers[0].synapses[0], weight=frozen_ints(weight))
    others = [
        replace(PROGRAM, steps=6),
        replace(PROGRAM, input=Input((3,), 0.5)),
        replace(PROGRAM, layers=(replace(PROGRAM.layers[0], synapses=(first,)), PROGRAM.layers[1])),
        replace(PROGRAM, layers=(replace(PROGRAM.layers[0], scale=0.5), PROGRAM.layers[1])),
        with_last(PROGRAM, voltage_decay=frozen_ints(801)),
        with_last(PROGRAM, voltage_decay=frozen_ints([800, 800])),
        with_last(PROGRAM, bias_exponent=5),
        with_last(PROGRAM, bias_mantissa=frozen_ints([0, 0])),
    ]
    hashes = {program_hash(program) for program in (PROGRAM, *others)}
    assert len(hashes) == 1 + len(others)
    assert program_hash(replace(PROGRAM)) == program_hash(PROGRAM)


def test_the_hash_sees_shapes() -> None:
    """The same numbers in the same order, as 1 × 4 and as 4 × 1."""
    numbers = frozen_ints([[1, 2, 3, 4]])
    shapes = [identity._canonical(values) for values in (numbers, frozen_ints(numbers.T), frozen_ints(numbers[0]))]
    assert len({json.dumps(one) for one in shapes}) == 3
    assert shapes[0] == identity._canonical(numbers.astype(np.int8))  # how they are stored does not matter


def test_floats_and_integers_of_the_same_value_differ() -> None:
    floats = FloatNeurons(frozen_floats(0.5), frozen_floats(1.0), frozen_floats([0.0]))
    one = Program(
        "ideal", 2, Input((3,)), (Layer("a", (1,), (dense("x", "input", 1, 3, 0),), floats, 1.0),), "spike_count"
    )
    layer = one.layers[0]
    other = replace(one, layers=(replace(layer, neurons=replace(floats, decay=frozen_floats(np.nextafter(0.5, 1)))),))
    assert program_hash(one) != program_hash(other)


def test_a_field_with_its_default_does_not_count() -> None:
    """Programs keep their hash when later versions add fields."""

    @dataclass(frozen=True)
    class Old:
        value: int

    @dataclass(frozen=True)
    class New:
        value: int
        more: int = 3
        array: Any = field(default_factory=lambda: frozen_ints(4096))
        nothing: Any = None

    def content(value: Any) -> Any:
        return identity._canonical(value)["fields"]

    assert content(New(1)) == content(Old(1)) == {"value": 1}
    assert content(New(1, array=frozen_ints(4096))) == {"value": 1}
    assert set(content(New(1, 4, frozen_ints(4095), frozen_ints(1)))) == {"value", "more", "array", "nothing"}
    assert set(content(New(1, True))) == {"value", "more"}
