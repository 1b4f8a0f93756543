"""The bundle's network on Loihi 2. NOT RUN ON HARDWARE by its authors: written from public sources only.

What lava-loihi (Intel, INRC members only) has and how it is called follows

* lava-dl 0.6.0, tests/lava/lib/dl/netx/test_hdf5.py: RingBuffer -> PyToN3ConvAdapter -> network -> NxToPyAdapter ->
  RingBuffer with Loihi2HwCfg, LIFReset with a reset_interval of 16;
* lava-dl 0.6.0, tutorials netx/mnist (PyToNxAdapter for a dense input) and netx/pilotnet_snn (reset_offset 3, because
  "the input loads at t=0, is transmitted at t=1 and appears at the input layer at t=2"; the profilers);
* lava-nc 0.10.0, lava/utils/loihi.py: use_slurm_host, use_ethernet_host;
* public projects of INRC members: StateProbe(var).time_series of shape (neurons * steps,), neuron by neuron.

Inferred, and therefore options: each adapter takes one step.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from typing import Any

import numpy as np

# In a bundle the two files lie beside each other, and neurodeploy is not there.
probes: Any = importlib.import_module(f"{__package__}.bundle_probes" if __package__ else "hardware_probes")

LOIHI_MODULES = (
    "lava.magma.core.model.nc",
    "lava.magma.compiler.subcompilers.nc.ncproc_compiler",
    "lava.proc.embedded_io",
    "lava.utils.loihi2_profiler",
)
GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")
NEVER_FIRES = 131071  # the largest threshold of 17 bits
GRADED_BITS = 16  # num_message_bits of the public examples with graded input
_INT8 = 127


def missing(options: Any) -> list[str]:
    """Everything that keeps the chip from being used from here, one line each; empty where nothing does."""
    found = []
    if not _importable("lava.magma"):
        found.append(
            "lava-nc is not installed: in a Python 3.10 `pip install --no-deps -r requirements.txt` of a bundle"
        )
    absent = [module for module in LOIHI_MODULES if not _importable(module)]
    if absent:
        found.append(
            f"lava-loihi is not installed (no {', '.join(absent)}): Intel gives it to members of the INRC, "
            "https://intel-ncl.atlassian.net/wiki/spaces/INRC"
        )
    if options.host == "slurm" and shutil.which("sinfo") is None:
        found.append("no SLURM: there is no `sinfo` on the PATH; log in to the INRC machine, or use --host ethernet")
    if options.host == "ethernet" and not options.address:
        found.append("--host ethernet needs --address of the board's host")
    if options.host == "ethernet" and shutil.which("ping") is None:
        found.append("no `ping` on the PATH, by which Lava looks for the board's host")
    if options.generation not in GENERATIONS:
        found.append(f"--generation {options.generation}: known are {', '.join(GENERATIONS)}")
    unknown = sorted(set(probes.chosen(options)) - set(probes.PROBES))
    if unknown:
        found.append(f"unknown probes {', '.join(unknown)}: known are {', '.join(probes.PROBES)}, or none")
    return found


def run(
    job: dict[str, Any], arrays: dict[str, Any], frames: Any, options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs a job on the chip.

    Args:
        job, arrays: contents of `lava_job.json` and `lava_job.npz`.
        frames: integers, (period, samples, *shape), the period being the job's steps.

    Returns:
        "spikes:<layer>" and, for a membrane readout, "voltages:<last layer>", each (period, samples, *shape); and
        facts: host, latencies, probes.
    """
    _choose_host(options)
    embedded = importlib.import_module("lava.proc.embedded_io.spike")
    period, samples = frames.shape[:2]
    before, after = options.input_latency, options.output_latency
    lags = {layer["name"]: layer["lag"] for layer in job["layers"]}
    total = period * samples + max(lags.values()) + before + after
    stream = np.concatenate(list(frames.swapaxes(0, 1)))
    neurons = {
        layer["name"]: _neurons(layer, arrays, index, period, before) for index, layer in enumerate(job["layers"])
    }
    _connect(job, arrays, neurons, stream, total, embedded)
    last = job["layers"][-1]
    recorded = [one for one in job["layers"] if one["fires"] and (options.record == "all" or one is last)]
    sinks = {one["name"]: _sink(neurons[one["name"]], total, embedded) for one in recorded}
    states = {} if last["fires"] else {last["name"]: _state_probe(neurons[last["name"]])}
    profilers = probes.make(options, total)
    spikes = _execute(neurons[last["name"]], total, [*profilers.values(), *states.values()], sinks)
    result = {}
    for layer in job["layers"]:
        name, start = layer["name"], layer["lag"] + before
        if name in spikes:
            rows = np.moveaxis(np.asarray(spikes[name]).astype(np.int64), -1, 0)
            result[f"spikes:{name}"] = _by_sample(rows, start + after, layer, period, samples) != 0
        if name in states:
            series = np.asarray(states[name].time_series).astype(np.int64)
            rows = np.moveaxis(series.reshape(*layer["shape"][::-1], total), -1, 0)
            result[f"voltages:{name}"] = _by_sample(rows, start, layer, period, samples)
    facts = {
        "host": {
            "kind": options.host,
            "generation": options.generation,
            "partition": options.partition,
            "board": options.board,
        },
        "latency_steps": {"input": before, "output": after},
        "steps_run": total,
        "probes": {name: probes.measured(name, profiler) for name, profiler in profilers.items()},
    }
    return result, facts


