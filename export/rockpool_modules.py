"""Rockpool modules that compute a Program. Imports rockpool, so it is imported only where a Program is run.

Rockpool's order within a step is V *= exp(-dt / tau_mem); V += input; V += bias; s = spike_generation_fn(V);
V -= s * threshold. A Program rounds scale * a + bias first, so the bias is added before the neurons and theirs is 0.
Tensors are (B, T, neurons), as in Rockpool, and float64: its constructors cast parameters to float32, so that their
values are set again afterwards, and its states and records take torch's default type.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rockpool.nn.combinators.sequential import TorchSequential
from rockpool.nn.modules.torch import LIFNeuronTorch, LIFTorch, LinearTorch, TorchModule
from scipy import sparse

from neurodeploy.export.rockpool import unroll
from neurodeploy.export.rockpool_json import TIME_STEP, membrane_time_constants
from neurodeploy.export.rockpool_neurons import AddTorch, DecayNeurons, SparseTorch, SpikesTorch, spike_function
from neurodeploy.ir.arrays import FloatArray, Shape
from neurodeploy.ir.program import INPUT, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses, Synapses, longest_delay
from neurodeploy.simulate.recording import Recording, check_inputs

_CHUNK_VALUES = 2**22  # steps × neurons of the widest layer × samples at a time: 32 MB a tensor
_BLOCK = 512  # neurons of one LIFTorch, which is built with a dense recurrent matrix, of zeros where it has none
_LARGEST = torch.finfo(torch.float64).max


def run(program: Program, inputs: NDArray[Any], family: bool) -> Recording:
    """Runs a program that has no `violations`.

    Args:
        inputs: integers, (B, *shape) or (T, B, *shape).
        family: True for Rockpool's own spike function and subtractive reset, False for the program's.
    """
    batch, static = check_inputs(program, inputs)
    steps = program.steps
    shown = np.broadcast_to(inputs, (steps, *inputs.shape)) if static else inputs
    widest = max(int(np.prod(shape)) for shape in program.shapes.values())
    count = max(1, _CHUNK_VALUES // (widest * steps))
    chunks: list[dict[str, tuple[NDArray[Any], NDArray[Any]]]] = []
    # Rockpool draws its membrane noise from torch's generator even where the noise is 0.
    with double_precision(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        network = _Network(program, family)
        for first in range(0, batch, count):
            part = shown[:, first : first + count]
            raster = torch.from_numpy(part.reshape(*part.shape[:2], -1).swapaxes(0, 1).astype(np.float64, order="C"))
            chunks.append(network.run(raster))
    spikes, potentials = {}, {}
    for layer in program.layers:
        if layer.fires:
            spikes[layer.name] = np.concatenate([chunk[layer.name][0] for chunk in chunks], axis=1)
        potentials[layer.name] = np.concatenate([chunk[layer.name][1] for chunk in chunks], axis=1)
    last = program.layers[-1]
    readout = np.zeros((batch, *last.shape))
    for step in (spikes if last.fires else potentials)[last.name]:
        readout = readout + step  # one step after the other, as the reference rounds
    return Recording(spikes, potentials, readout)


class _Network:
    """One Rockpool module per layer. A chain is one Sequential that runs over all steps; in any other graph the modules
    run in topological order one step at a time, and potentials are handed from step to step.
    """

    def __init__(self, program: Program, family: bool) -> None:
        self.layers = program.layers
        self.modules = [layer_module(layer, program.shapes, family) for layer in program.layers]
        sources = [INPUT, *(layer.name for layer in program.layers)]
        chain = all(
            [(one.source, longest_delay(one)) for one in layer.synapses] == [(before, 0)]
            for before, layer in zip(sources, program.layers, strict=False)
        )
        stacked = OrderedDict(zip(self._names(), self.modules, strict=True))
        self.sequential = TorchSequential(stacked) if chain else None

    def run(self, raster: torch.Tensor) -> dict[str, tuple[NDArray[np.uint8], FloatArray]]:
        """layer -> spikes and potentials, each (T, B, *shape), for an input (B, T, values)."""
        if self.sequential is not None:
            self.sequential.reset_state()  # Rockpool goes on from where the first sample of the last call ended
            _, _, record = self.sequential(raster, record=True)
            outputs = [record[f"{name}_output"] for name in self._names()]
            potentials = [record[name]["neurons"]["vmem"] for name in self._names()]
        else:
            outputs, potentials = self._step_by_step(raster)
        return {
            layer.name: (_time_first((output > 0).byte(), layer.shape), _time_first(potential, layer.shape))
            for layer, output, potential in zip(self.layers, outputs, potentials, strict=True)
        }

    def _step_by_step(self, raster: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Outputs and potentials per layer, (B, T, n)."""
        outputs: list[list[torch.Tensor]] = [[] for _ in self.layers]
        potentials: list[list[torch.Tensor]] = [[] for _ in self.layers]
        silent = {layer.name: raster.new_zeros(len(raster), 1, int(np.prod(layer.shape))) for layer in self.layers}
        kept = {name: values[:, 0] for name, values in silent.items()}
        currents = dict(kept)
        silent[INPUT] = torch.zeros_like(raster[:, :1])
        longest = max(longest_delay(one) for layer in self.layers for one in layer.synapses)
        past = deque([silent] * (longest + 1), maxlen=longest + 1)  # past[d]: what was put out d steps before
        for step in range(raster.shape[1]):
            now = past[0] | {INPUT: raster[:, step : step + 1]}
            past.appendleft(now)
            for index, (layer, module) in enumerate(zip(self.layers, self.modules, strict=True)):
                arriving = [past[delay][one.source] for one in layer.synapses for delay, _ in delayed_weights(one)]
                _resume(module["neurons"], kept[layer.name], currents[layer.name])
                now[layer.name], _, record = module(torch.cat(arriving, dim=2), record=True)
                kept[layer.name] = record["neurons"]["vmem"][:, 0]
                currents[layer.name] = record["neurons"].get("isyn", currents[layer.name][:, None])[:, 0]
                outputs[index].append(now[layer.name])
                potentials[index].append(kept[layer.name][:, None])
        return [torch.cat(parts, dim=1) for parts in outputs], [torch.cat(parts, dim=1) for parts in potentials]

    def _names(self) -> list[str]:
        """Names of modules; a layer's own name might be one that torch modules have already."""
        return [f"layer_{index}" for index in range(len(self.layers))]


