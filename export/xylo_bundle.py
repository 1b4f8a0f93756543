"""A bundle for Xylo: one folder with all that a machine with a board needs to run an artifact.

run.py, samna_probe.py    the runner (`xylo_bundle_run.py`); whether samna is the real one
xylo_specification.json   arguments of Rockpool's config_from_specification
golden.npz                the artifact's samples for every step of the chip, and what the reference puts out for them
bundle.json               format, hash of the network, chip, SHA-256 of every file
README.md
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
from neurodeploy.export import samna_probe, xylo
from neurodeploy.export.xylo_folder import XyloArtifact
from neurodeploy.folders import new_folder
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.hw_models.xylo_rules import violations
from neurodeploy.ir.identity import xylo_hash
from neurodeploy.simulate import xylo as reference

FORMAT, VERSION, DESCRIPTION, FOLDER = "neurodeploy-xylo-bundle", 1, "bundle.json", "bundle"
COPIES = {"xylo_bundle_run.py": "run.py", "samna_probe.py": "samna_probe.py"}


def write_bundle(artifact: XyloArtifact, folder: Path, name: str = "network") -> None:
    """Writes a bundle, in place of an earlier one there.

    Args:
        name: what people call the network.

    Raises:
        DesignRuleError: naming every limit of the chip that the network violates, before anything is written.
        UsageError: where `folder` exists and is no bundle.
        NeurodeployError: where the disk fails; what was there is whole.
    """
    network, golden = artifact.network, artifact.golden
    broken = violations(network, xylo_chip(network.chip))
    if broken:
        raise DesignRuleError(network.chip, broken)
    expected = reference.run(network, golden.inputs)
    with new_folder(folder, is_bundle, "a bundle for Xylo") as place:
        xylo.write(network, place)
        for file, target in COPIES.items():
            with resources.as_file(resources.files(__package__) / file) as source:
                shutil.copyfile(source, place / target)
        arrays = {
            "events": reference.check_inputs(network, _every_step(golden.inputs, network.steps)),
            "labels": golden.labels,
            "output_spikes": expected.output_spikes,
            "output_potentials": expected.output_potentials,
        }
        np.savez_compressed(place / "golden.npz", **arrays)  # type: ignore[arg-type,unused-ignore]
        described: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "name": name,
            "made_by": f"neurodeploy {__version__}",
            "network_hash": xylo_hash(network),
            "chip": network.chip,
            "samples": len(golden.labels),
            "chip_steps": network.chip_steps,
        }
        (place / "README.md").write_text(_readme(described), encoding="utf-8")
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.iterdir())}
        (place / DESCRIPTION).write_text(json.dumps(described | {"files": digests}, indent=1) + "\n", encoding="utf-8")


def is_bundle(path: Path) -> bool:
    """True where a folder has the description of such a bundle."""
    try:
        described = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(described, dict) and described.get("format") == FORMAT


def _every_step(inputs: Any, steps: int) -> Any:
    return inputs if inputs.ndim == 3 else np.broadcast_to(inputs, (steps, *inputs.shape))


def _readme(described: dict[str, Any]) -> str:
    text = resources.files(__package__).joinpath("xylo_bundle_readme.txt").read_text(encoding="utf-8")
    values = {
        "NAME": described["name"],
        "CHIP": described["chip"],
        "VERSION": __version__,
        "SAMNA": samna_probe.INSTALL,
        "SAMPLES": str(described["samples"]),
        "STEPS": str(described["chip_steps"]),
    }
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text
