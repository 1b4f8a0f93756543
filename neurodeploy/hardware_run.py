"""An artifact on hardware: run there, or imported from a run that somebody did elsewhere, and held to the reference."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neurodeploy.compare import compare
from neurodeploy.errors import (
    DesignRuleError,
    FileFormatError,
    MissingBackendError,
    NeurodeployError,
    UsageError,
    unknown_name,
)
from neurodeploy.export import bundle, loihi2
from neurodeploy.export.dynapse2 import NAME as DYNAPSE2
from neurodeploy.hw_models.chip import Evidence
from neurodeploy.hw_models.xylo import XYLO_CHIPS
from neurodeploy.ir.artifact import Artifact
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.program import Program
from neurodeploy.recorded_run import RecordedRun, check_program, load_run
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

CHIPS = MappingProxyType({"loihi2": loihi2.TITLE})
"""What `deploy` reaches: name -> what it is."""

BACKENDS: MappingProxyType[str, Evidence] = MappingProxyType({"cpu": "bit-exact-sim", "loihi2": "measured-silicon"})
"""Backend of a bundle's runner -> what its numbers rest on."""

_MISSING = 4  # exit code of the runner where something is not installed
_ERROR_LINES = 30
_WITHOUT = (
    "Without it, the simulator: neurodeploy run ARTIFACT --backend lava\n"
    "or take a bundle to where it is: neurodeploy export MODEL --target lava --bundle"
)