def _resume(neurons: TorchModule, potentials: torch.Tensor, currents: torch.Tensor) -> None:
    """Gives neurons the states (B, n) to go on from, as if no step had been before; Rockpool keeps one sample's."""
    if isinstance(neurons, DecayNeurons):
        neurons.resume(potentials, currents if neurons.remembers else None)
        return
    neurons.reset_state()
    neurons.vmem.data = potentials


def delayed_weights(synapses: Synapses) -> list[tuple[int, NDArray[Any]]]:
    """(delay, weights that have it) of synapses; of a convolution all weights have the same."""
    if isinstance(synapses, DenseSynapses):
        return [(synapses.delay + further, weight) for further, weight in synapses.by_delay()]
    return [(synapses.delay, synapses.weight)]


def layer_module(layer: Layer, shapes: Mapping[str, Shape], family: bool) -> TorchModule:
    """A layer as a Sequential; its input is the outputs of its synapses' sources side by side."""
    neurons = layer.neurons
    assert isinstance(neurons, FloatNeurons)  # programs with others have violations
    size = int(np.prod(layer.shape))
    resets_to_zero = neurons.reset == "zero" and not family
    limit = neurons.threshold if layer.fires else np.array(np.inf)
    threshold = _per_neuron(np.minimum(limit, _LARGEST), size)  # 0 spikes × infinity would be NaN
    decay, bias = _per_neuron(neurons.decay, size), _per_neuron(neurons.bias, size)
    current_decay, remembers = _per_neuron(neurons.current_decay, size), bool(neurons.current_decay.any())

    def firing(part: slice) -> dict[str, Any]:
        own = spike_function(threshold[part], resets_to_zero, neurons.fires_at_threshold)
        return {
            "threshold": torch.ones(()) if resets_to_zero else threshold[part],
            "max_spikes_per_dt": torch.ones(()),
            "dt": TIME_STEP,
        } | ({} if family else {"spike_generation_fn": own})

    parts: OrderedDict[str, TorchModule] = OrderedDict(weights=_weights(layer, shapes))
    constants = None if remembers else membrane_time_constants(neurons.decay)
    if constants is not None:
        tau_mem = torch.from_numpy(constants.reshape(-1 if constants.ndim else ()).copy())
        parts["bias"] = AddTorch(bias)
        parts["neurons"] = _exact(LIFNeuronTorch, (size,), tau_mem=tau_mem, **firing(slice(None)))
    else:
        blocks = []
        for first in range(0, size, _BLOCK):
            part = slice(first, min(first + _BLOCK, size))
            count, synapses = part.stop - first, 3 if remembers else 2
            beta = torch.ones(count, synapses)
            if remembers:
                beta[:, 0] = current_decay[part]
            leak = {"leak_mode": "decays", "alpha": decay[part], "beta": beta}
            blocks.append(_exact(LIFTorch, (synapses * count, count), **leak, **firing(part)))
            del blocks[-1].w_rec  # else every step multiplies the spikes with these zeros
        parts["neurons"] = DecayNeurons(blocks, bias)
    if resets_to_zero:
        parts["spikes"] = SpikesTorch(size)
    return TorchSequential(parts)


def _exact(kind: Callable[..., TorchModule], shape: tuple[int, ...], **settings: Any) -> TorchModule:
    """kind(shape, **settings) with its parameters in float64 again."""
    module = kind(shape, **settings)
    for name in settings.keys() & {"tau_mem", "alpha", "beta", "threshold"}:
        getattr(module, name).data = settings[name]
    return module


def _weights(layer: Layer, shapes: Mapping[str, Shape]) -> TorchModule:
    """The weights of all synapses of a layer side by side, in the unit of potential."""
    dense, unrolled = [], []
    for synapses in layer.synapses:
        source = shapes[synapses.source]
        if isinstance(synapses, DenseSynapses):
            written_out = synapses.expanded(source)
            dense += [weight * layer.scale for _, weight in delayed_weights(written_out)]
        else:
            unrolled.append(unroll(synapses, source) * layer.scale)
    if unrolled:  # then all are: convolutions bring (C, H, W) and dense synapses (n,)
        return SparseTorch(sparse.csr_array(sparse.hstack(unrolled, format="csr")))
    weight = torch.from_numpy(np.hstack(dense).T.copy())
    module = LinearTorch(shape=tuple(weight.shape), weight=weight)
    module.weight.data = weight
    return module


def _per_neuron(values: FloatArray, size: int) -> torch.Tensor:
    return torch.from_numpy(np.broadcast_to(values, (size,) if values.ndim == 0 else values.shape).reshape(-1).copy())


def _time_first(values: torch.Tensor, shape: Shape) -> NDArray[Any]:
    """(B, T, n) -> (T, B, *shape)."""
    array = values.transpose(0, 1).contiguous().numpy()
    return array.reshape(*array.shape[:2], *shape)


@contextmanager
def double_precision() -> Iterator[None]:
    """Rockpool's states and records take torch's default type: double, and afterwards what it was."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
