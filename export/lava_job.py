"""The job that the Lava worker runs: a Program's layers with their lags, and its synapses written out for Lava."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.program import INPUT, FixedPointNeurons, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses

JOB, ARRAYS = "lava_job.json", "lava_job.npz"
GEOMETRY_MAX = 127  # lava-nc keeps kernel size, stride, padding, dilation and groups of a Conv in int8


def lags(program: Program) -> Mapping[str, int] | None:
    """layer -> number of steps by which it is late in Lava, or None where feedback makes that impossible.

    Every synapse in Lava takes a step: lag(target) >= lag(source) + 1 - delay. The smallest lags are taken.
    """
    late = {INPUT: 0} | {layer.name: 0 for layer in program.layers}
    for _ in range(len(late)):
        before = dict(late)
        for layer in program.layers:
            late[layer.name] = max(late[layer.name], *(late[one.source] + 1 - one.delay for one in layer.synapses), 0)
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
        arrays[f"layer{index}.threshold"] = neurons.threshold
        arrays[f"layer{index}.bias"] = neurons.bias_mantissa
        for one in layer.synapses:
            written = written_out(one, program)
            arrays[f"synapses{len(synapses)}.weight"] = written.weight.astype(np.int32)
            wait = late[layer.name] - (late[one.source] + 1 - one.delay)
            synapses.append(_describe_synapses(written, layer.name, program, wait))
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


def _describe_synapses(synapses: Synapses, target: str, program: Program, wait: int) -> dict[str, Any]:
    common = {
        "kind": "conv" if isinstance(synapses, ConvSynapses) else "dense",
        "name": synapses.name,
        "source": synapses.source,
        "target": target,
        "wait": wait,
        "delayed": bool(synapses.delay),
        "message_bits": message_bits(synapses.source, program),
    }
    if isinstance(synapses, DenseSynapses):
        return common
    return common | {
        "stride": list(synapses.stride),
        "padding": list(synapses.padding),
        "dilation": list(synapses.dilation),
        "groups": synapses.groups,
    }
