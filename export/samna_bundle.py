"""Bundles for SynSense's chips: one folder with all that a machine with a board needs to run an artifact.

    run.py, samna_runner.py, samna_probe.py    the runner; whether samna is the real one
    golden.npz      the artifact's samples for every step of the input, and what our simulator puts out for them
    bundle.json     format, hash of the network, chip, SHA-256 of every file
    README.md

and the vendor's own files, which the chip family's writer adds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.export import samna_probe
from neurodeploy.export.sealed_folder import ChipArtifact, ChipNetwork, seal
from neurodeploy.folders import BUNDLE, BUNDLE_DESCRIPTION, FolderKind, new_folder
from neurodeploy.ir.identity import network_hash

DESCRIPTION, FOLDER = BUNDLE_DESCRIPTION, BUNDLE
_SHARED = ("samna_runner.py", "samna_probe.py")


@dataclass(frozen=True)
class BundleKind:
    """One chip family's bundles.

    Attributes:
        form: `format` of bundle.json.
        what: what a folder is, for messages.
        runner, readme: files of this package.
    """

    form: str
    what: str
    runner: str
    readme: str

    def write(
        self,
        artifact: ChipArtifact[Any],
        folder: Path,
        name: str,
        expected: Mapping[str, NDArray[Any]],
        fill: Callable[[Path], object],
    ) -> None:
        """Writes a bundle, in place of an earlier one there.

        Args:
            name: what people call the network.
            expected: what must come out, and `events`, (steps, B, channels).
            fill: writes the vendor's files.

        Raises:
            UsageError: where `folder` exists and is no bundle.
            NeurodeployError: where the disk fails; what was there is whole.
        """
        network: ChipNetwork = artifact.network
        with new_folder(folder, FolderKind(self.what, DESCRIPTION, self.form)) as place:
            fill(place)
            for file, target in {self.runner: "run.py", **dict(zip(_SHARED, _SHARED, strict=True))}.items():
                with resources.as_file(resources.files(__package__) / file) as source:
                    shutil.copyfile(source, place / target)
            arrays = {"labels": artifact.golden.labels, **expected}
            np.savez_compressed(place / "golden.npz", **arrays)  # type: ignore[arg-type,unused-ignore]
            described: dict[str, Any] = {
                "format": self.form,
                "version": 1,
                "name": name,
                "made_by": f"neurodeploy {__version__}",
                "network_hash": network_hash(network),
                "chip": network.chip,
                "samples": len(artifact.golden.labels),
                "chip_steps": network.chip_steps,
            }
            (place / "README.md").write_text(self._readme(described), encoding="utf-8")
            seal(place, DESCRIPTION, described)

    def _readme(self, described: Mapping[str, Any]) -> str:
        text = resources.files(__package__).joinpath(self.readme).read_text(encoding="utf-8")
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


def every_step(inputs: NDArray[Any], steps: int) -> NDArray[Any]:
    """(steps, B, channels) of inputs that may be the same at every step."""
    return inputs if inputs.ndim == 3 else np.broadcast_to(inputs, (steps, *inputs.shape))
