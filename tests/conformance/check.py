"""Comparison of one configuration: every current, voltage and spike of Lava against the reference's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from conformance.cases import Case
from numpy.typing import NDArray

from neurodeploy.ir.program import DECAY_ONE, STATE_LIMIT, FixedPointNeurons, Program
from neurodeploy.simulate import reference

Expected = dict[str, NDArray[Any]]
TOP = STATE_LIMIT - 1


@dataclass(frozen=True)
class Totals:
    """What was compared.

    Attributes:
        values: currents, voltages and spikes, each neuron at each step of each sample.
        wrapped: currents that left the range of 24 bits and came back from the other side.
        saturated: voltages at ±(2^23 - 1).
        mismatches: values that differ.
        differing: the configurations in which they are.
    """

    configurations: int = 0
    values: int = 0
    spikes: int = 0
    wrapped: int = 0
    saturated: int = 0
    mismatches: int = 0
    differing: tuple[int, ...] = ()

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return (
            f"{self.configurations} configurations, {self.values} values compared, {self.spikes} spikes, "
            f"{self.wrapped} currents wrapped, {self.saturated} voltages saturated: {self.mismatches} mismatches"
        )


def expected(program: Program, inputs: NDArray[Any]) -> tuple[Expected, int]:
    """("currents:<layer>", "voltages:<layer>" and "spikes:<layer>" -> (T, B, *shape), how often a current wrapped)."""
    silence = {name: np.zeros((1, *shape), dtype=np.int64) for name, shape in program.shapes.items()}
    past: list[Mapping[str, Any]] = [silence] * 126  # delay and delays of 62 steps each, and now
    collected: dict[str, list[Any]] = {}
    wrapped = 0
    before: Mapping[str, Any] = {}
    for state, output in reference.steps(program, inputs):
        past = [output, *past[:-1]]
        for layer in program.layers:
            values = zip(("currents", "voltages", "spikes"), (*state[layer.name], output[layer.name]), strict=True)
            for what, value in values:
                collected.setdefault(f"{what}:{layer.name}", []).append(value)
            neurons = layer.neurons
            assert isinstance(neurons, FixedPointNeurons)
            left = before[layer.name].current * (DECAY_ONE - neurons.current_decay) / DECAY_ONE if before else 0
            summed = np.trunc(left) + 64 * reference.weighted_inputs(program, layer, past)
            wrapped += int(((summed > STATE_LIMIT) | (summed <= -STATE_LIMIT)).sum())
        before = state
    return {name: np.stack(values) for name, values in collected.items()}, wrapped


def compare(case: Case, result: Mapping[str, NDArray[Any]]) -> Totals:
    """What differs between the reference and the result of `case.job()`."""
    wanted, wrapped = expected(case.program, case.inputs)
    assert wanted.keys() == result.keys()
    mismatches = sum(int((wanted[name] != result[name]).sum()) for name in wanted)
    spikes = sum(int(values.sum()) for name, values in result.items() if name.startswith("spikes"))
    saturated = sum(int((np.abs(v) == TOP).sum()) for name, v in result.items() if name.startswith("voltages"))
    values = sum(values.size for values in result.values())
    return Totals(1, values, spikes, wrapped, saturated, mismatches, (case.index,) if mismatches else ())


def total(parts: Iterable[Totals]) -> Totals:
    """The sum of all."""
    whole = Totals()
    for part in parts:
        whole = whole + part
    return whole
