"""The reference simulator: slow, obvious NumPy. It is the meaning of a Program; every other simulator is held to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.dynamic_noise import DynamicNoise, transmitted
from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    STATE_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    FloatNeurons,
    Layer,
    Program,
)
from neurodeploy.ir.synapses import ConvSynapses, Synapses
from neurodeploy.simulate.recording import Recording, check_inputs

Array = NDArray[Any]


def run(program: Program, inputs: Array, noise: DynamicNoise | None = None, first_sample: int = 0) -> Recording:
    """Runs a program step by step.

    Args:
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).
        noise: of the chip in this trial: on neurons' inputs, on their spikes, on the readout.
        first_sample: the number of the first sample, by which the noise is addressed.

    Raises:
        UsageError: where the input does not suit the program.
    """
    batch, static = check_inputs(program, inputs)
    kind = np.int64 if program.fixed_point else np.float64
    state = {layer.name: np.zeros((batch, *layer.shape), dtype=kind) for layer in program.layers}
    output = {layer.name: np.zeros((batch, *layer.shape), dtype=np.int64) for layer in program.layers}
    output[INPUT] = np.zeros((batch, *program.input.shape), dtype=np.int64)
    spikes: dict[str, list[Array]] = {layer.name: [] for layer in program.layers if layer.fires}
    potentials: dict[str, list[Array]] = {layer.name: [] for layer in program.layers}
    late: dict[str, Array | None] = {}  # spikes that arrive a step later
    last = program.layers[-1]
    readout: Array = np.zeros((batch, *last.shape), dtype=kind)
    for step in range(program.steps):
        before = dict(output)
        output[INPUT] = (inputs if static else inputs[step]).astype(np.int64)
        for layer in program.layers:
            weighted = sum(
                _in_register(program, s, current(s, (before if s.delay else output)[s.source])) for s in layer.synapses
            )
            where = (layer.name, layer.shape, step, first_sample, batch)
            added = None if noise is None else noise.current(*where)
            on_input = np.zeros((), dtype=kind) if added is None else added.astype(kind)
            state[layer.name], fired = update(layer, state[layer.name], np.asarray(weighted), on_input)
            masks = None if noise is None else noise.masks(*where)
            arrived, late[layer.name] = transmitted(fired.astype(bool), masks, late.get(layer.name))
            output[layer.name] = arrived.astype(np.int64)
            potentials[layer.name].append(state[layer.name])
            if layer.fires:
                spikes[layer.name].append(output[layer.name].astype(np.uint8))
        readout = readout + (output if last.fires else state)[last.name]
    if noise is not None:
        readout = noise.readout(readout, first_sample).astype(kind)
    return Recording(
        {name: np.stack(values) for name, values in spikes.items()},
        {name: np.stack(values) for name, values in potentials.items()},
        readout,
    )


def update(layer: Layer, state: Array, weighted: Array, noise: Array) -> tuple[Array, Array]:
    """(potential after reset, spikes) of one step, from the potential before and the integer sum of weighted inputs."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        potential = _integrate_fixed_point(neurons, state, weighted, noise)
        fired = potential > (neurons.threshold << VOLTAGE_UNIT_BITS)
        if not layer.fires:
            fired = np.zeros_like(fired)
        return np.where(fired, 0, potential), fired.astype(np.int64)
    potential = _integrate_float(neurons, layer.scale, state, weighted, noise)
    if not layer.fires:
        return potential, np.zeros(potential.shape, dtype=np.int64)
    fired = potential >= neurons.threshold if neurons.fires_at_threshold else potential > neurons.threshold
    remainder = potential - neurons.threshold if neurons.reset == "subtract" else np.zeros(())
    return np.where(fired, remainder, potential), fired.astype(np.int64)


def _integrate_fixed_point(neurons: FixedPointNeurons, state: Array, weighted: Array, noise: Array) -> Array:
    """The equations of `FixedPointNeurons`: the current wraps once at 24 bits, the voltage saturates."""
    shifted = weighted << VOLTAGE_UNIT_BITS
    current_units = np.where(shifted > STATE_LIMIT, shifted - 2 * STATE_LIMIT, shifted)
    current_units = np.where(shifted <= -STATE_LIMIT, shifted + 2 * STATE_LIMIT, current_units)
    product = state * (DECAY_ONE - neurons.voltage_decay)
    decayed = np.sign(product) * (np.abs(product) // DECAY_ONE)
    potential = decayed + current_units + neurons.bias + noise
    return np.asarray(np.clip(potential, -(STATE_LIMIT - 1), STATE_LIMIT - 1))


def _integrate_float(neurons: FloatNeurons, scale: float, state: Array, weighted: Array, noise: Array) -> Array:
    """u[t] = decay * u[t-1] + ((scale * a[t] + bias) + noise), in this order of rounding."""
    return neurons.decay * state + ((scale * weighted.astype(np.float64) + neurons.bias) + noise)


def _in_register(program: Program, synapses: Synapses, sums: Array) -> Array:
    """Lava's Conv wraps its sums to two's complement of 24 bits; its Dense does not."""
    if program.fixed_point and isinstance(synapses, ConvSynapses):
        return (sums + STATE_LIMIT) % (2 * STATE_LIMIT) - STATE_LIMIT
    return sums


def current(synapses: Synapses, source: Array) -> Array:
    """The integer sums that synapses bring for one step.

    Args:
        source: (B, *shape of the source), integers.

    Returns:
        (B, *shape of the target), int64.
    """
    if synapses.pool > 1:
        batch, channels, height, width = source.shape
        p = synapses.pool
        source = source.reshape(batch, channels, height // p, p, width // p, p).sum(axis=(3, 5))
    if isinstance(synapses, ConvSynapses):
        return _convolve(synapses, source)
    return source.reshape(len(source), -1) @ synapses.weight.T


def _convolve(synapses: ConvSynapses, source: Array) -> Array:
    """Cross-correlation, one kernel tap at a time."""
    weight, groups = synapses.weight, synapses.groups
    (down, right), (high, wide) = synapses.stride, synapses.padding
    padded = np.pad(source, ((0, 0), (0, 0), (high, high), (wide, wide)))
    out_channels = weight.shape[0]
    height = (padded.shape[2] - synapses.dilation[0] * (weight.shape[2] - 1) - 1) // down + 1
    width = (padded.shape[3] - synapses.dilation[1] * (weight.shape[3] - 1) - 1) // right + 1
    result = np.zeros((len(source), out_channels, height, width), dtype=np.int64)
    per_group = out_channels // groups
    for group in range(groups):
        outputs = slice(group * per_group, (group + 1) * per_group)
        inputs = slice(group * weight.shape[1], (group + 1) * weight.shape[1])
        for row in range(weight.shape[2]):
            for column in range(weight.shape[3]):
                top, left = row * synapses.dilation[0], column * synapses.dilation[1]
                window = padded[:, inputs, top : top + down * height : down, left : left + right * width : right]
                window = window[:, :, :height, :width]
                taps = weight[outputs, :, row, column]
                result[:, outputs] += np.einsum("oc,bchw->bohw", taps, window)
    return result
