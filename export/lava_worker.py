"""Runs exported networks in Lava: `python lava_worker.py FOLDER`.

Self-contained: the standard library, NumPy, lava-nc 0.10.0 (and lava-dl 0.6.0 for `.net` files), Python 3.10 or later.
A copy goes along with every export, so that it runs where Lava is and neurodeploy is not.

FOLDER holds

* `lava_job.json`, `lava_job.npz`: the layers and their integers, as neurodeploy wrote them, or a job of kind "netx";
* `inputs.npy`: integers, (samples, *shape) shown at every step, or (steps, samples, *shape).

`result.npz` is put there when all is done: `spikes:<layer>` and `voltages:<layer>`, (steps, samples, *shape).

Time in Lava: every synapse process sends what it computed one step before, so that a layer behind n synapses is n steps
late, its `lag`. Samples follow each other on the time axis; every layer forgets its state before a sample reaches it.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if sys.version_info >= (3, 11):  # noqa: UP036 (this file runs on Python 3.10 too)
    # lava-nc 0.10.0 has unhashable dataclass defaults, which Python 3.10 let pass.
    _dataclass: Any = dataclasses.dataclass

    def _hashable_dataclass(cls: Any = None, /, **options: Any) -> Any:
        options.setdefault("unsafe_hash", True)
        return _dataclass(**options) if cls is None else _dataclass(cls, **options)

    dataclasses.dataclass = _hashable_dataclass
    try:
        importlib.import_module("lava.magma.compiler.var_model")
    finally:
        dataclasses.dataclass = _dataclass

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF, LIFReset
from lava.utils.weightutils import SignMode

INPUT = "input"
NO_CURRENT_MEMORY = 4095  # du + 1 = 4096 forgets the current at every step
NEVER_FIRES = 131071  # the largest threshold of 17 bits
_INT8 = 127  # Lava keeps the geometry of a convolution in 8 bits


class Recorder(AbstractProcess):  # type: ignore[misc]
    """Writes spikes and voltages of one layer to a file at every step; Lava's Monitor hands them over one by one."""

    def __init__(self, neurons: Any, path: Path) -> None:
        shape = neurons.s_out.shape
        super().__init__(path=str(path))
        self.spikes = InPort(shape=shape)
        self.voltages = RefPort(shape)
        neurons.s_out.connect(self.spikes)
        self.voltages.connect_var(neurons.v)


@implements(proc=Recorder, protocol=LoihiProtocol)  # type: ignore[untyped-decorator,unused-ignore]
@requires(CPU)  # type: ignore[untyped-decorator,unused-ignore]
class PyRecorder(PyLoihiProcessModel):  # type: ignore[misc]
    """One row a step: the voltages after the step, then the spikes, as int32."""

    spikes: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    voltages: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """Receives the spikes of this step."""
        self.received = self.spikes.recv()

    def post_guard(self) -> bool:
        """Asks for the phase in which voltages can be read."""
        return True

    def run_post_mgmt(self) -> None:
        """Appends a row."""
        row = np.stack([self.voltages.read(), self.received]).astype("<i4")
        with open(self.proc_params["path"], "ab") as file:
            file.write(row.tobytes())


class _Built(NamedTuple):
    """Lava processes of a job.

    `neurons` is layer -> LIF process. `clearings` are (step, action): pauses at which the buffer of a delayed synapse
    still holds the sample before, and what empties it.
    """

    any_process: Any
    neurons: dict[str, Any]
    clearings: list[tuple[int, Callable[[], None]]]