def _choose_host(options: Any) -> None:
    loihi = importlib.import_module("lava.utils.loihi")
    generation = loihi.ChipGeneration[options.generation]
    if options.host == "slurm":
        loihi.use_slurm_host(partition=options.partition, board=options.board, loihi_gen=generation)
    else:
        loihi.use_ethernet_host(options.address, loihi_gen=generation)


# --- the network ----------------------------------------------------------------------------------------------------


def _neurons(layer: dict[str, Any], arrays: dict[str, Any], index: int, period: int, latency: int) -> Any:
    lif = importlib.import_module("lava.proc.lif.process")
    values = {name: arrays[f"layer{index}.{name}"] for name in ("decay", "threshold", "bias", "current_decay")}
    return lif.LIFReset(
        shape=tuple(layer["shape"])[::-1],
        du=_one(values["current_decay"]) - 1,
        dv=_one(values["decay"]),
        vth=_one(values["threshold"]) if layer["fires"] else NEVER_FIRES,
        bias_mant=np.ascontiguousarray(values["bias"].T),
        bias_exp=int(layer["bias_exponent"]),
        reset_interval=period,
        reset_offset=layer["lag"] + 1 + latency,
    )


def _one(values: Any) -> int:
    """A layer on the chip has one value for all its neurons; the bundle was refused otherwise."""
    return int(np.asarray(values).flat[0])


def _connect(
    job: dict[str, Any], arrays: dict[str, Any], neurons: dict[str, Any], stream: Any, total: int, embedded: Any
) -> None:
    held: dict[Any, Any] = {(name, 0): one.s_out for name, one in neurons.items()}
    for index, synapses in enumerate(job["synapses"]):
        convolution = synapses["kind"] == "conv"
        if synapses["source"] == "input":
            port = _source(stream, synapses, total, embedded)
        else:
            port = _held(held, synapses["source"], synapses["wait"])
            port = port if convolution else _flat(port)
        weight = arrays[f"synapses{index}.weight"]
        if convolution:
            process = _convolution(synapses, weight, port)
        else:
            terms = (synapses[name] for name in ("weight_exponent", "weight_bits", "sign_mode", "message_bits"))
            process = _dense(weight, *terms)
        port.connect(process.s_in)
        process.a_out.connect(neurons[synapses["target"]].a_in)


def _source(stream: Any, synapses: dict[str, Any], total: int, embedded: Any) -> Any:
    """The samples through the adapter that carries them from the CPU onto the chip."""
    data = np.zeros((total, *stream.shape[1:]), dtype=np.int32)
    wait = synapses["wait"]
    data[wait : wait + len(stream)] = stream[: total - wait]
    convolution = synapses["kind"] == "conv"
    data = np.ascontiguousarray(data.T) if convolution else np.ascontiguousarray(data.reshape(total, -1).T)
    source = importlib.import_module("lava.proc.io.source").RingBuffer(data=data)
    bits = {"num_message_bits": GRADED_BITS} if synapses["message_bits"] else {}
    adapter = (embedded.PyToN3ConvAdapter if convolution else embedded.PyToNxAdapter)(shape=data.shape[:-1], **bits)
    source.s_out.connect(adapter.inp)
    return adapter.out


