"""A Xylo artifact on a board: run there, or imported from a run done elsewhere, and held to the reference."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare import compare
from neurodeploy.errors import FileFormatError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.export import samna_boards, xylo_bundle
from neurodeploy.export.xylo_folder import XyloArtifact
from neurodeploy.hardware_run import ImportedRun
from neurodeploy.hw_models.chip import Evidence
from neurodeploy.hw_models.xylo import XYLO_CHIPS
from neurodeploy.ir.identity import xylo_hash
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.recorded_run import RecordedRun
from neurodeploy.simulate import xylo as reference
from neurodeploy.simulate.recording import Recording

CHIPS = MappingProxyType({name: chip.title for name, chip in XYLO_CHIPS.items()})
"""What `deploy` reaches: name -> what it is."""

_BACKENDS: MappingProxyType[str, Evidence] = MappingProxyType({"board": "measured-silicon", "xylosim": "bit-exact-sim"})
_FORMAT, _VERSION = "neurodeploy-xylo-result", 1
_LARGEST_DESCRIPTION, _LARGEST_RECORDING = 4 * 2**20, 2 * 2**30
_TEXTS = ("name", "network_hash", "chip", "backend", "date", "sha256")
_MISSING, _ERROR_LINES = 4, 30
_RESULT, _ARRAYS = "result.json", "result.npz"
_OUTPUT = reference.OUTPUT


def deploy(
    artifact: XyloArtifact,
    chip: str,
    simulator: str,
    samples: int | None = None,
    record: str = "output",
    power: bool = False,
    python: str | None = None,
) -> ImportedRun:
    """Runs an artifact on a board through the runner of its bundle, and imports what came out.

    Args:
        chip: one of `CHIPS`, the one that the artifact was made for.
        simulator: the command that runs the artifact without a board, for messages.
        record: "output" or "all".
        power: measure the board's supplies.
        python: the interpreter that has samna; this one where None.

    Raises:
        UsageError: where the artifact was made for another chip, or an option is wrong.
        DesignRuleError: where the network does not fit.
        MissingBackendError: naming everything that is missing, and what can be done without it.
        NeurodeployError: where the run failed.
    """
    if artifact.network.chip != chip:
        raise UsageError(
            f"--target {chip}: the artifact was made for {artifact.network.chip}; export it with --chip {chip}"
        )
    if python is None:
        samna_boards.require(CHIPS[chip], simulator)
    with tempfile.TemporaryDirectory(prefix="neurodeploy-deploy-") as temporary:
        folder, result = Path(temporary) / "bundle", Path(temporary) / "result"
        xylo_bundle.write_bundle(artifact, folder)
        command = [python or sys.executable, str(folder / "run.py"), "--backend", "board", "--record", record]
        command += [
            *(["--samples", str(samples)] if samples else []),
            *(["--power"] if power else []),
            "-o",
            str(result),
        ]
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
            raise NeurodeployError(f"the run on {chip} failed with exit code {done.returncode}; it said\n{tail}")
        return import_run(result, artifact)


def is_result(folder: Path) -> bool:
    """Whether a folder was written by the runner of a Xylo bundle."""
    return (folder / _RESULT).is_file()


def import_run(folder: Path, artifact: XyloArtifact) -> ImportedRun:
    """Checks what a bundle's runner wrote and compares it with the reference, value for value.

    Raises:
        FileFormatError: for a damaged, changed, incomplete or hostile folder.
        UsageError: where another network ran.
    """
    network, described = artifact.network, _description(folder)
    if described["network_hash"] != xylo_hash(network) or described["chip"] != network.chip:
        raise UsageError(f"{folder}: another network ran; name the artifact that its bundle was made with")
    arrays = _arrays(folder, described["sha256"])
    missing = {"events"} - set(arrays)
    if missing or not {"output_spikes", "output_potentials"} & set(arrays):
        raise FileFormatError(f"{folder / _ARRAYS}: events and output_spikes or output_potentials are expected")
    events = arrays["events"]
    if events.ndim != 3 or events.shape[0] != network.chip_steps or events.shape[2:] != network.input.shape:
        raise FileFormatError(
            f"{folder / _ARRAYS}: events of shape {events.shape}: (steps, samples, channels) expected"
        )
    if events[network.steps :].any():
        raise FileFormatError(f"{folder / _ARRAYS}: events after step {network.steps}, where the input has ended")
    expected = reference.run(network, events[: network.steps])
    wanted, got = expected.by_block(network), _recorded(folder, network, arrays)
    readout = "output_spikes" if network.readout == "spike_count" else "output_potentials"
    if readout not in arrays:
        raise FileFormatError(f"{folder / _ARRAYS}: no {readout}, which this network's readout is made of")
    summed = np.asarray(arrays[readout][network.latency :].sum(axis=0, dtype=np.int64))
    names = [name for name in wanted.potentials if name in got.spikes or name in got.potentials]
    spikes = {name: wanted.spikes[name] for name in names if name in got.spikes}
    potentials = {name: wanted.potentials[name] for name in names}
    found = compare(
        Recording(spikes, potentials, expected.readout),
        Recording(got.spikes, potentials | dict(got.potentials), summed),
    )
    differing = int((expected.readout != summed).any(axis=1).sum())
    comparison = found.as_dict() | {
        "first": str(found.first) if found.first else None,
        "form": "as exported",
        "voltages_recorded": list(got.potentials),
        "readouts_differing": differing,
        "decisions_differing_from_artifact": int((expected.decisions != summed.argmax(axis=-1)).sum()),
    }
    output = {name: values for name, values in got.spikes.items() if values.max(initial=0) <= 1}
    run = RecordedRun(
        name=described["name"],
        evidence=_BACKENDS[described["backend"]],
        program_hash=described["network_hash"],
        backend=f"{network.chip} {described['backend']}",
        versions=described["versions"],
        date=described["date"],
        inputs=events[: network.steps],
        recording=Recording(output, got.potentials, summed),
        facts={**described["facts"], "comparison": comparison},
    )
    return ImportedRun(run, comparison)


def _description(folder: Path) -> dict[str, Any]:
    path = folder / _RESULT
    try:
        if path.stat().st_size > _LARGEST_DESCRIPTION:
            raise FileFormatError(f"{path}: {path.stat().st_size} bytes, allowed are {_LARGEST_DESCRIPTION}")
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: missing or damaged ({error}); the runner of a bundle writes it") from error
    if not isinstance(told, dict) or (told.get("format"), told.get("version")) != (_FORMAT, _VERSION):
        raise FileFormatError(f"{path}: not a result of a Xylo bundle's runner, version {_VERSION}")
    kinds = dict.fromkeys(_TEXTS, str) | {"versions": dict, "facts": dict}
    for name, kind in kinds.items():
        if type(told.get(name)) is not kind:
            raise FileFormatError(f"{path}: {name} is missing or not a {kind.__name__}")
    if told["backend"] not in _BACKENDS:
        raise FileFormatError(f"{path}: ran on {told['backend']!r}; the runner has {', '.join(_BACKENDS)}")
    if told["backend"] == "board" and not {"rockpool", "samna"} <= set(told["versions"]):
        raise FileFormatError(f"{path}: says it ran on a board, but names no version of rockpool and samna")
    return told


def _arrays(folder: Path, digest: str) -> dict[str, NDArray[Any]]:
    path = folder / _ARRAYS
    try:
        if path.stat().st_size > _LARGEST_RECORDING or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise FileFormatError(
                f"{path}: too large, or changed since it was written (SHA-256 differs); copy it again"
            )
        with zipfile.ZipFile(path) as packed:
            if sum(one.file_size for one in packed.infolist()) > _LARGEST_RECORDING:
                raise FileFormatError(f"{path}: more than {_LARGEST_RECORDING} bytes when unpacked")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{path}: missing or damaged ({error})") from error
    wrong = [name for name, values in arrays.items() if values.dtype.kind not in "iu" or values.size == 0]
    if wrong:
        raise FileFormatError(f"{path}: {', '.join(wrong)}: whole numbers are expected")
    return arrays


def _recorded(folder: Path, network: XyloNetwork, arrays: dict[str, NDArray[Any]]) -> Recording:
    """What came back, layer by layer, as `XyloRecording.by_block` names it."""
    leading = (network.chip_steps, arrays["events"].shape[1])
    sizes = dict.fromkeys(("spikes", "potentials", "currents", "currents_2"), network.hidden)
    sizes |= dict.fromkeys(("output_spikes", "output_potentials", "output_currents"), network.outputs)
    for name, values in arrays.items():
        if name != "events" and (name not in sizes or values.shape != (*leading, sizes[name])):
            raise FileFormatError(
                f"{folder / _ARRAYS}: {name} of shape {values.shape}; (steps, samples, neurons) of {', '.join(sizes)}"
            )
    spikes, potentials = {}, {}
    for block in network.blocks:
        part = slice(block.start, block.stop)
        if "spikes" in arrays:
            spikes[block.name] = arrays["spikes"][..., part].astype(np.uint8)
        for key, name in (("potentials", block.name), ("currents", f"{block.name} current 1")):
            if key in arrays:
                potentials[name] = arrays[key][..., part].astype(np.int64)
        if "currents_2" in arrays and network.synapses == 2:
            potentials[f"{block.name} current 2"] = arrays["currents_2"][..., part].astype(np.int64)
    if "output_spikes" in arrays:
        spikes[_OUTPUT] = arrays["output_spikes"].astype(np.uint8)
    for key, name in (("output_potentials", _OUTPUT), ("output_currents", f"{_OUTPUT} current")):
        if key in arrays:
            potentials[name] = arrays[key].astype(np.int64)
    return Recording(spikes, potentials, np.zeros((leading[1], network.outputs)))