def execute(job: dict[str, Any], arrays: dict[str, Any], inputs: Any, folder: Path | None = None) -> dict[str, Any]:
    """Runs a job in Lava.

    Args:
        job, arrays: contents of `lava_job.json` and `lava_job.npz`.
        inputs: integers, (B, *shape) or (T, B, *shape).
        folder: where the files of a run go, and where a job's `.net` file lies; None for a temporary one.

    Returns:
        "spikes:<layer>" (uint8) and "voltages:<layer>" (int32), each (T, B, *shape).
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return execute(job, arrays, inputs, Path(temporary))
    steps = int(job["steps"])
    static = inputs.ndim == len(job["input_shape"]) + 1
    batch = int(inputs.shape[0 if static else 1])
    frames = np.repeat(inputs, steps, axis=0) if static else np.concatenate(list(inputs.swapaxes(0, 1)))
    total = steps * batch + max(layer["lag"] for layer in job["layers"])
    build = _build_netx if job["kind"] == "netx" else _build
    built = build(job, arrays, frames, total, folder)
    files = {name: folder / f"record-{index}.bin" for index, name in enumerate(built.neurons)}
    for name, neurons in built.neurons.items():
        files[name].unlink(missing_ok=True)  # of a run that was interrupted
        Recorder(neurons, files[name])
    _run(built, total)
    result = {}
    for layer in job["layers"]:
        name, shape, lag = layer["name"], tuple(layer["shape"]), layer["lag"]
        rows = np.fromfile(files[name], dtype="<i4").reshape(total, 2, *shape[::-1])
        rows = rows.transpose(0, 1, *range(rows.ndim - 1, 1, -1))[lag : lag + steps * batch]
        by_sample = rows.reshape(batch, steps, 2, *shape).swapaxes(0, 1)
        result[f"voltages:{name}"] = np.ascontiguousarray(by_sample[:, :, 0])
        result[f"spikes:{name}"] = by_sample[:, :, 1].astype(np.uint8)
        files[name].unlink()
    return result


def _run(built: _Built, total: int) -> None:
    configuration = Loihi2SimCfg(select_tag="fixed_pt")
    done = 0
    for pause in sorted({step for step, _ in built.clearings if 0 < step < total} | {total}):
        built.any_process.run(condition=RunSteps(num_steps=pause - done), run_cfg=configuration)
        done = pause
        if done < total:
            for step, clear in built.clearings:
                if step == done:
                    clear()
    built.any_process.stop()


# --- a Program as Lava processes ----------------------------------------------------------------------------------


def _build(job: dict[str, Any], arrays: dict[str, Any], frames: Any, total: int, folder: Path) -> _Built:
    steps, batch = int(job["steps"]), len(frames) // int(job["steps"])
    neurons = {layer["name"]: _neurons(layer, arrays, index, steps) for index, layer in enumerate(job["layers"])}
    lags = {layer["name"]: layer["lag"] for layer in job["layers"]}
    outputs = {(INPUT, 0): _source(frames, 0, total)} | {(name, 0): one.s_out for name, one in neurons.items()}
    clearings = []
    for index, synapses in enumerate(job["synapses"]):
        source = _held(outputs, synapses["source"], synapses["wait"], frames, total)
        process, buffer = _synapses(synapses, arrays[f"synapses{index}.weight"], source)
        process.a_out.connect(neurons[synapses["target"]].a_in)
        if synapses["delayed"]:
            lag = lags[synapses["target"]]
            clearings += [(sample * steps + lag, _clearing(buffer)) for sample in range(batch)]
    return _Built(next(iter(neurons.values())), neurons, clearings)


def _clearing(buffer: Any) -> Callable[[], None]:
    return lambda: buffer.set(np.zeros(buffer.shape, dtype=np.int32))


def _source(frames: Any, wait: int, total: int) -> Any:
    """Frames (n, *shape) as a source that sends frame i at step i + 1 + wait."""
    data = np.zeros((total, *frames.shape[1:]), dtype=np.int32)
    data[wait : wait + len(frames)] = frames[: total - wait]
    return RingBuffer(data=np.ascontiguousarray(data.T)).s_out


def _neurons(layer: dict[str, Any], arrays: dict[str, Any], index: int, steps: int) -> Any:
    decay, threshold, bias = (arrays[f"layer{index}.{name}"] for name in ("decay", "threshold", "bias"))
    return LIFReset(
        shape=tuple(layer["shape"])[::-1],
        du=NO_CURRENT_MEMORY,
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


def _synapses(synapses: dict[str, Any], weight: Any, source: Any) -> tuple[Any, Any]:
    """(process, the Var that holds what it sends next), fed by a port."""
    if synapses["kind"] == "dense":
        process = _dense(weight, synapses["message_bits"])
        _flat(source).connect(process.s_in)
        return process, process.a_buff
    process = Conv(
        weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
        input_shape=source.shape,
        stride=tuple(synapses["stride"][::-1]),
        padding=tuple(synapses["padding"][::-1]),
        dilation=tuple(synapses["dilation"][::-1]),
        groups=synapses["groups"],
        num_message_bits=synapses["message_bits"],
    )
    source.connect(process.s_in)
    return process, process.a_buf


def _dense(weight: Any, message_bits: int) -> Any:
    """Exact for weights of 8 bits: Lava drops the lowest bit of mixed-sign weights, and shifts the sum afterwards."""
    return Dense(
        weights=2 * weight, weight_exp=-1, num_weight_bits=8, sign_mode=SignMode.MIXED, num_message_bits=message_bits
    )


def _flat(port: Any) -> Any:
    """The port's values in the order of torch.flatten."""
    dimensions = len(port.shape)
    return port if dimensions == 1 else port.transpose(list(range(dimensions))[::-1]).flatten()


