"""From a trained model to a Xylo artifact, and from the artifact to the proof that a backend runs it as meant."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.compare import compare
from neurodeploy.deployment_chip import Prepared, Way, rightness
from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.export import xylo
from neurodeploy.export.xylo_folder import FOLDER, XyloArtifact, golden_of
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.channels import flat
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

BACKENDS = ("reference", "engine", xylo.NAME)
_LARGE_LOSS = 0.05  # of decisions on the calibration data that are others than the float network's


PreparedXylo: TypeAlias = Prepared[XyloNetwork]


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
    inputs = flat(made.input.shape[0], calibration)
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


_WAY = Way(prepare_network, golden_of, lambda name: xylo_chip(name).evidence, FOLDER)
prepare, export_model = _WAY.prepare, _WAY.export_model


def prove(
    artifact: XyloArtifact, backend: str, inputs: NDArray[Any] | None = None, labels: IntArray | None = None
) -> dict[str, Any]:
    """Runs an artifact on a backend and compares every current, potential and spike with the reference.

    Args:
        backend: "reference", "engine" or "xylo" (SynSense's simulator).
        inputs: by default the artifact's golden inputs, whose stored outputs must come out too.
        labels: of `inputs`, for accuracies; golden inputs have their own.

    Raises:
        MissingBackendError: with the command that installs it.
        ValueError: for labels without inputs.
    """
    if inputs is None and labels is not None:
        raise ValueError("labels without inputs: golden inputs have their own")
    run = _runner(backend)
    golden, network = artifact.golden, artifact.network
    chosen = golden.inputs if inputs is None else flat(network.input.shape[0], inputs)
    expected = reference.run(network, chosen)
    if inputs is None:
        labels = golden.labels
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
        **rightness(labels, {"accuracy": got.decisions, "reference_accuracy": expected.decisions}),
    }


def _runner(backend: str) -> Callable[[XyloNetwork, NDArray[Any]], XyloRecording]:
    runners: dict[str, Callable[[XyloNetwork, NDArray[Any]], XyloRecording]] = {
        "reference": reference.run,
        "engine": xylo_engine.run,
        xylo.NAME: xylo.run,
    }
    if backend not in runners:
        raise unknown_name("backend", backend, runners)
    return runners[backend]
