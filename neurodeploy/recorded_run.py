"""A run folder: what a Program put out somewhere else, on a chip or in a simulator, and what that rests on.

    run.json                 format, name, evidence, hash of the program, backend, versions, date, facts, shapes of the
                             spikes, size and SHA-256 of the recording
    recording.safetensors    readout, inputs (where they are known), potentials.<layer>, spikes.<layer> as packed bits

Arrays of some layers may be missing: a chip shows only what is probed. A folder is written under another name and
renamed when it is complete. Everything read is checked before use: sizes, hashes, names, types, shapes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.files import read_file
from neurodeploy.folders import FolderKind, new_folder, recover
from neurodeploy.hw_models.chip import Evidence
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.program import Program
from neurodeploy.simulate.recording import Recording, check_inputs

FORMAT = "neurodeploy-run"
VERSION = 1
DESCRIPTION, RECORDING = "run.json", "recording.safetensors"
KIND = FolderKind("a run", DESCRIPTION, FORMAT, (RECORDING,))
LARGEST_DESCRIPTION = 4 * 2**20
LARGEST_RECORDING = 4 * 2**30
_HINT = f"a run folder holds {DESCRIPTION} and {RECORDING}"
_LONGEST_TEXT = 200
_MOST_DIMENSIONS = 8
_SPIKES, _POTENTIALS = "spikes.", "potentials."
_TEXTS = ("name", "evidence", "program_hash", "backend", "date")
_FIELDS = dict.fromkeys((*_TEXTS, "sha256"), str) | {"versions": dict, "facts": dict, "shapes": dict, "bytes": int}


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """One run of one Program.

    Attributes:
        name: what people call it.
        evidence: what its numbers rest on, one of `neurodeploy.hw_models.chip.Evidence`.
        program_hash: `neurodeploy.ir.identity.program_hash` of the program that ran.
        backend: what ran it, for example "loihi2" or "lava".
        versions: package or part -> version, of what ran it.
        date: when, ISO 8601.
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape); None where they are not known.
        recording: spikes and potentials of some or all layers, and the readout (B, classes).
        facts: plain values for people and reports (power, time, host).

    Raises:
        UsageError: naming the value that is not what is said above.
    """

    name: str
    evidence: Evidence
    program_hash: str
    backend: str
    versions: Mapping[str, str]
    date: str
    inputs: NDArray[Any] | None
    recording: Recording
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        layers = (*self.recording.spikes, *self.recording.potentials)
        texts = [("name", self.name), ("backend", self.backend), *(("name of a layer", name) for name in layers)]
        texts += [(f"version of {key!r}", text) for key, value in self.versions.items() for text in (key, value)]
        for what, text in texts:
            if not (isinstance(text, str) and text.isprintable() and 0 < len(text) <= _LONGEST_TEXT):
                raise UsageError(f"{what}: a text of 1 to {_LONGEST_TEXT} printable characters is expected")
        if self.evidence not in get_args(Evidence):
            raise UsageError(f"evidence {self.evidence!r}: allowed are {', '.join(get_args(Evidence))}")
        if len(self.program_hash) != 64 or set(self.program_hash) - set("0123456789abcdef"):
            raise UsageError("program_hash: 64 hexadecimal digits are expected")
        try:
            datetime.fromisoformat(self.date)
            json.dumps(dict(self.facts), allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            raise UsageError(f"date or facts: ISO 8601 and plain values are expected ({error})") from error
        _check_arrays(self.recording)


def save_run(folder: Path, run: RecordedRun) -> None:
    """Writes a run folder, in place of an earlier run there.

    Raises:
        UsageError: where `folder` exists and is not a run.
        NeurodeployError: where the disk fails; what was there is whole.
    """
    content = save_arrays(_encode(run))
    description = {"format": FORMAT, "version": VERSION} | {name: getattr(run, name) for name in _TEXTS}
    description |= {
        "versions": dict(run.versions),
        "facts": dict(run.facts),
        "shapes": {name: list(values.shape) for name, values in run.recording.spikes.items()},
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with new_folder(folder, KIND) as place:
        (place / RECORDING).write_bytes(content)
        (place / DESCRIPTION).write_text(json.dumps(description, indent=1, allow_nan=False), encoding="utf-8")


def load_run(folder: Path, program: Program | None = None) -> RecordedRun:
    """Reads and checks a run folder.

    Args:
        program: what must have run; see `check_program`.

    Raises:
        FileFormatError: naming the file, and what is missing, changed, too large, damaged or foreign.
        UsageError: where another program ran.
    """
    recover(folder)
    described = read_description(folder)
    where = folder / RECORDING
    content = read_file(where, LARGEST_RECORDING, _HINT)
    if len(content) != described["bytes"] or hashlib.sha256(content).hexdigest() != described["sha256"]:
        raise FileFormatError(f"{where}: changed or cut off since it was written (SHA-256 differs); copy it again")
    try:
        inputs, recording = _decode(load_arrays(content), described["shapes"])
        plain = {name: described[name] for name in (*_TEXTS, "versions", "facts")}
        run = RecordedRun(inputs=inputs, recording=recording, **plain)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{where}: damaged or not a recording ({error})") from error
    except NeurodeployError as error:
        raise FileFormatError(f"{folder}: {error}") from error
    if program is not None:
        check_program(run, program, str(folder))
    return run


def is_run(path: Path) -> bool:
    """True where a folder has the description of a run."""
    try:
        read_description(path)
    except FileFormatError:
        return False
    return True


def read_description(folder: Path) -> dict[str, Any]:
    """The description of a run folder without its arrays, types checked. Raises FileFormatError."""
    path = folder / DESCRIPTION
    content = read_file(path, LARGEST_DESCRIPTION, _HINT)
    try:
        described = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error})") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not a run of ours (made by `neurodeploy` or by the runner of a bundle)")
    if described.get("version") != VERSION:
        raise FileFormatError(f"{path}: version {described.get('version')!r}, this program reads {VERSION}")
    for name, kind in _FIELDS.items():
        if type(described.get(name)) is not kind:
            raise FileFormatError(f"{path}: {name} is missing or not a {kind.__name__}")
    return cast(dict[str, Any], described)


def check_program(run: RecordedRun, program: Program, where: str) -> None:
    """Compares a run with the program that must have run: hash, layers, steps, shapes, the sum of the last layer.

    Raises:
        UsageError: where another program ran.
        FileFormatError: where arrays do not fit.
    """
    wanted = program_hash(program)
    if run.program_hash != wanted:
        raise UsageError(
            f"{where}: another program ran (hash {run.program_hash[:12]}…, this artifact's is {wanted[:12]}…): name "
            "the artifact that it was made from"
        )
    try:
        _check_fit(run, program)
    except UsageError as error:
        raise FileFormatError(f"{where}: {error}") from error


# --- parts --------------------------------------------------------------------------------------------------------


def _check_arrays(recording: Recording) -> None:
    """Types, and one number of steps and samples everywhere."""
    readout, sizes = recording.readout, set()
    if readout.ndim < 2 or readout.size == 0 or readout.dtype.kind not in "iuf" or not np.isfinite(readout).all():
        raise UsageError(f"readout of shape {readout.shape}, {readout.dtype}: finite (samples, classes) are expected")
    for name, values in recording.spikes.items():
        if values.dtype != np.uint8 or values.size == 0 or values.max() > 1:
            raise UsageError(f"spikes of layer {name}: 0 and 1 of type uint8 are expected, this is {values.dtype}")
        sizes.add(values.shape[:2])
    for name, values in recording.potentials.items():
        if values.dtype.kind not in "if" or values.size == 0 or not np.isfinite(values).all():
            raise UsageError(f"potentials of layer {name}: finite numbers are expected, this is {values.dtype}")
        sizes.add(values.shape[:2])
    if len(sizes) > 1 or any(len(size) != 2 or size[1] != len(readout) for size in sizes):
        raise UsageError(f"layers of (steps, samples) {sorted(sizes)} for {len(readout)} samples of the readout")


def _check_fit(run: RecordedRun, program: Program) -> None:
    layers = {layer.name: layer for layer in program.layers}
    samples, readout, last = len(run.recording.readout), run.recording.readout, program.layers[-1]
    for what, arrays in (("spikes", run.recording.spikes), ("potentials", run.recording.potentials)):
        for name, values in arrays.items():
            if name not in layers or (what == "spikes" and not layers[name].fires):
                allowed = [layer.name for layer in program.layers if layer.fires or what == "potentials"]
                raise UsageError(f"{what} of layer {name!r}: the program has {', '.join(allowed)}")
            shape = (program.steps, samples, *layers[name].shape)
            if values.shape != shape:
                raise UsageError(f"{what} of layer {name}: shape {values.shape}, {shape} is expected")
            if program.fixed_point and values.dtype.kind == "f":
                raise UsageError(f"{what} of layer {name}: {values.dtype} where the chip has integers")
    if readout.shape != (samples, *last.shape):
        raise UsageError(f"readout of shape {readout.shape}: {(samples, *last.shape)} is expected")
    if run.inputs is not None and check_inputs(program, run.inputs)[0] != samples:
        raise UsageError(f"inputs of shape {run.inputs.shape} for {samples} samples of the readout")
    summed = (run.recording.spikes if last.fires else run.recording.potentials).get(last.name)
    if program.fixed_point and summed is not None and (summed.sum(axis=0, dtype=np.int64) != readout).any():
        raise UsageError(f"the readout is not the sum of layer {last.name} over time")


def _encode(run: RecordedRun) -> dict[str, NDArray[Any]]:
    arrays = {"readout": run.recording.readout} | ({} if run.inputs is None else {"inputs": run.inputs})
    arrays |= {f"{_POTENTIALS}{name}": values for name, values in run.recording.potentials.items()}
    narrow = {name: _narrow(values) for name, values in arrays.items()}
    return narrow | {f"{_SPIKES}{name}": np.packbits(values.ravel()) for name, values in run.recording.spikes.items()}


def _decode(arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, Any]) -> tuple[NDArray[Any] | None, Recording]:
    spikes, potentials = {}, {}
    for name, values in arrays.items():
        if name.startswith(_SPIKES):
            layer = name.removeprefix(_SPIKES)
            spikes[layer] = _unpacked(name, values, shapes[layer])
        elif name.startswith(_POTENTIALS):
            potentials[name.removeprefix(_POTENTIALS)] = _wide(values)
        elif name not in ("readout", "inputs"):
            raise ValueError(f"unknown array {name!r}")
    if set(shapes) != set(spikes):
        raise ValueError("shapes of other layers than those with spikes")
    inputs = arrays.get("inputs")
    if inputs is not None and inputs.dtype.kind not in "iu":
        raise ValueError(f"inputs of type {inputs.dtype}")
    return inputs, Recording(spikes, potentials, _wide(arrays["readout"]))


def _unpacked(name: str, values: NDArray[Any], shape: Any) -> NDArray[np.uint8]:
    edges = shape if isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS else []
    if not edges or any(type(edge) is not int or edge < 1 for edge in edges):
        raise ValueError(f"{name}: shape {str(shape)[:_LONGEST_TEXT]}")
    bits = math.prod(edges)
    if values.dtype != np.uint8 or values.shape != (-(-bits // 8),):
        raise ValueError(f"{name} does not hold {bits} packed bits")
    return np.unpackbits(values, count=bits).reshape(edges)


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Integers in 32 bits where they fit; in the order of C."""
    limits = np.iinfo(np.int32)
    fits = values.dtype.kind in "iub" and values.size and limits.min <= values.min() and values.max() <= limits.max
    return np.asarray(values, dtype=np.int32 if fits else None, order="C")


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    """int64 or float64; raises ValueError for what is no number."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"an array of {values.dtype}")
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
