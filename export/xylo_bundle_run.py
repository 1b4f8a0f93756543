"""Runs this bundle where a Xylo board is: `python run.py --backend board`; or `--backend xylosim`, the simulator.

Self-contained: Python 3.10 or later, NumPy, and Rockpool with the real samna for the board, or xylosim. neurodeploy is
not needed. What comes out is a folder with `result.json` and `result.npz` for `neurodeploy import-run`.

Exit codes: 0 as expected, 1 the output differs or the run failed, 2 wrong usage or a changed bundle, 4 something is
not installed or not connected.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.dont_write_bytecode = True  # the bundle stays what it was
BUNDLE = Path(__file__).resolve().parent
BOARD, SIMULATOR = "board", "xylosim"
PACKAGES = ("numpy", "rockpool", "samna", "xylosim")
UNPROVEN = (
    "This path was written from Rockpool's source and has not been run on a board by its authors; trust what it says "
    "about your chip only as far as its output agrees with the expected one."
)
Arrays = dict[str, Any]


class BundleError(Exception):
    """One line for the user, and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="run.py", description="Runs this network on a Xylo board or in xylosim.")
    parser.add_argument("--backend", choices=(BOARD, SIMULATOR), required=True)
    parser.add_argument("--samples", type=int, help="only the first so many samples")
    parser.add_argument("--record", choices=("output", "all"), default="output", help="whose states come back")
    parser.add_argument("--power", action="store_true", help="board: measure the power of its four supplies")
    parser.add_argument("-o", "--output", type=Path, help="folder to write (default: run-BACKEND)")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except BundleError as failure:
        sys.stderr.write(f"error: {failure}\n")
        return failure.code


def _run(options: argparse.Namespace) -> int:
    bundle = _checked_bundle()
    with np.load(BUNDLE / "golden.npz", allow_pickle=False) as stored:
        golden = {name: stored[name] for name in stored.files}
    count = golden["events"].shape[1]
    if options.samples is not None and not 1 <= options.samples <= count:
        raise BundleError(f"--samples {options.samples}: the bundle has 1 to {count}", 2)
    events = golden["events"][:, : options.samples]
    described = json.loads((BUNDLE / "xylo_specification.json").read_text(encoding="utf-8"))
    arguments = described["arguments"]
    arguments = {name: value if name == "aliases" else np.array(value) for name, value in arguments.items()}
    arguments |= {name: int(arguments[name]) for name in arguments if name.startswith("weight_shift")}
    run = _on_board if options.backend == BOARD else _in_simulator
    result, facts = run(described, arguments, events, options)
    facts["expected"] = _compared(golden, result)
    place = options.output or Path(f"run-{options.backend}")
    _save(place, result | {"events": events}, bundle, options.backend, facts)
    sys.stderr.write(f"{place}: {events.shape[1]} samples; against what is expected: {json.dumps(facts['expected'])}\n")
    sys.stderr.write(f"next: neurodeploy import-run {place} --artifact ARTIFACT -o RUN\n")
    return 1 if any(facts["expected"].values()) else 0


def _checked_bundle() -> dict[str, Any]:
    bundle: dict[str, Any] = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    for name, digest in bundle["files"].items():
        path = BUNDLE / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise BundleError(f"{path}: missing or changed since the bundle was made; copy the bundle again", 2)
    return bundle


def _on_board(described: Any, arguments: Any, events: Any, options: argparse.Namespace) -> tuple[Arrays, Any]:
    """Rockpool's own chain: find the board, make and check the configuration, one XyloSamna, sample after sample."""
    sys.path.insert(0, str(BUNDLE))  # an isolated Python (-I) leaves it out
    samna, detail = importlib.import_module("samna_probe").version()
    lacking = [] if samna else [detail]
    if importlib.util.find_spec("rockpool") is None:
        lacking.append("rockpool is not installed; pip install 'rockpool>=3.1,<3.2'")
    if lacking:
        listing = "".join(f"\n  - {one}" for one in lacking)
        raise BundleError(f"no Xylo board can be reached from here:{listing}", 4)
    family = described["rockpool"].rpartition(".")[2]
    boards, modules, versions = importlib.import_module("rockpool.devices.xylo.helper").find_xylo_hdks()
    fitting = [place for place, version in enumerate(versions) if version == family]
    if not fitting:
        others = f"; connected: {', '.join(versions)}" if versions else "; none is connected"
        raise BundleError(f"no {described['chip']} board ({family}) is connected to this machine{others}", 4)
    sys.stderr.write(UNPROVEN + "\n")
    tools = modules[fitting[0]]
    configuration, valid, message = tools.config_from_specification(**arguments)
    if not valid:
        raise BundleError(f"samna refuses the configuration: {message}", 1)
    mode = "Spike" if described["readout"] == "spike_count" else "Vmem"
    chip = tools.XyloSamna(boards[fitting[0]], configuration, dt=1e-3, output_mode=mode)
    parts: dict[str, list[Any]] = {}
    power: dict[str, list[float]] = {}
    started = time.perf_counter()
    for sample in range(events.shape[1]):
        chip.reset_state()
        out, _, record = chip(events[:, sample].astype(int), record=options.record == "all", record_power=options.power)
        found = {"output_spikes" if mode == "Spike" else "output_potentials": out}
        names = {"Spikes": "spikes", "Vmem": "potentials", "Vmem_out": "output_potentials", "Isyn": "currents"}
        names |= {"Isyn2": "currents_2", "Isyn_out": "output_currents"}
        found |= {name: record[key] for key, name in names.items() if key in record and np.size(record[key])}
        for name, values in found.items():
            parts.setdefault(name, []).append(np.asarray(values))
        for key in ("io_power", "afe_core_power", "afe_ldo_power", "snn_core_power"):
            power.setdefault(key, []).extend(float(one) for one in np.ravel(record.get(key, ())))
    facts: dict[str, Any] = {"caution": UNPROVEN, "seconds": time.perf_counter() - started, "board": family}
    if options.power:
        facts["watts"] = {key: sum(values) / len(values) for key, values in power.items() if values}
    return {name: _integers(np.stack(values, axis=1)) for name, values in parts.items()}, facts


