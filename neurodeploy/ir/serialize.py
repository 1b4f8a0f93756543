"""Frozen dataclasses <-> plain JSON values and named arrays. What is read is treated as hostile.

Only the classes listed here are ever made, only from the fields that they declare, and each checks its own values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError, NeurodeployError
from neurodeploy.ir import nodes, program, synapses
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.network import Edge, Network

Arrays = dict[str, NDArray[Any]]

_CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        Network,
        Edge,
        nodes.Input,
        nodes.Conv2d,
        nodes.Linear,
        nodes.SumPool2d,
        nodes.AvgPool2d,
        nodes.Flatten,
        nodes.LIF,
        nodes.CubaLIF,
        nodes.MembraneReadout,
        nodes.SpikeCountReadout,
        program.Program,
        program.Layer,
        program.FixedPointNeurons,
        program.FloatNeurons,
        synapses.ConvSynapses,
        synapses.DenseSynapses,
    )
}
_HINTS = {cls: get_type_hints(cls) for cls in _CLASSES.values()}
_DEEPEST = 16


def encode(value: Any, arrays: Arrays, name: str = "") -> Any:
    """JSON values for a Network or Program; its arrays are added to `arrays` under dotted names."""
    if isinstance(value, np.ndarray):
        arrays[name] = _smallest(value)
        return {"array": name}
    if type(value).__name__ in _CLASSES:
        own = [field for field in fields(value) if field.init]
        encoded = {field.name: encode(getattr(value, field.name), arrays, f"{name}.{field.name}") for field in own}
        return {"type": type(value).__name__, **encoded}
    if isinstance(value, tuple | list):
        return [encode(item, arrays, f"{name}.{_label(item, index)}") for index, item in enumerate(value)]
    if hasattr(value, "items"):
        return {"mapping": [[key, encode(item, arrays, f"{name}.{key}")] for key, item in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: {type(value).__name__} cannot be written")


def decode(value: Any, arrays: Arrays, expected: type[Any], where: str) -> Any:
    """The object that `encode` wrote.

    Raises:
        FileFormatError: naming the file `where`, for anything but a valid object of type `expected`.
    """
    try:
        decoded = _decode(value, arrays, 0)
    except (NeurodeployError, TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise FileFormatError(f"{where}: not a valid {expected.__name__}: {error}") from error
    if not isinstance(decoded, expected):
        raise FileFormatError(f"{where}: holds a {type(decoded).__name__} where a {expected.__name__} is expected")
    return decoded


def _decode(value: Any, arrays: Arrays, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return tuple(_decode(item, arrays, depth + 1) for item in value)
    if not isinstance(value, dict):
        return value
    if set(value) == {"array"}:
        array = arrays[value["array"]]
        return frozen_ints(array) if array.dtype.kind in "iu" else frozen_floats(array)
    if set(value) == {"mapping"}:
        return {str(key): _decode(item, arrays, depth + 1) for key, item in value["mapping"]}
    content = dict(value)
    cls = _CLASSES[content.pop("type")]
    given = {str(key): _decode(item, arrays, depth + 1) for key, item in content.items()}
    for name, item in given.items():
        hint = _HINTS[cls].get(name, Any)  # the class itself refuses fields that it does not have
        if not _fits(item, hint):
            raise TypeError(f"{cls.__name__}.{name}: a {type(item).__name__}, {hint} is expected")
    return cls(**given)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a field declares; true and false are no numbers."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return True
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if kind is Literal:
        return isinstance(value, str) and value in arguments
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        wanted = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(value) == len(wanted) and all(map(_fits, value, wanted))
    if kind is Mapping:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def _label(item: Any, index: int) -> str:
    name = getattr(item, "name", None)
    return f"{index}-{name}" if isinstance(name, str) else str(index)


def _smallest(array: NDArray[Any]) -> NDArray[Any]:
    """Integers in the narrowest signed type that holds them, floats as they are; zero dimensions stay zero."""
    if array.dtype.kind not in "iu" or array.size == 0:
        return np.asarray(array, order="C")
    low, high = int(array.min()), int(array.max())
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.asarray(array.astype(kind), order="C")
    return np.asarray(array, order="C")
