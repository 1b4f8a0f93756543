"""`rockpool.json`: which Rockpool modules a Program is, written and read.

Numbers are exact. Values per neuron are nested lists that broadcast to the layer's shape. A null `tau_mem` is infinite
(no leak), a null `threshold` never fires. Weights are integers and lie in the artifact's `program.safetensors`: synapse
`i` of a layer in Rockpool's unit is `weight_scale` times the i-th weight of that layer in the program. `module` is
"LIFNeuronTorch" where `tau_mem` gives the decay exactly and currents have no memory, else "LIFTorch" in the leak mode
"decays" (see `rockpool_neurons.DecayNeurons`). `delays` of dense synapses are further steps of each, or null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neurodeploy.errors import FileFormatError, NeurodeployError
from neurodeploy.ir.arrays import FloatArray, IntArray, Shape, frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses

FILE = "rockpool.json"
SCHEMA = 2
TIME_STEP = 1e-3  # seconds; Rockpool's default. Only the ratio to the time constants counts.
_SEARCHED_NEIGHBOURS = 16  # floats on either side; the rounding of -dt/log(decay) is off by two or three
_MOST_DIMENSIONS = 8


def described(program: Program) -> str:
    """The file's text, for a Program that Rockpool can express."""
    description = {
        "schema": SCHEMA,
        "rockpool": ">=3.1,<3.2",
        "weights": "program.safetensors",
        "chip": program.chip,
        "dt": TIME_STEP,
        "steps": program.steps,
        "input": {"shape": program.input.shape, "scale": program.input.scale, "bits": program.input.bits},
        "readout": program.readout,
        "layers": [_described_layer(layer) for layer in program.layers],
    }
    return json.dumps(description, indent=1, allow_nan=False) + "\n"


