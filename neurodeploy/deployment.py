"""From a trained model to an artifact: quantised, inspected, measured, written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neurodeploy.energy import estimate
from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.export import target as find_target
from neurodeploy.export.nir import write_graph
from neurodeploy.folders import check_replaceable
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models import to_remember
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.inspect import Inspection, inspect_program, limits
from neurodeploy.ir.artifact import KIND, Artifact, Golden, save_artifact
from neurodeploy.ir.network import Network
from neurodeploy.ir.program import Program
from neurodeploy.load import computational_load
from neurodeploy.proof import versions
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import Model
from neurodeploy.snn.trained_scales import Quantised, quantize_model

_INSPECTED_SAMPLES = 32  # of the calibration samples


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model quantised for a target, with what inspection says.

    Attributes:
        quantised: where the scales come from.
        rounding: one row per layer (`neurodeploy.inspect.Rounding`).
        warnings: what the target can express, but is likely wrong or beyond the chip.
        inspection: all that was found.
        violations: what the target cannot express.
    """

    network: Network
    program: Program
    rounding: list[dict[str, Any]]
    warnings: list[str]
    inspection: Inspection
    quantised: Quantised
    violations: tuple[str, ...] = ()


def prepare(model: Model, target_name: str, chip_name: str | None = None, search_scales: bool = False) -> Prepared:
    """Traces, quantises and checks a model for a target.

    Args:
        search_scales: choose scales anew where the model keeps those of training with this chip's rounding.

    Raises:
        UsageError: for unknown names.
        DesignRuleError: naming every limit that the network violates.
    """
    prepared = examine(model, target_name, chip_name, search_scales)
    if prepared.violations:
        raise DesignRuleError(f"target {target_name}", prepared.violations)
    return prepared


def examine(model: Model, target_name: str, chip_name: str | None = None, search_scales: bool = False) -> Prepared:
    """As `prepare`, but what the target cannot express is returned with everything else that was found.

    Raises:
        UsageError: for unknown names.
        DesignRuleError: where the chip cannot hold the network at any scale, so that there is nothing to inspect.
    """
    target = find_target(target_name)
    chip = find_chip(chip_name or target.chip)
    quantised = quantize_model(model, chip, search_scales)
    network, program = quantised.network, quantised.program
    violations = target.violations(program)
    inspection = _inspected(model, program, network, violations)
    beyond = [str(one) for one in limits.limit_findings(program, chip)]
    rows = [asdict(row) for row in inspection.rounding]
    return Prepared(network, program, rows, _said(inspection), inspection, quantised, (*beyond, *violations))


def _inspected(model: Model, program: Program, network: Network | None, violations: Sequence[str]) -> Inspection:
    samples = model.calibration.take(slice(_INSPECTED_SAMPLES)).inputs
    return inspect_program(network, program, find_chip(program.chip), samples, violations)


def _said(inspection: Inspection) -> list[str]:
    """Warnings, and what the target takes and the chip does not."""
    return [str(one) for one in inspection.findings if one.severity != "note" and one.rule != "TARGET"]


def measure_load(model: Model, prepared: Prepared) -> dict[str, Any]:
    """The computational load of a prepared model on its golden samples, as plain values; see `neurodeploy.load`.

    Returns:
        samples, steps, totals (a row for the spiking network, one for the same ANN), weights, neurons, neurobench, and
        of training learnable_parameters and training_seconds (None where the model does not say).
    """
    program, inputs = prepared.program, model.golden.inputs
    window = model.config.data.window
    load = computational_load(
        prepared.network,
        reference.run(program, inputs),
        inputs,
        program,
        find_chip(program.chip).weight_bits,
        1 / window if window else None,
    )
    return {
        "samples": load.samples,
        "steps": load.steps,
        "totals": load.totals(),
        "weights": [asdict(row) for row in load.weights],
        "neurons": [asdict(row) for row in load.neurons],
        "neurobench": dict(load.neurobench),
        "learnable_parameters": _learnable(model),
        "training_seconds": model.metrics.get("training_seconds"),
    }


