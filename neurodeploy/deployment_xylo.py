"""From a trained model to a Xylo artifact, and from the artifact to the proof that a backend runs it as meant."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.compare import compare
from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.export import xylo
from neurodeploy.export.xylo_folder import XyloArtifact, golden_of, save_xylo
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.ir.network import Network
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.to_populations import to_populations
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.quantize_xylo import quantize_xylo, troubles
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate import xylo as reference
from neurodeploy.simulate import xylo_engine
from neurodeploy.simulate.xylo import XyloRecording
from neurodeploy.simulate.xylo_health import health
from neurodeploy.snn.model_file import Model
from neurodeploy.snn.trace import trace

BACKENDS = ("reference", "engine", xylo.NAME)
_LARGE_LOSS = 0.05  # of decisions on the calibration data that are others than the float network's


@dataclass(frozen=True, eq=False)
class PreparedXylo:
    """A model quantised for a Xylo, with what inspection says on its calibration data.

    Attributes:
        layers: one row per layer (`neurodeploy.simulate.xylo_health.Health`), plain values.
        agreement: share of decisions that are the float network's.
        dead: layers that are silent, deaf or saturated, with the cause.
        warnings: what is allowed but likely wrong.
    """

    float_network: PopulationNetwork
    network: XyloNetwork
    layers: list[dict[str, Any]]
    agreement: float
    dead: list[str]
    warnings: list[str]


def prepare(model: Model, chip_name: str | None = None, *, allow_dead: bool = False) -> PreparedXylo:
    """Traces, quantises and checks a trained model; see `prepare_network`."""
    return prepare_network(trace(model.network), model.calibration.inputs, chip_name, allow_dead=allow_dead)


def prepare_network(
    network: Network | PopulationNetwork,
    calibration: NDArray[Any],
    chip_name: str | None = None,
    *,
    allow_dead: bool = False,
) -> PreparedXylo:
    """Quantises and checks a float network.

    Raises:
        UsageError: for an unknown chip, or calibration data that do not suit.
        DesignRuleError: naming every limit that the network violates, or, without `allow_dead`, every layer that would
            be silent or saturated.
    """
    made = quantize_xylo(network, xylo_chip(chip_name or xylo.CHIP), calibration, allow_dead=allow_dead)
    populations = to_populations(network) if isinstance(network, Network) else network
    inputs = flat(made, calibration)
    wanted, got = float_simulator.run(populations, inputs), xylo_engine.run(made, inputs)
    rows = health(made, got)
    agreement = float((wanted.decisions == got.decisions).mean())
    found = [
        f"layer {row.layer}: {row.silent_neurons} of {row.neurons} neurons never fire on the calibration data"
        for row in rows
        if row.fires and row.silent_neurons > row.neurons / 2 and row.trouble is None
    ]
    if agreement < 1 - _LARGE_LOSS:
        found.append(
            f"{1 - agreement:.0%} of decisions on the calibration data are others than the float network's; neurons "
            "that fire several times in a step, or currents without memory in recurrent layers, do that: train with "
            "potentials below two thresholds (train.potential_weight, train.potential_deviation), decay 1 - 2^-n"
        )
    dead = troubles(made, got, wanted.spikes)
    return PreparedXylo(populations, made, [asdict(row) for row in rows], agreement, dead, found)


def export_model(
    model: Model, folder: Path, chip_name: str | None = None, *, allow_dead: bool = False
) -> tuple[XyloArtifact, list[str]]:
    """Writes the artifact folder; returns it and what was left out, with the reasons.

    Raises:
        UsageError, DesignRuleError: as `prepare`.
        NeurodeployError: where the disk fails; a previous artifact in `folder` is whole.
    """
    prepared = prepare(model, chip_name, allow_dead=allow_dead)
    golden = golden_of(prepared.network, flat(prepared.network, model.golden.inputs), model.golden.labels)
    facts = {
        "experiment": model.config.model_dump(mode="json"),
        "metrics": model.metrics,
        "layers": prepared.layers,
        "agreement": prepared.agreement,
        "warnings": [*prepared.dead, *prepared.warnings],
        "evidence": xylo_chip(prepared.network.chip).evidence,
        "neurodeploy": __version__,
    }
    artifact = XyloArtifact(prepared.network, golden, facts)
    return artifact, save_xylo(artifact, folder)


def prove(artifact: XyloArtifact, backend: str, inputs: NDArray[Any] | None = None) -> dict[str, Any]:
    """Runs an artifact on a backend and compares every current, potential and spike with the reference.

    Args:
        backend: "reference", "engine" or "xylo" (SynSense's simulator).
        inputs: by default the artifact's golden inputs, whose stored outputs must come out too.

    Raises:
        MissingBackendError: with the command that installs it.
    """
    run = _runner(backend)
    golden, network = artifact.golden, artifact.network
    chosen = golden.inputs if inputs is None else flat(network, inputs)
    expected = reference.run(network, chosen)
    if inputs is None:
        same = np.array_equal(golden.readout, expected.readout)
        if not (same and np.array_equal(golden.output_spikes, expected.output_spikes)):
            raise UsageError("the golden vectors of this artifact do not come out of its network: it was altered")
    started = time.perf_counter()
    got = run(network, chosen)
    seconds = time.perf_counter() - started
    comparison = compare(expected.by_block(network), got.by_block(network))
    return {
        "backend": backend,
        "version": xylo.backend().version if backend == xylo.NAME else __version__,
        "chip": network.chip,
        "seconds": round(seconds, 3),
        **comparison.as_dict(),
        "first": str(comparison.first) if comparison.first else None,
        "variants": [],
    }


def flat(network: XyloNetwork, inputs: NDArray[Any]) -> NDArray[Any]:
    """Inputs of a model, (B, *shape) or (steps, B, *shape), as the network takes them."""
    channels = network.input.shape[0]
    for leading in (1, 2):
        if inputs.ndim > leading and int(np.prod(inputs.shape[leading:])) == channels:
            return inputs.reshape(*inputs.shape[:leading], channels)
    return inputs  # the simulator names what is wrong


def _runner(backend: str) -> Callable[[XyloNetwork, NDArray[Any]], XyloRecording]:
    runners: dict[str, Callable[[XyloNetwork, NDArray[Any]], XyloRecording]] = {
        "reference": reference.run,
        "engine": xylo_engine.run,
        xylo.NAME: xylo.run,
    }
    if backend not in runners:
        raise unknown_name("backend", backend, runners)
    return runners[backend]