def read(text: str, weights: Mapping[str, Sequence[IntArray]], where: str = FILE) -> Program:
    """The Program that the file and the weights describe, its values written out for every neuron (see `spread`).

    Args:
        weights: layer -> its weights in order (`weights_of`).
        where: the file, for messages.

    Raises:
        FileFormatError: where the text is no such description, or does not fit the weights.
    """
    try:
        told = json.loads(text)
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            found = told.get("schema") if isinstance(told, dict) else None
            raise FileFormatError(f"{where}: schema {found!r}, this program reads {SCHEMA}; export again")
        layers = tuple(_read_layer(one, weights[one["name"]]) for one in told["layers"])
        first = Input(_shape(told["input"]["shape"]), told["input"]["scale"], told["input"]["bits"])
        return Program(told["chip"], told["steps"], first, layers, told["readout"])
    except FileFormatError:
        raise
    except (NeurodeployError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{where}: damaged, or not of this program ({error}); export again") from error


def weights_of(program: Program) -> dict[str, list[IntArray]]:
    """Layer -> the weights of its synapses, in order."""
    return {layer.name: [one.weight for one in layer.synapses] for layer in program.layers}


def spread(program: Program) -> Program:
    """The same Program with every value of its neurons written out, one for each."""

    def written_out(layer: Layer) -> Layer:
        neurons = layer.neurons
        assert isinstance(neurons, FloatNeurons)  # programs with others are not described
        names = ("decay", "threshold", "bias", "current_decay")
        values: dict[str, Any] = {name: np.broadcast_to(getattr(neurons, name), layer.shape) for name in names}
        return replace(layer, neurons=replace(neurons, **values))

    return replace(program, layers=tuple(map(written_out, program.layers)))


def _described_layer(layer: Layer) -> dict[str, Any]:
    neurons = layer.neurons
    assert isinstance(neurons, FloatNeurons)  # `violations` has refused the others
    remembers = bool(neurons.current_decay.any())
    constants = None if remembers else membrane_time_constants(neurons.decay)
    leak = {"leak_mode": "decays"} if constants is None else {"tau_mem": _compact(constants)}
    return {
        "name": layer.name,
        "shape": layer.shape,
        "fires": layer.fires,
        "module": "LIFTorch" if constants is None else "LIFNeuronTorch",
        **leak,
        "decay": _compact(neurons.decay),
        "threshold": _compact(neurons.threshold),
        "current_decay": _compact(neurons.current_decay),
        "bias": _compact(neurons.bias),
        "reset": neurons.reset,
        "fires_at_threshold": neurons.fires_at_threshold,
        "weight_scale": layer.scale,
        "synapses": [_described_synapses(synapses) for synapses in layer.synapses],
    }


def _described_synapses(synapses: Synapses) -> dict[str, Any]:
    common = {
        "name": synapses.name,
        "source": synapses.source,
        "delay": synapses.delay,
        "sum_pool": synapses.pool,
        "weight_shape": synapses.weight.shape,
    }
    if not isinstance(synapses, ConvSynapses):
        delays = None if synapses.delays is None else synapses.delays.tolist()
        return {"kind": "dense"} | common | {"delays": delays}
    geometry = {name: getattr(synapses, name) for name in ("stride", "padding", "dilation", "groups")}
    return {"kind": "convolution"} | common | geometry


def _compact(values: FloatArray) -> Any:
    """Values for JSON: axes along which all are equal shrink to 1, all equal to one number; infinity is null."""
    for axis in range(values.ndim):
        first = values.take([0], axis=axis)
        values = first if (values == first).all() else values
    whole = (values.reshape(()) if values.size == 1 else values).astype(object)
    whole[np.isinf(values.reshape(whole.shape))] = None
    return whole.tolist()


def membrane_time_constants(decay: FloatArray) -> FloatArray | None:
    """The tau_mem, in seconds, at which Rockpool's exp(-TIME_STEP / tau_mem) is exactly `decay` for every neuron.

    Decay 1 gives infinity. Below about exp(-1) the doubles that exp() reaches are sparser than all doubles, so that for
    some decays there is none.

    Args:
        decay: a scalar array or one per neuron, of any shape.

    Returns:
        float64 of the same shape, or None where at least one neuron has no such time constant.
    """
    import torch

    wanted = torch.from_numpy(decay.reshape(-1).copy() if decay.ndim else decay.copy())
    first = torch.where(wanted == 1, torch.inf, -TIME_STEP / torch.log(wanted))
    constants, found = first, torch.exp(-TIME_STEP / first) == wanted
    for offset in sorted(range(-_SEARCHED_NEIGHBOURS, _SEARCHED_NEIGHBOURS + 1), key=abs):
        neighbour = (first.view(torch.int64) + offset).view(torch.float64)
        hit = ~found & (torch.exp(-TIME_STEP / neighbour) == wanted)  # NaN beside 0 and infinity never hits
        constants, found = torch.where(hit, neighbour, constants), found | hit
    if not bool((torch.exp(-TIME_STEP / constants) == wanted).all()):
        return None
    return frozen_floats(constants.numpy().reshape(decay.shape))


def _read_layer(told: Mapping[str, Any], weights: Sequence[IntArray]) -> Layer:
    shape = _shape(told["shape"])
    values = {name: _values(told[name], shape) for name in ("decay", "threshold", "bias", "current_decay")}
    neurons = FloatNeurons(reset=told["reset"], fires_at_threshold=_truth(told["fires_at_threshold"]), **values)
    synapses = tuple(_read_synapses(one, weight) for one, weight in zip(told["synapses"], weights, strict=True))
    return Layer(told["name"], shape, synapses, neurons, told["weight_scale"], _truth(told["fires"]))


def _read_synapses(told: Mapping[str, Any], weight: IntArray) -> Synapses:
    if _shape(told["weight_shape"]) != weight.shape:
        raise ValueError(f"weights of shape {weight.shape} where {told['weight_shape']} are described")
    common = {name: told[name] for name in ("name", "source", "delay")} | {"pool": told["sum_pool"]}
    if told["kind"] == "dense":
        delays = told["delays"]
        return DenseSynapses(weight=weight, delays=None if delays is None else frozen_ints(delays), **common)
    geometry: dict[str, Any] = {name: tuple(told[name]) for name in ("stride", "padding", "dilation")}
    return ConvSynapses(weight=weight, groups=told["groups"], **geometry, **common)


def _values(told: Any, shape: Shape) -> FloatArray:
    array = np.array(told, dtype=object)
    array[np.equal(array, np.array(None))] = math.inf
    return frozen_floats(np.broadcast_to(array.astype(np.float64), shape))


def _shape(told: Any) -> Shape:
    shape = tuple(told)
    if len(shape) > _MOST_DIMENSIONS or any(type(edge) is not int or edge < 1 for edge in shape):
        raise ValueError(f"shape {str(told)[:80]}")
    return shape


def _truth(told: Any) -> bool:
    if not isinstance(told, bool):
        raise TypeError(f"{told!r} where true or false is expected")
    return told
