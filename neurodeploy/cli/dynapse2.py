"""What commands do where the target is DYNAP-SE2, whose networks are not Programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli.console import progress_bar
from neurodeploy.cli.own_network import chosen, print_export, print_prepared, print_proof
from neurodeploy.errors import NeurodeployError, UsageError

if TYPE_CHECKING:
    from neurodeploy.deployment_dynapse2 import PreparedDynapse2
    from neurodeploy.hardware_run import ImportedRun
    from neurodeploy.study_dynapse2 import ChipPoint, Dynapse2Study
    from neurodeploy.sweep.store import Store

NAME = "dynapse2"


def is_artifact(path: Path) -> bool:
    """Whether `path` is the folder of a DYNAP-SE2 artifact."""
    from neurodeploy.export.dynapse2_folder import is_dynapse2

    return is_dynapse2(path)


def inspect_dynapse2(model: Path, chip: str | None, as_json: bool, strict: bool = False) -> None:
    """Prints cores and how alive each layer is, and raises DesignRuleError where the chip cannot hold it alive."""
    from neurodeploy.deployment_dynapse2 import prepare
    from neurodeploy.snn.model_file import load_model

    prepared = prepare(load_model(model), chip, allow_dead=True)
    print_prepared(prepared, _rows(prepared), as_json, strict)


def export_dynapse2(
    model: Path, chip: str | None, folder: Path, allow_dead: bool, as_json: bool, bundle: bool = False
) -> None:
    """Quantises a model for DYNAP-SE2 and writes its artifact folder, and on request a bundle within it."""
    from neurodeploy.deployment_dynapse2 import export_model
    from neurodeploy.export.dynapse2_bundle import write_bundle
    from neurodeploy.export.samna_bundle import FOLDER
    from neurodeploy.snn.model_file import load_model

    artifact, omitted = export_model(load_model(model), folder, chip, allow_dead=allow_dead)
    if bundle:
        write_bundle(artifact, folder / FOLDER, model.stem)
    print_export(folder, artifact, omitted, NAME, as_json)


def run_dynapse2(
    folder: Path,
    backend: str,
    samples: int | None,
    output: Path | None,
    as_json: bool,
    data: str | None = None,
    data_root: str | None = None,
) -> None:
    """Runs a DYNAP-SE2 artifact on a backend and compares every spike and membrane with the engine.

    Raises:
        NeurodeployError: where more spikes differ than float32 explains.
    """
    from neurodeploy.deployment_dynapse2 import prove
    from neurodeploy.export.dynapse2_folder import load_dynapse2

    loaded = load_dynapse2(folder)
    inputs, labels, title = chosen(loaded, data, data_root, samples)
    proof = prove(loaded, backend, inputs, labels) | {"inputs": title}
    print_proof(proof, "engine", output, as_json)
    if not as_json:
        typer.echo(
            f"{proof['mismatched_spikes']} of {proof['spikes_compared']} spikes and {proof['decisions_differing']} of "
            f"{proof['samples']} decisions differ from the engine; {proof['tolerated_spikes']} are tolerated (float32)"
        )
    if not proof["agrees"]:
        raise NeurodeployError(
            f"{backend} differs from the engine in {proof['mismatched_spikes']} spikes, {proof['tolerated_spikes']} "
            "are what float32 explains"
        )


def deploy_dynapse2(artifact: Path, target: str, samples: int | None, python: str | None) -> ImportedRun:
    """Runs an artifact on a board, beside the engine.

    Raises:
        MissingBackendError: where samna, Rockpool or the board is not here, with the command of the simulator.
        UsageError: for an artifact of another target.
    """
    from neurodeploy.export.dynapse2_folder import load_dynapse2
    from neurodeploy.hardware_run_dynapse2 import deploy

    if not is_artifact(artifact) or target != NAME:
        raise UsageError(f"{artifact}, --target {target}: an artifact of `export --target {NAME}` goes to {NAME}")
    return deploy(load_dynapse2(artifact), f"neurodeploy run {artifact} --backend {NAME}", samples, python)


def import_dynapse2(folder: Path, artifact: Path) -> ImportedRun:
    """Checks a run that came back from a bundle's runner."""
    from neurodeploy.export.dynapse2_folder import load_dynapse2
    from neurodeploy.hardware_run_dynapse2 import import_run

    return import_run(folder, load_dynapse2(artifact))


def artifact_studies(
    artifacts: Sequence[Path], chips: int, seed: int, jobs: int, samples: int | None, data_root: str | None
) -> list[Dynapse2Study]:
    """Virtual chips of DYNAP-SE2 artifacts, on the test samples of the data set that they were trained on.

    Raises:
        UsageError: for what is no such artifact, or two of the same name.
    """
    from neurodeploy.deployment_chip import test_set
    from neurodeploy.export.dynapse2_folder import load_dynapse2
    from neurodeploy.study_dynapse2 import Dynapse2Study

    names = [path.resolve().name for path in artifacts]
    if len(set(names)) < len(names):
        raise UsageError(f"{', '.join(map(str, artifacts))}: artifacts side by side need different names")
    studies = []
    for path, name in zip(artifacts, names, strict=True):
        loaded = load_dynapse2(path)
        studies.append(Dynapse2Study(loaded.network, name, test_set(loaded, data_root, samples), chips, seed, jobs))
    return studies


def sweep_artifacts(studies: Sequence[Dynapse2Study], points: Sequence[ChipPoint], store: Store) -> None:
    """Measures all chips of studies at every point."""
    from neurodeploy.study_dynapse2 import sweep_dynapse2

    for study in studies:
        with progress_bar("sweep") as progress:
            sweep_dynapse2(study, points, store, progress)


def _rows(prepared: PreparedDynapse2) -> list[dict[str, Any]]:
    return [
        {
            "layer": row["layer"],
            "neurons": row["neurons"],
            "spikes a step": f"{row['rate']:.1%}",
            "silent neurons": row["silent_neurons"],
            "several at once": f"{row['several']:.1%}",
            "reach in thresholds": f"{row['reach']:.2f}",
        }
        for row in prepared.layers
    ]
