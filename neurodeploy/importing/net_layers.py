"""The layers of a `.net` file, each checked and with netx's rules applied, before they become a Program."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.importing.hdf5 import Tree
from neurodeploy.ir.arrays import IntArray, Shape, frozen_ints
from neurodeploy.ir.program import DECAY_ONE
from neurodeploy.ir.synapses import DELAY_MAX

MOST_NEURONS = 2**22
"""Of a layer; a Loihi 2 has 2**20 in all."""
BIAS_MOST = 2**15 - 1  # lava-nc keeps the mantissa in 16 bits, beyond which it wraps
_LARGEST = 2**31 - 1
_NEURONS = ("CUBA", "LOIHI")
_NOT_CUBA = "reads CUBA and LOIHI neurons; sigma-delta and resonate-and-fire neurons have no Program"
# netx reads nothing else of a neuron; these change what slayer trained, the others describe the training.
_UNREAD = {"refDelay": 1, "gradedSpike": 0, "wgtExp": 0, "weight_exp": 0}
# What slayer writes; any other entry is somebody's own, as `bias` among the neurons, and does nothing.
_SIZES = frozenset(("shape", "inFeatures", "outFeatures", "inChannels", "outChannels", "kernelSize"))
_LAYER = _SIZES | {"type", "weight", "weight_rec", "bias", "delay", "neuron", "stride", "padding", "dilation", "groups"}
_NEURON = {"type", "iDecay", "vDecay", "vThMant", "theta", "tauRho", "scaleRho", "messageBits", *_UNREAD}
_NAMED = 5  # of the unknown entries
# A dense layer without neurons gets these (netx/hdf5.py, create_dense): they add up in the current and never fire.
_INTEGRATOR = {"iDecay": 0, "vDecay": DECAY_ONE, "vThMant": 2**17}


@dataclass(frozen=True, eq=False)
class NetNeurons:
    """Parameters of a layer's neurons, each a scalar or one per channel or neuron."""

    current_decay: IntArray
    voltage_decay: IntArray
    threshold: IntArray


@dataclass
class Reader:
    """One layer group with the words for its messages.

    Attributes:
        name: of the layer, for messages.
        warnings: what netx does silently and this layer is affected by.
    """

    group: Tree
    name: str
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """A warning about this layer."""
        self.warnings.append(f"layer {self.name}: {text}")

    def array(self, key: str) -> NDArray[Any]:
        """A dataset of numbers; raises UsageError where it is missing."""
        value = self.group.get(key)
        if not isinstance(value, np.ndarray) or value.dtype == object or value.size == 0:
            raise UsageError(f"{key}: numbers are expected, {_described(value)}")
        return value

    def has(self, key: str) -> bool:
        """Whether there is such an entry."""
        return key in self.group

    def truncated(self, key: str) -> IntArray:
        """Numbers with their fractions cut off, as netx's `astype(int)` does; says so where there are fractions."""
        values = self.array(key)
        cut = np.trunc(values.astype(np.float64))
        if np.abs(cut).max() > _LARGEST:
            raise UsageError(f"{key} up to {np.abs(cut).max():.4g}; at most {_LARGEST} is allowed")
        fractions = int(np.count_nonzero(cut != values))
        if fractions:
            self.warn(
                f"{fractions} of {values.size} values of {key} are not whole numbers; netx cuts the fractions off"
            )
        return np.asarray(cut, dtype=np.int64)

    def integers(self, key: str, low: int, high: int) -> IntArray:
        """Integers within bounds; netx hangs on floating-point ones."""
        values = self.array(key)
        if values.dtype.kind not in "iu":
            raise UsageError(f"{key} of type {values.dtype}: integers are expected")
        if values.min() < low or values.max() > high:
            raise UsageError(f"{key} {values.min()} to {values.max()}: allowed are {low} to {high}")
        return np.asarray(values, dtype=np.int64)

    def shape(self) -> Shape:
        """The layer's own shape, (C, H, W), (H, W) or (n,)."""
        values = self.integers("shape", 1, _LARGEST)
        if values.ndim != 1 or not 1 <= len(values) <= 3:
            raise UsageError(f"shape {values.tolist()}: 1 to 3 numbers are expected")
        shape = tuple(int(value) for value in values)
        if math.prod(shape) > MOST_NEURONS:
            raise UsageError(f"shape {shape}: {math.prod(shape)} neurons; at most {MOST_NEURONS} are read")
        return shape

    def pair(self, key: str, low: int) -> tuple[int, int]:
        """(vertical, horizontal), from one number or two."""
        values = self.integers(key, low, _LARGEST)
        if values.size > 2:
            raise UsageError(f"{key} {values.tolist()}: one number or two (height, width) are expected")
        first, *rest = (int(value) for value in values.ravel())
        return first, rest[0] if rest else first

    def type(self) -> str:
        """The layer's type; netx takes the first of several texts."""
        return _first_text(self.group.get("type"), "type")


