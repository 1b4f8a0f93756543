"""Intel's Lava (lava-nc 0.10.0): the Loihi 2 toolchain, run on its fixed-point simulator for the CPU."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError
from neurodeploy.export import lava_job, lava_process, netx
from neurodeploy.export.target import Target
from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    STATE_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    Layer,
    Program,
)
from neurodeploy.ir.synapses import ConvSynapses, Synapses, extreme_sums
from neurodeploy.simulate.recording import Recording, check_inputs

logger = logging.getLogger(__name__)

WORKER = "lava_worker.py"
NET_FILE = "network.net"
THRESHOLD_MAX = 2**17 - 1
VOLTAGE_DECAY_MAX = 2**12 - 1
BIAS_MANTISSA = (-(2**12), 2**12 - 1)
WEIGHT = (-(2**7), 2**7 - 1)
_INT32_MAX = 2**31 - 1
_CURRENT_MAX = _INT32_MAX >> VOLTAGE_UNIT_BITS


# --- design rules -------------------------------------------------------------------------------------------------


def violations(program: Program) -> list[str]:
    """Everything in a program that Lava's processes cannot hold or would compute otherwise, with layer names.

    The register widths are those that lava/proc/lif/models.py and lava/proc/dense/models.py document; lava-nc itself
    does not check them.
    """
    if not program.fixed_point:
        return [f"made for the chip {program.chip}, whose neurons are not fixed-point: quantise for the chip loihi2"]
    found = [f"layer {layer.name}: {text}" for layer in program.layers for text in _layer_violations(layer, program)]
    if lava_job.lags(program) is None:
        found += [f"layer {target}: {text}" for target, text in _feedback(program)]
    return found


def _feedback(program: Program) -> list[tuple[str, str]]:
    """(layer, what is wrong) for every synapse that comes back from a later layer."""
    order = [layer.name for layer in program.layers]
    return [
        (
            layer.name,
            f"feedback from {one.source} with a delay of one step: every synapse in Lava takes a step, so that one "
            "step suffices from a layer to itself only",
        )
        for index, layer in enumerate(program.layers)
        for one in layer.synapses
        if one.source in order[index + 1 :]
    ]


def _layer_violations(layer: Layer, program: Program) -> list[str]:
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)  # `violations` has checked the program
    found = []
    ranges = (
        ("threshold", neurons.threshold, 0, THRESHOLD_MAX),
        ("voltage decay", neurons.voltage_decay, 0, VOLTAGE_DECAY_MAX),
        ("bias mantissa", neurons.bias_mantissa, *BIAS_MANTISSA),
    )
    for what, values, low, high in ranges:
        if values.min() < low or values.max() > high:
            found.append(f"{what} {_span(values)}: allowed are {low} to {high}")
    for synapses in layer.synapses:
        found += [f"synapses {synapses.name}: {text}" for text in _synapse_violations(synapses, program)]
    sums = [extreme_sums(one, 0, _highest(one, program)) for one in layer.synapses]
    current = sum(
        min(max(-low, high), STATE_LIMIT) if isinstance(one, ConvSynapses) else max(-low, high)
        for one, (low, high) in zip(layer.synapses, sums, strict=True)
    )
    if current > _CURRENT_MAX:
        found.append(f"weighted sums may reach ±{current:.0f}: Lava's 32-bit arithmetic holds ±{_CURRENT_MAX}")
    if not layer.fires:
        per_step = sum(high for _, high in sums) * 2**VOLTAGE_UNIT_BITS + max(0, int(neurons.bias.max()))
        highest = per_step * _effective_steps(program.steps, neurons)
        if highest > THRESHOLD_MAX << VOLTAGE_UNIT_BITS:
            found.append(
                f"the readout's voltage may reach {highest:.0f}, where Lava's neuron fires and resets it "
                f"(above {THRESHOLD_MAX << VOLTAGE_UNIT_BITS}): use smaller weights"
            )
    return found


def _synapse_violations(synapses: Synapses, program: Program) -> list[str]:
    found = []
    if synapses.weight.min() < WEIGHT[0] or synapses.weight.max() > WEIGHT[1]:
        found.append(f"weights {_span(synapses.weight)}: 8 bits with sign hold {WEIGHT[0]} to {WEIGHT[1]}")
    written = lava_job.written_out(synapses, program)
    low, high = extreme_sums(written, 0, _highest(written, program))
    # Lava's Dense sums twice the weights (see lava_worker._dense).
    if max(-low, high) * (1 if isinstance(written, ConvSynapses) else 2) > _INT32_MAX:
        found.append(f"weighted sums may reach ±{max(-low, high):.0f}, beyond Lava's 32-bit arithmetic")
    if isinstance(written, ConvSynapses):
        geometry = {
            "kernel": written.weight.shape[2:],
            "stride": written.stride,
            "padding": written.padding,
            "dilation": written.dilation,
        }
        for what, values in geometry.items():
            if max(values) > lava_job.GEOMETRY_MAX:
                pooling = " with its pooling written out" if synapses.pool > 1 else ""
                found.append(f"{what} {values}{pooling}: Lava holds up to {lava_job.GEOMETRY_MAX}")
    return found


def _span(values: NDArray[Any]) -> str:
    return str(values.min()) if values.min() == values.max() else f"{values.min()} to {values.max()}"


def _highest(synapses: Synapses, program: Program) -> int:
    return int(2**program.input.bits - 1) if synapses.source == INPUT else 1


def _effective_steps(steps: int, neurons: FixedPointNeurons) -> float:
    """Σ retention^i over the steps: the factor by which a constant input adds up."""
    retention = float(DECAY_ONE - neurons.voltage_decay.min()) / DECAY_ONE
    return float(steps) if retention == 1 else (1 - retention**steps) / (1 - retention)


# --- files --------------------------------------------------------------------------------------------------------


def write(program: Program, folder: Path) -> list[str]:
    """Writes `network.net` where netx can express the program, and always a job with its runner.

    `lava_job.json`, `lava_job.npz` and `lava_worker.py` are enough to run the program wherever Lava is installed (see
    the worker's docstring). Returns why `network.net` was left out, or nothing.

    Raises:
        DesignRuleError: with all `violations`.
    """
    job, arrays = _job(program)
    folder.mkdir(parents=True, exist_ok=True)
    lava_job.save(folder, job, arrays)
    _copy_worker(folder)
    reasons = netx.reasons(program)
    if not reasons:
        netx.write(program, folder / NET_FILE)
    return [f"{NET_FILE}: {reason}" for reason in reasons]


def _job(program: Program) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    found = violations(program)
    if found:
        raise DesignRuleError("lava", found)
    return lava_job.describe(program)


def _copy_worker(folder: Path) -> None:
    # Run from a folder of its own: Lava imports every module that lies beside the one that is run.
    with resources.as_file(resources.files(__package__) / WORKER) as worker:
        shutil.copyfile(worker, folder / WORKER)


# --- running ------------------------------------------------------------------------------------------------------


def run(program: Program, inputs: NDArray[Any]) -> Recording:
    """Runs a program in Lava's fixed-point simulator.

    Args:
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).

    Raises:
        DesignRuleError: with all `violations`.
        MissingBackendError: where Lava is neither here nor in its own environment.
        NeurodeployError: where Lava fails or hangs.
    """
    job, arrays = _job(program)
    return _recording(program, inputs, job, arrays, with_net=False)


def run_netx(program: Program, inputs: NDArray[Any]) -> Recording:
    """As `run`, but through `network.net` and lava-dl's netx: shows that the file means the same."""
    _job(program)
    layers = [
        {"name": layer.name, "shape": list(layer.shape), "lag": index + 1} for index, layer in enumerate(program.layers)
    ]
    job = {
        "kind": "netx",
        "net": NET_FILE,
        "steps": program.steps,
        "input_shape": list(program.input.shape),
        "message_bits": netx.input_message_bits(program),
        "layers": layers,
    }
    return _recording(program, inputs, job, {}, with_net=True)


