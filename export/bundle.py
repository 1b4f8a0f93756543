"""A bundle: one folder with all that a machine with Lava needs to run an artifact, in the simulator or on Loihi 2.

run.py                the runner (see `bundle_run.py`)
hardware*.py          its part for the chip (see `bundle_hardware.py` and `bundle_probes.py`)
job/                  the program's integers in the form for hardware, as the Lava worker reads them
simulator/            the Lava worker
golden.npz            the artifact's samples, and what the reference puts out for this form
bundle.json           format, hash of the program, steps, period, layers, notes, SHA-256 of every file
requirements.txt, job.slurm, README.md
"""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy import __version__
from neurodeploy.errors import DesignRuleError
from neurodeploy.export import lava, lava_job, loihi2
from neurodeploy.folders import BUNDLE, BUNDLE_DESCRIPTION, FolderKind, new_folder
from neurodeploy.ir.artifact import Artifact
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.program import Program
from neurodeploy.simulate import reference

FORMAT = "neurodeploy-bundle"
VERSION = 1
DESCRIPTION, FOLDER = BUNDLE_DESCRIPTION, BUNDLE
"""Where a bundle lies within its artifact."""
COPIES = {
    "bundle_run.py": "run.py",
    "bundle_hardware.py": "hardware.py",
    "bundle_probes.py": "hardware_probes.py",
    "bundle_slurm.txt": "job.slurm",
    "lava_requirements.txt": "requirements.txt",
}


def check(program: Program) -> None:
    """Raises DesignRuleError with everything that keeps a program from the chip (`loihi2.violations`)."""
    found = loihi2.violations(program)
    if found:
        raise DesignRuleError(loihi2.TITLE, found)


def write_bundle(artifact: Artifact, folder: Path, name: str = "network") -> list[str]:
    """Writes a bundle, in place of an earlier one there; returns what its user should know.

    Args:
        name: what people call the network.

    Raises:
        DesignRuleError: as `check`, before anything is written.
        UsageError: where `folder` exists and is no bundle.
        NeurodeployError: where the disk fails; what was there is whole.
    """
    form = loihi2.hardware_form(artifact.program)
    golden = artifact.golden
    expected = reference.run(form.program, golden.inputs)
    identity = program_hash(form.program)
    notes = list(form.notes)
    if identity != program_hash(artifact.program):
        notes.append(loihi2.difference(expected, golden))
    with new_folder(folder, FolderKind("a bundle", DESCRIPTION, FORMAT)) as place:
        (place / "job").mkdir()
        lava_job.save(place / "job", *lava_job.describe(form.program_with_period))
        (place / "simulator").mkdir()
        for file in lava.WORKER_FILES:
            _copy(file, place / "simulator" / file)
        for file, target in COPIES.items():
            _copy(file, place / target)
        arrays = {"inputs": golden.inputs, "labels": golden.labels, "readout": expected.readout}
        arrays |= {f"spikes:{layer}": values for layer, values in expected.spikes.items()}
        np.savez_compressed(place / "golden.npz", **arrays)  # type: ignore[arg-type,unused-ignore]
        described = _describe(artifact, form, name, identity, notes)
        (place / "README.md").write_text(_readme(described), encoding="utf-8")
        digests = {
            path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(place.rglob("*"))
            if path.is_file()
        }
        text = json.dumps(described | {"files": digests}, indent=1)
        (place / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return notes


def _describe(
    artifact: Artifact, form: loihi2.HardwareForm, name: str, identity: str, notes: list[str]
) -> dict[str, Any]:
    program = form.program
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "made_by": f"neurodeploy {__version__}",
        "program_hash": identity,
        "artifact_program_hash": program_hash(artifact.program),
        "steps": program.steps,
        "period": form.period,
        "input_shape": list(program.input.shape),
        "input_bits": program.input.bits,
        "samples": len(artifact.golden.labels),
        "readout": program.readout,
        "layers": [{"name": layer.name, "shape": list(layer.shape), "fires": layer.fires} for layer in program.layers],
        "notes": notes,
    }


def _readme(described: dict[str, Any]) -> str:
    text = resources.files(__package__).joinpath("bundle_readme.txt").read_text(encoding="utf-8")
    values = {
        "NAME": described["name"],
        "VERSION": __version__,
        "SAMPLES": str(described["samples"]),
        "STEPS": str(described["steps"]),
        "PERIOD": str(described["period"]),
        "READOUT": described["readout"].replace("_", " "),
        "LAST": described["layers"][-1]["name"],
        "NOTES": "".join(f"* {note}\n" for note in described["notes"])
        or "None: the chip gets the artifact's own numbers.\n",
    }
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _copy(file: str, target: Path) -> None:
    with resources.as_file(resources.files(__package__) / file) as source:
        shutil.copyfile(source, target)