def _convolution(synapses: dict[str, Any], weight: Any, port: Any) -> Any:
    """Lava orders axes (x, y, channel) and flips kernels."""
    return importlib.import_module("lava.proc.conv.process").Conv(
        weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
        input_shape=port.shape,
        stride=tuple(synapses["stride"][::-1]),
        padding=tuple(synapses["padding"][::-1]),
        dilation=tuple(synapses["dilation"][::-1]),
        groups=synapses["groups"],
        num_message_bits=synapses["message_bits"],
    )


def _dense(weight: Any, exponent: int, bits: int = 8, sign_mode: str = "mixed", message_bits: int = 0) -> Any:
    """Weights of 8 bits in Lava's terms: even where they are of mixed sign."""
    return importlib.import_module("lava.proc.dense.process").Dense(
        weights=weight,
        weight_exp=exponent,
        num_weight_bits=bits,
        sign_mode=importlib.import_module("lava.utils.weightutils").SignMode[sign_mode.upper()],
        num_message_bits=message_bits,
    )


def _flat(port: Any) -> Any:
    """Values in the order (channel, y, x), which the weights have."""
    dimensions = len(port.shape)
    return port if dimensions == 1 else port.transpose(list(range(dimensions))[::-1]).flatten()


def _held(held: dict[Any, Any], name: str, wait: int) -> Any:
    """The output of a layer `wait` steps later, through neurons that repeat every spike one step later."""
    if (name, wait) not in held:
        source = _held(held, name, wait - 1)
        relay = importlib.import_module("lava.proc.lif.process").LIF(shape=source.shape, du=4095, dv=4095, vth=0)
        channels = source.shape[-1]
        if len(source.shape) == 1:
            process = _dense(2 * np.eye(channels, dtype=np.int32), -1)
        else:
            groups = channels if channels <= _INT8 else 1
            kernel = 2 * (np.ones((channels, 1, 1, 1)) if groups > 1 else np.eye(channels).reshape(channels, 1, 1, -1))
            conv = importlib.import_module("lava.proc.conv.process").Conv
            process = conv(weight=kernel.astype(np.int32), input_shape=source.shape, groups=groups)
        source.connect(process.s_in)
        process.a_out.connect(relay.a_in)
        held[name, wait] = relay.s_out
    return held[name, wait]


# --- what is measured -----------------------------------------------------------------------------------------------


def _sink(neurons: Any, total: int, embedded: Any) -> Any:
    """A buffer on the CPU for the spikes of one layer."""
    shape = neurons.s_out.shape
    adapter = embedded.NxToPyAdapter(shape=shape)
    buffer = importlib.import_module("lava.proc.io.sink").RingBuffer(shape=shape, buffer=total)
    neurons.s_out.connect(adapter.inp)
    adapter.out.connect(buffer.a_in)
    return buffer


def _state_probe(neurons: Any) -> Any:
    return importlib.import_module("lava.utils.loihi2_state_probes").StateProbe(neurons.v)


def _execute(process: Any, total: int, callbacks: list[Any], sinks: dict[str, Any]) -> dict[str, Any]:
    """layer -> what its buffer holds after all steps, (*shape, steps)."""
    steps = importlib.import_module("lava.magma.core.run_conditions").RunSteps(num_steps=total)
    configuration = importlib.import_module("lava.magma.core.run_configs").Loihi2HwCfg(callback_fxs=callbacks)
    try:
        process.run(condition=steps, run_cfg=configuration)
        return {name: buffer.data.get() for name, buffer in sinks.items()}  # they are gone once it is stopped
    finally:
        process.stop()


def _by_sample(rows: Any, start: int, layer: dict[str, Any], period: int, samples: int) -> Any:
    """Rows (steps run, x, y, channel) -> (period, samples, *shape)."""
    rows = rows[start : start + period * samples]
    rows = rows.transpose(0, *range(rows.ndim - 1, 0, -1))
    return np.ascontiguousarray(rows.reshape(samples, period, *layer["shape"]).swapaxes(0, 1))


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, AttributeError, ValueError):  # its parent is missing, or another package has that name
        return False
