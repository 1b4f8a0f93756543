"""What reaches a network's tables from outside: sums that chips share, and a chip's noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.hw_models.dynamic_noise import DynamicNoise
from neurodeploy.hw_models.random import normal_table, stream_key
from neurodeploy.ir.arrays import IntArray, Shape
from neurodeploy.ir.program import INPUT, STATE_LIMIT, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses, largest_sum
from neurodeploy.simulate import noise_kernels
from neurodeploy.simulate.bounds import wraps
from neurodeploy.simulate.spiking_kernels import EXTRA, LATE, LOST, STUCK
from neurodeploy.simulate.spiking_rows import Noise
from neurodeploy.simulate.spiking_tables import Plan, channels_last

_FLOAT32_EXACT = 2.0**24
_MASKS = (("spike_loss", LOST), ("spike_jitter", LATE), ("background_spikes", EXTRA))


def sums(program: Program, synapses: Synapses, frames: NDArray[Any]) -> NDArray[Any]:
    """What synapses bring to (…, *shape of the source), as integers (…, n) in the order of the tables.

    A sum of integers is exact in float32 while it stays below 2^24 and in float64 below 2^53, whatever the order of
    summation; the first is proved from the weights, the second by the Program. Autocast, a thread's
    own, is off here; PyTorch's precision, which is global, the engine holds for all threads (`exact_arithmetic`).
    """
    lead = frames.shape[: frames.ndim - len(program.shapes[synapses.source])]
    highest = 2**program.input.bits - 1 if synapses.source == INPUT else 1
    kind = torch.float32 if largest_sum(synapses, highest) < _FLOAT32_EXACT else torch.float64
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        source = torch.from_numpy(np.ascontiguousarray(frames)).to(kind).flatten(0, len(lead) - 1)
        weight = torch.from_numpy(synapses.weight.copy()).to(kind)
        if synapses.pool > 1:
            source = torch.nn.functional.avg_pool2d(source, synapses.pool, divisor_override=1)
        if isinstance(synapses, ConvSynapses):
            geometry = synapses.stride, synapses.padding, synapses.dilation, synapses.groups
            found = torch.nn.functional.conv2d(source, weight, None, *geometry).permute(0, 2, 3, 1)
        else:
            found = source.flatten(1) @ weight.T
    return transformed(program, synapses, found.reshape(*lead, -1).to(torch.int64).numpy())


def transformed(program: Program, synapses: Synapses, total: NDArray[Any]) -> NDArray[Any]:
    """Sums as they join others: wrapped as Lava's Conv wraps them, or shifted by the weight exponent."""
    if wraps(program, synapses):
        return (total.astype(np.int64) + STATE_LIMIT) % (2 * STATE_LIMIT) - STATE_LIMIT
    exponent = 0 if isinstance(synapses, ConvSynapses) else synapses.weight_exponent
    if exponent == 0:
        return total
    wide = total.astype(np.int64)
    return wide << exponent if exponent > 0 else wide >> -exponent


def noise(plan: Plan, chips: Sequence[DynamicNoise | None], steps: int, first: int, count: int) -> Noise:
    """What the noise of chips that run side by side adds to potentials.

    Normal numbers that are fresh at every step are drawn where they are used. Noise that has a past is drawn here, of
    one chip alone, together with the others.
    """
    none = np.zeros(0)
    still = Noise(none, np.zeros(0, dtype=np.uint64), none, _orders(plan), normal_table(), first, 0)
    noisy = [one for one in chips if one is not None and one.deviations]
    if not noisy:
        return still
    if noisy[0].slow:
        return still._replace(added=_added(plan, noisy[0], steps, first, count).reshape(-1))
    streams = [[one.normals(layer.name, 0) if one else [] for layer in plan.layers] for one in chips]
    kinds = max(len(found) for layers in streams for found in layers)
    deviations = np.zeros((len(chips), len(plan.layers), kinds))
    keys = np.zeros((*deviations.shape, steps, 2), dtype=np.uint64)
    for chip, one in enumerate(chips):
        for number, layer in enumerate(plan.layers):
            for step in range(steps if one else 0):
                for kind, (deviation, name) in enumerate(one.normals(layer.name, step) if one else []):
                    deviations[chip, number, kind] = deviation
                    keys[chip, number, kind, step] = stream_key(*name)
    whole = int(noisy[0].whole)
    return still._replace(keys=keys.reshape(-1), deviations=deviations.reshape(-1), whole=whole)


def _added(plan: Plan, noise: DynamicNoise, steps: int, first: int, count: int) -> NDArray[np.float64]:
    """(count, steps, neurons) what a chip's noise adds to potentials."""
    total = np.zeros((count, steps, plan.neurons))
    for layer in plan.layers:
        size = int(np.prod(layer.shape))
        low, order = plan.place[layer.name], _order(layer.shape)
        for step in range(steps):
            here = total[:, step, low : low + size]
            for deviation, name in noise.normals(layer.name, step):
                noise_kernels.add_normals(stream_key(*name), first, size, normal_table(), deviation, order, here)
            slow = noise.flicker(layer.name, layer.shape, step, first, count)
            if slow is not None:
                here += channels_last(slow, layer.shape)
            if noise.whole:
                np.rint(here, out=here)
    return total


def masks(plan: Plan, noise: DynamicNoise | None, steps: int, first: int, count: int) -> NDArray[np.uint8]:
    """(count, steps, neurons) what becomes of a chip's spikes, as bits; no columns where they all arrive as fired."""
    hit = [layer for layer in plan.layers if noise and (layer.name in noise.probabilities or layer.name in noise.stuck)]
    if noise is None or not hit:
        return np.zeros((count, steps, 0), dtype=np.uint8)
    total = np.zeros((count, steps, plan.neurons), dtype=np.uint8)
    for layer in hit:
        size = int(np.prod(layer.shape))
        low, order = plan.place[layer.name], _order(layer.shape)
        if layer.name in noise.stuck:
            total[:, :, low : low + size] |= np.uint8(STUCK) * channels_last(noise.stuck[layer.name], layer.shape)
        for step in range(steps):
            chances = noise.chances(layer.name, step)
            for what, bit in _MASKS:
                if what in chances:
                    bound, name = chances[what]
                    here = total[:, step, low : low + size]
                    noise_kernels.mark_below(stream_key(*name), first, size, bound, np.uint8(bit), order, here)
    return total


def _orders(plan: Plan) -> IntArray:
    """Where each neuron of a layer stands among those of its layer, layer after layer."""
    found = np.zeros(plan.neurons, dtype=np.int64)
    for layer in plan.layers:
        low = plan.place[layer.name]
        found[low : low + int(np.prod(layer.shape))] = _order(layer.shape)
    return found


@lru_cache(maxsize=256)
def _order(shape: Shape) -> IntArray:
    """Where each neuron of a layer stands in the tables."""
    order = np.empty(int(np.prod(shape)), dtype=np.int64)
    order[channels_last(np.arange(order.size).reshape(shape), shape)] = np.arange(order.size)
    order.setflags(write=False)
    return order
