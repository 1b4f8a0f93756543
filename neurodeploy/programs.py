"""A Program alone, of which there is no float network: inspecting, proving, and sweeping noise over it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare import compare
from neurodeploy.compare.material import RANDOM_SAMPLES
from neurodeploy.energy import estimate
from neurodeploy.export import target as find_target
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.importing.loading import Encoding, data_for, load_program, random_inputs, shaped
from neurodeploy.inspect import Inspection, inspect_program
from neurodeploy.ir.program import Program
from neurodeploy.proof import backend_version, runner, variants
from neurodeploy.simulate import reference
from neurodeploy.study import calibration_splits
from neurodeploy.sweep.run import Samples, Study


@dataclass(frozen=True, eq=False)
class Chosen:
    """Samples for a run.

    Attributes:
        inputs: (B, *shape) or (T, B, *shape) integers.
        labels: (B,), or None for samples that mean nothing.
        what: what they are, for people.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64] | None
    what: str


def choose_samples(
    program: Program, data: str | None, root: str | None, count: int | None, encoding: Encoding = "direct"
) -> Chosen:
    """Test samples of a data set, or random integers without one.

    Raises:
        UsageError: where the data set's samples do not fit the program's input.
    """
    if data is None:
        number = count or RANDOM_SAMPLES
        return Chosen(random_inputs(program, number), None, f"{number} samples of random integers, seed 0")
    test = data_for(program, data, root, encoding).test.take(slice(count))
    return Chosen(shaped(program, test.inputs), test.labels, f"{len(test)} test samples of {data}")


def prove_program(program: Program, backend: str, chosen: Chosen) -> dict[str, Any]:
    """Runs a program on a backend and compares every spike and voltage of every layer with the reference.

    Returns:
        As `neurodeploy.proof.prove`, and `inputs` and, where there are labels, the reference's `accuracy`.

    Raises:
        MissingBackendError, DesignRuleError: as the backend's `run`.
    """
    run = runner(backend)
    expected = reference.run(program, chosen.inputs)
    started = time.perf_counter()
    got = run(program, chosen.inputs)
    seconds = time.perf_counter() - started
    comparison = compare(expected, got)
    right = None if chosen.labels is None else float((expected.decisions == chosen.labels).mean())
    return {
        "backend": backend,
        "version": backend_version(backend),
        "chip": program.chip,
        "seconds": round(seconds, 3),
        "inputs": chosen.what,
        "accuracy": right,
        **comparison.as_dict(),
        "first": str(comparison.first) if comparison.first else None,
        "variants": variants(backend, program, chosen.inputs, expected),
    }


def program_studies(
    paths: Sequence[Path],
    data: str,
    count: int,
    samples: int | None,
    seed: int,
    data_root: str | None,
    encoding: Encoding = "direct",
    steps: int | None = None,
    input_bits: int | None = None,
) -> tuple[list[Study], list[str]]:
    """One study per file with a Program (`.net`, artifact folder), on the chip that it was made for; and warnings.

    Args:
        data: data set, whose test samples accuracy is reported on; calibration sees those of
            `neurodeploy.study.calibration_splits`.
        count: virtual chips per point.
        samples: test samples, None for all.
        steps, input_bits: what a `.net` file does not say.

    Raises:
        UsageError: where samples do not fit a program's input, or files have the same name.
    """
    names = [path.stem for path in paths]
    studies, warnings = [], []
    for name, path in zip(names, paths, strict=True):
        loaded = load_program(path, steps, input_bits)
        program = loaded.program
        warnings += [f"{path}: {text}" for text in loaded.warnings]
        sets = data_for(program, data, data_root, encoding, seed)
        test, (measurement, refit, selection) = sets.test.take(slice(samples)), calibration_splits(sets)
        studies.append(
            Study(
                program,
                find_chip(program.chip),
                Samples(shaped(program, test.inputs), test.labels),
                shaped(program, measurement.inputs),
                Samples(shaped(program, selection.inputs), selection.labels),
                count,
                seed,
                name,
                tuple(names),
                refit=shaped(program, refit.inputs),
            )
        )
    return studies, warnings


@dataclass(frozen=True)
class NetSamples:
    """What a `.net` file does not say, and the samples that it is run on.

    Attributes:
        steps, input_bits: see `neurodeploy.importing.net.read_net`.
        data, root: test samples of a data set; random integers without one.
        count: how many samples; None for all, or the usual number of random ones.
        encoding: of the data set's values.
    """

    steps: int | None = None
    input_bits: int | None = None
    data: str | None = None
    root: str | None = None
    count: int | None = None
    encoding: Encoding = "direct"


@dataclass(frozen=True, eq=False)
class Examined:
    """What inspection finds in a Program, of which nothing was rounded.

    Attributes:
        inspection: all that was found, on `samples`.
    """

    program: Program
    inspection: Inspection
    samples: Chosen


def examine_program(path: Path, target: str, given: NetSamples = NetSamples()) -> tuple[Examined, list[str]]:
    """Whether a Program from a file fits a target and its chip, and warnings about the file.

    Raises:
        UsageError: for an unknown target, and as `load_program` and `choose_samples`.
    """
    found = find_target(target)
    loaded = load_program(path, given.steps, given.input_bits)
    program = loaded.program
    chosen = choose_samples(program, given.data, given.root, given.count, given.encoding)
    inspection = inspect_program(None, program, find_chip(program.chip), chosen.inputs, found.violations(program))
    return Examined(program, inspection, chosen), list(loaded.warnings)


def program_energy(examined: Examined) -> dict[str, Any] | None:
    """What a sample is estimated to cost on the chip, on the samples of the inspection, and `inputs`: what they are.

    None for a chip of which no source gives the costs of events.
    """
    program, inputs = examined.program, examined.samples.inputs
    energy = estimate(program, reference.run(program, inputs), inputs, find_chip(program.chip))
    return None if energy is None else energy.plain() | {"inputs": examined.samples.what}