@dataclass(frozen=True, eq=False)
class ImportedRun:
    """A run in terms of the artifact's program, and its comparison.

    Attributes:
        run: with `comparison` among its facts.
        comparison: plain values: those of `neurodeploy.compare.Comparison`, over what the run recorded, against the
            reference of the program that ran, but mismatched_voltages None where none came back; and form,
            voltages_recorded, readouts_differing, and decisions_differing_from_artifact.
        tolerated: share of the spikes that may differ: 0 on a digital chip, 1 on an analogue one.
    """

    run: RecordedRun
    comparison: dict[str, Any]
    tolerated: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether nothing that was recorded differs from the reference, or no more than is tolerated."""
        if self.tolerated:
            return bool(self.comparison["mismatched_spikes"] <= self.tolerated * self.comparison["spikes_compared"])
        names = ("mismatched_spikes", "mismatched_voltages", "readouts_differing")
        return not any(self.comparison[name] for name in names)


def import_run(folder: Path, artifact: Artifact) -> ImportedRun:
    """Checks what a bundle's runner wrote and compares it with the reference.

    Raises:
        FileFormatError: for a damaged, changed, incomplete or hostile folder, or evidence that its backend cannot give.
        UsageError: where another program ran.
    """
    run = load_run(folder)
    _check_evidence(run, folder)
    check_probes(run.facts, folder)
    program = artifact.program
    ran = _program_that_ran(run, program)
    check_program(run, ran, str(folder))
    if run.inputs is None:
        raise FileFormatError(f"{folder}: holds no inputs, without which nothing can be compared")
    expected = reference.run(ran, run.inputs)
    own = expected if ran is program else reference.run(program, run.inputs)
    form = "as exported" if ran is program else "even weights"
    comparison = compared(expected, run.recording) | {
        "form": form,
        "decisions_differing_from_artifact": int((run.recording.decisions != own.decisions).sum()),
    }
    own_units = [mine.name for mine, its in zip(program.layers, ran.layers, strict=True) if mine.scale == its.scale]
    potentials = {name: values for name, values in run.recording.potentials.items() if name in own_units}
    imported = replace(
        run,
        program_hash=program_hash(program),
        recording=Recording(run.recording.spikes, potentials, run.recording.readout),
        facts=dict(run.facts) | {"comparison": comparison},
    )
    return ImportedRun(imported, comparison)


def deploy(artifact: Artifact, chip: str, options: Sequence[str], python: str | None = None) -> ImportedRun:
    """Runs an artifact on a chip through the runner of its bundle, and imports what came out.

    Args:
        chip: one of `CHIPS`.
        options: of the runner (`run.py --help`).
        python: the interpreter that has the chip's software; this one where None.

    Raises:
        UsageError: for an unknown chip or a wrong option.
        DesignRuleError: where the program does not fit.
        MissingBackendError: naming everything that is missing, and what can be done without it.
        NeurodeployError: where the run failed.
    """
    if chip not in CHIPS:
        raise unknown_name("chip to deploy to", chip, (*CHIPS, *XYLO_CHIPS, DYNAPSE2))
    with tempfile.TemporaryDirectory(prefix="neurodeploy-deploy-") as temporary:
        folder, result = Path(temporary) / "bundle", Path(temporary) / "run"
        bundle.write_bundle(artifact, folder)
        command = [python or sys.executable, str(folder / "run.py"), "--backend", chip, *options, "-o", str(result)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise UsageError(f"--python {python}: {error.strerror or error}") from error
        if done.returncode == _MISSING:
            missing = [line for line in _error(done.stderr).splitlines() if not line.startswith("The simulator")]
            raise MissingBackendError("\n".join([*missing, _WITHOUT]))
        if done.returncode == UsageError.exit_code:
            raise UsageError(_error(done.stderr))
        if not (result / "run.json").is_file():
            tail = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-_ERROR_LINES:])
            raise NeurodeployError(f"the run on {chip} failed with exit code {done.returncode}; it said\n{tail}")
        return import_run(result, artifact)


def _error(text: str) -> str:
    return text.strip().removeprefix("error: ")


def _check_evidence(run: RecordedRun, folder: Path) -> None:
    if run.backend not in BACKENDS:
        raise FileFormatError(f"{folder}: ran on {run.backend!r}; a bundle's runner has {', '.join(BACKENDS)}")
    if run.evidence != BACKENDS[run.backend]:
        raise FileFormatError(
            f"{folder}: says {run.evidence} of a run on {run.backend}, which can only be {BACKENDS[run.backend]}"
        )
    if run.evidence == "measured-silicon" and ("host" not in run.facts or "lava-loihi" not in run.versions):
        raise FileFormatError(
            f"{folder}: says {run.evidence}, but names no host or no version of lava-loihi: not what the runner writes"
        )


def check_probes(facts: Mapping[str, Any], folder: Path) -> None:
    """What probes measured is for people; raises FileFormatError for anything but numbers with names."""
    probes = facts.get("probes", {})
    figures = [probes] if not isinstance(probes, dict) else list(probes.values())
    for named in figures:
        values = list(named.values()) if isinstance(named, dict) else [named]
        if not isinstance(named, dict) or not all(value is None or _is_figure(value) for value in values):
            raise FileFormatError(f"{folder}: probes: name -> (figure -> number or null) is expected")


def _is_figure(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _program_that_ran(run: RecordedRun, program: Program) -> Program:
    """The artifact's program, or its form for hardware where that is what ran."""
    if run.program_hash == program_hash(program):
        return program
    try:
        form = loihi2.hardware_form(program).program
    except DesignRuleError:  # it has no such form: the run is of something else, which check_program says
        return program
    return form if run.program_hash == program_hash(form) else program


def compared(expected: Recording, got: Recording) -> dict[str, Any]:
    """Over the layers that were recorded; `mismatched_voltages` is None where no voltages came back."""
    names = [name for name in expected.potentials if name in got.spikes or name in got.potentials]
    spikes = {name: expected.spikes[name] for name in names if name in got.spikes}
    potentials = {name: expected.potentials[name] for name in names}
    found = compare(
        Recording(spikes, potentials, expected.readout),
        Recording(got.spikes, potentials | dict(got.potentials), got.readout),
    )
    told, known = found.as_dict(), [name for name in names if name in got.potentials]
    for row in told["layers"]:
        if row["layer"] not in known:
            row["mismatched_voltages"] = None
    return (
        told
        | ({} if known else {"mismatched_voltages": None})
        | {
            "first": str(found.first) if found.first else None,
            "voltages_recorded": known,
            "readouts_differing": int(
                (expected.readout != got.readout).reshape(len(got.readout), -1).any(axis=1).sum()
            ),
        }
    )