def measure_energy(model: Model, prepared: Prepared) -> dict[str, Any] | None:
    """What a sample is estimated to cost on the chip, on the golden samples; see `neurodeploy.energy.Energy.plain`.

    None for a chip of which no source gives the costs of events.
    """
    program, inputs, chip = prepared.program, model.golden.inputs, find_chip(prepared.program.chip)
    energy = estimate(program, reference.run(program, inputs), inputs, chip)
    return None if energy is None else energy.plain()


@dataclass(frozen=True)
class AsChip:
    """Which virtual chip an export is meant to be."""

    noise: NoiseModel
    chip_id: int
    seed: int = 0


def export_model(
    model: Model,
    target_name: str,
    folder: Path,
    chip_name: str | None = None,
    as_chip: AsChip | None = None,
    search_scales: bool = False,
) -> tuple[Artifact, list[str]]:
    """Writes the artifact folder; returns it and what the target left out, with the reasons.

    Args:
        as_chip: a virtual chip whose own thresholds, decays, biases and weights are exported instead of the nominal
            ones. Noise that is drawn while a chip runs is no part of them.
        search_scales: as `prepare`; where the scales come from is among the artifact's facts.

    Raises:
        UsageError, DesignRuleError: where `folder` may not be replaced; as `prepare`; where a virtual chip's numbers
            do not fit; where its noise has no part that is frozen.
        NeurodeployError: where the disk fails; a previous artifact in `folder` is whole.
    """
    check_replaceable(folder, KIND)
    prepared = prepare(model, target_name, chip_name, search_scales)
    program = prepared.program if as_chip is None else _realised(prepared.program, as_chip)
    violations = find_target(target_name).violations(program) if as_chip is not None else []
    if violations:
        raise DesignRuleError(f"target {target_name}", violations)
    warnings = prepared.warnings if as_chip is None else _said(_inspected(model, program, None, ()))
    recording = reference.run(program, model.golden.inputs)
    golden = Golden(model.golden.inputs, model.golden.labels, recording.readout, recording.spikes)
    facts = {
        "experiment": model.config.model_dump(mode="json"),
        "metrics": model.metrics,
        "scales": {"from": prepared.quantised.scales, "trained": prepared.quantised.trained},
        "rounding": prepared.rounding,
        "warnings": warnings,
        "firing_rates": recording.firing_rates(),
        "packages": versions(),
    }
    facts |= to_remember(find_chip(program.chip))
    if as_chip is not None:
        noise = {name: getattr(as_chip.noise, name) for name in as_chip.noise.active}
        facts["virtual_chip"] = {"chip_id": as_chip.chip_id, "seed": as_chip.seed, "noise": noise}
    artifact = Artifact(target_name, prepared.network, program, golden, facts)

    def write_files(place: Path) -> list[str]:
        return [*find_target(target_name).write(program, place), *write_graph(prepared.network, place)]

    omitted = save_artifact(artifact, folder, write_files)
    return artifact, omitted


def _realised(program: Program, as_chip: AsChip) -> Program:
    dynamic = as_chip.noise.outside_program
    if dynamic or not as_chip.noise.active:
        said = f"{', '.join(dynamic)}: is drawn while a chip runs" if dynamic else "no noise is given"
        raise UsageError(f"--virtual-chip: {said}; a chip's own numbers come from noise as --with mismatch=0.2")
    return VirtualChip(find_chip(program.chip), as_chip.noise, as_chip.chip_id, as_chip.seed).realise(program)


def _learnable(model: Model) -> int | None:
    """None of an imported network, which does not say what was learned."""
    if isinstance(model.network, Network):
        return None
    return sum(part.numel() for part in model.network.parameters() if part.requires_grad)
