"""A Program as a `.net` file (HDF5), which lava-dl's netx loads.

netx knows chains of convolutions and of dense layers, which may hear themselves one step later, with one threshold and
decay per layer, a bias in whole weight units, and delays of dense layers up to 62 steps. What it cannot express exactly
is refused with the reason, never rounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.errors import DesignRuleError
from neurodeploy.export.lava_job import message_bits, written_out
from neurodeploy.importing.net import NEVER_FIRES
from neurodeploy.importing.netx_weights import load_dense
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import INPUT, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import DELAY_MAX, ConvSynapses, DenseSynapses, Synapses, longest_delay

BIAS_EXPONENT = 6  # netx's own: a bias of 1 is one weight unit
BIAS_MANTISSA = (-4096, 4095)
WEIGHT = (-128, 127)


def reasons(program: Program) -> list[str]:
    """Why the program is not expressible as a `.net` file, with layer names; empty where it is."""
    if not program.fixed_point:
        return ["the neurons are not fixed-point; quantise for the chip loihi2"]
    found = []
    source = INPUT
    for layer in in_order(program):
        found += [f"layer {layer.name}: {text}" for text in _layer_reasons(layer, source)]
        source = layer.name
    last, end = program.layers[-1], in_order(program)[-1].name
    assert isinstance(last.neurons, FixedPointNeurons)
    if end != last.name:
        found.append(f"layer {last.name}: is read out, but the chain ends with {end}, which netx reads out")
    if last.fires and last.neurons.threshold.min() >= NEVER_FIRES:
        found.append(
            f"layer {last.name}: threshold {last.neurons.threshold.min()}, which in a .net file's last layer makes "
            f"a membrane readout; below {NEVER_FIRES} it fires: choose a larger scale for the layer"
        )
    return found


def write(program: Program, path: Path) -> None:
    """Writes the file; raises DesignRuleError with all `reasons` where it cannot be exact."""
    import h5py

    found = reasons(program)
    if found:
        raise DesignRuleError("lava (.net)", found)
    with h5py.File(path, "w") as file:
        layers = file.create_group("layer")
        _write_values(layers.create_group("0"), {"type": "input", "shape": program.input.shape})
        for layer in in_order(program):
            written = written_out(_forward(layer), program)
            if not isinstance(written, ConvSynapses) and len(program.shapes[written.source]) > 1:
                _write_values(
                    layers.create_group(str(len(layers))), {"type": "flatten", "shape": (written.weight.shape[1],)}
                )
            _write_layer(layers.create_group(str(len(layers))), layer, program)


def in_order(program: Program) -> tuple[Layer, ...]:
    """The layers of a chain, each after the one that feeds it; where there is no chain, the program's own order."""
    fed = {_forward(layer).source: layer for layer in program.layers if len(layer.synapses) == 1 + len(_back(layer))}
    chain: list[Layer] = []
    while (chain[-1].name if chain else INPUT) in fed and len(chain) < len(program.layers):
        chain.append(fed[chain[-1].name if chain else INPUT])
    return tuple(chain) if len({layer.name for layer in chain}) == len(program.layers) else program.layers


def input_message_bits(program: Program) -> int:
    """The `input_message_bits` with which netx must load the file; without it, it binarises graded inputs."""
    return message_bits(INPUT, program)


def _layer_reasons(layer: Layer, source: str) -> list[str]:
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)  # `reasons` has checked the program
    found = []
    forward, back = _forward(layer), _back(layer)
    if len(layer.synapses) > 1 + len(back) or forward.source != source:
        sources = ", ".join(one.source for one in layer.synapses)
        found.append(f"it is fed by {sources}; netx knows chains only, where it would be fed by {source}")
    elif back:
        found += _recurrent_reasons(forward, back[0])
    elif isinstance(forward, ConvSynapses):
        if forward.delay:
            found.append(f"delay of {forward.delay}; netx overlooks delays of convolutions")
    else:
        found += _dense_reasons(forward)
    for name in ("threshold", "voltage_decay", "current_decay"):
        if len(np.unique(getattr(neurons, name))) > 1:
            found.append(f"{name.replace('_', ' ')} per neuron; netx knows one per layer")
    remainder = neurons.bias % 2**BIAS_EXPONENT
    mantissa = neurons.bias >> BIAS_EXPONENT
    if remainder.any():
        count, worst = (
            int(np.count_nonzero(remainder)),
            float(np.abs(neurons.bias / 64 - np.rint(neurons.bias / 64)).max()),
        )
        found.append(
            f"bias of {count} neurons is not a whole number of weight units (off by up to {worst:.2g}), "
            "and netx knows no finer"
        )
    elif mantissa.min() < BIAS_MANTISSA[0] or mantissa.max() > BIAS_MANTISSA[1]:
        found.append(f"bias of {int(np.abs(mantissa).max())} weight units; netx has 13 bits with sign")
    return found


