"""A bundle for Xylo (`samna_bundle`), with `xylo_specification.json` for Rockpool's config_from_specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError
from neurodeploy.export import xylo
from neurodeploy.export.samna_bundle import BundleKind, every_step
from neurodeploy.export.xylo_folder import XyloArtifact
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.hw_models.xylo_rules import violations
from neurodeploy.simulate import xylo as reference

KIND = BundleKind("neurodeploy-xylo-bundle", "a bundle for Xylo", "xylo_bundle_run.py", "xylo_bundle_readme.txt")


def write_bundle(artifact: XyloArtifact, folder: Path, name: str = "network") -> None:
    """`BundleKind.write`, with what the reference puts out.

    Raises:
        DesignRuleError: naming every limit of the chip that the network violates, before anything is written.
    """
    network, golden = artifact.network, artifact.golden
    broken = violations(network, xylo_chip(network.chip))
    if broken:
        raise DesignRuleError(network.chip, broken)
    recording = reference.run(network, golden.inputs)
    expected: dict[str, NDArray[Any]] = {
        "events": reference.check_inputs(network, every_step(golden.inputs, network.steps)),
        "output_spikes": recording.output_spikes,
        "output_potentials": recording.output_potentials,
    }
    KIND.write(artifact, folder, name, expected, lambda place: xylo.write(network, place))
