"""The engine in torch, for GPUs: many chips × many samples in one pass, equal to the reference bit for bit.

Weights, states and noise are made and kept on the device; inputs go to it and readouts and counts come back. How many
chips and samples run at once is a matter of memory alone, and changes no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import NeurodeployError
from neurodeploy.hw_models.dynamic_noise import FLICKER_ROWS, DynamicNoise, transmitted
from neurodeploy.ir.program import INPUT, Program
from neurodeploy.ir.synapses import ConvSynapses, longest_delay
from neurodeploy.simulate.recording import Counts, Recording, check_inputs
from neurodeploy.simulate.torch_device import exact_arithmetic, find_device
from neurodeploy.simulate.torch_layers import StackedLayer, State
from neurodeploy.simulate.torch_noise import StackedNoise

_CHUNK_BYTES = 2**26  # of what is held at once where the memory is not a GPU's own
_FEW_SAMPLES = 32  # up to these, chips go before samples: what they share is computed once for all that run together
_WORD = 8  # bytes of a state, a sum, a noise
_TEMPORARIES = 6  # words per neuron of a layer while it is computed
_DRAWING = 40  # bytes per neuron of a layer while its noise is drawn

Watch = Callable[[int, str, State, torch.Tensor | None], None]  # step, layer, its state, its spikes
Found = TypeVar("Found")


def run(
    program: Program,
    inputs: NDArray[Any],
    noise: DynamicNoise | None = None,
    first_sample: int = 0,
    device: str = "cpu",
    potentials: bool = True,
) -> Recording:
    """As `engine.run`."""
    batch, static = check_inputs(program, inputs)
    where = find_device(device)
    firing = [layer for layer in program.layers if layer.fires]
    kind = np.int64 if program.fixed_point else np.float64
    lead = (program.steps, batch)
    spikes = {layer.name: np.zeros((*lead, *layer.shape), dtype=np.uint8) for layer in firing}
    probed = program.layers if potentials else ()
    probes = {layer.name: np.zeros((*lead, *layer.shape), dtype=kind) for layer in probed}

    def recorded(budget: int) -> NDArray[Any]:
        stack = _Stack([program], where)
        readouts = []
        for part in _parts(batch, _at_once(program, [noise], budget, batch)[1]):

            def watch(step: int, name: str, state: State, fired: torch.Tensor | None, part: slice = part) -> None:
                if potentials:
                    probes[name][step, part] = state.potential[0].cpu().numpy()
                if fired is not None:
                    spikes[name][step, part] = fired[0].cpu().numpy()

            frames = inputs[part] if static else inputs[:, part]
            readouts.append(stack.run(frames, static, [noise], first_sample + part.start, watch)[0][0])
        return np.concatenate(readouts)

    readout = _within_memory(recorded, where, sum(_bytes(program, [noise])))
    if noise is not None:
        readout = noise.readout(readout, first_sample)
    return Recording(spikes, probes, readout.astype(kind))


def run_chips(
    programs: Sequence[Program],
    inputs: NDArray[Any],
    noise: Sequence[DynamicNoise | None] | None = None,
    device: str = "cpu",
) -> Counts:
    """Many chips on the same samples.

    Args:
        programs: one per chip, the same layers, geometry and delays; weights that are the same object in all, and
            parameters that are equal in all, are held once.
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).
        noise: of every chip in this trial, None where a chip has none.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: for an unknown device, or an input that does not suit the program.
        MissingBackendError: where there is no GPU.
        NeurodeployError: where not even one sample fits the device's memory.
    """
    program = programs[0]
    batch, static = check_inputs(program, inputs)
    where = find_device(device)
    noises = list(noise) if noise is not None else [None] * len(programs)
    kind = np.int64 if program.fixed_point else np.float64

    def counted(budget: int) -> Counts:
        readout = np.zeros((len(programs), batch, *program.layers[-1].shape), dtype=kind)
        counts = {
            layer.name: np.zeros((len(programs), *layer.shape), dtype=np.int64)
            for layer in program.layers
            if layer.fires
        }
        chips_at_once, samples_at_once = _at_once(program, noises, budget, batch)
        for chips in _parts(len(programs), chips_at_once):
            stack = _Stack(programs[chips], where)
            for samples in _parts(batch, samples_at_once):
                frames = inputs[samples] if static else inputs[:, samples]
                readout[chips, samples], fired = stack.run(frames, static, noises[chips], samples.start)
                for name, found in fired.items():
                    counts[name][chips] += found
        return Counts(readout, counts)

    found = _within_memory(counted, where, sum(_bytes(program, noises)))
    for chip, one in enumerate(noises):
        if one is not None:  # by NumPy: a standard deviation depends on the order of adding up
            found.readout[chip] = one.readout(found.readout[chip], 0).astype(kind)
    return found


class _Stack:
    """Programs of several chips side by side on a device."""

    def __init__(self, programs: Sequence[Program], device: torch.device) -> None:
        self.program, self.chips, self.device = programs[0], len(programs), device
        self.layers = [
            StackedLayer([program.layers[number] for program in programs], self.program, device)
            for number in range(len(self.program.layers))
        ]
        self.reach = _reach(self.program)

    def run(
        self,
        inputs: NDArray[Any],
        static: bool,
        noises: Sequence[DynamicNoise | None],
        first_sample: int,
        watch: Watch | None = None,
    ) -> tuple[NDArray[Any], dict[str, NDArray[np.int64]]]:
        """(readout (chips, B, classes) before its own noise, layer -> spike counts (chips, *shape)) of some samples."""
        with exact_arithmetic(self.device):
            frames = torch.from_numpy(inputs.astype(np.uint8)).to(self.device)  # inputs have at most 8 bits
            batch = frames.shape[0 if static else 1]
            noise = StackedNoise(noises, dict(self.program.shapes), first_sample, batch, self.device)
            state = {layer.name: layer.at_rest(batch) for layer in self.layers}
            last = self.layers[-1]
            readout = self._zeros((self.chips, batch, *last.shape), state[last.name].potential.dtype)
            counts = {
                layer.name: self._zeros((self.chips, *layer.shape), torch.int64) for layer in self.layers if layer.fires
            }
            output: dict[tuple[str, int], torch.Tensor] = {}
            steady: dict[str, dict[int, torch.Tensor]] = {layer.name: {} for layer in self.layers}
            late: dict[str, torch.Tensor | None] = {}  # spikes that arrive a step later
            for step in range(self.program.steps):
                self._put_out(output, INPUT, step, (frames if static else frames[step])[None])
                for layer in self.layers:
                    name = layer.name
                    weighted = layer.weighted(output, step, INPUT if static else None, steady[name])
                    state[name], fired = layer.update(state[name], weighted, noise.current(name, step))
                    if fired is not None:
                        fired, late[name] = transmitted(fired, noise.masks(name, step), late.get(name))
                        self._put_out(output, name, step, fired)
                        counts[name] += fired.sum(dim=1)
                    if watch is not None:
                        watch(step, name, state[name], fired)
                    if layer is last:
                        readout += state[name].potential if fired is None else fired
            return readout.cpu().numpy(), {name: found.cpu().numpy() for name, found in counts.items()}

    def _put_out(
        self, output: dict[tuple[str, int], torch.Tensor], source: str, step: int, values: torch.Tensor
    ) -> None:
        """Keeps what a source puts out for as long as synapses may ask for it."""
        output[source, step] = values
        output.pop((source, step - self.reach[source] - 1), None)

    def _zeros(self, shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=kind, device=self.device)


def _reach(program: Program) -> dict[str, int]:
    """source -> the most steps that synapses look back at it."""
    reach = dict.fromkeys(program.shapes, 0)
    for layer in program.layers:
        for one in layer.synapses:
            reach[one.source] = max(reach[one.source], longest_delay(one))
    return reach


def _within_memory(work: Callable[[int], Found], device: torch.device, least: int) -> Found:
    """work(bytes), again with half as many where memory is short; `least` is what one sample on one chip takes."""
    budget = _memory(device)
    while True:
        try:
            return work(budget)
        except torch.cuda.OutOfMemoryError as error:
            if budget <= least:
                raise NeurodeployError(
                    f"device {device}: out of memory with one sample on one chip at a time, which take about "
                    f"{least / 2**20:.0f} MB; free memory on the GPU, or use --device cpu"
                ) from error
            budget //= 2
        torch.cuda.empty_cache()


def _memory(device: torch.device) -> int:
    """Bytes that a run may hold at once: half of what a GPU has free; others may use it, and estimates are rough."""
    if device.type != "cuda":
        return _CHUNK_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for what comes next
    return (free + kept) // 2


def _at_once(program: Program, noises: Sequence[DynamicNoise | None], budget: int, batch: int) -> tuple[int, int]:
    """(chips, samples) that fit into so many bytes; at least one of each."""
    weights, each = _bytes(program, noises)
    chips = max(1, min(len(noises), budget // (weights + each * min(batch, _FEW_SAMPLES))))
    return chips, max(1, min(batch, (budget // chips - weights) // each))


def _bytes(program: Program, noises: Sequence[DynamicNoise | None]) -> tuple[int, int]:
    """(of a chip's weights, of a sample on a chip), as if nothing were shared: an estimate from above of what is held.

    A sample takes what its neurons keep from step to step, and what the greediest layer takes while it is computed.
    """
    reach = _reach(program)
    noisy = any(one is not None for one in noises)
    flicker = any(one is not None and any("flicker" in found for found in one.deviations.values()) for one in noises)
    weights, kept, greediest = 0, program.steps * int(np.prod(program.input.shape)), 0
    for layer in program.layers:
        neurons = int(np.prod(layer.shape))
        kept += neurons * (
            3 * _WORD  # current, potential, what a static input brings
            + reach[layer.name]
            + 2
            + 4 * FLICKER_ROWS * flicker
        )
        windows = 0
        for one in layer.synapses:
            source = int(np.prod(program.shapes[one.source]))
            if isinstance(one, ConvSynapses):
                source += int(np.prod(layer.shape[1:])) * one.weight[0].size * one.groups
                parts = 1
            else:
                parts = 1 if one.delays is None else len(np.unique(one.delays))
            weights += _WORD * parts * one.weight.size
            windows = max(windows, _WORD * (source + neurons))
        greediest = max(greediest, neurons * (_TEMPORARIES * _WORD + _DRAWING * noisy) + windows)
    return weights, kept + greediest


def _parts(count: int, at_once: int) -> Iterator[slice]:
    return (slice(low, min(low + at_once, count)) for low in range(0, count, at_once))
