"""Rockpool modules that compute a Program. Imports rockpool, so it is imported only where a Program is run.

Rockpool's order within a step is V *= exp(-dt / tau_mem); V += input; V += bias; s = spike_generation_fn(V);
V -= s * threshold. A Program rounds scale * a + bias first, so the bias is added before the neurons and theirs is 0.
Tensors are (B, T, neurons), as in Rockpool, and float64: its constructors cast parameters to float32, so that their
values are set again afterwards, and its states and records take torch's default type.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rockpool.nn.combinators.sequential import TorchSequential
from rockpool.nn.modules.torch import LIFNeuronTorch, LIFTorch, LinearTorch, TorchModule
from scipy import sparse

from neurodeploy.export.rockpool import TIME_STEP, membrane_time_constants, unroll
from neurodeploy.ir.arrays import FloatArray, Shape
from neurodeploy.ir.program import INPUT, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
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
    with _double_precision(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        network = _Network(program, family)
        for first in range(0, batch, count):
            part = shown[:, first : first + count]
            raster = torch.from_numpy(np.ascontiguousarray(part.reshape(*part.shape[:2], -1).swapaxes(0, 1))).double()
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
            [(one.source, one.delay) for one in layer.synapses] == [(before, 0)]
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
        now = {layer.name: raster.new_zeros(len(raster), 1, int(np.prod(layer.shape))) for layer in self.layers}
        kept = {name: values[:, 0] for name, values in now.items()}
        now[INPUT] = torch.zeros_like(raster[:, :1])
        for step in range(raster.shape[1]):
            before, now = now, now | {INPUT: raster[:, step : step + 1]}
            for index, (layer, module) in enumerate(zip(self.layers, self.modules, strict=True)):
                arriving = [(before if synapses.delay else now)[synapses.source] for synapses in layer.synapses]
                _resume(module["neurons"], kept[layer.name])
                now[layer.name], _, record = module(torch.cat(arriving, dim=2), record=True)
                kept[layer.name] = record["neurons"]["vmem"][:, 0]
                outputs[index].append(now[layer.name])
                potentials[index].append(kept[layer.name][:, None])
        return [torch.cat(parts, dim=1) for parts in outputs], [torch.cat(parts, dim=1) for parts in potentials]

    def _names(self) -> list[str]:
        """Names of modules; a layer's own name might be one that torch modules have already."""
        return [f"layer_{index}" for index in range(len(self.layers))]


def _resume(neurons: TorchModule, potentials: torch.Tensor) -> None:
    """Gives neurons the potentials (B, n) to go on from, as if no step had been before; Rockpool keeps one sample's."""
    blocks = neurons.blocks() if isinstance(neurons, DecayNeurons) else [neurons]
    first = 0
    for block in blocks:
        block.reset_state()
        block.vmem.data = potentials[:, first : first + block.size_out]
        first += block.size_out


def layer_module(layer: Layer, shapes: Mapping[str, Shape], family: bool) -> TorchModule:
    """A layer as a Sequential; its input is the outputs of its synapses' sources side by side."""
    neurons = layer.neurons
    assert isinstance(neurons, FloatNeurons)  # programs with others have violations
    size = int(np.prod(layer.shape))
    resets_to_zero = neurons.reset == "zero" and not family
    limit = neurons.threshold if layer.fires else np.array(np.inf)
    threshold = _per_neuron(np.minimum(limit, _LARGEST), size)  # 0 spikes × infinity would be NaN
    decay, bias = _per_neuron(neurons.decay, size), _per_neuron(neurons.bias, size)

    def firing(part: slice) -> dict[str, Any]:
        own = spike_function(threshold[part], resets_to_zero, neurons.fires_at_threshold)
        return {
            "threshold": torch.ones(()) if resets_to_zero else threshold[part],
            "max_spikes_per_dt": torch.ones(()),
            "dt": TIME_STEP,
        } | ({} if family else {"spike_generation_fn": own})

    parts: OrderedDict[str, TorchModule] = OrderedDict(weights=_weights(layer, shapes))
    constants = membrane_time_constants(neurons.decay)
    if constants is not None:
        tau_mem = torch.from_numpy(constants.reshape(-1 if constants.ndim else ()).copy())
        parts["bias"] = AddTorch(bias)
        parts["neurons"] = _exact(LIFNeuronTorch, (size,), tau_mem=tau_mem, **firing(slice(None)))
    else:
        blocks = []
        for first in range(0, size, _BLOCK):
            part = slice(first, min(first + _BLOCK, size))
            leak = {"leak_mode": "decays", "alpha": decay[part], "beta": torch.ones(())}
            count = part.stop - first
            blocks.append(_exact(LIFTorch, (2 * count, count), **leak, **firing(part)))
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


