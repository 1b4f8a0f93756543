"""What inspect, export and run do where the target is Xylo, whose networks are not Programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurodeploy.cli.own_network import chosen, print_export, print_prepared, print_proof
from neurodeploy.errors import NeurodeployError, UsageError

if TYPE_CHECKING:
    from neurodeploy.deployment_xylo import PreparedXylo
    from neurodeploy.hardware_run import ImportedRun

NAME = "xylo"
_PROBES = ("power", "time")


def is_artifact(path: Path) -> bool:
    """Whether `path` is the folder of a Xylo artifact."""
    from neurodeploy.export.xylo_folder import is_xylo

    return is_xylo(path)


def named(target: str, chip: str | None) -> tuple[str, str | None]:
    """Target and chip as typed: the target "xylo-a3" is "xylo" with that chip."""
    from neurodeploy.hw_models.xylo import XYLO_CHIPS

    if target not in XYLO_CHIPS:
        return target, chip
    if chip not in (None, target):
        raise UsageError(f"--target {target} --chip {chip}: the target names a chip already; leave one out")
    return NAME, target


def inspect_xylo(model: Path, chip: str | None, as_json: bool, strict: bool = False) -> None:
    """Prints how alive each layer is, and raises DesignRuleError where the chip cannot hold the network alive."""
    from neurodeploy.deployment_xylo import prepare
    from neurodeploy.snn.model_file import load_model

    prepared = prepare(load_model(model), chip, allow_dead=True)
    print_prepared(prepared, _rows(prepared), as_json, strict)


def export_xylo(
    model: Path, chip: str | None, folder: Path, allow_dead: bool, as_json: bool, bundle: bool = False
) -> None:
    """Quantises a model for a Xylo and writes its artifact folder, and on request a bundle within it."""
    from neurodeploy.deployment_xylo import export_model
    from neurodeploy.export.samna_bundle import FOLDER
    from neurodeploy.export.xylo_bundle import write_bundle
    from neurodeploy.snn.model_file import load_model

    artifact, omitted = export_model(load_model(model), folder, chip, allow_dead=allow_dead)
    if bundle:
        write_bundle(artifact, folder / FOLDER, model.stem)
    print_export(folder, artifact, omitted, NAME, as_json)


def is_target(name: str) -> bool:
    """Whether `deploy --target` means a Xylo."""
    from neurodeploy.hw_models.xylo import XYLO_CHIPS

    return name in XYLO_CHIPS or name == NAME


def deploy_xylo(
    folder: Path, target: str, samples: int | None, record: str, probes: str, python: str | None
) -> ImportedRun:
    """Runs an artifact on a board; `target` "xylo" is the chip that it was made for."""
    from neurodeploy.export.xylo_folder import load_xylo
    from neurodeploy.hardware_run_xylo import deploy

    loaded = load_xylo(folder)
    if not is_target(target):
        raise UsageError(f"--target {target}: {folder} was made for {loaded.network.chip}")
    if record not in ("last", "all"):
        raise UsageError(f"--record {record}: last or all")
    unknown = set(probes.split(",")) - {*_PROBES, "none"}
    if unknown:
        raise UsageError(f"--probes {probes}: {', '.join(_PROBES)} or none; a Xylo board measures no more")
    chip = loaded.network.chip if target == NAME else target
    whose = "all" if record == "all" else "output"
    simulator = f"neurodeploy run {folder} --backend {NAME}"
    return deploy(loaded, chip, simulator, samples, whose, "power" in probes.split(","), python)


def import_xylo(folder: Path, artifact: Path) -> ImportedRun:
    """Checks a run that came back from a bundle's runner."""
    from neurodeploy.export.xylo_folder import load_xylo
    from neurodeploy.hardware_run_xylo import import_run

    return import_run(folder, load_xylo(artifact))


def run_xylo(
    folder: Path,
    backend: str,
    samples: int | None,
    output: Path | None,
    as_json: bool,
    data: str | None = None,
    data_root: str | None = None,
) -> None:
    """Runs a Xylo artifact on a backend and compares every current, potential and spike with the reference.

    Raises:
        NeurodeployError: where they differ.
    """
    from neurodeploy.deployment_xylo import prove
    from neurodeploy.export.xylo_folder import load_xylo

    loaded = load_xylo(folder)
    inputs, labels, title = chosen(loaded, data, data_root, samples)
    proof = prove(loaded, backend, inputs, labels) | {"inputs": title}
    print_proof(proof, "reference", output, as_json)
    if proof["mismatched_spikes"] or proof["mismatched_voltages"]:
        raise NeurodeployError(
            f"{backend} differs from the reference in {proof['mismatched_spikes']} spikes and "
            f"{proof['mismatched_voltages']} currents and potentials; {proof['first']}"
        )


def _rows(prepared: PreparedXylo) -> list[dict[str, Any]]:
    return [
        {
            "layer": row["layer"],
            "neurons": row["neurons"],
            "firing": f"{row['rate']:.1%}" if row["fires"] else "-",
            "silent neurons": row["silent_neurons"] if row["fires"] else "-",
            "31 spikes": f"{row['at_most']:.1%}",
            "at 16-bit limit": f"{row['at_limit']:.1%}",
            "reach in thresholds": f"{row['reach']:.2f}",
        }
        for row in prepared.layers
    ]
