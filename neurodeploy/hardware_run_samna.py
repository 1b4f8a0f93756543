"""What a bundle's runner wrote for SynSense's chips: run here or elsewhere, and read like a stranger's file."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.export import samna_boards
from neurodeploy.export.sealed_folder import ChipNetwork
from neurodeploy.files import read_file
from neurodeploy.hardware_run import ImportedRun, check_probes, compared
from neurodeploy.hw_models.chip import Evidence
from neurodeploy.ir.identity import network_hash
from neurodeploy.recorded_run import RecordedRun
from neurodeploy.simulate.recording import Recording

_VERSION = 1
_LARGEST_DESCRIPTION, _LARGEST_RECORDING = 4 * 2**20, 2 * 2**30
_TEXTS = ("name", "network_hash", "chip", "backend", "date", "sha256")
_MISSING, _ERROR_LINES = 4, 30
_RESULT, ARRAYS = "result.json", "result.npz"
_BOARD = "board"
_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, eq=False)
class Result:
    """A result folder of a runner, checked.

    Attributes:
        described: name, network_hash, chip, backend, date, versions, facts.
        arrays: whole numbers; `events` is (steps, B, channels), the others are what came out.
        evidence: what the numbers rest on, by the backend.
    """

    described: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    evidence: Evidence


@contextmanager
def ran(
    write_bundle: Callable[[Path], None],
    title: str,
    simulator: str,
    options: Sequence[str],
    python: str | None = None,
) -> Iterator[Path]:
    """Runs a bundle on a board, in a temporary place; yields the result folder.

    Args:
        title: what has to be connected.
        simulator: the command that runs the artifact without a board, for messages.
        options: of the runner, besides --backend board.
        python: the interpreter that has samna; this one where None.

    Raises:
        UsageError: for a wrong option.
        MissingBackendError: naming everything that is missing, and what can be done without it.
        NeurodeployError: where the run failed.
    """
    if python is None:
        samna_boards.require(title, simulator)
    with tempfile.TemporaryDirectory(prefix="neurodeploy-deploy-") as temporary:
        folder, result = Path(temporary) / "bundle", Path(temporary) / "result"
        write_bundle(folder)
        command = [python or sys.executable, str(folder / "run.py"), "--backend", _BOARD, *options, "-o", str(result)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise UsageError(f"--python {python}: {error.strerror or error}") from error
        said = done.stderr.strip().removeprefix("error: ")
        if done.returncode == _MISSING:
            raise MissingBackendError(f"{said}\nWithout it, the simulator: {simulator}")
        if done.returncode == UsageError.exit_code:
            raise UsageError(said)
        if not (result / _RESULT).is_file():
            tail = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-_ERROR_LINES:])
            raise NeurodeployError(f"the run on {title} failed with exit code {done.returncode}; it said\n{tail}")
        yield result


def read_result(folder: Path, form: str, backends: Mapping[str, Evidence], network: ChipNetwork) -> Result:
    """What a bundle's runner wrote.

    Args:
        form: `format` of result.json.
        backends: backend of the runner -> what its numbers rest on.
        network: what must have run.

    Raises:
        FileFormatError: for a damaged, changed, incomplete or hostile folder.
        UsageError: where another network ran.
    """
    described = _description(folder, form, backends)
    if described["network_hash"] != network_hash(network) or described["chip"] != network.chip:
        raise UsageError(f"{folder}: another network ran; name the artifact that its bundle was made with")
    arrays = _arrays(folder, described["sha256"])
    if "events" not in arrays or arrays["events"].ndim != 3:
        raise FileFormatError(f"{folder / ARRAYS}: events of shape (steps, samples, channels) are expected")
    return Result(described, arrays, backends[described["backend"]])


def imported(
    result: Result, inputs: NDArray[Any], expected: Recording, got: Recording, tolerated: float = 0.0, **more: Any
) -> ImportedRun:
    """What came out beside what our simulator puts out for the same inputs, over the layers that came back.

    Args:
        inputs: (steps, B, channels).
        expected: with spikes and potentials of all layers.
        tolerated: as in `ImportedRun`.
        more: entries of the comparison.
    """
    comparison = compared(expected, got) | {
        "form": "as exported",
        "decisions_differing_from_artifact": int((expected.decisions != got.decisions).sum()),
        **more,
    }
    told = result.described
    run = RecordedRun(
        name=told["name"],
        evidence=result.evidence,
        program_hash=told["network_hash"],
        backend=f"{told['chip']} {told['backend']}",
        versions=told["versions"],
        date=told["date"],
        inputs=inputs,
        recording=Recording(  # a run folder holds spikes as bits
            {name: values for name, values in got.spikes.items() if values.max(initial=0) <= 1},
            got.potentials,
            got.readout,
        ),
        facts={**told["facts"], "comparison": comparison},
    )
    return ImportedRun(run, comparison, tolerated)


def _description(folder: Path, form: str, backends: Mapping[str, Evidence]) -> dict[str, Any]:
    path = folder / _RESULT
    try:
        told = json.loads(read_file(path, _LARGEST_DESCRIPTION, "made by the runner of a bundle").decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: missing or damaged ({error}); the runner of a bundle writes it") from error
    if not isinstance(told, dict) or (told.get("format"), told.get("version")) != (form, _VERSION):
        raise FileFormatError(f"{path}: not a {form}, version {_VERSION}, of a bundle's runner")
    kinds = dict.fromkeys(_TEXTS, str) | {"versions": dict, "facts": dict}
    for name, kind in kinds.items():
        if type(told.get(name)) is not kind:
            raise FileFormatError(f"{path}: {name} is missing or not a {kind.__name__}")
    if told["backend"] not in backends:
        raise FileFormatError(f"{path}: ran on {told['backend']!r}; the runner has {', '.join(backends)}")
    if told["backend"] == _BOARD and not {"rockpool", "samna"} <= set(told["versions"]):
        raise FileFormatError(f"{path}: says it ran on a board, but names no version of rockpool and samna")
    check_probes(told["facts"], folder)
    return told


def _arrays(folder: Path, digest: str) -> dict[str, NDArray[Any]]:
    path = folder / ARRAYS
    content = read_file(path, _LARGEST_RECORDING, "made by the runner of a bundle")
    if hashlib.sha256(content).hexdigest() != digest:
        raise FileFormatError(f"{path}: changed since it was written (SHA-256 differs); copy it again")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(one.file_size for one in packed.infolist()) > _LARGEST_RECORDING:
                raise FileFormatError(f"{path}: more than {_LARGEST_RECORDING} bytes when unpacked")
            for one in packed.infolist():
                _check_header(packed, one)
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except _DAMAGE as error:
        raise FileFormatError(f"{path}: missing or damaged ({error})") from error
    wrong = [name for name, values in arrays.items() if values.dtype.kind not in "iu" or values.size == 0]
    if wrong:
        raise FileFormatError(f"{path}: {', '.join(wrong)}: whole numbers are expected")
    return arrays


def _check_header(packed: zipfile.ZipFile, one: zipfile.ZipInfo) -> None:
    """Raises ValueError where an array claims another size than is there; NumPy makes room for what is claimed."""
    with packed.open(one) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if file.tell() + math.prod(shape) * dtype.itemsize != one.file_size:
            raise ValueError(f"{one.filename}: shape {shape} of {dtype} is not what its {one.file_size} bytes hold")