def _dense_reasons(synapses: DenseSynapses) -> list[str]:
    found = []
    if longest_delay(synapses) > DELAY_MAX:
        found.append(f"delay of {longest_delay(synapses)}; netx cuts delays at {DELAY_MAX}")
    if synapses.weight_exponent:
        found.append(f"weight exponent {synapses.weight_exponent}; netx finds one of its own from the weights")
    if synapses.weight.max() <= 0:
        found.append("no weight is positive; netx changes such dense weights when it loads them")
    if synapses.weight.min() < WEIGHT[0] or synapses.weight.max() > WEIGHT[1]:
        found.append(f"dense weights beyond {WEIGHT[0]} to {WEIGHT[1]}; netx keeps not all of them")
    return found


def _forward(layer: Layer) -> Synapses:
    """The first synapses that do not come from the layer itself."""
    return next((one for one in layer.synapses if one.source != layer.name), layer.synapses[0])


def _back(layer: Layer) -> tuple[Synapses, ...]:
    """The synapses by which a layer hears itself, where there is one set of them beside others."""
    own = tuple(one for one in layer.synapses if one.source == layer.name)
    return own if len(own) == 1 < len(layer.synapses) else ()


def _recurrent_reasons(forward: Synapses, back: Synapses) -> list[str]:
    """netx shifts the weights of both together, and shifts them back only where there are no delays."""
    if isinstance(forward, ConvSynapses) or isinstance(back, ConvSynapses):
        return ["it hears itself, and has a convolution; netx knows recurrence in dense layers only"]
    if longest_delay(forward) or longest_delay(back) != 1:
        return [f"recurrent with delays of {longest_delay(forward)} and {longest_delay(back)}; netx has 0 and 1"]
    found = [text for one in (forward, back) for text in _dense_reasons(one)]
    parts = forward.weight, back.weight
    if not found and any(loaded.changed(part) for loaded, part in zip(load_dense(parts), parts, strict=True)):
        found.append("netx changes some of its weights, which it scales with those of the recurrence")
    return found


def _write_layer(group: Any, layer: Layer, program: Program) -> None:
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)  # `reasons` has checked the program
    written = written_out(_forward(layer), program)
    values: dict[str, Any] = {"shape": layer.shape, "weight": written.weight.astype(np.int32)}
    if isinstance(written, ConvSynapses):
        values |= {
            "type": "conv",
            "inChannels": program.shapes[written.source][0],
            "outChannels": layer.shape[0],
            "kernelSize": written.weight.shape[2:],
            "stride": written.stride,
            "padding": written.padding,
            "dilation": written.dilation,
            "groups": written.groups,
        }
    else:
        values |= {"type": "dense", "inFeatures": written.weight.shape[1], "outFeatures": layer.shape[0]}
        if back := _back(layer):
            values |= {"type": "dense_rec", "weight_rec": back[0].weight.astype(np.int32)}
        elif longest_delay(written):
            values["delay"] = _netx_delay(written)
    bias = neurons.bias >> BIAS_EXPONENT
    if bias.any():
        values["bias"] = _netx_bias(np.broadcast_to(bias, layer.shape))
    _write_values(group, values)
    _write_values(
        group.create_group("neuron"),
        {
            "type": "CUBA",
            "iDecay": int(neurons.current_decay.flat[0]),  # netx takes 1 off for the hidden offset of Lava's du
            "vDecay": int(neurons.voltage_decay.flat[0]),
            "vThMant": int(neurons.threshold.flat[0]) if layer.fires else NEVER_FIRES,
            "refDelay": 1,
            "gradedSpike": False,
        },
        scalar_type=True,
    )


def _netx_bias(bias: IntArray) -> IntArray:
    """One per channel where that is all there is, else one per neuron in Lava's order of axes (x, y, channel)."""
    if bias.ndim == 1:
        return bias
    per_channel = bias[:, 0, 0]
    return per_channel if np.array_equal(bias, np.broadcast_to(per_channel[:, None, None], bias.shape)) else bias.T


def _netx_delay(synapses: DenseSynapses) -> IntArray | int:
    """One for all, or one per synapse (a vector netx reads as one per input or per output, by its length)."""
    if synapses.delays is None:
        return synapses.delay
    return synapses.delays + synapses.delay


def _write_values(group: Any, values: dict[str, Any], scalar_type: bool = False) -> None:
    """Datasets as slayer writes them: a layer's type is one fixed-width string, a neuron's type a scalar string."""
    for name, value in values.items():
        if name == "type":
            value = value if scalar_type else np.array([value], dtype="S10")
        elif isinstance(value, tuple):
            value = np.array(value, dtype=np.int64)
        group.create_dataset(name, data=value)
