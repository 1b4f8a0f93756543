"""The reference simulator: slow, obvious NumPy. It is the meaning of a Program; every other simulator is held to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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
from neurodeploy.ir.synapses import ConvSynapses, Synapses, longest_delay
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
    spikes: dict[str, list[Array]] = {layer.name: [] for layer in program.layers if layer.fires}
    potentials: dict[str, list[Array]] = {layer.name: [] for layer in program.layers}
    for state, output in steps(program, inputs, noise, first_sample):
        for layer in program.layers:
            potentials[layer.name].append(state[layer.name].potential)
            if layer.fires:
                spikes[layer.name].append(output[layer.name].astype(np.uint8))
    last = program.layers[-1]
    kind = np.int64 if program.fixed_point else np.float64
    readout: Array = np.zeros_like(potentials[last.name][0])
    for summand in spikes[last.name] if last.fires else potentials[last.name]:
        readout = readout + summand
    if noise is not None:
        readout = noise.readout(readout, first_sample).astype(kind)
    return Recording(
        {name: np.stack(values) for name, values in spikes.items()},
        {name: np.stack(values) for name, values in potentials.items()},
        readout,
    )


def steps(
    program: Program, inputs: Array, noise: DynamicNoise | None = None, first_sample: int = 0
) -> Iterator[tuple[Mapping[str, State], Mapping[str, Array]]]:
    """After every step (layer -> its neurons' state, source -> what it puts out); arguments and errors as `run`."""
    batch, static = check_inputs(program, inputs)
    kind = np.int64 if program.fixed_point else np.float64
    state = {layer.name: State.zeros((batch, *layer.shape), kind) for layer in program.layers}
    silence = {name: np.zeros((batch, *shape), dtype=np.int64) for name, shape in program.shapes.items()}
    oldest = max(longest_delay(one) for layer in program.layers for one in layer.synapses)
    past: list[dict[str, Array]] = [silence] * (oldest + 1)  # past[d]: the outputs of d steps before
    late: dict[str, Array | None] = {}  # spikes that arrive a step later
    for step in range(program.steps):
        output = {INPUT: (inputs if static else inputs[step]).astype(np.int64)}
        past = [output, *past[:-1]]
        for layer in program.layers:
            weighted = weighted_inputs(program, layer, past)
            where = (layer.name, layer.shape, step, first_sample, batch)
            added = None if noise is None else noise.current(*where)
            on_input = np.zeros((), dtype=kind) if added is None else added.astype(kind)
            state[layer.name], fired = update(layer, state[layer.name], weighted, on_input)
            masks = None if noise is None else noise.masks(*where)
            arrived, late[layer.name] = transmitted(fired.astype(bool), masks, late.get(layer.name))
            output[layer.name] = arrived.astype(np.int64)
        yield dict(state), output


class State(NamedTuple):
    """What a layer's neurons remember, each (B, *shape).

    Attributes:
        current: u of fixed-point neurons, i of floating-point ones.
        potential: v of fixed-point neurons, u of floating-point ones, after the reset.
    """

    current: Array
    potential: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...], kind: type) -> State:
        """Neurons at rest."""
        return cls(np.zeros(shape, dtype=kind), np.zeros(shape, dtype=kind))


def update(layer: Layer, state: State, weighted: Array, noise: Array) -> tuple[State, Array]:
    """(state after reset, spikes) of one step, from the state before and the integer sum of weighted inputs."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        current, potential = _integrate_fixed_point(neurons, state, weighted, noise)
        fired = potential > (neurons.threshold << VOLTAGE_UNIT_BITS)
        remainder: Array = np.zeros((), dtype=np.int64)
    else:
        current, potential = _integrate_float(neurons, layer.scale, state, weighted, noise)
        fired = potential >= neurons.threshold if neurons.fires_at_threshold else potential > neurons.threshold
        remainder = potential - neurons.threshold if neurons.reset == "subtract" else np.zeros(())
    if not layer.fires:
        fired = np.zeros_like(fired)
    return State(current, np.where(fired, remainder, potential)), fired.astype(np.int64)


def _integrate_fixed_point(
    neurons: FixedPointNeurons, state: State, weighted: Array, noise: Array
) -> tuple[Array, Array]:
    """(current, potential before the reset): the current wraps once at 24 bits, the voltage saturates."""
    summed = _decayed(state.current, neurons.current_decay) + (weighted << VOLTAGE_UNIT_BITS)
    current_units = np.where(summed > STATE_LIMIT, summed - 2 * STATE_LIMIT, summed)
    current_units = np.where(summed <= -STATE_LIMIT, summed + 2 * STATE_LIMIT, current_units)
    potential = _decayed(state.potential, neurons.voltage_decay) + current_units + neurons.bias + noise
    return current_units, np.asarray(np.clip(potential, -(STATE_LIMIT - 1), STATE_LIMIT - 1))


def _decayed(values: Array, decay: Array) -> Array:
    """trunc(values * (4096 - decay) / 4096), toward zero."""
    product = values * (DECAY_ONE - decay)
    return np.asarray(np.sign(product) * (np.abs(product) // DECAY_ONE))


def _integrate_float(
    neurons: FloatNeurons, scale: float, state: State, weighted: Array, noise: Array
) -> tuple[Array, Array]:
    """(current, potential before the reset), rounded in the order that `FloatNeurons` states."""
    current_units = neurons.current_decay * state.current + scale * weighted.astype(np.float64)
    return current_units, neurons.decay * state.potential + ((current_units + neurons.bias) + noise)


def weighted_inputs(program: Program, layer: Layer, past: Sequence[Mapping[str, Array]]) -> Array:
    """The integer sum a[t] of a layer's weighted inputs; past[d] holds what every source put out d steps before."""
    return np.asarray(sum(_in_register(program, one, _arriving(one, past)) for one in layer.synapses))


def _in_register(program: Program, synapses: Synapses, sums: Array) -> Array:
    """Lava's Conv wraps its sums to two's complement of 24 bits; its Dense does not."""
    if program.fixed_point and isinstance(synapses, ConvSynapses):
        return (sums + STATE_LIMIT) % (2 * STATE_LIMIT) - STATE_LIMIT
    return sums


def _arriving(synapses: Synapses, past: Sequence[Mapping[str, Array]]) -> Array:
    """The integer sums that synapses bring now, each from its own delay ago."""
    if isinstance(synapses, ConvSynapses) or synapses.delays is None:
        return current(synapses, past[synapses.delay][synapses.source])
    brought = [
        current(replace(synapses, weight=weight, delays=None), past[synapses.delay + extra][synapses.source])
        for extra, weight in synapses.by_delay()
    ]
    return np.asarray(sum(brought))


def current(synapses: Synapses, source: Array) -> Array:
    """The integer sums that synapses of one delay bring for one step.

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
    if synapses.delays is not None:
        raise ValueError(f"{synapses.name}: the current of synapses with different delays needs more than one step")
    sums = source.reshape(len(source), -1) @ synapses.weight.T
    exponent = synapses.weight_exponent
    return np.asarray(sums << exponent if exponent > 0 else sums >> -exponent)


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