def neurons(reader: Reader, needed: bool) -> NetNeurons:
    """The neurons of a layer; those that never fire where a dense layer has none."""
    group = reader.group.get("neuron")
    if group is None and not needed:
        return NetNeurons(*(frozen_ints(_INTEGRATOR[key]) for key in ("iDecay", "vDecay", "vThMant")))
    if not isinstance(group, dict):
        raise UsageError("neuron: a group with type, iDecay, vDecay and vThMant is expected")
    inner = Reader(group, reader.name)
    kind = _first_text(group.get("type"), "neuron/type")
    if kind not in _NEURONS:
        raise UsageError(f"neuron/type {kind!r}: neurodeploy {_NOT_CUBA}")
    if inner.has("messageBits"):
        raise UsageError("neuron/messageBits: netx 0.6.0 fails on it; take it out of the file")
    for key, plain in _UNREAD.items():
        if inner.has(key) and (inner.array(key) != plain).any():
            reader.warn(f"neuron/{key} is {_few(inner.array(key))}; netx does not read it, and it has no effect")
    current = inner.array("iDecay")
    if current.dtype.kind == "u" and current.min() == 0:
        raise UsageError("iDecay 0 of an unsigned type: netx takes 1 off, which wraps; write a signed integer")
    bounds: dict[str, int] = {"iDecay": DECAY_ONE, "vDecay": DECAY_ONE, "vThMant": 2**18 - 1}
    return NetNeurons(*(frozen_ints(_per_layer(inner.integers(key, 0, high))) for key, high in bounds.items()))


def warn_of_unknown(reader: Reader) -> None:
    """Warns of entries that neither slayer writes nor netx reads."""
    inner = reader.group.get("neuron")
    found = [name for name in reader.group if name not in _LAYER]
    found += [f"neuron/{name}" for name in inner if name not in _NEURON] if isinstance(inner, dict) else []
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        named = ", ".join(ascii(name)[:60] for name in sorted(found)[:_NAMED])
        reader.warn(f"{named}{more}: netx reads no such entry, and it has no effect")


def delays(reader: Reader, weight_shape: tuple[int, ...]) -> IntArray | None:
    """One delay per weight, (out features, in features), or None where all are 0."""
    values = reader.array("delay")
    if values.min() < 0:
        raise UsageError(f"delay {values.min()}: must not be negative")
    if values.max() > DELAY_MAX:
        reader.warn(f"delays up to {values.max()} are clipped to {DELAY_MAX}, as netx does")
    cut = np.asarray(np.trunc(np.minimum(values.astype(np.float64), DELAY_MAX)), dtype=np.int64)
    if (np.minimum(values, DELAY_MAX) != cut).any():
        reader.warn("delays are not whole numbers; netx cuts the fractions off")
    outputs, inputs = weight_shape
    if cut.ndim == 1 and len(cut) == outputs:
        cut = cut[:, None]
    elif cut.ndim == 1 and len(cut) == inputs:
        cut = cut[None, :]
    elif cut.ndim != 0 and cut.shape != weight_shape:
        raise UsageError(
            f"delay of shape {cut.shape}: one number, one per output ({outputs}), one per input ({inputs}) or one per "
            f"weight {weight_shape} is expected"
        )
    spread = np.broadcast_to(cut, weight_shape)
    return frozen_ints(spread) if spread.any() else None


def matrix(reader: Reader, key: str, outputs: int) -> IntArray:
    """(out features, in features), from two dimensions or from one."""
    if isinstance(reader.group.get(key), dict):
        raise UsageError(f"{key}: complex weights belong to resonate-and-fire neurons, which have no Program")
    weight = reader.truncated(key)
    if weight.ndim == 1 and len(weight) % outputs == 0:
        weight = weight.reshape(outputs, -1)
    if weight.ndim != 2 or len(weight) != outputs:
        raise UsageError(f"{key} of shape {weight.shape} for {outputs} neurons: ({outputs}, inputs) is expected")
    return weight


def bias(reader: Reader) -> IntArray | None:
    """Biases in weight units, None where there are none."""
    if not reader.has("bias"):
        return None
    values = reader.truncated("bias")
    if np.abs(values).max() > BIAS_MOST:
        raise UsageError(f"bias {values.min()} to {values.max()}: lava-nc's bias wraps beyond ±{BIAS_MOST}")
    return values


def within(name: str, read: Callable[[], Any]) -> Any:
    """Runs a part of the reading; its UsageErrors say which layer they are about."""
    try:
        return read()
    except UsageError as error:
        raise UsageError(f"layer {name}: {error}") from error


def _first_text(value: Any, key: str) -> str:
    if not isinstance(value, np.ndarray) or value.dtype != object or value.size == 0 or value.ndim > 1:
        raise UsageError(f"{key}: a text is expected, {_described(value)}")
    return str(value.ravel()[0]).rstrip("\0")


def _per_layer(values: IntArray) -> IntArray:
    return values.reshape(()) if values.size == 1 else values


def _few(values: NDArray[Any]) -> str:
    return f"{values.min()}" if values.min() == values.max() else f"{values.min()} to {values.max()}"


def _described(value: Any) -> str:
    if value is None:
        return "it is missing"
    return "it is a group" if isinstance(value, dict) else f"it is of type {value.dtype} and shape {value.shape}"