def _in_simulator(described: Any, arguments: Any, events: Any, options: argparse.Namespace) -> tuple[Arrays, Any]:
    if importlib.util.find_spec("xylosim") is None:
        raise BundleError("xylosim is not installed; pip install 'xylosim==0.1.3' (needs a C++ compiler)", 4)
    vendor = importlib.import_module("xylosim.v2")
    into, among, out = (np.asarray(arguments[f"weights_{name}"]) for name in ("in", "rec", "out"))
    hidden = among.shape[0]
    whole_in, whole_out = np.zeros((into.shape[0], hidden, *into.shape[2:]), int), np.zeros((hidden, out.shape[1]), int)
    whole_in[:, : into.shape[1]], whole_out[hidden - out.shape[0] :] = into, out

    def connections(weights: Any) -> list[list[Any]]:
        weights = weights[..., None] if weights.ndim == 2 else weights
        return [[vendor.XyloSynapse(int(t), int(s), int(row[t, s])) for t, s in np.argwhere(row)] for row in weights]

    dashes = [arguments["dash_syn"], *([arguments["dash_syn_2"]] if "dash_syn_2" in arguments else [])]
    synapses = [connections(part) for part in (whole_in, among, whole_out)]  # the layer points to them
    layer = vendor.XyloLayer(
        synapses_in=synapses[0],
        synapses_rec=synapses[1],
        synapses_out=synapses[2],
        aliases=arguments["aliases"],
        threshold=arguments["threshold"].tolist(),
        threshold_out=arguments["threshold_out"].tolist(),
        has_bias=bool(arguments["bias_hidden"].any() or arguments["bias_out"].any()),
        bias=arguments["bias_hidden"].tolist(),
        bias_out=arguments["bias_out"].tolist(),
        weight_shift_inp=arguments["weight_shift_in"],
        weight_shift_rec=arguments["weight_shift_rec"],
        weight_shift_out=arguments["weight_shift_out"],
        dash_mem=arguments["dash_mem"].tolist(),
        dash_mem_out=arguments["dash_mem_out"].tolist(),
        dash_syns=np.stack(dashes, axis=1).tolist(),
        dash_syns_out=arguments["dash_syn_out"][:, None].tolist(),
        name="neurodeploy",
    )
    parts: dict[str, list[Any]] = {}
    for sample in range(events.shape[1]):
        layer.reset_all()
        found = {"output_spikes": np.array(layer.evolve(events[:, sample].tolist()))}
        found["output_potentials"] = np.array(layer.rec_v_mem_out).T
        if options.record == "all":
            found |= {"spikes": np.array(layer.rec_recurrent_spikes), "potentials": np.array(layer.rec_v_mem).T}
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    return {name: _integers(np.stack(values, axis=1)) for name, values in parts.items()}, {}


def _integers(values: Any) -> Any:
    whole = np.rint(np.asarray(values, dtype=float)).astype(np.int32)
    if not np.array_equal(whole, values):
        raise BundleError("what came back is not whole numbers", 1)
    return whole


def _compared(golden: Arrays, result: Arrays) -> dict[str, int]:
    """How many values differ from what the reference puts out for the bundle's samples."""
    found = {}
    for name in ("output_spikes", "output_potentials"):
        if name in result:
            wanted = golden[name][:, : result[name].shape[1]]
            same = result[name].shape == wanted.shape
            found[f"{name}_differing"] = int((result[name] != wanted).sum()) if same else int(wanted.size)
    return found


def _save(place: Path, arrays: Arrays, bundle: dict[str, Any], backend: str, facts: dict[str, Any]) -> None:
    """Writes the folder under another name and renames it."""
    if place.exists() and not (place / "result.json").is_file():
        raise BundleError(f"-o {place}: exists and is no result of this runner; name another", 2)
    partial = place.absolute().with_name(f".{place.absolute().name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.savez_compressed(partial / "result.npz", **arrays)
    digest = hashlib.sha256((partial / "result.npz").read_bytes()).hexdigest()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    described = {
        "format": "neurodeploy-xylo-result",
        "version": 1,
        "name": bundle["name"],
        "network_hash": bundle["network_hash"],
        "chip": bundle["chip"],
        "backend": backend,
        "versions": versions | {"python": ".".join(map(str, sys.version_info[:3]))},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (Python 3.10 has no UTC)
        "facts": facts,
        "sha256": digest,
    }
    (partial / "result.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)


if __name__ == "__main__":
    sys.exit(main())
