"""The quantities in which two definitions of a neuron can differ, and how one is put in the place of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.neuron import Neuron, Row
from neurodeploy.ir.arrays import frozen_floats
from neurodeploy.ir.program import INPUT

_SAME = 1e-12  # relative: what units converted into each other differ by
_CLIPPED = 0.5 + 1e-9  # weight units; rounding alone moves a weight by at most half of one

Replaced = Callable[[Neuron, Neuron], Neuron]


@dataclass(frozen=True)
class Quantity:
    """One quantity; `replaced(own, other)` is `own` with the other's value of it, in units of its own.

    Attributes:
        name: where one side is a real number and the other what a chip stores of it, "… rounding".
        plain: its name where both sides are of one kind.
        register: of a register's limit, which one: "current" or "voltage".
    """

    name: str
    plain: str
    replaced: Replaced
    register: str | None = None

    def title(self, first: Neuron, second: Neuron) -> str:
        """The name that suits the two sides."""
        return self.name if stored(first) != stored(second) else self.plain

    def differs(self, own: Neuron, other: Neuron) -> bool:
        """True where putting the other's value in changes the neuron."""
        return not _same(self.replaced(own, other), own)


def stored(neuron: Neuron) -> bool:
    """True where the numbers are those that a chip stores."""
    return neuron.layer.lsb is not None


def alike(own: Neuron, other: Neuron) -> bool:
    """Whether the synapses of both come from the same places, so that one's can stand for the other's."""
    return len(own.rows) == len(other.rows) and all(
        one.source == two.source and np.array_equal(one.places, two.places)
        for one, two in zip(own.rows, other.rows, strict=True)
    )


def with_all(own: Neuron, other: Neuron, quantities: tuple[Quantity, ...]) -> Neuron:
    """`own` with the other's values of several quantities."""
    for quantity in quantities:
        own = quantity.replaced(own, other)
    return own


def _field(name: str) -> Replaced:
    """Switches a field that has no unit."""

    def replaced(own: Neuron, other: Neuron) -> Neuron:
        changed: dict[str, Any] = {name: getattr(other.layer, name)}
        return replace(own, layer=replace(own.layer, **changed))

    return replaced


def _potential(name: str) -> Replaced:
    """Switches an array in units of potential."""

    def replaced(own: Neuron, other: Neuron) -> Neuron:
        value = getattr(other.layer, name) * _ratio(own, other)
        if np.allclose(value, getattr(own.layer, name), rtol=_SAME, atol=0):
            return own  # the same number, but for the conversion
        changed: dict[str, Any] = {name: frozen_floats(value)}
        return replace(own, layer=replace(own.layer, **changed))

    return replaced


def _wrap(own: Neuron, other: Neuron) -> Neuron:
    limit, sums = other.layer.wraps, other.layer.wraps_sums
    wraps = None if limit is None else limit * _ratio(own, other)
    wraps_sums = None if sums is None else sums * _ratio(own, other) * other.layer.gain / own.layer.gain
    return replace(own, layer=replace(own.layer, wraps=wraps, wraps_sums=wraps_sums))


def _saturation(own: Neuron, other: Neuron) -> Neuron:
    limit = other.layer.saturates
    return replace(own, layer=replace(own.layer, saturates=None if limit is None else limit * _ratio(own, other)))


def _truncation(own: Neuron, other: Neuron) -> Neuron:
    layer, ratio = other.layer, _ratio(own, other)
    grid, sum_grid = layer.grid * ratio, layer.sum_grid * ratio * layer.gain / own.layer.gain
    return replace(own, layer=replace(own.layer, rounds=layer.rounds, grid=grid, sum_grid=sum_grid))


def _ratio(own: Neuron, other: Neuron) -> float:
    """The own potential units that one of the other's is."""
    return other.layer.unit / own.layer.unit


def _rows(change: Callable[[Neuron, Neuron, Row, Row], Row]) -> Replaced:
    def replaced(own: Neuron, other: Neuron) -> Neuron:
        pairs = zip(own.rows, other.rows, strict=True)
        return replace(own, rows=tuple(change(own, other, one, two) for one, two in pairs))

    return replaced


def _weights(clipped: bool) -> Callable[[Neuron, Neuron, Row, Row], Row]:
    """The other's weights where they are further away than rounding takes them, or where they are not."""

    def change(own: Neuron, other: Neuron, one: Row, two: Row) -> Row:
        wanted, unit = two.weights * _weight_unit(other, two), _weight_unit(own, one)
        apart = np.zeros(len(wanted), dtype=bool)
        if stored(own) != stored(other):
            grid = unit if stored(own) else _weight_unit(other, two)
            apart = np.abs(wanted - one.weights * unit) > _CLIPPED * grid
        chosen = (apart == clipped) & ~np.isclose(wanted, one.weights * unit, rtol=_SAME, atol=0)
        return replace(one, weights=np.where(chosen, wanted / unit, one.weights))

    return change


def _weight_unit(neuron: Neuron, row: Row) -> float:
    """The Network's unit of potential per weight unit."""
    return float(neuron.layer.gain * neuron.layer.unit * 2.0**row.exponent)


def _delays(own: Neuron, other: Neuron, one: Row, two: Row) -> Row:
    return replace(one, delays=two.delays)


def _input(own: Neuron, other: Neuron, one: Row, two: Row) -> Row:
    if one.source != INPUT:
        return one
    return replace(one, values=two.values * (other.input_scale / own.input_scale))


def _same(one: Neuron, other: Neuron) -> bool:
    first, second = one.layer, other.layer
    rules = ("fires_at_threshold", "reset", "rounds")
    if any(getattr(first, name) != getattr(second, name) for name in rules):
        return False
    limits = ("wraps", "wraps_sums", "saturates")
    if any((getattr(first, name) is None) != (getattr(second, name) is None) for name in limits):
        return False
    numbers = ["bias", "decay", "current_decay", "threshold", *(n for n in limits if getattr(first, n) is not None)]
    numbers += ["grid", "sum_grid"] if first.rounds != "none" else []
    if not all(_close(getattr(first, name), getattr(second, name)) for name in numbers):
        return False
    return all(
        np.array_equal(a.delays, b.delays) and _close(a.weights, b.weights) and _close(a.values, b.values)
        for a, b in zip(one.rows, other.rows, strict=True)
    )


def _close(one: NDArray[Any] | float, other: NDArray[Any] | float) -> bool:
    return bool(np.allclose(one, other, rtol=_SAME, atol=0))


QUANTITIES = (
    Quantity("wrap of the current", "wrap of the current", _wrap, "current"),
    Quantity("saturation of the voltage", "saturation of the voltage", _saturation, "voltage"),
    Quantity("weight rounding", "weights", _rows(_weights(clipped=False))),
    Quantity("weight clipping", "weight clipping", _rows(_weights(clipped=True))),
    Quantity("bias rounding", "bias", _potential("bias")),
    Quantity("threshold rounding", "threshold", _potential("threshold")),
    Quantity("decay rounding", "decay", _field("decay")),
    Quantity("rounding of the current's decay", "decay of the current", _field("current_decay")),
    Quantity("truncation to whole units", "rounding to whole units", _truncation),
    Quantity("reset mode", "reset mode", _field("reset")),
    Quantity("comparison with the threshold", "comparison with the threshold", _field("fires_at_threshold")),
    Quantity("delay", "delay", _rows(_delays)),
    Quantity("input rounding", "input", _rows(_input)),
)
