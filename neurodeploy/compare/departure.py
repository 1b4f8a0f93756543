"""Whether a side computed what its definition says for a neuron; and if not, why as far as that can be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.hypotheses import consistent_changes
from neurodeploy.compare.neuron import History, column
from neurodeploy.compare.sides import Side
from neurodeploy.compare.tally import Found
from neurodeploy.ir.program import INPUT

Array = NDArray[Any]


@dataclass(frozen=True)
class Departure:
    """A side that did not compute its definition.

    Attributes:
        side: 0 for the first, 1 for the second.
        causes: ("single precision",) or ("double precision",) where the rounding of floating point numbers is proved
            to be the reason, else empty.
    """

    side: int
    sentence: str
    causes: tuple[str, ...] = ()
    consistent_with: tuple[str, ...] = ()


def departure(
    found: Found, sides: tuple[Side, Side], name: str, index: int, sources: Mapping[str, Array], history: History
) -> Departure | None:
    """What a side did otherwise than its definition says, or None.

    Args:
        index: 0 for the first side, 1 for the second.
        sources: layer -> (T, *shape) spikes that the side's layer received.
        history: of the neuron, computed from the definition on these.
    """
    side = sides[index]
    until = slice(0, found.step + 1)
    spikes, potentials = found.spikes[index].get(name), found.potentials[index]
    wrong = np.zeros(found.step + 1, dtype=bool)
    if spikes is not None:
        wrong |= (column(spikes, found.neuron) > 0)[until] != history.fired[until]
    exact = side.definition.stored
    if potentials is not None and exact:
        wrong |= column(potentials, found.neuron)[until] != history.kept[until]
    if not wrong.any():
        return None
    step = int(wrong.argmax())
    layer = side.definition.layer(name)
    kind = "Program" if exact else "Network"
    threshold = float(np.broadcast_to(layer.threshold, layer.shape)[found.neuron])
    if side.precision:
        distance = abs(float(history.potential[step]) - threshold)
        if _rounding_explains(found, side, name, index, sources, history, step, distance):
            return Departure(
                index,
                f"{side.precision} precision of {side.name}: at step {step + 1} its potential is {distance:.2g} from "
                f"the threshold {threshold:.6g}, and rounding moves it across",
                (f"{side.precision} precision",),
            )
    given = {**sources, INPUT: found.inputs[index]}
    consistent = consistent_changes(side.definition, layer, given, spikes, potentials) if exact else ()
    told = f"{side.name} does not compute what its {kind} says: at step {step + 1} that gives "
    told += _values(history.fired[step], history.kept[step], f"{history.potential[step]:.10g} before the reset")
    told += f" at a threshold of {threshold:.10g}" if layer.fires else ""
    told += ", and it has " + _values(
        None if spikes is None else column(spikes, found.neuron)[step] > 0,
        None if potentials is None else column(potentials, found.neuron)[step],
    )
    if consistent:
        told += f"; the whole layer comes out as recorded with {' or with '.join(consistent)}"
    elif exact:
        told += "; no single change that is known here makes the layer come out as recorded"
    return Departure(index, told, (), consistent)


def _values(fired: bool | None, potential: float | None, more: str = "") -> str:
    told = [] if fired is None else ["a spike" if fired else "no spike"]
    told += [] if potential is None else [f"potential {potential:.10g}{f' ({more})' if more else ''}"]
    return " and ".join(told)


def _rounding_explains(
    found: Found,
    side: Side,
    name: str,
    index: int,
    sources: Mapping[str, Array],
    history: History,
    step: int,
    distance: float,
) -> bool:
    """Single precision: the same network in double precision does as its definition. Double: the bound of rounding."""
    if side.exact is None:
        return distance <= float(history.bound[step])
    teacher = {key: values[:, None] for key, values in sources.items()}
    again = side.exact(np.ascontiguousarray(found.inputs[index][:, None]), teacher)
    fired = column(again.spikes[name][:, 0], found.neuron) > 0
    return bool(np.array_equal(fired[: found.step + 1], history.fired[: found.step + 1]))
