"""NIR's nodes one by one, as nodes of a Network; the formulas stand in `neurodeploy.importing.nir_dialect`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.importing import nir_dialect as dialect
from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    Node,
    SumPool2d,
)

_LARGEST = 2**31 - 1
_HINT = 1e-12  # a hint holds the last bits of a decay: further off it is another decay, and does not count


@dataclass(frozen=True)
class Reading:
    """How continuous time becomes steps."""

    dt: float
    discretisation: str

    def kept(self, name: str, what: str, tau: float, hint: Any) -> float:
        """The fraction that is left after a step: 1 - dt / tau, or exp(-dt / tau)."""
        if not tau > 0:
            raise UsageError(f"node {name}: {what} {tau:g}: must be positive")
        ratio = self.dt / tau
        if self.discretisation == "euler" and ratio > 1 + _HINT:
            raise UsageError(
                f"node {name}: {what} {tau:g} s is shorter than a step of {self.dt:g} s; give a smaller --dt, or "
                "--discretisation exponential"
            )
        value = max(0.0, 1 - ratio) if self.discretisation == "euler" else math.exp(-ratio)
        known = np.asarray(hint)
        if known.size == 1 and known.dtype.kind == "f" and abs(float(known.item()) - value) <= _HINT:
            return float(known.item())
        return value


@dataclass(frozen=True, eq=False)
class Taken:
    """A node, and what of the file's node it does not hold.

    Attributes:
        gain: what an input is multiplied by before it is added to a readout's potential; 1 for all others.
        shape: of the neurons' parameters in the file.
        neurons: whether the node is one of neurons.
    """

    node: Node
    gain: float = 1.0
    shape: Shape = ()
    neurons: bool = False


def take(name: str, node: Any, reading: Reading) -> Taken:
    """The node of a Network for one of package nir's.

    Raises:
        UsageError: naming the node and what a Network cannot express.
    """
    try:
        return _TAKERS[type(node).__name__](name, node, reading)
    except UsageError as error:
        text = str(error)
        raise UsageError(text if text.startswith(f"node {name}:") else f"node {name}: {text}") from error


# --- without state ------------------------------------------------------------------------------------------------


def _input(name: str, node: Any, reading: Reading) -> Taken:
    return Taken(Input(_integers("shape", node.input_type["input"], 1, 3)))


def _affine(name: str, node: Any, reading: Reading) -> Taken:
    weight = _numbers("weight", node.weight)
    if weight.ndim != 2:
        raise UsageError(f"weight of shape {weight.shape}: (out features, in features) is expected")
    bias = _numbers("bias", node.bias) if hasattr(node, "bias") else np.zeros(len(weight))
    return Taken(Linear(weight, bias))


def _conv(name: str, node: Any, reading: Reading) -> Taken:
    weight = _numbers("weight", node.weight)
    stride, dilation = (_integers(key, getattr(node, key), 1, 2) for key in ("stride", "dilation"))
    (groups,) = _integers("groups", node.groups, 1, 1)
    if weight.ndim != 4 or weight.shape[0] % groups:
        raise UsageError(
            f"weight of shape {weight.shape} in {groups} groups: (out, in / groups, height, width) expected"
        )
    padding = _padding(node.padding, weight.shape[2:], _pair(stride), _pair(dilation))
    return Taken(Conv2d(weight, _numbers("bias", node.bias), _pair(stride), padding, _pair(dilation), groups))


def _padding(
    value: Any, kernel: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    if not isinstance(value, str):
        return _pair(_integers("padding", value, 0, 2))
    if value == "valid":
        return 0, 0
    spread = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
    if value != "same" or stride != (1, 1) or any(size % 2 for size in spread):
        raise UsageError(
            f"padding {value!r} with stride {stride}: numbers, 'valid', or 'same' with stride 1 and odd kernels"
        )
    return spread[0] // 2, spread[1] // 2


def _pool(name: str, node: Any, reading: Reading) -> Taken:
    kernel, stride = (_pair(_integers(key, getattr(node, key), 1, 2)) for key in ("kernel_size", "stride"))
    padding = _integers("padding", node.padding, 0, 2)
    if kernel[0] != kernel[1] or stride != kernel or any(padding):
        raise UsageError(
            f"pooling of {kernel} with stride {stride}, padding {padding}: square, without overlap and padding"
        )
    kind = SumPool2d if type(node).__name__ == "SumPool2d" else AvgPool2d
    return Taken(kind(kernel[0]))


def _flatten(name: str, node: Any, reading: Reading) -> Taken:
    """All dimensions; some writers count the batch as the first one, and start at 1."""
    (start,), (end,) = (_integers(key, getattr(node, key), -3, 1) for key in ("start_dim", "end_dim"))
    shape = None if node.input_type["input"] is None else _integers("input_type", node.input_type["input"], 1, 3)
    if start not in (0, 1) or (end != -1 and (shape is None or end not in (len(shape) - 1, len(shape)))):
        raise UsageError(f"flattens dimensions {start} to {end}: only all of them can be flattened")
    return Taken(Flatten())


# --- neurons ------------------------------------------------------------------------------------------------------


def _lif(name: str, node: Any, reading: Reading) -> Taken:
    decay = reading.kept(name, "tau", _one("tau", node.tau), node.metadata.get(dialect.DECAY))
    _at_rest(node)
    gain = _gain(node, _one("r", node.r) * (1 - decay))
    return _firing(LIF(decay, _one("v_threshold", node.v_threshold) / gain), node.v_threshold)


def _cuba(name: str, node: Any, reading: Reading) -> Taken:
    decay = reading.kept(name, "tau_mem", _one("tau_mem", node.tau_mem), node.metadata.get(dialect.DECAY))
    current = reading.kept(name, "tau_syn", _one("tau_syn", node.tau_syn), node.metadata.get(dialect.CURRENT_DECAY))
    _at_rest(node)
    gain = _gain(node, _one("r", node.r) * (1 - decay) * _one("w_in", node.w_in) * (1 - current))
    return _firing(CubaLIF(decay, current, _one("v_threshold", node.v_threshold) / gain), node.v_threshold)


def _if(name: str, node: Any, reading: Reading) -> Taken:
    _at_rest(node)
    gain = _gain(node, _one("r", node.r) * reading.dt)
    return _firing(LIF(1.0, _one("v_threshold", node.v_threshold) / gain), node.v_threshold)


def _li(name: str, node: Any, reading: Reading) -> Taken:
    decay = reading.kept(name, "tau", _one("tau", node.tau), node.metadata.get(dialect.DECAY))
    _at_rest(node)
    gain = _gain(node, _one("r", node.r) * (1 - decay))
    return Taken(MembraneReadout(decay), gain, np.shape(node.r), True)


def _i(name: str, node: Any, reading: Reading) -> Taken:
    return Taken(MembraneReadout(1.0), _gain(node, _one("r", node.r) * reading.dt), np.shape(node.r), True)


def _firing(node: LIF | CubaLIF, parameters: Any) -> Taken:
    return Taken(node, 1.0, np.shape(parameters), True)


def _gain(node: Any, value: float) -> float:
    """Exactly 1 where it is 1 within the rounding of the file's own numbers."""
    if not (np.isfinite(value) and value > 0):
        raise UsageError(f"an input is multiplied by {value:g} (r dt / tau): must be positive")
    kind = np.asarray(node.r).dtype
    rounding = float(np.finfo(kind if kind.kind == "f" else np.float64).eps)
    return 1.0 if abs(value - 1) <= 8 * rounding else value


