"""Runs this bundle where Lava is: `python run.py --backend cpu`, or `--backend loihi2` on an INRC machine.

Self-contained: Python 3.10 or later, NumPy, lava-nc 0.10.0, and Intel's lava-loihi for the chip; neurodeploy is not
needed. What comes out is a run folder (`run.json`, `recording.safetensors`) for `neurodeploy import-run`.

Exit codes: 0 as expected, 1 the output differs or the run failed, 2 wrong usage or a changed bundle, 4 something is
not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

sys.dont_write_bytecode = True  # the bundle stays what it was
BUNDLE = Path(__file__).resolve().parent
EVIDENCE = {"cpu": "bit-exact-sim", "loihi2": "measured-silicon"}
PACKAGES = ("numpy", "lava-nc", "lava-loihi", "nxcore")
UNPROVEN = (
    "This path was written from public documentation and has not been run on hardware by its authors; trust what it "
    "says about your chip only as far as its output agrees with the expected one."
)


class BundleError(Exception):
    """One line for the user, and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        return _run(_parse(arguments))
    except BundleError as failure:
        sys.stderr.write(f"error: {failure}\n")
        return failure.code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Runs this network in Lava's simulator or on Loihi 2.")
    parser.add_argument(
        "--backend", choices=sorted(EVIDENCE), required=True, help="cpu: Lava's simulator; loihi2: the chip"
    )
    parser.add_argument("--inputs", type=Path, help=".npy of integers instead of the bundle's samples")
    parser.add_argument("--samples", type=int, help="only the first so many samples")
    parser.add_argument("-o", "--output", type=Path, help="run folder to write (default: run-BACKEND)")
    chip = parser.add_argument_group("for --backend loihi2")
    chip.add_argument("--host", choices=("slurm", "ethernet"), default="slurm", help="how the board is reached")
    chip.add_argument("--address", help="of the board's host, for --host ethernet")
    environment = os.environ.get
    chip.add_argument("--partition", default=environment("PARTITION"), help="SLURM partition (default $PARTITION)")
    chip.add_argument("--board", default=environment("BOARD"), help="SLURM node (default $BOARD)")
    chip.add_argument("--generation", default=environment("LOIHI_GEN", "N3B3"), help="of the chip (default N3B3)")
    chip.add_argument("--record", choices=("last", "all"), default="last", help="whose spikes come back (default last)")
    chip.add_argument("--probes", default="power,time", help="of power, time, memory, activity; or none")
    chip.add_argument("--input-latency", type=int, default=1, help="steps that the input adapter takes (default 1)")
    chip.add_argument("--output-latency", type=int, default=1, help="steps that the output adapter takes (default 1)")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    bundle = _checked_bundle()
    golden = np.load(BUNDLE / "golden.npz", allow_pickle=False)
    inputs = _some(golden["inputs"] if options.inputs is None else _own(options.inputs), bundle, options.samples)
    frames = _frames(inputs, bundle)
    result, facts = _in_simulator(frames) if options.backend == "cpu" else _on_chip(frames, options)
    wanted = {f"voltages:{one['name']}" for one in bundle["layers"]}
    wanted |= {f"spikes:{one['name']}" for one in bundle["layers"] if one["fires"]}
    result = {name: values[: bundle["steps"]] for name, values in result.items() if name in wanted}
    last = bundle["layers"][-1]
    summed = result[("spikes:" if last["fires"] else "voltages:") + last["name"]]
    readout = summed.sum(axis=0, dtype=np.int64)
    code = 0
    if options.inputs is None:
        facts["expected"] = _compared(golden, result, readout)
        code = 1 if facts["expected"]["spikes_differing"] or facts["expected"]["readouts_differing"] else 0
    place = options.output or Path(f"run-{options.backend}")
    _save(place, _arrays(inputs, result, readout, bundle), bundle, options.backend, facts)
    _say(
        f"{place}: {len(readout)} samples; expected: {json.dumps(facts.get('expected', 'not known for other inputs'))}"
    )
    _say(f"next: neurodeploy import-run {place} --artifact ARTIFACT -o RUN")
    return code


# --- what goes in ---------------------------------------------------------------------------------------------------


def _checked_bundle() -> dict[str, Any]:
    bundle: dict[str, Any] = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    for name, digest in bundle["files"].items():
        path = BUNDLE / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            _fail(f"{path}: missing or changed since the bundle was made; copy the bundle again", 2)
    return bundle


