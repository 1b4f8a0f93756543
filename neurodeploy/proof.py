"""The proof that a backend runs an artifact as meant: every spike and voltage against the reference."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.compare import Comparison, compare
from neurodeploy.config import ExperimentConfig, parse_config
from neurodeploy.data.dataset import Split
from neurodeploy.data.matching import matching_test
from neurodeploy.errors import DesignRuleError, UsageError, unknown_name
from neurodeploy.export import target as find_target
from neurodeploy.export import targets
from neurodeploy.ir.artifact import Artifact, Golden
from neurodeploy.ir.program import Program
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

SIMULATORS = ("reference", "engine")
_PACKAGES = ("numpy", "scipy", "torch", "pytorch-lightning", "safetensors", "rockpool", "jax")


def prove(
    artifact: Artifact, backend: str, inputs: NDArray[Any] | None = None, labels: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """Runs an artifact on a backend and compares every spike and voltage of every layer with the reference.

    Args:
        backend: "reference", "engine" or a target.
        inputs: (B, *shape) integers; by default the artifact's golden inputs, whose stored outputs must come out too.
        labels: (B,) of `inputs`; golden inputs have their own.

    Returns:
        Plain values: backend, version, samples, layers, mismatched_spikes, mismatched_voltages, first, seconds, the
        reference's accuracy (None without labels), and per variant of the target how far it is from the reference.

    Raises:
        MissingBackendError: with the command that installs it.
        ValueError: for labels without inputs.
    """
    if inputs is None and labels is not None:
        raise ValueError("labels without inputs: golden inputs have their own")
    run = runner(backend)
    golden = artifact.golden
    chosen = golden.inputs if inputs is None else inputs
    expected = reference.run(artifact.program, chosen)
    if inputs is None:
        _check_golden(golden, expected)
        labels = golden.labels
    started = time.perf_counter()
    got = run(artifact.program, chosen)
    seconds = time.perf_counter() - started
    comparison = compare(expected, got)
    return {
        "backend": backend,
        "version": backend_version(backend),
        "chip": artifact.program.chip,
        "seconds": round(seconds, 3),
        "accuracy": None if labels is None else float((expected.decisions == labels).mean()),
        **comparison.as_dict(),
        "first": str(comparison.first) if comparison.first else None,
        "variants": variants(backend, artifact.program, chosen, expected),
    }


def test_samples(artifact: Artifact, data: str, root: str | None, count: int | None) -> Split:
    """Test samples of a data set as the artifact's network takes them; see `neurodeploy.data.matching`.

    Raises:
        UsageError: where shape, bits, scale or classes are not the network's, naming both.
    """
    trained, program = artifact.facts.get("experiment"), artifact.program
    config = parse_config(trained) if trained else ExperimentConfig()
    classes = math.prod(program.layers[-1].shape)
    return matching_test(config, data, root, program.steps, program.input, classes).take(slice(count))


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


def runner(backend: str) -> Callable[[Program, NDArray[Any]], Recording]:
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


def variants(backend: str, program: Program, inputs: NDArray[Any], expected: Recording) -> list[dict[str, Any]]:
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
