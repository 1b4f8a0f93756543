"""From a trained model to an artifact, and from an artifact to the proof that a backend runs it as meant."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.compare import Comparison, compare
from neurodeploy.config import DataConfig, ExperimentConfig, parse_config
from neurodeploy.data.sources import load_data_set
from neurodeploy.energy import estimate
from neurodeploy.errors import DesignRuleError, UsageError, unknown_name
from neurodeploy.export import target as find_target
from neurodeploy.export import targets
from neurodeploy.export.nir import write_graph
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models import to_remember
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.inspect import Inspection, inspect_program, limits
from neurodeploy.ir.artifact import Artifact, Golden, save_artifact
from neurodeploy.ir.network import Network
from neurodeploy.ir.program import Program
from neurodeploy.load import computational_load
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording
from neurodeploy.snn.model_file import Model
from neurodeploy.snn.trace import trace

SIMULATORS = ("reference", "engine")
_INSPECTED_SAMPLES = 32  # of the calibration samples
_PACKAGES = ("numpy", "scipy", "torch", "pytorch-lightning", "safetensors", "rockpool", "jax")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model quantised for a target, with what inspection says.

    Attributes:
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
    violations: tuple[str, ...] = ()


def prepare(model: Model, target_name: str, chip_name: str | None = None) -> Prepared:
    """Traces, quantises and checks a model for a target.

    Raises:
        UsageError: for unknown names.
        DesignRuleError: naming every limit that the network violates.
    """
    prepared = examine(model, target_name, chip_name)
    if prepared.violations:
        raise DesignRuleError(f"target {target_name}", prepared.violations)
    return prepared


def examine(model: Model, target_name: str, chip_name: str | None = None) -> Prepared:
    """As `prepare`, but what the target cannot express is returned with everything else that was found.

    Raises:
        UsageError: for unknown names.
        DesignRuleError: where the chip cannot hold the network at any scale, so that there is nothing to inspect.
    """
    target = find_target(target_name)
    chip = find_chip(chip_name or target.chip)
    network = trace(model.network)
    program = quantize(network, chip, model.calibration.inputs)
    violations = target.violations(program)
    samples = model.calibration.take(slice(_INSPECTED_SAMPLES)).inputs
    inspection = inspect_program(network, program, chip, samples, violations)
    beyond = [str(one) for one in limits.limit_findings(program, chip)]
    rows = [asdict(row) for row in inspection.rounding]
    found = [str(one) for one in inspection.findings if one.severity != "note" and one.rule != "TARGET"]
    return Prepared(network, program, rows, found, inspection, (*beyond, *violations))


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
    model: Model, target_name: str, folder: Path, chip_name: str | None = None, as_chip: AsChip | None = None
) -> tuple[Artifact, list[str]]:
    """Writes the artifact folder; returns it and what the target left out, with the reasons.

    Args:
        as_chip: a virtual chip whose own thresholds, decays, biases and weights are exported instead of the nominal
            ones. Noise that is drawn while a chip runs is no part of them.

    Raises:
        UsageError, DesignRuleError: as `prepare`; where a virtual chip's numbers do not fit; where its noise has no
            part that is frozen.
        NeurodeployError: where the disk fails; a previous artifact in `folder` is whole.
    """
    prepared = prepare(model, target_name, chip_name)
    program = prepared.program if as_chip is None else _realised(prepared.program, as_chip)
    violations = find_target(target_name).violations(program) if as_chip is not None else []
    if violations:
        raise DesignRuleError(f"target {target_name}", violations)
    recording = reference.run(program, model.golden.inputs)
    golden = Golden(model.golden.inputs, model.golden.labels, recording.readout, recording.spikes)
    facts = {
        "experiment": model.config.model_dump(mode="json"),
        "metrics": model.metrics,
        "rounding": prepared.rounding,
        "warnings": prepared.warnings,
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
    dynamic = [name for name in as_chip.noise.active if NOISE_TERMS[name].where != "program"]
    if dynamic or not as_chip.noise.active:
        said = f"{', '.join(dynamic)}: is drawn while a chip runs" if dynamic else "no noise is given"
        raise UsageError(f"--virtual-chip: {said}; a chip's own numbers come from noise as --with mismatch=0.2")
    return VirtualChip(find_chip(program.chip), as_chip.noise, as_chip.chip_id, as_chip.seed).realise(program)


def prove(artifact: Artifact, backend: str, inputs: NDArray[Any] | None = None) -> dict[str, Any]:
    """Runs an artifact on a backend and compares every spike and voltage of every layer with the reference.

    Args:
        backend: "reference", "engine" or a target.
        inputs: (B, *shape) integers; by default the artifact's golden inputs, whose stored outputs must come out too.

    Returns:
        Plain values: backend, version, samples, layers, mismatched_spikes, mismatched_voltages, first, seconds, and
        per variant of the target how far it is from the reference.

    Raises:
        MissingBackendError: with the command that installs it.
    """
    run = _runner(backend)
    golden = artifact.golden
    chosen = golden.inputs if inputs is None else inputs
    expected = reference.run(artifact.program, chosen)
    if inputs is None:
        _check_golden(golden, expected)
    started = time.perf_counter()
    got = run(artifact.program, chosen)
    seconds = time.perf_counter() - started
    comparison = compare(expected, got)
    return {
        "backend": backend,
        "version": backend_version(backend),
        "chip": artifact.program.chip,
        "seconds": round(seconds, 3),
        **comparison.as_dict(),
        "first": str(comparison.first) if comparison.first else None,
        "variants": _variants(backend, artifact.program, chosen, expected),
    }


def test_inputs(artifact: Artifact, data: str, root: str | None, count: int | None) -> NDArray[Any]:
    """Test samples of a data set as the artifact's network takes them.

    Of the data set that the network was trained on they come with the same bits, encoding and frames; of another with
    what suits that set.

    Raises:
        UsageError: where their shape is not the network's, naming both.
    """
    trained = artifact.facts.get("experiment")
    config = parse_config(trained) if trained else ExperimentConfig()
    same = config.data.name == data
    chosen = config.data.model_copy(update={"root": root}) if same else DataConfig(name=data, root=root)
    test = load_data_set(chosen, artifact.program.steps, config.seed).test.take(slice(count))
    shape = test.inputs.shape[-len(artifact.program.input.shape) :]
    if shape != artifact.program.input.shape:
        raise UsageError(f"--data {data}: samples of shape {shape}, the network takes {artifact.program.input.shape}")
    return test.inputs


def _learnable(model: Model) -> int | None:
    """None of an imported network, which does not say what was learned."""
    if isinstance(model.network, Network):
        return None
    return sum(part.numel() for part in model.network.parameters() if part.requires_grad)


def backend_version(backend: str) -> str | None:
    """The version of what runs there."""
    return __version__ if backend in SIMULATORS else find_target(backend).backend().version


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    found = {"neurodeploy": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _runner(backend: str) -> Callable[[Program, NDArray[Any]], Recording]:
    if backend == "reference":
        return reference.run
    if backend == "engine":
        from neurodeploy.simulate import engine

        return engine.run
    if backend not in targets():
        raise unknown_name("backend", backend, (*SIMULATORS, *targets()))
    return find_target(backend).run


def _check_golden(golden: Golden, now: Recording) -> None:
    """The reference must still put out what it did when the artifact was written."""
    same = np.array_equal(golden.readout, now.readout) and all(
        np.array_equal(golden.spikes[name], spikes) for name, spikes in now.spikes.items()
    )
    if not same:
        raise UsageError(
            "the golden vectors of this artifact do not come out of its program: it was altered; export again"
        )


def _variants(backend: str, program: Program, inputs: NDArray[Any], expected: Recording) -> list[dict[str, Any]]:
    if backend in SIMULATORS:
        return []
    rows = []
    for name, (title, run) in find_target(backend).variants.items():
        try:
            measured: Comparison = compare(expected, run(program, inputs))
        except DesignRuleError:  # a variant that cannot express it, as a virtual chip's threshold of 0, is left out
            continue
        rows.append(
            {
                "name": name,
                "title": title,
                "mismatched_spikes": measured.mismatched_spikes,
                "spikes_compared": measured.spikes_compared,
                "decisions_differing": measured.decisions_differing,
                "samples": measured.samples,
            }
        )
    return rows
