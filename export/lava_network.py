"""Lava processes for the job of a neurodeploy program; goes along with `lava_worker.py`.

Time in Lava: every synapse process sends what it computed one step before, so that a layer behind n synapses is n steps
late, its `lag`. Samples follow each other on the time axis; every layer forgets its state before a sample reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import lava_host  # type: ignore[import-not-found]
import lava_python  # type: ignore[import-not-found]  # noqa: F401 (before Lava: it makes it importable)
import numpy as np
from lava.proc.conv.process import Conv
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF, LIFReset
from lava.utils.weightutils import SignMode

INPUT = "input"
NO_MEMORY = 4095  # of the current with du (Lava adds 1), of the voltage up to a part in 4096
NEVER_FIRES = 131071  # the largest threshold of 17 bits
_INT8 = 127  # Lava keeps the geometry of a convolution in 8 bits


class Built(NamedTuple):
    """Lava processes of a job.

    `neurons` is layer -> LIF process. `clearings` are (step, action): pauses at which synapses still hold something of
    the sample before that would reach the sample after, and what removes it.
    """

    any_process: Any
    neurons: dict[str, Any]
    clearings: list[tuple[int, Callable[[], None]]]


def build(job: dict[str, Any], arrays: dict[str, Any], frames: Any, total: int) -> Built:
    """The processes of a job of kind "program" for the frames (samples · steps, *shape) of an input.

    With `host_currents` in the job, what reads the input is weighted here (`lava_host`), and no synapses in Lava are.
    """
    steps, samples = int(job["steps"]), len(frames) // int(job["steps"])
    neurons = {layer["name"]: _neurons(layer, arrays, index, steps) for index, layer in enumerate(job["layers"])}
    lags = {INPUT: 0} | {layer["name"]: layer["lag"] for layer in job["layers"]}
    outputs = {(INPUT, 0): source(frames, 0, total)} | {(name, 0): one.s_out for name, one in neurons.items()}
    clearings = []
    for index, synapses in enumerate(job["synapses"]):
        own = {name: arrays.get(f"synapses{index}.{name}") for name in ("weight", "delays")}
        if synapses["source"] == INPUT and job.get("host_currents"):
            target, lag = neurons[synapses["target"]], lags[synapses["target"]]
            shape = target.a_in.shape[::-1]
            weighted = lava_host.currents(synapses, own["weight"], own["delays"], frames, shape, steps, lag)
            source(weighted, lag, total).connect(target.a_in)
            continue
        held = _held(outputs, synapses["source"], synapses["wait"], frames, total)
        process, buffer = _synapses(synapses, own["weight"], own["delays"], held)
        process.a_out.connect(neurons[synapses["target"]].a_in)
        late = lags[synapses["source"]] + synapses["wait"]
        clearings += between_samples(buffer, late, lags[synapses["target"]], steps, samples)
    return Built(next(iter(neurons.values())), neurons, clearings)


def between_samples(
    buffer: Any, source_lag: int, target_lag: int, steps: int, samples: int
) -> list[tuple[int, Callable[[], None]]]:
    """What keeps spikes of one sample from reaching the target in the next, as `Built.clearings`.

    The buffer of a synapse process holds what it will send, one column per step to come (plain ones have one). Counted
    from the end of a sample at the input, the last spikes of the sample enter the buffer in step `source_lag`, and the
    target ends the sample in step `target_lag`. After every step from the earlier of the two until `source_lag`, all
    that would be sent later than `target_lag` is removed.
    """
    columns = 1 if len(buffer.shape) != 2 else buffer.shape[1]
    found = []
    for pause in range(min(source_lag, target_lag), source_lag + 1):
        first = max(target_lag - pause, 0)
        if first < columns:
            action = _clearing(buffer, first)
            found += [(sample * steps + pause, action) for sample in range(samples)]
    return found


def _clearing(buffer: Any, first_column: int) -> Callable[[], None]:
    def clear() -> None:
        values = np.zeros(buffer.shape, dtype=np.int32)
        if first_column:
            values[:, :first_column] = buffer.get()[:, :first_column]
        buffer.set(values)

    return clear


def source(frames: Any, wait: int, total: int) -> Any:
    """The port of a source that sends frame i of (n, *shape) at step i + 1 + wait."""
    data = np.zeros((total, *frames.shape[1:]), dtype=np.int32)
    data[wait : wait + len(frames)] = frames[: max(total - wait, 0)]
    return RingBuffer(data=np.ascontiguousarray(data.T)).s_out


def flat(port: Any) -> Any:
    """The port's values in the order of torch.flatten."""
    dimensions = len(port.shape)
    return port if dimensions == 1 else port.transpose(list(range(dimensions))[::-1]).flatten()


