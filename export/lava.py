"""Intel's Lava (lava-nc 0.10.0): the Loihi 2 toolchain, run on its fixed-point simulator for the CPU."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.export import lava_job, lava_process, netx
from neurodeploy.export.lava_rules import BIAS_MANTISSA as BIAS_MANTISSA
from neurodeploy.export.lava_rules import THRESHOLD_MAX as THRESHOLD_MAX
from neurodeploy.export.lava_rules import violations as violations
from neurodeploy.export.target import Target
from neurodeploy.ir.program import Layer, Program
from neurodeploy.simulate.recording import Recording, check_inputs

logger = logging.getLogger(__name__)

WORKER = "lava_worker.py"
WORKER_FILES = (WORKER, "lava_host.py", "lava_network.py", "lava_netx.py", "lava_python.py", "lava_recorder.py")
NET_FILE = "network.net"
INPUT_NEURONS = "input0"  # synapses of an input with neurons, as `neurodeploy.importing.net` calls them


# --- files --------------------------------------------------------------------------------------------------------


def write(program: Program, folder: Path) -> list[str]:
    """Writes `network.net` where netx can express the program, and always a job with its runner.

    `lava_job.json`, `lava_job.npz` and the `WORKER_FILES` are enough to run the program wherever Lava is installed (see
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
    for name in WORKER_FILES:
        with resources.as_file(resources.files(__package__) / name) as file:
            shutil.copyfile(file, folder / name)


# --- running ------------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """One run of the worker: the contents of its files; `net`: a program to write as `network.net`, or such a file."""

    contents: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    inputs: NDArray[Any]
    net: Program | Path | None = None


def run(program: Program, inputs: NDArray[Any]) -> Recording:
    """Runs a program in Lava's fixed-point simulator.

    Args:
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).

    Raises:
        DesignRuleError: with all `violations`.
        MissingBackendError: where Lava is neither here nor in its own environment.
        NeurodeployError: where Lava fails or hangs.
    """
    return run_many([(program, inputs)])[0]


def run_many(cases: Sequence[tuple[Program, NDArray[Any]]]) -> list[Recording]:
    """As `run`, for several programs with their inputs one after the other, so that Lava is started once."""
    jobs = [Job(*_job(program), inputs) for program, inputs in cases]
    for program, inputs in cases:
        check_inputs(program, inputs)
    return [recording(case[0], result) for case, result in zip(cases, execute(jobs), strict=True)]


def run_host_currents(program: Program, inputs: NDArray[Any]) -> Recording:
    """As `run`, but the host weights the input, and hands neurons their currents in the place of (graded) pixels."""
    job, arrays = _job(program)
    check_inputs(program, inputs)
    return recording(program, execute([Job(job | {"host_currents": True}, arrays, inputs)])[0])


def run_netx(program: Program, inputs: NDArray[Any]) -> Recording:
    """As `run`, but through `network.net` and lava-dl's netx: shows that the file means the same."""
    _job(program)
    check_inputs(program, inputs)
    contents = _netx_contents(program, netx.in_order(program), netx.input_message_bits(program))
    return recording(program, execute([Job(contents, {}, inputs, program)])[0])


def run_net(path: Path, program: Program, inputs: NDArray[Any]) -> Recording:
    """As `run_netx`, of a `.net` file as it is; `program` is what `importing.net.read_net` makes of it.

    Raises:
        UsageError: where the file's input has neurons, whose bias netx leaves its user to drive, sample by sample.
    """
    if len(program.layers[0].synapses) == 1 and program.layers[0].synapses[0].name == INPUT_NEURONS:
        raise UsageError(
            f"netx: the input of {path} has neurons, which are driven through their bias, one sample in a run; name "
            "lava, which is given the same weights as processes"
        )
    check_inputs(program, inputs)
    bits = program.input.bits
    contents = _netx_contents(program, program.layers, bits if bits > 1 else 0)
    return recording(program, execute([Job(contents, {}, inputs, path)])[0])


def _netx_contents(program: Program, layers: Sequence[Layer], message_bits: int) -> dict[str, Any]:
    return {
        "kind": "netx",
        "net": NET_FILE,
        "steps": program.steps,
        "input_shape": list(program.input.shape),
        "message_bits": message_bits,
        "layers": [
            {"name": layer.name, "shape": list(layer.shape), "lag": index + 1} for index, layer in enumerate(layers)
        ],
    }


def execute(jobs: Sequence[Job]) -> list[dict[str, NDArray[Any]]]:
    """What the worker puts out for each job: "spikes:<layer>", "voltages:<layer>", "currents:<layer>"."""
    command = lava_process.interpreter()
    with tempfile.TemporaryDirectory(prefix="neurodeploy-lava-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        folders = [place / f"job-{index}" for index in range(len(jobs))]
        for folder, job in zip(folders, jobs, strict=True):
            folder.mkdir()
            lava_job.save(folder, job.contents, job.arrays)
            np.save(folder / "inputs.npy", job.inputs.astype(np.int32), allow_pickle=False)
            if isinstance(job.net, Path):
                shutil.copyfile(job.net, folder / NET_FILE)
            elif job.net is not None:
                netx.write(job.net, folder / NET_FILE)
        _copy_worker(place)
        logger.info("running %d jobs in Lava", len(jobs))
        lava_process.run_worker([*command, str(place / WORKER), *map(str, folders), "--attached"], place, folders)
        return [_read_result(folder / lava_process.RESULT) for folder in folders]


def recording(program: Program, result: Mapping[str, NDArray[Any]]) -> Recording:
    """The Recording of a program from what the worker put out for it."""
    spikes = {layer.name: result[f"spikes:{layer.name}"] for layer in program.layers if layer.fires}
    voltages = {layer.name: result[f"voltages:{layer.name}"].astype(np.int64) for layer in program.layers}
    last = program.layers[-1]
    readout = (spikes if last.fires else voltages)[last.name].sum(axis=0, dtype=np.int64)
    return Recording(spikes, voltages, readout)


def _read_result(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


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