def _held(outputs: dict[tuple[str, int], Any], source: str, wait: int, frames: Any, total: int) -> Any:
    """The output of a layer held back by `wait` steps, through neurons that repeat every spike one step later."""
    if (source, wait) not in outputs:
        if source == INPUT:
            outputs[source, wait] = _source(frames, wait, total)
        else:
            outputs[source, wait] = _relay(_held(outputs, source, wait - 1, frames, total))
    return outputs[source, wait]


def _relay(source: Any) -> Any:
    relay = LIF(shape=source.shape, du=NO_CURRENT_MEMORY, dv=NO_CURRENT_MEMORY, vth=0)
    channels = source.shape[-1]
    if len(source.shape) == 1:
        process = _dense(np.eye(channels, dtype=np.int32), 0)
    elif channels <= _INT8:
        process = Conv(weight=np.ones((channels, 1, 1, 1), dtype=np.int32), input_shape=source.shape, groups=channels)
    else:
        identity = np.eye(channels, dtype=np.int32).reshape(channels, 1, 1, channels)
        process = Conv(weight=identity, input_shape=source.shape)
    source.connect(process.s_in)
    process.a_out.connect(relay.a_in)
    return relay.s_out


# --- a `.net` file through lava.lib.dl.netx -------------------------------------------------------------------------


def _build_netx(job: dict[str, Any], arrays: dict[str, Any], frames: Any, total: int, folder: Path) -> _Built:
    network = _netx().Network(
        net_config=str(folder / job["net"]),
        reset_interval=int(job["steps"]),
        reset_offset=1,  # with 0 a network without an Input block resets one step early
        input_message_bits=job["message_bits"],
    )
    if len(network.layers) != len(job["layers"]):
        raise ValueError(f"netx made {len(network.layers)} layers of {job['net']}, {len(job['layers'])} are expected")
    source = _source(frames, 0, total)
    (_flat(source) if len(network.inp.shape) == 1 else source).connect(network.inp)
    neurons = {layer["name"]: block.neuron for layer, block in zip(job["layers"], network.layers, strict=True)}
    return _Built(network, neurons, [])


def _netx() -> Any:
    """netx, without the torch that it imports for resonate-and-fire neurons and type hints only."""
    if importlib.util.find_spec("torch") is None:
        for name in ("torch", "lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron", "lava.lib.dl.slayer.neuron.rf"):
            stub: Any = types.ModuleType(name)
            stub.tensor = object
            stub.neuron_params = None
            sys.modules.setdefault(name, stub)
    return importlib.import_module("lava.lib.dl.netx.hdf5")


def main(folder: Path) -> None:
    """Runs the job of a folder; the result appears only when it is complete."""
    job = json.loads((folder / "lava_job.json").read_text(encoding="utf-8"))
    with np.load(folder / "lava_job.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inputs = np.load(folder / "inputs.npy", allow_pickle=False)
    result = execute(job, arrays, inputs, folder)
    unfinished = folder / "result.unfinished.npz"
    np.savez(unfinished, **result)
    os.replace(unfinished, folder / "result.npz")


def _end_with_parent() -> None:
    """Ends this session once the process that started it is gone, however that happened: its pipe to us closes then."""

    def watch() -> None:
        os.read(0, 1)  # returns when the other end closes; sys.stdin would hold a lock at exit
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    if "--attached" in sys.argv[2:]:  # neurodeploy gave us a session of our own
        _end_with_parent()
    sys.dont_write_bytecode = True  # Lava imports every file beside this one in search of processes
    main(Path(sys.argv[1]).resolve())