def _neurons(layer: dict[str, Any], arrays: dict[str, Any], index: int, steps: int) -> Any:
    names = ("current_decay", "decay", "threshold", "bias")
    current_decay, decay, threshold, bias = (arrays[f"layer{index}.{name}"] for name in names)
    return LIFReset(
        shape=tuple(layer["shape"])[::-1],
        du=_scalar_or_array(current_decay - 1),
        dv=_scalar_or_array(decay),
        vth=_scalar_or_array(threshold) if layer["fires"] else NEVER_FIRES,
        bias_mant=_scalar_or_array(bias),
        bias_exp=int(layer["bias_exponent"]),
        reset_interval=steps,
        reset_offset=layer["lag"] + 1,
    )


def _scalar_or_array(values: Any) -> Any:
    """Lava orders axes (x, y, channel), we (channel, y, x)."""
    return int(values) if values.ndim == 0 else np.ascontiguousarray(values.T)


def _synapses(synapses: dict[str, Any], weight: Any, delays: Any, port: Any) -> tuple[Any, Any]:
    """(process, the Var that holds what it sends next), fed by a port."""
    if synapses["kind"] == "dense":
        terms = {
            "weights": weight,
            "weight_exp": synapses["weight_exponent"],
            "num_weight_bits": synapses["weight_bits"],
            "sign_mode": SignMode[synapses["sign_mode"].upper()],
            "num_message_bits": synapses["message_bits"],
        }
        process = Dense(**terms) if delays is None else DelayDense(**terms, delays=delays.astype(int))
        flat(port).connect(process.s_in)
        return process, process.a_buff
    process = Conv(
        weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
        input_shape=port.shape,
        stride=tuple(synapses["stride"][::-1]),
        padding=tuple(synapses["padding"][::-1]),
        dilation=tuple(synapses["dilation"][::-1]),
        groups=synapses["groups"],
        num_message_bits=synapses["message_bits"],
    )
    port.connect(process.s_in)
    return process, process.a_buf


def _held(outputs: dict[tuple[str, int], Any], name: str, wait: int, frames: Any, total: int) -> Any:
    """The output of a layer held back by `wait` steps, through neurons that repeat every spike one step later."""
    if name == INPUT and (name, wait) not in outputs:
        outputs[name, wait] = source(frames, wait, total)
    for step in range(1, wait + 1) if name != INPUT else ():
        if (name, step) not in outputs:
            outputs[name, step] = _relay(outputs[name, step - 1])
    return outputs[name, wait]


def _relay(port: Any) -> Any:
    relay = LIF(shape=port.shape, du=NO_MEMORY, dv=NO_MEMORY, vth=0)
    channels = port.shape[-1]
    if len(port.shape) == 1:
        doubled = 2 * np.eye(channels, dtype=np.int32)  # mixed weights lose their lowest bit
        process = Dense(weights=doubled, weight_exp=-1, num_weight_bits=8, sign_mode=SignMode.MIXED)
    elif channels <= _INT8:
        process = Conv(weight=np.ones((channels, 1, 1, 1), dtype=np.int32), input_shape=port.shape, groups=channels)
    else:
        identity = np.eye(channels, dtype=np.int32).reshape(channels, 1, 1, channels)
        process = Conv(weight=identity, input_shape=port.shape)
    port.connect(process.s_in)
    process.a_out.connect(relay.a_in)
    return relay.s_out