def _recording(
    program: Program, inputs: NDArray[Any], job: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], with_net: bool
) -> Recording:
    batch, _ = check_inputs(program, inputs)
    command = lava_process.interpreter()
    with tempfile.TemporaryDirectory(prefix="neurodeploy-lava-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        lava_job.save(folder, job, arrays)
        np.save(folder / "inputs.npy", inputs.astype(np.int32), allow_pickle=False)
        if with_net:
            netx.write(program, folder / NET_FILE)
        _copy_worker(folder)
        logger.info("running %d samples of %d steps in Lava", batch, program.steps)
        lava_process.run_worker([*command, str(folder / WORKER), str(folder), "--attached"], folder)
        with np.load(folder / "result.npz", allow_pickle=False) as result:
            spikes = {layer.name: result[f"spikes:{layer.name}"] for layer in program.layers if layer.fires}
            voltages = {layer.name: result[f"voltages:{layer.name}"].astype(np.int64) for layer in program.layers}
    last = program.layers[-1]
    readout = (spikes if last.fires else voltages)[last.name].sum(axis=0, dtype=np.int64)
    return Recording(spikes, voltages, readout)


TARGET = Target(
    name="lava",
    title="Intel Lava (Loihi 2 toolchain), fixed-point simulator",
    chip="loihi2",
    violations=violations,
    write=write,
    run=run,
    variants=MappingProxyType({}),
    backend=lava_process.backend,
)
