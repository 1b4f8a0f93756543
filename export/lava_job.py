"""The job that the Lava worker runs: a Program's layers with their lags, and its synapses written out for Lava."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.export.lava_weights import WEIGHT_BITS, dense_terms
from neurodeploy.ir.arrays import IntArray, frozen_ints
from neurodeploy.ir.program import INPUT, FixedPointNeurons, Program
from neurodeploy.ir.synapses import DELAY_MAX, ConvSynapses, DenseSynapses, Synapses

JOB, ARRAYS = "lava_job.json", "lava_job.npz"
GEOMETRY_MAX = 127  # lava-nc keeps kernel size, stride, padding, dilation and groups of a Conv in int8


def lags(program: Program) -> Mapping[str, int] | None:
    """layer -> number of steps by which it is late in Lava, or None where feedback makes that impossible.

    Every synapse in Lava takes a step: lag(target) >= lag(source) + 1 - shortest delay. The smallest lags are taken.
    """
    late = {INPUT: 0} | {layer.name: 0 for layer in program.layers}
    for _ in range(len(late)):
        before = dict(late)
        for layer in program.layers:
            arriving = (late[one.source] + 1 - shortest_delay(one) for one in layer.synapses)
            late[layer.name] = max(late[layer.name], *arriving, 0)
        if late == before:
            return late
    return None


def describe(program: Program) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """(contents of the JSON file, arrays) of the job for a fixed-point program whose `lags` exist."""
    late = lags(program)
    if late is None or not program.fixed_point:
        raise ValueError("only a fixed-point program with lags can be a job for Lava")
    layers: list[dict[str, Any]] = []
    synapses: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for index, layer in enumerate(program.layers):
        neurons = layer.neurons
        assert isinstance(neurons, FixedPointNeurons)  # program.fixed_point
        layers.append(
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "lag": late[layer.name],
                "fires": layer.fires,
                "bias_exponent": neurons.bias_exponent,
            }
        )
        arrays[f"layer{index}.decay"] = neurons.voltage_decay
        arrays[f"layer{index}.current_decay"] = neurons.current_decay
        arrays[f"layer{index}.threshold"] = neurons.threshold
        arrays[f"layer{index}.bias"] = neurons.bias_mantissa
        for one in layer.synapses:
            described, own = _describe_synapses(one, layer.name, program, late)
            arrays |= {f"synapses{len(synapses)}.{name}": values for name, values in own.items()}
            synapses.append(described)
    job = {
        "kind": "program",
        "steps": program.steps,
        "input_shape": list(program.input.shape),
        "layers": layers,
        "synapses": synapses,
    }
    return job, arrays


def save(folder: Path, job: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a job as the worker reads it."""
    (folder / JOB).write_text(json.dumps(job, indent=1) + "\n", encoding="utf-8")
    np.savez(folder / ARRAYS, **dict(arrays))  # type: ignore[arg-type,unused-ignore]


def written_out(synapses: Synapses, program: Program) -> Synapses:
    """The same currents without pooling and without more groups than Lava can count."""
    if isinstance(synapses, DenseSynapses):
        return synapses.expanded(program.shapes[synapses.source])
    expanded = synapses.expanded()
    return _ungrouped(expanded) if expanded.groups > GEOMETRY_MAX else expanded


def _ungrouped(synapses: ConvSynapses) -> ConvSynapses:
    outputs, inside = synapses.weight.shape[:2]
    weight = np.zeros((outputs, inside * synapses.groups, *synapses.weight.shape[2:]), dtype=synapses.weight.dtype)
    per_group = outputs // synapses.groups
    for output in range(outputs):
        first = output // per_group * inside
        weight[output, first : first + inside] = synapses.weight[output]
    weight.setflags(write=False)
    return replace(synapses, weight=weight, groups=1)


def message_bits(source: str, program: Program) -> int:
    """What Lava calls num_message_bits: 0 for spikes."""
    return program.input.bits if source == INPUT and program.input.bits > 1 else 0


def shortest_delay(synapses: Synapses) -> int:
    """Steps by which the youngest output that the synapses use lies behind."""
    extra = 0 if isinstance(synapses, ConvSynapses) or synapses.delays is None else int(synapses.delays.min())
    return synapses.delay + extra


def _describe_synapses(
    synapses: Synapses, target: str, program: Program, late: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """(description, arrays) of one connection.

    Its `wait` is the number of steps by which the source's output is held back before it, so that each synapse acts
    `delay` (and `delays`) steps later, although the layers are late by different numbers of steps.
    """
    written = written_out(synapses, program)
    wait = late[target] - (late[synapses.source] + 1 - synapses.delay)
    common: dict[str, Any] = {"name": synapses.name, "source": synapses.source, "target": target}
    common["message_bits"] = message_bits(synapses.source, program)
    if isinstance(written, ConvSynapses):
        geometry = {name: list(getattr(written, name)) for name in ("stride", "padding", "dilation")}
        described = common | {"kind": "conv", "wait": wait} | geometry | {"groups": written.groups}
        return described, {"weight": written.weight.astype(np.int32)}
    terms = dense_terms(written.weight, written.weight_exponent)
    if terms is None:
        raise ValueError(f"{synapses.name}: weights that Lava cannot hold")
    described = common | {"kind": "dense", "weight_exponent": terms.exponent, "sign_mode": terms.sign_mode}
    described |= {"weight_bits": WEIGHT_BITS}
    arrays: dict[str, NDArray[Any]] = {"weight": terms.weights.astype(np.int32)}
    wait, delays = _split_delays(written, wait, late[target] - late[synapses.source] - 1)
    if delays is not None:
        arrays["delays"] = delays
    return described | {"wait": wait}, arrays


def _split_delays(synapses: DenseSynapses, wait: int, unequal_paths: int) -> tuple[int, IntArray | None]:
    """(steps held back before, delays of the synapses themselves) of dense synapses.

    What differs in length between paths of the network is held back, as it is for convolutions; delays are the
    synapses' own, as far as their register holds them. The input is held back for free.
    """
    delays = frozen_ints(np.zeros(synapses.weight.shape, np.int64)) if synapses.delays is None else synapses.delays
    held = wait if synapses.source == INPUT else min(unequal_paths, wait)
    held = max(held, wait + int(delays.max()) - DELAY_MAX, 0)
    delays = frozen_ints(delays + (wait - held))
    return held, delays if delays.any() else None