def _at_rest(node: Any) -> None:
    for key in ("v_leak", "v_reset"):
        if hasattr(node, key) and _one(key, getattr(node, key)) != 0:
            raise UsageError(
                f"{key} {_one(key, getattr(node, key)):g}: only 0 can be taken; shift all potentials by it"
            )


_TAKERS: Mapping[str, Callable[[str, Any, Reading], Taken]] = {
    "Input": _input,
    "Affine": _affine,
    "Linear": _affine,
    "Conv2d": _conv,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
    "LIF": _lif,
    "CubaLIF": _cuba,
    "IF": _if,
    "LI": _li,
    "I": _i,
}


# --- numbers ------------------------------------------------------------------------------------------------------


def _numbers(key: str, values: Any) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.size == 0:
        raise UsageError(f"{key}: numbers are expected")
    return np.asarray(array, dtype=np.float64)


def _one(key: str, values: Any) -> float:
    """The one value of all neurons."""
    found = np.unique(_numbers(key, values))
    if len(found) > 1:
        raise UsageError(f"{key} from {found[0]:g} to {found[-1]:g}: a layer here has one value for all its neurons")
    return float(found[0])


def _integers(key: str, values: Any, low: int, most: int) -> tuple[int, ...]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim > 1 or not 1 <= array.size <= most:
        raise UsageError(f"{key}: 1 to {most} integers are expected")
    if array.min() < low or array.max() > _LARGEST:
        raise UsageError(f"{key} {array.tolist()}: allowed are {low} to {_LARGEST}")
    return tuple(int(value) for value in array.ravel())


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[-1]