def _own(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        _fail(f"--inputs {path}: {error}; a .npy file of integers is meant", 2)


def _some(inputs: Any, bundle: dict[str, Any], count: int | None) -> Any:
    shape = tuple(bundle["input_shape"])
    static = inputs.ndim == len(shape) + 1
    fits = inputs.shape[inputs.ndim - len(shape) :] == shape and inputs.dtype.kind in "iub"
    if (
        not fits
        or not (static or (inputs.ndim == len(shape) + 2 and len(inputs) == bundle["steps"]))
        or not inputs.size
    ):
        _fail(
            f"inputs {inputs.shape} {inputs.dtype}: integers (samples, {shape}) or (steps, samples, {shape}) are meant",
            2,
        )
    if inputs.min() < 0 or inputs.max() >= 2 ** bundle["input_bits"]:
        _fail(f"inputs {inputs.min()} to {inputs.max()}: allowed are 0 to {2 ** bundle['input_bits'] - 1}", 2)
    if count is not None and count < 1:
        _fail(f"--samples {count}: at least 1", 2)
    return inputs[:count] if static else inputs[:, :count]


def _frames(inputs: Any, bundle: dict[str, Any]) -> Any:
    """(period, samples, *shape): the samples, followed by idle steps where the period is longer than they are."""
    static = inputs.ndim == len(bundle["input_shape"]) + 1
    frames = np.zeros((bundle["period"], *(inputs.shape if static else inputs.shape[1:])), dtype=np.int32)
    frames[: bundle["steps"]] = inputs
    return frames


# --- where it runs --------------------------------------------------------------------------------------------------


def _in_simulator(frames: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    if not _importable("lava.magma"):
        _fail("lava-nc is not installed here: `pip install --no-deps -r requirements.txt` in a Python 3.10", 4)
    with tempfile.TemporaryDirectory(prefix="bundle-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        for path in (BUNDLE / "job").iterdir():
            shutil.copy(path, folder)
        np.save(folder / "inputs.npy", frames, allow_pickle=False)
        worker = BUNDLE / "simulator" / "lava_worker.py"
        command = [sys.executable, *(["-I"] if sys.flags.isolated else []), str(worker), str(folder)]
        environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ}  # a process per layer
        code = subprocess.run(command, env=environment, check=False).returncode
        if code or not (folder / "result.npz").is_file():
            _fail(f"Lava's simulator ended with exit code {code}; what it said is above", 1)
        with np.load(folder / "result.npz", allow_pickle=False) as result:
            return {name: result[name] for name in result.files}, {}


def _on_chip(frames: Any, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    sys.path[:0] = [str(BUNDLE), str(BUNDLE / "simulator")]  # an isolated Python (-I) leaves them out
    if _importable("lava.magma"):
        importlib.import_module("lava_python")  # from Python 3.11 on nothing of Lava's imports without it
    hardware = importlib.import_module("hardware")
    lacking = hardware.missing(options)
    if lacking:
        listing = "".join(f"\n  - {one}" for one in lacking)
        _fail(
            f"Loihi 2 cannot be used from here:{listing}\nThe simulator needs none of it: python run.py --backend cpu",
            4,
        )
    _say(UNPROVEN)
    job = json.loads((BUNDLE / "job" / "lava_job.json").read_text(encoding="utf-8"))
    with np.load(BUNDLE / "job" / "lava_job.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    result, facts = hardware.run(job, arrays, frames, options)
    return result, {"caution": UNPROVEN, **facts}


# --- what comes out -------------------------------------------------------------------------------------------------


def _compared(golden: Any, result: dict[str, Any], readout: Any) -> dict[str, int]:
    """Against what the reference of this very form puts out for the bundle's samples."""
    samples = len(readout)
    spikes = {name: values for name, values in result.items() if name.startswith("spikes:")}
    return {
        "spikes_compared": sum(values.size for values in spikes.values()),
        "spikes_differing": sum(int((golden[name][:, :samples] != values).sum()) for name, values in spikes.items()),
        "readouts_differing": int((golden["readout"][:samples] != readout).any(axis=-1).sum()),
        "decisions_differing": int((golden["readout"][:samples].argmax(-1) != readout.argmax(-1)).sum()),
    }


def _arrays(inputs: Any, result: dict[str, Any], readout: Any, bundle: dict[str, Any]) -> dict[str, Any]:
    arrays = {"readout": readout, "inputs": inputs.astype(np.int32)}
    for layer in bundle["layers"]:
        name = layer["name"]
        if f"voltages:{name}" in result:
            arrays[f"potentials.{name}"] = result[f"voltages:{name}"].astype(np.int32)
        if f"spikes:{name}" in result:
            arrays[f"spikes.{name}"] = result[f"spikes:{name}"].astype(np.uint8)
    return arrays


def _save(place: Path, arrays: dict[str, Any], bundle: dict[str, Any], backend: str, facts: dict[str, Any]) -> None:
    """Writes the run folder under another name and renames it."""
    if place.exists() and not (place / "run.json").is_file():
        _fail(f"-o {place}: exists and is no run folder; name another", 2)
    spikes = [name for name in arrays if name.startswith("spikes.")]
    shapes = {name.split(".", 1)[1]: list(arrays[name].shape) for name in spikes}
    content = _safetensors({**arrays, **{name: np.packbits(arrays[name].ravel()) for name in spikes}})
    description = {
        "format": "neurodeploy-run",
        "version": 1,
        "name": f"{bundle['name']} on {backend}",
        "evidence": EVIDENCE[backend],
        "program_hash": bundle["program_hash"],
        "backend": backend,
        "versions": _versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (Python 3.10 has no UTC)
        "facts": facts,
        "shapes": shapes,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    partial = place.absolute().with_name(f".{place.absolute().name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        (partial / "recording.safetensors").write_bytes(content)
        (partial / "run.json").write_text(json.dumps(description, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if place.exists():
            shutil.rmtree(place)
        partial.rename(place.absolute())
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _safetensors(arrays: dict[str, Any]) -> bytes:
    """The file format of huggingface/safetensors: length of the header, header in JSON, arrays one after another."""
    kinds = {"int64": "I64", "int32": "I32", "uint8": "U8"}
    header, parts, place = {}, [], 0
    for name, values in arrays.items():
        content = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": kinds[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [place, place + len(content)],
        }
        parts.append(content)
        place += len(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, AttributeError, ValueError):
        return False


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _fail(message: str, code: int) -> NoReturn:
    raise BundleError(message, code)


if __name__ == "__main__":
    sys.exit(main())