def spike_function(threshold: torch.Tensor, resets_to_zero: bool, at_threshold: bool) -> type[torch.autograd.Function]:
    """The `spike_generation_fn` that makes V -= s * module.threshold a program's reset; for simulation, no gradient.

    To subtract, s is 1 where a neuron fires, however far V is above the threshold. To reset to zero, s is V itself and
    the module's threshold is 1: V - V is exactly 0, (V / threshold) * threshold is not always V.

    Args:
        threshold: per neuron.
        at_threshold: True where V == threshold fires.
    """

    class Fires(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, potential: torch.Tensor, *unused: Any) -> torch.Tensor:
            fired = potential >= threshold if at_threshold else potential > threshold
            if not resets_to_zero:
                return fired.to(potential.dtype)
            # A neuron that fires at 0 (its threshold is 0) is told from a silent one by the sign of its zero.
            return torch.where(fired, torch.where(potential == 0, -0.0, potential), 0.0)

    return Fires


class SpikesTorch(TorchModule):  # type: ignore[misc]
    """The potentials at which neurons fired -> spikes, 0 or 1."""

    def __init__(self, size: int) -> None:
        super().__init__(shape=(size, size), spiking_input=True, spiking_output=True)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """(B, T, n) -> (B, T, n)."""
        return ((data > 0) | torch.signbit(data)).to(data.dtype)


class AddTorch(TorchModule):  # type: ignore[misc]
    """y = x + bias, a rounding of its own (a matrix product may round its bias first)."""

    def __init__(self, bias: torch.Tensor) -> None:
        super().__init__(shape=(len(bias), len(bias)))
        self.values = bias

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """(B, T, n) -> (B, T, n)."""
        return data + self.values


class SparseTorch(TorchModule):  # type: ignore[misc]
    """y = weight x with a sparse weight, (outputs, inputs): unrolled convolutions and pooling."""

    def __init__(self, weight: sparse.csr_array) -> None:
        outputs, inputs = weight.shape
        super().__init__(shape=(inputs, outputs))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
            starts, places, values = map(torch.from_numpy, (weight.indptr, weight.indices, weight.data))
            self.values = torch.sparse_csr_tensor(starts, places, values, weight.shape, check_invariants=True)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """(B, T, inputs) -> (B, T, outputs)."""
        columns = data.flatten(0, 1).T.contiguous()
        product: torch.Tensor = torch.sparse.mm(self.values, columns)
        return product.T.reshape(*data.shape[:2], -1)


class DecayNeurons(TorchModule):  # type: ignore[misc]
    """Neurons with decays that no tau_mem gives: LIFTorch in its leak mode "decays", a block of neurons at a time.

    LIFTorch has synaptic currents, which a Program has not. With beta = 1 a current keeps its sum, so that it is given
    the changes of the input: exact, because inputs are integers times a power of two. A second synapse per neuron keeps
    the bias from the first step on.
    """

    def __init__(self, blocks: Sequence[TorchModule], bias: torch.Tensor) -> None:
        super().__init__(shape=(len(bias), len(bias)), spiking_input=False, spiking_output=True)
        self.constant = bias
        self.count = len(blocks)
        for index, block in enumerate(blocks):
            setattr(self, f"block_{index}", block)

    def blocks(self) -> list[TorchModule]:
        """The LIFTorch modules, in the order of the neurons."""
        return [getattr(self, f"block_{index}") for index in range(self.count)]

    def evolve(self, data: torch.Tensor, record: bool = False) -> tuple[torch.Tensor, Any, dict[str, torch.Tensor]]:
        """(B, T, n) -> spikes (B, T, n), states, record of `vmem` (B, T, n)."""
        changes = torch.diff(data, dim=1, prepend=torch.zeros_like(data[:, :1]))
        constant = torch.zeros_like(data)
        constant[:, 0] = self.constant
        both = torch.stack([changes, constant], dim=3)
        outputs, potentials, first = [], [], 0
        for block in self.blocks():
            output, _, recorded = block(both[:, :, first : first + block.size_out].flatten(2), record=True)
            outputs.append(output)
            potentials.append(recorded["vmem"])
            first += block.size_out
        return torch.cat(outputs, dim=2), self.state(), {"vmem": torch.cat(potentials, dim=2)} if record else {}


def _weights(layer: Layer, shapes: Mapping[str, Shape]) -> TorchModule:
    """The weights of all synapses of a layer side by side, in the unit of potential."""
    dense, unrolled = [], []
    for synapses in layer.synapses:
        source = shapes[synapses.source]
        if isinstance(synapses, DenseSynapses):
            dense.append(synapses.expanded(source).weight * layer.scale)
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
def _double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
